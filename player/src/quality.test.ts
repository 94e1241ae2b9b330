import { expect, test } from "vitest";
import { levelLabels, rate } from "./quality";

const LEVELS = [
  { width: 960, height: 480, bandwidth: 2_300_000 },
  { width: 1920, height: 960, bandwidth: 5_600_000 },
  { width: 1920, height: 960, bandwidth: 9_100_000 },
  { width: 3840, height: 1920, bandwidth: 14_200_000 },
];

test("the rungs best first, with the player's own index, and the source by size and nearest rate", () => {
  const rungs = [{ width: 1920, height: 960, bandwidth: 9_000_000, source: true }];
  expect(levelLabels(LEVELS, rungs)).toEqual([
    { index: 3, name: "3840×1920", detail: "4K · 14 Mb/s" },
    { index: 2, name: "1920×960", detail: "2K · 9.1 Mb/s · source" },
    { index: 1, name: "1920×960", detail: "2K · 5.6 Mb/s" },
    { index: 0, name: "960×480", detail: "2.3 Mb/s" },
  ]);
});

test("no source is marked when none has its size, or the server did not say", () => {
  for (const rungs of [[], [{ width: 2048, height: 1024, bandwidth: 9_000_000, source: true }]]) {
    expect(levelLabels(LEVELS, rungs).some(label => label.detail.includes("source"))).toBe(false);
  }
});

test("without a size the rate is the name", () => {
  expect(levelLabels([{ width: 0, height: 0, bandwidth: 500_000 }], [])[0]?.name).toBe("500 kb/s");
});

test.each([
  [500_000, "500 kb/s"],
  [949_000, "949 kb/s"],
  [960_000, "1.0 Mb/s"],
  [9_960_000, "10 Mb/s"],
])("%d bits a second", (bits, text) => {
  expect(rate(bits)).toBe(text);
});
