//! Files that nobody trusts, in a child process of their own: looked through, and encoded segment by segment.
//!
//! The child has no files and no network: it asks its parent for pieces of *reels* ([`FromVod::Read`]), which are the
//! objects a source is made of. What it gives depends on the job and the reels' bytes alone, the same on every machine. Knows
//! no stores, names, playlists or containers to write; what to do about failures is the caller's policy.

use crate::ladder::RungSettings;
use bytes::Bytes;
use media::h264::VideoConfig;
use media::projection::Layout;
use media::unit::VideoUnit;
use serde::{Deserialize, Serialize};

/// The argument that makes the binary call the child's side.
pub const COMMAND: &str = "vod-child";

/// What the child is to do, once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Job {
    /// Look through each reel by itself: what is in it ([`FromVod::Tracks`]) and when ([`FromVod::Stamps`]).
    Probe {
        /// In order of time.
        reels: Vec<Reel>,
    },
    /// Make segments of a run of reels.
    Encode(EncodeJob),
    /// Make one JPEG of the first picture of each reel.
    Sheet(SheetJob),
}

/// One object of a source: FLV, MP4/MOV or Matroska/WebM; nothing else is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reel {
    /// Its length.
    pub bytes: u64,
}

/// Segments to make.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EncodeJob {
    /// Reels of one run, which go on in time where the one before ends; the first holds the key frame at `seek`.
    pub reels: Vec<Reel>,
    /// PTS (source time, 90 kHz) of the key frame from which to decode. What is shown before the first segment is dropped.
    pub seek: i64,
    /// In order, one where the other ends; at least one.
    pub segments: Vec<SegmentJob>,
    /// 1 to [`media::ladder::RUNGS_MAX`], widest first; one may have the source's own size.
    pub rungs: Vec<RungJob>,
    /// Pictures (first) per so many seconds (second): what the encoders are told.
    pub frame_rate: (u32, u32),
    /// Length that segments are meant to have.
    pub segment_ms: u32,
    /// What to make of the sound.
    pub sound: SoundJob,
}

/// One segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentJob {
    /// Its number, handed back.
    pub seq: u64,
    /// PTS (source time, 90 kHz) of its first picture.
    pub start: i64,
    /// Pictures at or after this belong to it no more.
    pub end: i64,
    /// Rungs that are there already: bit 0 is the first of [`EncodeJob::rungs`]. They give nothing.
    pub skip: u8,
}

/// One rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RungJob {
    /// Pixels across, even.
    pub width: u32,
    /// Pixels down, even.
    pub height: u32,
    /// Highest average over a segment, bit/s.
    pub bitrate: u32,
    /// Quality below that cap: x264's CRF.
    pub crf: u8,
    /// How much work goes into it.
    pub effort: Effort,
}

/// How much work goes into each picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// x264's `veryfast`, with its own B-frames and lookahead: for tests and small machines.
    Veryfast,
    /// x264's `fast`.
    Fast,
    /// x264's `medium`.
    Medium,
    /// x264's `slow`.
    Slow,
}

/// What to make of the sound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SoundJob {
    /// Nothing.
    None,
    /// Give AAC packets as they are ([`FromVod::Packet`]): those with `start` ≤ PTS < `end`, in samples of the source's rate.
    Copy {
        /// PTS in samples.
        start: i64,
        /// PTS in samples.
        end: i64,
    },
    /// Decode, resample and encode: for each span as many AAC-LC blocks as it says ([`FromVod::Sound`]). The encoder of a span is
    /// fed a fixed pre-roll before it, whose blocks are dropped, so that seams can't be heard and a span's bytes depend on
    /// nothing before it.
    Encode {
        /// Samples per second of what is made.
        sample_rate: u32,
        /// 1 or 2.
        channels: u8,
        /// Bit/s.
        bitrate: u32,
        /// In order of time.
        spans: Vec<SoundSpan>,
    },
}

/// Sound of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoundSpan {
    /// The segment's number, handed back.
    pub seq: u64,
    /// Source time of its first block, in samples of [`SoundJob::Encode::sample_rate`]. Where the source has none: silence.
    pub start: i64,
    /// Blocks of 1024 samples.
    pub blocks: u32,
}

/// A sheet of thumbnails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SheetJob {
    /// One for each tile, row by row; a reel of 0 bytes leaves its tile black.
    pub reels: Vec<Reel>,
    /// Tiles in a row.
    pub columns: u32,
    /// A tile's size in pixels, even.
    pub width: u32,
    /// A tile's size in pixels, even.
    pub height: u32,
}

/// What is in a reel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tracks {
    /// libav's name of the container, e.g. `mov,mp4,m4a,3gp,3g2,mj2`.
    pub format: String,
    /// The first or default video stream.
    pub video: Option<VideoTrack>,
    /// The first or default audio stream.
    pub audio: Option<AudioTrack>,
}

/// A video stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VideoTrack {
    /// libav's name, e.g. `h264`.
    pub codec: String,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Pictures per seconds that the container states or libav guesses.
    pub frame_rate: Option<(u32, u32)>,
    /// What the container says of the sphere, if anything.
    pub layout: Option<Layout>,
    /// Changes whenever decoder configuration does: a hash of it in hexadecimal.
    pub config: String,
}

/// An audio stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AudioTrack {
    /// libav's name, e.g. `aac`.
    pub codec: String,
    /// Samples per second.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u8,
    /// The AudioSpecificConfig of AAC, in hexadecimal.
    pub asc: Option<String>,
}

/// When a packet is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Video: 90 kHz; audio: samples of the track's rate.
    pub pts: i64,
    /// Whether decoding can start here (always, for audio).
    pub key: bool,
}

/// What the child says.
#[derive(Debug, Clone, PartialEq)]
pub enum FromVod {
    /// It needs these bytes of a reel, and waits: answer with [`Child::supply`](child::Child::supply).
    Read {
        /// Index in the job's reels.
        reel: u32,
        /// First byte.
        offset: u64,
        /// 1 to [`READ_BYTES_MAX`]; never beyond the reel's end.
        length: u32,
    },
    /// What is in a reel.
    Tracks {
        /// Index in the job's reels.
        reel: u32,
        /// Its streams.
        tracks: Tracks,
    },
    /// Packets of a reel in the order of the file, batch by batch.
    Stamps {
        /// Index in the job's reels.
        reel: u32,
        /// Video.
        video: Vec<Stamp>,
        /// Audio.
        audio: Vec<Stamp>,
    },
    /// The decoder configuration of a rung: once, before its units.
    Config {
        /// Index in [`EncodeJob::rungs`].
        rung: usize,
        /// For the container's header; 4-byte NAL lengths.
        config: VideoConfig,
    },
    /// A coded picture, in decoding order. `pts` is the source's, in source time; `dts` is the PTS of the picture that is shown in
    /// the place in which this one is decoded, so it may be later than `pts` and starts with the segment.
    Unit {
        /// Index in [`EncodeJob::rungs`].
        rung: usize,
        /// Its segment.
        seq: u64,
        /// The first of a segment is an IDR, no other is.
        unit: VideoUnit,
    },
    /// No more units for this segment on this rung. Without units: nothing could be decoded.
    SegmentEnd {
        /// Index in [`EncodeJob::rungs`].
        rung: usize,
        /// The segment.
        seq: u64,
    },
    /// An AAC packet of the source.
    Packet {
        /// In samples.
        pts: i64,
        /// A raw block, without ADTS.
        data: Bytes,
    },
    /// A segment's encoded sound: exactly as many blocks as asked for.
    Sound {
        /// The segment.
        seq: u64,
        /// Raw AAC-LC blocks.
        blocks: Vec<Bytes>,
    },
    /// A sheet, as JPEG.
    Sheet(Bytes),
    /// The job can't be done, and why; nothing follows.
    Failed {
        /// Words for the broadcaster.
        why: String,
        /// Whether the machine, the installation or somebody's signal is to blame and not the source: somebody else may try.
        machine: bool,
    },
    /// All is given.
    Done,
}

/// Most bytes that the child asks for at a time.
pub const READ_BYTES_MAX: u32 = 4 << 20;

/// What the encoders' parts share with the live ladder.
impl From<RungJob> for RungSettings {
    fn from(rung: RungJob) -> Self {
        Self { width: rung.width, height: rung.height, bitrate: rung.bitrate }
    }
}

mod avio;
pub mod child;
mod container;
mod context;
mod demux;
mod encode;
mod probe;
mod reader;
mod serve;
pub(crate) mod sheet;
pub(crate) mod sound;
mod sounds;
mod start;
mod tiles;
mod timeline;
mod tracks;
mod wire;

/// The child's side: does one job on stdin and stdout. Errors have been sent to the parent as [`FromVod::Failed`], too.
pub fn serve() -> Result<(), crate::Error> {
    serve::serve()
}
