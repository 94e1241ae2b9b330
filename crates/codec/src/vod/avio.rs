//! libav's way to read bytes, over a [`Reader`].
//!
//! The only thing a demuxer is given: it can open nothing else. Knows no formats.
#![allow(unsafe_code)]

use super::reader::Reader;
use crate::Error;
use ffmpeg_next::ffi;
use libc::{c_int, c_void};

/// libav's own buffer, in bytes; the reader's are larger.
const BUFFER_BYTES: c_int = 64 << 10;

/// What the callbacks work on.
struct State {
    reader: Reader,
    position: u64,
    /// Whether libav gets zeros instead of what is there.
    blank: bool,
}

/// An `AVIOContext` that reads a reel.
pub(super) struct Avio {
    context: *mut ffi::AVIOContext,
    /// Boxed so that libav's pointer to it stays right; made from `Box::into_raw` and freed on drop.
    state: *mut State,
}

// SAFETY: both are owned, have no thread affinity, and are only used by whoever holds the `Avio`.
unsafe impl Send for Avio {}

impl Avio {
    /// `seekable`: whether libav may jump.
    pub(super) fn new(reader: Reader, seekable: bool) -> Result<Self, Error> {
        let state = Box::into_raw(Box::new(State { reader, position: 0, blank: false }));
        // SAFETY: a fresh buffer that the context owns from here on; the callbacks get the state that lives as long as `Self`.
        let context = unsafe {
            let buffer = ffi::av_malloc(BUFFER_BYTES as usize).cast();
            let jump = if seekable { Some(seek as _) } else { None };
            match std::ptr::NonNull::new(buffer) {
                Some(buffer) => {
                    ffi::avio_alloc_context(buffer.as_ptr(), BUFFER_BYTES, 0, state.cast(), Some(read), None, jump)
                }
                None => std::ptr::null_mut(),
            }
        };
        // From here on Drop frees the state.
        let avio = Self { context, state };
        if context.is_null() { Err(Error::Memory("reading")) } else { Ok(avio) }
    }

    /// For `AVFormatContext::pb`. Valid as long as `self`.
    pub(super) fn context(&self) -> *mut ffi::AVIOContext {
        self.context
    }

    /// Why reading failed, if it did.
    pub(super) fn take_failure(&mut self) -> Option<Error> {
        self.state().reader.take_failure()
    }

    /// From here on libav gets zeros: for whoever wants to know where packets are, not what is in them.
    pub(super) fn blank(&mut self) {
        self.state().blank = true;
    }

    /// What is really there.
    pub(super) fn reader(&mut self) -> &mut Reader {
        &mut self.state().reader
    }

    fn state(&mut self) -> &mut State {
        // SAFETY: `state` lives as long as `self`, and no callback runs while we are borrowed mutably: they run only inside
        // libav's calls, which the demuxer makes.
        unsafe { &mut *self.state }
    }
}

impl Drop for Avio {
    fn drop(&mut self) {
        // SAFETY: the demuxer is closed before (its field order says so). libav may have replaced the buffer, so it is
        // the context's that is freed. Each pointer is freed once.
        unsafe {
            if !self.context.is_null() {
                ffi::av_freep((&raw mut (*self.context).buffer).cast());
                ffi::avio_context_free(&mut self.context);
            }
            drop(Box::from_raw(self.state));
        }
    }
}

/// Copies the next bytes. Never panics: nothing may unwind through libav.
unsafe extern "C" fn read(opaque: *mut c_void, buffer: *mut u8, size: c_int) -> c_int {
    // SAFETY: libav gives back the state that `Avio::new` gave it.
    let state = unsafe { &mut *opaque.cast::<State>() };
    let most = usize::try_from(size).unwrap_or(0);
    if state.blank {
        let rest = state.reader.length().saturating_sub(state.position);
        let count = usize::try_from(rest).unwrap_or(usize::MAX).min(most);
        // SAFETY: libav's buffer has room for `size` bytes, and `count` is no more.
        unsafe { std::ptr::write_bytes(buffer, 0, count) };
        state.position = state.position.saturating_add(count as u64);
        return if count == 0 { ffi::AVERROR_EOF } else { c_int::try_from(count).unwrap_or(c_int::MAX) };
    }
    match state.reader.read(state.position, most) {
        Ok(bytes) if bytes.is_empty() => ffi::AVERROR_EOF,
        Ok(bytes) => {
            // SAFETY: libav's buffer has room for `size` bytes, and the reader gives no more than that.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer, bytes.len()) };
            state.position = state.position.saturating_add(bytes.len() as u64);
            c_int::try_from(bytes.len()).unwrap_or(c_int::MAX)
        }
        Err(_) => -libc::EIO,
    }
}

/// Moves to another place, or tells the length.
unsafe extern "C" fn seek(opaque: *mut c_void, offset: i64, whence: c_int) -> i64 {
    // SAFETY: as in `read`.
    let state = unsafe { &mut *opaque.cast::<State>() };
    let length = i64::try_from(state.reader.length()).unwrap_or(i64::MAX);
    let here = i64::try_from(state.position).unwrap_or(i64::MAX);
    let target = match whence & !(ffi::AVSEEK_FORCE as c_int) {
        ffi::AVSEEK_SIZE => return length,
        libc::SEEK_SET => Some(offset),
        libc::SEEK_CUR => here.checked_add(offset),
        libc::SEEK_END => length.checked_add(offset),
        _ => None,
    };
    // Beyond the end there is nothing to read, which `read` says.
    match target.and_then(|target| u64::try_from(target).ok()) {
        Some(position) => {
            state.position = position;
            target.unwrap_or(0)
        }
        None => i64::from(-libc::EINVAL),
    }
}
