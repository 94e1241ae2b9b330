// What the rungs of a stream are called. Pure: knows no player; a level is its size and bit rate.

import type { Rung } from "./streams";

export interface Level {
  width: number;
  height: number;
  /** Bits per second. */
  bandwidth: number;
}

/** `5.8 Mb/s`, `500 kb/s`. */
export function rate(bandwidth: number): string {
  if (bandwidth >= 9_950_000) return `${Math.round(bandwidth / 1e6)} Mb/s`;
  return bandwidth >= 950_000
    ? `${(bandwidth / 1e6).toFixed(1)} Mb/s`
    : `${Math.round(bandwidth / 1000)} kb/s`;
}

/** `1920×960`, or the rate alone where a playlist gives no size. */
export function size(level: Level): string {
  return level.width > 0 && level.height > 0 ? `${level.width}×${level.height}` : rate(level.bandwidth);
}

/** What a 360° picture's width means to an eye: `4K`, `HD`; empty below. */
export function grade(level: Level): string {
  if (level.width >= 7_000) return "8K";
  if (level.width >= 5_000) return "5.7K";
  if (level.width >= 3_600) return "4K";
  return level.width >= 1_900 ? "2K" : "";
}

export interface LevelLabel {
  /** Index in the player's list. */
  index: number;
  name: string;
  /** Rate, and whether it is the broadcaster's own picture. */
  detail: string;
}

/** Best first. `rungs` from the server tell which is the source. */
export function levelLabels(levels: readonly Level[], rungs: readonly Rung[]): LevelLabel[] {
  const source = sourceIndex(levels, rungs);
  return levels
    .map((level, index) => ({
      index,
      name: size(level),
      detail: [grade(level), rate(level.bandwidth), index === source ? "source" : ""]
        .filter(part => part !== "")
        .join(" · "),
      bandwidth: level.bandwidth,
    }))
    .sort((a, b) => b.bandwidth - a.bandwidth)
    .map(({ index, name, detail }) => ({ index, name, detail }));
}

/** Measured bandwidths differ from the ladder's, so the size decides, and of equal sizes the nearest bandwidth. */
function sourceIndex(levels: readonly Level[], rungs: readonly Rung[]): number {
  const source = rungs.find(rung => rung.source);
  if (!source) return -1;
  let best = -1;
  let distance = Number.POSITIVE_INFINITY;
  levels.forEach((level, index) => {
    const off = Math.abs(level.bandwidth - source.bandwidth);
    if (level.width === source.width && level.height === source.height && off < distance) {
      best = index;
      distance = off;
    }
  });
  return best;
}
