//! The edge over real sockets, in front of origins that do as they are told.
#![allow(clippy::unwrap_used, clippy::panic, reason = "in tests a panic is the report")]

mod guard;
mod media;
mod playlists;
mod support;
