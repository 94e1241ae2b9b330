//! Access units: the one currency between ingest, encoder and packager.
//!
//! Knows timescales; does not know where units come from (FLV, x264) nor how they are written (MP4, HLS).

use bytes::Bytes;

/// Ticks per second of every video timestamp in the project.
pub const VIDEO_TIMESCALE: u32 = 90_000;

/// Samples per channel in one AAC access unit (ISO/IEC 14496-3, frameLengthFlag = 0).
pub const AAC_FRAME_SAMPLES: u32 = 1024;

/// One coded picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoUnit {
    /// When to decode it, in [`VIDEO_TIMESCALE`] ticks.
    pub dts: i64,
    /// When to show it, in [`VIDEO_TIMESCALE`] ticks.
    pub pts: i64,
    /// Whether it holds a real IDR (NAL type 5), whatever the container called it.
    pub idr: bool,
    /// NAL units, each behind a big-endian length of the size that its decoder configuration states.
    pub data: Bytes,
}

/// One coded block of [`AAC_FRAME_SAMPLES`] audio samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioUnit {
    /// When to play it, in samples (the timescale is the sample rate).
    pub pts: i64,
    /// A raw AAC block, without ADTS.
    pub data: Bytes,
}
