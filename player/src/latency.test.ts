import { describe, expect, test } from "vitest";
import {
  atLiveEdge,
  clockOffset,
  type Latency,
  type LatencyInput,
  latencyText,
  readLatency,
  shouldJump,
} from "./latency";

const NOW = Date.UTC(2026, 10, 20, 12);

describe("how far behind", () => {
  test.each<[string, Partial<LatencyInput>, Latency | null]>([
    ["the stream's dates say it all", { shownAt: NOW - 2_100, edge: 1.6 }, { seconds: 2.1, kind: "clock" }],
    [
      "corrected by the server's clock",
      { shownAt: NOW + 57_900, clockOffset: 60_000, edge: 1.6 },
      { seconds: 2.1, kind: "clock" },
    ],
    [
      "a picture from the future is a wrong clock",
      { shownAt: NOW + 5_000, edge: 1.6 },
      { seconds: 1.6, kind: "edge" },
    ],
    [
      "younger than the playlist's end allows, too",
      { shownAt: NOW - 100, edge: 9 },
      { seconds: 9, kind: "edge" },
    ],
    ["older than a day, too", { shownAt: NOW - 2 * 86_400_000, edge: 3 }, { seconds: 3, kind: "edge" }],
    ["no dates", { edge: 3 }, { seconds: 3, kind: "edge" }],
    ["nothing loaded", {}, null],
  ])("%s", (_, input, expected) => {
    const found = readLatency({ shownAt: null, now: NOW, clockOffset: null, edge: null, ...input });
    expect(found?.kind).toBe(expected?.kind);
    if (expected) expect(found?.seconds).toBeCloseTo(expected.seconds, 6);
  });
});

test.each<[string, string | null, number | null]>([
  ["a second's rounding is no difference", "Fri, 20 Nov 2026 12:00:00 GMT", 0],
  ["a minute ahead", "Fri, 20 Nov 2026 12:01:00 GMT", 60_400],
  ["no date", null, null],
  ["no date that one can read", "soon", null],
])("the server's clock: %s", (_, date, expected) => {
  expect(clockOffset(date, NOW, NOW + 200)).toBe(expected);
});

describe("jumping to the live edge unasked", () => {
  const near = { live: true, paused: false, chosen: false, edge: 4, target: 1.5, ahead: 3.5, sinceJump: 60 };
  test.each<[string, object, boolean]>([
    ["a late start, with enough loaded to go on", {}, true],
    ["without enough loaded it would stop the picture", { ahead: 2.9 }, false],
    ["what playing faster mends", { edge: 2.4 }, false],
    ["not again and again", { sinceJump: 5 }, false],
    ["far behind after stalls, whatever is loaded", { edge: 12, ahead: 0, sinceJump: 5 }, true],
    ["nor that again and again", { edge: 12, sinceJump: 3 }, false],
    ["paused", { paused: true }, false],
    ["the viewer went back on purpose", { chosen: true }, false],
    ["a recording", { live: false }, false],
    ["nothing known", { edge: null }, false],
  ])("%s", (_, change, expected) => expect(shouldJump({ ...near, ...change })).toBe(expected));
});

test("the live edge is where catching up still reaches", () => {
  expect([atLiveEdge(1.6, 1.5), atLiveEdge(4.4, 1.5), atLiveEdge(5, 1.5), atLiveEdge(null, 1.5)]).toEqual([
    true,
    true,
    false,
    false,
  ]);
});

test.each([
  [1.94, "1.9 s"],
  [42.4, "42 s"],
  [200, "3:20"],
])("%d s in words", (seconds, text) => {
  expect(latencyText({ seconds, kind: "clock" })).toBe(text);
});
