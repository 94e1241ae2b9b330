// What the page was asked to show, read from its address, and the page's fixed numbers. Pure: knows no DOM, no player.

import { type Layout, type Projection, parseProjection, parseStereo, type Stereo } from "./projection";

/** Every number of the page that somebody may want to turn, with its unit. */
export const settings = {
  /** How often the list asks what is live, ms. */
  listPollMs: 3_000,
  /** How often the player asks about its stream, ms. */
  watchPollMs: 5_000,
  /** Controls fade after this long without a hand on them, ms. */
  idleMs: 3_500,
  /** Across the longer side of the view, degrees. */
  fov: { min: 30, max: 110, start: 90 },
  /** One press of an arrow key, degrees. */
  keyStepDeg: 6,
  /** Drawn pixels per CSS pixel, at most: beyond it a phone only gets warm. */
  maxPixelRatio: 2,
} as const;

/** What the address asks for. */
export type Page =
  | { kind: "list" }
  | { kind: "watch"; url: string; name: string; layout: Partial<Layout>; yaw: number; pitch: number }
  | { kind: "refused"; why: string };

/**
 * Reads `/?url=…&proj=…&stereo=…&yaw=…&pitch=…`.
 * @param search the query, with or without its question mark
 * @param origin of the page, e.g. `https://example.org`
 */
export function readPage(search: string, origin: string): Page {
  const query = new URLSearchParams(search);
  const raw = query.get("url");
  if (raw === null || raw === "") return { kind: "list" };
  const url = mediaUrl(raw, origin);
  if (url === null) {
    return {
      kind: "refused",
      why: "The address to play must be a path on this server or start with http:// or https://.",
    };
  }
  const layout: { projection?: Projection; stereo?: Stereo } = {};
  const projection = parseProjection(query.get("proj"));
  const stereo = parseStereo(query.get("stereo"));
  if (projection) layout.projection = projection;
  if (stereo) layout.stereo = stereo;
  return {
    kind: "watch",
    url,
    name: nameOf(url),
    layout,
    yaw: degrees(query.get("yaw"), 180),
    pitch: degrees(query.get("pitch"), 90),
  };
}

/**
 * The absolute http(s) address of a playlist, or null when it is anything else: another scheme (`javascript:`, `data:`), a
 * path without its leading slash, `//host`, or an address with a password in it.
 */
export function mediaUrl(raw: string, origin: string): string | null {
  const isPath = /^\/(?![/\\])/.test(raw);
  if (!isPath && !/^https?:\/\//i.test(raw)) return null;
  // The URL parser drops tabs and line breaks, so that "/\t/host" would become another host.
  if (hasControl(raw)) return null;
  try {
    const url = new URL(raw, origin);
    const allowed = url.protocol === "http:" || url.protocol === "https:";
    if (!allowed || url.username !== "" || url.password !== "") return null;
    if (isPath && url.origin !== new URL(origin).origin) return null;
    return url.href;
  } catch {
    return null;
  }
}

/** The address of the player on a playlist: a short one where the playlist is on the page's own server. */
export function watchHref(playlist: string, origin: string): string {
  const short = playlist.startsWith(`${origin}/`) ? playlist.slice(origin.length) : playlist;
  // A query may hold slashes as they are, and an address that reads well is copied more willingly.
  return `/?url=${encodeURIComponent(short).replaceAll("%2F", "/")}`;
}

/** A title for a playlist: `foo` for `/hls/foo.m3u8`, the asset for `/vod/ASSET/index.m3u8`. */
export function nameOf(url: string): string {
  const parts = new URL(url).pathname.split("/").filter(part => part !== "");
  const last = parts.at(-1) ?? "";
  const stem = last.replace(/\.m3u8$/i, "");
  const name = stem === "index" || stem === "master" ? (parts.at(-2) ?? stem) : stem;
  try {
    return decodeURIComponent(name) || url;
  } catch {
    return name;
  }
}

function degrees(text: string | null, limit: number): number {
  const value = text === null ? 0 : Number(text);
  return Number.isFinite(value) ? Math.max(-limit, Math.min(limit, value)) : 0;
}

function hasControl(text: string): boolean {
  return [...text].some(char => char < " " || char === "\u007f");
}
