// What to tell the viewer when there is no moving picture, and what can be done about it. Pure: the words, no elements.

import type { PlaybackState } from "./playback";
import type { Asset, StreamState } from "./streams";

export interface Situation {
  name: string;
  playback: PlaybackState;
  /** What the server says of the stream; undefined when it does not know it or did not answer. */
  stream: StreamState | undefined;
  /** A recording of this stream, the latest. */
  recording: Asset | undefined;
  /** The browser would not start without a tap. */
  blocked: boolean;
  /** The picture stands still though it should move. */
  buffering: boolean;
  /** The video has reached its end. */
  ended: boolean;
  /** A broadcast was seen live here, not only a recording. */
  wasLive: boolean;
}

export interface Notice {
  title: string;
  text: string;
  /** Something is being tried: show it. */
  busy: boolean;
  action: { label: string; does: "play" | "reload" } | { label: string; playlist: string } | null;
}

/** Null when the picture speaks for itself. */
export function notice(now: Situation): Notice | null {
  const { playback, stream } = now;
  if (playback === "unsupported") {
    return say(
      "This browser cannot play the stream",
      "It has no Media Source Extensions. A current Chrome, Edge, Firefox or Safari does.",
    );
  }
  if (playback === "absent") return absent(now);
  if (playback === "trouble" && (now.buffering || now.ended)) {
    return say("The connection was lost", "Trying again. The picture comes back by itself.", { busy: true });
  }
  if (now.blocked) return say("Ready", "", { action: { label: "Play", does: "play" } });
  if (now.ended && now.wasLive) return over(now);
  if (now.ended) return say("The end", "", { action: { label: "Watch again", does: "play" } });
  if (stream === "waiting" && now.buffering) {
    return say("A short break", "The broadcaster is away. The picture comes back by itself.", { busy: true });
  }
  if (playback === "loading" || now.buffering) return say("", "", { busy: true });
  return null;
}

function absent(now: Situation): Notice {
  if (now.stream === "ended" && now.recording) return over(now);
  return say(`${now.name} is not live yet`, "Stay here: it starts by itself.", { busy: true });
}

function over({ stream, recording }: Situation): Notice {
  if (stream === "live")
    return say("It is live again", "", { action: { label: "Watch live", does: "reload" } });
  const action = recording ? { label: "Watch the recording", playlist: recording.url } : null;
  return say("The broadcast has ended", "If it begins again, it can be watched here.", { action });
}

function say(title: string, text: string, more: Partial<Notice> = {}): Notice {
  return { title, text, busy: false, action: null, ...more };
}
