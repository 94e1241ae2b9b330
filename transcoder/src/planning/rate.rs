//! A run's frame rate, and whether its pictures are exactly that far apart.

use super::TIMESCALE;
use crate::plan::Run;
use media::rate::{FrameRate, detect};

/// Most pictures per second.
pub(super) const FPS_MAX: f64 = 240.0;

/// Pictures that a rate is looked for in, at several places of a run: enough to tell 29.97 from 30.
const WINDOW: usize = 240;

/// Places.
const WINDOWS: usize = 8;

/// How far a distance may be from whole frames: two roundings to milliseconds, in 90 kHz ticks.
const DISTANCE_OFF: i64 = 180;

/// A run's rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) rate: FrameRate,
    /// Whether pictures are put on its grid.
    pub(super) constant: bool,
}

/// The rate of pictures that are shown at these times (90 kHz, ascending). `hint` is what the container says.
pub(super) fn rate(times: &[i64], hint: Option<(u32, u32)>) -> Rate {
    let hint = hint.map(|(num, den)| FrameRate { num, den }).filter(|rate| rate.num > 0 && rate.den > 0);
    let hint = hint.filter(|rate| (1.0..=FPS_MAX).contains(&rate.fps()));
    let mut candidates: Vec<FrameRate> = Vec::new();
    for window in windows(times) {
        let ms: Vec<i64> = window.iter().map(|time| (time + 45).div_euclid(90)).collect();
        if let Some(found) = detect(&ms, hint.as_slice()).filter(|found| !candidates.contains(found)) {
            candidates.push(found);
        }
    }
    candidates.extend(hint);
    match candidates.into_iter().find(|rate| fits(times, *rate)) {
        Some(rate) => Rate { rate, constant: true },
        None => Rate { rate: mean(times), constant: false },
    }
}

fn windows(times: &[i64]) -> impl Iterator<Item = &[i64]> {
    let spare = times.len().saturating_sub(WINDOW);
    let starts = (0..WINDOWS).map(move |place| spare * place / (WINDOWS - 1));
    let mut starts: Vec<usize> = starts.collect();
    starts.dedup();
    starts.into_iter().filter_map(move |start| times.get(start..times.len().min(start + WINDOW)))
}

/// Whether each picture has a frame of the grid for itself, near its own time, and most are one frame from the next.
fn fits(times: &[i64], rate: FrameRate) -> bool {
    let Some(&first) = times.first() else { return false };
    let period = rate.ticks(1).max(1);
    let off_max = DISTANCE_OFF.min(period / 4);
    let (mut last, mut even, mut singles): (Option<(i64, i64)>, usize, usize) = (None, 0, 0);
    for &time in times {
        let index = index(rate, time - first);
        if (rate.ticks(index) - (time - first)).abs() > period / 3 {
            return false;
        }
        if let Some((last_index, last_time)) = last {
            let frames = index - last_index;
            if frames < 1 {
                return false;
            }
            even += usize::from((rate.ticks(frames) - (time - last_time)).abs() <= off_max);
            singles += usize::from(frames == 1);
        }
        last = Some((index, time));
    }
    let distances = times.len().saturating_sub(1);
    even * 100 >= distances * 95 && singles * 10 >= distances * 9
}

/// Pictures per second on average, for runs that have no grid.
fn mean(times: &[i64]) -> FrameRate {
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return FrameRate { num: 30, den: 1 } };
    let fps = times.len().saturating_sub(1) as f64 * TIMESCALE as f64 / (last - first).max(1) as f64;
    // Few pictures in a moment are a hiccup; many are what nobody shows, and the caller refuses them.
    let fps = if times.len() as f64 > FPS_MAX { fps } else { fps.min(FPS_MAX) };
    let thousandths = (fps * 1000.0).round().clamp(1.0, 1e9) as u32;
    FrameRate::from_decimal(fps).unwrap_or(FrameRate { num: thousandths, den: 1000 })
}

/// The frame of a rate's grid that is nearest to a time after frame 0 (90 kHz).
fn index(rate: FrameRate, after: i64) -> i64 {
    let (num, den) = (i128::from(rate.num.max(1)), i128::from(rate.den.max(1)));
    let second = i128::from(TIMESCALE) * den;
    i64::try_from((2 * i128::from(after) * num + second).div_euclid(2 * second)).unwrap_or(i64::MAX)
}

/// When a picture of a run is shown, asset time (90 kHz): on the grid if the run's rate is constant.
pub fn output_time(run: &Run, source_pts: i64) -> i64 {
    let after = source_pts.saturating_sub(run.origin);
    let after = if run.constant {
        let rate = FrameRate { num: run.frame_rate.0.max(1), den: run.frame_rate.1.max(1) };
        rate.ticks(index(rate, after))
    } else {
        after
    };
    run.at.saturating_add(after)
}
