//! What a job is: every output segment's range of pictures, written down once, before anything is encoded.
//!
//! Plain data as it stands in `jobs/{job}/plan.json`. A segment's bytes are a function of the plan and the source, so
//! whoever makes it makes the same. How a plan comes about is [`crate::planning`]'s affair.

use codec::vod::Effort;
use media::projection::Layout;
use media::protect;
use serde::{Deserialize, Serialize};

/// The version of the format; workers refuse others.
pub const VERSION: u32 = 2;

/// A job's plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`VERSION`].
    pub version: u32,
    /// The job's name, which is the asset's: `{name}-{start as 20261120T172500Z}`.
    pub job: String,
    /// The stream's name, or what was made of the upload's.
    pub name: String,
    /// When the first picture was taken, UTC ms.
    pub start_ms: i64,
    /// Where the bytes come from.
    pub source: Source,
    /// How the picture lies on the sphere.
    pub layout: Layout,
    /// How its segments are encrypted; none: they are in clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protect: Option<protect::Terms>,
    /// Rungs to make, widest first.
    pub rungs: Vec<RungPlan>,
    /// What segments are meant to last.
    pub segment_ms: u32,
    /// EXT-X-TARGETDURATION.
    pub target_s: u32,
    /// The sound of all runs; none: the asset is silent and has no audio rendition.
    pub sound: Option<SoundPlan>,
    /// Stretches without a break in the source's timeline or decoder configuration.
    pub runs: Vec<Run>,
    /// In order of time; their numbers are their places here, from 0.
    pub segments: Vec<SegmentPlan>,
    /// Every segment is on every rung in one of them. In the order in which they are best worked off.
    pub tasks: Vec<TaskPlan>,
}

/// Whole segments in a row: of 20 to 60 s together, less towards the end of a long asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskPlan {
    /// The first segment.
    pub first: u32,
    /// The first after it.
    pub after: u32,
    /// The rungs that it makes: bit 0 is the plan's first.
    pub rungs: u8,
}

impl TaskPlan {
    /// How many segments.
    pub fn segments(&self) -> u32 {
        self.after.saturating_sub(self.first)
    }

    /// Whether it makes this of the plan's rungs.
    pub fn makes(&self, rung: usize) -> bool {
        let bit = u32::try_from(rung).ok().and_then(|rung| 1_u8.checked_shl(rung)).unwrap_or_default();
        self.rungs & bit != 0
    }
}

impl Plan {
    /// The mask of all rungs.
    pub fn all_rungs(&self) -> u8 {
        all_of(self.rungs.len())
    }

    /// Whether a task makes its segments' sound too: that which makes the smallest rung does.
    pub fn makes_sound(&self, task: &TaskPlan) -> bool {
        let smaller = all_of(self.rungs.len().saturating_sub(1));
        self.sound.is_some() && task.rungs & !smaller != 0
    }
}

/// The mask of so many rungs, at most 8.
pub(crate) fn all_of(rungs: usize) -> u8 {
    let spare = u32::try_from(rungs).map_or(0, |rungs| 8_u32.saturating_sub(rungs));
    u8::MAX.checked_shr(spare).unwrap_or(0)
}

/// Where the bytes come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The key whose event made the job: `uploads/…` or `rec/…/ended.json`.
    pub key: String,
    /// Objects of the ingest store that make it up.
    pub reels: Vec<ReelPlan>,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReelPlan {
    /// Its key.
    pub key: String,
    /// Its length.
    pub bytes: u64,
    /// Its ETag when the plan was made: another one means that it was replaced, and the job fails.
    pub etag: Option<String>,
}

/// A rung.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RungPlan {
    /// Its folder's name, e.g. `1920w`.
    pub rendition: String,
    /// Pixels across, even.
    pub width: u32,
    /// Pixels down, even.
    pub height: u32,
    /// Highest average over a segment, bit/s.
    pub bitrate: u32,
    /// Quality below it.
    pub crf: u8,
    /// How much work goes into it.
    pub effort: Effort,
}

/// The sound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoundPlan {
    /// Samples per second.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u8,
    /// The AudioSpecificConfig, in hexadecimal: the source's if it is copied.
    pub asc: String,
    /// Bit rate to encode with; none: the source's AAC is copied.
    pub encode: Option<u32>,
}

/// A stretch without a break.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Its reels: first, and first after, in [`Source::reels`].
    pub reels: (u32, u32),
    /// PTS of its first picture, source time (90 kHz).
    pub origin: i64,
    /// When that is shown, asset time (90 kHz): where the run before ends.
    pub at: i64,
    /// Pictures (first) per so many seconds (second): what encoders are told.
    pub frame_rate: (u32, u32),
    /// Whether pictures are exactly that far apart: then their times are put on that grid.
    pub constant: bool,
    /// Whether the source has sound here; if not, it is silence.
    pub sounds: bool,
}

/// A segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentPlan {
    /// Which run it belongs to.
    pub run: u32,
    /// PTS of its first picture, source time (90 kHz).
    pub start: i64,
    /// PTS of the first picture after it, or where the last one ends; source time.
    pub end: i64,
    /// When it begins, asset time (90 kHz).
    pub at: i64,
    /// How long it lasts (90 kHz).
    pub ticks: i64,
    /// Pictures that the source has for it.
    pub pictures: u32,
    /// The reel, in [`Source::reels`], that holds the key frame from which to decode.
    pub seek_reel: u32,
    /// That key frame's PTS, source time (90 kHz).
    pub seek: i64,
    /// The reel in which its last picture or sound is.
    pub last_reel: u32,
    /// Its sound, in order; their blocks end where the next segment's begin. Empty where there is no sound at all.
    pub sound: Vec<Span>,
    /// When its first block is heard, asset time (samples).
    pub sound_at: i64,
}

/// Blocks of 1024 samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Span {
    /// So many of the source's, from the one with this PTS on (copy: of that packet; encode: source time, samples of the
    /// sound's rate).
    Source {
        /// In samples.
        from: i64,
        /// How many.
        blocks: u32,
    },
    /// So many of silence.
    Silence {
        /// How many.
        blocks: u32,
    },
}
