//! One raw 8-bit 4:2:0 picture whose pixels are counted references.
//!
//! Knows planes and colour tags; not where pictures come from or go.
#![allow(unsafe_code)]

use crate::Error;
use ffmpeg_next::ffi;
use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame;
use ffmpeg_next::picture::Type;
use ffmpeg_next::{Rational, color};

/// A picture. `share` hands out the same pixels again; writing to shared pixels copies them first.
pub struct Picture(frame::Video);

/// How numbers mean colours, and how wide a pixel is. Carried from source to rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Colour {
    pub(crate) space: color::Space,
    pub(crate) range: color::Range,
    pub(crate) primaries: color::Primaries,
    pub(crate) transfer: color::TransferCharacteristic,
    /// Width over height of a pixel; 0/1 is unknown.
    pub(crate) aspect: Rational,
}

impl Colour {
    /// What an ordinary HD encoder says: BT.709, studio range, square pixels.
    pub(crate) const BT709: Self = Self {
        space: color::Space::BT709,
        range: color::Range::MPEG,
        primaries: color::Primaries::BT709,
        transfer: color::TransferCharacteristic::BT709,
        aspect: Rational(1, 1),
    };
}

/// The three planes, as indices for [`Picture::plane`].
pub const PLANES: std::ops::Range<usize> = 0..3;

impl Picture {
    /// A black picture of even sizes.
    pub fn new(width: u32, height: u32) -> Result<Self, Error> {
        let mut picture = Self::uninitialised(width, height)?;
        for (plane, value) in PLANES.zip([16, 128, 128]) {
            picture.plane_mut(plane)?.0.fill(value);
        }
        Ok(picture)
    }

    /// A picture whose pixels are whatever the allocator had.
    pub(crate) fn uninitialised(width: u32, height: u32) -> Result<Self, Error> {
        let odd = |side: u32| !(2..=media::h264::PICTURE_SIDE_MAX).contains(&side) || !side.is_multiple_of(2);
        if odd(width) || odd(height) {
            let value = format!("{width}x{height}");
            return Err(Error::Setting { what: "picture size", value, allowed: "even, 2 to 16384" });
        }
        let mut frame = empty()?;
        frame.set_format(Pixel::YUV420P);
        frame.set_width(width);
        frame.set_height(height);
        // SAFETY: `frame` holds a live AVFrame with format and size set and no buffers yet, as the call asks.
        // Alignment 0 lets libav choose what its assembly needs.
        match unsafe { ffi::av_frame_get_buffer(frame.as_mut_ptr(), 0) } {
            0 => Ok(Self(frame)),
            _ => Err(Error::Memory("a picture")),
        }
    }

    /// Takes what a decoder made. Errors unless it is 8-bit 4:2:0 of even size.
    pub(crate) fn from_decoder(frame: frame::Video) -> Result<Self, Error> {
        let taken = matches!(frame.format(), Pixel::YUV420P | Pixel::YUVJ420P);
        if !taken || frame.width() < 2 || frame.height() < 2 {
            return Err(Error::Picture(format!("{:?} {}x{}", frame.format(), frame.width(), frame.height())));
        }
        Ok(Self(frame))
    }

    /// The same pixels once more, without copying them (`frame::Video::clone` would copy).
    pub fn share(&self) -> Result<Self, Error> {
        let mut frame = empty()?;
        // SAFETY: both are live AVFrames, and the target is blank. libav adds a reference to each buffer.
        match unsafe { ffi::av_frame_ref(frame.as_mut_ptr(), self.0.as_ptr()) } {
            0 => Ok(Self(frame)),
            _ => Err(Error::Memory("a picture's reference")),
        }
    }

    /// Pixels across.
    pub fn width(&self) -> u32 {
        self.0.width()
    }

    /// Pixels down.
    pub fn height(&self) -> u32 {
        self.0.height()
    }

    /// When to show it, in the ticks of whoever made it.
    pub fn pts(&self) -> Option<i64> {
        self.0.pts()
    }

    /// The bytes of a plane (0 luma, 1 Cb, 2 Cr) and the distance between its lines. Panics beyond plane 2.
    pub fn plane(&self, index: usize) -> (&[u8], usize) {
        (self.0.data(index), self.0.stride(index))
    }

    /// The same to write to. Copies the pixels first if they are shared.
    pub fn plane_mut(&mut self, index: usize) -> Result<(&mut [u8], usize), Error> {
        // SAFETY: a live AVFrame with reference-counted buffers.
        if unsafe { ffi::av_frame_make_writable(self.0.as_mut_ptr()) } < 0 {
            return Err(Error::Memory("a picture"));
        }
        let stride = self.0.stride(index);
        Ok((self.0.data_mut(index), stride))
    }

    /// Whether nobody else holds these pixels.
    pub(crate) fn is_unshared(&mut self) -> bool {
        // SAFETY: a live AVFrame; the call only reads reference counts.
        unsafe { ffi::av_frame_is_writable(self.0.as_mut_ptr()) > 0 }
    }

    /// Makes it ready for an encoder: its time, and no wish about its frame type (a decoder leaves the source's
    /// type there, which libx264 would obey).
    pub(crate) fn prepare(&mut self, pts: i64) -> &frame::Video {
        self.0.set_pts(Some(pts));
        self.0.set_kind(Type::None);
        &self.0
    }

    pub(crate) fn frame(&self) -> &frame::Video {
        &self.0
    }

    pub(crate) fn frame_mut(&mut self) -> &mut frame::Video {
        &mut self.0
    }

    pub(crate) fn colour(&self) -> Colour {
        let frame = &self.0;
        let full = frame.format() == Pixel::YUVJ420P;
        Colour {
            space: frame.color_space(),
            range: if full { color::Range::JPEG } else { frame.color_range() },
            primaries: frame.color_primaries(),
            transfer: frame.color_transfer_characteristic(),
            aspect: frame.aspect_ratio(),
        }
    }
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Picture({}x{} at {:?})", self.width(), self.height(), self.pts())
    }
}

/// A frame without pixels; an error where ffmpeg-next would keep a null pointer.
pub(crate) fn empty() -> Result<frame::Video, Error> {
    let frame = frame::Video::empty();
    // SAFETY: only compares the pointer.
    if unsafe { frame.as_ptr() }.is_null() { Err(Error::Memory("a picture")) } else { Ok(frame) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_pixels_are_the_same_memory_until_written_to() {
        let first = Picture::new(64, 32).unwrap();
        let mut second = first.share().unwrap();
        assert_eq!(first.plane(0).0.as_ptr(), second.plane(0).0.as_ptr());
        assert!(!second.is_unshared());
        second.plane_mut(0).unwrap().0[0] = 99;
        assert_ne!(first.plane(0).0.as_ptr(), second.plane(0).0.as_ptr());
        assert_eq!((first.plane(0).0[0], second.plane(0).0[0]), (16, 99));
    }

    #[test]
    fn odd_and_absurd_sizes_are_refused() {
        for (width, height) in [(0, 2), (2, 0), (3, 2), (2, 5), (16_386, 2), (u32::MAX, 2)] {
            assert!(Picture::new(width, height).is_err(), "{width}x{height}");
        }
    }
}
