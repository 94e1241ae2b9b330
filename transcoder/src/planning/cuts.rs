//! Where segments are cut, from which key frame each is decoded, and which segments make a task.

use super::TIMESCALE;
use super::rate::output_time;
use super::runs::{Picture, Stretch};
use crate::plan::{Run, SegmentPlan};

/// Shortest segment, 90 kHz; only a run that is shorter as a whole has a shorter one.
const SEGMENT_MIN: i64 = TIMESCALE;

/// What a task is meant to last, 90 kHz: of pictures of 4K, and of larger ones.
const TASK: i64 = 30 * TIMESCALE;
const TASK_OF_LARGE: i64 = 20 * TIMESCALE;

/// Pixels per second above which tasks are shorter: 3840 × 2160 at 30 pictures a second.
const LARGE_PIXELS: f64 = 3840.0 * 2160.0 * 30.0;

/// Where tasks become shorter, so that a fleet's workers end at about the same time: when no more than this share of the asset
/// (per mille) and no more than this long (90 kHz) is left, a task has so many tenths of its usual length, but no less than
/// [`TASK_OF_LARGE`]. Shorter ones than that would suit 64 workers at one hour better, and cost a queue that keeps no order
/// more than they give (`make bench-vod`).
const TAPER: (i64, i64, i64) = (500, 1800 * TIMESCALE, 8);

/// Shorter assets are no work for a fleet: their tasks are all alike. 90 kHz.
const TAPER_FROM: i64 = 1200 * TIMESCALE;

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

/// Tasks of whole segments, none across runs. `pixels` is what the source has in a second.
pub(super) fn tasks(segments: &[SegmentPlan], pixels: f64) -> Vec<(u32, u32)> {
    let usual = if pixels > LARGE_PIXELS { TASK_OF_LARGE } else { TASK };
    let all = segments.iter().map(|segment| segment.ticks).sum();
    let mut out: Vec<(u32, u32)> = Vec::new();
    let (mut ticks, mut meant, mut run, mut left) = (0, usual, None, all);
    for (number, segment) in (0_u32..).zip(segments) {
        match out.last_mut() {
            Some(open) if run == Some(segment.run) && ticks < meant => {
                open.1 = number + 1;
                ticks += segment.ticks;
            }
            _ => {
                out.push((number, number + 1));
                meant = tapered(usual, left, all);
                (ticks, run) = (segment.ticks, Some(segment.run));
            }
        }
        left -= segment.ticks;
    }
    out
}

/// What a task is meant to last when so much of all is left.
fn tapered(usual: i64, left: i64, all: i64) -> i64 {
    let (share, longest, tenths) = TAPER;
    let near = all >= TAPER_FROM && left <= (all / 1000 * share).min(longest);
    if near { (usual * tenths / 10).max(TASK_OF_LARGE) } else { usual }
}
