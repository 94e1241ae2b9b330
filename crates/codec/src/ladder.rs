//! The ladder: a source's access units in, those of the encoded rungs out.
//!
//! One decoder goes on through the whole stream. Each rung is scaled from the next larger one and encoded by a fresh
//! x264 for each segment, so that a segment is a function of the source's units in it and the rung's settings:
//! the same bytes on every machine. Knows nothing of names, numbers' meaning, containers or processes.
//!
//! A unit that is missing or broken costs the pictures it damages. A segment without a single picture that can be
//! decoded gives [`FromLadder::SegmentEnd`] on every rung and no units.

mod busy;
mod cap;
mod chain;
mod pipeline;
mod rung;
mod segments;

pub(crate) use chain::{Chain, Sink};
pub(crate) use pipeline::Pipeline;
pub(crate) use rung::{Job, Work};
pub(crate) use segments::{Announced, Foreseen};

use crate::Error;
use media::h264::VideoConfig;
use media::unit::VideoUnit;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

/// What to make of which source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The source's decoder configuration.
    pub config: VideoConfig,
    /// 1 to [`media::ladder::RUNGS_MAX`] rungs in any order; outputs name them by index in this list.
    pub rungs: Vec<RungSettings>,
    /// Length that segments are meant to have. A segment of this length or more keeps its rung's bit rate; a shorter
    /// one may pass it.
    pub segment_ms: u32,
}

/// One encoded rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RungSettings {
    /// Pixels across, even.
    pub width: u32,
    /// Pixels down, even.
    pub height: u32,
    /// Highest average over a segment, in bit/s.
    pub bitrate: u32,
}

/// What goes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToLadder {
    /// The source's parameter sets changed; precedes an IDR.
    Config(VideoConfig),
    /// Pictures shown at `start_pts` (90 kHz) or later belong to `seq`, until a later `Segment`. Comes before the unit
    /// that begins it: an IDR or, for a forced cut, any other. `start_pts` must rise from segment to segment.
    Segment {
        /// The segment's number, handed back with its units.
        seq: u64,
        /// PTS of its first picture.
        start_pts: i64,
        /// Rungs that are not to be encoded in this segment, for want of CPU: bit 0 is rung 0. They give
        /// [`FromLadder::SegmentEnd`] and no units, and the others the same bytes as ever.
        skip: u8,
    },
    /// The next unit of the source, in decoding order, with NAL lengths as the configuration says.
    Unit(VideoUnit),
    /// Nothing more comes. What is inside is finished and given out.
    End,
}

/// What comes out: in order within each rung, in any order between rungs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromLadder {
    /// The decoder configuration of the units that follow, with 4-byte NAL lengths. Once, and again if it changes.
    Config {
        /// Index in [`Settings::rungs`].
        rung: usize,
        /// For the container's header.
        config: VideoConfig,
    },
    /// A coded picture: `dts` = `pts` = that of the source's picture. The first of a segment is an IDR, no other is.
    Unit {
        /// Index in [`Settings::rungs`].
        rung: usize,
        /// Its segment.
        seq: u64,
        /// 4-byte lengths, no parameter sets, no SEI.
        unit: VideoUnit,
    },
    /// No more units for this segment on this rung.
    SegmentEnd {
        /// Index in [`Settings::rungs`].
        rung: usize,
        /// The segment.
        seq: u64,
    },
    /// How long whichever thread had most to do has worked since the last time. Comes whenever a `Segment` has come, and
    /// only from a child: it depends on the machine.
    Worked {
        /// The segment that has just begun.
        seq: u64,
        /// In µs.
        busy_us: u32,
    },
    /// Nothing more comes from this ladder, and why.
    Failed {
        /// Words for the log.
        why: String,
    },
}

/// The ladder in this process, with a thread for each rung.
pub struct Engine {
    pipeline: Pipeline,
    output: Receiver<FromLadder>,
}

impl Engine {
    /// Opens everything once with the real settings, so that bad ones fail here.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        // Unbounded, yet small: rungs give at most a few messages for each picture they were given, and
        // what they can be given ahead of `push` is bounded (`pipeline::QUEUE_PICTURES`).
        let (sender, output) = channel();
        let sink: Sink = Arc::new(move |message| sender.send(message).is_ok());
        Ok(Self { pipeline: Pipeline::new(settings, sink)?, output })
    }

    /// Takes one message and gives what is ready, of this one or earlier ones; waits only when rungs are behind.
    /// After [`ToLadder::End`] everything has been given. After an error nothing more comes.
    pub fn push(&mut self, message: ToLadder, out: &mut impl FnMut(FromLadder)) -> Result<(), Error> {
        let result = self.pipeline.push(message);
        self.output.try_iter().for_each(out);
        result
    }

    /// Source units and pictures that could not be decoded so far.
    pub fn damaged(&self) -> u64 {
        self.pipeline.damaged()
    }
}
