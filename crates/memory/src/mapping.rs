//! A file's bytes as memory: the one place with `unsafe`.
//!
//! Knows no objects and no sockets. What keeps it sound is kept here: a file is given out in stretches that don't overlap,
//! a stretch's bytes are only ever appended, by one at a time, and nobody sees a byte that may still change.

use crate::{HUGE_BYTES, registry};
use rustix::fd::OwnedFd;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use std::any::Any;
use std::fmt;
use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Where stretches begin: at a page, so that none shares one with another.
const PAGE_BYTES: usize = 4096;

/// A memory file of a fixed length, mapped for reading.
pub(crate) struct Mapping {
    /// Aligned to huge pages.
    base: NonNull<u8>,
    length: usize,
    file: OwnedFd,
    /// Bytes that were given out as stretches.
    given: AtomicUsize,
    /// What pays for it.
    _paid: Box<dyn Any + Send + Sync>,
}

/// A stretch of a file, which one object has for itself.
#[derive(Debug)]
pub(crate) struct Region {
    mapping: Arc<Mapping>,
    start: usize,
    length: usize,
    /// Where in it the next byte goes. Held while bytes are written.
    pen: Mutex<usize>,
    /// Bytes of it that are there. They stay as they are for as long as this lives.
    written: AtomicUsize,
}

// SAFETY: The memory is this value's own until it is dropped, and all else in it may be used from any thread.
unsafe impl Send for Mapping {}
// SAFETY: As above; what is shown of the memory never changes (`Region::bytes`), so any number of threads may read it.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// An empty file that will have `length` bytes, at least one. `paid` is dropped when the memory has been given back.
    pub(crate) fn new(length: usize, paid: Box<dyn Any + Send + Sync>) -> io::Result<Self> {
        let file = memfd_create("live360-media", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, u64::try_from(length).map_err(io::Error::other)?)?;
        // From here on every page within the length is there for good: nobody can cut it off under a reader.
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let base = reserve(length)?;
        let mapping = Self { base, length, file, given: AtomicUsize::new(0), _paid: paid };
        let (flags, file) = (MapFlags::SHARED | MapFlags::FIXED, &mapping.file);
        // SAFETY: These addresses were reserved just now, and nothing refers to them yet.
        unsafe { mmap(base.as_ptr().cast(), span(length), ProtFlags::READ, flags, file, 0) }?;
        Ok(mapping)
    }

    /// Asks for huge pages under the first `bytes` bytes, before any is written; whether they came. They take fewer steps
    /// to send: an ordinary page of 4 KiB is looked up, counted and let go each by itself. Asked for like this they come
    /// whatever the system's settings for shared memory are (Linux 6.1 and newer).
    pub(crate) fn ask_for_huge_pages(&self, bytes: usize) -> bool {
        let bytes = bytes.min(span(self.length)).next_multiple_of(HUGE_BYTES);
        // Where there is no page at all there is nothing to make a huge one of. What is written here is written over.
        let touch = |at| rustix::io::pwrite(&self.file, &[0], at as u64).is_ok();
        if !(0..bytes.min(self.length)).step_by(HUGE_BYTES).all(touch) {
            return false;
        }
        // SAFETY: It lies within the mapping, and changes which pages hold its bytes, but no byte.
        unsafe { libc::madvise(self.base.as_ptr().cast(), bytes, libc::MADV_COLLAPSE) == 0 }
    }

    /// Gives out a stretch of `length` bytes, if that many are left.
    pub(crate) fn region(self: &Arc<Self>, length: usize) -> Option<Region> {
        let rounded = length.checked_next_multiple_of(PAGE_BYTES)?;
        let next = |given: usize| {
            given.checked_add(length).filter(|end| *end <= self.length).map(|_| given.saturating_add(rounded))
        };
        let start = self.given.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()?;
        let (mapping, pen, written) = (Arc::clone(self), Mutex::new(0), AtomicUsize::new(0));
        Some(Region { mapping, start, length, pen, written })
    }

    /// The addresses of the whole file.
    pub(crate) fn addresses(&self) -> Range<usize> {
        let start = self.base.as_ptr().addr();
        start..start.saturating_add(self.length)
    }

    /// The file.
    pub(crate) fn file(&self) -> &OwnedFd {
        &self.file
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // Before the addresses may become somebody else's.
        registry::forget(self.addresses().start);
        // SAFETY: It was mapped at this length, and nobody refers to it any more: slices of it borrow from a region, and
        // each region holds this.
        unsafe { unmap(self.base, span(self.length)) };
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a memory file of {} bytes", self.length)
    }
}

impl Region {
    /// Appends as much as fits; gives how many bytes are there now.
    pub(crate) fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut pen = self.pen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = bytes.get(..bytes.len().min(self.length.saturating_sub(*pen))).unwrap_or_default();
        while !left.is_empty() {
            let at = self.start.saturating_add(*pen);
            let count = match rustix::io::pwrite(&self.mapping.file, left, at as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => count.min(left.len()),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            left = left.get(count..).unwrap_or_default();
            *pen = pen.saturating_add(count);
            self.written.store(*pen, Ordering::Release);
        }
        Ok(*pen)
    }

    /// How many bytes are there.
    pub(crate) fn written(&self) -> usize {
        self.written.load(Ordering::Acquire)
    }

    /// These bytes, if all of them are there.
    pub(crate) fn bytes(&self, range: &Range<usize>) -> Option<&[u8]> {
        let length = range.end.checked_sub(range.start)?;
        if range.end > self.written() {
            return None;
        }
        let start = self.start.checked_add(range.start)?;
        // SAFETY: The range lies within what was written, which lies within the mapping (`append`, `Mapping::region`),
        // which is there for as long as `self`. Its bytes don't change: they are read-only here, nobody else has the
        // file, `append` only writes behind what was written, and other regions lie elsewhere.
        Some(unsafe { std::slice::from_raw_parts(self.mapping.base.as_ptr().add(start), length) })
    }
}

/// Addresses that a file of this length takes: whole huge pages. What lies behind its end is never looked at.
fn span(length: usize) -> usize {
    length.next_multiple_of(HUGE_BYTES)
}

/// Reserves the addresses for a file of this length, beginning where a huge page may. There is nothing behind them yet.
fn reserve(length: usize) -> io::Result<NonNull<u8>> {
    let span = span(length);
    let (all, flags) = (span.saturating_add(HUGE_BYTES), MapFlags::PRIVATE | MapFlags::NORESERVE);
    // SAFETY: No address is asked for, so nothing that anybody has is replaced.
    let start = unsafe { mmap_anonymous(std::ptr::null_mut(), all, ProtFlags::empty(), flags) }?;
    let start = NonNull::new(start.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
    let before = start.as_ptr().addr().next_multiple_of(HUGE_BYTES).saturating_sub(start.as_ptr().addr());
    // SAFETY: Both lie within what was just reserved, or at its end, and nobody refers to what is given back.
    unsafe {
        let base = start.add(before);
        unmap(start, before);
        unmap(base.add(span), HUGE_BYTES.saturating_sub(before));
        Ok(base)
    }
}

/// Gives addresses back.
///
/// # Safety
///
/// They are mapped by this file, and nobody refers to them any more.
unsafe fn unmap(start: NonNull<u8>, length: usize) {
    if length > 0 {
        // SAFETY: As above.
        let unmapped = unsafe { munmap(start.as_ptr().cast(), length) };
        debug_assert!(unmapped.is_ok(), "what is mapped can be given back");
    }
}
