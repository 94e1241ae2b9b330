// Asks the server what there is, politely: one question at a time, none while nobody sees the page. Knows the address of the
// answer and the clock it came with; streams.ts and session.ts know what answers say.

import { clockOffset } from "./latency";
import { parseSession, type SessionData } from "./session";
import { type Catalogue, parseCatalogue } from "./streams";

export interface Answer {
  catalogue: Catalogue;
  /** Server's clock less ours, ms; null when the answer had no date. */
  clockOffset: number | null;
}

/** More of the server's words are not shown, characters. */
const WORDS_MOST = 300;

/** Longer than this is no answer, ms. */
const PATIENCE_MS = 8_000;

/** @throws when there is no answer or it makes no sense */
export async function askStreams(signal: AbortSignal): Promise<Answer> {
  const sent = Date.now();
  const response = await fetch("/api/streams", {
    signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]),
    headers: { accept: "application/json" },
    cache: "no-cache",
  });
  const received = Date.now();
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  return {
    catalogue: parseCatalogue(await response.json(), location.origin),
    clockOffset: clockOffset(response.headers.get("date"), sent, received),
  };
}

/** What a playlist says of itself now. @throws when there is no answer */
export async function askSession(playlist: string, signal: AbortSignal): Promise<SessionData> {
  const response = await fetch(playlist, {
    signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]),
    cache: "no-cache",
  });
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  return parseSession(await response.text(), playlist);
}

/** What the server says to whoever may not have this playlist; null when it gives it, or when the words are no words of ours. */
export async function askWhyNot(playlist: string): Promise<string | null> {
  const response = await fetch(playlist, { signal: AbortSignal.timeout(PATIENCE_MS), cache: "no-cache" });
  const words = response.headers.get("content-type")?.startsWith("text/plain") ?? false;
  if ((response.status !== 401 && response.status !== 403) || !words) return null;
  return (await response.text()).trim().slice(0, WORDS_MOST) || null;
}

/**
 * Calls `act` now, and again that long after it has finished; not while the page is hidden, and at once when it is seen
 * again. `act` must not throw.
 * @returns stops it
 */
export function poll(everyMs: number, act: (signal: AbortSignal) => Promise<void>): () => void {
  const stopped = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let busy = false;
  const round = async () => {
    clearTimeout(timer);
    if (busy || document.hidden || stopped.signal.aborted) return;
    busy = true;
    await act(stopped.signal);
    busy = false;
    if (!stopped.signal.aborted) timer = setTimeout(round, everyMs);
  };
  document.addEventListener("visibilitychange", round, { signal: stopped.signal });
  void round();
  return () => {
    stopped.abort();
    clearTimeout(timer);
  };
}
