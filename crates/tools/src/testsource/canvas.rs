//! The test picture as it is at one moment: the backdrop, the time in letters and in blocks, and something that moves.
//!
//! Only what changes is drawn for each picture, from lists made beforehand. Knows no clock: the time is an argument.

use super::font::{self, ROWS};
use super::sphere::{Direction, Sign, Spot, latitude, longitude};
use super::{backdrop, stamp};
use codec::picture::{PLANES, Picture};
use std::f64::consts::{PI, TAU};

/// `HH:MM:SS.mmm`
const CLOCK_LETTERS: u32 = 12;
/// Where the clock hangs at FRONT: middle and letter size, as tangents.
const CLOCK: (f64, f64) = (0.17, 0.11);

/// The ball's latitude, its radius (radians) and the time it takes around.
const BALL_LATITUDE: f64 = -35.0 * PI / 180.0;
const BALL_RADIUS: f64 = 4.0 * PI / 180.0;
const BALL_PERIOD_MS: u64 = 12_000;

/// For this long in each second the ball is white and the tone beeps, in ms.
pub(super) const BEEP_MS: u64 = 100;

/// Samples of a pixel in each direction.
const SAMPLES: u32 = 2;

/// A pixel of the clock: its place in the luma plane, and what its samples show.
struct ClockPixel {
    offset: usize,
    samples: [Option<(u8, u8, u8)>; (SAMPLES * SAMPLES) as usize],
}

/// A picture that is drawn on again and again.
pub(super) struct Canvas {
    picture: Picture,
    backdrop: Picture,
    clock: Vec<ClockPixel>,
    /// Row and columns from the middle one that the ball covers in the luma plane.
    ball: Vec<(usize, usize)>,
    ball_column: usize,
}

impl Canvas {
    /// Draws the backdrop. Errors on sizes that a picture cannot have.
    pub(super) fn new(width: u32, height: u32) -> Result<Self, codec::Error> {
        let mut backdrop = Picture::new(width, height)?;
        backdrop::draw(&mut backdrop)?;
        let clock = clock_pixels(&backdrop);
        grey_out(&mut backdrop, &clock)?;
        let (w, h) = (width as usize, height as usize);
        let (luma, stride) = backdrop.plane_mut(0)?;
        stamp::draw_margin(luma, stride, w, h);
        let (columns, rows) = stamp::area(w, h);
        for plane in [1, 2] {
            let (samples, stride) = backdrop.plane_mut(plane)?;
            for line in samples.chunks_mut(stride).take(rows.end / 2).skip(rows.start / 2) {
                line.iter_mut().take(columns.end / 2).skip(columns.start / 2).for_each(|sample| *sample = 128);
            }
        }
        let mut picture = Picture::new(width, height)?;
        for plane in PLANES {
            let (to, _) = picture.plane_mut(plane)?;
            let (from, _) = backdrop.plane(plane);
            to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        }
        Ok(Self { picture, backdrop, clock, ball: ball_rows(w, h), ball_column: 0 })
    }

    /// The picture at a moment, in ms since 1970 (UTC).
    pub(super) fn at(&mut self, utc_ms: u64) -> Result<&Picture, codec::Error> {
        self.move_ball(utc_ms)?;
        let (width, height) = (self.picture.width() as usize, self.picture.height() as usize);
        let glyphs = clock_text(utc_ms).map(font::glyph);
        let (luma, stride) = self.picture.plane_mut(0)?;
        for pixel in &self.clock {
            let inked = pixel.samples.iter().flatten().filter(|(letter, column, row)| {
                let dots = glyphs.get(usize::from(*letter)).and_then(|glyph| glyph.get(usize::from(*row)));
                dots.is_some_and(|dots| dots >> column & 1 == 1)
            });
            let inked = inked.count() as u32;
            if let Some(to) = luma.get_mut(pixel.offset) {
                *to = (38 + inked * (235 - 38) / (SAMPLES * SAMPLES)) as u8;
            }
        }
        stamp::draw(luma, stride, width, height, utc_ms);
        Ok(&self.picture)
    }

    /// Puts the backdrop back where the ball was, and draws the ball where it is.
    fn move_ball(&mut self, utc_ms: u64) -> Result<(), codec::Error> {
        let width = self.picture.width() as usize;
        let turn = (utc_ms % BALL_PERIOD_MS) as f64 / BALL_PERIOD_MS as f64;
        // Even, so that chroma moves along.
        let column = (turn * width as f64) as usize & !1;
        let colour = if utc_ms % 1000 < BEEP_MS { [235, 128, 128] } else { [150, 60, 180] };
        for (plane, value) in PLANES.zip(colour) {
            let scale = if plane == 0 { 1 } else { 2 };
            let across = width / scale;
            let (from, from_stride) = self.backdrop.plane(plane);
            let (to, stride) = self.picture.plane_mut(plane)?;
            for &(row, half) in self.ball.iter().filter(|(row, _)| row % scale == 0) {
                let (row, half) = (row / scale, half / scale);
                for offset in 0..=2 * half {
                    let at = (self.ball_column / scale + across + offset - half) % across;
                    if let (Some(to), Some(from)) = (to.get_mut(row * stride + at), from.get(row * from_stride + at)) {
                        *to = *from;
                    }
                }
            }
            for &(row, half) in self.ball.iter().filter(|(row, _)| row % scale == 0) {
                let (row, half) = (row / scale, half / scale);
                for offset in 0..=2 * half {
                    let at = (column / scale + across + offset - half) % across;
                    if let Some(to) = to.get_mut(row * stride + at) {
                        *to = value;
                    }
                }
            }
        }
        self.ball_column = column;
        Ok(())
    }
}

/// A time of day as twelve letters.
fn clock_text(utc_ms: u64) -> [char; CLOCK_LETTERS as usize] {
    let digit = |unit: u64, base: u64| char::from_digit((utc_ms / unit % base) as u32, 10).unwrap_or('0');
    let hours = utc_ms / 3_600_000 % 24;
    let hour = |value: u64| char::from_digit(value as u32, 10).unwrap_or('0');
    [
        hour(hours / 10),
        hour(hours % 10),
        ':',
        digit(600_000, 6),
        digit(60_000, 10),
        ':',
        digit(10_000, 6),
        digit(1000, 10),
        '.',
        digit(100, 10),
        digit(10, 10),
        digit(1, 10),
    ]
}

/// Takes the colour from where the clock will be.
fn grey_out(backdrop: &mut Picture, clock: &[ClockPixel]) -> Result<(), codec::Error> {
    let (_, luma_stride) = backdrop.plane(0);
    for plane in [1, 2] {
        let (samples, stride) = backdrop.plane_mut(plane)?;
        for pixel in clock {
            let (x, y) = (pixel.offset % luma_stride, pixel.offset / luma_stride);
            if let Some(sample) = samples.get_mut(y / 2 * stride + x / 2) {
                *sample = 128;
            }
        }
    }
    Ok(())
}

/// Finds the clock's pixels.
fn clock_pixels(backdrop: &Picture) -> Vec<ClockPixel> {
    let (width, height) = (backdrop.width(), backdrop.height());
    let (_, stride) = backdrop.plane(0);
    let sign = Sign::new(Direction::FRONT, Direction::RIGHT, Direction::UP, CLOCK.0, CLOCK.1, CLOCK_LETTERS);
    let mut pixels = Vec::new();
    // The clock is within 45° of front; elsewhere nothing needs to be tried.
    for y in height / 4..height / 2 {
        for x in width * 3 / 8..width * 5 / 8 {
            let mut seen = false;
            let samples = std::array::from_fn(|sample| {
                let inside = |index: u32| (f64::from(index) + 0.5) / f64::from(SAMPLES);
                let longitude = longitude((f64::from(x) + inside(sample as u32 % SAMPLES)) / f64::from(width));
                let latitude = latitude((f64::from(y) + inside(sample as u32 / SAMPLES)) / f64::from(height));
                let spot = sign.at(Direction::of(longitude, latitude));
                seen |= spot.is_some();
                match spot {
                    Some(Spot::Dot { letter, column, row }) if column < font::COLUMNS && row < ROWS => {
                        Some((letter as u8, (font::COLUMNS - 1 - column) as u8, row as u8))
                    }
                    _ => None,
                }
            });
            if seen {
                pixels.push(ClockPixel { offset: y as usize * stride + x as usize, samples });
            }
        }
    }
    pixels
}

/// The ball's rows and half its width in each, in luma pixels.
fn ball_rows(width: usize, height: usize) -> Vec<(usize, usize)> {
    let row = |y: usize| {
        let here = latitude((y as f64 + 0.5) / height as f64);
        // Spherical law of cosines: how far in longitude the circle reaches at this latitude.
        let cos = (BALL_RADIUS.cos() - here.sin() * BALL_LATITUDE.sin()) / (here.cos() * BALL_LATITUDE.cos());
        let reached = (here - BALL_LATITUDE).abs() < BALL_RADIUS;
        reached.then(|| (y, (cos.clamp(-1.0, 1.0).acos() / TAU * width as f64) as usize))
    };
    (0..height).filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_counts_utc() {
        let check = |utc_ms, expected: &str| assert_eq!(clock_text(utc_ms).iter().collect::<String>(), expected);
        check(0, "00:00:00.000");
        check(86_399_999, "23:59:59.999");
        check(1_795_195_500_123, "17:25:00.123");
    }

    fn planes(picture: &Picture) -> Vec<Vec<u8>> {
        PLANES.map(|plane| picture.plane(plane).0.to_vec()).collect()
    }

    #[test]
    fn a_picture_depends_on_its_time_alone() {
        let mut canvas = Canvas::new(480, 240).unwrap();
        let first = planes(canvas.at(1_000_500).unwrap());
        for utc_ms in [1_000_533, 1_003_000, 1_011_999] {
            assert_ne!(planes(canvas.at(utc_ms).unwrap()), first);
        }
        assert!(planes(canvas.at(1_000_500).unwrap()) == first, "traces of other pictures are left");
        assert!(planes(Canvas::new(480, 240).unwrap().at(1_000_500).unwrap()) == first);
    }

    #[test]
    fn the_ball_goes_around_and_blinks_with_the_beep() {
        let mut canvas = Canvas::new(480, 240).unwrap();
        let row = (240.0 * (0.5 + 35.0 / 180.0)) as usize;
        for (utc_ms, column, luma) in [(500, 20, 150), (3500, 140, 150), (12_050, 2, 235), (11_990, 478, 150)] {
            let (plane, stride) = canvas.at(utc_ms).unwrap().plane(0);
            assert_eq!(plane[row * stride + column], luma, "{utc_ms} ms");
        }
    }
}
