// How far behind the broadcast the viewer is, and when to jump forward. Pure: knows no player, no clock.

/** `clock`: from the stream's own dates, the whole way; `edge`: from the end of the playlist only. */
export interface Latency {
  seconds: number;
  kind: "clock" | "edge";
}

export interface LatencyInput {
  /** When what is on screen was made, by the stream's dates, ms since 1970; null without dates. */
  shownAt: number | null;
  /** This device's clock, ms. */
  now: number;
  /** Server's clock less this device's, ms; null when not known. */
  clockOffset: number | null;
  /** Distance from the end of the playlist, s; null while nothing is loaded. */
  edge: number | null;
}

/** Dates further off than this are a wrong clock, not a latency, s. */
const PLAUSIBLE_S = 24 * 3600;

/** The better of the two readings, or null while there is none. */
export function readLatency({ shownAt, now, clockOffset, edge }: LatencyInput): Latency | null {
  if (shownAt !== null && Number.isFinite(shownAt)) {
    const seconds = (now + (clockOffset ?? 0) - shownAt) / 1000;
    // What is shown cannot be younger than its distance from the end of the playlist: then some clock is wrong.
    const floor = edge === null ? 0 : edge - 1;
    if (seconds >= Math.max(0, floor) && seconds < PLAUSIBLE_S) return { seconds, kind: "clock" };
  }
  return edge !== null && Number.isFinite(edge) && edge >= 0 ? { seconds: edge, kind: "edge" } : null;
}

/**
 * The server's clock less ours, from the Date of an answer. It counts whole seconds, so small differences are taken for
 * none rather than shown as half a second more or less.
 * @param date the header
 * @param sent when the request went, ms
 * @param received when the answer came, ms
 */
export function clockOffset(date: string | null, sent: number, received: number): number | null {
  const server = date === null ? Number.NaN : Date.parse(date);
  if (Number.isNaN(server)) return null;
  const offset = server + 500 - (sent + received) / 2;
  return Math.abs(offset) <= 1_500 ? 0 : offset;
}

export interface Position {
  live: boolean;
  paused: boolean;
  /** The viewer paused or went back on purpose. */
  chosen: boolean;
  /** From the end of the playlist, s. */
  edge: number | null;
  /** What the player aims at, s. */
  target: number | null;
  /** Loaded beyond what is shown, s. */
  ahead: number;
  /** Since the last jump, s. */
  sinceJump: number;
}

/** Further than this behind the aim, a jump is worth a moment of loading, s. */
const FAR_S = 6;
/** Further than this, a jump within what is loaded is better than a dozen seconds of playing faster, s. */
const NEAR_S = 1;
/** So much must be left to play after a jump within what is loaded, s. */
const KEEP_S = 0.5;
/** A machine or a line that falls behind again at once is left alone for so long, s. */
const REST_S = { far: 4, near: 12 };

/**
 * Whether to jump to the live edge unasked: behind after stalls or a slow start, not because the viewer wanted to be. A start
 * is always late: the place was chosen before the first byte of it was loaded.
 */
export function shouldJump(position: Position): boolean {
  const { live, paused, chosen, edge, target, ahead, sinceJump } = position;
  if (!live || paused || chosen || edge === null || target === null) return false;
  const behind = edge - target;
  if (behind > FAR_S) return sinceJump > REST_S.far;
  return behind > NEAR_S && ahead - behind > KEEP_S && sinceJump > REST_S.near;
}

/** Whether the viewer sees the live edge, give or take what catching up mends. */
export function atLiveEdge(edge: number | null, target: number | null): boolean {
  return edge !== null && target !== null && edge <= target + 3;
}

/** `1.9 s`, `42 s`, `3:20`. */
export function latencyText(latency: Latency | null): string {
  if (latency === null) return "";
  const { seconds } = latency;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
