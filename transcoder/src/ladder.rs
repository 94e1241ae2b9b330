//! Which rungs a source gets in VOD.
//!
//! Pure. Unlike live, the best rung is encoded too, at the source's own size: what came in may be anything.

use crate::plan::RungPlan;
use codec::vod::Effort;
use media::ladder::{Ladder, Rendition};

/// Most rungs of an asset.
pub const RUNGS_MAX: usize = 6;

/// Quality below the cap: x264's CRF.
const CRF: u8 = 22;

/// A rung is encoded only if it is narrower than so many tenths of the source: what is nearly its size would only cost.
const NARROWER_TENTHS: u64 = 9;

/// The cap of a picture of so many pixels a second, bit/s…
const CAP: f64 = 18_000_000.0;

/// … which is what 3840 × 1920 at 30 pictures a second are. Others follow with the power of 3/4: larger pictures have more
/// alike in them.
const CAP_PIXELS: f64 = 3840.0 * 1920.0 * 30.0;

/// Lowest and highest cap at the source's size, bit/s.
const CAP_RANGE: (f64, f64) = (600_000.0, 80_000_000.0);

/// Caps at the source's size are whole multiples of this, bit/s.
const CAP_STEP: f64 = 100_000.0;

/// The rungs for a source of this size (pixels) and so many pictures a second: widest first, sizes even, shape kept, at most
/// [`RUNGS_MAX`]. There is always one.
pub fn rungs(config: &Ladder, effort: Effort, source: (u32, u32), fps: f64) -> Vec<RungPlan> {
    let (width, height) = (down(source.0), down(source.1));
    let mut rungs: Vec<RungPlan> = Vec::new();
    for rung in config.for_source(width, height) {
        let narrower = u64::from(rung.width) * 10 < u64::from(width) * NARROWER_TENTHS;
        let (rendition, size, bitrate) = match rung.bitrate {
            None => (own(width), (width, height), cap(width, height, fps)),
            Some(bitrate) if narrower => (rung.rendition, (rung.width, rung.height), bitrate),
            Some(_) => continue,
        };
        rungs.push(plan(rendition, size, bitrate, effort));
    }
    if rungs.is_empty() {
        rungs.push(plan(own(width), (width, height), cap(width, height, fps), effort));
    }
    rungs.sort_by_key(|rung| std::cmp::Reverse(rung.width));
    rungs.dedup_by_key(|rung| rung.width);
    while rungs.len() > RUNGS_MAX {
        let nearest = nearest(&rungs);
        rungs.remove(nearest);
    }
    rungs
}

fn plan(rendition: Rendition, (width, height): (u32, u32), bitrate: u32, effort: Effort) -> RungPlan {
    RungPlan { rendition: rendition.to_string(), width, height, bitrate, crf: CRF, effort }
}

/// The rendition at the source's size: named by its width too, because it is no copy. Tiny ones have no such name.
fn own(width: u32) -> Rendition {
    let encoded = Rendition::Encoded(width);
    if encoded.to_string().parse() == Ok(encoded) { encoded } else { Rendition::Source }
}

/// The next even number below, at least 2.
fn down(side: u32) -> u32 {
    (side & !1).max(2)
}

fn cap(width: u32, height: u32, fps: f64) -> u32 {
    let share = f64::from(width) * f64::from(height) * fps.max(1.0) / CAP_PIXELS;
    // Roots are exact everywhere; powers are not.
    let bits = CAP * share.sqrt() * share.sqrt().sqrt();
    ((bits / CAP_STEP).round() * CAP_STEP).clamp(CAP_RANGE.0, CAP_RANGE.1) as u32
}

/// The rung that differs least from the one above it; never the first or the last.
fn nearest(rungs: &[RungPlan]) -> usize {
    let ratio = |above: &RungPlan, rung: &RungPlan| f64::from(rung.width) / f64::from(above.width.max(1));
    let last = rungs.len().saturating_sub(1);
    let pairs = rungs.iter().zip(rungs.iter().skip(1)).enumerate();
    let near =
        pairs.max_by(|(_, a), (_, b)| ratio(a.0, a.1).total_cmp(&ratio(b.0, b.1))).map_or(1, |(above, _)| above + 1);
    if near == last { near.saturating_sub(1) } else { near }
}

#[cfg(test)]
mod tests;
