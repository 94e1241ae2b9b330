// What a multivariant playlist says of itself in EXT-X-SESSION-DATA: the recording that a broadcast became, the tiles of a
// recording's scrub bar, how the picture lies. Pure; source.ts has the values from hls.js, and askSession() in api.ts from the playlist's text.

import { mediaUrl } from "./config";
import { type Layout, parseProjection, parseStereo } from "./projection";

export interface SessionData {
  /** Absolute address of the recording's playlist; only of a broadcast that is over. */
  asset: string | null;
  /** Absolute address of the WebVTT of thumbnails; only of a recording. */
  thumbnails: string | null;
  /** How the picture lies; null where it is not said. */
  layout: Layout | null;
}

const PREFIX = "#EXT-X-SESSION-DATA:";

/**
 * @param value the VALUE of a DATA-ID, undefined where there is none
 * @param playlist absolute address of the playlist, to which values are relative
 */
export function sessionData(value: (id: string) => string | undefined, playlist: string): SessionData {
  const address = (id: string) => {
    const text = value(id);
    if (text === undefined || text === "") return null;
    try {
      const url = new URL(text, playlist);
      return mediaUrl(url.href, url.origin);
    } catch {
      return null;
    }
  };
  const projection = parseProjection(value("live360.projection") ?? null);
  const stereo = parseStereo(value("live360.stereo") ?? null);
  return {
    asset: address("live360.asset"),
    thumbnails: address("live360.thumbnails"),
    layout: projection ? { projection, stereo: stereo ?? "mono" } : null,
  };
}

/** Reads the tags from a playlist's text. */
export function parseSession(text: string, playlist: string): SessionData {
  const values = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    if (!line.startsWith(PREFIX)) continue;
    const id = /(?:^|,)DATA-ID="([^"]*)"/.exec(line.slice(PREFIX.length))?.[1];
    const value = /(?:^|,)VALUE="([^"]*)"/.exec(line.slice(PREFIX.length))?.[1];
    if (id !== undefined && value !== undefined) values.set(id, value);
  }
  return sessionData(id => values.get(id), playlist);
}
