//! Constant frame rates behind rounded milliseconds.
//!
//! RTMP says 33, 67, 100 ms where the camera meant 1/30 s. This module finds the rate and puts stamps back on its
//! grid, in 90 kHz ticks. Stamps that fit no grid stay as they are.

use crate::unit::VIDEO_TIMESCALE;

/// Frames per second as a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRate {
    /// Frames …
    pub num: u32,
    /// … per this many seconds.
    pub den: u32,
}

/// The rates that are looked for. Others are found if a hint names them.
const KNOWN: [FrameRate; 15] = [
    FrameRate { num: 30, den: 1 },
    FrameRate { num: 60, den: 1 },
    FrameRate { num: 25, den: 1 },
    FrameRate { num: 50, den: 1 },
    FrameRate { num: 30_000, den: 1001 },
    FrameRate { num: 60_000, den: 1001 },
    FrameRate { num: 24, den: 1 },
    FrameRate { num: 24_000, den: 1001 },
    FrameRate { num: 48, den: 1 },
    FrameRate { num: 15, den: 1 },
    FrameRate { num: 20, den: 1 },
    FrameRate { num: 10, den: 1 },
    FrameRate { num: 90, den: 1 },
    FrameRate { num: 120, den: 1 },
    FrameRate { num: 100, den: 1 },
];

/// How far a decoding stamp may be from the grid of the first one, in ms. Rounding alone does less than one; OBS rounds a
/// negative first stamp up and the others down, which makes 1.7 of it.
const DECODING_OFF_MS: f64 = 2.0;

/// How far a composition time may be from a whole number of frames, in ms: what rounding alone can do.
const COMPOSITION_OFF_MS: f64 = 1.0;

/// How much worse a hinted rate may fit than another one, in ms for each stamp.
const HINT_WORTH_MS: f64 = 0.4;

/// Fewest stamps to judge by.
const STAMPS_MIN: usize = 8;

impl FrameRate {
    /// From a decimal such as 29.97, to the nearest known rate or to thousandths.
    pub fn from_decimal(fps: f64) -> Option<Self> {
        if !(1.0..=480.0).contains(&fps) {
            return None;
        }
        let near = KNOWN.into_iter().find(|rate| (rate.fps() - fps).abs() < 0.005);
        near.or(Some(Self { num: (fps * 1000.0).round() as u32, den: 1000 }))
    }

    /// Frames per second.
    pub fn fps(&self) -> f64 {
        f64::from(self.num) / f64::from(self.den)
    }

    /// When frame `index` is due, in 90 kHz ticks from frame 0.
    pub fn ticks(&self, index: i64) -> i64 {
        let (num, den) = (i128::from(self.num), i128::from(self.den));
        let scaled = i128::from(index) * i128::from(VIDEO_TIMESCALE) * den;
        i64::try_from((2 * scaled + num).div_euclid(2 * num)).unwrap_or(i64::MAX)
    }

    fn period_ms(&self) -> f64 {
        1000.0 / self.fps()
    }

    /// The nearest frame to a moment, if that is no further off than `off_ms` and clearly the nearest one.
    fn frame_at(&self, ms: f64, off_ms: f64) -> Option<i64> {
        let period = self.period_ms();
        let index = (ms / period).round();
        let error = (ms - index * period).abs();
        (error < off_ms.min(period / 3.0) + 1e-6).then_some(index as i64)
    }
}

/// The constant rate that explains these decoding stamps (ms, ascending), hints first. `None` if there is none.
pub fn detect(stamps_ms: &[i64], hints: &[FrameRate]) -> Option<FrameRate> {
    if stamps_ms.len() < STAMPS_MIN {
        return None;
    }
    let hinted = hints.iter().copied().filter(|rate| rate.num > 0 && rate.den > 0).map(|rate| (HINT_WORTH_MS, rate));
    let known = KNOWN.into_iter().map(|rate| (0.0, rate));
    let fits = hinted.chain(known).filter_map(|(worth, rate)| Some((misfit_ms(stamps_ms, &rate)? - worth, rate)));
    fits.min_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, rate)| rate)
}

/// The mean distance from the grid, if every stamp is on it and most follow their predecessor by one frame.
fn misfit_ms(stamps_ms: &[i64], rate: &FrameRate) -> Option<f64> {
    let first = *stamps_ms.first()?;
    let (mut sum, mut last_index, mut singles) = (0.0, -1, 0usize);
    for &stamp in stamps_ms {
        let at = (stamp - first) as f64;
        let index = rate.frame_at(at, DECODING_OFF_MS).filter(|index| *index > last_index)?;
        singles += usize::from(index - last_index == 1);
        sum += (at - index as f64 * rate.period_ms()).abs();
        last_index = index;
    }
    (singles * 10 >= stamps_ms.len() * 9).then_some(sum / stamps_ms.len() as f64)
}

/// Puts stamps on the grid of a rate.
#[derive(Debug, Clone)]
pub struct Snapper {
    rate: Option<FrameRate>,
    origin_ms: i64,
    origin_ticks: i64,
}

impl Snapper {
    /// A grid whose frame 0 is at `origin_ms`.
    pub fn new(rate: Option<FrameRate>, origin_ms: i64) -> Self {
        Self { rate, origin_ms, origin_ticks: 0 }
    }

    /// One frame in ticks, rounded down; without a rate, that of 30 fps.
    pub fn frame_ticks(&self) -> i64 {
        self.rate.map_or(i64::from(VIDEO_TIMESCALE) / 30, |rate| {
            i64::from(VIDEO_TIMESCALE) * i64::from(rate.den) / i64::from(rate.num.max(1))
        })
    }

    /// Decoding and presentation time in ticks from the first origin. A stamp off the grid starts a new grid there:
    /// cameras whose crystal is not the server's creep off it by a frame a day.
    pub fn place(&mut self, ms: i64, composition_ms: i64) -> (i64, i64) {
        let index = self.rate.and_then(|rate| rate.frame_at((ms - self.origin_ms) as f64, DECODING_OFF_MS));
        if index.is_none() {
            self.origin_ticks += (ms - self.origin_ms) * TICKS_PER_MS;
            self.origin_ms = ms;
        }
        let index = index.unwrap_or(0);
        let dts = self.origin_ticks + self.rate.map_or(0, |rate| rate.ticks(index));
        // Encoders round both times, each by itself: counted in frames they are exact again.
        let frames = self.rate.and_then(|rate| Some((rate, rate.frame_at(composition_ms as f64, COMPOSITION_OFF_MS)?)));
        let pts = match frames {
            Some((rate, frames)) => self.origin_ticks + rate.ticks(index + frames),
            None => dts + composition_ms * TICKS_PER_MS,
        };
        (dts, pts)
    }
}

/// 90 kHz ticks in a millisecond.
const TICKS_PER_MS: i64 = VIDEO_TIMESCALE as i64 / 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps(fps: f64, count: usize, round: fn(f64) -> f64) -> Vec<i64> {
        (0..count).map(|i| round(i as f64 * 1000.0 / fps) as i64).collect()
    }

    fn check(fps: f64, count: usize, hints: &[f64], expected: Option<(u32, u32)>) {
        let hints: Vec<FrameRate> = hints.iter().filter_map(|&fps| FrameRate::from_decimal(fps)).collect();
        for round in [f64::round as fn(f64) -> f64, f64::floor] {
            let found = detect(&stamps(fps, count, round), &hints).map(|rate| (rate.num, rate.den));
            assert_eq!(found, expected, "{fps} fps, {count} stamps, hints {hints:?}");
        }
    }

    #[test]
    fn rates_are_found_behind_rounded_milliseconds() {
        check(30.0, 60, &[], Some((30, 1)));
        check(25.0, 50, &[], Some((25, 1)));
        check(60.0, 120, &[], Some((60, 1)));
        check(30_000.0 / 1001.0, 90, &[], Some((30_000, 1001)));
        check(24_000.0 / 1001.0, 90, &[], Some((24_000, 1001)));
    }

    #[test]
    fn a_hint_decides_where_few_stamps_cannot_and_a_wrong_one_is_ignored() {
        check(30_000.0 / 1001.0, 20, &[29.97], Some((30_000, 1001)));
        check(30.0, 60, &[25.0], Some((30, 1)));
        check(12.5, 30, &[12.5], Some((12_500, 1000)));
    }

    #[test]
    fn an_uneven_rate_is_none() {
        let uneven: Vec<i64> = (0..60).map(|i| i * 33 + (i * i) % 17).collect();
        assert_eq!(detect(&uneven, &[]), None);
        assert_eq!(detect(&[0, 33], &[]), None);
    }

    #[test]
    fn snapped_stamps_are_exact() {
        let mut snapper = Snapper::new(FrameRate::from_decimal(30.0), 100);
        let ticks: Vec<i64> = [100, 133, 167, 200].iter().map(|&ms| snapper.place(ms, 0).0).collect();
        assert_eq!(ticks, [0, 3000, 6000, 9000]);
        assert_eq!(snapper.place(233, 66), (12_000, 18_000));
        assert_eq!(snapper.place(267, -33), (15_000, 12_000));
    }

    #[test]
    fn obs_rounds_its_first_stamp_up_and_the_others_down() {
        // As OBS 29 sends 30 fps with B-frames: decoding stamps, then composition times.
        let stamps = [0, 33, 66, 99, 132, 166, 199, 232, 266, 299, 332, 366];
        let composition = [66, 166, 66, 0, 33, 166, 66, 0, 33, 166, 66, 0];
        let rate = detect(&stamps, &[]);
        assert_eq!(rate, FrameRate::from_decimal(30.0));
        let mut snapper = Snapper::new(rate, 0);
        let mut shown: Vec<i64> = Vec::new();
        for (frame, (ms, composition_ms)) in stamps.into_iter().zip(composition).enumerate() {
            let (dts, pts) = snapper.place(ms, composition_ms);
            assert_eq!(dts, frame as i64 * 3000);
            shown.push(pts / 3000);
        }
        assert_eq!(shown, [2, 6, 4, 3, 5, 10, 8, 7, 9, 14, 12, 11]);
    }

    #[test]
    fn a_stamp_off_the_grid_starts_a_new_one() {
        let mut snapper = Snapper::new(FrameRate::from_decimal(25.0), 0);
        assert_eq!(snapper.place(40, 0), (3600, 3600));
        assert_eq!(snapper.place(95, 40), (8550, 12_150));
        assert_eq!(snapper.place(135, 0), (12_150, 12_150));
    }

    #[test]
    fn without_a_rate_milliseconds_stay() {
        let mut snapper = Snapper::new(None, 10);
        assert_eq!(snapper.place(43, 10), (2970, 3870));
    }
}
