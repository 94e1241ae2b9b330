import { describe, expect, test } from "vitest";
import { clock, findByUrl, listed, parseCatalogue, span } from "./streams";

const ORIGIN = "http://tv.example";
const STREAM = {
  name: "foo",
  state: "live",
  url: "/hls/foo.m3u8",
  since: "2026-11-20T17:25:00Z",
  projection: "equirect",
  stereo: "mono",
  rungs: [
    { width: 960, height: 480, bandwidth: 2_300_000, source: false },
    { width: 1920, height: 960, bandwidth: 5_800_000, source: true },
  ],
  listed: true,
};
const ASSET = {
  id: "foo-20261120T172500Z",
  name: "foo",
  url: "/vod/foo-20261120T172500Z/index.m3u8",
  start: "2026-11-20T17:25:00Z",
  duration_s: 14,
  state: "instant",
};

/** Parses one stream, changed by `change`, and expects it left out or as said. */
function check(change: object, expected: object | null) {
  const { streams } = parseCatalogue({ streams: [{ ...STREAM, ...change }], assets: [] }, ORIGIN);
  if (expected === null) expect(streams).toEqual([]);
  else expect(streams[0]).toMatchObject(expected);
}

describe("a stream in the server's answer", () => {
  test("as the server writes it", () => {
    check(
      {},
      {
        name: "foo",
        state: "live",
        url: `${ORIGIN}/hls/foo.m3u8`,
        since: Date.UTC(2026, 10, 20, 17, 25),
        layout: { projection: "equirect", stereo: "mono" },
        listed: true,
        locked: false,
      },
    );
  });

  test("what plays by a signed link only has a lock", () => {
    check({ watch: "signed" }, { locked: true });
    check({ watch: "open" }, { locked: false });
  });

  test("the best rung is the first", () => {
    check(
      {},
      {
        rungs: [
          { width: 1920, source: true },
          { width: 960, source: false },
        ],
      },
    );
  });

  test.each<[string, object, object | null]>([
    ["an address with a script is left out", { url: "javascript:alert(1)" }, null],
    ["no name is left out", { name: "" }, null],
    ["a name that is no text is left out", { name: { toString: "x" } }, null],
    ["an unknown state is left out", { state: "paused" }, null],
    [
      "an unknown projection is the usual one",
      { projection: "tetrahedron" },
      { layout: { projection: "equirect" } },
    ],
    ["no date is no date", { since: "yesterday" }, { since: null }],
    [
      "rungs without a size are left out",
      { rungs: [{ width: 0, height: 1, bandwidth: 1 }, null, 7] },
      { rungs: [] },
    ],
    ["fields that this page does not know do not matter", { viewers: 7 }, { name: "foo" }],
    [
      "markup in a name stays text",
      { name: "<img src=x onerror=alert(1)>" },
      { name: "<img src=x onerror=alert(1)>" },
    ],
  ])("%s", (_, change, expected) => check(change, expected));

  test.each([[null], [[]], ["streams"], [{}], [{ streams: {} }]])("%j is no answer at all", json => {
    expect(() => parseCatalogue(json, ORIGIN)).toThrow();
  });
});

describe("recordings", () => {
  test("as the server writes them, and none is no error", () => {
    expect(parseCatalogue({ streams: [], assets: [ASSET] }, ORIGIN).assets[0]).toMatchObject({
      id: ASSET.id,
      url: ORIGIN + ASSET.url,
      durationS: 14,
      state: "instant",
    });
    expect(parseCatalogue({ streams: [] }, ORIGIN).assets).toEqual([]);
  });

  const parse = (change: object) =>
    parseCatalogue({ streams: [], assets: [{ ...ASSET, ...change }] }, ORIGIN).assets[0];

  test.each<[string, object, object]>([
    ["nothing is known unless it is said", {}, { progress: null, reason: null, thumbnails: null }],
    ["progress as a part", { state: "transcoding", progress: 0.42 }, { progress: 0.42 }],
    ["progress as tasks", { state: "transcoding", tasks: 8, done: 2 }, { progress: 0.25 }],
    ["how many tasks there are is no progress", { state: "transcoding", tasks: 8 }, { progress: null }],
    ["more than all is none", { state: "transcoding", progress: 42 }, { progress: null }],
    ["what is ready has none", { state: "ready", progress: 0.42 }, { progress: null }],
    ["thumbnails", { thumbnails: "/vod/a/hq/thumbs.vtt" }, { thumbnails: `${ORIGIN}/vod/a/hq/thumbs.vtt` }],
    ["a script is no thumbnails", { thumbnails: "javascript:alert(1)" }, { thumbnails: null }],
    ["a reason", { state: "failed", reason: "no picture in it" }, { reason: "no picture in it" }],
    ["an empty reason is none", { state: "failed", reason: " " }, { reason: null }],
    [
      "a long reason is cut",
      { state: "failed", reason: "x".repeat(5_000) },
      { reason: `${"x".repeat(199)}…` },
    ],
  ])("%s", (_, change, expected) => {
    expect(parse(change)).toMatchObject(expected);
  });
});

test("the list shows the live first, then by name, and nothing unlisted", () => {
  const { streams } = parseCatalogue(
    {
      streams: [
        { ...STREAM, name: "z" },
        { ...STREAM, name: "over", state: "ended" },
        { ...STREAM, name: "a" },
        { ...STREAM, name: "secret", listed: false },
        { ...STREAM, name: "away", state: "waiting" },
      ],
    },
    ORIGIN,
  );
  expect(listed(streams).map(stream => stream.name)).toEqual(["a", "z", "away", "over"]);
});

test("a playlist's stream is found whatever the query, and by a signed link, too", () => {
  const { streams } = parseCatalogue({ streams: [STREAM] }, ORIGIN);
  expect(findByUrl(streams, `${ORIGIN}/hls/foo.m3u8?token=1`)?.name).toBe("foo");
  expect(findByUrl(streams, `${ORIGIN}/hls/~1.9.Lw.m/foo.m3u8`)?.name).toBe("foo");
  expect(findByUrl(streams, `${ORIGIN}/hls/foo2.m3u8`)).toBeUndefined();
});

test.each([
  [-5, "less than a minute"],
  [59, "less than a minute"],
  [60, "1 min"],
  [3_600, "1 h"],
  [11_100, "3 h 5 min"],
  [200_000, "2 days"],
])("%d s are %s", (seconds, words) => expect(span(seconds * 1000)).toBe(words));

test.each([
  [0, "0:00"],
  [65.9, "1:05"],
  [7_265, "2:01:05"],
  [Number.POSITIVE_INFINITY, "0:00"],
])("%d s on a clock", (seconds, text) => {
  expect(clock(seconds)).toBe(text);
});
