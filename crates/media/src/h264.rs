//! H.264 as encoders send it: the decoder configuration, and NAL units behind lengths or start codes.
//!
//! Reads parameter sets (`sps`) and NAL headers; knows nothing of slices, containers or time.

mod nal;
#[cfg(test)]
pub(crate) mod samples;
mod sps;

pub use crate::error::{ConfigError, Malformed};
pub use nal::{annexb_to_lengths, contains_idr, nal_units};

use bytes::{BufMut, Bytes, BytesMut};
use sps::Sps;

/// Widest and highest picture, in pixels: what level 6.2 can hold, rounded down.
pub const PICTURE_SIDE_MAX: u32 = 16_384;

/// A decoder configuration: an `AVCDecoderConfigurationRecord` (ISO/IEC 14496-15, 5.3.3.1) and what its first SPS says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoConfig {
    avcc: Bytes,
    nal_length_size: u8,
    sps: Sps,
}

impl VideoConfig {
    /// Takes a configuration record as it came. Errors on anything that is not 8 bit 4:2:0, and on a record without
    /// an SPS and a PPS.
    pub fn from_avcc(avcc: Bytes) -> Result<Self, ConfigError> {
        let record = Record::read(&avcc)?;
        Ok(Self { nal_length_size: record.nal_length_size, sps: Sps::parse(record.sps)?, avcc })
    }

    /// Builds a configuration record with 4-byte lengths from one SPS and one PPS, NAL headers included.
    pub fn from_parameter_sets(sps: &[u8], pps: &[u8]) -> Result<Self, ConfigError> {
        let parsed = Sps::parse(sps)?;
        nal::check_kind(pps, nal::PPS, Malformed("the PPS is no PPS"))?;
        let mut avcc = BytesMut::with_capacity(sps.len() + pps.len() + 15);
        avcc.put_u8(1);
        avcc.put_slice(&[parsed.profile, parsed.constraints, parsed.level]);
        avcc.put_u8(0b1111_1100 | 3);
        for (count, set) in [(0b1110_0000 | 1, sps), (1, pps)] {
            avcc.put_u8(count);
            avcc.put_u16(u16::try_from(set.len()).map_err(|_| Malformed("a parameter set of 64 KiB or more"))?);
            avcc.put_slice(set);
        }
        if sps::has_chroma_fields(parsed.profile) {
            // 4:2:0, 8 bit, 8 bit, no SPS extensions: nothing else gets this far.
            avcc.put_slice(&[0b1111_1100 | 1, 0b1111_1000, 0b1111_1000, 0]);
        }
        Ok(Self { avcc: avcc.freeze(), nal_length_size: 4, sps: parsed })
    }

    /// The configuration record.
    pub fn avcc(&self) -> &Bytes {
        &self.avcc
    }

    /// Bytes of the length before each NAL unit: 1, 2 or 4.
    pub fn nal_length_size(&self) -> u8 {
        self.nal_length_size
    }

    /// Pixels across, after cropping.
    pub fn width(&self) -> u32 {
        self.sps.width
    }

    /// Pixels down, after cropping.
    pub fn height(&self) -> u32 {
        self.sps.height
    }

    /// Pictures per second as a reduced fraction, if the SPS states timing (E.2.1: a picture takes two ticks).
    pub fn frame_rate(&self) -> Option<(u32, u32)> {
        self.sps.frame_rate
    }

    /// The codec for playlists (RFC 6381), e.g. `avc1.640028`.
    pub fn codec_string(&self) -> String {
        format!("avc1.{:02x}{:02x}{:02x}", self.sps.profile, self.sps.constraints, self.sps.level)
    }
}

/// The parts of a configuration record that matter here.
struct Record<'a> {
    nal_length_size: u8,
    sps: &'a [u8],
}

impl<'a> Record<'a> {
    fn read(data: &'a [u8]) -> Result<Self, Malformed> {
        let short = Malformed("an avcC ends early");
        let (&[version, _, _, _, lengths, sps_count], rest) = data.split_first_chunk().ok_or(short)?;
        if version != 1 {
            return Err(Malformed("an avcC of a version other than 1"));
        }
        let nal_length_size = match lengths & 3 {
            0 => 1,
            1 => 2,
            3 => 4,
            _ => return Err(Malformed("an avcC with NAL lengths of 3 bytes")),
        };
        let (sps, rest) = parameter_sets(rest, sps_count & 0x1F)?;
        let (&pps_count, rest) = rest.split_first().ok_or(short)?;
        let (pps, _) = parameter_sets(rest, pps_count)?;
        let sps = sps.ok_or(Malformed("an avcC without SPS"))?;
        let pps = pps.ok_or(Malformed("an avcC without PPS"))?;
        nal::check_kind(pps, nal::PPS, Malformed("an avcC whose PPS is no PPS"))?;
        Ok(Self { nal_length_size, sps })
    }
}

/// Walks `count` parameter sets: the first one, and what follows the last.
fn parameter_sets(mut data: &[u8], count: u8) -> Result<(Option<&[u8]>, &[u8]), Malformed> {
    let mut first = None;
    for _ in 0..count {
        let (&length, rest) = data.split_first_chunk().ok_or(Malformed("an avcC ends early"))?;
        let length = usize::from(u16::from_be_bytes(length));
        let (set, rest) = rest.split_at_checked(length).ok_or(Malformed("an avcC ends early"))?;
        first.get_or_insert(set);
        data = rest;
    }
    Ok((first, data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn real_parameter_sets_become_configurations_that_read_back() {
        for stream in [samples::HIGH_1080P30, samples::HIGH_4K30, samples::BASELINE_360P25, samples::MAIN_720P60] {
            let (sps, pps) = samples::parameter_sets(stream);
            let built = VideoConfig::from_parameter_sets(&sps, &pps).unwrap();
            assert_eq!(built.nal_length_size(), 4);
            assert_eq!(VideoConfig::from_avcc(built.avcc().clone()), Ok(built));
        }
    }

    #[test]
    fn high_profiles_carry_their_sample_format_behind_the_parameter_sets() {
        let tail = |stream| samples::config(stream).avcc().iter().rev().take(4).rev().copied().collect::<Vec<_>>();
        assert_eq!(tail(samples::HIGH_1080P30), [0xFD, 0xF8, 0xF8, 0]);
        assert_eq!(tail(samples::BASELINE_360P25), [0xCB, 0x83, 0xCB, 0x20], "the PPS is last");
    }

    #[test]
    fn lengths_of_1_2_and_4_bytes_are_taken() {
        for (low_bits, expected) in [(0, Some(1)), (1, Some(2)), (2, None), (3, Some(4))] {
            let mut avcc = samples::avcc(samples::HIGH_1080P30).to_vec();
            avcc[4] = 0xFC | low_bits;
            let size = VideoConfig::from_avcc(avcc.into()).ok().map(|config| config.nal_length_size());
            assert_eq!(size, expected);
        }
    }

    #[test]
    fn records_that_break_off_or_lack_a_set_are_refused() {
        let whole = samples::avcc(samples::BASELINE_360P25);
        for length in 0..whole.len() {
            assert!(VideoConfig::from_avcc(whole.slice(..length)).is_err(), "{length} bytes");
        }
        for (at, byte, why) in [(0, 0, "version"), (5, 0xE0, "no SPS"), (8, 0x68, "a PPS as SPS")] {
            let mut avcc = whole.to_vec();
            avcc[at] = byte;
            assert!(VideoConfig::from_avcc(avcc.into()).is_err(), "{why}");
        }
        let (sps, pps) = samples::parameter_sets(samples::BASELINE_360P25);
        assert!(VideoConfig::from_parameter_sets(&sps, &sps).is_err());
        assert!(VideoConfig::from_parameter_sets(&pps, &pps).is_err());
        assert!(VideoConfig::from_parameter_sets(&[], &pps).is_err());
    }

    proptest! {
        #[test]
        fn no_record_panics(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = VideoConfig::from_avcc(data.into());
        }

        #[test]
        fn no_parameter_set_panics(sps in proptest::collection::vec(any::<u8>(), 0..100), pps: Vec<u8>) {
            let sps = [&[0x67, 100, 0, 40], &sps[..]].concat();
            let _ = VideoConfig::from_parameter_sets(&sps, &pps);
        }
    }
}
