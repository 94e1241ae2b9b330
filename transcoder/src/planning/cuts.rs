//! Where segments are cut, from which key frame each is decoded, and which segments make a task.

use super::TIMESCALE;
use super::rate::output_time;
use super::runs::{Picture, Stretch};
use crate::plan::{Run, RungPlan, SegmentPlan, TaskPlan, all_of};

/// Shortest segment, 90 kHz; only a run that is shorter as a whole has a shorter one.
const SEGMENT_MIN: i64 = TIMESCALE;

/// What a task is meant to last, 90 kHz: of pictures of 4K, and of larger ones.
const TASK: i64 = 30 * TIMESCALE;
const TASK_OF_LARGE: i64 = 20 * TIMESCALE;

/// Pixels per second above which tasks are shorter: 3840 × 2160 at 30 pictures a second.
const LARGE_PIXELS: f64 = 3840.0 * 2160.0 * 30.0;

/// Shorter assets are no work for a fleet: their tasks are all alike. 90 kHz.
const FLEET_FROM: i64 = 1200 * TIMESCALE;

/// When no more than so much of a longer asset is left (per mille of it, and of an hour at most), tasks are cut smaller, so that a
/// fleet's workers end at about the same time (`make bench-vod`): first what a task lasts, then single segments whose rungs
/// are shared out to two tasks. That is last because both decode the picture.
const SHORT_FROM: i64 = 500;
const SINGLE_FROM: i64 = 150;
const LONGEST_END: i64 = 3600 * TIMESCALE;

/// What short tasks are meant to last, 90 kHz.
const SHORT_TASK: i64 = 12 * TIMESCALE;

/// The segments of a run, without sound and with the key frame before them as seek. `end` is where the last picture ends,
/// source time.
pub(super) fn segments(number: u32, run: &Run, stretch: &Stretch<'_>, end: i64, segment_ms: u32) -> Vec<SegmentPlan> {
    let length = (i64::from(segment_ms) * TIMESCALE / 1000).max(1);
    let mut out: Vec<SegmentPlan> = Vec::new();
    let (mut grid, mut key) = (0, None);
    for picture in &stretch.pictures {
        if picture.key {
            key = Some(*picture);
        }
        let at = output_time(run, picture.pts);
        let place = (at - run.at) / length;
        let enough = out.last().is_none_or(|open| at - open.at >= SEGMENT_MIN);
        if out.is_empty() || (place > grid && enough) {
            close(run, &mut out, picture.pts);
            out.push(open(number, picture, key.unwrap_or(*picture), at));
        }
        grid = place.max(grid);
        if let Some(open) = out.last_mut() {
            open.pictures += 1;
            open.last_reel = open.last_reel.max(picture.reel);
        }
    }
    close(run, &mut out, end);
    join_last(&mut out);
    out
}

fn open(run: u32, picture: &Picture, key: Picture, at: i64) -> SegmentPlan {
    SegmentPlan {
        run,
        start: picture.pts,
        end: picture.pts,
        at,
        ticks: 0,
        pictures: 0,
        seek_reel: key.reel,
        seek: key.pts,
        last_reel: picture.reel.max(key.reel),
        sound: Vec::new(),
        sound_at: 0,
    }
}

fn close(run: &Run, out: &mut [SegmentPlan], end: i64) {
    if let Some(last) = out.last_mut() {
        (last.end, last.ticks) = (end, output_time(run, end) - last.at);
    }
}

/// A last segment that is too short is joined to the one before.
fn join_last(out: &mut Vec<SegmentPlan>) {
    if let [.., before, last] = out.as_mut_slice()
        && last.ticks < SEGMENT_MIN
    {
        before.end = last.end;
        before.ticks += last.ticks;
        before.pictures += last.pictures;
        before.last_reel = before.last_reel.max(last.last_reel);
        out.pop();
    }
}

/// The last key frame at or before `start` in a reel not above `reel`; `keys` are in order of time.
pub(super) fn seek(keys: &[Picture], start: i64, reel: u32) -> Option<Picture> {
    let before = keys.partition_point(|key| key.pts <= start);
    keys.get(..before)?.iter().rev().find(|key| key.reel <= reel).copied()
}

/// Tasks of whole segments, none across runs, the largest first. `pixels` is what the source has in a second.
pub(super) fn tasks(segments: &[SegmentPlan], rungs: &[RungPlan], pixels: f64) -> Vec<TaskPlan> {
    let usual = if pixels > LARGE_PIXELS { TASK_OF_LARGE } else { TASK };
    let all = segments.iter().map(|segment| segment.ticks).sum();
    let mut out: Vec<TaskPlan> = Vec::new();
    let (mut ticks, mut meant, mut run, mut left) = (0, usual, None, all);
    for (number, segment) in (0_u32..).zip(segments) {
        match out.last_mut() {
            Some(open) if run == Some(segment.run) && ticks < meant => {
                open.after = number + 1;
                ticks += segment.ticks;
            }
            _ => {
                let (length, masks) = match Size::at(left, all) {
                    Size::Usual => (usual, [all_of(rungs.len()), 0]),
                    Size::Short => (SHORT_TASK, [all_of(rungs.len()), 0]),
                    Size::Single => (0, halves(rungs)),
                };
                let task = |rungs| TaskPlan { first: number, after: number + 1, rungs };
                out.extend(masks.into_iter().filter(|mask| *mask != 0).map(task));
                (ticks, meant, run) = (segment.ticks, length, Some(segment.run));
            }
        }
        left -= segment.ticks;
    }
    out
}

/// How a task is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    Usual,
    Short,
    Single,
}

impl Size {
    /// When so much of all is left.
    fn at(left: i64, all: i64) -> Self {
        let end = |per_mille: i64| all.min(LONGEST_END) / 1000 * per_mille;
        match () {
            () if all < FLEET_FROM || left > end(SHORT_FROM) => Self::Usual,
            () if left > end(SINGLE_FROM) => Self::Short,
            () => Self::Single,
        }
    }
}

/// Rungs shared out to two so that each has about half of the pixels: the larger ones, and the smaller ones (none: 0).
pub(super) fn halves(rungs: &[RungPlan]) -> [u8; 2] {
    let pixels = |rung: &RungPlan| u64::from(rung.width) * u64::from(rung.height);
    let all: u64 = rungs.iter().map(pixels).sum();
    let larger = |count: usize| rungs.iter().take(count).map(pixels).sum::<u64>();
    let count = (1..=rungs.len()).min_by_key(|count| (2 * larger(*count)).abs_diff(all)).unwrap_or_default();
    [all_of(count), all_of(rungs.len()) & !all_of(count)]
}
