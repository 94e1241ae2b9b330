//! How many bits a segment may take, told to x264 as a decoder's buffer.
//!
//! Pure arithmetic. x264 keeps an imaginary buffer of B bits that fills at R bit/s and from which each picture is taken;
//! it starts f = 0.9 full (x264's default). Over T seconds it can therefore spend f·B + R·T bits, and since every segment
//! starts with a fresh encoder, every segment may. For a segment of T seconds to hold its rung's bit rate C:
//!
//! ```text
//! f·B + R·T ≤ (1 − margin)·C·T         with a share s of it for the buffer:
//! R = (1 − margin)·(1 − s)·C           B = (1 − margin)·s·C·T / f
//! ```
//!
//! The share is what the segment's IDR can spend at once. With T = 2 s, s = 0.2, margin = 0.03: R = 0.776 C and
//! f·B = 0.388 s of C, i.e. 2.3 Mbit for the IDR of a 5.8 Mb/s rung, over a bit per pixel at 1920×960.

use media::rate::FrameRate;
use media::unit::VIDEO_TIMESCALE;

/// Per mille of the bit rate left for boxes around the samples, and for pictures that x264 misjudged.
const MARGIN: u64 = 30;

/// Per mille of a segment's bits that the buffer may hold at the start.
const SHARE: u64 = 200;

/// Per mille of the buffer that is full at the start: x264's default.
const INITIAL: u64 = 900;

/// Segment lengths for which a buffer makes sense, in ms. Longer segments keep the cap with a smaller buffer, too.
const SEGMENT_MS: std::ops::RangeInclusive<u32> = 200..=4_000;

/// The same where nobody waits: the buffer holds up to 1.8 s.
const UNHURRIED_SEGMENT_MS: std::ops::RangeInclusive<u32> = 200..=8_000;

/// Least that an encoder is told, bit/s: x264 counts in kbit/s, and takes 0 for no cap at all.
const MAX_BITRATE_MIN: u32 = 10_000;

/// When the source does not say.
const NOMINAL: FrameRate = FrameRate { num: 30, den: 1 };

/// Rates that a source may state, in whole pictures per second.
const STATED: std::ops::RangeInclusive<u32> = 1..=240;

/// An imaginary decoder's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cap {
    /// R, in bit/s.
    pub(crate) max_bitrate: u32,
    /// B, in bits.
    pub(crate) buffer_bits: u32,
}

impl Cap {
    /// For a rung of `bitrate` (bit/s) and segments of `segment_ms`.
    pub(crate) fn new(bitrate: u32, segment_ms: u32) -> Self {
        Self::of(bitrate, segment_ms.clamp(*SEGMENT_MS.start(), *SEGMENT_MS.end()))
    }

    /// The same for players that have all the time: with a larger buffer.
    pub(crate) fn unhurried(bitrate: u32, segment_ms: u32) -> Self {
        Self::of(bitrate, segment_ms.clamp(*UNHURRIED_SEGMENT_MS.start(), *UNHURRIED_SEGMENT_MS.end()))
    }

    fn of(bitrate: u32, ms: u32) -> Self {
        let budget = u64::from(bitrate) * (1000 - MARGIN) / 1000;
        let ms = u64::from(ms);
        Self {
            max_bitrate: narrow(budget * (1000 - SHARE) / 1000),
            buffer_bits: narrow(budget * SHARE / 1000 * ms / INITIAL),
        }
    }

    /// The same cap for an encoder that believes in `rate` while pictures are really `ticks` (90 kHz) apart: it
    /// counts R by the picture, not by the clock.
    pub(crate) fn at(self, rate: FrameRate, ticks: i64) -> Self {
        let believed = rate.ticks(1).max(1).cast_unsigned();
        let scaled = u64::from(self.max_bitrate) * ticks.max(1).cast_unsigned() / believed;
        Self { max_bitrate: narrow(scaled).max(MAX_BITRATE_MIN.min(self.max_bitrate)), ..self }
    }
}

/// The rate an encoder is told, and whether the source stated it. It is the same for all segments, since it stands in
/// the SPS.
pub(crate) fn nominal_rate(stated: Option<(u32, u32)>) -> (FrameRate, bool) {
    let usable = stated.filter(|&(num, den)| den > 0 && num < u32::MAX / 2 && STATED.contains(&(num / den)));
    usable.map_or((NOMINAL, false), |(num, den)| (FrameRate { num, den }, true))
}

/// How far apart the pictures of a segment are taken to be, in ticks: as stated, unless the first two of the segment
/// (`gap`) say otherwise. Where the source states a rate, its pictures are taken to be no further apart than
/// that, since a picture may have been lost between the two. Depends on the segment alone, so that it stays pure.
pub(crate) fn spacing(nominal: (FrameRate, bool), gap: Option<i64>) -> i64 {
    let (rate, stated) = nominal;
    let expected = rate.ticks(1).max(1);
    let longest = i64::from(VIDEO_TIMESCALE);
    match gap {
        // A fifth covers stamps that were rounded to milliseconds, up to 120 pictures per second.
        Some(gap) if (gap - expected).abs() * 5 <= expected => expected,
        Some(gap) if stated => gap.clamp(1, expected),
        Some(gap) => gap.clamp(longest / i64::from(*STATED.end()), longest),
        None => expected,
    }
}

fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_buffer_and_the_rate_together_hold_the_cap_for_every_length() {
        for bitrate in [50_000u32, 500_000, 5_800_000, 200_000_000] {
            for ms in [200u32, 500, 1000, 2000, 2500, 4000, 8333, 10_000] {
                let cap = Cap::new(bitrate, ms);
                let spent = u64::from(cap.buffer_bits) * 9 / 10 + u64::from(cap.max_bitrate) * u64::from(ms) / 1000;
                let allowed = u64::from(bitrate) * 97 / 100 * u64::from(ms) / 1000;
                assert!(spent <= allowed, "{bitrate} bit/s, {ms} ms: {spent} > {allowed}");
                assert!(spent * 10 >= allowed * 8, "{bitrate} bit/s, {ms} ms: wastes more than a fifth");
            }
        }
    }

    #[test]
    fn the_buffer_and_the_rate_are_as_the_text_above_says() {
        assert_eq!(Cap::new(5_800_000, 2000), Cap { max_bitrate: 4_500_800, buffer_bits: 2_500_444 });
    }

    #[test]
    fn rates_no_encoder_means_are_not_believed() {
        let check = |stated, num, den, believed| {
            assert_eq!(nominal_rate(stated), (FrameRate { num, den }, believed), "{stated:?}");
        };
        check(Some((30_000, 1001)), 30_000, 1001, true);
        check(Some((60, 1)), 60, 1, true);
        check(None, 30, 1, false);
        check(Some((90_000, 1)), 30, 1, false);
        check(Some((1, 0)), 30, 1, false);
        check(Some((1, 10)), 30, 1, false);
    }

    #[test]
    fn spacing_follows_the_pictures_where_the_source_says_nothing_or_nonsense() {
        let check =
            |stated, gap, expected| assert_eq!(spacing(nominal_rate(stated), gap), expected, "{stated:?} {gap:?}");
        check(Some((30, 1)), Some(2970), 3000);
        check(Some((30, 1)), None, 3000);
        check(Some((30, 1)), Some(6000), 3000); // one was lost
        check(Some((15, 1)), Some(3000), 3000); // it lied
        check(None, Some(1500), 1500);
        check(None, Some(3060), 3000);
        check(None, Some(-5), 375);
        check(None, Some(i64::MAX / 8), 90_000);
    }

    #[test]
    fn an_encoder_that_believes_in_half_the_rate_is_given_half_the_bits_per_picture() {
        let cap = Cap { max_bitrate: 1_000_000, buffer_bits: 500_000 };
        let real = cap.at(FrameRate { num: 30, den: 1 }, 1500);
        assert_eq!(real, Cap { max_bitrate: 500_000, buffer_bits: 500_000 });
    }

    #[test]
    fn pictures_that_are_a_tick_apart_leave_the_encoder_something() {
        let cap = Cap { max_bitrate: 600_000, buffer_bits: 500_000 };
        assert_eq!(cap.at(FrameRate { num: 25, den: 1 }, 1).max_bitrate, 10_000);
    }
}
