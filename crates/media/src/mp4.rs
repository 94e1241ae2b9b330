//! Fragmented MP4 (CMAF): init segments and chunks, written byte by byte, and a strict reader for tests and `lint`.
//!
//! One track per file, track id 1. The same arguments give the same bytes: no time, no randomness. Knows how boxes are
//! laid out; where segments begin is [`crate::cut`]'s affair.

mod boxes;
mod chunk;
mod init;
pub mod read;
mod spherical;

pub use chunk::{Sample, Track, chunk};
pub use init::{init_audio, init_video};

#[cfg(test)]
mod tests;
