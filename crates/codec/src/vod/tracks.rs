//! What a stream is, in our words.
//!
//! Reads what libav found out and what containers say of the sphere. Knows no packets but whether an H.264 one holds an IDR.
#![allow(unsafe_code)]

use super::context::Context;
use super::sound::playable;
use super::{AudioTrack, VideoTrack};
use crate::Error;
use bytes::Bytes;
use ffmpeg_next::ffi;
use media::aac::AudioConfig;
use media::h264::VideoConfig;
use media::projection::{Layout, Projection, Stereo};
use std::marker::PhantomData;

/// Sides of a picture that are taken.
const SIDES: std::ops::RangeInclusive<i32> = 2..=8192;

/// `nal_unit_type` of a slice of an IDR picture (H.264 table 7-1).
const NAL_IDR: u8 = 5;

/// What a stream may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Medium {
    Video,
    Audio,
}

/// A stream of an open context.
pub(super) struct Stream<'a>(*const ffi::AVStream, *mut ffi::AVFormatContext, PhantomData<&'a Context>);

impl<'a> Stream<'a> {
    /// SAFETY: `raw` must be a stream of `context`.
    pub(super) unsafe fn new(context: &'a Context, raw: *const ffi::AVStream) -> Self {
        Self(raw, context.as_ptr().cast_mut(), PhantomData)
    }

    fn raw(&self) -> &ffi::AVStream {
        // SAFETY: it lives as long as the context, which is borrowed.
        unsafe { &*self.0 }
    }

    /// What it holds.
    pub(super) fn parameters(&self) -> &ffi::AVCodecParameters {
        // SAFETY: as above; every stream has them.
        unsafe { &*self.raw().codecpar }
    }

    /// Whether it is of this medium, and no cover picture.
    pub(super) fn is(&self, medium: Medium) -> bool {
        let wanted = match medium {
            Medium::Video => ffi::AVMediaType::AVMEDIA_TYPE_VIDEO,
            Medium::Audio => ffi::AVMediaType::AVMEDIA_TYPE_AUDIO,
        };
        self.parameters().codec_type == wanted && self.raw().disposition & ffi::AV_DISPOSITION_ATTACHED_PIC == 0
    }

    /// Whether the container says that it is the one to play.
    pub(super) fn is_default(&self) -> bool {
        self.raw().disposition & ffi::AV_DISPOSITION_DEFAULT != 0
    }

    /// The unit of its times.
    pub(super) fn time_base(&self) -> ffi::AVRational {
        self.raw().time_base
    }

    /// The decoder configuration; empty if there is none.
    pub(super) fn extradata(&self) -> &[u8] {
        let parameters = self.parameters();
        match (parameters.extradata.is_null(), usize::try_from(parameters.extradata_size)) {
            // SAFETY: libav keeps that many bytes there for as long as the stream lives.
            (false, Ok(size)) => unsafe { std::slice::from_raw_parts(parameters.extradata, size) },
            _ => &[],
        }
    }

    /// For H.264: bytes of its NAL lengths, 0 for start codes.
    pub(super) fn nal_length(&self) -> Option<u8> {
        (self.parameters().codec_id == ffi::AVCodecID::AV_CODEC_ID_H264).then(|| nal_length(self.extradata()))
    }

    /// As pictures. `None` if nothing tells their size, as in a piece that has none.
    pub(super) fn video(&self) -> Result<Option<VideoTrack>, Error> {
        let Some((width, height)) = self.size() else { return Ok(None) };
        if !SIDES.contains(&width) || !SIDES.contains(&height) {
            let words = format!("a picture of {width}x{height} is not supported: use 2x2 to 8192x8192");
            return Err(Error::source(words));
        }
        if let Some(degrees) = self.side_data::<[i32; 9]>(DISPLAY_MATRIX).and_then(turned) {
            let words =
                format!("the file says that its pictures are to be turned by {degrees}°: turn them before the upload");
            return Err(Error::source(words));
        }
        // SAFETY: an open context and a stream of it; null for "no frame". The call reads.
        let rate = unsafe { ffi::av_guess_frame_rate(self.1, self.0.cast_mut(), std::ptr::null_mut()) };
        let positive = |value: i32| u32::try_from(value).ok().filter(|&value| value > 0);
        Ok(Some(VideoTrack {
            codec: self.codec_name(),
            width: width.unsigned_abs(),
            height: height.unsigned_abs(),
            frame_rate: positive(rate.num).zip(positive(rate.den)),
            layout: self.layout(),
            config: self.fingerprint((width, height)),
        }))
    }

    /// Of the pictures: as libav has seen them, or as H.264's configuration says.
    fn size(&self) -> Option<(i32, i32)> {
        let parameters = self.parameters();
        if parameters.width > 0 && parameters.height > 0 {
            return Some((parameters.width, parameters.height));
        }
        self.nal_length()?;
        let config = VideoConfig::from_avcc(Bytes::copy_from_slice(self.extradata())).ok()?;
        Some((i32::try_from(config.width()).ok()?, i32::try_from(config.height()).ok()?))
    }

    /// As sound. An error in words if it is of no use, which is no reason to refuse the pictures.
    pub(super) fn audio(&self) -> Result<AudioTrack, String> {
        let parameters = self.parameters();
        let aac = parameters.codec_id == ffi::AVCodecID::AV_CODEC_ID_AAC;
        let config = aac.then(|| AudioConfig::from_asc(Bytes::copy_from_slice(self.extradata())).ok()).flatten();
        // Of HE-AAC libav tells what is played; blocks are counted by the core's rate.
        let sample_rate = config.as_ref().map_or(parameters.sample_rate, |config| config.sample_rate().cast_signed());
        let channels = config.as_ref().map_or(parameters.channels, |config| config.channels().into());
        // SAFETY: the stream's own parameters, which live as long as it does.
        unsafe { playable(self.parameters()) }?;
        let channels = u8::try_from(channels).ok().filter(|&channels| channels > 0);
        let sample_rate = u32::try_from(sample_rate).ok().filter(|&rate| rate > 0);
        let (sample_rate, channels) = sample_rate.zip(channels).ok_or("its configuration is broken")?;
        let asc = aac.then(|| hex(self.extradata()));
        Ok(AudioTrack { codec: self.codec_name(), sample_rate, channels, asc })
    }

    fn codec_name(&self) -> String {
        // SAFETY: libav returns a static string for every value.
        let name = unsafe { std::ffi::CStr::from_ptr(ffi::avcodec_get_name(self.parameters().codec_id)) };
        name.to_string_lossy().into_owned()
    }

    /// Changes with everything a decoder is told beforehand: FNV-1a, 64 bit. No secret depends on it.
    fn fingerprint(&self, (width, height): (i32, i32)) -> String {
        let numbers = [self.parameters().codec_id as i32, width, height];
        let bytes = numbers.into_iter().flat_map(i32::to_be_bytes).chain(self.extradata().iter().copied());
        let hash = bytes
            .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3));
        format!("{hash:016x}")
    }

    fn layout(&self) -> Option<Layout> {
        let sphere = self.side_data::<ffi::AVSphericalMapping>(ffi::AVPacketSideDataType::AV_PKT_DATA_SPHERICAL);
        let eyes = self.side_data::<ffi::AVStereo3D>(ffi::AVPacketSideDataType::AV_PKT_DATA_STEREO3D);
        let stereo = match eyes.map(|eyes| eyes.type_) {
            Some(ffi::AVStereo3DType::AV_STEREO3D_TOPBOTTOM) => Stereo::Tb,
            Some(ffi::AVStereo3DType::AV_STEREO3D_SIDEBYSIDE) => Stereo::Lr,
            _ => Stereo::Mono,
        };
        let projection = match sphere {
            Some(sphere) => projection(sphere)?,
            None if stereo == Stereo::Mono => return None,
            None => Projection::default(),
        };
        Some(Layout { projection, stereo })
    }

    /// `T` must be what libav keeps under `kind`.
    fn side_data<T>(&self, kind: ffi::AVPacketSideDataType) -> Option<&'a T> {
        let mut size = 0;
        // SAFETY: libav gives a pointer to an aligned struct that lives as long as the stream, or null; the size is checked.
        unsafe {
            let data = ffi::av_stream_get_side_data(self.0, kind, &mut size);
            (!data.is_null() && size >= size_of::<T>()).then(|| &*data.cast::<T>())
        }
    }
}

const DISPLAY_MATRIX: ffi::AVPacketSideDataType = ffi::AVPacketSideDataType::AV_PKT_DATA_DISPLAYMATRIX;

/// By how many degrees clockwise a matrix (ISO/IEC 14496-12, 6.2.2) turns pictures, to the nearest quarter; `None`: not at all.
fn turned(matrix: &[i32; 9]) -> Option<u16> {
    let &[a, b, _, c, d, ..] = matrix;
    let (along, across) = (i64::from(a) + i64::from(d), i64::from(b) - i64::from(c));
    match (along.abs() >= across.abs(), along, across) {
        (true, 0.., _) => None,
        (true, ..) => Some(180),
        (false, _, 0..) => Some(90),
        (false, ..) => Some(270),
    }
}

/// What is left of the sphere at each side, in 1/2³² of it, that makes it half a sphere: a quarter, give or take.
const QUARTER: std::ops::RangeInclusive<u32> = 0x3000_0000..=0x5000_0000;

fn projection(sphere: &ffi::AVSphericalMapping) -> Option<Projection> {
    match sphere.projection {
        ffi::AVSphericalProjection::AV_SPHERICAL_EQUIRECTANGULAR => Some(Projection::Equirect),
        ffi::AVSphericalProjection::AV_SPHERICAL_EQUIRECTANGULAR_TILE => {
            let half = QUARTER.contains(&sphere.bound_left) && QUARTER.contains(&sphere.bound_right);
            Some(if half { Projection::Hequ } else { Projection::Equirect })
        }
        ffi::AVSphericalProjection::AV_SPHERICAL_CUBEMAP => Some(Projection::Cubemap),
        #[allow(unreachable_patterns)]
        _ => None,
    }
}

/// From an avcC (ISO/IEC 14496-15, 5.3.3.1); 0 where the configuration is something else.
fn nal_length(extradata: &[u8]) -> u8 {
    match extradata {
        [1, _, _, _, byte, ..] => (byte & 3) + 1,
        _ => 0,
    }
}

/// Whether a packet has a slice of an IDR picture. `nal_length`: bytes of NAL lengths, 0 for start codes.
pub(super) fn holds_idr(data: &[u8], nal_length: u8) -> bool {
    let is_idr = |header: Option<&u8>| header.is_some_and(|header| header & 0x1F == NAL_IDR);
    let size = usize::from(nal_length);
    if size == 0 {
        return data.windows(4).any(|window| window.starts_with(&[0, 0, 1]) && is_idr(window.get(3)));
    }
    let mut rest = data;
    while let Some((prefix, after)) = rest.split_at_checked(size) {
        if is_idr(after.first()) {
            return true;
        }
        let length = prefix.iter().fold(0_usize, |value, &byte| value << 8 | usize::from(byte));
        rest = after.get(length..).unwrap_or_default();
    }
    false
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idr_is_found_behind_lengths_and_start_codes_and_nothing_else_is_taken_for_one() {
        let check = |data: &[u8], size, expected| assert_eq!(holds_idr(data, size), expected, "{data:?}");
        check(&[0, 0, 0, 2, 0x09, 0xF0, 0, 0, 0, 2, 0x65, 0x88], 4, true);
        check(&[0, 0, 0, 2, 0x09, 0xF0, 0, 0, 0, 2, 0x41, 0x65], 4, false);
        check(&[0, 2, 0x06, 0x65, 0, 1, 0x25], 2, true);
        check(&[0xFF, 0xFF, 0xFF, 0xFF, 0x41], 4, false);
        check(&[0, 0], 4, false);
        check(&[], 4, false);
        check(&[0, 0, 0, 1, 0x67, 0, 0, 1, 0x65], 0, true);
        check(&[0, 0, 1, 0x41, 0x65], 0, false);
    }

    #[test]
    fn a_matrix_that_turns_pictures_is_told_by_its_quarter() {
        const ONE: i32 = 1 << 16;
        let check = |a, b, c, d, expected| assert_eq!(turned(&[a, b, 0, c, d, 0, 0, 0, 1 << 30]), expected);
        check(ONE, 0, 0, ONE, None);
        check(ONE / 2, 0, 0, ONE, None);
        check(0, ONE, -ONE, 0, Some(90));
        check(-ONE, 0, 0, -ONE, Some(180));
        check(0, -ONE, ONE, 0, Some(270));
        check(0, 0, 0, 0, None);
        check(i32::MIN, 0, 0, i32::MIN, Some(180));
    }

    #[test]
    fn nal_lengths_are_told_by_the_avcc() {
        assert_eq!(nal_length(&[1, 100, 0, 31, 0xFF, 0xE1]), 4);
        assert_eq!(nal_length(&[1, 100, 0, 31, 0xFD]), 2);
        assert_eq!(nal_length(&[0, 0, 0, 1, 0x67]), 0);
        assert_eq!(nal_length(&[]), 0);
    }
}
