// Plays an HLS address with the browser's own player: the last resort, for an iPhone too old for Media Source. No choice of
// rungs and only a guess at the latency; says so by answering with nothing. Knows no hls.js.

import type { Levels, Playback, PlaybackEvents, PlaybackState, PlaybackStats } from "./playback";
import { backoff } from "./recovery";

export class NativePlayback implements Playback {
  #state: PlaybackState = "loading";
  #tries = 0;
  #stalls = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #listening = new AbortController();

  constructor(
    private readonly video: HTMLVideoElement,
    private readonly url: string,
    private readonly events: PlaybackEvents,
  ) {
    const { signal } = this.#listening;
    video.addEventListener("playing", () => this.#ready(), { signal });
    video.addEventListener("ended", () => this.#become("complete"), { signal });
    video.addEventListener("waiting", () => this.#wait(), { signal });
    video.addEventListener("error", () => this.#failed(), { signal });
    this.reload();
  }

  get state(): PlaybackState {
    return this.#state;
  }

  get live(): boolean {
    return this.video.duration === Number.POSITIVE_INFINITY;
  }

  edge(): number | null {
    const end = this.#seekableEnd();
    return this.live && end !== null ? Math.max(0, end - this.video.currentTime) : null;
  }

  target(): number | null {
    return this.live ? 6 : null;
  }

  shownAt(): number | null {
    // Safari's own: the date of the start of the media, from EXT-X-PROGRAM-DATE-TIME.
    const start = (this.video as { getStartDate?: () => Date }).getStartDate?.().getTime();
    return start === undefined || Number.isNaN(start) ? null : start + this.video.currentTime * 1000;
  }

  livePosition(): number | null {
    const end = this.#seekableEnd();
    return this.live && end !== null ? end : null;
  }

  levels(): Levels {
    return { list: [], playing: -1, chosen: -1 };
  }

  session(): null {
    return null;
  }

  /** The element does not say what the server said. */
  get forbidden(): boolean {
    return this.#state === "absent" || this.#state === "trouble";
  }

  choose(): void {}

  reload(): void {
    clearTimeout(this.#timer);
    this.video.src = this.url;
    this.video.load();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#listening.abort();
  }

  stats(): PlaybackStats {
    return { stalls: this.#stalls, recoveries: this.#tries, errors: {}, bandwidth: 0, dropped: 0 };
  }

  close(): void {
    this.#listening.abort();
    clearTimeout(this.#timer);
    this.video.removeAttribute("src");
    this.video.load();
  }

  #ready(): void {
    this.#tries = 0;
    this.#become("ready");
  }

  #wait(): void {
    if (this.#state === "ready") this.#stalls += 1;
  }

  #failed(): void {
    // The element does not say which it was: a stream that isn't there looks like one that broke.
    this.#become(this.#state === "ready" ? "trouble" : "absent");
    this.#timer = setTimeout(() => this.reload(), backoff(this.#tries, 800, 3_000, Math.random()));
    this.#tries += 1;
  }

  #seekableEnd(): number | null {
    const { seekable } = this.video;
    return seekable.length > 0 ? seekable.end(seekable.length - 1) : null;
  }

  #become(state: PlaybackState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.events.state(state);
  }
}
