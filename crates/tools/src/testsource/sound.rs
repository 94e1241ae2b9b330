//! The tone: 1 kHz softly all the time, and a beep of 2 kHz at the start of each second of UTC.
//!
//! A function of the sample's number; knows no encoder.

use super::canvas::BEEP_MS;
use media::unit::AAC_FRAME_SAMPLES;
use std::f32::consts::TAU;

/// Samples per second.
pub(super) const SAMPLE_RATE: u32 = 48_000;
/// Left and right, the same.
pub(super) const CHANNELS: u8 = 2;

/// Period in samples and level (1 is full scale) of the tone (−26 dB) and of the beep (−12 dB).
const TONE: (u64, f32) = (48, 0.05);
const BEEP: (u64, f32) = (24, 0.25);

/// Sound whose sample 0 is heard at a moment, in ms since 1970 (UTC).
pub(super) struct Sound {
    starts_utc_ms: u64,
    sample: u64,
}

impl Sound {
    pub(super) fn new(starts_utc_ms: u64) -> Self {
        Self { starts_utc_ms, sample: 0 }
    }

    /// When the next block is heard, in ms from sample 0.
    pub(super) fn next_ms(&self) -> u64 {
        self.sample * 1000 / u64::from(SAMPLE_RATE)
    }

    /// When the block before the next one is heard, if there is one.
    pub(super) fn before_next_ms(&self) -> Option<u64> {
        let sample = self.sample.checked_sub(u64::from(AAC_FRAME_SAMPLES))?;
        Some(sample * 1000 / u64::from(SAMPLE_RATE))
    }

    /// Leaves time out.
    pub(super) fn skip_ms(&mut self, ms: u64) {
        self.starts_utc_ms += ms;
    }

    /// The next block: [`AAC_FRAME_SAMPLES`] samples for each channel, interleaved.
    pub(super) fn block(&mut self) -> Vec<f32> {
        let first = self.sample;
        self.sample += u64::from(AAC_FRAME_SAMPLES);
        (first..self.sample).flat_map(|sample| [self.level(sample); CHANNELS as usize]).collect()
    }

    fn level(&self, sample: u64) -> f32 {
        let utc_ms = self.starts_utc_ms + sample * 1000 / u64::from(SAMPLE_RATE);
        let (period, level) = if utc_ms % 1000 < BEEP_MS { BEEP } else { TONE };
        (TAU * (sample % period) as f32 / period as f32).sin() * level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_beeps_for_the_first_tenth_of_each_second() {
        let mut sound = Sound::new(1_000_950);
        let samples: Vec<f32> = (0..50).flat_map(|_| sound.block()).step_by(2).collect();
        let loudest = |from_ms: usize, to_ms: usize| {
            samples[from_ms * 48..to_ms * 48].iter().fold(0f32, |loudest, sample| loudest.max(sample.abs()))
        };
        for (from, to, expected) in [(0, 50, 0.05), (50, 150, 0.25), (150, 1050, 0.05), (1050, 1060, 0.25)] {
            assert!((loudest(from, to) - expected).abs() < 0.001, "{from} to {to} ms");
        }
    }
}
