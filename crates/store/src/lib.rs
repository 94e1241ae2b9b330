//! Where bytes are kept: files that are whole or absent.
//!
//! Knows keys and bytes, nothing of streams. The functions block; call them from `spawn_blocking` or a thread of your own.
#![forbid(unsafe_code)]

mod files;
mod key;

pub use files::{Entry, Error, Files, Sync};
pub use key::{BadKey, KEY_BYTES_MAX, check as check_key};
