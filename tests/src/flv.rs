//! FLV tags: what a raw publisher sends, made by FFmpeg and read here.
//!
//! Reads what FFmpeg writes (Adobe's FLV 10.1, annex E) and trusts it; knows nothing of RTMP.

use crate::{Source, make_media};
use bytes::{Buf, Bytes};
use std::path::Path;
use tempfile::TempDir;

/// Type of an audio tag.
pub const AUDIO: u8 = 8;
/// Type of a video tag.
pub const VIDEO: u8 = 9;
/// Type of a data tag.
pub const DATA: u8 = 18;

/// One tag; RTMP sends the same as one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// [`AUDIO`], [`VIDEO`] or [`DATA`].
    pub kind: u8,
    /// Decoding time, ms.
    pub ms: u32,
    /// Header of the codec and payload.
    pub body: Bytes,
}

impl Tag {
    /// Whether it is video.
    pub fn is_video(&self) -> bool {
        self.kind == VIDEO
    }

    /// Whether it is audio.
    pub fn is_audio(&self) -> bool {
        self.kind == AUDIO
    }

    /// Whether it is a decoder configuration.
    pub fn is_config(&self) -> bool {
        self.kind != DATA && self.body.get(1) == Some(&0)
    }

    /// Whether it is a picture that decoding can start at.
    pub fn is_key(&self) -> bool {
        self.is_video() && self.body.starts_with(&[0x17, 1])
    }

    /// The access unit, if it has one, as it should be served.
    pub fn unit(&self) -> Option<Bytes> {
        let header = if self.is_video() { 5 } else { 2 };
        let media = self.kind != DATA && self.body.get(1) == Some(&1);
        (media && self.body.len() > header).then(|| self.body.slice(header..))
    }

    /// When it is shown or heard, ms.
    pub fn presented_ms(&self) -> i64 {
        let composition = match self.body.get(2..5) {
            Some(&[a, b, c]) if self.is_video() => i32::from_be_bytes([a, b, c, 0]) >> 8,
            _ => 0,
        };
        i64::from(self.ms) + i64::from(composition)
    }

    /// The same at another time: `by` ms later, modulo 2^32.
    pub fn later(&self, by: i64) -> Self {
        let ms = (i64::from(self.ms) + by).rem_euclid(1 << 32);
        Self { ms: u32::try_from(ms).expect("below 2^32"), ..self.clone() }
    }
}

/// The audio and video tags of test media, in the order that FFmpeg muxes them.
pub async fn make_tags(source: &Source) -> Vec<Tag> {
    let dir = TempDir::new().expect("a temporary folder");
    let file = dir.path().join("source.flv");
    make_media(source, &file).await;
    read_tags(&file)
}

/// The audio and video tags of a file.
pub fn read_tags(file: &Path) -> Vec<Tag> {
    let mut rest = Bytes::from(std::fs::read(file).expect("the file is there"));
    assert!(rest.starts_with(b"FLV"), "{} is no FLV", file.display());
    // The file's header, and the size of no tag before the first one.
    rest.advance(9 + 4);
    let mut tags = Vec::new();
    while rest.has_remaining() {
        let kind = rest.get_u8();
        let bytes = rest.get_uint(3) as usize;
        let low = rest.get_uint(3) as u32;
        let ms = u32::from(rest.get_u8()) << 24 | low;
        rest.advance(3);
        tags.push(Tag { kind, ms, body: rest.split_to(bytes) });
        rest.advance(4);
    }
    tags.retain(|tag| tag.kind != DATA);
    tags
}
