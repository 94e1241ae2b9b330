//! What a stream, a rung, a segment, a playlist and a URL are.
//!
//! Everything here is a function of its arguments: no I/O, no clock, no tokio, no FFmpeg. Time comes in as a
//! parameter, bytes come in as [`bytes::Bytes`]. Start reading with [`mod@unit`], then [`route`], [`cut`] and [`hls`].
#![forbid(unsafe_code)]

pub mod aac;
pub mod audio;
mod bits;
pub mod clock;
pub mod cut;
pub mod error;
pub mod flv;
pub mod h264;
pub mod hls;
pub mod ladder;
pub mod mp4;
pub mod name;
pub mod package;
pub mod pass;
pub mod projection;
pub mod protect;
pub mod rate;
pub mod route;
pub mod unit;
pub mod window;
