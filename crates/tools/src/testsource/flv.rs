//! Bodies of RTMP's audio and video messages (FLV tags), as OBS writes them.
//!
//! H.264 and AAC with the old header. `media::flv` reads what this writes.

use bytes::{BufMut, Bytes, BytesMut};
use media::aac::AudioConfig;
use media::h264::VideoConfig;

/// Frame type and codec: key frame or other, H.264.
const KEY: u8 = 0x17;
const INTER: u8 = 0x27;
/// AAC; rate, size and channels are what FLV wants to hear, whatever they are.
const AAC: u8 = 0xAF;

/// The decoder configuration for video.
pub(super) fn video_config(config: &VideoConfig) -> Bytes {
    video(KEY, 0, 0, config.avcc())
}

/// One access unit; `composition_ms` is presentation less decoding time, below 2²³.
pub(super) fn video_unit(key: bool, composition_ms: u32, data: &[u8]) -> Bytes {
    video(if key { KEY } else { INTER }, 1, composition_ms, data)
}

/// There is no more video.
pub(super) fn video_end() -> Bytes {
    video(KEY, 2, 0, &[])
}

/// The decoder configuration for audio.
pub(super) fn audio_config(config: &AudioConfig) -> Bytes {
    audio(0, config.asc())
}

/// One raw block.
pub(super) fn audio_block(data: &[u8]) -> Bytes {
    audio(1, data)
}

fn video(head: u8, packet: u8, composition_ms: u32, data: &[u8]) -> Bytes {
    let mut body = BytesMut::with_capacity(data.len() + 5);
    body.put_u8(head);
    body.put_u8(packet);
    body.put_uint(u64::from(composition_ms & 0xFF_FFFF), 3);
    body.put_slice(data);
    body.freeze()
}

fn audio(packet: u8, data: &[u8]) -> Bytes {
    let mut body = BytesMut::with_capacity(data.len() + 2);
    body.put_slice(&[AAC, packet]);
    body.put_slice(data);
    body.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use media::flv::{AudioTag, VideoTag, parse_audio, parse_video};

    #[test]
    fn what_is_written_is_what_the_server_reads() {
        let video = codec::encode::Video::open(&codec::encode::VideoSettings {
            width: 64,
            height: 32,
            ..codec::encode::VideoSettings::default()
        });
        let config = video.unwrap().config().clone();
        assert_eq!(parse_video(video_config(&config)).unwrap(), VideoTag::Config(config));
        let data = Bytes::from_static(&[0, 0, 0, 2, 0x65, 0x88]);
        let unit = |key_flag, composition_ms| VideoTag::Unit { key_flag, composition_ms, data: data.clone() };
        assert_eq!(parse_video(video_unit(true, 0, &data)).unwrap(), unit(true, 0));
        assert_eq!(parse_video(video_unit(false, 66, &data)).unwrap(), unit(false, 66));
        assert_eq!(parse_video(video_end()).unwrap(), VideoTag::End);
        let config = AudioConfig::lc(48_000, 2).unwrap();
        assert_eq!(parse_audio(audio_config(&config)).unwrap(), AudioTag::Config(config));
        assert_eq!(parse_audio(audio_block(&data)).unwrap(), AudioTag::Frame(data));
    }
}
