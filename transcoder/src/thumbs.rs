//! The contact sheets for the scrub bar: which segment's picture is on which tile, and the WebVTT that says so.
//!
//! Pure. Pictures come from the child ([`codec::vod::SheetJob`]).

use crate::plan::Plan;
use media::ladder::Ladder;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;

/// Tiles in a row.
pub const COLUMNS: u32 = 10;

/// Rows of a sheet.
pub const ROWS: u32 = 10;

/// A tile's width in pixels.
pub const TILE_WIDTH: u32 = 160;

/// Highest tile, in pixels.
const TILE_HEIGHT_MAX: u32 = 320;

/// The WebVTT's name below `vod/{asset}/`.
pub const VTT: &str = "hq/thumbs.vtt";

/// A sheet's name below `vod/{asset}/`.
pub fn sheet_name(sheet: usize) -> String {
    format!("hq/thumbs/{sheet}.jpg")
}

/// Which segments are on which sheet: one tile each, row by row.
pub fn layout(segments: u32) -> Vec<Range<u32>> {
    let tiles = COLUMNS * ROWS;
    let sheets = segments.div_ceil(tiles);
    (0..sheets).map(|sheet| sheet * tiles..(sheet + 1).saturating_mul(tiles).min(segments)).collect()
}

/// The sheets that have a segment of this task and lack none any more, now that these tasks are `done`; each with the tasks that
/// make its pictures.
pub fn complete(plan: &Plan, task: u32, done: &BTreeSet<u32>) -> Vec<(usize, Vec<u32>)> {
    let rung = rung(plan);
    let makes = |numbers: &Range<u32>| -> Vec<u32> {
        let tasks = (0_u32..).zip(&plan.tasks);
        let own = tasks.filter(|(_, task)| task.makes(rung) && task.first < numbers.end && numbers.start < task.after);
        own.map(|(number, _)| number).collect()
    };
    let count = u32::try_from(plan.segments.len()).unwrap_or(u32::MAX);
    let sheets = layout(count).into_iter().enumerate().map(|(sheet, numbers)| (sheet, makes(&numbers)));
    sheets.filter(|(_, tasks)| tasks.contains(&task) && tasks.iter().all(|task| done.contains(task))).collect()
}

/// A tile's size in pixels, even: the picture's shape.
pub fn tile(plan: &Plan) -> (u32, u32) {
    let height =
        plan.rungs.first().map_or(TILE_WIDTH / 2, |rung| Ladder::height(TILE_WIDTH, (rung.width, rung.height)));
    (TILE_WIDTH, height.min(TILE_HEIGHT_MAX))
}

/// The rung whose pictures are taken, in [`Plan::rungs`]: the narrowest that is no narrower than a tile.
pub fn rung(plan: &Plan) -> usize {
    let wide = plan.rungs.iter().rposition(|rung| rung.width >= TILE_WIDTH);
    wide.unwrap_or_default()
}

/// The WebVTT: for the time of each segment its tile. `missing` says which have none.
pub fn vtt(plan: &Plan, missing: impl Fn(u32) -> bool) -> String {
    let (width, height) = tile(plan);
    let tiles = COLUMNS * ROWS;
    let mut out = String::from("WEBVTT\n");
    for (number, segment) in (0_u32..).zip(&plan.segments) {
        if missing(number) {
            continue;
        }
        let (sheet, place) = (number / tiles, number % tiles);
        let (x, y) = (place % COLUMNS * width, place / COLUMNS * height);
        let (from, to) = (clock(segment.at), clock(segment.at.saturating_add(segment.ticks)));
        // Writing to a string cannot fail.
        let _ = write!(out, "\n{from} --> {to}\nthumbs/{sheet}.jpg#xywh={x},{y},{width},{height}\n");
    }
    out
}

/// `00:00:06.000` of 90 kHz ticks.
fn clock(ticks: i64) -> String {
    let ms = ticks.max(0) / 90;
    let (s, m, h) = (ms / 1000, ms / 60_000, ms / 3_600_000);
    format!("{h:02}:{:02}:{:02}.{:03}", m % 60, s % 60, ms % 1000)
}

#[cfg(test)]
mod tests;
