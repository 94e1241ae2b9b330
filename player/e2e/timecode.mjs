// Reads the test source's timecode from pixels, in the browser: the layout is documented in
// crates/tools/src/testsource/stamp.rs. Knows nothing of videos or pages.

/** Where the strip lies in the whole picture, as parts of it: a grid of 80 × 40 blocks, the strip 16 × 4 of them. */
export const STRIP = { x: 32 / 80, y: 22 / 40, width: 16 / 80, height: 4 / 40 };

/** Pixels per block, both ways, of the small picture that decodeTimecode() is given. */
export const BLOCK_PX = 8;

/**
 * UTC in ms since 1970, or null if this is no strip or a damaged one.
 * Uses nothing from outside itself, so that its source can be handed to a page.
 * @param {ArrayLike<number>} rgba the strip alone, scaled to 16 × 4 blocks of `blockPx` pixels
 * @param {number} blockPx
 * @returns {number | null}
 */
export function decodeTimecode(rgba, blockPx) {
  const [columns, rows] = [16, 4];
  const lineBytes = columns * blockPx * 4;
  if (rgba.length < lineBytes * rows * blockPx) return null;
  const quarter = Math.floor(blockPx / 4);
  // Mean green, which is most of the brightness, of the middle half of a block: the rest is smeared by the encoder.
  const level = (column, row) => {
    let sum = 0;
    let count = 0;
    for (let y = row * blockPx + quarter; y < (row + 1) * blockPx - quarter; y += 1) {
      for (let x = column * blockPx + quarter; x < (column + 1) * blockPx - quarter; x += 1) {
        sum += rgba[y * lineBytes + x * 4 + 1];
        count += 1;
      }
    }
    return sum / Math.max(1, count);
  };
  let white = 255;
  let black = 0;
  for (let row = 0; row < rows; row += 1) {
    const [left, right] = [level(0, row), level(columns - 1, row)];
    const [lit, dark] = row % 2 === 0 ? [right, left] : [left, right];
    white = Math.min(white, lit);
    black = Math.max(black, dark);
  }
  if (white - black < 60) return null;
  const bytes = [0, 0, 0, 0, 0, 0, 0];
  for (let bit = 0; bit < 56; bit += 1) {
    const lit = level(1 + (bit % 14), Math.floor(bit / 14)) > (white + black) / 2;
    bytes[bit >> 3] = (bytes[bit >> 3] << 1) | (lit ? 1 : 0);
  }
  let crc = 0;
  for (const byte of bytes.slice(0, 6)) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = ((crc << 1) ^ (crc & 0x80 ? 0x07 : 0)) & 0xff;
  }
  if (crc !== bytes[6]) return null;
  return bytes.slice(0, 6).reduce((time, byte) => time * 256 + byte, 0);
}
