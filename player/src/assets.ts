// What recordings there are of what: their states in words, which belong together, and which one a broadcast became. Pure:
// knows no DOM and no player.

import type { Asset } from "./streams";

/** `recorded`, `being improved, 42 %`, `ready`, `failed: no such codec`. */
export function assetWords({ state, progress, reason }: Asset): string {
  switch (state) {
    case "instant":
      // It plays as it was broadcast; only the better qualities are missing.
      return reason === null ? "recorded" : `recorded; could not be improved: ${reason}`;
    case "transcoding":
      return progress === null ? "being improved" : `being improved, ${percent(progress)}`;
    case "ready":
      return "ready";
    case "failed":
      return reason === null ? "failed" : `failed: ${reason}`;
  }
}

/** `42 %`; never 100 %, since the playlists come after the last task. */
export function percent(progress: number): string {
  return `${Math.min(99, Math.floor(progress * 100))} %`;
}

/** `foo · 20 Nov 2026, 17:25`, the time as the reader's own clock had it. */
export function assetTitle({ name, start }: Asset): string {
  return start === null ? name : `${name} · ${dateWords(start)}`;
}

/** `20 Nov 2026, 17:25` in the reader's own language and time, or only one half of it. */
export function dateWords(start: number, half?: "date" | "time"): string {
  return new Date(start).toLocaleString(undefined, {
    ...(half === "time" ? {} : { dateStyle: "medium" }),
    ...(half === "date" ? {} : { timeStyle: "short" }),
  });
}

/** What is known of a broadcast that is over. */
export interface Over {
  name: string;
  /** The recording that the playlist itself names. */
  named: string | null;
  /** Recordings that were there while the broadcast was on: earlier ones of that name. */
  earlier: ReadonlySet<string>;
}

/** The recording of a broadcast; undefined while there is none, or only ones of earlier broadcasts. */
export function recordingOf(assets: readonly Asset[], over: Over): { url: string } | undefined {
  if (over.named !== null) return { url: over.named };
  return newestFirst(assets).find(
    asset => asset.name === over.name && asset.state !== "failed" && !over.earlier.has(asset.id),
  );
}

export interface AssetGroup {
  name: string;
  /** Newest first, never empty. */
  assets: Asset[];
}

/** Recordings of each name; the name with the newest one comes first. */
export function groupByName(assets: readonly Asset[]): AssetGroup[] {
  const groups = new Map<string, Asset[]>();
  for (const asset of newestFirst(assets)) {
    const group = groups.get(asset.name);
    if (group) group.push(asset);
    else groups.set(asset.name, [asset]);
  }
  return [...groups].map(([name, list]) => ({ name, assets: list }));
}

/** Names that have only one recording and follow each other are shown as one; null is their name. */
export function joinSingles(groups: readonly AssetGroup[]): { name: string | null; assets: Asset[] }[] {
  const joined: { name: string | null; assets: Asset[] }[] = [];
  for (const { name, assets } of groups) {
    const last = joined.at(-1);
    if (assets.length > 1) joined.push({ name, assets });
    else if (last?.name === null) last.assets.push(...assets);
    else joined.push({ name: null, assets: [...assets] });
  }
  return joined;
}

/** How many more rows a press on "Show more" brings, and what its button says; null when all are shown. */
export function moreWords(shown: number, all: number, step: number): string | null {
  const left = all - shown;
  if (left <= 0) return null;
  return left <= step ? `Show ${left} more` : `Show ${step} more of ${left}`;
}

function newestFirst(assets: readonly Asset[]): Asset[] {
  return assets.toSorted((a, b) => (b.start ?? 0) - (a.start ?? 0));
}
