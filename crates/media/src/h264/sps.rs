//! The sequence parameter set (H.264 7.3.2.1.1 and E.1.1): picture size, sample format and timing.

use super::PICTURE_SIDE_MAX;
use super::nal;
use crate::bits::BitReader;
use crate::error::{ConfigError, Malformed};

/// Shortest side of a picture, in pixels: one macroblock.
const PICTURE_SIDE_MIN: u64 = 16;

/// `aspect_ratio_idc` that is followed by the ratio itself (table E-1).
const EXTENDED_SAR: u32 = 255;

/// What an SPS says, as far as the project asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sps {
    /// `profile_idc`
    pub(super) profile: u8,
    /// The byte of constraint flags.
    pub(super) constraints: u8,
    /// `level_idc`
    pub(super) level: u8,
    /// Pixels, after cropping.
    pub(super) width: u32,
    /// Pixels, after cropping.
    pub(super) height: u32,
    /// Pictures per second, reduced.
    pub(super) frame_rate: Option<(u32, u32)>,
}

impl Sps {
    /// Reads an SPS, NAL header included.
    pub(super) fn parse(unit: &[u8]) -> Result<Self, ConfigError> {
        nal::check_kind(unit, nal::SPS, Malformed("the SPS is no SPS"))?;
        let payload = unescape(unit.get(1..).unwrap_or_default());
        let [profile, constraints, level] = *payload.first_chunk().ok_or(Malformed("an SPS ends early"))?;
        let mut reader = BitReader::new(payload.get(3..).unwrap_or_default());
        reader.ue()?; // seq_parameter_set_id
        if has_chroma_fields(profile) {
            check_format(&mut reader)?;
        }
        skip_picture_order(&mut reader)?;
        let (width, height) = picture_size(&mut reader)?;
        // Timing is a hint: an encoder whose VUI breaks off is still decodable.
        let frame_rate = frame_rate(&mut reader).unwrap_or(None);
        Ok(Self { profile, constraints, level, width, height, frame_rate })
    }
}

/// Whether SPS (7.3.2.1.1) and avcC of this profile carry chroma format and bit depths.
pub(super) fn has_chroma_fields(profile: u8) -> bool {
    matches!(profile, 44 | 83 | 86 | 100 | 110 | 118 | 122 | 128 | 134 | 135 | 138 | 139 | 244)
}

/// Drops emulation prevention bytes (7.4.1): 00 00 03 stands for 00 00.
fn unescape(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut zeros = 0;
    for &byte in data {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    out
}

/// Chroma format, bit depths and scaling lists of the high profiles; refuses all but 8 bit 4:2:0.
fn check_format(reader: &mut BitReader<'_>) -> Result<(), ConfigError> {
    match reader.ue()? {
        0 => return Err(ConfigError::Chroma("Monochrome")),
        1 => {}
        2 => return Err(ConfigError::Chroma("4:2:2")),
        3 => return Err(ConfigError::Chroma("4:4:4")),
        _ => return Err(Malformed("a chroma format above 3").into()),
    }
    let depth = reader.ue()?.max(reader.ue()?).saturating_add(8);
    if depth > 8 {
        return Err(ConfigError::BitDepth(depth));
    }
    reader.flag()?; // qpprime_y_zero_transform_bypass_flag
    if reader.flag()? {
        for list in 0..8 {
            if reader.flag()? {
                skip_scaling_list(reader, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Ok(())
}

/// `scaling_list()` (7.3.2.1.1.1)
fn skip_scaling_list(reader: &mut BitReader<'_>, size: u32) -> Result<(), Malformed> {
    let mut last: i64 = 8;
    for _ in 0..size {
        last = (last + reader.se()?).rem_euclid(256);
        if last == 0 {
            break; // the rest repeats
        }
    }
    Ok(())
}

/// From `log2_max_frame_num_minus4` to `gaps_in_frame_num_value_allowed_flag`.
fn skip_picture_order(reader: &mut BitReader<'_>) -> Result<(), Malformed> {
    reader.ue()?; // log2_max_frame_num_minus4
    match reader.ue()? {
        0 => {
            reader.ue()?; // log2_max_pic_order_cnt_lsb_minus4
        }
        1 => {
            reader.flag()?; // delta_pic_order_always_zero_flag
            reader.se()?; // offset_for_non_ref_pic
            reader.se()?; // offset_for_top_to_bottom_field
            let cycle = reader.ue()?;
            if cycle > 255 {
                return Err(Malformed("an SPS with more than 255 reference frames in a cycle"));
            }
            for _ in 0..cycle {
                reader.se()?;
            }
        }
        2 => {}
        _ => return Err(Malformed("a picture order type above 2")),
    }
    reader.ue()?; // max_num_ref_frames
    reader.flag()?; // gaps_in_frame_num_value_allowed_flag
    Ok(())
}

/// From `pic_width_in_mbs_minus1` to the cropping: the size to show. 4:2:0 crops in units of two pixels (6.2).
fn picture_size(reader: &mut BitReader<'_>) -> Result<(u32, u32), ConfigError> {
    let width_mbs = u64::from(reader.ue()?) + 1;
    let map_units = u64::from(reader.ue()?) + 1;
    let frames_only = reader.flag()?;
    if !frames_only {
        reader.flag()?; // mb_adaptive_frame_field_flag
    }
    reader.flag()?; // direct_8x8_inference_flag
    let mut crop = [0u64; 4];
    if reader.flag()? {
        for side in &mut crop {
            *side = u64::from(reader.ue()?);
        }
    }
    let [left, right, top, bottom] = crop;
    let fields = if frames_only { 1 } else { 2 };
    let width = (width_mbs * 16).saturating_sub(2 * (left + right));
    let height = (map_units * 16 * fields).saturating_sub(2 * fields * (top + bottom));
    match (side(width), side(height)) {
        (Some(w), Some(h)) => Ok((w, h)),
        _ => Err(ConfigError::PictureSize { width, height }),
    }
}

/// A side that is neither too short nor too long.
fn side(pixels: u64) -> Option<u32> {
    let pixels = u32::try_from(pixels).ok()?;
    (u64::from(pixels) >= PICTURE_SIDE_MIN && pixels <= PICTURE_SIDE_MAX).then_some(pixels)
}

/// VUI up to its timing: pictures per second.
fn frame_rate(reader: &mut BitReader<'_>) -> Result<Option<(u32, u32)>, Malformed> {
    if !reader.flag()? {
        return Ok(None); // no VUI
    }
    if reader.flag()? && reader.bits(8)? == EXTENDED_SAR {
        reader.skip(32)?; // sar_width, sar_height
    }
    if reader.flag()? {
        reader.flag()?; // overscan_appropriate_flag
    }
    if reader.flag()? {
        reader.skip(4)?; // video_format, video_full_range_flag
        if reader.flag()? {
            reader.skip(24)?; // colour primaries, transfer, matrix
        }
    }
    if reader.flag()? {
        reader.ue()?; // chroma_sample_loc_type_top_field
        reader.ue()?; // chroma_sample_loc_type_bottom_field
    }
    if !reader.flag()? {
        return Ok(None); // no timing
    }
    let ticks = u64::from(reader.bits(32)?) * 2;
    let scale = u64::from(reader.bits(32)?);
    Ok(reduced(scale, ticks))
}

/// `num / den` in lowest terms; `None` if either is zero.
fn reduced(num: u64, den: u64) -> Option<(u32, u32)> {
    let (mut a, mut b) = (num, den);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    if num == 0 || den == 0 {
        return None;
    }
    Some((u32::try_from(num / a).ok()?, u32::try_from(den / a).ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use crate::bits::BitWriter;

    fn parse(hex: &str) -> Result<Sps, ConfigError> {
        Sps::parse(&samples::parameter_sets(hex).0)
    }

    #[test]
    fn sizes_rates_and_codecs_are_those_the_encoder_was_set_to() {
        let cases = [
            (samples::HIGH_1080P30, (1920, 1080), (30, 1), (0x64, 0x00, 0x28)),
            (samples::HIGH_4K30, (3840, 1920), (30_000, 1001), (0x64, 0x00, 0x33)),
            (samples::BASELINE_360P25, (640, 360), (25, 1), (0x42, 0xC0, 0x1E)),
            (samples::MAIN_720P60, (1280, 720), (60, 1), (0x4D, 0x40, 0x20)),
            (samples::MAIN_426, (426, 240), (15, 1), (0x4D, 0x40, 0x15)),
            (samples::INTERLACED_1080, (1920, 1080), (25, 1), (0x64, 0x00, 0x28)),
        ];
        for (stream, (width, height), rate, (profile, constraints, level)) in cases {
            let expected = Sps { profile, constraints, level, width, height, frame_rate: Some(rate) };
            assert_eq!(parse(stream), Ok(expected), "{width}x{height}");
        }
    }

    #[test]
    fn all_but_8_bit_420_is_refused_in_words() {
        assert_eq!(parse(samples::HIGH_10), Err(ConfigError::BitDepth(10)));
        assert_eq!(parse(samples::HIGH_422), Err(ConfigError::Chroma("4:2:2")));
        assert_eq!(parse(samples::HIGH_444), Err(ConfigError::Chroma("4:4:4")));
        assert_eq!(parse(samples::GRAY), Err(ConfigError::Chroma("Monochrome")));
        let words = ConfigError::BitDepth(10).to_string();
        assert!(words.starts_with("10-bit H.264 is not supported: set the encoder to 8 bit 4:2:0"), "{words}");
    }

    /// An SPS written field by field, for what x264 never writes.
    struct Script(BitWriter);

    impl Script {
        fn ue(mut self, values: &[u32]) -> Self {
            for value in values {
                let length = (value + 1).ilog2();
                self.0.bits(length, 0);
                self.0.bits(length + 1, value + 1);
            }
            self
        }

        fn bits(mut self, count: u32, value: u32) -> Self {
            self.0.bits(count, value);
            self
        }

        fn unit(self, profile: u8) -> Vec<u8> {
            let mut out = vec![0x67];
            let payload = [&[profile, 0, 40], &self.0.finish()[..]].concat();
            for byte in payload {
                if out.ends_with(&[0, 0]) && byte <= 3 {
                    out.push(3);
                }
                out.push(byte);
            }
            out
        }
    }

    fn script() -> Script {
        Script(BitWriter::default())
    }

    #[test]
    fn scaling_lists_are_skipped() {
        // 4:2:0, 8 bit, lossless flag off, matrix: list 0 with 16 steps of 0, list 7 ending at once (8 - 8), no others.
        let lists = script().ue(&[0, 1, 0, 0]).bits(2, 0b01).bits(1, 1).ue(&[0; 16]).bits(6, 0).bits(1, 1).ue(&[16]);
        let unit = lists.ue(&[0, 2, 1]).bits(1, 0).ue(&[39, 29]).bits(4, 0b1100).bits(1, 1).unit(100);
        let sps = Sps::parse(&unit).unwrap();
        assert_eq!((sps.width, sps.height, sps.frame_rate), (640, 480, None));
    }

    #[test]
    fn picture_order_type_1_is_skipped() {
        let order = script().ue(&[0, 0, 1]).bits(1, 0).ue(&[3, 4, 2, 1, 2]);
        let unit = order.ue(&[1]).bits(1, 0).ue(&[19, 14]).bits(4, 0b1100).bits(1, 1).unit(66);
        let sps = Sps::parse(&unit).unwrap();
        assert_eq!((sps.width, sps.height), (320, 240));
    }

    fn sized(width_mbs: u32, height_mbs: u32, crop: [u32; 4]) -> Result<(u32, u32), ConfigError> {
        let start = script().ue(&[0, 0, 2, 1]).bits(1, 0).ue(&[width_mbs - 1, height_mbs - 1]);
        let unit = start.bits(3, 0b111).ue(&crop).bits(2, 0b01).unit(66);
        Sps::parse(&unit).map(|sps| (sps.width, sps.height))
    }

    #[test]
    fn pictures_have_a_size_that_a_level_can_hold() {
        let refused = |width, height| Err(ConfigError::PictureSize { width, height });
        assert_eq!(sized(2, 2, [1, 2, 3, 4]), Ok((26, 18)));
        assert_eq!(sized(1024, 512, [0; 4]), Ok((16_384, 8_192)));
        assert_eq!(sized(1025, 512, [0; 4]), refused(16_400, 8_192));
        assert_eq!(sized(2, 2, [8, 8, 0, 0]), refused(0, 32));
        assert_eq!(sized(2, 2, [u32::MAX - 1, u32::MAX - 1, 0, 0]), refused(0, 32));
        assert_eq!(sized(u32::MAX, 1, [0; 4]), refused(u64::from(u32::MAX) * 16, 16));
    }

    #[test]
    fn a_vui_that_breaks_off_costs_the_rate_only() {
        let (sps, _) = samples::parameter_sets(samples::HIGH_1080P30);
        let whole = Sps::parse(&sps).unwrap();
        let cut = Sps::parse(&sps[..sps.len() - 5]).unwrap();
        assert_eq!(cut, Sps { frame_rate: None, ..whole });
        assert!(Sps::parse(&sps[..10]).is_err());
    }

    #[test]
    fn rates_of_nothing_are_none() {
        for (num, den) in [(0, 1), (1, 0), (0, 0)] {
            assert_eq!(reduced(num, den), None);
        }
        assert_eq!(reduced(120_000, 4004), Some((30_000, 1001)));
        assert_eq!(reduced(u32::MAX.into(), 2 * u64::from(u32::MAX)), Some((1, 2)));
    }
}
