// Looks at everything about recordings in a real Chromium, without any server of ours: makes a small recording with ffmpeg, a
// contact sheet of it, a broadcast that ends, and a list of 500 recordings; says in one line of JSON what was seen.
//
//   node e2e/vod.mjs [--dist DIR] [--shots DIR]
//
//   --dist    the built page, player/dist unless told
//   --shots   screenshots go there
//
// Exit: 0 all as it should be; 1 it is not, and "failed" says what. Chromium is /usr/bin/chromium, or what the environment
// variable CHROMIUM names.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const FLAGS = [
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--use-angle=swiftshader",
  "--enable-unsafe-swiftshader",
];
const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".jpg": "image/jpeg",
  ".vtt": "text/vtt",
  ".m3u8": "application/vnd.apple.mpegurl",
  ".m4s": "video/iso.segment",
  ".mp4": "video/mp4",
};
/** Of the recording, s, and of each of its segments and tiles. */
const LENGTH_S = 30;
const SEGMENT_S = 2;
const SEGMENTS = LENGTH_S / SEGMENT_S;
/** Whatever is waited for comes within this, ms: the machine may be busy. */
const PATIENCE_MS = 60_000;
const ID = "foo-20261120T172500Z";

const { values } = parseArgs({ options: { dist: { type: "string" }, shots: { type: "string" } } });
const dist = values.dist ?? fileURLToPath(new URL("../dist", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "live360-vod-"));
const seen = { errors: [] };
/** What the fake server says at the moment. */
const fake = { streams: [], assets: [], live: null };

makeMedia();
const server = createServer((request, response) => void serve(request, response));
await new Promise(resolve => server.listen(0, "127.0.0.1", resolve));
const home = `http://127.0.0.1:${server.address().port}`;
let context;
try {
  context = await chromium.launchPersistentContext(join(folder, "profile"), {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    viewport: { width: 1280, height: 720 },
    args: FLAGS,
  });
  context.setDefaultTimeout(PATIENCE_MS);
  await theList();
  await theScrubBar();
  await theEnd();
  await theHourAfter();
  await longAfter();
  await notReady();
  if (seen.errors.length > 0) throw new Error(`the page threw: ${seen.errors[0]}`);
} catch (error) {
  seen.failed = error instanceof Error ? error.message.split("\n")[0] : String(error);
} finally {
  await context?.close().catch(() => undefined);
  server.close();
  server.closeAllConnections();
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
}
console.log(JSON.stringify(seen));
process.exit(seen.failed === undefined ? 0 : 1);

/** 500 recordings: few are drawn, in words that tell their state, with their first tile, and more on request. */
async function theList() {
  fake.streams = [stream("live"), { ...stream("ended"), name: "bar", url: "/hls/bar.m3u8" }];
  const thumbnails = `/vod/${ID}/hq/thumbs.vtt`;
  const at = n => new Date(Date.UTC(2026, 10, 20, 17, 25) - n * 86_400_000).toISOString();
  const one = (n, change) => ({
    ...asset("ready"),
    id: `foo-${n}`,
    start: at(n),
    duration_s: 5_025.4,
    ...change,
  });
  fake.assets = [
    asset("ready", { thumbnails }),
    one(1, { state: "transcoding", progress: 0.429 }),
    one(2, { state: "instant", thumbnails }),
    one(3, { state: "failed", reason: "there is no picture in this file: only sound (aac)" }),
    ...Array.from({ length: 180 }, (_, n) => one(n + 4, { thumbnails })),
    one(1, {
      id: "bar-1",
      name: "bar",
      state: "instant",
      reason: "the source's last part is damaged",
      thumbnails,
    }),
    one(2, {
      id: "lecture-1",
      name: "lecture on the history of panoramic painting",
      duration_s: 37_265,
      thumbnails,
    }),
    ...Array.from({ length: 314 }, (_, n) =>
      one(n + 3, { id: `upload-${n}`, name: `upload-${n}`, thumbnails }),
    ),
  ];
  const page = await open("/");
  await page.getByText("being improved, 42 %").waitFor();
  await page.waitForFunction(() => document.querySelector(".still")?.style.backgroundImage.includes("0.jpg"));
  await shot(page, "list");
  const rows = () => page.locator(".tape").count();
  seen.rows = [await rows()];
  if (seen.rows[0] > 60) throw new Error(`${seen.rows[0]} recordings are drawn at once`);
  await page.locator(".tapes .more").first().click();
  seen.rows.push(await rows());
  seen.focused = await page.evaluate(() => document.activeElement?.dataset.asset ?? null);
  await page.locator(".recordings > .more").click();
  seen.rows.push(await rows());
  await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
  await page.waitForFunction(() => [...document.querySelectorAll(".still")].at(-1)?.style.backgroundImage);
  await shot(page, "list-more");
  await page.setViewportSize({ width: 390, height: 780 });
  await page.evaluate(() => document.querySelector(".recordings").scrollIntoView());
  await shot(page, "list-phone");
  await page.close();
  if (!(seen.rows[1] === seen.rows[0] + 24 && seen.rows[2] > seen.rows[1]))
    throw new Error("more does not show more");
}

/** Thumbnails by the list, and where the list knows nothing by the playlist itself; and the keys. */
async function theScrubBar() {
  fake.assets = [asset("ready", { thumbnails: `/vod/${ID}/hq/thumbs.vtt` })];
  for (const by of ["list", "playlist"]) {
    if (by === "playlist") fake.assets = [];
    const page = await open(`/?url=/vod/${ID}/index.m3u8`);
    await playing(page);
    await page.waitForFunction(() => document.querySelector(".seek")?.max > 20);
    seen[`tile_by_${by}`] = await hover(page, 0.5);
    await shot(page, `scrub-${by}`);
    if (by === "list") {
      await hover(page, 0.002);
      await shot(page, "scrub-left");
      await keys(page);
      await page.locator(".menu .icon-button").click();
      await shot(page, "menu");
    }
    await page.close();
  }
}

/** @returns the tile's place in its sheet and the time below it */
async function hover(page, share) {
  const box = await page.locator(".seek").boundingBox();
  await page.mouse.move(box.x + 4 + share * (box.width - 8), box.y + box.height / 2);
  await page.waitForFunction(() => document.querySelector(".bubble:not([hidden]) .tile:not([hidden])"));
  return page.evaluate(() => [
    document.querySelector(".tile").style.backgroundPosition,
    document.querySelector(".bubble span").textContent,
  ]);
}

async function keys(page) {
  const time = () => page.evaluate(() => window.live360.video.currentTime);
  await page.evaluate(() => window.live360.video.pause());
  const yaw = await page.evaluate(() => window.live360.look.yaw);
  const press = async key => {
    const before = await time();
    await page.keyboard.press(key);
    await page.waitForFunction(() => !window.live360.video.seeking);
    return Math.round((await time()) - before);
  };
  await page.evaluate(() => {
    window.live360.video.currentTime = 12;
  });
  await page.waitForFunction(() => !window.live360.video.seeking);
  seen.keys = { l: await press("l"), j: await press("j"), shift: await press("Shift+ArrowRight") };
  seen.keys.bar = await page
    .locator(".seek")
    .focus()
    .then(() => press("ArrowLeft"));
  seen.keys.arrow = await page
    .locator(".stage")
    .focus()
    .then(() => press("ArrowRight"));
  seen.keys.turned = (await page.evaluate(() => window.live360.look.yaw)) !== yaw;
  await page.keyboard.press(">");
  seen.keys.rate = await page.evaluate(() => window.live360.video.playbackRate);
  const wanted = { l: 10, j: -10, shift: 5, bar: -5, arrow: 0, turned: true, rate: 1.25 };
  if (JSON.stringify(seen.keys) !== JSON.stringify(wanted))
    throw new Error(`keys: ${JSON.stringify(seen.keys)}`);
}

/** A broadcast ends while somebody is behind it: an offer beside the picture, no jump; then one in the middle of it. */
async function theEnd() {
  const old = asset("ready", { id: "foo-1", url: "/vod/foo-1/index.m3u8", start: "2026-11-01T00:00:00Z" });
  fake.streams = [stream("live")];
  fake.assets = [old];
  fake.live = { from: Date.now() - 22_000, ended: false };
  const page = await open("/?url=/hls/foo.m3u8");
  await playing(page);
  await page.waitForFunction(() => window.live360.state().live);
  await page.waitForResponse(response => response.url().endsWith("/api/streams"));
  // As the viewer goes back: by hand, so that nobody takes them to the live edge again.
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.waitForFunction(() => !window.live360.video.seeking && window.live360.video.currentTime < 10);
  fake.live.ended = true;
  fake.streams = [stream("ended")];
  await page.waitForFunction(() => window.live360.state().playback === "complete");
  if (await page.locator(".offer").isVisible()) {
    const href = await page.locator(".offer a").getAttribute("href");
    if (!href?.includes(ID)) throw new Error(`an earlier recording is offered: ${href}`);
  }
  fake.assets = [asset("instant"), old];
  await page.locator(".offer a").waitFor();
  seen.end = await page.evaluate(() => ({
    at: window.live360.video.currentTime,
    paused: window.live360.video.paused,
    offer: document.querySelector(".offer").textContent,
    href: document.querySelector(".offer a").getAttribute("href"),
  }));
  await shot(page, "offer-beside");
  if (seen.end.paused || seen.end.at > 25) throw new Error("the viewer was moved");
  await page.evaluate(() => {
    window.live360.video.playbackRate = 4;
  });
  await page.locator(".notice a.primary").waitFor();
  await shot(page, "offer-at-the-end");
  await page.locator(".notice a.primary").click();
  await playing(page);
  seen.led = new URL(page.url()).search;
  if (!seen.led.includes(`/vod/${ID}/`)) throw new Error(`the offer leads to ${seen.led}`);
  await page.close();
}

/** The live address within the hour after the end: the offer at once, nothing plays; and live again when it is. */
async function theHourAfter() {
  const page = await open("/?url=/hls/foo.m3u8");
  await page.locator(".notice a.primary").waitFor();
  await page.waitForFunction(() => window.live360.state().playback === "complete");
  seen.after = await page.evaluate(() => ({
    at: window.live360.video.currentTime,
    paused: window.live360.video.paused,
    title: document.querySelector(".notice h2").textContent,
  }));
  await shot(page, "offer-an-hour-after");
  if (!seen.after.paused) throw new Error("the end of a broadcast that is over plays unasked");
  // It can be watched all the same: then the offer is beside it.
  await page.keyboard.press("k");
  await page.locator(".offer a").waitFor();
  await page.evaluate(() => {
    window.live360.video.currentTime = 28;
  });
  await page.locator(".notice a.primary").waitFor();
  fake.live = { from: Date.now() - 8_000, ended: false };
  fake.streams = [stream("live")];
  await playing(page);
  await page.waitForFunction(() => window.live360.state().live);
  await page.waitForResponse(response => response.url().endsWith("/api/streams"));
  // It goes without an end, as when its server dies: what was recorded before is not its recording, what comes then is.
  const before = fake.assets;
  fake.live = null;
  fake.streams = [];
  await page.getByText("foo is not live yet").waitFor();
  fake.assets = [
    asset("instant", { id: "foo-3", url: "/vod/foo-3/index.m3u8", start: "2026-11-21T00:00:00Z" }),
    ...before,
  ];
  await page.locator('.notice a.primary[href*="foo-3"]').waitFor();
  fake.assets = before;
  await page.close();
}

/** Long after: the playlist is gone, and the server has forgotten the broadcast. */
async function longAfter() {
  fake.live = null;
  fake.streams = [];
  const page = await open("/?url=/hls/foo.m3u8");
  await page.locator(".notice a.primary").waitFor();
  seen.long_after = await page.locator(".notice a.primary").getAttribute("href");
  await shot(page, "offer-long-after");
  await page.close();
}

/** A recording that is still being made from an uploaded file. */
async function notReady() {
  fake.assets = [asset("transcoding", { id: "up-1", url: "/vod/up-1/index.m3u8", progress: 0.1 })];
  const page = await open("/?url=/vod/up-1/index.m3u8");
  await page.getByText("10 % of it is made").waitFor();
  await shot(page, "not-ready");
  await page.close();
}

async function open(path) {
  const page = await context.newPage();
  page.on("pageerror", error => seen.errors.push(error.message));
  await page.goto(home + path);
  return page;
}

async function playing(page) {
  await page.waitForFunction(() => window.live360?.state().ready && window.live360.video.currentTime > 0);
}

async function shot(page, name) {
  if (!values.shots) return;
  mkdirSync(values.shots, { recursive: true });
  await page.screenshot({ path: join(values.shots, `${name}.png`) });
}

function stream(state) {
  return {
    name: "foo",
    state,
    url: "/hls/foo.m3u8",
    since: new Date(Date.now() - 300_000).toISOString(),
    projection: "equirect",
    stereo: "mono",
    rungs: [{ width: 960, height: 480, bandwidth: 1_500_000, source: true }],
    listed: true,
  };
}

function asset(state, change = {}) {
  const url = `/vod/${ID}/index.m3u8`;
  return { id: ID, name: "foo", url, start: "2026-11-20T17:25:00Z", duration_s: LENGTH_S, state, ...change };
}

function makeMedia() {
  const quiet = ["-nostdin", "-v", "error", "-threads", "1", "-f", "lavfi"];
  const source = `testsrc2=size=960x480:rate=25:duration=${LENGTH_S}`;
  const run = (...args) => execFileSync("ffmpeg", [...quiet, ...args], { cwd: folder, stdio: "inherit" });
  run(
    ...["-i", source, "-f", "lavfi", "-i", `sine=frequency=440:duration=${LENGTH_S}`],
    ...["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", String(25 * SEGMENT_S)],
    ...["-c:a", "aac", "-f", "hls", "-hls_time", String(SEGMENT_S), "-hls_playlist_type", "vod"],
    ...["-hls_segment_type", "fmp4", "-hls_segment_filename", "%d.m4s", "video.m3u8"],
  );
  run("-i", source, "-vf", `fps=1/${SEGMENT_S},scale=160:80,tile=10x2`, "-frames:v", "1", "0.jpg");
}

async function serve(request, response) {
  const path = normalize(new URL(request.url ?? "/", "http://fake").pathname);
  try {
    const answer = await find(path);
    response.writeHead(200, {
      "content-type": TYPES[extname(path)] ?? "text/html",
      "cache-control": "no-cache",
    });
    response.end(answer);
  } catch {
    response.writeHead(404);
    response.end();
  }
}

async function find(path) {
  if (path === "/api/streams") return JSON.stringify({ streams: fake.streams, assets: fake.assets });
  if (path === "/hls/foo.m3u8" && fake.live)
    return multivariant(
      "foo/video.m3u8",
      fake.live.ended && fake.assets.length > 1 ? ["asset", `/vod/${ID}/index.m3u8`] : null,
    );
  if (path === "/hls/foo/video.m3u8" && fake.live) return livePlaylist(fake.live);
  if (path === `/vod/${ID}/index.m3u8`)
    return multivariant("hq/video.m3u8", ["thumbnails", `/vod/${ID}/hq/thumbs.vtt`]);
  if (path === `/vod/${ID}/hq/thumbs.vtt`) return tiles();
  if (path === `/vod/${ID}/hq/thumbs/0.jpg`) return readFile(join(folder, "0.jpg"));
  if (path === "/hls/foo/video.m3u8") throw new Error("gone");
  const media = path.match(/^\/(?:hls|vod)\/.*\/((?:init|\d+|video)\.(?:mp4|m4s|m3u8))$/);
  if (media && (path.startsWith("/hls/foo/") || path.startsWith(`/vod/${ID}/hq/`)))
    return readFile(join(folder, media[1]));
  if (/^\/(hls|vod)\//.test(path)) throw new Error("not there");
  return readFile(join(dist, path === "/" ? "index.html" : path));
}

function multivariant(uri, data) {
  return [
    "#EXTM3U",
    "#EXT-X-VERSION:7",
    '#EXT-X-STREAM-INF:BANDWIDTH=1500000,CODECS="avc1.42c01e,mp4a.40.2",RESOLUTION=960x480',
    uri,
    ...(data ? [`#EXT-X-SESSION-DATA:DATA-ID="live360.${data[0]}",VALUE="${data[1]}"`] : []),
    "",
  ].join("\n");
}

/** Grows by the clock; all of it stays in the window, so that a viewer may be behind. */
function livePlaylist({ from, ended }) {
  const there = Math.min(SEGMENTS, Math.floor((Date.now() - from) / 1000 / SEGMENT_S));
  const lines = [
    "#EXTM3U",
    "#EXT-X-VERSION:7",
    `#EXT-X-TARGETDURATION:${SEGMENT_S}`,
    "#EXT-X-MEDIA-SEQUENCE:0",
  ];
  lines.push('#EXT-X-MAP:URI="init.mp4"', `#EXT-X-PROGRAM-DATE-TIME:${new Date(from).toISOString()}`);
  for (let n = 0; n < there; n += 1) lines.push(`#EXTINF:${SEGMENT_S},`, `${n}.m4s`);
  return [...lines, ...(ended ? ["#EXT-X-ENDLIST"] : []), ""].join("\n");
}

function tiles() {
  const time = n => new Date(n * SEGMENT_S * 1000).toISOString().slice(11, 23);
  const cue = n =>
    `${time(n)} --> ${time(n + 1)}\nthumbs/0.jpg#xywh=${(n % 10) * 160},${Math.floor(n / 10) * 80},160,80`;
  return `WEBVTT\n\n${Array.from({ length: SEGMENTS }, (_, n) => cue(n)).join("\n\n")}\n`;
}
