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

/// How far a stamp may be from the grid, in ms: what rounding alone can do.
const ROUNDING_MS: f64 = 1.0;

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
}

/// The constant rate that explains these decoding stamps (ms, ascending), hints first. `None` if there is none.
pub fn detect(stamps_ms: &[i64], hints: &[FrameRate]) -> Option<FrameRate> {
    if stamps_ms.len() < STAMPS_MIN {
        return None;
    }
    let misfit = |rate: &FrameRate| misfit_ms(stamps_ms, rate);
    let hinted = hints.iter().copied().filter(|rate| rate.num > 0 && rate.den > 0).find(|rate| misfit(rate).is_some());
    hinted.or_else(|| {
        let fits = KNOWN.iter().filter_map(|rate| misfit(rate).map(|error| (error, *rate)));
        fits.min_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, rate)| rate)
    })
}

/// The sum of the distances from the grid, if every stamp is on it and most follow their predecessor by one frame.
fn misfit_ms(stamps_ms: &[i64], rate: &FrameRate) -> Option<f64> {
    let (first, period) = (*stamps_ms.first()?, rate.period_ms());
    let (mut sum, mut last_index, mut singles) = (0.0, -1.0, 0usize);
    for &stamp in stamps_ms {
        let at = (stamp - first) as f64;
        let index = (at / period).round();
        let error = (at - index * period).abs();
        if error > ROUNDING_MS + 1e-6 || index <= last_index {
            return None;
        }
        singles += usize::from(index - last_index == 1.0);
        (sum, last_index) = (sum + error, index);
    }
    (singles * 10 >= stamps_ms.len() * 9).then_some(sum)
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

    /// The rate of the grid.
    pub fn rate(&self) -> Option<FrameRate> {
        self.rate
    }

    /// One frame in ticks, rounded down; without a rate, that of 30 fps.
    pub fn frame_ticks(&self) -> i64 {
        self.rate.map_or(i64::from(VIDEO_TIMESCALE) / 30, |rate| {
            i64::from(VIDEO_TIMESCALE) * i64::from(rate.den) / i64::from(rate.num.max(1))
        })
    }

    /// A decoding stamp in ticks from the first origin. A stamp off the grid starts a new grid there: cameras whose
    /// crystal is not the server's creep off it by a frame a day.
    pub fn decoding(&mut self, ms: i64) -> i64 {
        if let Some(ticks) = self.on_grid(ms) {
            return ticks;
        }
        self.origin_ticks += (ms - self.origin_ms) * TICKS_PER_MS;
        self.origin_ms = ms;
        self.origin_ticks
    }

    /// A presentation stamp in ticks from the first origin; leaves the grid as it is.
    pub fn presentation(&self, ms: i64) -> i64 {
        self.on_grid(ms).unwrap_or_else(|| self.origin_ticks + (ms - self.origin_ms) * TICKS_PER_MS)
    }

    fn on_grid(&self, ms: i64) -> Option<i64> {
        let rate = self.rate?;
        let at = (ms - self.origin_ms) as f64;
        let index = (at / rate.period_ms()).round();
        let error = (at - index * rate.period_ms()).abs();
        (error <= ROUNDING_MS + 1e-6).then(|| self.origin_ticks + rate.ticks(index as i64))
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
        let ticks: Vec<i64> = [100, 133, 167, 200].iter().map(|&ms| snapper.decoding(ms)).collect();
        assert_eq!(ticks, [0, 3000, 6000, 9000]);
        assert_eq!(snapper.presentation(266), 15_000);
    }

    #[test]
    fn a_stamp_off_the_grid_starts_a_new_one() {
        let mut snapper = Snapper::new(FrameRate::from_decimal(25.0), 0);
        assert_eq!(snapper.decoding(40), 3600);
        assert_eq!(snapper.decoding(95), 8550);
        assert_eq!(snapper.decoding(135), 12_150);
    }

    #[test]
    fn without_a_rate_milliseconds_stay() {
        let mut snapper = Snapper::new(None, 10);
        assert_eq!(snapper.decoding(43), 2970);
    }
}
