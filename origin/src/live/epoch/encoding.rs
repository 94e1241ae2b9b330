//! The ladder's side of an epoch: what its child is told of each segment, and what comes of what it says.
//!
//! Pure. How much the machine can afford is judged in [`crate::live::load`]; the child itself is the shell's.

use super::Epoch;
use crate::live::core::{Effect, Input};
use crate::live::load::{Afford, Load};
use codec::ladder::{FromLadder, ToLadder};
use media::h264::VideoConfig;
use media::ladder::Rendition;
use media::package::Unit;
use media::unit::{VIDEO_TIMESCALE, VideoUnit};
use std::collections::BTreeMap;

/// Pictures that a decoder may hold back to bring them in order (ITU-T H.264 A.3.1: max_dec_frame_buffering).
const REORDERED_UNITS_MAX: u8 = 16;

/// The child that encodes rungs, as far as this side knows.
#[derive(Debug)]
pub(in crate::live) struct Ladder {
    pub(in crate::live) state: LadderState,
    /// Which rendition each of the child's rungs is.
    pub(in crate::live) renditions: Vec<Rendition>,
    /// The source's configuration, as the child must know it when it begins.
    pub(super) source: Option<VideoConfig>,
    pub(super) load: Load,
    /// Units that are still sent though the segment they are of is not encoded.
    tail: u8,
    /// Segments that the child was sent, and how many rungs have not ended them yet.
    owed: BTreeMap<u64, usize>,
    /// Configurations that the child announced, in force from the rung's next segment on.
    announced: BTreeMap<Rendition, VideoConfig>,
}

/// What the child is up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::live) enum LadderState {
    /// There is none.
    Off,
    /// It waits for a cut at an IDR.
    Fresh,
    /// It encodes.
    Active,
    /// It lost units; it goes on at the next IDR.
    Skipping,
    /// It was told to finish.
    Finishing,
}

impl Epoch {
    /// Whether the child may still come with what it owes.
    pub(in crate::live) fn is_finishing(&self) -> bool {
        self.ladder.state == LadderState::Finishing
    }

    /// Tells the ladder of a segment that begins, and what of it to encode. What nobody encodes is a gap.
    pub(in crate::live) fn begin_in_ladder(&mut self, msn: u64, start: i64, idr: bool, out: &mut Vec<Effect>) {
        let ready = match self.ladder.state {
            LadderState::Active => true,
            LadderState::Fresh | LadderState::Skipping => idr,
            LadderState::Off | LadderState::Finishing => false,
        };
        let before = self.ladder.load.suspended();
        let afford = if ready { self.afford() } else { Afford::Nothing };
        if self.ladder.load.suspended() > before
            && let Some(rendition) = self.ladder.renditions.get(before)
        {
            out.push(Effect::Warn(format!(
                "this machine is too small for the ladder: rung {rendition} is suspended. Take rungs out of the ladder, or \
                 use a machine with more cores"
            )));
        }
        let suspended = match afford {
            Afford::AllBut(suspended) => suspended,
            Afford::Nothing => self.ladder.renditions.len(),
        };
        for rendition in self.ladder.renditions.iter().take(suspended) {
            self.window.gap(*rendition, msn);
        }
        if !ready || afford == Afford::Nothing {
            if self.ladder.state == LadderState::Active {
                // The segment before this one ends for the child when it sees pictures of this one.
                (self.ladder.state, self.ladder.tail) = (LadderState::Skipping, REORDERED_UNITS_MAX);
                out.push(Effect::ToLadder(ToLadder::Segment { seq: msn, start_pts: start, skip: u8::MAX }));
            }
            return;
        }
        self.ladder.tail = 0;
        if self.ladder.state != LadderState::Active {
            self.ladder.state = LadderState::Active;
            out.extend(self.ladder.source.clone().map(|config| Effect::ToLadder(ToLadder::Config(config))));
        }
        let skip = (0..suspended).fold(0, |mask, rung| mask | 1_u8.checked_shl(rung as u32).unwrap_or(0));
        self.ladder.owed.insert(msn, self.ladder.renditions.len());
        out.push(Effect::ToLadder(ToLadder::Segment { seq: msn, start_pts: start, skip }));
    }

    /// How many rungs this machine can afford now.
    fn afford(&mut self) -> Afford {
        let oldest = self.ladder.owed.keys().next();
        let ended = oldest.and_then(|seq| self.window.slot(*seq)).filter(|slot| slot.end.is_some());
        let owed_ms = ended.map_or(0, |slot| self.now - slot.ended_ms);
        let target_ms = i64::from(self.window.terms().target_s) * 1000;
        self.ladder.load.judge(self.ladder.renditions.len(), owed_ms, target_ms, self.now)
    }

    /// The source's configuration changed: the child must know before the IDR.
    pub(in crate::live) fn source_changed(&mut self, config: &VideoConfig, out: &mut Vec<Effect>) {
        self.ladder.source = Some(config.clone());
        if self.ladder.state == LadderState::Active {
            out.push(Effect::ToLadder(ToLadder::Config(config.clone())));
        }
    }

    /// The ladder's child: what it sent, or what became of it.
    pub(in crate::live) fn ladder(&mut self, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::LadderUp if self.running.is_some() => self.ladder.state = LadderState::Fresh,
            Input::LadderFull if self.ladder.state == LadderState::Active => {
                (self.ladder.state, self.ladder.tail) = (LadderState::Skipping, 0);
                if let Some((msn, _)) = self.window.newest() {
                    // What the child has of it will come, and will not be the whole of it.
                    self.ladder.renditions.iter().for_each(|rendition| self.window.gap(*rendition, msn));
                }
                out.push(Effect::Warn(
                    "this machine is too small for the ladder: encoded rungs miss a segment. Take rungs away"
                        .to_owned(),
                ));
            }
            Input::Ladder(event) => self.encoded(event, out),
            Input::LadderGone => self.ladder_gone(out),
            _ => {}
        }
    }

    fn encoded(&mut self, event: FromLadder, out: &mut Vec<Effect>) {
        match event {
            FromLadder::Config { rung, config } => {
                if let Some(&rendition) = self.ladder.renditions.get(rung) {
                    self.ladder.announced.insert(rendition, config);
                }
            }
            FromLadder::Unit { rung, seq, unit } => {
                let Some(&rendition) = self.ladder.renditions.get(rung) else { return };
                if let Some(config) = self.ladder.announced.remove(&rendition) {
                    self.video_init(rendition, seq, &config, out);
                }
                let VideoUnit { dts, pts, idr, data } = unit;
                self.push(rendition, seq, Unit { dts, pts, sync: idr, data }, out);
            }
            FromLadder::SegmentEnd { rung, seq } => {
                let Some(&rendition) = self.ladder.renditions.get(rung) else { return };
                self.ladder.ended(seq);
                let end = self.window.slot(seq).and_then(|slot| slot.end);
                self.finish_output(rendition, end, out);
                // Unless it is whole now: nothing of it could be decoded.
                self.window.gap(rendition, seq);
                out.extend([Effect::Save, Effect::Changed]);
            }
            // Core has measured it.
            FromLadder::Worked { .. } => {}
            FromLadder::Failed { why } => out.push(Effect::Warn(format!("the ladder's encoder failed: {why}"))),
        }
    }

    /// How long the segment before this one was, in seconds, if the ladder had it.
    pub(in crate::live) fn seconds_before(&self, msn: u64) -> Option<f64> {
        let slot = self.window.slot(msn.checked_sub(1)?)?;
        Some((slot.end?.saturating_sub(slot.start)) as f64 / f64::from(VIDEO_TIMESCALE))
    }

    /// Whatever the child still owed is missing.
    fn ladder_gone(&mut self, out: &mut Vec<Effect>) {
        self.ladder.state = LadderState::Off;
        self.ladder.announced.clear();
        self.ladder.owed.clear();
        for rendition in self.ladder.renditions.clone() {
            if let Some(output) = self.outputs.get_mut(&rendition) {
                output.abandon();
            }
            self.window.gap_all(rendition);
        }
        out.extend([Effect::Save, Effect::Changed]);
    }
}

impl Ladder {
    pub(super) fn off(now: i64) -> Self {
        let (state, load) = (LadderState::Off, Load::new(now));
        Self {
            state,
            renditions: Vec::new(),
            source: None,
            load,
            tail: 0,
            owed: BTreeMap::new(),
            announced: BTreeMap::new(),
        }
    }

    /// Whether the child is to have the next unit.
    pub(in crate::live) fn takes_unit(&mut self) -> bool {
        let tail = self.tail > 0;
        self.tail = self.tail.saturating_sub(1);
        tail || self.state == LadderState::Active
    }

    /// A rung has ended a segment.
    fn ended(&mut self, seq: u64) {
        if let Some(left) = self.owed.get_mut(&seq) {
            *left = left.saturating_sub(1);
        }
        self.owed.retain(|_, left| *left > 0);
    }
}
