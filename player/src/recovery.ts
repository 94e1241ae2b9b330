// What to do when playback fails. Pure: knows no player and no clock; source.ts tells it what happened and does what it says.

export interface Failure {
  fatal: boolean;
  kind: "network" | "media" | "other";
  /** The master or a media playlist, not a segment. */
  playlist: boolean;
  /** HTTP status; 0 or undefined when there was no answer. */
  status?: number | undefined;
}

export interface History {
  /** Whether anything was ever shown from this load. */
  started: boolean;
  /** Fatal network failures since something was last received. */
  network: number;
  /** Fatal media failures in the last half minute. */
  media: number;
}

export type Action =
  /** The player mends it itself. */
  | { do: "nothing" }
  /** There is no such stream now: ask for it again. */
  | { do: "wait"; afterMs: number }
  /** Go on loading from where it stopped. */
  | { do: "resume"; afterMs: number }
  /** Load everything anew. */
  | { do: "reload"; afterMs: number }
  /** Reset the decoder. */
  | { do: "reset-media" }
  /** A new player. */
  | { do: "rebuild"; afterMs: number };

/** A stream that isn't there yet is asked for this often at the slowest, ms: its viewers wait for its beginning. */
const WAIT_MOST_MS = 3_000;
/** Anything else that fails again and again, ms. */
const RETRY_MOST_MS = 4_000;
/** After this many tries to go on, everything is loaded anew. */
const RESUMES = 3;

/**
 * @param jitter 0…1, a random number, so that a thousand viewers do not come back in the same millisecond
 */
export function decide(failure: Failure, history: History, jitter: number): Action {
  if (!failure.fatal) return { do: "nothing" };
  if (failure.kind === "network") {
    const gone = failure.status === 404 || failure.status === 410;
    if (failure.playlist && (gone || !history.started)) {
      return { do: "wait", afterMs: backoff(history.network, 800, WAIT_MOST_MS, jitter) };
    }
    const afterMs = backoff(history.network, 500, RETRY_MOST_MS, jitter);
    return history.network < RESUMES ? { do: "resume", afterMs } : { do: "reload", afterMs };
  }
  if (failure.kind === "media") {
    if (history.media < 2) return { do: "reset-media" };
    return { do: "rebuild", afterMs: backoff(history.media - 2, 500, RETRY_MOST_MS, jitter) };
  }
  return { do: "rebuild", afterMs: backoff(history.media + history.network, 1_000, RETRY_MOST_MS, jitter) };
}

/** Doubles from `first` up to `most`, less up to a quarter by chance, ms. */
export function backoff(tries: number, first: number, most: number, jitter: number): number {
  const whole = Math.min(most, first * 2 ** Math.min(tries, 16));
  return Math.round(whole * (1 - 0.25 * Math.max(0, Math.min(1, jitter))));
}
