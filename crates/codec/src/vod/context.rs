//! libav's demuxer context, opened so that it can open nothing else.
//!
//! Thin: what is in the file, and what of it counts, is told by others.
#![allow(unsafe_code)]

use super::avio::Avio;
use super::container::Container;
use super::tracks::{Medium, Stream};
use crate::Error;
use ffmpeg_next::{Dictionary, ffi};
use libc::{c_char, c_int};

/// Bytes and time (µs) that libav may read to find out what is in a reel.
const PROBE_BYTES: i64 = 32 << 20;
const PROBE_US: i64 = 5_000_000;

/// Streams in a file, of any kind.
const STREAMS_MAX: usize = 32;

/// An open `AVFormatContext`. Never outlives the [`Avio`] it was opened on.
pub(super) struct Context(*mut ffi::AVFormatContext);

// SAFETY: owned, without thread affinity, and `&mut self` is needed to work with it.
unsafe impl Send for Context {}

impl Context {
    /// Opens `avio` as a `container`, reading its header. `parse`: whether packets' content may be looked into.
    pub(super) fn open(avio: &Avio, container: Container, parse: bool) -> Result<Self, Error> {
        let mut options = Dictionary::new();
        options.set("format_whitelist", container.name());
        options.set("protocol_whitelist", "none");
        if container == Container::Mov {
            options.set("enable_drefs", "0");
            options.set("use_absolute_path", "0");
        }
        // SAFETY: the context is allocated here and checked; its fields are plain; `avformat_open_input` takes it over and frees
        // it when it fails. `disown` gives up the dictionary's pointer, `own` takes back what libav leaves of it.
        unsafe {
            let format = ffi::av_find_input_format(container.short_name().as_ptr());
            if format.is_null() {
                return Err(Error::Missing("demuxer for this container"));
            }
            let mut raw = ffi::avformat_alloc_context();
            if raw.is_null() {
                return Err(Error::Memory("a demuxer"));
            }
            (*raw).pb = avio.context();
            (*raw).flags |= ffi::AVFMT_FLAG_CUSTOM_IO | ffi::AVFMT_FLAG_DISCARD_CORRUPT;
            if !parse {
                (*raw).flags |= ffi::AVFMT_FLAG_NOPARSE;
            }
            (*raw).probesize = PROBE_BYTES;
            (*raw).max_analyze_duration = PROBE_US;
            (*raw).io_open = Some(refuse);
            let mut left = options.disown();
            let result = ffi::avformat_open_input(&mut raw, c"".as_ptr(), format, &mut left);
            drop(Dictionary::own(left));
            match result {
                0.. => Ok(Self(raw)),
                _ if result == -libc::ENOMEM => Err(Error::Memory("a demuxer")),
                _ => Err(Error::source("the file is damaged: its header can't be read")),
            }
        }
    }

    /// Reads on until it is known what is in the streams.
    pub(super) fn find_streams(&mut self) -> Result<(), Error> {
        // SAFETY: an open context; null options mean none.
        let result = unsafe { ffi::avformat_find_stream_info(self.0, std::ptr::null_mut()) };
        match result {
            0.. if self.count() > STREAMS_MAX => Err(Error::source("the file has more than 32 streams")),
            0.. => Ok(()),
            _ if result == -libc::ENOMEM => Err(Error::Memory("a demuxer")),
            _ => Err(Error::source("the file is damaged: what is in it can't be found out")),
        }
    }

    /// How long the container says it is, in seconds.
    pub(super) fn duration_s(&self) -> i64 {
        // SAFETY: an open context.
        unsafe { (*self.0).duration }.saturating_div(i64::from(ffi::AV_TIME_BASE))
    }

    /// The default stream of this medium, else its first: what libav thinks best may depend on how far it has read.
    pub(super) fn choose(&self, medium: Medium) -> Option<usize> {
        let mut streams = (0..self.count()).filter(|&index| self.stream(index).is(medium));
        let first = streams.clone().next();
        streams.find(|&index| self.stream(index).is_default()).or(first)
    }

    /// Stream number `index`, which must exist.
    pub(super) fn stream(&self, index: usize) -> Stream<'_> {
        debug_assert!(index < self.count());
        // SAFETY: libav keeps `nb_streams` streams as long as the context lives, which is borrowed.
        unsafe { Stream::new(self, *(*self.0).streams.add(index)) }
    }

    /// Reads no other streams any more.
    pub(super) fn discard_all_but(&mut self, kept: &[Option<usize>]) {
        for index in (0..self.count()).filter(|&index| !kept.contains(&Some(index))) {
            // SAFETY: as in `stream`; a plain field.
            unsafe { (**(*self.0).streams.add(index)).discard = ffi::AVDiscard::AVDISCARD_ALL };
        }
    }

    /// For calls of libav's.
    pub(super) fn as_mut_ptr(&mut self) -> *mut ffi::AVFormatContext {
        self.0
    }

    /// For fields.
    pub(super) fn as_ptr(&self) -> *const ffi::AVFormatContext {
        self.0
    }

    fn count(&self) -> usize {
        // SAFETY: an open context.
        unsafe { (*self.0).nb_streams as usize }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: opened once, closed once. The AVIOContext is the caller's (`AVFMT_FLAG_CUSTOM_IO`).
        unsafe { ffi::avformat_close_input(&mut self.0) };
    }
}

/// What a demuxer gets that wants another file, whatever the options above say.
unsafe extern "C" fn refuse(
    _context: *mut ffi::AVFormatContext,
    _io: *mut *mut ffi::AVIOContext,
    _url: *const c_char,
    _flags: c_int,
    _options: *mut *mut ffi::AVDictionary,
) -> c_int {
    -libc::EACCES
}
