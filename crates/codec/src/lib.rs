//! FFmpeg behind one safe door, and the child process it runs in.
//!
//! [`ladder::Engine`] turns a source's access units into those of the smaller rungs; [`child`] runs it in a process
//! of its own and speaks [`wire`] with it. [`vod`] does the
//! same, and looks through files first, for recordings and uploads. [`encode`] and [`decode`] are for tools and tests. Knows no stream names,
//! playlists, HTTP or storage. The only crate with `unsafe`; each use says why it is sound.

pub mod child;
mod convert;
pub mod decode;
pub mod encode;
mod error;
pub mod ladder;
mod open;
pub mod picture;
mod scale;
pub mod vod;
pub mod wire;
mod x264;

pub use error::Error;

/// Keeps libav's log to what went wrong: its chatter goes to stderr, which belongs to the program.
pub(crate) fn quieten() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(loud);
}

/// The log as [`quieten`] leaves it.
pub(crate) fn loud() {
    ffmpeg_next::log::set_level(ffmpeg_next::log::Level::Warning);
}
