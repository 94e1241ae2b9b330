// What the page needs from whatever plays the stream: source.ts does it with hls.js, native.ts with the browser's own player.
// Types only; knows neither.

import type { Level } from "./quality";
import type { SessionData } from "./session";

export type PlaybackState =
  /** The first playlist is on its way. */
  | "loading"
  /** There is no such stream yet; asked for again and again. */
  | "absent"
  | "ready"
  /** The playlist has come to its end: a recording, or a broadcast that is over. */
  | "complete"
  /** Something is wrong and being retried. */
  | "trouble"
  /** This browser can't play it at all. */
  | "unsupported";

export interface PlaybackEvents {
  state(state: PlaybackState): void;
  /** The rungs, or which of them plays, changed. */
  levels(): void;
}

export interface Levels {
  list: Level[];
  /** Index of what plays, −1 for none yet. */
  playing: number;
  /** Index the viewer chose, −1 for automatic. */
  chosen: number;
}

/** Counters for tests and for people who ask why. */
export interface PlaybackStats {
  stalls: number;
  /** Fatal errors that were mended. */
  recoveries: number;
  /** Errors of any kind, by name. */
  errors: Record<string, number>;
  /** Estimated, bits per second; 0 when unknown. */
  bandwidth: number;
  dropped: number;
}

export interface Playback {
  readonly state: PlaybackState;
  readonly live: boolean;
  /** Distance from the end of the playlist, s. */
  edge(): number | null;
  /** What the player aims at, s. */
  target(): number | null;
  /** When what is on screen was made, ms since 1970. */
  shownAt(): number | null;
  /** Where the live edge is on the video's own clock, s. */
  livePosition(): number | null;
  levels(): Levels;
  /** What the playlist said of itself when it was loaded; null until then, and where the browser keeps it to itself. */
  session(): SessionData | null;
  /** The server may have said that this viewer must not see it: worth asking it why. */
  readonly forbidden: boolean;
  choose(level: number): void;
  /** Forgets everything and loads anew. */
  reload(): void;
  /** Asks for nothing more; what is loaded plays on. */
  stop(): void;
  stats(): PlaybackStats;
  close(): void;
}
