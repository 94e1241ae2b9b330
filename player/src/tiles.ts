// Fetches tiles of contact sheets and puts them on elements, as backgrounds: a sheet is one picture, whatever many tiles it
// has. Knows the network and CSS; thumbs.ts knows the format.

import { parseTiles, type Tile } from "./thumbs";

/** Longer than this nobody waits for thumbnails, ms. */
const PATIENCE_MS = 20_000;
/** A file of tiles is not read beyond this, characters. */
const FILE_MOST = 4 << 20;
/** The first cue must lie within this, characters. */
const HEAD_MOST = 16 << 10;

/** How wide a picture is shown that is no part of a sheet, px. */
const WHOLE_PX = 160;

/** All tiles. @throws when there is no answer */
export async function loadTiles(url: string): Promise<Tile[]> {
  return parseTiles(`${await head(url, FILE_MOST, () => false)}\n`, url);
}

const firsts = new Map<string, Promise<Tile | null>>();

/** The first tile, reading no more of the file than that; null when there is none. Remembered: it never changes. */
export function firstTile(url: string): Promise<Tile | null> {
  const known = firsts.get(url);
  if (known) return known;
  const first = (text: string) => parseTiles(text, url, 1)[0] ?? null;
  const asked = head(url, HEAD_MOST, text => first(text) !== null).then(
    text => first(`${text}\n`),
    () => {
      // Asked again when the list is next drawn.
      firsts.delete(url);
      return null;
    },
  );
  firsts.set(url, asked);
  return asked;
}

/** Shows a tile as large as it is; null takes it away. */
export function showTile({ style }: HTMLElement, tile: Tile | null): void {
  // The URL parser escapes whatever could end a string in CSS, but for this.
  style.backgroundImage = tile === null ? "" : `url("${tile.image.replaceAll("\\", "%5C")}")`;
  if (tile === null) return;
  const whole = tile.width === 0;
  style.width = `${whole ? WHOLE_PX : tile.width}px`;
  style.height = `${whole ? WHOLE_PX / 2 : tile.height}px`;
  style.backgroundSize = whole ? "cover" : "auto";
  style.backgroundPosition = `${-tile.x}px ${-tile.y}px`;
}

/** Reads a text until `enough` says so, or to its end, or to `most` characters. */
async function head(url: string, most: number, enough: (text: string) => boolean): Promise<string> {
  const stop = new AbortController();
  const response = await fetch(url, {
    signal: AbortSignal.any([stop.signal, AbortSignal.timeout(PATIENCE_MS)]),
  });
  if (!response.ok || !response.body) throw new Error(`the server answered ${response.status}`);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (text.length < most && !enough(text)) {
    const { done, value } = await reader.read();
    if (done) return text;
    text += value;
  }
  stop.abort();
  return text;
}
