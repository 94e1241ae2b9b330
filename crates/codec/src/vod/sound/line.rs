//! Where decoded samples belong: counted, not stamped, until stamps say that the count went wrong.
//!
//! Samples stand back to back in *stretches*. A stretch lies where its stamps say on average, so that stamps rounded to
//! milliseconds (FLV, Matroska) put neighbours' stretches in the same place to a sample. Knows no packets and no codecs.

use super::swr::Swr;
use crate::Error;
use ffmpeg_next::ChannelLayout;
use ffmpeg_next::format::{Sample, sample};
use media::audio::RESYNC_MS;
use std::ops::Range;

/// Samples without a break.
struct Stretch {
    rate: u32,
    /// Where its first sample is by the first stamp, in samples.
    first: i64,
    /// How far stamps were ahead of the count, all together, in samples.
    off: i64,
    /// How many stamps those were.
    stamps: i64,
    /// Interleaved.
    samples: Vec<f32>,
}

impl Stretch {
    /// Where its first sample is by all stamps.
    fn start(&self) -> i64 {
        let stamps = self.stamps.max(1);
        self.first.saturating_add((2 * self.off + stamps).div_euclid(2 * stamps))
    }
}

/// What was decoded for a span.
pub(super) struct Line {
    channels: usize,
    /// What stamps are counted in.
    stamp_rate: u32,
    /// Samples at or after this stamp are not kept.
    until: i64,
    stretches: Vec<Stretch>,
    /// The count is good for nothing any more.
    broken: bool,
}

impl Line {
    /// For stamps in samples of `stamp_rate`.
    pub(super) fn new(channels: usize, stamp_rate: u32, until: i64) -> Self {
        Self { channels, stamp_rate, until, stretches: Vec::new(), broken: false }
    }

    /// Tells that something could not be decoded: however small the hole, what comes next is put where its stamp says.
    pub(super) fn broken(&mut self) {
        self.broken = true;
    }

    /// Takes what a decoder gave: interleaved samples at `rate`, stamped if the decoder knows when. What overlaps
    /// by more than [`RESYNC_MS`] is dropped, what leaves a hole of more begins a new stretch.
    pub(super) fn push(&mut self, stamp: Option<i64>, rate: u32, samples: &[f32]) {
        let (stamp_rate, until) = (self.stamp_rate, self.until);
        let at = stamp.map(|stamp| rescale(stamp, rate, stamp_rate));
        let channels = self.channels.max(1);
        let next = self.stretches.last().map(|last| {
            let count = i64::try_from(last.samples.len() / channels).unwrap_or(i64::MAX);
            rescale(last.first.saturating_add(count), rate, last.rate)
        });
        let off = match (at, next) {
            (None, None) => return,
            (Some(_), None) => i64::MAX,
            (None, Some(_)) => 0,
            (Some(at), Some(next)) => at.saturating_sub(next),
        };
        let tolerance = RESYNC_MS * i64::from(rate) / 1000;
        let begins = at.or(next).unwrap_or(i64::MAX);
        if off < -tolerance || begins >= rescale(until, rate, stamp_rate) {
            return;
        }
        let goes_on = off <= if self.broken && stamp.is_some() { 0 } else { tolerance };
        self.broken &= stamp.is_none();
        match self.stretches.last_mut() {
            Some(last) if goes_on && last.rate == rate => {
                last.samples.extend_from_slice(samples);
                last.off += off;
                last.stamps += i64::from(stamp.is_some());
            }
            _ => self.stretches.push(Stretch { rate, first: begins, off: 0, stamps: 1, samples: samples.to_vec() }),
        }
    }

    /// The samples of `range`, interleaved, −1 to 1, where both are counted at `rate`. Silence where there are none.
    pub(super) fn render(&self, range: Range<i64>, rate: u32) -> Result<Vec<f32>, Error> {
        let mut all = silence(range.clone(), self.channels);
        for stretch in &self.stretches {
            let (at, samples) = self.resampled(stretch, rate)?;
            let skip = usize::try_from(range.start.saturating_sub(at)).unwrap_or(0);
            let lead = usize::try_from(at.saturating_sub(range.start)).unwrap_or(0);
            let from = samples.iter().skip(skip.saturating_mul(self.channels));
            for (to, from) in all.iter_mut().skip(lead.saturating_mul(self.channels)).zip(from) {
                *to = from.clamp(-1.0, 1.0);
            }
        }
        Ok(all)
    }

    /// A stretch at another rate, and where it begins there. A sample that both rates have is the resampler's first: so
    /// two stretches of one source, wherever they begin, come out on the same grid.
    fn resampled(&self, stretch: &Stretch, rate: u32) -> Result<(i64, Vec<f32>), Error> {
        let (start, from, to) = (stretch.start(), i64::from(stretch.rate), i64::from(rate));
        if from == to {
            return Ok((start, stretch.samples.clone()));
        }
        let common = gcd(from, to).max(1);
        let padding = start.rem_euclid(from / common);
        let base = (start.saturating_sub(padding) / (from / common)).saturating_mul(to / common);
        let mut samples = silence(0..padding, self.channels);
        samples.extend_from_slice(&stretch.samples);
        let layout = ChannelLayout::default(i32::try_from(self.channels).unwrap_or(0));
        let packed = Sample::F32(sample::Type::Packed);
        let mut made = Swr::open((packed, layout, stretch.rate), (layout, rate))?.resample(&samples)?;
        // The padding: rounded up, because the sample in which the stretch begins lies between.
        let padded = (padding * to + from - 1) / from;
        made.drain(..made.len().min(usize::try_from(padded).unwrap_or(0) * self.channels));
        Ok((base.saturating_add(padded), made))
    }
}

/// So many samples of nothing, interleaved.
pub(super) fn silence(range: Range<i64>, channels: usize) -> Vec<f32> {
    vec![0.0; usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0).saturating_mul(channels)]
}

/// A count of samples at another rate, to the nearest.
pub(super) fn rescale(value: i64, to: u32, from: u32) -> i64 {
    let from = i128::from(from.max(1));
    let scaled = i128::from(value) * i128::from(to);
    i64::try_from((2 * scaled + from).div_euclid(2 * from)).unwrap_or(if value < 0 {
        i64::MIN / 4
    } else {
        i64::MAX / 4
    })
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets of 1000 samples at 48 kHz, stamped; which packet each of the first samples of a thousand comes from.
    fn check(stamps: &[i64], expected: &str) {
        let mut line = Line::new(1, 48_000, 100_000);
        for (i, &stamp) in stamps.iter().enumerate() {
            line.push(Some(stamp), 48_000, &vec![(i + 1) as f32 / 10.0; 1000]);
        }
        let samples = line.render(0..10_000, 48_000).unwrap();
        let heard: String =
            samples.chunks(1000).map(|packet| ((packet[500] * 10.0).round() as u8 + b'0') as char).collect();
        assert_eq!(heard, expected, "{stamps:?}");
    }

    #[test]
    fn holes_are_silent_overlaps_dropped_and_jitter_is_counted_over() {
        check(&[0, 1000, 2000], "1230000000");
        check(&[0, 1040, 1970], "1230000000");
        // 1920 samples are 40 ms: exactly that is counted over (all lie half as late as the hole), more is not.
        check(&[0, 1000, 4000, 5000], "1200340000");
        check(&[4000, 5000, 1000, 6000], "0000124000");
        check(&[-5000, -400, 90_000], "2000000000");
        check(&[], "0000000000");
    }

    #[test]
    fn a_packet_that_is_lost_leaves_its_own_hole() {
        let mut line = Line::new(1, 48_000, 100_000);
        for stamp in [0, 1000, 3000, 4000] {
            line.push(Some(stamp), 48_000, &[0.5; 1000]);
            line.broken();
            if stamp == 0 {
                // Nothing was lost here: a stamp that is a little early begins nothing new.
                line.push(Some(999), 48_000, &[]);
            }
        }
        let samples = line.render(0..5000, 48_000).unwrap();
        let silent: Vec<usize> = (0..5000).filter(|&at| samples[at] == 0.0).collect();
        assert_eq!(silent, (2000..3000).collect::<Vec<_>>());
        assert_eq!(line.stretches.len(), 2);
    }

    #[test]
    fn rounded_stamps_put_a_stretch_where_it_was_to_a_sample() {
        // MP3 at 44.1 kHz in a container with milliseconds.
        for begins in [0_i64, 117, 230, 1001] {
            let mut line = Line::new(1, 44_100, i64::MAX / 8);
            for packet in begins..begins + 200 {
                let ms = (packet * 1152 * 1000 + 22_050).div_euclid(44_100);
                line.push(Some(rescale(ms, 44_100, 1000)), 44_100, &[0.5; 1152]);
            }
            assert_eq!(line.stretches.len(), 1);
            assert!((line.stretches[0].start() - begins * 1152).abs() <= 1, "{begins}");
        }
    }

    #[test]
    fn what_lies_after_the_window_is_not_kept() {
        let mut line = Line::new(2, 48_000, 5000);
        line.push(Some(4900), 48_000, &[0.0; 400]);
        for _ in 0..1000 {
            line.push(None, 48_000, &[0.0; 400]);
        }
        line.push(Some(5000), 48_000, &[0.0; 400]);
        line.push(Some(i64::MAX), 48_000, &[0.0; 400]);
        line.push(Some(i64::MIN), 48_000, &[0.0; 400]);
        assert_eq!(line.stretches.iter().map(|stretch| stretch.samples.len()).sum::<usize>(), 400);
    }
}
