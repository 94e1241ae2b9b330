// The tiles of an asset's contact sheets: a WebVTT whose cues say which part of which picture belongs to which time, as in
// `0.jpg#xywh=160,0,160,80`. Pure: knows no network and no DOM.

import { mediaUrl } from "./config";

/** A part of a sheet, to be shown from `start` until `end`, s from the recording's beginning. */
export interface Tile {
  start: number;
  end: number;
  /** Absolute address of the sheet. */
  image: string;
  /** In the sheet, px; the whole sheet where `width` is 0. */
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Twelve hours in segments of two seconds are fewer. */
const TILES_MOST = 25_000;

const TIMES = /^((?:\d+:)?\d{1,2}:\d{2}\.\d{3})\s+-->\s+((?:\d+:)?\d{1,2}:\d{2}\.\d{3})(?:\s|$)/;
const PART = /[#&]xywh=(?:pixel:)?(\d{1,6}),(\d{1,6}),(\d{1,6}),(\d{1,6})$/;

/**
 * The tiles in order of time. What is no cue of a tile is passed over; so is a last cue without its line end, since the file
 * may still be on its way.
 * @param base address of the file, to which those of its sheets are relative
 */
export function parseTiles(text: string, base: string, most = TILES_MOST): Tile[] {
  const tiles: Tile[] = [];
  const lines = text.split(/\r\n|\r|\n/).slice(0, -1);
  for (let at = 0; at < lines.length && tiles.length < most; at += 1) {
    const times = TIMES.exec(lines[at] ?? "");
    if (!times) continue;
    at += 1;
    const tile = parseTile(lines[at] ?? "", base, seconds(times[1]), seconds(times[2]));
    if (tile) tiles.push(tile);
  }
  return tiles.sort((a, b) => a.start - b.start);
}

/** What is shown at a time: in a gap the tile before it, so that a hand on the scrub bar never sees nothing. */
export function tileAt(tiles: readonly Tile[], at: number): Tile | null {
  let [low, high] = [0, tiles.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((tiles[middle]?.start ?? 0) <= at) low = middle + 1;
    else high = middle;
  }
  return tiles[Math.max(0, low - 1)] ?? null;
}

function parseTile(line: string, base: string, start: number, end: number): Tile | null {
  if (line.trim() === "" || !(end > start)) return null;
  const image = address(line.trim(), base);
  if (image === null) return null;
  const [, x = 0, y = 0, width = 0, height = 0] = (PART.exec(line.trim()) ?? []).map(Number);
  if (PART.test(line.trim()) && (width === 0 || height === 0)) return null;
  return { start, end, image, x, y, width, height };
}

function address(relative: string, base: string): string | null {
  try {
    const url = new URL(relative, base);
    url.hash = "";
    // In an answer of another server a path would be one on this page's own.
    return mediaUrl(url.href, url.origin);
  } catch {
    return null;
  }
}

/** `1:02:03.400` or `02:03.400`. */
function seconds(time = ""): number {
  return time.split(":").reduce((sum, part) => sum * 60 + Number(part), 0);
}
