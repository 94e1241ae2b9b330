//! Parameter sets of a real encoder, for tests.
//!
//! Made with FFmpeg 5.1 and libx264, size, rate and options as named:
//! `ffmpeg -f lavfi -i testsrc2=s=SIZE:r=RATE -frames:v 3 -c:v libx264 -pix_fmt … -profile:v …
//! -bsf:v extract_extradata,filter_units=pass_types=7-8 -f h264 - | xxd -p`

use super::{VideoConfig, annexb_to_lengths};
use bytes::{BufMut, Bytes};

/// 1920x1080, 30/s, High; cropped from 1088 lines.
pub(crate) const HIGH_1080P30: &str =
    "0000000167640028acd940780227e5c044000003000400000300f03c60c6580000000168ebe3cb22c0";
/// 3840x1920, 30000/1001/s, High.
pub(crate) const HIGH_4K30: &str = "0000000167640033acd9403c00f1b01100000303e90000ea600f1831960000000168ebe3cb22c0";
/// 640x360, 25/s, Baseline.
pub(crate) const BASELINE_360P25: &str = "000000016742c01ed900a02ff97011000003000100000300320f162e480000000168cb83cb20";
/// 1280x720, 60/s, Main; VUI with sar=40/33, BT.709 and chroma location.
pub(crate) const MAIN_720P60: &str =
    "00000001674d4020eca02802dd80b501010140000003004000001e03c60c65800000000168ebe3cb20";
/// 426x240, 15/s, Main; cropped from 432 columns.
pub(crate) const MAIN_426: &str = "00000001674d4015eca0d8ff278088000003000800000300f078b16cb00000000168ebe3cb20";
/// 1920x1080, 25/s, High, interlaced (interlaced=1:cqm=jvt); fields cropped from 1088 lines.
pub(crate) const INTERLACED_1080: &str =
    "0000000167640028acd94078044fde0220000003002000000643e2c5b2c00000000168fba3cb3002c0";
/// 320x240, yuv420p10le.
pub(crate) const HIGH_10: &str = "00000001676e000da6cd94141fb0110000030001000003003c0f1429960000000168ebe3cb22c0";
/// 320x240, yuv422p.
pub(crate) const HIGH_422: &str = "00000001677a000dbcd94141fb0110000003001000000303c0f14299600000000168ebe3cb22c0";
/// 320x240, yuv444p.
pub(crate) const HIGH_444: &str = "0000000167f4000d919b28283f6022000003000200000300781e28532c0000000168ebe3c44844";
/// 320x240, gray.
pub(crate) const GRAY: &str = "000000016764000df3650507ec05b2000003000200000300781e28532c0000000168ebe3cb22c0";

/// SPS and PPS of one of the constants.
pub(crate) fn parameter_sets(hex: &str) -> (Bytes, Bytes) {
    let (sps, pps, rest) = annexb_to_lengths(&bytes_of(hex));
    assert!(rest.is_empty());
    match (&sps[..], &pps[..]) {
        ([sps], [pps]) => (sps.clone(), pps.clone()),
        _ => panic!("one SPS and one PPS"),
    }
}

/// The configuration that one of the constants stands for.
pub(crate) fn config(hex: &str) -> VideoConfig {
    let (sps, pps) = parameter_sets(hex);
    VideoConfig::from_parameter_sets(&sps, &pps).unwrap()
}

/// A configuration record around one of the constants, also one that the project refuses.
pub(crate) fn avcc(hex: &str) -> Bytes {
    let (sps, pps) = parameter_sets(hex);
    let mut out = vec![1, sps[1], sps[2], sps[3], 0xFF];
    for (count, set) in [(0xE1, sps), (1, pps)] {
        out.put_u8(count);
        out.put_u16(set.len().try_into().unwrap());
        out.put_slice(&set);
    }
    out.into()
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
