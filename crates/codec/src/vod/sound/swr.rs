//! libswresample: sample formats and channels to interleaved floats, and one rate to another.
//!
//! No dither, and no compensation: what comes out depends on what went in alone. Knows no times.
#![allow(unsafe_code)]

use crate::Error;
use ffmpeg_next::format::{Sample, sample};
use ffmpeg_next::{ChannelLayout, ffi, frame};
use std::f64::consts::SQRT_2;
use std::ffi::{CStr, c_int};
use std::ptr;

/// A conversion to interleaved floats.
pub(super) struct Swr {
    raw: *mut ffi::SwrContext,
    from: (Sample, ChannelLayout, u32),
    /// Channels that come out.
    channels: usize,
}

// SAFETY: the context has no thread affinity, and `&mut self` is needed to use it.
unsafe impl Send for Swr {}

impl Swr {
    /// From samples of this kind, layout and rate to floats of that layout and rate. Where channels become fewer they are
    /// mixed so that even the loudest mix fits (5.1 to stereo: 7.7 dB less).
    pub(super) fn open(from: (Sample, ChannelLayout, u32), to: (ChannelLayout, u32)) -> Result<Self, Error> {
        let packed = Sample::F32(sample::Type::Packed);
        // SAFETY: a null context asks for a new one, a null log context is allowed; the rest are numbers.
        let raw = unsafe {
            ffi::swr_alloc_set_opts(
                ptr::null_mut(),
                to.0.bits().cast_signed(),
                packed.into(),
                to.1.cast_signed(),
                from.1.bits().cast_signed(),
                from.0.into(),
                from.2.cast_signed(),
                0,
                ptr::null_mut(),
            )
        };
        if raw.is_null() {
            return Err(Error::Memory("a resampler"));
        }
        // From here on Drop frees the context.
        let swr = Self { raw, from, channels: usize::try_from(to.0.channels()).unwrap_or(0) };
        // A single channel goes to both ears as loud as it was, which is what players do, not 3 dB less.
        let doubled = (from.1, to.0) == (ChannelLayout::MONO, ChannelLayout::STEREO);
        let volume = if doubled { SQRT_2 } else { 1.0 };
        let options: [(&CStr, f64); 2] = [(c"rematrix_maxval", 1.0), (c"rematrix_volume", volume)];
        for (name, value) in options {
            // SAFETY: a live context that starts with an AVClass, and a NUL-terminated name.
            checked(unsafe { ffi::av_opt_set_double(raw.cast(), name.as_ptr(), value, 0) })?;
        }
        if from.2 != to.1 {
            // Resampled in whole numbers: sums of floats differ between processors that multiply and add at once and others.
            let whole = Sample::I32(sample::Type::Planar).into();
            // SAFETY: as above.
            checked(unsafe { ffi::av_opt_set_sample_fmt(raw.cast(), c"internal_sample_fmt".as_ptr(), whole, 0) })?;
        }
        // SAFETY: a live context with all options set.
        checked(unsafe { ffi::swr_init(raw) })?;
        Ok(swr)
    }

    /// Whether it takes such samples.
    pub(super) fn takes(&self, from: (Sample, ChannelLayout, u32)) -> bool {
        self.from == from
    }

    /// A decoded frame of the kind it was opened for, its rate being the same before and after.
    pub(super) fn mix(&mut self, frame: &frame::Audio) -> Result<Vec<f32>, Error> {
        let count = frame.samples();
        let wanted = (frame.format(), usize::from(frame.channels()));
        if count == 0 || wanted != (self.from.0, usize::try_from(self.from.1.channels()).unwrap_or(0)) {
            return Ok(Vec::new());
        }
        // SAFETY: a live AVFrame with `count` samples in as many planes as its format and channels say, which are those
        // that the context was opened for (compared above).
        unsafe { self.convert((*frame.as_ptr()).extended_data.cast(), count, count) }
    }

    /// All of a sound, interleaved, at the other rate. The first sample stays the first.
    pub(super) fn resample(&mut self, samples: &[f32]) -> Result<Vec<f32>, Error> {
        if self.from.0 != Sample::F32(sample::Type::Packed) || self.channels == 0 {
            return Err(Error::Setting { what: "samples", value: format!("{:?}", self.from.0), allowed: "floats" });
        }
        let count = samples.len() / usize::try_from(self.from.1.channels()).unwrap_or(1).max(1);
        let mut plane = samples.as_ptr().cast::<u8>();
        // SAFETY: one plane, which holds `count` samples for each channel.
        let mut made = unsafe {
            let room = self.room(count)?;
            self.convert(&mut plane, count, room)?
        };
        loop {
            // SAFETY: no planes: libswresample gives what is inside.
            let rest = unsafe {
                let room = self.room(0)?;
                self.convert(ptr::null_mut(), 0, room.max(1))?
            };
            if rest.is_empty() {
                return Ok(made);
            }
            made.extend(rest);
        }
    }

    /// Most samples that come out next.
    fn room(&mut self, count: usize) -> Result<usize, Error> {
        let count = c_int::try_from(count).map_err(|_| Error::Memory("sound"))?;
        // SAFETY: a live context.
        let room = unsafe { ffi::swr_get_out_samples(self.raw, count) };
        checked(room)?;
        Ok(usize::try_from(room).unwrap_or(0))
    }

    /// # Safety
    /// `planes` points to as many planes as the context was opened for, each with `count` samples; or it is null and
    /// `count` is 0.
    unsafe fn convert(&mut self, planes: *mut *const u8, count: usize, room: usize) -> Result<Vec<f32>, Error> {
        let too_many = |_| Error::Memory("sound");
        let (given, most) = (c_int::try_from(count).map_err(too_many)?, c_int::try_from(room).map_err(too_many)?);
        let mut made = vec![0.0_f32; room.saturating_mul(self.channels)];
        let mut plane = made.as_mut_ptr().cast::<u8>();
        // SAFETY: `made` has room for `most` samples of each channel, interleaved; `planes` as promised by the caller.
        let got = unsafe { ffi::swr_convert(self.raw, &mut plane, most, planes, given) };
        checked(got)?;
        made.truncate(usize::try_from(got).unwrap_or(0).saturating_mul(self.channels));
        Ok(made)
    }
}

impl Drop for Swr {
    fn drop(&mut self) {
        // SAFETY: made by swr_alloc_set_opts and freed once.
        unsafe { ffi::swr_free(&mut self.raw) };
    }
}

fn checked(result: c_int) -> Result<(), Error> {
    match result {
        0.. => Ok(()),
        libav => Err(Error::Libav { what: "resampling", why: libav.into() }),
    }
}
