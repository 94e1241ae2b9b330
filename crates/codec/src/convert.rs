//! Whatever a decoder gives, as 8-bit 4:2:0 of even size.
//!
//! Depth and chroma are changed, the meaning of the numbers is not: matrix, primaries, transfer and range stay as tagged. An odd
//! last column or line is cut off. The same bytes on every processor. Knows nothing of rungs.
#![allow(unsafe_code)]

use crate::Error;
use crate::picture::Picture;
use crate::scale::{Filter, Sws};
use ffmpeg_next::ffi::{self, AVPixelFormat as Format};
use ffmpeg_next::{color, frame};
use std::ffi::CStr;

/// Where chroma is put (see [`crate::scale`]); sources with more chroma have theirs where swscale takes it to be.
const CHROMA_SITE: [(&CStr, i64); 2] = [(c"dst_h_chr_pos", 0), (c"dst_v_chr_pos", 128)];

/// 4:2:0 sources have theirs there, too.
const CHROMA_420: [(&CStr, i64); 4] =
    [(c"src_h_chr_pos", 0), (c"src_v_chr_pos", 128), (c"dst_h_chr_pos", 0), (c"dst_v_chr_pos", 128)];

/// swscale's unit for contrast and saturation: as they are.
const UNCHANGED: i32 = 1 << 16;

/// What the converter in hand is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    format: Format,
    size: (u32, u32),
}

/// Converts pictures; sets itself up anew when their kind changes.
#[derive(Default)]
pub(crate) struct Converter(Option<(Kind, Sws)>);

impl Converter {
    /// Takes what a decoder gave. 8-bit 4:2:0 is not copied. Errors on pictures that are not in memory or too small.
    pub(crate) fn convert(&mut self, mut frame: frame::Video) -> Result<Picture, Error> {
        let size = (frame.width() & !1, frame.height() & !1);
        if size.0 < 2 || size.1 < 2 {
            return Err(Error::source("the pictures are smaller than 2x2"));
        }
        let format: Format = frame.format().into();
        if matches!(format, Format::AV_PIX_FMT_YUV420P | Format::AV_PIX_FMT_YUVJ420P) {
            frame.set_width(size.0);
            frame.set_height(size.1);
            return Picture::from_decoder(frame);
        }
        let kind = Kind { format: without_range(format), size };
        let mut sws = match self.0.take() {
            Some((held, sws)) if held == kind => sws,
            _ => set_up(kind)?,
        };
        let mut target = Picture::uninitialised(size.0, size.1)?;
        describe(&frame, format, &mut target);
        // SAFETY: `frame` holds a picture of that format, no smaller than `size`: libav's decoders promise both. The target
        // is fresh.
        let lines = unsafe { sws.run(frame.as_ptr(), size.1, target.frame_mut().as_mut_ptr()) };
        self.0 = Some((kind, sws));
        if u32::try_from(lines) != Ok(size.1) {
            return Err(Error::Picture(format!("{lines} lines from the converter")));
        }
        Ok(target)
    }
}

fn set_up(kind: Kind) -> Result<Sws, Error> {
    // SAFETY: libav returns a static description, or null for what is no format.
    let description = unsafe { ffi::av_pix_fmt_desc_get(kind.format).as_ref() };
    let Some(description) = description else { return Err(Error::source("the pictures are of an unknown kind")) };
    if description.flags & u64::from(ffi::AV_PIX_FMT_FLAG_HWACCEL.unsigned_abs()) != 0 {
        return Err(Error::source("the pictures are of an unknown kind"));
    }
    let is_420 = (description.log2_chroma_w, description.log2_chroma_h) == (1, 1);
    let chroma: &[(&CStr, i64)] = if is_420 { &CHROMA_420 } else { &CHROMA_SITE };
    let mut sws = Sws::new(kind.size, kind.format, kind.size, chroma, Filter::Quick)?;
    if is_rgb(kind.format) {
        // SAFETY: a live context and libav's static tables. Full range in, studio range out, by BT.709.
        unsafe {
            let table = ffi::sws_getCoefficients(ffi::SWS_CS_ITU709);
            let context = sws.as_mut_ptr();
            ffi::sws_setColorspaceDetails(context, table, 1, table, 0, 0, UNCHANGED, UNCHANGED);
        }
    }
    Ok(sws)
}

/// The old formats that say "full range" change the numbers on the way to one that doesn't; their plain twins don't.
fn without_range(format: Format) -> Format {
    match format {
        Format::AV_PIX_FMT_YUVJ422P => Format::AV_PIX_FMT_YUV422P,
        Format::AV_PIX_FMT_YUVJ444P => Format::AV_PIX_FMT_YUV444P,
        Format::AV_PIX_FMT_YUVJ440P => Format::AV_PIX_FMT_YUV440P,
        Format::AV_PIX_FMT_YUVJ411P => Format::AV_PIX_FMT_YUV411P,
        format => format,
    }
}

fn is_rgb(format: Format) -> bool {
    // SAFETY: as in `set_up`.
    let description = unsafe { ffi::av_pix_fmt_desc_get(format).as_ref() };
    description.is_some_and(|it| it.flags & u64::from(ffi::AV_PIX_FMT_FLAG_RGB.unsigned_abs()) != 0)
}

/// Time and colours.
fn describe(from: &frame::Video, format: Format, to: &mut Picture) {
    let (rgb, full) = (is_rgb(format), without_range(format) != format);
    let target = to.frame_mut();
    target.set_pts(from.pts());
    target.set_color_space(if rgb { color::Space::BT709 } else { from.color_space() });
    target.set_color_range(match (rgb, full) {
        (true, _) => color::Range::MPEG,
        (_, true) => color::Range::JPEG,
        _ => from.color_range(),
    });
    target.set_color_primaries(from.color_primaries());
    target.set_color_transfer_characteristic(from.color_transfer_characteristic());
    // SAFETY: both frames are alive; plain fields.
    unsafe { (*target.as_mut_ptr()).sample_aspect_ratio = (*from.as_ptr()).sample_aspect_ratio };
}
