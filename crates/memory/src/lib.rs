//! Files in memory that the kernel can send by itself: larger objects of which many viewers get the same bytes.
//!
//! A [`Pool`] begins an object whose length is known; its [`Filler`] takes the bytes as they come, and an [`Object`] gives
//! what is there as `Bytes` like any others. Whoever writes such bytes to a socket may ask `find` whether they are a
//! stretch of a memory file: then sendfile(2) passes the kernel's own pages on, instead of copying them for each viewer.
//! Whoever doesn't ask loses nothing else.
//!
//! No byte of a file is ever written twice, and no file is used again: a socket holds pages for long after sendfile(2)
//! has returned. Only Linux has this. Elsewhere, beyond [`FILES_MAX`] and where the system has no more to give nothing
//! begins, and the caller keeps his bytes as he always did.
#![deny(unsafe_op_in_unsafe_fn)]

#[cfg(target_os = "linux")]
mod limit;
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "maps files: it says there why that is sound")]
mod mapping;
#[cfg(not(target_os = "linux"))]
mod nowhere;
#[cfg(target_os = "linux")]
mod object;
#[cfg(target_os = "linux")]
mod pool;
#[cfg(target_os = "linux")]
mod registry;

#[cfg(target_os = "linux")]
pub use limit::raise_open_files;
#[cfg(not(target_os = "linux"))]
pub use nowhere::{Filler, Life, Object, Pool, count, raise_open_files};
#[cfg(target_os = "linux")]
pub use object::{Filler, Object, Stretch, count, find};
#[cfg(target_os = "linux")]
pub use pool::{Life, Pool};

/// Smaller objects are as well copied, and cheaper kept.
pub const FILE_BYTES_MIN: usize = 64 * 1024;

/// Larger ones have a file of their own.
pub const SHARED_OBJECT_BYTES_MAX: usize = 512 * 1024;

/// A huge page, and what small objects share.
pub const HUGE_BYTES: usize = 2 * 1024 * 1024;

/// Most memory files at a time. Each takes a file descriptor and a mapping, of which Linux gives a process 65,530.
pub const FILES_MAX: usize = 16 * 1024;

/// Which part of the process's file descriptors may be memory files, one of so many: the others are connections.
pub const FILES_SHARE: usize = 4;

#[cfg(all(test, target_os = "linux"))]
mod tests;
