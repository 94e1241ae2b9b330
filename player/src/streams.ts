// What `/api/streams` says, checked field by field: the answer is another program's, and names in it are other people's.
// Pure: knows no network and no DOM. What does not fit is left out, never guessed.

import { mediaUrl } from "./config";
import { bare } from "./pass";
import { type Layout, parseProjection, parseStereo } from "./projection";

export type StreamState = "live" | "waiting" | "ended";
export type AssetState = "instant" | "transcoding" | "ready" | "failed";

export interface Rung {
  width: number;
  height: number;
  /** Bits per second. */
  bandwidth: number;
  /** The broadcaster's own picture, not encoded again. */
  source: boolean;
}

export interface Stream {
  name: string;
  state: StreamState;
  /** Absolute address of the playlist. */
  url: string;
  /** When the state began, ms since 1970. */
  since: number | null;
  layout: Layout;
  rungs: Rung[];
  listed: boolean;
  /** It plays by a signed link only. */
  locked: boolean;
}

/** A recording of a stream that has ended, or of a file that somebody uploaded. */
export interface Asset {
  id: string;
  name: string;
  url: string;
  start: number | null;
  durationS: number | null;
  state: AssetState;
  /** How much of it is made, 0…1; null unless it is being made and the server says. */
  progress: number | null;
  /** Why making it, or making it better, failed. */
  reason: string | null;
  /** Absolute address of the WebVTT with the tiles of its contact sheets. */
  thumbnails: string | null;
  /** It plays by a signed link only. */
  locked: boolean;
}

export interface Catalogue {
  streams: Stream[];
  assets: Asset[];
}

/** A reason is cut here, characters: it may hold what some program printed. */
const REASON_MOST = 200;

/** More than this of either is not looked at. */
const MOST = 1_000;

/** @throws Error when the answer is not a catalogue at all */
export function parseCatalogue(json: unknown, origin: string): Catalogue {
  if (!isRecord(json) || !Array.isArray(json["streams"])) throw new Error("not a list of streams");
  return {
    streams: each(json["streams"], item => parseStream(item, origin)),
    assets: each(json["assets"], item => parseAsset(item, origin)),
  };
}

/** The stream or recording that a playlist belongs to, be it by a link with a token. */
export function findByUrl<T extends { url: string }>(items: readonly T[], url: string): T | undefined {
  const key = withoutQuery(bare(url));
  return items.find(item => withoutQuery(item.url) === key);
}

/** Live ones first, then those that wait, then the ended; each by name. Unlisted ones are left out. */
export function listed(streams: readonly Stream[]): Stream[] {
  const order: StreamState[] = ["live", "waiting", "ended"];
  return streams
    .filter(stream => stream.listed)
    .sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state) || a.name.localeCompare(b.name));
}

/** `12 min`, `3 h 5 min`, `2 days`; for a person, not for sums. */
export function span(ms: number): string {
  const minutes = Math.floor(Math.max(0, ms) / 60_000);
  if (minutes < 1) return "less than a minute";
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} days`;
}

/** `1:05`, `2:01:05`. */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.floor(Number.isFinite(seconds) ? seconds : 0));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n: number) => String(n).padStart(2, "0");
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

function parseStream(item: unknown, origin: string): Stream | null {
  if (!isRecord(item)) return null;
  const name = text(item["name"]);
  const url = playlist(item["url"], origin);
  const state = (["live", "waiting", "ended"] as const).find(known => known === item["state"]);
  if (name === null || url === null || state === undefined) return null;
  return {
    name,
    state,
    url,
    since: date(item["since"]),
    layout: {
      projection: parseProjection(item["projection"]) ?? "equirect",
      stereo: parseStereo(item["stereo"]) ?? "mono",
    },
    rungs: each(item["rungs"], parseRung).sort((a, b) => b.bandwidth - a.bandwidth),
    listed: item["listed"] !== false,
    locked: item["watch"] === "signed",
  };
}

function parseAsset(item: unknown, origin: string): Asset | null {
  if (!isRecord(item)) return null;
  const id = text(item["id"]);
  const url = playlist(item["url"], origin);
  const state = (["instant", "transcoding", "ready", "failed"] as const).find(
    known => known === item["state"],
  );
  if (id === null || url === null || state === undefined) return null;
  return {
    id,
    name: text(item["name"]) ?? id,
    url,
    start: date(item["start"]),
    durationS: positive(item["duration_s"]),
    state,
    progress: state === "transcoding" ? progress(item) : null,
    reason: words(item["reason"]),
    thumbnails: playlist(item["thumbnails"], origin),
    locked: item["watch"] === "signed",
  };
}

/** `progress` from 0 to 1, or so many `tasks` of which so many are `done`. */
function progress(item: Record<string, unknown>): number | null {
  const { progress: part, tasks, done } = item;
  if (typeof part === "number") return part >= 0 && part <= 1 ? part : null;
  if (typeof tasks !== "number" || typeof done !== "number") return null;
  return tasks > 0 && done >= 0 && done <= tasks ? done / tasks : null;
}

function parseRung(item: unknown): Rung | null {
  if (!isRecord(item)) return null;
  const [width, height, bandwidth] = [
    positive(item["width"]),
    positive(item["height"]),
    positive(item["bandwidth"]),
  ];
  if (width === null || height === null || bandwidth === null) return null;
  return { width, height, bandwidth, source: item["source"] === true };
}

function each<T>(list: unknown, parse: (item: unknown) => T | null): T[] {
  if (!Array.isArray(list)) return [];
  return list
    .slice(0, MOST)
    .map(parse)
    .filter(item => item !== null);
}

function playlist(value: unknown, origin: string): string | null {
  return typeof value === "string" ? mediaUrl(value, origin) : null;
}

function text(value: unknown): string | null {
  return typeof value === "string" && value !== "" && value.length <= 256 ? value : null;
}

function words(value: unknown): string | null {
  if (typeof value !== "string" || value.trim() === "") return null;
  return value.length > REASON_MOST ? `${value.slice(0, REASON_MOST - 1)}…` : value;
}

function positive(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) && value > 0 ? value : null;
}

function date(value: unknown): number | null {
  const ms = typeof value === "string" ? Date.parse(value) : Number.NaN;
  return Number.isNaN(ms) ? null : ms;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function withoutQuery(url: string): string {
  return url.replace(/[?#].*$/, "");
}
