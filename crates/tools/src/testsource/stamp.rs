//! The timecode that machines read: wall-clock milliseconds as blocks of black and white.
//!
//! # Layout
//!
//! In a picture of W×H pixels, a block is W/80 wide and H/40 high (6×6 at 480×240). The strip is 16 blocks wide and 4
//! high; its upper left corner is at block (32, 22): from 36° left to 36° right of front, 9° to 27° below the horizon.
//!
//! ```text
//! column  0   1 … 14        15
//! row 0   ■   b55 … b42     □        □ white, ■ black
//! row 1   □   b41 … b28     ■        columns 0 and 15 never change: they say where white and black are,
//! row 2   ■   b27 … b14     □        and that this is a strip at all
//! row 3   □   b13 … b0      ■
//! ```
//!
//! White is 1. b55…b8 are UTC in milliseconds since 1970, most significant bit first (48 bits last until the year
//! 10889); b7…b0 are their CRC-8 (polynomial x⁸+x²+x+1, i.e. 0x07, initial value 0, over the 6 bytes, first byte first).
//! A margin of grey, half a block wide, surrounds the strip. A reader takes the mean of the middle half of each block in
//! both directions, and half-way between the means of the marker blocks as the threshold.

/// Blocks across and down the whole picture.
const GRID: (usize, usize) = (80, 40);
/// The strip's first block.
const ORIGIN: (usize, usize) = (32, 22);
/// Blocks across and down the strip, markers included.
const SIZE: (usize, usize) = (16, 4);
/// Data blocks in a row.
const DATA_COLUMNS: usize = SIZE.0 - 2;

/// Limited-range luma of the blocks and of the margin.
const WHITE: u8 = 235;
const BLACK: u8 = 16;
const GREY: u8 = 126;

/// Least difference of brightness between white and black markers. Encoders keep far more.
const CONTRAST_MIN: u32 = 60;

/// Pixels from..to.
type Span = std::ops::Range<usize>;

/// The rectangle that the strip and its margin cover in a picture of this size: columns and rows, at even pixels, so
/// that chroma can be neutral there.
pub(super) fn area(width: usize, height: usize) -> (Span, Span) {
    let span = |origin: usize, size: usize, blocks: usize, pixels: usize| {
        let from = (2 * origin - 1) * pixels / (2 * blocks);
        let to = ((2 * (origin + size) + 1) * pixels).div_ceil(2 * blocks);
        from & !1..(to + 1) & !1
    };
    (span(ORIGIN.0, SIZE.0, GRID.0, width), span(ORIGIN.1, SIZE.1, GRID.1, height))
}

/// Draws the margin, once.
pub(super) fn draw_margin(luma: &mut [u8], stride: usize, width: usize, height: usize) {
    let (columns, rows) = area(width, height);
    fill(luma, stride, columns, rows, GREY);
}

/// Draws the strip for a time.
pub(super) fn draw(luma: &mut [u8], stride: usize, width: usize, height: usize, utc_ms: u64) {
    let bits = coded(utc_ms);
    for row in 0..SIZE.1 {
        for column in 0..SIZE.0 {
            let white = marker(column, row).unwrap_or_else(|| bits >> shift(column, row) & 1 == 1);
            let (columns, rows) = block(column, row, width, height);
            fill(luma, stride, columns, rows, if white { WHITE } else { BLACK });
        }
    }
}

/// Reads the time from a luma plane of `width`×`height` bytes without gaps between lines, the flat frame scaled to
/// any size from 160×80. `None` if there is no strip, or if it is damaged.
pub fn decode_timecode(luma: &[u8], width: usize, height: usize) -> Option<u64> {
    if width < 2 * GRID.0 || height < 2 * GRID.1 || luma.len() < width.checked_mul(height)? {
        return None;
    }
    let level = |column, row| mean(luma, width, block(column, row, width, height));
    let edge = [0, SIZE.0 - 1].into_iter().flat_map(|column| (0..SIZE.1).map(move |row| (column, row)));
    let (mut white, mut black) = ((u32::MAX, 0), 0);
    for (column, row) in edge {
        let level = level(column, row);
        match marker(column, row) {
            Some(true) => white = (white.0.min(level), white.1.max(level)),
            _ => black = black.max(level),
        }
    }
    if white.0 < black + CONTRAST_MIN {
        return None;
    }
    let threshold = (white.0 + black) / 2;
    let mut bits = 0u64;
    for row in 0..SIZE.1 {
        for column in 1..=DATA_COLUMNS {
            bits = bits << 1 | u64::from(level(column, row) > threshold);
        }
    }
    let utc_ms = bits >> 8;
    (coded(utc_ms) == bits).then_some(utc_ms)
}

/// What a marker block shows; `None` for data blocks.
fn marker(column: usize, row: usize) -> Option<bool> {
    match column {
        0 => Some(row % 2 == 1),
        _ if column == SIZE.0 - 1 => Some(row.is_multiple_of(2)),
        _ => None,
    }
}

/// Place of a data block's bit.
fn shift(column: usize, row: usize) -> usize {
    SIZE.1 * DATA_COLUMNS - 1 - (row * DATA_COLUMNS + column - 1)
}

/// 48 bits of time and their checksum.
fn coded(utc_ms: u64) -> u64 {
    let time = utc_ms & ((1 << 48) - 1);
    let crc = time.to_be_bytes().into_iter().fold(0u8, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 0x80 == 0 { crc << 1 } else { crc << 1 ^ 0x07 })
    });
    time << 8 | u64::from(crc)
}

/// A block's pixels.
fn block(column: usize, row: usize, width: usize, height: usize) -> (Span, Span) {
    let span = |index: usize, blocks: usize, pixels: usize| index * pixels / blocks..(index + 1) * pixels / blocks;
    (span(ORIGIN.0 + column, GRID.0, width), span(ORIGIN.1 + row, GRID.1, height))
}

fn fill(luma: &mut [u8], stride: usize, columns: Span, rows: Span, value: u8) {
    for line in luma.chunks_mut(stride.max(1)).take(rows.end).skip(rows.start) {
        if let Some(pixels) = line.get_mut(columns.clone()) {
            pixels.fill(value);
        }
    }
}

/// Mean brightness of the middle half of a block in both directions.
fn mean(luma: &[u8], width: usize, (columns, rows): (Span, Span)) -> u32 {
    let middle = |span: Span| {
        let quarter = span.len() / 4;
        span.start + quarter..span.end - quarter
    };
    let (columns, rows) = (middle(columns), middle(rows));
    let lines = luma.chunks_exact(width).take(rows.end).skip(rows.start);
    let (sum, count) = lines
        .flat_map(|line| line.get(columns.clone()).unwrap_or_default())
        .fold((0, 0), |(sum, count), &pixel| (sum + u32::from(pixel), count + 1));
    sum / u32::max(count, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drawn(width: usize, height: usize, utc_ms: u64) -> Vec<u8> {
        let mut luma = vec![90; width * height];
        draw_margin(&mut luma, width, width, height);
        draw(&mut luma, width, width, height, utc_ms);
        luma
    }

    const NOW: u64 = 1_795_195_500_123;

    #[test]
    fn what_is_drawn_is_read_at_every_size() {
        for (width, height) in [(160, 80), (320, 160), (480, 240), (854, 428), (1920, 960), (1920, 1080), (3840, 1920)]
        {
            for utc_ms in [0, 1, NOW, (1 << 48) - 1] {
                assert_eq!(
                    decode_timecode(&drawn(width, height, utc_ms), width, height),
                    Some(utc_ms),
                    "{width}x{height}"
                );
            }
        }
    }

    #[test]
    fn the_layout_is_as_documented() {
        // At 800x400 a block is 10x10: block (c, r) of the strip has its centre at (320 + 10 c + 5, 220 + 10 r + 5).
        let luma = drawn(800, 400, 0b1);
        let white = |column: usize, row: usize| luma[(225 + 10 * row) * 800 + 325 + 10 * column] > 128;
        assert_eq!([0, 1, 2, 3].map(|row| white(0, row)), [false, true, false, true]);
        assert_eq!([0, 1, 2, 3].map(|row| white(15, row)), [true, false, true, false]);
        // CRC-8 of 00 00 00 00 00 01 is 07: bits …0000 0001 0000 0111.
        let last: Vec<bool> = (1..15).map(|column| white(column, 3)).collect();
        assert_eq!(last, [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1, 1].map(|bit| bit == 1));
    }

    #[test]
    fn pictures_without_a_strip_are_none() {
        assert_eq!(decode_timecode(&vec![0; 480 * 240], 480, 240), None);
        assert_eq!(decode_timecode(&vec![255; 480 * 240], 480, 240), None);
        assert_eq!(decode_timecode(&[], 480, 240), None);
        assert_eq!(decode_timecode(&[0; 10], usize::MAX, usize::MAX), None);
    }

    proptest! {
        #[test]
        fn noise_and_a_dimmer_picture_do_no_harm(seed in any::<u32>(), utc_ms in 0u64..1 << 48) {
            let mut luma = drawn(480, 240, utc_ms);
            let mut state = seed | 1;
            for pixel in &mut luma {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *pixel = (u32::from(*pixel) / 2 + (state >> 24) / 5) as u8;
            }
            prop_assert_eq!(decode_timecode(&luma, 480, 240), Some(utc_ms));
        }

        #[test]
        fn one_wrong_block_is_noticed(utc_ms in 0u64..1 << 48, column in 0usize..16, row in 0usize..4) {
            let mut luma = drawn(480, 240, utc_ms);
            let (columns, rows) = block(column, row, 480, 240);
            let value = 255 - luma[rows.start * 480 + columns.start];
            fill(&mut luma, 480, columns, rows, value);
            prop_assert_eq!(decode_timecode(&luma, 480, 240), None);
        }
    }
}
