//! AAC as encoders send it: the AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1), and silence.
//!
//! Knows how many samples a block has and which channels; decodes nothing.

mod silence;

pub use crate::error::ConfigError;

use crate::bits::{BitReader, BitWriter};
use crate::error::Malformed;
use bytes::Bytes;

/// Hz by samplingFrequencyIndex (table 1.18).
const SAMPLE_RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// samplingFrequencyIndex after which the rate itself stands in 24 bits.
const EXPLICIT_RATE: u32 = 15;

/// Audio object types (table 1.17).
const LC: u32 = 2;
const SBR: u32 = 5;
const PS: u32 = 29;

/// A decoder configuration: an AudioSpecificConfig and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioConfig {
    asc: Bytes,
    /// Hz of the core coder.
    sample_rate: u32,
    /// channelConfiguration (table 1.19) of the core coder, 1 to 7.
    channel_configuration: u8,
    /// Audio object type as players know it: 2 (LC), 5 (HE-AAC) or 29 (HE-AAC v2).
    object_type: u32,
}

impl AudioConfig {
    /// Takes an AudioSpecificConfig as it came: AAC-LC, HE-AAC v1 and v2 with 1024 samples per frame.
    pub fn from_asc(asc: Bytes) -> Result<Self, ConfigError> {
        let mut reader = BitReader::new(&asc);
        let mut object_type = read_object_type(&mut reader)?;
        let sample_rate = read_sample_rate(&mut reader)?;
        let channels = reader.bits(4)?;
        let mut core = object_type;
        if matches!(object_type, SBR | PS) {
            read_sample_rate(&mut reader)?;
            core = read_object_type(&mut reader)?;
        }
        if core != LC {
            return Err(ConfigError::ObjectType(core));
        }
        if !(1..=7).contains(&channels) {
            return Err(ConfigError::Channels(channels));
        }
        skip_ga_specific_config(&mut reader)?;
        if object_type == LC {
            object_type = read_extension(&mut reader).unwrap_or(LC);
        }
        Ok(Self { sample_rate, channel_configuration: channels as u8, object_type, asc })
    }

    /// AAC-LC of this rate in Hz with this many channels; `None` if AAC has no index for one of them.
    pub fn lc(sample_rate: u32, channels: u8) -> Option<Self> {
        let index = SAMPLE_RATES.iter().position(|&rate| rate == sample_rate)?;
        let channel_configuration = match channels {
            1..=6 => channels,
            8 => 7,
            _ => return None,
        };
        let mut writer = BitWriter::default();
        writer.bits(5, LC);
        writer.bits(4, index as u32);
        writer.bits(4, u32::from(channel_configuration));
        writer.bits(3, 0); // GASpecificConfig: 1024 samples, no core coder, no extension
        Some(Self { asc: writer.finish().into(), sample_rate, channel_configuration, object_type: LC })
    }

    /// The AudioSpecificConfig.
    pub fn asc(&self) -> &Bytes {
        &self.asc
    }

    /// Hz of the core coder, which a block has 1024 samples of; what HE-AAC plays at is twice that.
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// Channels that a player puts out.
    pub fn channels(&self) -> u8 {
        match self.channel_configuration {
            1 if self.object_type == PS => 2, // parametric stereo makes two of one
            7 => 8,
            channels => channels,
        }
    }

    /// The codec for playlists (RFC 6381), e.g. `mp4a.40.2`.
    pub fn codec_string(&self) -> String {
        format!("mp4a.40.{}", self.object_type)
    }

    /// One raw block of silence.
    pub fn silence(&self) -> Bytes {
        silence::raw_data_block(self.channel_configuration)
    }
}

/// `GetAudioObjectType()` (table 1.16)
fn read_object_type(reader: &mut BitReader<'_>) -> Result<u32, Malformed> {
    Ok(match reader.bits(5)? {
        31 => 32 + reader.bits(6)?,
        short => short,
    })
}

/// An index or an explicit rate, in Hz.
fn read_sample_rate(reader: &mut BitReader<'_>) -> Result<u32, ConfigError> {
    let index = reader.bits(4)?;
    let rate = if index == EXPLICIT_RATE {
        reader.bits(24)?
    } else {
        *SAMPLE_RATES.get(index as usize).ok_or(Malformed("a reserved AAC sample rate index"))?
    };
    if (7_350..=96_000).contains(&rate) { Ok(rate) } else { Err(ConfigError::SampleRate(rate)) }
}

/// `GASpecificConfig()` of AAC-LC (table 4.1); refuses frames of 960 samples.
fn skip_ga_specific_config(reader: &mut BitReader<'_>) -> Result<(), ConfigError> {
    if reader.flag()? {
        return Err(ConfigError::FrameLength);
    }
    if reader.flag()? {
        reader.skip(14)?; // coreCoderDelay
    }
    reader.flag()?; // extensionFlag
    Ok(())
}

/// The backward compatible signalling of HE-AAC behind an AAC-LC configuration (1.6.6): the object type it announces.
fn read_extension(reader: &mut BitReader<'_>) -> Option<u32> {
    const SBR_SYNC: u32 = 0x2B7;
    const PS_SYNC: u32 = 0x548;
    if reader.left() < 16 || reader.bits(11).ok()? != SBR_SYNC || read_object_type(reader).ok()? != SBR {
        return None;
    }
    if !reader.flag().ok()? {
        return None; // sbrPresentFlag = 0: said to be absent
    }
    read_sample_rate(reader).ok()?;
    let with_ps = reader.left() >= 12 && reader.bits(11).ok()? == PS_SYNC && reader.flag().ok()?;
    Some(if with_ps { PS } else { SBR })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(asc: &[u8], expected: Result<(u32, u8, &str), ConfigError>) {
        let got = AudioConfig::from_asc(Bytes::copy_from_slice(asc));
        let got = got.map(|config| (config.sample_rate(), config.channels(), config.codec_string()));
        assert_eq!(got, expected.map(|(rate, channels, codec)| (rate, channels, codec.to_owned())), "{asc:02x?}");
    }

    #[test]
    fn configurations_say_rate_channels_and_codec() {
        check(&[0x12, 0x10], Ok((44_100, 2, "mp4a.40.2")));
        check(&[0x11, 0x90], Ok((48_000, 2, "mp4a.40.2")));
        check(&[0x11, 0x88], Ok((48_000, 1, "mp4a.40.2")));
        check(&[0x11, 0xB0], Ok((48_000, 6, "mp4a.40.2")));
        check(&[0x11, 0xB8], Ok((48_000, 8, "mp4a.40.2")));
        // An explicit rate of 48000 in 24 bits.
        check(&[0x17, 0x80, 0x5D, 0xC0, 0x10], Ok((48_000, 2, "mp4a.40.2")));
    }

    #[test]
    fn he_aac_is_known_by_all_its_signals() {
        // Explicit and hierarchical: object type 5 or 29 first. The core runs at half the rate.
        check(&[0x2B, 0x11, 0x88, 0x00], Ok((24_000, 2, "mp4a.40.5")));
        check(&[0xEB, 0x09, 0x88, 0x00], Ok((24_000, 2, "mp4a.40.29")));
        // Backward compatible: AAC-LC with an extension behind it.
        check(&[0x13, 0x10, 0x56, 0xE5, 0x98], Ok((24_000, 2, "mp4a.40.5")));
        check(&[0x13, 0x08, 0x56, 0xE5, 0x9D, 0x48, 0x80], Ok((24_000, 2, "mp4a.40.29")));
        // The extension says that there is no SBR.
        check(&[0x11, 0x90, 0x56, 0xE5, 0x00], Ok((48_000, 2, "mp4a.40.2")));
    }

    #[test]
    fn other_audio_is_refused_in_words() {
        check(&[0x0A, 0x10], Err(ConfigError::ObjectType(1)));
        check(&[0xF9, 0x48, 0x40], Err(ConfigError::ObjectType(42)));
        check(&[0x12, 0x14], Err(ConfigError::FrameLength));
        check(&[0x12, 0x00], Err(ConfigError::Channels(0)));
        check(&[0x12, 0x40], Err(ConfigError::Channels(8)));
        check(&[0x17, 0x80, 0x00, 0x00, 0x90], Err(ConfigError::SampleRate(1)));
        check(&[0x16, 0x90], Err(Malformed("a reserved AAC sample rate index").into()));
        check(&[], Err(Malformed("a header ends early").into()));
        check(&[0x12], Err(Malformed("a header ends early").into()));
    }

    #[test]
    fn a_configuration_of_our_own_reads_back() {
        for channels in [1, 2, 3, 4, 5, 6, 8] {
            let config = AudioConfig::lc(48_000, channels).unwrap();
            assert_eq!(config.channels(), channels);
            assert_eq!(AudioConfig::from_asc(config.asc().clone()), Ok(config));
        }
        assert_eq!(AudioConfig::lc(48_000, 2).unwrap().asc()[..], [0x11, 0x90]);
        assert_eq!(AudioConfig::lc(48_000, 7), None);
        assert_eq!(AudioConfig::lc(48_000, 0), None);
        assert_eq!(AudioConfig::lc(47_999, 2), None);
    }

    proptest! {
        #[test]
        fn no_configuration_panics(asc: Vec<u8>) {
            if let Ok(config) = AudioConfig::from_asc(asc.into()) {
                prop_assert!(!config.silence().is_empty());
                prop_assert!((1..=8).contains(&config.channels()));
            }
        }
    }
}
