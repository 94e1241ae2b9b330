// What to tell the viewer when there is no moving picture, and what can be done about it. Pure: the words, no elements.

import { percent } from "./assets";
import type { PlaybackState } from "./playback";
import type { Asset, StreamState } from "./streams";

export interface Situation {
  name: string;
  playback: PlaybackState;
  /** What the server says of the stream; undefined when it does not know it or did not answer. */
  stream: StreamState | undefined;
  /** What the server says of the recording that is to be played; undefined for a broadcast, or when it does not know it. */
  asset: Asset | undefined;
  /** The address is that of a recording. */
  recorded: boolean;
  /** Where this broadcast can be seen again. */
  recording: { url: string } | undefined;
  /** Why the server lets this viewer see no more, in its words. */
  refusal: string | null;
  /** The browser would not start without a tap. */
  blocked: boolean;
  /** The picture stands still though it should move. */
  buffering: boolean;
  /** The video has reached its end. */
  ended: boolean;
  /** What is played is a broadcast or the end of one, not a recording. */
  wasLive: boolean;
  /** Opened on a broadcast that was over, and not begun. */
  tail: boolean;
}

/** Something to go on to, beside a picture that still moves. */
export interface Offer {
  text: string;
  label: string;
  playlist: string;
}

const WATCH_RECORDING = "Watch the recording";
const OVER = "The broadcast has ended";

export interface Notice {
  title: string;
  text: string;
  /** Something is being tried: show it. */
  busy: boolean;
  action: { label: string; does: "play" | "reload" } | { label: string; playlist: string } | null;
}

/** Null when the picture speaks for itself. */
export function notice(now: Situation): Notice | null {
  const { playback, stream, refusal } = now;
  if (playback === "unsupported") {
    return say(
      "This browser cannot play the stream",
      "It has no Media Source Extensions. A current Chrome, Edge, Firefox or Safari does.",
    );
  }
  // What was loaded before plays on.
  if (refusal !== null && (now.buffering || now.ended || playback === "absent")) {
    return say("You cannot watch this", sentence(refusal));
  }
  if (playback === "absent") return absent(now);
  if (playback === "trouble" && (now.buffering || now.ended)) {
    return say("The connection was lost", "Trying again. The picture comes back by itself.", { busy: true });
  }
  if (now.tail) return over(now);
  if (now.blocked) return say("Ready", "", { action: { label: "Play", does: "play" } });
  if (now.ended && now.wasLive) return over(now);
  if (now.ended) return say("The end", "", { action: { label: "Watch again", does: "play" } });
  if (stream === "waiting" && now.buffering) {
    return say("A short break", "The broadcaster is away. The picture comes back by itself.", { busy: true });
  }
  if (playback === "loading" || now.buffering) return say("", "", { busy: true });
  return null;
}

/** Null unless the broadcast is over while the viewer still watches it, maybe from far behind its end. */
export function offer(now: Situation): Offer | null {
  const { playback, stream, wasLive, recording, recorded } = now;
  const over = (wasLive && (playback === "complete" || playback === "absent")) || stream === "ended";
  if (recorded || !over || stream === "live" || !recording || notice(now)?.title) return null;
  return { text: OVER, label: WATCH_RECORDING, playlist: recording.url };
}

function absent(now: Situation): Notice | null {
  const { name, stream, recording, wasLive, buffering, ended, recorded } = now;
  // What was loaded before it went plays on.
  if (wasLive && !buffering && !ended) return null;
  if (recorded) return notThere(now);
  // The server forgets a stream sooner than its recordings.
  const gone = stream !== "live" && stream !== "waiting";
  if (gone && recording) return over(now);
  return say(`${name} is not live yet`, "Stay here: it starts by itself.", { busy: true });
}

function notThere({ asset }: Situation): Notice {
  if (asset?.state === "failed") return say("This recording could not be made", asset.reason ?? "");
  if (asset?.state === "transcoding") {
    const made = asset.progress === null ? "" : `${percent(asset.progress)} of it is made. `;
    return say("This recording is not ready yet", `${made}Stay here: it starts by itself.`, { busy: true });
  }
  return say("This recording is not here", "Stay here if it is still being made: it starts by itself.", {
    busy: true,
  });
}

function over({ stream, recording }: Situation): Notice {
  if (stream === "live")
    return say("It is live again", "", { action: { label: "Watch live", does: "reload" } });
  const action = recording ? { label: WATCH_RECORDING, playlist: recording.url } : null;
  return say(OVER, "If it begins again, it starts here by itself.", { action });
}

/** The server's words begin small and end open. */
function sentence(words: string): string {
  return `${words.charAt(0).toUpperCase()}${words.slice(1)}${/[.!?]$/.test(words) ? "" : "."}`;
}

function say(title: string, text: string, more: Partial<Notice> = {}): Notice {
  return { title, text, busy: false, action: null, ...more };
}
