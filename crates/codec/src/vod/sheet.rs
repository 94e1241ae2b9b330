//! A sheet of thumbnails: pictures made small, laid out in rows, as one JPEG.
//!
//! The same bytes for the same pictures on every processor. Knows no segments and no times.
#![allow(unsafe_code)]

use super::SheetJob;
use crate::picture::{PLANES, Picture};
use crate::scale::{Filter, Scaler};
use crate::{Error, open, quieten};
use bytes::Bytes;
use ffmpeg_next::codec::{self, Id};
use ffmpeg_next::format::Pixel;
use ffmpeg_next::{Packet, color, encoder, ffi};

/// Widest and highest sheet, in pixels: what every browser decodes.
const SIDE_MAX: u32 = 4096;

/// libav's MJPEG quality, 2 (best) to 31: a tile of 160×80 takes about 4 kB.
const QUALITY: i32 = 4;

/// From this size on, pictures that don't say how they mean colours mean them as HD does (what players assume).
const HD: (u32, u32) = (1280, 577);

/// Kr and Kb (ITU-T H.273, table 4): how much red and blue weigh in luma.
const BT601: (f64, f64) = (0.299, 0.114);
const BT709: (f64, f64) = (0.2126, 0.0722);
const BT2020: (f64, f64) = (0.2627, 0.0593);

/// Fractional bits of [`ToJpeg`]'s numbers.
const BITS: u32 = 16;

/// Makes the sheet: one picture for each of the job's reels, in its order; where there is none the tile is black. Pictures
/// are stretched to the tile's size. Errors on sizes beyond [`SIDE_MAX`].
pub(crate) fn make(job: &SheetJob, pictures: impl Iterator<Item = Option<Picture>>) -> Result<Bytes, Error> {
    let (width, height) = size(job)?;
    let mut sheet = Picture::new(width, height)?;
    for (plane, value) in PLANES.zip([0, 128, 128]) {
        sheet.plane_mut(plane)?.0.fill(value);
    }
    let mut scaler: Option<Scaler> = None;
    for (place, picture) in pictures.take(job.reels.len()).enumerate() {
        let Some(picture) = picture else { continue };
        let scaler = match &mut scaler {
            Some(scaler) if scaler.takes(&picture) => scaler,
            other => {
                other.insert(Scaler::new((picture.width(), picture.height()), (job.width, job.height), Filter::Quick)?)
            }
        };
        let colours = ToJpeg::new(&picture);
        let mut tile = scaler.scale(&picture)?;
        colours.convert(&mut tile)?;
        let (column, row) = (place % job.columns as usize, place / job.columns as usize);
        lay(&tile, &mut sheet, (column * job.width as usize, row * job.height as usize))?;
    }
    jpeg(sheet)
}

/// Width and height of the sheet.
fn size(job: &SheetJob) -> Result<(u32, u32), Error> {
    let tiles = u32::try_from(job.reels.len()).unwrap_or(u32::MAX);
    let rows = tiles.checked_div(job.columns).unwrap_or(0) + u32::from(tiles.checked_rem(job.columns) > Some(0));
    let width = job.columns.min(tiles).checked_mul(job.width);
    let height = rows.checked_mul(job.height);
    let even = job.width.is_multiple_of(2) && job.height.is_multiple_of(2);
    match (width, height) {
        (Some(width @ 2..=SIDE_MAX), Some(height @ 2..=SIDE_MAX)) if even => Ok((width, height)),
        _ => {
            let value = format!("{tiles} tiles of {}x{}, {} in a row", job.width, job.height, job.columns);
            Err(Error::Setting {
                what: "a sheet",
                value,
                allowed: "even tiles, together 2 to 4096 pixels wide and high",
            })
        }
    }
}

/// Copies a tile's planes to where its left upper corner should be. Rows and columns are even, so chroma fits.
fn lay(tile: &Picture, sheet: &mut Picture, (left, top): (usize, usize)) -> Result<(), Error> {
    for plane in PLANES {
        let half = usize::from(plane > 0);
        let (width, height) = (tile.width() as usize >> half, tile.height() as usize >> half);
        let (left, top) = (left >> half, top >> half);
        let (from, from_stride) = tile.plane(plane);
        let (to, to_stride) = sheet.plane_mut(plane)?;
        for (to, from) in to.chunks_mut(to_stride).skip(top).zip(from.chunks(from_stride)).take(height) {
            for (to, from) in to.iter_mut().skip(left).zip(from).take(width) {
                *to = *from;
            }
        }
    }
    Ok(())
}

/// From a picture's own colours to JPEG's: full range by BT.601 (JFIF). Grey stays grey, so chroma does not depend on
/// luma. HDR's transfer curves are left as they are.
#[derive(Debug, Clone, Copy)]
struct ToJpeg {
    /// Of black.
    floor: i32,
    luma: i32,
    /// What Cb and Cr add to luma, to Cb, and to Cr.
    chroma: [(i32, i32); 3],
}

impl ToJpeg {
    fn new(picture: &Picture) -> Self {
        let colour = picture.colour();
        let large = picture.width() >= HD.0 || picture.height() >= HD.1;
        let (kr, kb) = match colour.space {
            color::Space::BT709 => BT709,
            color::Space::BT2020NCL | color::Space::BT2020CL => BT2020,
            color::Space::Unspecified if large => BT709,
            _ => BT601,
        };
        let full = colour.range == color::Range::JPEG;
        let (floor, luma, chroma) = if full { (0, 1.0, 1.0) } else { (16, 255.0 / 219.0, 255.0 / 224.0) };
        // A picture with no luma and this chroma, seen as red, green and blue, and as JFIF counts them.
        let seen = |cb: f64, cr: f64| {
            let (red, blue) = (2.0 * (1.0 - kr) * cr, 2.0 * (1.0 - kb) * cb);
            let green = -(kr * red + kb * blue) / (1.0 - kr - kb);
            let y = BT601.0 * red + (1.0 - BT601.0 - BT601.1) * green + BT601.1 * blue;
            [y, (blue - y) / (2.0 * (1.0 - BT601.1)), (red - y) / (2.0 * (1.0 - BT601.0))]
        };
        let fixed = |value: f64| (value * f64::from(1 << BITS)).round() as i32;
        let ([y_cb, cb_cb, cr_cb], [y_cr, cb_cr, cr_cr]) = (seen(chroma, 0.0), seen(0.0, chroma));
        let chroma = [(y_cb, y_cr), (cb_cb, cb_cr), (cr_cb, cr_cr)].map(|(cb, cr)| (fixed(cb), fixed(cr)));
        Self { floor, luma: fixed(luma), chroma }
    }

    /// Converts a picture in place.
    fn convert(&self, picture: &mut Picture) -> Result<(), Error> {
        let [for_luma, for_cb, for_cr] = self.chroma;
        let weigh = |(cb, cr): (i32, i32), at: (u8, u8)| cb * (i32::from(at.0) - 128) + cr * (i32::from(at.1) - 128);
        let rounded = |sum: i32| ((sum + (1 << (BITS - 1))) >> BITS).clamp(0, 255) as u8;
        let (blues, stride) = (picture.plane(1).0.to_vec(), picture.plane(1).1);
        let (reds, red_stride) = (picture.plane(2).0.to_vec(), picture.plane(2).1);
        let chroma = |line: usize| {
            let line = |plane: &'_ [u8], stride: usize| plane.chunks(stride).nth(line).unwrap_or_default().to_vec();
            line(&blues, stride).into_iter().zip(line(&reds, red_stride)).collect::<Vec<_>>()
        };
        let (luma, luma_stride) = picture.plane_mut(0)?;
        for (y, line) in luma.chunks_mut(luma_stride).enumerate() {
            for (pair, at) in line.chunks_mut(2).zip(chroma(y / 2)) {
                for value in pair {
                    *value = rounded((i32::from(*value) - self.floor) * self.luma + weigh(for_luma, at));
                }
            }
        }
        for (plane, weights) in [(1, for_cb), (2, for_cr)] {
            let (values, stride) = picture.plane_mut(plane)?;
            for (y, line) in values.chunks_mut(stride).enumerate() {
                for (value, at) in line.iter_mut().zip(chroma(y)) {
                    *value = rounded((128 << BITS) + weigh(weights, at));
                }
            }
        }
        Ok(())
    }
}

/// One JPEG, without libav's version in it, and by the discrete cosine transform that is the same on every processor.
fn jpeg(mut sheet: Picture) -> Result<Bytes, Error> {
    quieten();
    let doing = "encoding a JPEG";
    let found = encoder::find(Id::MJPEG).ok_or(Error::Missing("MJPEG encoder"))?;
    let mut context = codec::Context::new_with_codec(found);
    // SAFETY: a context of ours that is not open yet; plain fields.
    unsafe {
        let raw = context.as_mut_ptr();
        if raw.is_null() {
            return Err(Error::Memory("an encoder"));
        }
        (*raw).width = sheet.width().cast_signed();
        (*raw).height = sheet.height().cast_signed();
        (*raw).pix_fmt = Pixel::YUVJ420P.into();
        (*raw).color_range = ffi::AVColorRange::AVCOL_RANGE_JPEG;
        (*raw).time_base = ffi::AVRational { num: 1, den: 1 };
        (*raw).flags |= (ffi::AV_CODEC_FLAG_BITEXACT | ffi::AV_CODEC_FLAG_QSCALE).cast_signed();
        (*raw).global_quality = QUALITY * ffi::FF_QP2LAMBDA;
        (*raw).dct_algo = ffi::FF_DCT_INT;
        (*raw).thread_count = 1;
    }
    open::open(&mut context, found, "mjpeg", &[])?;
    let mut inner = context.encoder().video().map_err(Error::libav(doing))?;
    let frame = sheet.frame_mut();
    frame.set_format(Pixel::YUVJ420P);
    frame.set_color_range(color::Range::JPEG);
    // SAFETY: a live frame; a plain field.
    unsafe { (*frame.as_mut_ptr()).quality = QUALITY * ffi::FF_QP2LAMBDA };
    inner.send_frame(sheet.prepare(0)).map_err(Error::libav(doing))?;
    inner.send_eof().map_err(Error::libav(doing))?;
    let mut packet = Packet::empty();
    inner.receive_packet(&mut packet).map_err(Error::libav(doing))?;
    Ok(Bytes::copy_from_slice(packet.data().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::super::Reel;
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    /// One colour all over, given as its studio-range or full-range bytes.
    fn plain(size: (u32, u32), values: [u8; 3], space: color::Space, range: color::Range) -> Picture {
        let mut picture = Picture::new(size.0, size.1).unwrap();
        for (plane, value) in PLANES.zip(values) {
            picture.plane_mut(plane).unwrap().0.fill(value);
        }
        picture.frame_mut().set_color_space(space);
        picture.frame_mut().set_color_range(range);
        picture
    }

    fn job(tiles: usize, columns: u32, width: u32, height: u32) -> SheetJob {
        SheetJob { reels: vec![Reel { bytes: 1 }; tiles], columns, width, height }
    }

    /// What a viewer sees, three bytes for each pixel, as ffmpeg's command decodes it.
    fn seen(jpeg: &[u8]) -> Vec<u8> {
        let mut ffmpeg = Command::new("ffmpeg")
            .args(["-v", "error", "-f", "mjpeg", "-i", "-", "-f", "rawvideo", "-pix_fmt", "rgb24", "-sws_flags"])
            .args(["accurate_rnd+full_chroma_int", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        ffmpeg.stdin.take().unwrap().write_all(jpeg).unwrap();
        ffmpeg.wait_with_output().unwrap().stdout
    }

    fn pixel(picture: &[u8], width: usize, (x, y): (usize, usize)) -> [u8; 3] {
        let at = (y * width + x) * 3;
        picture[at..at + 3].try_into().unwrap()
    }

    #[test]
    fn tiles_lie_row_by_row_in_the_colours_of_their_pictures_and_missing_ones_are_black() {
        use color::{Range, Space};
        // Full red, green, blue and white by the formulas of each standard, studio range but for the last.
        let pictures = || {
            vec![
                Some(plain((640, 320), [63, 102, 240], Space::BT709, Range::MPEG)),
                Some(plain((640, 320), [145, 54, 34], Space::SMPTE170M, Range::MPEG)),
                None,
                Some(plain((1920, 960), [32, 240, 118], Space::Unspecified, Range::Unspecified)),
                Some(plain((64, 32), [235, 128, 128], Space::BT709, Range::MPEG)),
                Some(plain((160, 80), [76, 85, 255], Space::BT470BG, Range::JPEG)),
                Some(plain((320, 160), [126, 128, 128], Space::Unspecified, Range::Unspecified)),
            ]
        };
        let expected = [
            [255, 0, 0],
            [0, 255, 0],
            [0, 0, 0],
            [0, 0, 255],
            [255, 255, 255],
            [255, 0, 0],
            [128, 128, 128],
            [0, 0, 0],
        ];
        let sheet = make(&job(7, 4, 160, 80), pictures().into_iter()).unwrap();
        let picture = seen(&sheet);
        assert_eq!(picture.len(), 640 * 160 * 3);
        for (tile, expected) in expected.iter().enumerate() {
            let (left, top) = (tile % 4 * 160, tile / 4 * 80);
            // Middle, and corners but for the blur of chroma at edges.
            for at in [(80, 40), (4, 4), (155, 75), (4, 75)] {
                let got = pixel(&picture, 640, (left + at.0, top + at.1));
                let near = got.iter().zip(expected).all(|(got, expected)| got.abs_diff(*expected) <= 4);
                assert!(near, "tile {tile} at {at:?}: {got:?}, not {expected:?}");
            }
        }
        assert_eq!(make(&job(7, 4, 160, 80), pictures().into_iter()).unwrap(), sheet, "the same bytes again");
    }

    #[test]
    fn a_picture_is_scaled_and_not_cut() {
        let mut picture = Picture::new(640, 320).unwrap();
        let (luma, stride) = picture.plane_mut(0).unwrap();
        for line in luma.chunks_mut(stride) {
            line[320..640].fill(235);
        }
        let sheet = seen(&make(&job(1, 10, 160, 80), [Some(picture)].into_iter()).unwrap());
        assert_eq!(sheet.len(), 160 * 80 * 3, "no wider than its only tile");
        assert!(pixel(&sheet, 160, (70, 40)).iter().all(|&value| value < 8));
        assert!(pixel(&sheet, 160, (90, 40)).iter().all(|&value| value > 247));
    }

    #[test]
    fn a_sheet_names_no_version() {
        let sheet = make(&job(1, 1, 64, 32), [None].into_iter()).unwrap();
        assert!(sheet.starts_with(&[0xFF, 0xD8]) && sheet.ends_with(&[0xFF, 0xD9]));
        assert!(!sheet.windows(4).any(|bytes| bytes == b"Lavc"));
    }

    /// A picture in which no two blocks are the same.
    fn busy() -> Picture {
        let mut picture = Picture::new(500, 250).unwrap();
        for plane in PLANES {
            let (values, stride) = picture.plane_mut(plane).unwrap();
            for (y, line) in values.chunks_mut(stride).enumerate() {
                for (x, value) in line.iter_mut().enumerate() {
                    *value = (16 + (x * x / 7 + y * 13 + (x ^ y) * plane) % 220) as u8;
                }
            }
        }
        picture
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn an_older_processor_makes_the_same() {
        let sheet = || make(&job(3, 2, 160, 80), [Some(busy()), None, Some(busy())].into_iter()).unwrap();
        let here = sheet();
        // SAFETY: numbers that libav keeps (MMX, MMXEXT, SSE, SSE2: what every x86-64 has; -1 means to look again).
        unsafe { ffi::av_force_cpu_flags(0x1B) };
        let there = sheet();
        // SAFETY: as above.
        unsafe { ffi::av_force_cpu_flags(-1) };
        assert!(here == there);
    }

    #[test]
    fn too_many_too_large_and_odd_tiles_are_refused() {
        let none = || std::iter::empty();
        for (tiles, columns, width, height) in [
            (0, 1, 2, 2),
            (1, 0, 2, 2),
            (26, 26, 160, 80),
            (52, 1, 160, 80),
            (1, 1, 3, 2),
            (1, 1, 2, 0),
            (9, 9, u32::MAX - 1, 2),
        ] {
            assert!(make(&job(tiles, columns, width, height), none()).is_err(), "{tiles} {columns} {width}x{height}");
        }
        assert!(make(&job(25 * 51, 25, 160, 80), none()).is_ok());
    }
}
