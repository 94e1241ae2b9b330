//! Where segments are cut: the source's key frames decide, for every rung.
//!
//! Knows presentation times and which pictures are IDRs; does not number segments ([`crate::window`]) or hold data.

use crate::unit::VIDEO_TIMESCALE;

/// How long to wait for a second IDR before publishing begins anyway, in ms. A source that is slower than this has
/// its source rung encoded.
pub const SECOND_IDR_MS_MAX: i64 = 10_000;

/// Longest target duration, in seconds.
const TARGET_S_MAX: u32 = 11;

/// Most cuts that one picture may bring: longer stalls are a break of the timeline ([`crate::clock`]), so this bounds a
/// bug, not a stream.
const OVERDUE_CUTS_MAX: usize = 32;

/// What a duration may be above the target and still round to it, 90 kHz ticks.
const ROUNDED_OFF: i64 = VIDEO_TIMESCALE as i64 / 2;

/// A decision to end the open segment and begin the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Where the next segment begins: presentation time, 90 kHz.
    pub at: i64,
    /// Whether an IDR stands there; if not, the source rung has no segment that can be decoded alone.
    pub idr: bool,
}

/// The target duration of an epoch, in whole seconds: ceil(max(segment, G)), G being the longest key-frame interval
/// known when publishing begins, in 90 kHz ticks.
pub fn target_s(segment_ms: u32, longest_gop: Option<i64>) -> u32 {
    let segment = i64::from(segment_ms) * i64::from(VIDEO_TIMESCALE) / 1000;
    let ticks = longest_gop.unwrap_or(0).max(segment);
    let seconds = (ticks + i64::from(VIDEO_TIMESCALE) - 1) / i64::from(VIDEO_TIMESCALE);
    u32::try_from(seconds).unwrap_or(TARGET_S_MAX).clamp(1, TARGET_S_MAX)
}

/// Decides the cuts of one publish, picture by picture.
#[derive(Debug, Clone)]
pub struct Cutter {
    segment: i64,
    target: i64,
    frame: i64,
    longest_gop: i64,
    last_idr: i64,
    start: i64,
}

impl Cutter {
    /// A cutter whose first segment begins at `start` with an IDR. `frame` is a frame's duration; all 90 kHz ticks.
    pub fn new(segment_ms: u32, target_s: u32, longest_gop: i64, frame: i64, start: i64) -> Self {
        Self {
            segment: i64::from(segment_ms) * i64::from(VIDEO_TIMESCALE) / 1000,
            target: i64::from(target_s) * i64::from(VIDEO_TIMESCALE),
            frame: frame.max(1),
            longest_gop,
            last_idr: start,
            start,
        }
    }

    /// Judges the next picture in decoding order: the cuts that it brings, in order, nearly always none or one. `must`
    /// asks for a cut at this IDR whatever the durations say (its decoder configuration changed).
    pub fn judge(&mut self, pts: i64, idr: bool, must: bool) -> Vec<Cut> {
        let mut cuts = self.overdue(pts, idr);
        if !idr {
            return cuts;
        }
        self.longest_gop = self.longest_gop.max(pts - self.last_idr);
        self.last_idr = pts;
        let elapsed = pts - self.start;
        let half = self.frame / 2;
        let long_enough = elapsed + half >= self.segment;
        let next_too_late = elapsed + self.longest_gop > self.target + half;
        if elapsed > 0 && (must || long_enough || next_too_late) {
            self.start = pts;
            cuts.push(Cut { at: pts, idr: true });
        }
        cuts
    }

    /// The cuts for each target that passed without an IDR, on the frame grid and never beyond the target. An IDR that
    /// comes a little late, after a hiccup of the encoder, still ends its segment: a duration only has to round to the
    /// target (§4.4.3.1).
    fn overdue(&mut self, pts: i64, idr: bool) -> Vec<Cut> {
        let room = ((self.target + self.frame / 2) / self.frame * self.frame).max(self.frame);
        let mut cuts = Vec::new();
        let late = |start: i64| if idr { pts - start >= self.target + ROUNDED_OFF } else { pts - start >= room };
        while late(self.start) && cuts.len() < OVERDUE_CUTS_MAX {
            self.start += room;
            cuts.push(Cut { at: self.start, idr: false });
        }
        cuts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: f64 = 90_000.0;

    /// Runs pictures of a frame rate with IDRs at the given frame numbers; prints segment lengths in frames, `!` where
    /// a cut had no IDR. `known` is how many IDRs were seen before publishing began.
    fn check(fps: f64, idrs: &[usize], frames: usize, expected: &str) {
        let ticks = |frame: usize| (frame as f64 * SECOND / fps).round() as i64;
        let gop = idrs.get(1).map(|&second| ticks(second));
        let target = target_s(2000, gop);
        let frame = (SECOND / fps) as i64;
        let mut cutter = Cutter::new(2000, target, gop.unwrap_or(0), frame, 0);
        let (mut out, mut last) = (vec![format!("{target}s:")], 0.0);
        for number in 1..frames {
            for cut in cutter.judge(ticks(number), idrs.contains(&number), false) {
                let at = (cut.at as f64 / SECOND * fps).round();
                out.push(format!("{}{}", at - last, if cut.idr { "" } else { "!" }));
                last = at;
            }
        }
        assert_eq!(out.join(" "), expected, "{fps} fps");
    }

    fn every(n: usize, frames: usize) -> Vec<usize> {
        (0..frames).step_by(n).collect()
    }

    #[test]
    fn fixed_key_frames_cut_at_each_when_they_are_as_long_as_a_segment() {
        check(30.0, &every(60, 300), 300, "2s: 60 60 60 60");
        check(25.0, &every(50, 250), 250, "2s: 50 50 50 50");
        check(60.0, &every(120, 500), 500, "2s: 120 120 120 120");
        check(30_000.0 / 1001.0, &every(60, 300), 300, "3s: 60 60 60 60");
    }

    #[test]
    fn short_gops_are_gathered_to_a_segment() {
        check(30.0, &every(30, 250), 250, "2s: 60 60 60 60");
        check(30.0, &every(15, 250), 250, "2s: 60 60 60 60");
    }

    #[test]
    fn longer_gops_set_the_target() {
        check(30.0, &every(75, 330), 330, "3s: 75 75 75 75");
        check(30.0, &every(250, 800), 800, "9s: 250 250 250");
    }

    #[test]
    fn scene_cuts_are_used_when_waiting_could_pass_the_target() {
        // Key frames at 2 s at the latest, and an early one: the early one starts a segment, since the next may be 2 s off.
        check(30.0, &[0, 60, 75, 135, 195], 200, "2s: 60 15 60 60");
        // With a key frame a second one is gathered, and the early one at 1.5 s is the last that is safe to cut at.
        check(30.0, &[0, 30, 45, 60, 90, 120], 130, "2s: 45 45");
    }

    #[test]
    fn without_an_idr_the_cut_is_on_the_frame_grid_at_the_target() {
        check(30.0, &[0, 60, 120, 300], 330, "2s: 60 60 60! 60! 60");
        check(30.0, &[0], 200, "2s: 60! 60! 60!");
    }

    #[test]
    fn a_late_idr_after_a_forced_cut_starts_a_segment_at_once() {
        check(30.0, &[0, 60, 130, 190], 200, "2s: 60 60! 10 60");
    }

    #[test]
    fn a_changed_configuration_cuts_at_its_idr() {
        let mut cutter = Cutter::new(2000, 2, 90_000, 3000, 0);
        assert_eq!(cutter.judge(90_000, true, true), [Cut { at: 90_000, idr: true }]);
    }

    #[test]
    fn a_key_frame_that_a_hiccup_made_late_still_ends_its_segment() {
        let mut cutter = Cutter::new(2000, 2, 180_000, 3000, 0);
        assert_eq!(cutter.judge(185_400, true, false), [Cut { at: 185_400, idr: true }]);
        assert_eq!(cutter.judge(185_400 + 224_999, true, false).len(), 1);
    }

    #[test]
    fn a_stall_is_cut_into_targets_before_its_idr() {
        let mut cutter = Cutter::new(2000, 2, 180_000, 3000, 0);
        let cuts = cutter.judge(480_000, true, false);
        let expected = [(180_000, false), (360_000, false), (480_000, true)];
        assert_eq!(cuts, expected.map(|(at, idr)| Cut { at, idr }));
    }

    #[test]
    fn targets_are_whole_seconds_and_bounded() {
        assert_eq!(target_s(2000, None), 2);
        assert_eq!(target_s(2000, Some(750_000)), 9);
        assert_eq!(target_s(500, Some(9_000)), 1);
        assert_eq!(target_s(2000, Some(i64::MAX / 4)), 11);
    }
}
