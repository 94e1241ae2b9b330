//! Making pictures smaller.
//!
//! Scales each plane by itself: 4:2:0 in, 4:2:0 out, the meaning of the numbers untouched. The same bytes on every
//! processor. Knows nothing of rungs.
#![allow(unsafe_code)]

use crate::Error;
use crate::picture::Picture;
use ffmpeg_next::ffi;
use std::ffi::CStr;

/// Which pixels of the larger picture count for one of the smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filter {
    /// Bicubic: for a downscale by two it costs 6 % of a core at 2048×1024@30 against 3 % for bilinear, and keeps the detail
    /// that a viewport magnifies.
    Quick,
    /// Lanczos, for what is not live: half as much again, and more of that detail (`make bench-vod`).
    Sharp,
}

impl Filter {
    /// The other two flags make every SIMD path give the same bytes, so that two origins on different processors do.
    const fn flags(self) -> i64 {
        let filter = match self {
            Self::Quick => ffi::SWS_BICUBIC,
            Self::Sharp => ffi::SWS_LANCZOS,
        };
        (filter | ffi::SWS_ACCURATE_RND | ffi::SWS_BITEXACT) as i64
    }
}

/// Where H.264 puts chroma unless told otherwise: on the left luma column, between two lines (H.264, E.2.1).
/// In 1/256 of a chroma sample's spacing of luma.
const CHROMA_SITE: [(&CStr, i64); 4] =
    [(c"src_h_chr_pos", 0), (c"src_v_chr_pos", 128), (c"dst_h_chr_pos", 0), (c"dst_v_chr_pos", 128)];

/// Pictures kept for reuse: those waiting in the next rung's queue, one in its encoder, one being written.
const POOL_MAX: usize = 8;

/// libav's scaler, set up.
pub(crate) struct Sws(*mut ffi::SwsContext);

// SAFETY: the context has no thread affinity, and `&mut self` is needed to use it.
unsafe impl Send for Sws {}

impl Sws {
    /// From pictures of `from` (width, height) in the format `format` to 8-bit 4:2:0 ones of `to`.
    pub(crate) fn new(
        from: (u32, u32),
        format: ffi::AVPixelFormat,
        to: (u32, u32),
        chroma: &[(&CStr, i64)],
        filter: Filter,
    ) -> Result<Self, Error> {
        // SAFETY: no arguments; a null result is checked.
        let context = unsafe { ffi::sws_alloc_context() };
        if context.is_null() {
            return Err(Error::Memory("a scaler"));
        }
        // From here on Drop frees the context.
        let scaler = Self(context);
        let sizes = [
            (c"srcw", i64::from(from.0)),
            (c"srch", i64::from(from.1)),
            (c"src_format", format as i64),
            (c"dstw", i64::from(to.0)),
            (c"dsth", i64::from(to.1)),
            (c"dst_format", ffi::AVPixelFormat::AV_PIX_FMT_YUV420P as i64),
            (c"sws_flags", filter.flags()),
        ];
        for (name, value) in sizes.iter().chain(chroma) {
            // SAFETY: a live context that starts with an AVClass, and a NUL-terminated name.
            let result = unsafe { ffi::av_opt_set_int(context.cast(), name.as_ptr(), *value, 0) };
            if result < 0 {
                return Err(Error::Libav { what: "setting up a scaler", why: result.into() });
            }
        }
        // SAFETY: a live context with all sizes set; null filters mean none.
        match unsafe { ffi::sws_init_context(context, std::ptr::null_mut(), std::ptr::null_mut()) } {
            result if result < 0 => Err(Error::Libav { what: "setting up a scaler", why: result.into() }),
            _ => Ok(scaler),
        }
    }

    /// For calls of libav's.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut ffi::SwsContext {
        self.0
    }

    /// Fills `target`, which must hold 8-bit 4:2:0 of the size given to `new` and be nobody else's; `source` must have at
    /// least the other size, in the other format. The lines that came out.
    ///
    /// # Safety
    ///
    /// Both must be as said: nothing is checked.
    pub(crate) unsafe fn run(&mut self, source: *const ffi::AVFrame, lines: u32, target: *mut ffi::AVFrame) -> i32 {
        // SAFETY: as the caller promises.
        unsafe {
            ffi::sws_scale(
                self.0,
                (*source).data.as_ptr().cast(),
                (*source).linesize.as_ptr(),
                0,
                lines.cast_signed(),
                (*target).data.as_ptr(),
                (*target).linesize.as_ptr(),
            )
        }
    }
}

impl Drop for Sws {
    fn drop(&mut self) {
        // SAFETY: made by sws_alloc_context and freed once.
        unsafe { ffi::sws_freeContext(self.0) };
    }
}

/// Scales from one fixed size to another, and reuses pictures that nobody holds any more.
pub(crate) struct Scaler {
    sws: Sws,
    from: (u32, u32),
    to: (u32, u32),
    pool: Vec<Picture>,
}

impl Scaler {
    /// For pictures of `from` (width, height).
    pub(crate) fn new(from: (u32, u32), to: (u32, u32), filter: Filter) -> Result<Self, Error> {
        let sws = Sws::new(from, ffi::AVPixelFormat::AV_PIX_FMT_YUV420P, to, &CHROMA_SITE, filter)?;
        Ok(Self { sws, from, to, pool: Vec::new() })
    }

    /// Whether it takes such pictures.
    pub(crate) fn takes(&self, picture: &Picture) -> bool {
        self.from == (picture.width(), picture.height())
    }

    /// The picture in the other size, colour tags included. Shared pixels are never written to.
    pub(crate) fn scale(&mut self, picture: &Picture) -> Result<Picture, Error> {
        if !self.takes(picture) {
            return Err(Error::Picture(format!("{}x{}", picture.width(), picture.height())));
        }
        let mut target = self.blank()?;
        let colour = picture.colour();
        let frame = target.frame_mut();
        frame.set_color_space(colour.space);
        frame.set_color_range(colour.range);
        frame.set_color_primaries(colour.primaries);
        frame.set_color_transfer_characteristic(colour.transfer);
        // SAFETY: both frames are alive, are 8-bit 4:2:0 (`Picture` holds nothing else), and have the sizes that
        // the context was made for; the target's buffers are ours alone (`blank`).
        let lines = unsafe {
            let (source, frame) = (picture.frame().as_ptr(), frame.as_mut_ptr());
            (*frame).sample_aspect_ratio = colour.aspect.into();
            self.sws.run(source, picture.height(), frame)
        };
        if u32::try_from(lines) != Ok(self.to.1) {
            return Err(Error::Picture(format!("{lines} lines from the scaler")));
        }
        Ok(target)
    }

    /// A picture of the target size whose pixels nobody else holds.
    fn blank(&mut self) -> Result<Picture, Error> {
        if let Some(free) = self.pool.iter_mut().find_map(|kept| kept.is_unshared().then_some(kept)) {
            return free.share();
        }
        let fresh = Picture::uninitialised(self.to.0, self.to.1)?;
        if self.pool.len() < POOL_MAX {
            self.pool.push(fresh.share()?);
        }
        Ok(fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ramp from left to right.
    fn ramp(width: u32, height: u32) -> Picture {
        let mut picture = Picture::new(width, height).unwrap();
        let (luma, stride) = picture.plane_mut(0).unwrap();
        for line in luma.chunks_mut(stride) {
            for (x, pixel) in line.iter_mut().take(width as usize).enumerate() {
                *pixel = (x as u32 * 255 / width) as u8;
            }
        }
        picture
    }

    #[test]
    fn a_ramp_stays_a_ramp() {
        for filter in [Filter::Quick, Filter::Sharp] {
            let small = Scaler::new((512, 64), (128, 16), filter).unwrap().scale(&ramp(512, 64)).unwrap();
            let (luma, stride) = small.plane(0);
            for x in 2..126 {
                let expected = (x as f64 + 0.5) * 255.0 / 128.0;
                assert!((f64::from(luma[stride * 8 + x]) - expected).abs() < 2.0, "column {x}");
            }
            assert_eq!(small.plane(1).0[0], 128);
        }
    }

    #[test]
    fn pictures_in_use_are_not_written_to_again() {
        let mut scaler = Scaler::new((64, 32), (32, 16), Filter::Quick).unwrap();
        let first = scaler.scale(&ramp(64, 32)).unwrap();
        let before = first.plane(0).0.to_vec();
        let second = scaler.scale(&Picture::new(64, 32).unwrap()).unwrap();
        assert_eq!(first.plane(0).0, before);
        assert_ne!(first.plane(0).0.as_ptr(), second.plane(0).0.as_ptr());
        let pixels = second.plane(0).0.as_ptr();
        drop(second);
        assert_eq!(scaler.scale(&ramp(64, 32)).unwrap().plane(0).0.as_ptr(), pixels, "a free one is used again");
    }

    #[test]
    fn a_picture_of_another_size_is_an_error() {
        assert!(Scaler::new((64, 32), (32, 16), Filter::Quick).unwrap().scale(&ramp(66, 32)).is_err());
    }
}
