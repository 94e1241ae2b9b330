//! One unbroken line of AAC blocks, whatever the encoder sends.
//!
//! Blocks are counted in samples, not stamped: 1024 each, back to back. Where the stamps say that the count went wrong
//! by more than [`RESYNC_MS`], blocks of silence are put in or blocks are left out. Knows no container and no cuts.

use crate::aac::AudioConfig;
use crate::unit::{AAC_FRAME_SAMPLES, AudioUnit, VIDEO_TIMESCALE};
use bytes::Bytes;

/// How far stamps and count may disagree, in ms.
pub const RESYNC_MS: i64 = 40;

/// A first block this much after the first picture leaves no hole; a later one is preceded by silence, in ms.
const LEAD_IN_MS_MAX: i64 = 100;

/// How far sound may lag behind pictures before silence takes its place: at first, and at most, in ms. An encoder that
/// interleaves more loosely loses a moment of sound once, and is waited for from then on.
const PATIENCE_MS: std::ops::RangeInclusive<i64> = 500..=4_000;

const FRAME: i64 = AAC_FRAME_SAMPLES as i64;

/// The audio line of one publish.
#[derive(Debug, Clone)]
pub struct AudioLine {
    rate: i64,
    silence: Bytes,
    start: i64,
    next: Option<i64>,
    patience_ms: i64,
    real: bool,
}

impl AudioLine {
    /// A line that begins at the first block at or after `start` (90 kHz ticks). `real` says whether the source has
    /// sound at all: if not, silence is not kept waiting.
    pub fn new(config: &AudioConfig, start: i64, real: bool) -> Self {
        let rate = i64::from(config.sample_rate());
        let start = to_samples(start, rate);
        Self { rate, silence: config.silence(), start, next: None, patience_ms: *PATIENCE_MS.start(), real }
    }

    /// A block of silence.
    pub fn silence(&self) -> Bytes {
        self.silence.clone()
    }

    /// Places a block that was stamped `at` (90 kHz ticks); `video` is how far pictures have come.
    pub fn push(&mut self, at: i64, video: i64, data: Bytes, out: &mut Vec<AudioUnit>) {
        self.real = true;
        let at = to_samples(at, self.rate);
        let tolerance = RESYNC_MS * self.rate / 1000;
        let next = match self.next {
            Some(next) => next,
            None if at < self.start => return,
            None if at - self.start > LEAD_IN_MS_MAX * self.rate / 1000 => self.start,
            None => at,
        };
        self.next = Some(next);
        if at - next < -tolerance {
            let lag_ms = (to_samples(video, self.rate) - at) * 1000 / self.rate;
            self.patience_ms = self.patience_ms.max(lag_ms + RESYNC_MS).min(*PATIENCE_MS.end());
            return;
        }
        if at - next > tolerance {
            self.fill(at, out);
        }
        self.place(data, out);
    }

    /// Tells how far pictures have come (90 kHz ticks): silence takes the place of sound that is too late.
    pub fn video_reached(&mut self, video: i64, out: &mut Vec<AudioUnit>) {
        let patience = if self.real { self.patience_ms * self.rate / 1000 } else { 0 };
        let until = to_samples(video, self.rate) - patience;
        if self.next.unwrap_or(self.start) + FRAME <= until {
            self.fill(until, out);
        }
    }

    /// Fills up to where pictures end (90 kHz ticks).
    pub fn finish(&mut self, end: i64, out: &mut Vec<AudioUnit>) {
        self.fill(to_samples(end, self.rate), out);
    }

    /// Whole blocks of silence, as many as fit before `until`.
    fn fill(&mut self, until: i64, out: &mut Vec<AudioUnit>) {
        while self.next.unwrap_or(self.start) + FRAME <= until {
            self.place(self.silence.clone(), out);
        }
    }

    fn place(&mut self, data: Bytes, out: &mut Vec<AudioUnit>) {
        let pts = self.next.unwrap_or(self.start);
        out.push(AudioUnit { pts, data });
        self.next = Some(pts + FRAME);
    }
}

/// 90 kHz ticks in samples, rounded up: the first sample at or after that moment.
pub fn to_samples(ticks: i64, rate: i64) -> i64 {
    let scaled = i128::from(ticks) * i128::from(rate);
    let timescale = i128::from(VIDEO_TIMESCALE);
    i64::try_from((scaled + timescale - 1).div_euclid(timescale)).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 90;

    enum Step {
        Sound(i64),
        Video(i64),
        End(i64),
    }
    use Step::{End, Sound, Video};

    /// Runs steps (ms) at 48 kHz from a first picture at 0; prints runs of blocks as `start:kinds`, r real, s silent.
    fn check(real: bool, steps: &[Step], expected: &str) {
        let config = AudioConfig::lc(48_000, 2).unwrap();
        let mut line = AudioLine::new(&config, 0, real);
        let (mut out, mut video) = (Vec::new(), 0);
        for step in steps {
            match *step {
                Sound(ms) => line.push(ms * MS, video, Bytes::from_static(b"r"), &mut out),
                Video(ms) => {
                    video = ms * MS;
                    line.video_reached(video, &mut out);
                }
                End(ms) => line.finish(ms * MS, &mut out),
            }
        }
        let first = out.first().map_or(0, |unit| unit.pts);
        assert!(out.iter().enumerate().all(|(i, unit)| unit.pts == first + i as i64 * FRAME), "unbroken");
        let kinds: String = out.iter().map(|unit| if unit.data == "r" { 'r' } else { 's' }).collect();
        assert_eq!(format!("{first}:{kinds}"), expected);
    }

    #[test]
    fn rounded_stamps_are_counted_exactly() {
        check(true, &[Sound(0), Sound(21), Sound(43), Sound(64)], "0:rrrr");
    }

    #[test]
    fn the_line_begins_at_the_first_block_at_or_after_the_first_picture() {
        check(true, &[Sound(-30), Sound(-9), Sound(12), Sound(33)], "576:rr");
    }

    #[test]
    fn a_late_start_and_a_gap_are_filled_with_silence() {
        check(true, &[Sound(213)], "0:sssssssssr");
        check(true, &[Sound(0), Sound(21), Sound(171)], "0:rrssssssr");
    }

    #[test]
    fn stamps_that_fall_back_lose_blocks_until_they_catch_up() {
        check(true, &[Sound(0), Sound(21), Sound(43), Sound(64), Sound(0), Sound(43), Sound(64)], "0:rrrrr");
    }

    #[test]
    fn a_source_without_sound_is_silent_at_once() {
        check(false, &[Video(50), Video(100)], "0:ssss");
    }

    #[test]
    fn sound_is_waited_for_and_longer_after_it_came_too_late() {
        check(true, &[Sound(0), Video(400)], "0:r");
        check(true, &[Sound(0), Video(600)], "0:rsss");
        check(true, &[Sound(0), Video(600), Sound(21), Sound(85), Video(630), Sound(107)], "0:rsssrr");
    }

    #[test]
    fn the_end_is_filled_to_the_last_picture() {
        check(true, &[Sound(0), End(64)], "0:rss");
    }
}
