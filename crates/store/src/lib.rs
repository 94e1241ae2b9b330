//! Where bytes are kept: a folder or a bucket of objects that are whole or absent.
//!
//! [`Objects`] is either, and what tiers use for what is kept; [`Files`] is a folder alone, for what a process keeps to
//! itself. Knows keys and bytes, nothing of streams. What [`Files`] does blocks: call it from `spawn_blocking` or a
//! thread of your own.
#![forbid(unsafe_code)]

mod body;
mod error;
mod files;
mod key;
mod limits;
mod local;
mod objects;
mod place;
#[cfg(feature = "aws")]
mod s3;

pub use body::Body;
pub use error::{Error, Trouble};
pub use files::{Entry, Files, Sync};
pub use key::{BadKey, KEY_BYTES_MAX, check as check_key};
pub use limits::Limits;
pub use objects::{Creation, Facts, Listing, Object, Objects, PAGE_MAX};
pub use place::{BadPlace, Place};
