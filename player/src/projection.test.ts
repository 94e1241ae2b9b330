import { describe, expect, test } from "vitest";
import { direction, eyeRect, type Projection, parseProjection, parseStereo, toPicture } from "./projection";

/** Expects a direction, given as yaw and pitch, at a place in the picture; null for nothing there. */
function check(
  projection: Projection,
  yaw: number,
  pitch: number,
  expected: [number, number] | null,
  aspect?: number,
) {
  const found = toPicture(direction(yaw, pitch), projection, aspect);
  if (expected === null) expect(found).toBeNull();
  else {
    expect(found?.[0]).toBeCloseTo(expected[0], 6);
    expect(found?.[1]).toBeCloseTo(expected[1], 6);
  }
}

describe("a whole sphere", () => {
  test.each<[string, number, number, [number, number]]>([
    ["front in the middle", 0, 0, [0.5, 0.5]],
    ["right a quarter to the right", 90, 0, [0.75, 0.5]],
    ["left a quarter to the left", -90, 0, [0.25, 0.5]],
    ["nearly back at the right edge", 179.999_99, 0, [1, 0.5]],
    ["nearly back from the other side at the left edge", -179.999_99, 0, [0, 0.5]],
    ["up is higher", 0, 45, [0.5, 0.25]],
    ["straight down is the last line", 0, -90, [0.5, 1]],
  ])("%s", (_, yaw, pitch, expected) => check("equirect", yaw, pitch, expected));
});

describe("the front half", () => {
  test.each<[string, number, number, [number, number] | null]>([
    ["front in the middle", 0, 0, [0.5, 0.5]],
    ["the right end", 89.999_999, 0, [1, 0.5]],
    ["45° up and left", -45, 45, [0.25, 0.25]],
    ["nothing behind", 91, 0, null],
    ["nothing at the back", 180, 30, null],
  ])("%s", (_, yaw, pitch, expected) => check("hequ", yaw, pitch, expected));
});

describe("six faces, right left up / down front back", () => {
  const faces: [string, number, number, [number, number]][] = [
    ["right", 90, 0, [1 / 6, 1 / 4]],
    ["left", -90, 0, [3 / 6, 1 / 4]],
    ["up", 0, 90, [5 / 6, 1 / 4]],
    ["down", 0, -90, [1 / 6, 3 / 4]],
    ["front", 0, 0, [3 / 6, 3 / 4]],
    ["back", 180, 0, [5 / 6, 3 / 4]],
  ];
  test.each(faces)("the middle of %s", (_, yaw, pitch, expected) => check("cubemap", yaw, pitch, expected));

  test.each<[string, number, number, [number, number]]>([
    ["front's upper edge", 0, 44.999_99, [3 / 6, 1 / 2]],
    ["up's lower edge, which hinges on it", 0, 45.000_01, [5 / 6, 1 / 2]],
    ["front's right edge", 44.999_99, 0, [2 / 3, 3 / 4]],
    ["right's left edge, which hinges on it", 45.000_01, 0, [0, 1 / 4]],
    ["front's lower edge", 0, -44.999_99, [3 / 6, 1]],
    ["down's upper edge, which hinges on it", 0, -45.000_01, [1 / 6, 1 / 2]],
  ])("%s", (_, yaw, pitch, expected) => {
    const found = toPicture(direction(yaw, pitch), "cubemap");
    expect(found?.[0]).toBeCloseTo(expected[0], 4);
    expect(found?.[1]).toBeCloseTo(expected[1], 4);
  });
});

describe("two fisheyes, back and front", () => {
  test.each<[string, number, number, [number, number]]>([
    ["front in the middle of the right circle", 0, 0, [0.75, 0.5]],
    ["back in the middle of the left circle", 180, 0, [0.25, 0.5]],
    ["45° right halfway to the right circle's edge", 45, 0, [0.875, 0.5]],
    ["back right is left as one faces back", 135, 0, [0.125, 0.5]],
    ["45° up halfway to the upper edge", 0, 45, [0.75, 0.25]],
  ])("%s", (_, yaw, pitch, expected) => check("dfisheye", yaw, pitch, expected));
});

describe("an ordinary picture on a screen in front", () => {
  test.each<[string, number, number, [number, number] | null]>([
    ["its middle", 0, 0, [0.5, 0.5]],
    ["its right edge", 44.999_99, 0, [1, 0.5]],
    ["beyond it", 46, 0, null],
    ["above it", 0, 40, null],
    ["behind", 180, 0, null],
  ])("%s", (_, yaw, pitch, expected) => {
    const found = toPicture(direction(yaw, pitch), "flat", 16 / 9);
    if (expected === null) expect(found).toBeNull();
    else expect(found?.[0]).toBeCloseTo(expected[0], 5);
  });
});

test("no direction falls outside the picture", () => {
  for (const projection of ["equirect", "hequ", "cubemap", "dfisheye", "flat"] as const) {
    for (let yaw = -180; yaw <= 180; yaw += 7.5) {
      for (let pitch = -90; pitch <= 90; pitch += 7.5) {
        for (const part of toPicture(direction(yaw, pitch), projection) ?? []) {
          expect(part).toBeGreaterThanOrEqual(0);
          expect(part).toBeLessThanOrEqual(1 + 1e-12);
        }
      }
    }
  }
});

test("two eyes share the picture without overlap", () => {
  expect(eyeRect("mono", "right")).toEqual([0, 0, 1, 1]);
  expect([eyeRect("tb", "left"), eyeRect("tb", "right")]).toEqual([
    [0, 0, 1, 0.5],
    [0, 0.5, 1, 0.5],
  ]);
  expect([eyeRect("lr", "left"), eyeRect("lr", "right")]).toEqual([
    [0, 0, 0.5, 1],
    [0.5, 0, 0.5, 1],
  ]);
});

test("only the server's own names are layouts", () => {
  expect([parseProjection("cubemap"), parseProjection("Equirect"), parseProjection(null)]).toEqual([
    "cubemap",
    undefined,
    undefined,
  ]);
  expect([parseStereo("tb"), parseStereo("over-under")]).toEqual(["tb", undefined]);
});
