//! Chunks: `moof` and `mdat` for a run of samples of the file's one track.

use super::boxes::Writer;
use super::init::TRACK_ID;
use bytes::Bytes;

/// One access unit as a chunk carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Ticks until the next sample is decoded.
    pub duration: u32,
    /// Presentation less decoding time in ticks; may be negative.
    pub composition_offset: i32,
    /// Whether decoding can start here.
    pub sync: bool,
    /// The access unit.
    pub data: Bytes,
}

/// What kind of track a chunk belongs to: audio needs neither flags nor composition offsets per sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Track {
    /// Video, timescale 90000.
    Video,
    /// Audio, timescale = sample rate; every sample is a sync sample.
    Audio,
}

/// Sample flags (ISO/IEC 14496-12, 8.8.3.1): depends on no other sample.
const INDEPENDENT: u32 = 0x0200_0000;
/// Depends on others, and is no sync sample.
const DEPENDENT: u32 = 0x0101_0000;

/// `tfhd`: offsets count from the first byte of this `moof`.
const DEFAULT_BASE_IS_MOOF: u32 = 0x02_0000;
const DEFAULT_FLAGS: u32 = 0x20;

/// `trun`: which fields there are.
const DATA_OFFSET: u32 = 0x1;
const DURATIONS: u32 = 0x100;
const SIZES: u32 = 0x200;
const FLAGS: u32 = 0x400;
const COMPOSITION_OFFSETS: u32 = 0x800;

/// Writes the samples as one chunk: `moof` (`mfhd`, `traf` with `tfhd`, `tfdt` and `trun` of version 1) and `mdat`.
/// `base_decode_time` is the first sample's decoding time in ticks. The media must stay below 4 GiB, as all of an
/// ingest's limits see to.
pub fn chunk(track: Track, sequence: u32, base_decode_time: u64, samples: &[Sample]) -> Bytes {
    let media_bytes: usize = samples.iter().map(|sample| sample.data.len()).sum();
    let mut w = Writer::with_capacity(128 + samples.len() * 16 + media_bytes);
    let mut offset_at = 0;
    w.boxed(b"moof", |w| {
        w.full_box(b"mfhd", 0, 0, |w| w.u32(sequence));
        w.boxed(b"traf", |w| {
            w.full_box(b"tfhd", 0, DEFAULT_BASE_IS_MOOF | DEFAULT_FLAGS, |w| {
                w.u32(TRACK_ID);
                w.u32(INDEPENDENT);
            });
            w.full_box(b"tfdt", 1, 0, |w| w.u64(base_decode_time));
            offset_at = trun(w, track, samples);
        });
    });
    let data_offset = u32::try_from(w.len() + 8).unwrap_or(u32::MAX);
    w.set_u32(offset_at, data_offset);
    w.boxed(b"mdat", |w| {
        for sample in samples {
            w.bytes(&sample.data);
        }
    });
    w.finish().into()
}

/// Writes `trun` and returns where its data offset stands, which is known only when `moof` is closed.
fn trun(w: &mut Writer, track: Track, samples: &[Sample]) -> usize {
    let small = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let always = DATA_OFFSET | DURATIONS | SIZES;
    let fields = match track {
        Track::Video => always | FLAGS | COMPOSITION_OFFSETS,
        Track::Audio => always,
    };
    let mut offset_at = 0;
    w.full_box(b"trun", 1, fields, |w| {
        w.u32(small(samples.len()));
        offset_at = w.len();
        w.u32(0);
        for sample in samples {
            w.u32(sample.duration);
            w.u32(small(sample.data.len()));
            if track == Track::Video {
                w.u32(if sample.sync { INDEPENDENT } else { DEPENDENT });
                w.i32(sample.composition_offset);
            }
        }
    });
    offset_at
}
