//! Encoders for pictures and sound that are made here: the test source and tests.
//!
//! H.264 at a steady bit rate with key frames at a steady distance, and AAC-LC. The ladder has its own settings.
#![allow(unsafe_code)]

use crate::picture::{Colour, Picture};
use crate::x264::{Coded, Delay, Encoder, Options, Preset, Rate};
use crate::{Error, open, quieten};
use bytes::Bytes;
use ffmpeg_next::codec::{self, Id};
use ffmpeg_next::error::EAGAIN;
use ffmpeg_next::format::{Sample, sample};
use ffmpeg_next::{ChannelLayout, Packet, encoder, ffi, frame};
use media::aac::AudioConfig;
use media::h264::VideoConfig;
use media::rate::FrameRate;
use media::unit::{AAC_FRAME_SAMPLES, VideoUnit};

/// What [`Video`] makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoSettings {
    /// Pixels across, even.
    pub width: u32,
    /// Pixels down, even.
    pub height: u32,
    /// Pictures (first) per so many seconds (second).
    pub frame_rate: (u32, u32),
    /// Bits per second, kept over about a second.
    pub bitrate: u32,
    /// Pictures from one IDR to the next; `None`: only the first is one.
    pub keyint: Option<u32>,
    /// B-frames between others.
    pub bframes: u8,
}

impl Default for VideoSettings {
    fn default() -> Self {
        Self { width: 1920, height: 960, frame_rate: (30, 1), bitrate: 6_000_000, keyint: Some(60), bframes: 0 }
    }
}

/// An H.264 encoder at a constant picture rate.
pub struct Video {
    inner: Encoder,
    rate: FrameRate,
}

impl Video {
    /// Opens it. Errors on settings outside H.264's or x264's limits.
    pub fn open(settings: &VideoSettings) -> Result<Self, Error> {
        let (num, den) = settings.frame_rate;
        let inner = Encoder::open(&Options {
            width: settings.width,
            height: settings.height,
            frame_rate: settings.frame_rate,
            preset: Preset::Superfast,
            rate: Rate::Constant { bitrate: settings.bitrate, buffer_bits: settings.bitrate },
            keyint: settings.keyint,
            delay: Delay::None { bframes: settings.bframes },
            level: None,
            colour: Colour::BT709,
        })?;
        Ok(Self { inner, rate: FrameRate { num, den } })
    }

    /// The decoder configuration of what it makes.
    pub fn config(&self) -> &VideoConfig {
        self.inner.config()
    }

    /// Takes the next picture and gives the units that are ready: at once without B-frames. Picture n is shown at
    /// n frames from 0, whatever its own PTS.
    pub fn encode(&mut self, picture: &Picture) -> Result<Vec<VideoUnit>, Error> {
        let (mut units, rate) = (Vec::new(), self.rate);
        self.inner.encode(picture.share()?, &mut |coded| units.push(timed(coded, rate)))?;
        Ok(units)
    }

    /// Gives what is still inside.
    pub fn finish(&mut self) -> Result<Vec<VideoUnit>, Error> {
        let (mut units, rate) = (Vec::new(), self.rate);
        self.inner.finish(&mut |coded| units.push(timed(coded, rate)))?;
        Ok(units)
    }
}

fn timed(coded: Coded, rate: FrameRate) -> VideoUnit {
    VideoUnit { dts: rate.ticks(coded.decoded), pts: rate.ticks(coded.shown), idr: coded.idr, data: coded.data }
}

/// An AAC-LC encoder.
pub struct Aac {
    inner: encoder::audio::Audio,
    config: AudioConfig,
    channels: usize,
    taken: i64,
}

impl Aac {
    /// Opens it for 1 or 2 channels at `sample_rate` Hz and about `bitrate` bit/s.
    pub fn open(sample_rate: u32, channels: u8, bitrate: u32) -> Result<Self, Error> {
        quieten();
        let setting = |what, value: u32, allowed| Error::Setting { what, value: value.to_string(), allowed };
        let layout = match channels {
            1 => ChannelLayout::MONO,
            2 => ChannelLayout::STEREO,
            _ => return Err(setting("channels", channels.into(), "1 or 2")),
        };
        if !(8_000..=96_000).contains(&sample_rate) {
            return Err(setting("sample rate", sample_rate, "8000 to 96000 Hz"));
        }
        let found = encoder::find(Id::AAC).ok_or(Error::Missing("AAC encoder"))?;
        let context = codec::Context::new_with_codec(found);
        // SAFETY: only compares the pointer.
        if unsafe { context.as_ptr() }.is_null() {
            return Err(Error::Memory("an encoder"));
        }
        let mut inner = context.encoder().audio().map_err(Error::libav("opening the AAC encoder"))?;
        inner.set_rate(sample_rate.cast_signed());
        inner.set_format(Sample::F32(sample::Type::Planar));
        inner.set_channel_layout(layout);
        inner.set_bit_rate(bitrate as usize);
        // SAFETY: a context of ours that is not open yet; plain fields.
        unsafe {
            let raw = inner.as_mut_ptr();
            (*raw).channels = i32::from(channels);
            (*raw).time_base = ffi::AVRational { num: 1, den: sample_rate.cast_signed() };
            (*raw).flags |= ffi::AV_CODEC_FLAG_GLOBAL_HEADER.cast_signed();
        }
        open::open(&mut inner, found, "aac", &[])?;
        let config = AudioConfig::from_asc(Bytes::copy_from_slice(open::extradata(&inner)))?;
        Ok(Self { inner, config, channels: channels.into(), taken: 0 })
    }

    /// The decoder configuration of what it makes.
    pub fn config(&self) -> &AudioConfig {
        &self.config
    }

    /// Takes [`AAC_FRAME_SAMPLES`] samples per channel, interleaved, −1 to 1, and gives the raw blocks that are ready.
    /// The first block is the encoder's run-in: the sound comes one block late.
    pub fn encode(&mut self, samples: &[f32]) -> Result<Vec<Bytes>, Error> {
        let count = AAC_FRAME_SAMPLES as usize;
        if samples.len() != count * self.channels {
            let value = samples.len().to_string();
            return Err(Error::Setting { what: "sample count", value, allowed: "1024 for each channel" });
        }
        let layout = self.inner.channel_layout();
        let mut block = frame::Audio::new(Sample::F32(sample::Type::Planar), count, layout);
        // SAFETY: only reads a pointer that ffmpeg-next does not check after allocating.
        if unsafe { (*block.as_ptr()).data[0].is_null() } {
            return Err(Error::Memory("a block of sound"));
        }
        block.set_rate(self.config.sample_rate());
        block.set_pts(Some(self.taken));
        for channel in 0..self.channels {
            let plane = block.plane_mut::<f32>(channel);
            for (to, from) in plane.iter_mut().zip(samples.iter().skip(channel).step_by(self.channels)) {
                *to = *from;
            }
        }
        self.taken += i64::from(AAC_FRAME_SAMPLES);
        self.inner.send_frame(&block).map_err(Error::libav("encoding sound"))?;
        let (mut blocks, mut packet) = (Vec::new(), Packet::empty());
        loop {
            match self.inner.receive_packet(&mut packet) {
                Ok(()) => blocks.push(Bytes::copy_from_slice(packet.data().unwrap_or_default())),
                Err(ffmpeg_next::Error::Other { errno: EAGAIN } | ffmpeg_next::Error::Eof) => return Ok(blocks),
                Err(why) => return Err(Error::Libav { what: "encoding sound", why }),
            }
        }
    }
}

impl Drop for Aac {
    /// Takes out what is inside: libav would complain in the log.
    fn drop(&mut self) {
        let mut packet = Packet::empty();
        if self.inner.send_eof().is_ok() {
            while self.inner.receive_packet(&mut packet).is_ok() {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_frames_are_where_they_were_asked_for_and_times_are_exact() {
        let settings =
            VideoSettings { width: 64, height: 32, frame_rate: (30_000, 1001), keyint: Some(5), ..Default::default() };
        let mut encoder = Video::open(&settings).unwrap();
        let mut units = Vec::new();
        for _ in 0..11 {
            units.extend(encoder.encode(&Picture::new(64, 32).unwrap()).unwrap());
        }
        let keys: Vec<i64> = units.iter().filter(|unit| unit.idr).map(|unit| unit.pts).collect();
        assert_eq!(keys, [0, 15_015, 30_030]);
        assert_eq!(encoder.config().frame_rate(), Some((30_000, 1001)));
        assert_eq!((encoder.config().width(), encoder.config().height()), (64, 32));
    }

    #[test]
    fn sound_comes_out_block_by_block() {
        let mut encoder = Aac::open(48_000, 2, 128_000).unwrap();
        assert_eq!(encoder.config().codec_string(), "mp4a.40.2");
        assert_eq!((encoder.config().sample_rate(), encoder.config().channels()), (48_000, 2));
        let tone: Vec<f32> = (0..2048).map(|i| ((i / 2) as f32 * 0.13).sin()).collect();
        let blocks: usize = (0..10).map(|_| encoder.encode(&tone).unwrap().len()).sum();
        assert!((8..=10).contains(&blocks), "{blocks}");
        assert!(encoder.encode(&tone[1..]).is_err());
    }
}
