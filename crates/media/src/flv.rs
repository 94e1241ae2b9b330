//! Bodies of RTMP's audio and video messages (FLV tags), and what an encoder says about itself.
//!
//! Understands H.264 and AAC, with the old header and the Enhanced RTMP one; everything else is refused by its name.
//! Knows nothing of RTMP chunks, AMF or timestamps.

mod names;

use crate::aac::AudioConfig;
use crate::error::ConfigError;
use crate::h264::VideoConfig;
use bytes::{Buf, Bytes};

/// What a video message holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VideoTag {
    /// A decoder configuration.
    Config(VideoConfig),
    /// One coded picture.
    Unit {
        /// Whether FLV calls it a key frame. Encoders also say so of pictures that are no IDR.
        key_flag: bool,
        /// Presentation time less decoding time, in milliseconds.
        composition_ms: i32,
        /// NAL units behind lengths of the configured size.
        data: Bytes,
    },
    /// The sequence is over.
    End,
    /// Nothing to show: an empty message, a seek marker, colour metadata.
    Nothing,
}

/// What an audio message holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AudioTag {
    /// A decoder configuration.
    Config(AudioConfig),
    /// One raw AAC block, without ADTS.
    Frame(Bytes),
    /// Nothing to play: an empty message, an end marker, a channel map.
    Nothing,
}

/// What an encoder says of its stream in `onMetaData`, as far as the project looks. All of it is hearsay.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    /// Who encodes, e.g. `obs-output module (libobs version 30.0)`.
    pub encoder: Option<String>,
    /// Pictures per second.
    pub frame_rate: Option<f64>,
    /// Pixels across.
    pub width: Option<f64>,
    /// Pixels down.
    pub height: Option<f64>,
    /// Video rate in kbit/s.
    pub video_kbits: Option<f64>,
    /// Audio rate in kbit/s.
    pub audio_kbits: Option<f64>,
    /// How the picture maps to directions, in the encoder's words.
    pub projection: Option<String>,
    /// How two eyes share the picture, in the encoder's words.
    pub stereo: Option<String>,
}

/// Why a message was refused, in words for the encoder's log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlvError {
    /// A codec or a packet that the project does not take.
    #[error("{what} is not supported: {instead}")]
    Unsupported {
        /// What came, by name.
        what: String,
        /// What to do about it.
        instead: &'static str,
    },
    /// A message that breaks off or contradicts itself.
    #[error("malformed message: {0}")]
    Malformed(&'static str),
    /// A decoder configuration that was refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

const USE_H264: &str = "set the encoder's video codec to H.264 (x264, NVENC H.264, …)";
const USE_AAC: &str = "set the encoder's audio codec to AAC";
const ONE_TRACK: &str = "set the encoder to a single track";

/// Codec id of H.264 in the old header.
const AVC: u8 = 7;
/// Sound format of AAC in the old header.
const AAC: u8 = 10;
/// Sound format that says: the Enhanced RTMP header follows.
const EXTENDED_AUDIO: u8 = 9;
/// Frame type of a key frame.
const KEY: u8 = 1;
/// Frame type of a command to the player, which carries no picture.
const COMMAND: u8 = 5;

/// Reads the body of an RTMP message of type 9.
pub fn parse_video(mut body: Bytes) -> Result<VideoTag, FlvError> {
    let Ok(first) = body.try_get_u8() else { return Ok(VideoTag::Nothing) };
    let (frame, codec) = (first >> 4, first & 0x0F);
    if first & 0x80 != 0 {
        return enhanced_video(frame & 7, codec, body);
    }
    if frame == COMMAND {
        return Ok(VideoTag::Nothing);
    }
    if codec != AVC {
        return Err(unsupported(names::old_video_codec(codec), USE_H264));
    }
    let packet = body.try_get_u8().map_err(|_| FlvError::Malformed("a video message ends early"))?;
    if packet == 2 {
        return Ok(VideoTag::End); // some encoders leave the composition time out here
    }
    let composition_ms = composition(&mut body)?;
    match packet {
        0 => Ok(VideoTag::Config(VideoConfig::from_avcc(body)?)),
        1 => Ok(unit(frame, composition_ms, body)),
        _ => Err(FlvError::Malformed("an AVC packet type above 2")),
    }
}

/// Enhanced RTMP v2, ExVideoTagHeader: the low half of the first byte is the packet type, a FourCC follows.
fn enhanced_video(frame: u8, packet: u8, mut body: Bytes) -> Result<VideoTag, FlvError> {
    const MULTITRACK: u8 = 6;
    const MOD_EX: u8 = 7;
    if frame == COMMAND {
        return Ok(VideoTag::Nothing);
    }
    match packet {
        MULTITRACK => return Err(unsupported("Multitrack video", ONE_TRACK)),
        MOD_EX => return Err(unsupported("Enhanced RTMP's ModEx", "turn nanosecond timestamps off in the encoder")),
        _ => {}
    }
    let codec = four_cc(&mut body)?;
    if &codec != b"avc1" {
        return Err(unsupported(names::enhanced_codec(codec), USE_H264));
    }
    match packet {
        0 => Ok(VideoTag::Config(VideoConfig::from_avcc(body)?)),
        1 => {
            let composition_ms = composition(&mut body)?;
            Ok(unit(frame, composition_ms, body))
        }
        2 => Ok(VideoTag::End),
        3 => Ok(unit(frame, 0, body)),
        4 => Ok(VideoTag::Nothing),
        _ => Err(FlvError::Malformed("an unknown video packet type")),
    }
}

/// Reads the body of an RTMP message of type 8.
pub fn parse_audio(mut body: Bytes) -> Result<AudioTag, FlvError> {
    let Ok(first) = body.try_get_u8() else { return Ok(AudioTag::Nothing) };
    match first >> 4 {
        AAC => {}
        EXTENDED_AUDIO => return enhanced_audio(first & 0x0F, body),
        format => return Err(unsupported(names::old_audio_codec(format), USE_AAC)),
    }
    match body.try_get_u8() {
        Ok(0) => Ok(AudioTag::Config(AudioConfig::from_asc(body)?)),
        Ok(1) => Ok(frame(body)),
        Ok(_) => Err(FlvError::Malformed("an AAC packet type above 1")),
        Err(_) => Ok(AudioTag::Nothing),
    }
}

/// Enhanced RTMP v2, ExAudioTagHeader.
fn enhanced_audio(packet: u8, mut body: Bytes) -> Result<AudioTag, FlvError> {
    const MULTITRACK: u8 = 5;
    const MOD_EX: u8 = 7;
    match packet {
        MULTITRACK => return Err(unsupported("Multitrack audio", ONE_TRACK)),
        MOD_EX => return Err(unsupported("Enhanced RTMP's ModEx", "turn nanosecond timestamps off in the encoder")),
        _ => {}
    }
    let codec = four_cc(&mut body)?;
    if &codec != b"mp4a" {
        return Err(unsupported(names::enhanced_codec(codec), USE_AAC));
    }
    match packet {
        0 => Ok(AudioTag::Config(AudioConfig::from_asc(body)?)),
        1 => Ok(frame(body)),
        // The end of the sequence, and a channel map that AAC's own configuration repeats.
        2 | 4 => Ok(AudioTag::Nothing),
        _ => Err(FlvError::Malformed("an unknown audio packet type")),
    }
}

fn unit(frame: u8, composition_ms: i32, data: Bytes) -> VideoTag {
    if data.is_empty() { VideoTag::Nothing } else { VideoTag::Unit { key_flag: frame == KEY, composition_ms, data } }
}

fn frame(data: Bytes) -> AudioTag {
    if data.is_empty() { AudioTag::Nothing } else { AudioTag::Frame(data) }
}

/// A signed 24-bit composition time, in milliseconds.
fn composition(body: &mut Bytes) -> Result<i32, FlvError> {
    let mut wide = [0; 4];
    let [value @ .., _] = &mut wide;
    body.try_copy_to_slice(value).map_err(|_| FlvError::Malformed("a video message ends early"))?;
    Ok(i32::from_be_bytes(wide) >> 8) // brings the sign down with it
}

fn four_cc(body: &mut Bytes) -> Result<[u8; 4], FlvError> {
    body.try_get_u32().map(u32::to_be_bytes).map_err(|_| FlvError::Malformed("a codec's FourCC ends early"))
}

fn unsupported(what: impl Into<String>, instead: &'static str) -> FlvError {
    FlvError::Unsupported { what: what.into(), instead }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h264::samples;
    use proptest::prelude::*;

    /// 44.1 kHz stereo AAC-LC.
    const ASC: [u8; 2] = [0x12, 0x10];

    fn body(header: &[u8], payload: &[u8]) -> Bytes {
        [header, payload].concat().into()
    }

    fn check_video(header: &[u8], payload: &[u8], expected: Result<VideoTag, &str>) {
        let got = parse_video(body(header, payload)).map_err(|error| error.to_string());
        assert_eq!(got, expected.map_err(str::to_owned), "{header:02x?}");
    }

    fn check_audio(header: &[u8], payload: &[u8], expected: Result<AudioTag, &str>) {
        let got = parse_audio(body(header, payload)).map_err(|error| error.to_string());
        assert_eq!(got, expected.map_err(str::to_owned), "{header:02x?}");
    }

    fn picture(key_flag: bool, composition_ms: i32) -> Result<VideoTag, &'static str> {
        Ok(VideoTag::Unit { key_flag, composition_ms, data: Bytes::from_static(b"data") })
    }

    #[test]
    fn h264_comes_with_the_old_and_the_new_header() {
        let config = samples::config(samples::HIGH_1080P30);
        let avcc = config.avcc().clone();
        for header in [&[0x17, 0, 0, 0, 0][..], b"\x90avc1"] {
            check_video(header, &avcc, Ok(VideoTag::Config(config.clone())));
        }
        check_video(&[0x17, 1, 0, 0, 80], b"data", picture(true, 80));
        check_video(&[0x27, 1, 0xFF, 0xFF, 0xFE], b"data", picture(false, -2));
        check_video(b"\x91avc1\x00\x00\x21", b"data", picture(true, 33));
        check_video(b"\xA1avc1\xFF\xFF\xFF", b"data", picture(false, -1));
        check_video(b"\xA3avc1", b"data", picture(false, 0));
    }

    #[test]
    fn what_carries_no_picture_is_nothing_or_the_end() {
        for header in [&[][..], &[0x57, 0], &[0x17, 1, 0, 0, 0], b"\x94avc1", b"\xD1avc1", b"\x93avc1"] {
            check_video(header, b"", Ok(VideoTag::Nothing));
        }
        for header in [&[0x17, 2, 0, 0, 0][..], &[0x17, 2], b"\x92avc1"] {
            check_video(header, b"", Ok(VideoTag::End));
        }
    }

    #[test]
    fn other_video_codecs_are_refused_by_name() {
        let cases: [(&[u8], &str); 7] = [
            (&[0x12], "Sorenson H.263 video"),
            (&[0x14], "VP6 video"),
            (&[0x1C, 0], "H.265 video"),
            (b"\x90hvc1", "H.265 video"),
            (b"\x90av01", "AV1 video"),
            (b"\x90vp09", "VP9 video"),
            (b"\x90\x00\xFFab", r#"The codec "\\x00\\xffab""#),
        ];
        for (header, what) in cases {
            let words = format!("{what} is not supported: {USE_H264}");
            check_video(header, b"", Err(&words));
        }
        check_video(b"\x96", b"", Err("Multitrack video is not supported: set the encoder to a single track"));
    }

    #[test]
    fn aac_comes_with_the_old_and_the_new_header() {
        let config = AudioConfig::from_asc(ASC.to_vec().into()).unwrap();
        for header in [&[0xAF, 0][..], b"\x90mp4a"] {
            check_audio(header, &ASC, Ok(AudioTag::Config(config.clone())));
        }
        for header in [&[0xAF, 1][..], b"\x91mp4a"] {
            check_audio(header, b"block", Ok(AudioTag::Frame(Bytes::from_static(b"block"))));
        }
        for header in [&[][..], &[0xAF], &[0xAF, 1], b"\x92mp4a", b"\x94mp4a"] {
            check_audio(header, b"", Ok(AudioTag::Nothing));
        }
    }

    #[test]
    fn other_audio_codecs_are_refused_by_name() {
        let cases: [(&[u8], &str); 5] = [
            (&[0x2F], "MP3 audio"),
            (&[0xBF], "Speex audio"),
            (b"\x90Opus", "Opus audio"),
            (b"\x90ec-3", "E-AC-3 audio"),
            (b"\x90avc1", "H.264 video where audio belongs"),
        ];
        for (header, what) in cases {
            let words = format!("{what} is not supported: {USE_AAC}");
            check_audio(header, b"", Err(&words));
        }
    }

    #[test]
    fn a_refused_configuration_keeps_its_words() {
        let avcc = samples::avcc(samples::HIGH_10);
        let words = ConfigError::BitDepth(10).to_string();
        check_video(&[0x17, 0, 0, 0, 0], &avcc, Err(&words));
    }

    #[test]
    fn messages_that_break_off_are_malformed() {
        for header in [&[0x17][..], &[0x17, 1, 0], b"\x91avc1\x00", b"\x90av", &[0x17, 9, 0, 0, 0]] {
            assert!(matches!(parse_video(body(header, b"")), Err(FlvError::Malformed(_))), "{header:02x?}");
        }
        for header in [&[0xAF, 2][..], b"\x90m", b"\x9Fmp4a"] {
            assert!(matches!(parse_audio(body(header, b"")), Err(FlvError::Malformed(_))), "{header:02x?}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_video(data.clone().into());
            let _ = parse_audio(data.into());
        }

        #[test]
        fn no_configuration_panics(
            header in proptest::sample::select(vec![&[0x17, 0, 0, 0, 0][..], b"\x90avc1"]),
            at in 0usize..60, byte: u8, keep in 0usize..60,
        ) {
            let mut avcc = samples::avcc(samples::HIGH_4K30).to_vec();
            avcc.truncate(keep);
            if let Some(place) = avcc.get_mut(at) {
                *place = byte;
            }
            let _ = parse_video(body(header, &avcc));
        }
    }
}
