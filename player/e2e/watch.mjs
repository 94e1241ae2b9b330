// Watches a stream as a viewer does, with a real Chromium, and says in one line of JSON what was seen. For the project's
// end-to-end tests and measurements; knows only the page and its `window.live360` (src/hooks.ts).
//
//   node e2e/watch.mjs --url http://127.0.0.1:8088/?url=/hls/foo.m3u8 [--shots DIR] [--wait-for-stream] [--measure SECONDS]
//                      [--play SECONDS] [--timeout SECONDS] [--refused WORDS [--then-token TOKEN]]
//
//   --shots            screenshots go there: list.png, player.png, dragged.png
//   --wait-for-stream  the page is opened before the stream is there: the page must first say so and then play by itself.
//                      Prints "WAITING" on a line of its own once it says so: the moment to start the stream.
//   --measure          glass to glass for so long, from the test source's timecode (no drag, no screenshots of it)
//   --play             once it plays, prints "PLAYING" on a line of its own, watches for so long how it goes on, and says how
//                      long the picture stood still at most and how far it jumped (no drag, no screenshots of it)
//   --refused          the server lets nobody see it: the page must say so in these words instead of playing
//   --then-token       but first it plays, and then every request of the page has this token in place of its own
//   --timeout          how long the picture may take to play, 40 s unless told (counted from the start)
//
// Exit: 0 all as it should be; 1 it is not, and "failed" says what; 64 a wrong command line.
// Chromium is /usr/bin/chromium, or what the environment variable CHROMIUM names.

import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { BLOCK_PX, decodeTimecode, STRIP } from "./timecode.mjs";

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
/** Played for so long, s, before it counts as playing. */
const PLAYED_S = 2;
/** Longer than this nobody waits for the player to come to its own aim, ms. */
const SETTLE_MS = 30_000;
/** A picture with less is black or one grey: mean and variance of brightness. */
const LEAST = { mean: 8, variance: 20 };
/** Mean difference of brightness by which a drag must change the view, and within which the view must come back. */
const CHANGE = 6;

const options = readArguments();
const seen = { playing: false, errors: [] };
const profile = await mkdtemp(join(tmpdir(), "live360-watch-"));
let context;
try {
  context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    // Drawing by software is not what is measured: then as little of it as possible.
    viewport:
      options.measureS > 0 || options.playS > 0 ? { width: 480, height: 270 } : { width: 1280, height: 720 },
    args: FLAGS,
  });
  await watch(await context.newPage());
} catch (error) {
  seen.failed = error instanceof Error ? error.message.split("\n")[0] : String(error);
} finally {
  await context?.close().catch(() => undefined);
  await rm(profile, { recursive: true, force: true, maxRetries: 5 });
}
console.log(JSON.stringify(seen));
process.exit(seen.failed === undefined ? 0 : 1);

async function watch(page) {
  page.on("pageerror", error => seen.errors.push(error.message));
  page.setDefaultTimeout(options.timeoutMs);
  await page.addInitScript({ content: `window.decodeTimecode = ${decodeTimecode};` });
  const opened = Date.now();
  await page.goto(options.url);
  await page.waitForFunction(() => window.live360 !== undefined);
  if (options.waitForStream) {
    await page.waitForFunction(() => window.live360.state().playback === "absent");
    await page.getByText("is not live yet").waitFor();
    console.log("WAITING");
  }
  if (options.refused === undefined || options.thenToken !== undefined) {
    await untilPlaying(page);
    seen.playing = true;
  }
  if (options.refused !== undefined) {
    seen.refused = await untilRefused(page);
    return;
  }
  seen.opened_to_playing_ms = Date.now() - opened;
  await look(page);
  if (options.measureS > 0) {
    await settle(page);
    seen.glass_to_glass = await measure(page, options.measureS * 1000);
  }
  if (options.playS > 0) {
    console.log("PLAYING");
    seen.played = await follow(page, options.playS * 1000);
  }
  await report(page);
  const looking = options.measureS === 0 && options.playS === 0;
  if (looking) await drag(page);
  if (options.shots && looking) {
    await page.goto(new URL("/", options.url).href);
    await page.locator(".cards .card").first().waitFor();
    await shot(page, "list");
  }
  if (seen.errors.length > 0) throw new Error(`the page threw: ${seen.errors[0]}`);
}

/** Playing is: the clock of the video went on by two seconds, and it has a size. */
async function untilPlaying(page) {
  await page
    .waitForFunction(
      least => {
        const { video } = window.live360;
        if (video.currentTime > 0) window.firstSeen ??= video.currentTime;
        return video.videoWidth > 0 && video.currentTime - window.firstSeen >= least;
      },
      PLAYED_S,
      { polling: 100 },
    )
    .catch(async () => {
      const state = await page.evaluate(() => ({ ...window.live360.state(), ...window.live360.stats() }));
      throw new Error(`nothing played within ${options.timeoutMs / 1000} s: ${JSON.stringify(state)}`);
    });
}

/** The page says in the server's words why nothing plays, and asks for nothing more. */
async function untilRefused(page) {
  if (options.thenToken !== undefined) {
    await page.route(/\/~[^/]*\//, route => {
      const url = route
        .request()
        .url()
        .replace(/\/~[^/]*\//, `/~${options.thenToken}/`);
      return route.continue({ url });
    });
  }
  await page.getByText("You cannot watch this").waitFor();
  await page.getByText(options.refused).waitFor();
  await shot(page, "refused");
  return page.evaluate(() => window.live360.state());
}

/** The sphere shows a picture: not black, not one colour. */
async function look(page) {
  seen.picture = await page.evaluate(() => window.live360.picture());
  const { mean, variance } = statistics(await brightness(page));
  seen.mean = round(mean);
  seen.variance = round(variance);
  if (mean < LEAST.mean || variance < LEAST.variance) {
    throw new Error(`the canvas is black or blank: mean ${seen.mean}, variance ${seen.variance}`);
  }
  await shot(page, "player");
}

/** A drag with the mouse turns the view, with the picture held still, and a look back brings the old view again. */
async function drag(page) {
  await page.evaluate(() => window.live360.video.pause());
  await page.waitForFunction(() => window.live360.video.paused && !window.live360.video.seeking);
  const before = await brightness(page);
  const yaw = () => page.evaluate(() => window.live360.look.yaw);
  const from = await yaw();
  await page.mouse.move(700, 330);
  await page.mouse.down();
  await page.mouse.move(300, 300, { steps: 10 });
  await page.mouse.up();
  // Coasting ends when two looks in a row are the same.
  await page.waitForFunction(
    () => {
      const { yaw } = window.live360.look;
      const still = window.lastYaw === yaw;
      window.lastYaw = yaw;
      return still;
    },
    undefined,
    { polling: 200 },
  );
  const after = await brightness(page);
  seen.turned_deg = round((await yaw()) - from);
  seen.difference = round(distance(before, after));
  seen.changed = seen.difference > CHANGE;
  await shot(page, "dragged");
  await page.evaluate(() => Object.assign(window.live360.look, { yaw: 0, pitch: 0, fov: 90 }));
  const back = distance(before, await brightness(page));
  await page.evaluate(() => window.live360.video.play());
  if (!seen.changed) throw new Error(`a drag by 400 px changed the view by ${seen.difference} only`);
  if (back > CHANGE)
    throw new Error(`looking back to the front does not show what it showed: ${round(back)}`);
}

async function report(page) {
  const { latency, timing, levels, stats, state } = await page.evaluate(() => ({
    latency: window.live360.latency(),
    timing: window.live360.timing(),
    levels: window.live360.levels(),
    stats: window.live360.stats(),
    state: window.live360.state(),
  }));
  seen.live = state.live;
  seen.latency = latency === null ? null : { ...latency, seconds: round(latency.seconds) };
  seen.timing = { edge: timing.edge && round(timing.edge), target: timing.target };
  seen.levels = levels.list.map(({ width, height, bandwidth }) => ({ width, height, bandwidth }));
  seen.level = levels.playing;
  seen.stalls = stats.stalls;
  seen.player = { recoveries: stats.recoveries, errors: stats.errors, dropped: stats.dropped };
}

/** The player begins a little too far back and catches up: what it comes to is what viewers have. */
async function settle(page) {
  seen.settled = await page
    .waitForFunction(
      () => {
        const { edge, target } = window.live360.timing();
        return edge !== null && target !== null && edge - target < 0.25;
      },
      undefined,
      { timeout: SETTLE_MS, polling: 200 },
    )
    .then(
      () => true,
      () => false,
    );
}

/**
 * How it plays on: how long the picture stood still at most, how far it jumped at most (what was never shown), s, and what of
 * the player's counters grew meanwhile. The video's clock goes on while the page is busy, so only what was looked at twice
 * without any change counts as standing still.
 */
async function follow(page, ms) {
  const before = await page.evaluate(() => window.live360.stats());
  const played = await page.evaluate(
    ms =>
      new Promise(resolve => {
        const { video } = window.live360;
        const began = { at: performance.now(), time: video.currentTime };
        let last = began;
        let still = 0;
        let jumped = 0;
        const look = () => {
          const now = { at: performance.now(), time: video.currentTime };
          const gone = (now.at - last.at) / 1000;
          if (now.time === last.time) {
            still = Math.max(still, gone);
          } else {
            jumped = Math.max(jumped, now.time - last.time - gone * video.playbackRate);
            last = now;
          }
          if (now.at - began.at < ms) return;
          clearInterval(timer);
          resolve({
            still_s: still,
            jumped_s: jumped,
            media_s: now.time - began.time,
            wall_s: (now.at - began.at) / 1000,
          });
        };
        const timer = setInterval(look, 50);
      }),
    ms,
  );
  const after = await page.evaluate(() => window.live360.stats());
  const grown = Object.entries(after.errors).filter(([name, count]) => count !== before.errors[name]);
  return {
    ...Object.fromEntries(Object.entries(played).map(([name, value]) => [name, round(value)])),
    stalls: after.stalls - before.stalls,
    recoveries: after.recoveries - before.recoveries,
    errors: Object.fromEntries(grown.map(([name, count]) => [name, count - (before.errors[name] ?? 0)])),
  };
}

/** From the source's clock in the picture to this machine's at the moment the picture is shown. */
async function measure(page, ms) {
  const { samples, unread } = await page.evaluate(
    ({ ms, strip, block }) =>
      new Promise(resolve => {
        const { video } = window.live360;
        const canvas = new OffscreenCanvas(16 * block, 4 * block);
        const context = canvas.getContext("2d", { willReadFrequently: true });
        const samples = [];
        let unread = 0;
        let next = 0;
        const ends = performance.now() + ms;
        const frame = now => {
          if (now > ends) return resolve({ samples, unread });
          video.requestVideoFrameCallback(frame);
          // Reading pixels back takes time that a machine without a graphics card lacks: five times a second is enough.
          if (now < next) return;
          next = now + 200;
          const shown = Date.now();
          const { videoWidth: w, videoHeight: h } = video;
          const { width, height } = canvas;
          context.drawImage(
            video,
            strip.x * w,
            strip.y * h,
            strip.width * w,
            strip.height * h,
            0,
            0,
            width,
            height,
          );
          const utc = window.decodeTimecode(context.getImageData(0, 0, width, height).data, block);
          if (utc === null) unread += 1;
          else samples.push(shown - utc);
        };
        video.requestVideoFrameCallback(frame);
        // The picture may stand still for good.
        setTimeout(() => resolve({ samples, unread }), ms + 5_000);
      }),
    { ms, strip: STRIP, block: BLOCK_PX },
  );
  if (samples.length < 5)
    throw new Error(`no timecode in the picture: ${samples.length} read, ${unread} not`);
  const sorted = samples.toSorted((a, b) => a - b);
  const at = part => sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))];
  return {
    median_ms: at(0.5),
    p95_ms: at(0.95),
    min_ms: at(0),
    max_ms: at(1),
    samples: sorted.length,
    unread,
  };
}

/** What the canvas shows now, as a row of brightnesses 0…255. */
async function brightness(page) {
  const grid = await page.evaluate(() => window.live360.readPixels(32, 18));
  if (grid === null) throw new Error("there is no sphere: the browser has no WebGL 2");
  return Array.from({ length: grid.columns * grid.rows }, (_, i) => {
    const [r, g, b] = grid.rgb.slice(i * 3, i * 3 + 3);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  });
}

function statistics(values) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return { mean, variance: values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length };
}

function distance(a, b) {
  return a.reduce((sum, value, i) => sum + Math.abs(value - b[i]), 0) / a.length;
}

async function shot(page, name) {
  if (!options.shots) return;
  await mkdir(options.shots, { recursive: true });
  // A hand on the mouse: the buttons are in the picture, too.
  await page.mouse.move(640, 560);
  await page.mouse.move(640, 561);
  await page.waitForTimeout(300);
  await page.screenshot({ path: join(options.shots, `${name}.png`) });
}

function round(value) {
  return Math.round(value * 100) / 100;
}

function readArguments() {
  const usage = why => {
    console.error(
      `${why}\nusage: node e2e/watch.mjs --url URL [--shots DIR] [--wait-for-stream] [--measure S] [--play S] [--timeout S] [--refused WORDS [--then-token TOKEN]]`,
    );
    process.exit(64);
  };
  try {
    const { values } = parseArgs({
      options: {
        url: { type: "string" },
        shots: { type: "string" },
        "wait-for-stream": { type: "boolean", default: false },
        measure: { type: "string", default: "0" },
        play: { type: "string", default: "0" },
        refused: { type: "string" },
        "then-token": { type: "string" },
        timeout: { type: "string", default: "40" },
      },
    });
    const [measureS, playS, timeoutS] = [values.measure, values.play, values.timeout].map(Number);
    if (!URL.canParse(values.url ?? "")) usage("--url must be the address of the page");
    if (!(measureS >= 0) || !(playS >= 0) || !(timeoutS > 0))
      usage("--measure, --play and --timeout are seconds");
    return {
      url: values.url,
      shots: values.shots,
      waitForStream: values["wait-for-stream"],
      refused: values.refused,
      thenToken: values["then-token"],
      measureS,
      playS,
      timeoutMs: timeoutS * 1000,
    };
  } catch (error) {
    return usage(error.message);
  }
}
