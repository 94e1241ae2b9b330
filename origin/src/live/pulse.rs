//! What a stream takes in, measured: bytes, pictures, key frames, and how much faster than real time its ladder could be.
//!
//! Pure. For `/stat` and `/metrics` alone: nothing is decided by it.

use crate::ingest::Ingested;
use media::unit::VIDEO_TIMESCALE;
use serde::Serialize;
use std::collections::VecDeque;

/// Over how many seconds rates are measured.
const OVER_S: i64 = 5;

/// How much the newest segment counts in the headroom that is shown.
const NEWEST: f64 = 0.3;

/// The measurement of one stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Pulse {
    /// Everything that was ever taken in.
    bytes: u64,
    /// The publish in progress began, UTC s.
    since: i64,
    seconds: VecDeque<Second>,
    last_key: Option<i64>,
    key_interval: Option<i64>,
    headroom: Option<f64>,
}

/// What came in within one second.
#[derive(Debug, Clone, Copy)]
struct Second {
    at: i64,
    bytes: u64,
    pictures: u32,
}

/// How a stream's input is. Rates are over the last seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Vitals {
    /// Bytes taken in, of all publishes.
    pub(crate) bytes: u64,
    /// Bit rate that comes in, bit/s; `None` while nobody publishes or it can't be said yet.
    pub(crate) bits_per_s: Option<u64>,
    /// Pictures per second that come in.
    pub(crate) frames_per_s: Option<f64>,
    /// From one key frame to the next, in seconds.
    pub(crate) key_frame_interval_s: Option<f64>,
    /// How much faster than real time the encoded rungs could be made: below 1 they can't keep up.
    pub(crate) encode_headroom: Option<f64>,
}

impl Pulse {
    /// A publisher begins.
    pub(super) fn publish(&mut self, now_ms: i64) {
        *self = Self { bytes: self.bytes, since: now_ms.div_euclid(1000), ..Self::default() };
    }

    /// A tag came in.
    pub(super) fn tag(&mut self, tag: &Ingested, now_ms: i64) {
        let (bytes, pictures) = match tag {
            Ingested::Video { data, .. } => (data.len() as u64, 1),
            Ingested::Audio { data, .. } => (data.len() as u64, 0),
            Ingested::Metadata(_) | Ingested::VideoConfig(_) | Ingested::AudioConfig(_) => return,
        };
        self.bytes = self.bytes.saturating_add(bytes);
        let at = now_ms.div_euclid(1000);
        match self.seconds.back_mut().filter(|second| second.at == at) {
            Some(second) => {
                second.bytes = second.bytes.saturating_add(bytes);
                second.pictures = second.pictures.saturating_add(pictures);
            }
            None => self.seconds.push_back(Second { at, bytes, pictures }),
        }
        while self.seconds.front().is_some_and(|second| second.at < at.saturating_sub(OVER_S)) {
            self.seconds.pop_front();
        }
    }

    /// A key frame is shown at this time, in ticks.
    pub(super) fn key_frame(&mut self, pts: i64) {
        let before = self.last_key.replace(pts);
        self.key_interval =
            before.map(|before| pts.saturating_sub(before)).filter(|ticks| *ticks > 0).or(self.key_interval);
    }

    /// The ladder worked so long on a segment of this length, both in seconds.
    pub(super) fn encoded(&mut self, seconds: f64, worked: f64) {
        if seconds > 0.0 && worked > 0.0 {
            let newest = seconds / worked;
            // Averaged over the time that it takes, which is what adds up.
            let load = self.headroom.map_or(1.0 / newest, |before| (1.0 - NEWEST) / before + NEWEST / newest);
            self.headroom = Some(1.0 / load);
        }
    }

    /// Nothing is encoded.
    pub(super) fn nothing_encoded(&mut self) {
        self.headroom = None;
    }

    /// How it is; `live` if there is a publisher.
    pub(super) fn vitals(&self, now_ms: i64, live: bool) -> Vitals {
        let bytes = self.bytes;
        if !live {
            return Vitals { bytes, ..Vitals::default() };
        }
        let now = now_ms.div_euclid(1000);
        let from = now.saturating_sub(OVER_S).max(self.since.saturating_add(1));
        let span = now.saturating_sub(from);
        let within = || self.seconds.iter().filter(|second| (from..now).contains(&second.at));
        let known = span > 0;
        let bits = within().map(|second| second.bytes).sum::<u64>().saturating_mul(8);
        let pictures: u32 = within().map(|second| second.pictures).sum();
        Vitals {
            bytes,
            bits_per_s: known.then(|| bits / span.unsigned_abs().max(1)),
            frames_per_s: known.then(|| f64::from(pictures) / span.max(1) as f64),
            key_frame_interval_s: self.key_interval.map(|ticks| ticks as f64 / f64::from(VIDEO_TIMESCALE)),
            encode_headroom: self.headroom,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const START: i64 = 1_795_195_500_000;

    fn picture(bytes: usize) -> Ingested {
        Ingested::Video { rtmp_ms: 0, composition_ms: 0, data: Bytes::from(vec![0; bytes]) }
    }

    /// 25 pictures of 1000 bytes a second for so many seconds, then silence.
    fn pulse(seconds: i64) -> Pulse {
        let mut pulse = Pulse::default();
        pulse.publish(START);
        for frame in 0..seconds * 25 {
            pulse.tag(&picture(1000), START + frame * 40);
        }
        pulse
    }

    fn check(seconds: i64, look_ms: i64, expected: Option<(u64, f64)>) {
        let vitals = pulse(seconds).vitals(START + look_ms, true);
        assert_eq!(vitals.bits_per_s.zip(vitals.frames_per_s), expected, "{seconds} s, after {look_ms} ms");
    }

    #[test]
    fn rates_are_of_the_last_whole_seconds() {
        check(1, 900, None);
        check(2, 1_900, None);
        check(3, 2_500, Some((200_000, 25.0)));
        check(60, 60_000, Some((200_000, 25.0)));
        check(10, 12_000, Some((120_000, 15.0)));
        check(10, 20_000, Some((0, 0.0)));
    }

    #[test]
    fn a_new_publisher_is_measured_afresh_and_bytes_add_up() {
        let mut pulse = pulse(10);
        pulse.key_frame(0);
        pulse.key_frame(180_000);
        pulse.encoded(2.0, 1.0);
        assert_eq!(pulse.vitals(START + 10_000, true).key_frame_interval_s, Some(2.0));
        pulse.publish(START + 10_000);
        let vitals = pulse.vitals(START + 11_500, true);
        assert_eq!(vitals, Vitals { bytes: 250_000, ..Vitals::default() });
    }

    #[test]
    fn nobody_publishing_has_no_rates() {
        assert_eq!(pulse(9).vitals(START + 9000, false), Vitals { bytes: 225_000, ..Vitals::default() });
    }

    #[test]
    fn headroom_is_the_inverse_of_the_load_and_slow_to_change() {
        let mut pulse = Pulse::default();
        let mut check = |worked, expected: f64| {
            pulse.encoded(2.0, worked);
            let found = pulse.vitals(0, true).encode_headroom.unwrap();
            assert!((found - expected).abs() < 0.001, "{worked}: {found}");
        };
        check(0.5, 4.0);
        check(0.5, 4.0);
        check(2.0, 1.0 / (0.7 / 4.0 + 0.3));
        check(0.0, 1.0 / (0.7 / 4.0 + 0.3));
    }
}
