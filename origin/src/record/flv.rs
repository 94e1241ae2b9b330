//! What came in, as FLV files that play alone: tags in, bytes out, and where one file ends and the next begins.
//!
//! Pure. The coded data and their times are as they were received; the bytes around them are FLV's (Adobe's
//! specification, annex E).

use crate::ingest::Ingested;
use bytes::{BufMut, Bytes, BytesMut};
use media::flv::Metadata;
use media::h264;
use rml_amf0::Amf0Value;
use std::collections::HashMap;

/// A file ends at the first key frame after so many milliseconds…
const PART_MS: u32 = 10_000;

/// … or bytes.
const PART_BYTES: u64 = 16 << 20;

/// Without key frames it ends anywhere after so many milliseconds…
const PART_MS_MAX: u32 = 60_000;

/// … or bytes.
const PART_BYTES_MAX: u64 = 64 << 20;

/// Signature, version 1, audio and video, header of 9 bytes; then the size of the tag before the first one: 0.
const HEADER: [u8; 13] = [b'F', b'L', b'V', 1, 5, 0, 0, 0, 9, 0, 0, 0, 0];

const AUDIO: u8 = 8;
const VIDEO: u8 = 9;
const SCRIPT: u8 = 18;

/// What comes of a tag.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Written {
    /// A new file begins with these bytes.
    pub(crate) begins: bool,
    /// To be written.
    pub(crate) bytes: Vec<Bytes>,
}

/// Writes one session's tags.
#[derive(Debug, Default)]
pub(crate) struct Muxer {
    /// What every file repeats at its start.
    metadata: Option<Metadata>,
    video: Option<(Bytes, u8)>,
    audio: Option<Bytes>,
    last_ms: u32,
    /// When the file in hand began, and its bytes so far.
    file: Option<(u32, u64)>,
}

impl Muxer {
    /// A publisher begins: the one before has told nothing that counts now, and his clock was another.
    pub(crate) fn publish(&mut self) {
        *self = Self::default();
    }

    /// The next tag.
    pub(crate) fn push(&mut self, tag: &Ingested) -> Written {
        let (mut key, mut config) = (false, true);
        match tag {
            Ingested::Metadata(metadata) => self.metadata = Some(metadata.clone()),
            Ingested::VideoConfig(config) => self.video = Some((config.avcc().clone(), config.nal_length_size())),
            Ingested::AudioConfig(config) => self.audio = Some(config.asc().clone()),
            Ingested::Video { rtmp_ms, data, .. } => {
                (self.last_ms, config) = (*rtmp_ms, false);
                key = self.video.as_ref().is_some_and(|(_, size)| h264::contains_idr(data, *size));
            }
            Ingested::Audio { rtmp_ms, .. } => (self.last_ms, config) = (*rtmp_ms, false),
        }
        let begins = match self.file {
            None => true,
            Some(_) if config => false,
            Some((since, bytes)) => {
                // Sound may be stamped a little before the picture that began the file.
                let ms = self.last_ms.wrapping_sub(since);
                let ms = if ms > u32::MAX / 2 { 0 } else { ms };
                key && (ms >= PART_MS || bytes >= PART_BYTES) || ms >= PART_MS_MAX || bytes >= PART_BYTES_MAX
            }
        };
        let mut bytes = Vec::new();
        if begins {
            self.file = Some((self.last_ms, 0));
            bytes.push(Bytes::from_static(&HEADER));
            self.heads(&mut bytes);
        }
        match tag {
            // The heads are up to date already.
            _ if begins && config => {}
            Ingested::Metadata(metadata) => self.tag(SCRIPT, &[], script(metadata), &mut bytes),
            Ingested::VideoConfig(config) => self.tag(VIDEO, &[0x17, 0, 0, 0, 0], config.avcc().clone(), &mut bytes),
            Ingested::AudioConfig(config) => self.tag(AUDIO, &[0xAF, 0], config.asc().clone(), &mut bytes),
            Ingested::Video { composition_ms, data, .. } => {
                let [_, a, b, c] = composition_ms.to_be_bytes();
                self.tag(VIDEO, &[if key { 0x17 } else { 0x27 }, 1, a, b, c], data.clone(), &mut bytes);
            }
            Ingested::Audio { data, .. } => self.tag(AUDIO, &[0xAF, 1], data.clone(), &mut bytes),
        }
        let length: usize = bytes.iter().map(Bytes::len).sum();
        if let Some((_, so_far)) = &mut self.file {
            *so_far = so_far.saturating_add(length as u64);
        }
        Written { begins, bytes }
    }

    fn heads(&self, out: &mut Vec<Bytes>) {
        if let Some(metadata) = &self.metadata {
            self.tag(SCRIPT, &[], script(metadata), out);
        }
        if let Some((avcc, _)) = &self.video {
            self.tag(VIDEO, &[0x17, 0, 0, 0, 0], avcc.clone(), out);
        }
        if let Some(asc) = &self.audio {
            self.tag(AUDIO, &[0xAF, 0], asc.clone(), out);
        }
    }

    fn tag(&self, kind: u8, head: &[u8], data: Bytes, out: &mut Vec<Bytes>) {
        let length = u32::try_from(head.len().saturating_add(data.len())).unwrap_or(u32::MAX) & 0x00FF_FFFF;
        let [high, a, b, c] = self.last_ms.to_be_bytes();
        let mut bytes = BytesMut::with_capacity(16);
        bytes.put_u8(kind);
        bytes.put_uint(length.into(), 3);
        bytes.put_slice(&[a, b, c, high, 0, 0, 0]);
        bytes.put_slice(head);
        out.push(bytes.freeze());
        out.push(data);
        out.push(Bytes::copy_from_slice(&length.saturating_add(11).to_be_bytes()));
    }
}

/// `onMetaData`, as far as it was understood.
fn script(metadata: &Metadata) -> Bytes {
    let mut values = HashMap::new();
    let Metadata { encoder, frame_rate, width, height, video_kbits, audio_kbits, projection, stereo } = metadata;
    let numbers = [
        ("framerate", frame_rate),
        ("width", width),
        ("height", height),
        ("videodatarate", video_kbits),
        ("audiodatarate", audio_kbits),
    ];
    for (name, value) in numbers {
        values.extend(value.map(|value| (name.to_owned(), Amf0Value::Number(value))));
    }
    for (name, value) in [("encoder", encoder), ("projection", projection), ("stereoMode", stereo)] {
        values.extend(value.clone().map(|value| (name.to_owned(), Amf0Value::Utf8String(value))));
    }
    let values = vec![Amf0Value::Utf8String("onMetaData".to_owned()), Amf0Value::Object(values)];
    rml_amf0::serialize(&values).map(Bytes::from).unwrap_or_default()
}

#[cfg(test)]
mod tests;
