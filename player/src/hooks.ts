// `window.live360`: what tests, and people with the browser's console open, can see and do. A contract: player/e2e and the
// end-to-end tests rely on it. Knows no three.js and no hls.js.

import type { Latency } from "./latency";
import type { Levels, PlaybackState, PlaybackStats } from "./playback";
import type { Player } from "./player";
import type { Layout } from "./projection";
import type { PixelGrid } from "./sphere";
import type { Flatness, Stage } from "./stage";

export interface Hooks {
  /** The element that plays; its currentTime and requestVideoFrameCallback are the player's own. */
  video: HTMLVideoElement;
  /** Where the viewer looks, degrees: read and set. The field of view is across the longer side. */
  look: { yaw: number; pitch: number; fov: number };
  /** How far behind the broadcast, s; null while unknown or for a recording. */
  latency(): Latency | null;
  /** Distance from the playlist's end and the one aimed at, s; null for a recording. And the speed of playing. */
  timing(): { edge: number | null; target: number | null; rate: number };
  /** The rungs in the playlist's order, which plays, which was chosen (−1: automatic). */
  levels(): Levels;
  chooseLevel(index: number): void;
  /** How the picture is taken to lie, and whether a sphere is drawn. */
  picture(): Layout & { drawn: Flatness };
  /** `ready` is true when a picture is there and moving. */
  state(): { playback: PlaybackState; live: boolean; buffering: boolean; ready: boolean };
  /** Counters of stalls and mended errors, the estimated bandwidth, dropped frames. */
  stats(): PlaybackStats;
  /** Draws now and reads back a grid of pixels, RGB 0…255 from the top left; null without WebGL. */
  readPixels(columns?: number, rows?: number): PixelGrid | null;
}

declare global {
  interface Window {
    live360?: Hooks;
  }
}

export function publishHooks(stage: Stage, player: Player): void {
  const { video, look } = stage;
  const { playback } = player;
  window.live360 = {
    video,
    look: {
      get yaw() {
        return look.heading().yaw;
      },
      set yaw(yaw: number) {
        look.set({ yaw });
      },
      get pitch() {
        return look.heading().pitch;
      },
      set pitch(pitch: number) {
        look.set({ pitch });
      },
      get fov() {
        return look.fov;
      },
      set fov(fov: number) {
        look.set({ fov });
      },
    },
    latency: () => player.latency(),
    timing: () => ({ edge: playback.edge(), target: playback.target(), rate: video.playbackRate }),
    levels: () => playback.levels(),
    chooseLevel: index => playback.choose(index),
    picture: () => ({ ...stage.layout, drawn: stage.flatness }),
    state: () => ({
      playback: playback.state,
      live: playback.live,
      buffering: player.buffering,
      ready: video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA && !video.paused && !player.buffering,
    }),
    stats: () => playback.stats(),
    readPixels: (columns, rows) => stage.readPixels(columns, rows),
  };
}
