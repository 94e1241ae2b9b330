//! What a job is: every output segment's range of pictures, written down once, before anything is encoded.
//!
//! Plain data as it stands in `jobs/{job}/plan.json`. A segment's bytes are a function of the plan and the source, so
//! whoever makes it makes the same. How a plan comes about is [`crate::planning`]'s affair.

use codec::vod::Effort;
use media::projection::Layout;
use media::protect;
use serde::{Deserialize, Serialize};

/// The version of the format; workers refuse others.
pub const VERSION: u32 = 1;

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
    /// Whole segments of 20 to 60 s together, less towards the end of a long asset: first, and first after. In order, and none
    /// between.
    pub tasks: Vec<(u32, u32)>,
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
