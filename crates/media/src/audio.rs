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
    health: Health,
}

/// How well an encoder's sound keeps its own time.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Health {
    /// How far stamps are ahead of the count of samples, in ms, evened out. Corrected above [`RESYNC_MS`].
    pub drift_ms: f64,
    /// Blocks of silence that stand for missing sound.
    pub silent_blocks: u64,
    /// Blocks that were left out because they came twice or too late.
    pub dropped_blocks: u64,
}

/// How much the newest block counts in the drift that is told: stamps are rounded to whole milliseconds.
const DRIFT_NEWEST: f64 = 0.05;

impl AudioLine {
    /// A line that begins at the first block at or after `start` (90 kHz ticks). `real` says whether the source has
    /// sound at all: if not, silence is not kept waiting.
    pub fn new(config: &AudioConfig, start: i64, real: bool) -> Self {
        let rate = i64::from(config.sample_rate());
        let start = to_samples(start, rate);
        let (patience_ms, health) = (*PATIENCE_MS.start(), Health::default());
        Self { rate, silence: config.silence(), start, next: None, patience_ms, real, health }
    }

    /// How well it keeps its own time.
    pub fn health(&self) -> Health {
        self.health
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
        let off_ms = (at - next) as f64 * 1000.0 / self.rate as f64;
        self.health.drift_ms += (off_ms - self.health.drift_ms) * DRIFT_NEWEST;
        if at - next < -tolerance {
            self.health.dropped_blocks = self.health.dropped_blocks.saturating_add(1);
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
            self.health.silent_blocks = self.health.silent_blocks.saturating_add(1);
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
    fn drift_is_told_evened_out_and_what_was_put_in_or_left_out_is_counted() {
        let config = AudioConfig::lc(48_000, 2).unwrap();
        let (mut line, mut out) = (AudioLine::new(&config, 0, true), Vec::new());
        let mut push = |line: &mut AudioLine, at_ms: i64| line.push(at_ms * MS, 0, Bytes::new(), &mut out);
        // Half a per cent fast: after 100 blocks 10 ms.
        (0..100).for_each(|block| push(&mut line, block * 1024 * 1005 / 48_000));
        let health = line.health();
        assert!(
            (7.0..10.0).contains(&health.drift_ms) && health.silent_blocks + health.dropped_blocks == 0,
            "{health:?}"
        );
        push(&mut line, 2_300);
        push(&mut line, 2_000);
        assert_eq!((line.health().silent_blocks, line.health().dropped_blocks), (7, 1));
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
