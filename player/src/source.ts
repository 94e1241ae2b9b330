// Plays an HLS address on a <video> with hls.js, and comes back from whatever goes wrong. The only file that knows hls.js;
// what to do about a failure is recovery.ts's to say. Knows nothing of spheres, buttons or the list of streams.

import Hls, { type ErrorData, ErrorDetails, ErrorTypes, Events, type HlsConfig } from "hls.js";
import workerPath from "hls.js/dist/hls.worker.js?url";
import { NativePlayback } from "./native";
import type { Levels, Playback, PlaybackEvents, PlaybackState, PlaybackStats } from "./playback";
import { type Action, decide } from "./recovery";
import { type SessionData, sessionData } from "./session";

/**
 * No liveSyncDuration: without one hls.js keeps the server's own PART-HOLD-BACK, which is right for any part length, and
 * goes further back by itself after a stall. Catching up by 5 to 8 %: less makes some browsers lose lip-sync.
 */
const CONFIG: Partial<HlsConfig> = {
  lowLatencyMode: true,
  maxLiveSyncPlaybackRate: 1.08,
  liveDurationInfinity: true,
  backBufferLength: 30,
  maxBufferLength: 20,
  // A level as wide as the element would be far too small: the element shows only a part of the sphere.
  capLevelToPlayerSize: false,
  // A modest rung first and no first segment of the smallest only to measure: so near the live edge that costs a stall.
  abrEwmaDefaultEstimate: 3_500_000,
  testBandwidth: false,
  preferManagedMediaSource: true,
  enableWorker: true,
  workerPath,
};

/** Less than a frame of any sound or picture, s. */
const PADDING_S = 0.015;

/** Media failures further apart than this have nothing to do with each other, ms. */
const MEDIA_MEMORY_MS = 30_000;

/** Plays `url` with hls.js, or with the browser's own HLS where there is no Media Source at all. */
export function play(video: HTMLVideoElement, url: string, events: PlaybackEvents): Playback {
  if (!Hls.isSupported() && video.canPlayType("application/vnd.apple.mpegurl") !== "") {
    return new NativePlayback(video, url, events);
  }
  return new HlsPlayback(video, url, events);
}

class HlsPlayback implements Playback {
  #hls: Hls | null = null;
  #state: PlaybackState = "loading";
  #live = false;
  #chosen = -1;
  #session: SessionData | null = null;
  #started = false;
  #networkFailures = 0;
  #forbidden = false;
  #stopped = false;
  #mediaFailures: number[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #counts = { stalls: 0, recoveries: 0, errors: {} as Record<string, number> };

  constructor(
    private readonly video: HTMLVideoElement,
    private readonly url: string,
    private readonly events: PlaybackEvents,
  ) {
    if (Hls.isSupported()) this.#build();
    else this.#become("unsupported");
  }

  get state(): PlaybackState {
    return this.#state;
  }

  get live(): boolean {
    return this.#live;
  }

  edge(): number | null {
    const hls = this.#hls;
    return hls && this.#live && this.#started ? hls.latency : null;
  }

  target(): number | null {
    return this.#live ? (this.#hls?.targetLatency ?? null) : null;
  }

  shownAt(): number | null {
    return this.#hls?.playingDate?.getTime() ?? null;
  }

  livePosition(): number | null {
    return this.#live ? (this.#hls?.liveSyncPosition ?? null) : null;
  }

  levels(): Levels {
    const list = (this.#hls?.levels ?? []).map(level => ({
      width: level.width,
      height: level.height,
      bandwidth: level.averageBitrate || level.bitrate,
    }));
    return { list, playing: this.#hls?.currentLevel ?? -1, chosen: this.#chosen };
  }

  session(): SessionData | null {
    return this.#session;
  }

  get forbidden(): boolean {
    return this.#forbidden;
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#stopped = true;
    this.#hls?.stopLoad();
  }

  choose(level: number): void {
    this.#chosen = level;
    // nextLevel changes at the next segment and throws away what was buffered beyond; nothing stops.
    if (this.#hls) this.#hls.nextLevel = level;
    this.events.levels();
  }

  reload(): void {
    this.#build();
  }

  stats(): PlaybackStats {
    const quality = this.video.getVideoPlaybackQuality?.();
    return {
      ...this.#counts,
      errors: { ...this.#counts.errors },
      bandwidth: this.#hls?.bandwidthEstimate ?? 0,
      dropped: quality?.droppedVideoFrames ?? 0,
    };
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#hls?.destroy();
    this.#hls = null;
  }

  #build(): void {
    this.close();
    this.#started = false;
    const hls = new Hls(CONFIG);
    this.#hls = hls;
    loadShortParts(hls);
    hls.on(Events.MANIFEST_LOADED, (_, data) => {
      this.#session = sessionData(id => data.sessionData?.[id]?.["VALUE"], data.url);
    });
    hls.on(Events.MANIFEST_PARSED, () => {
      if (this.#chosen >= hls.levels.length) this.#chosen = -1;
      if (this.#chosen >= 0) hls.nextLevel = this.#chosen;
      this.events.levels();
    });
    hls.on(Events.LEVEL_SWITCHED, () => this.events.levels());
    hls.on(Events.LEVELS_UPDATED, () => this.events.levels());
    hls.on(Events.LEVEL_UPDATED, (_, { details }) => {
      this.#live = details.live;
      if (this.#started) this.#become(details.live ? "ready" : "complete");
    });
    hls.on(Events.FRAG_BUFFERED, () => {
      this.#started = true;
      this.#networkFailures = 0;
      if (!this.#stopped) this.#forbidden = false;
      this.#become(this.#live ? "ready" : "complete");
    });
    hls.on(Events.ERROR, (_, data) => this.#failed(data));
    hls.attachMedia(this.video);
    hls.loadSource(this.url);
  }

  #failed(data: ErrorData): void {
    const counts = this.#counts;
    counts.errors[data.details] = (counts.errors[data.details] ?? 0) + 1;
    if (data.details === ErrorDetails.BUFFER_STALLED_ERROR) counts.stalls += 1;
    // A mistake in this page or in hls.js, not in the stream: nobody would see it otherwise.
    if (data.details === ErrorDetails.INTERNAL_EXCEPTION) console.error(data.error);
    const code = data.response?.code;
    if (code === 401 || code === 403) this.#forbidden = true;
    if (this.#stopped) return;
    const now = performance.now();
    this.#mediaFailures = this.#mediaFailures.filter(at => now - at < MEDIA_MEMORY_MS);
    const action = decide(
      {
        fatal: data.fatal,
        kind: kindOf(data),
        playlist: /^(manifest|level|audioTrack|subtitleTrack)/.test(data.details),
        status: data.response?.code,
      },
      { started: this.#started, network: this.#networkFailures, media: this.#mediaFailures.length },
      Math.random(),
    );
    if (action.do === "nothing") return;
    counts.recoveries += 1;
    if (data.type === ErrorTypes.NETWORK_ERROR) this.#networkFailures += 1;
    else this.#mediaFailures.push(now);
    this.#mend(action);
  }

  #mend(action: Action): void {
    const hls = this.#hls;
    if (!hls) return;
    switch (action.do) {
      case "nothing":
        return;
      case "reset-media":
        this.#become("trouble");
        hls.recoverMediaError();
        return;
      case "wait":
        this.#become("absent");
        // The manifest's own load is all that is repeated: the player and what it shows stay as they are.
        this.#later(action.afterMs, () => hls.loadSource(this.url));
        return;
      case "resume":
        this.#become("trouble");
        this.#later(action.afterMs, () => hls.startLoad());
        return;
      case "reload":
        this.#become("trouble");
        this.#later(action.afterMs, () => hls.loadSource(this.url));
        return;
      case "rebuild":
        this.#become("trouble");
        this.#later(action.afterMs, () => this.#build());
        return;
    }
  }

  #later(ms: number, act: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(act, ms);
  }

  #become(state: PlaybackState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.events.state(state);
  }
}

/**
 * hls.js 1.7 takes a segment for loaded when all but 0.2 s of it is buffered. The last part of a segment is often a frame or
 * two: when it is listed together with the segment's end, while the part before is still on its way, it is never loaded, and
 * the picture stops there for some seconds until the parts leave the playlist. There is no setting for it, only this field.
 */
function loadShortParts(hls: Hls): void {
  const { coreComponents } = hls as unknown as { coreComponents?: { bufferPadding?: number }[] };
  for (const component of coreComponents ?? []) {
    if (component.bufferPadding !== undefined) component.bufferPadding = PADDING_S;
  }
}

function kindOf(data: ErrorData): "network" | "media" | "other" {
  // Playlists that can't be parsed are the network's matter too: a proxy's error page, or one cut short.
  if (
    data.details === ErrorDetails.MANIFEST_PARSING_ERROR ||
    data.details === ErrorDetails.LEVEL_PARSING_ERROR
  ) {
    return "network";
  }
  if (data.type === ErrorTypes.NETWORK_ERROR) return "network";
  return data.type === ErrorTypes.MEDIA_ERROR ? "media" : "other";
}
