import { expect, test } from "vitest";
import { BLOCK_PX, decodeTimecode } from "./timecode.mjs";

/** Draws the strip from rows of 16 characters: `#` white, `.` black, at these two brightnesses. */
function draw(rows, white = 235, black = 16) {
  const pixels = [];
  for (let y = 0; y < 4 * BLOCK_PX; y += 1) {
    for (let x = 0; x < 16 * BLOCK_PX; x += 1) {
      const value = rows[Math.floor(y / BLOCK_PX)][Math.floor(x / BLOCK_PX)] === "#" ? white : black;
      pixels.push(value, value, value, 255);
    }
  }
  return pixels;
}

// 1 ms after 1970: 48 bits ending in 1, and the CRC-8 of 00 00 00 00 00 01, which is 07.
const ONE = [
  ".00000000000000#", //
  "#00000000000000.",
  ".00000000000000#",
  "#00000#00000###.",
].map(row => row.replaceAll("0", "."));

test("the documented strip is read, also when an encoder has greyed it", () => {
  expect(decodeTimecode(draw(ONE), BLOCK_PX)).toBe(1);
  expect(decodeTimecode(draw(ONE, 170, 90), BLOCK_PX)).toBe(1);
});

test.each([
  ["a damaged bit", draw(ONE.with(1, "#......#........"))],
  ["markers the wrong way round", draw(ONE.with(0, "#..............."))],
  ["a grey picture", draw(ONE, 120, 100)],
  ["too few pixels", draw(ONE).slice(0, 100)],
  ["none", []],
])("%s is no time", (_, pixels) => {
  expect(decodeTimecode(pixels, BLOCK_PX)).toBeNull();
});
