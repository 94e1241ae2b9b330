// One stream being played: the playback, what the viewer did with it, and how far behind it is. Knows no buttons and no sphere.

import { atLiveEdge, type Latency, readLatency, shouldJump } from "./latency";
import type { Playback, PlaybackEvents } from "./playback";
import type { Seekable } from "./seekbar";
import { play } from "./source";

/** Less than this is no time line worth showing, s. */
const SEEK_LEAST_S = 20;

/** What may change the buttons or the notice. */
const EVENTS = [
  "play",
  "playing",
  "waiting",
  "seeking",
  "seeked",
  "canplay",
  "emptied",
  "ended",
  "volumechange",
  "ratechange",
  "durationchange",
] as const;

export class Player {
  readonly playback: Playback;
  /** The viewer stopped the picture; the element's own `paused` is also true while it loads anew. */
  held = false;
  /** The browser would not start without a tap. */
  blocked = false;
  /** The viewer has set the sound as they want it: nobody needs to offer it any more. */
  soundSet = false;
  /** What is played is a broadcast or the end of one, not a recording. */
  wasLive = false;
  /** Opened on a broadcast that was over and has a recording: its last minutes are there, and are not begun unasked. */
  tail = false;
  /** The server's clock less ours, ms; null when not known. */
  clockOffset: number | null = null;
  /** Paused or went back on purpose: then nobody is moved to the live edge unasked. */
  #chosen = false;
  #judged = false;
  /** Sought since the video last told its time: until it does, distances are those of the old place. */
  #stale = false;
  #jumpedAt = Number.NEGATIVE_INFINITY;

  constructor(
    readonly video: HTMLVideoElement,
    url: string,
    events: PlaybackEvents & { changed(): void },
  ) {
    for (const name of EVENTS) video.addEventListener(name, () => events.changed());
    // Also by a headphone's button or the phone's lock screen. A load that begins anew pauses, too, but without this event.
    video.addEventListener("pause", () => {
      this.held = !video.ended;
      events.changed();
    });
    video.addEventListener("timeupdate", () => {
      if (!video.seeking) this.#stale = false;
    });
    video.addEventListener("play", () => {
      this.held = false;
      this.tail = false;
    });
    this.playback = play(video, url, {
      state: state => {
        // Only now is there something to start with; before, a refusal to play would mean nothing.
        if (state === "ready" || state === "complete") this.#opened(state === "complete");
        if (state === "ready" || state === "complete") this.#start(events);
        events.state(state);
      },
      levels: () => events.levels(),
    });
  }

  /** The picture stands though it should move. */
  get buffering(): boolean {
    const { readyState, ended, seeking } = this.video;
    return (
      !this.held && !this.blocked && !ended && (seeking || readyState < HTMLMediaElement.HAVE_FUTURE_DATA)
    );
  }

  get atEdge(): boolean {
    return !this.held && atLiveEdge(this.playback.edge(), this.playback.target());
  }

  latency(now = Date.now()): Latency | null {
    if (!this.playback.live) return null;
    const edge = this.playback.edge();
    return readLatency({ shownAt: this.playback.shownAt(), now, clockOffset: this.clockOffset, edge });
  }

  playPause(): void {
    if (!this.video.paused) {
      this.#chosen = true;
      this.video.pause();
      return;
    }
    this.blocked = false;
    void this.video.play().catch(() => undefined);
  }

  toggleMute(): void {
    this.soundSet = true;
    this.video.muted = !this.video.muted;
    if (!this.video.muted && this.video.volume === 0) this.video.volume = 0.5;
  }

  /** 0…1; 0 is muted. */
  setVolume(volume: number): void {
    this.soundSet = true;
    this.video.volume = volume;
    this.video.muted = volume === 0;
  }

  /** To the newest there is; loads anew when the broadcast had ended and has begun again. */
  goLive(): void {
    this.#chosen = false;
    this.held = false;
    this.tail = false;
    const at = this.playback.livePosition();
    if (at === null) this.playback.reload();
    else this.video.currentTime = at;
    void this.video.play().catch(() => undefined);
  }

  seek(seconds: number): void {
    const live = this.playback.livePosition();
    this.#chosen = live === null || seconds < live - 3;
    this.#stale = true;
    this.video.currentTime = live === null ? seconds : Math.min(seconds, live);
  }

  /** So many seconds on or back, as far as there is something. */
  seekBy(seconds: number): void {
    const range = this.seekable();
    if (range) this.seek(Math.max(range.start, Math.min(range.end, range.at + seconds)));
  }

  /** To the newest there is of a broadcast, to the end of a recording. */
  toEnd(): void {
    if (this.playback.live) this.goLive();
    else this.seekBy(Number.POSITIVE_INFINITY);
  }

  /** How fast a recording is played, 1 as it was; a broadcast's pace is the player's own matter. */
  get rate(): number {
    return this.video.defaultPlaybackRate;
  }

  set rate(rate: number) {
    // A load that begins anew goes back to the default.
    this.video.defaultPlaybackRate = rate;
    this.video.playbackRate = rate;
  }

  /** What can be sought; null while that is next to nothing. */
  seekable(): Seekable | null {
    const { seekable, currentTime, duration } = this.video;
    if (seekable.length === 0) return null;
    const start = seekable.start(0);
    const last = seekable.end(seekable.length - 1);
    const end = this.playback.livePosition() ?? (Number.isFinite(duration) ? duration : last);
    const least = this.playback.live ? SEEK_LEAST_S : 0;
    return end - start > least ? { start, end, at: Math.max(start, Math.min(end, currentTime)) } : null;
  }

  /** Some times a second: back to the live edge when stalls or a slow start have left the viewer behind. */
  tick(now = performance.now()): void {
    if (this.playback.live) {
      this.wasLive = true;
      if (this.rate !== 1) this.rate = 1;
    }
    if (this.atEdge && !this.#stale) this.#chosen = false;
    const at = this.playback.livePosition();
    const far = shouldJump({
      live: this.playback.live,
      paused: this.held || this.blocked || this.video.seeking,
      chosen: this.#chosen,
      edge: this.playback.edge(),
      target: this.playback.target(),
      ahead: this.#ahead(),
      sinceJump: (now - this.#jumpedAt) / 1000,
    });
    if (!far || at === null || at <= this.video.currentTime) return;
    this.#jumpedAt = now;
    this.video.currentTime = at;
  }

  /** Loaded beyond what is shown, s. */
  #ahead(): number {
    const { buffered, currentTime } = this.video;
    for (let i = 0; i < buffered.length; i += 1) {
      if (buffered.start(i) <= currentTime && currentTime < buffered.end(i))
        return buffered.end(i) - currentTime;
    }
    return 0;
  }

  /** Once, when there is something to play. */
  #opened(complete: boolean): void {
    if (this.#judged) return;
    this.#judged = true;
    if (!complete || !this.playback.session()?.asset) return;
    this.tail = true;
    this.wasLive = true;
    this.held = true;
    this.video.autoplay = false;
    this.video.pause();
  }

  #start(events: { changed(): void }): void {
    if (!this.video.paused || this.held || this.video.ended) return;
    this.video.play().then(
      () => {
        this.blocked = false;
      },
      (error: unknown) => {
        // AbortError only says that a new load came between.
        this.blocked = error instanceof DOMException && error.name === "NotAllowedError";
        events.changed();
      },
    );
  }
}
