//! The edge over real sockets, in front of origins that do as they are told.

mod guard;
mod media;
mod playlists;
mod support;
