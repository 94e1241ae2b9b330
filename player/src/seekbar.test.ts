import { expect, test } from "vitest";
import { placeShort, placeWords, secondsAt, xOf } from "./seekbar";

const HOUR = { start: 0, end: 3_600, at: 0 };
const WINDOW = { start: 100, end: 400, at: 100 };

test.each([
  [-20, 0],
  [15, 0],
  [515, 1_800],
  [1_015, 3_600],
  [9_999, 3_600],
])("%d px from the left of a bar of 1030 px are %d s", (x, seconds) => {
  expect(secondsAt(x, HOUR, 1_030)).toBe(seconds);
});

test("a place and its time go both ways", () => {
  for (const seconds of [100, 250, 400])
    expect(secondsAt(xOf(seconds, WINDOW, 640), WINDOW, 640)).toBeCloseTo(seconds, 6);
  expect(xOf(Number.POSITIVE_INFINITY, WINDOW, 640)).toBe(625);
});

test("a time is read from the beginning of a recording, and from the end of a broadcast", () => {
  expect(placeShort(165, WINDOW, false)).toBe("1:05");
  expect(placeShort(165, WINDOW, true)).toBe("-3:55");
  expect(placeShort(398, WINDOW, true)).toBe("live");
  expect(placeWords(165, WINDOW, false)).toBe("1:05 of 5:00");
  expect(placeWords(165, WINDOW, true)).toBe("3:55 behind live");
});
