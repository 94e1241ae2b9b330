import { describe, expect, test } from "vitest";
import { assetWords, groupByName, joinSingles, moreWords, recordingOf } from "./assets";
import type { Asset } from "./streams";

const ASSET: Asset = {
  id: "foo-1",
  name: "foo",
  url: "http://tv/vod/foo-1/index.m3u8",
  start: 1_000,
  durationS: 9,
  state: "instant",
  progress: null,
  reason: null,
  thumbnails: null,
  locked: false,
};
const make = (id: string, start: number | null, change: Partial<Asset> = {}): Asset => ({
  ...ASSET,
  id,
  url: `http://tv/vod/${id}/index.m3u8`,
  start,
  ...change,
});

test.each<[Partial<Asset>, string]>([
  [{}, "recorded"],
  [{ reason: "no memory" }, "recorded; could not be improved: no memory"],
  [{ state: "transcoding" }, "being improved"],
  [{ state: "transcoding", progress: 0 }, "being improved, 0 %"],
  [{ state: "transcoding", progress: 0.429 }, "being improved, 42 %"],
  [{ state: "transcoding", progress: 1 }, "being improved, 99 %"],
  [{ state: "ready" }, "ready"],
  [{ state: "failed" }, "failed"],
  [{ state: "failed", reason: "no picture in it" }, "failed: no picture in it"],
])("%j in words", (change, words) => {
  expect(assetWords({ ...ASSET, ...change })).toBe(words);
});

describe("the recording of a broadcast", () => {
  const over = { name: "foo", named: null, earlier: new Set<string>() };
  const assets = [
    make("old", 1),
    make("new", 3),
    make("broken", 4, { state: "failed" }),
    make("other", 5, { name: "bar" }),
    make("undated", null),
  ];

  test("is the newest playable one of its name", () => {
    expect(recordingOf(assets, over)?.url).toBe("http://tv/vod/new/index.m3u8");
    expect(recordingOf(assets, { ...over, name: "baz" })).toBeUndefined();
  });

  test("is the one that the playlist names, known to the list or not", () => {
    const named = "http://tv/vod/foo-9/index.m3u8";
    expect(recordingOf(assets, { ...over, named })?.url).toBe(named);
    expect(recordingOf([], { ...over, named })?.url).toBe(named);
  });

  test("is none that was there before the broadcast had ended", () => {
    const earlier = new Set(["old", "new", "undated"]);
    expect(recordingOf(assets, { ...over, earlier })).toBeUndefined();
    expect(recordingOf([...assets, make("this", 2)], { ...over, earlier })?.url).toContain("/this/");
  });
});

test("recordings stand under their names, newest first, and the name with the newest one is first", () => {
  const groups = groupByName([
    make("a1", 1, { name: "a" }),
    make("b1", 2, { name: "b" }),
    make("c0", null, { name: "c" }),
    make("a3", 3, { name: "a" }),
  ]);
  expect(groups.map(({ name, assets }) => [name, assets.map(({ id }) => id)])).toEqual([
    ["a", ["a3", "a1"]],
    ["b", ["b1"]],
    ["c", ["c0"]],
  ]);
  expect(groupByName([])).toEqual([]);
});

test("names with one recording each are shown together where they follow each other", () => {
  const names = ["a", "b", "c", "c", "d", "a"];
  const groups = groupByName(names.map((name, n) => make(`${name}${n}`, 9 - n, { name })));
  expect(joinSingles(groups).map(({ name, assets }) => [name, assets.map(({ id }) => id)])).toEqual([
    ["a", ["a0", "a5"]],
    [null, ["b1"]],
    ["c", ["c2", "c3"]],
    [null, ["d4"]],
  ]);
  const singles = groupByName([make("x", 2, { name: "x" }), make("y", 1, { name: "y" })]);
  expect(joinSingles(singles).map(({ name, assets }) => [name, assets.length])).toEqual([[null, 2]]);
  expect(singles.map(({ assets }) => assets.length)).toEqual([1, 1]);
});

test.each([
  [4, 4, null],
  [4, 3, null],
  [4, 5, "Show 1 more"],
  [4, 28, "Show 24 more"],
  [4, 500, "Show 24 more of 496"],
])("with %d of %d shown", (shown, all, words) => {
  expect(moreWords(shown, all, 24)).toBe(words);
});
