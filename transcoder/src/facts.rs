//! What a task made: sizes and decoder configurations of its segments, which is all that playlists need beside the plan.
//!
//! Pure, and the same whoever made the task: no clocks, no workers' names. A segment says itself to which init segment it
//! belongs (a `free` box in front, [`head`]), so that facts can be read from an object that is there already.

use bytes::{BufMut, Bytes, BytesMut};
use media::mp4::read::{boxes, fragment_info};
use media::route::File;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The version of the format; finishers refuse others.
pub const VERSION: u32 = 1;

/// Longest `done/{task}.json`, in bytes.
pub const FACTS_BYTES_MAX: u64 = 1 << 20;

/// What the box in front of a segment begins with.
const MARK: &str = "live360";

/// Longest codec, in bytes.
const CODEC_BYTES_MAX: usize = 32;

/// `jobs/{job}/done/{task:05}.json`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskFacts {
    /// [`VERSION`].
    pub version: u32,
    /// Its number.
    pub task: u32,
    /// All of the task's segments, in order.
    pub segments: Vec<SegmentFacts>,
}

/// A segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentFacts {
    /// Its number.
    pub number: u32,
    /// One for each of the plan's rungs; `None`: nothing could be decoded, and there is no object, or it is another task's.
    pub rungs: Vec<Option<RungFacts>>,
    /// Bytes of its sound; `None`: there is no object, or it is another task's.
    pub sound: Option<u64>,
}

/// A segment on one rung.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RungFacts {
    /// Its size.
    pub bytes: u64,
    /// Bytes from its beginning to the end of the first chunk, which holds just the first picture.
    pub first_chunk: u64,
    /// Hash of its init segment ([`hash`]).
    pub init: String,
    /// RFC 6381, e.g. `avc1.640028`.
    pub codec: String,
}

impl TaskFacts {
    /// The document as it is stored.
    pub fn to_json(&self) -> String {
        // Plain structs can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads one; `None` if it is none of ours.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let facts: Self = serde_json::from_slice(text).ok()?;
        let rungs = || facts.segments.iter().flat_map(|segment| segment.rungs.iter().flatten());
        let good = rungs().all(|rung| is_init(&rung.init) && is_codec(&rung.codec) && rung.first_chunk <= rung.bytes);
        (facts.version == VERSION && good).then_some(facts)
    }
}

/// An init segment's hash, as it stands in its name: 16 hexadecimal digits of SHA-256.
pub fn hash(init: &[u8]) -> String {
    Sha256::digest(init).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// What must stand in front of a segment's chunks on a rung, so that [`read_segment`] knows it: a `free` box, which readers pass
/// over (MSE's byte stream format and ISO/IEC 14496-12, 8.1.2). It counts in `bytes` and `first_chunk`.
pub fn head(init: &str, codec: &str) -> Bytes {
    let text = format!("{MARK} {init} {codec}\n");
    let mut out = BytesMut::with_capacity(text.len().saturating_add(8));
    out.put_u32(u32::try_from(text.len().saturating_add(8)).unwrap_or(u32::MAX));
    out.put_slice(b"free");
    out.put_slice(text.as_bytes());
    out.freeze()
}

/// The facts of a segment's object; `None` if it is not whole, or not one of ours.
pub fn read_segment(object: &[u8]) -> Option<RungFacts> {
    let (name, text) = boxes(object).next()?.ok()?;
    if &name != b"free" {
        return None;
    }
    let mut words = std::str::from_utf8(text).ok()?.strip_suffix('\n')?.split(' ');
    let (Some(MARK), Some(init), Some(codec), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return None;
    };
    if !is_init(init) || !is_codec(codec) {
        return None;
    }
    let info = fragment_info(object).ok()?;
    let first = info.tracks.first().filter(|first| first.samples == 1 && first.first_is_sync)?;
    let first_chunk = first.offset.checked_add(first.moof_bytes)?.checked_add(first.mdat_bytes)?;
    Some(RungFacts {
        bytes: object.len() as u64,
        first_chunk: first_chunk as u64,
        init: init.to_owned(),
        codec: codec.to_owned(),
    })
}

/// The size of a sound segment's object; `None` if it is not whole.
pub fn read_sound(object: &[u8]) -> Option<u64> {
    let info = fragment_info(object).ok()?;
    (!info.tracks.is_empty()).then_some(object.len() as u64)
}

fn is_init(hash: &str) -> bool {
    matches!(File::parse(&File::Init(hash.to_owned()).to_string()), Some(File::Init(_)))
}

fn is_codec(codec: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '.';
    (1..=CODEC_BYTES_MAX).contains(&codec.len()) && codec.chars().all(legal)
}

#[cfg(test)]
pub(crate) mod tests;
