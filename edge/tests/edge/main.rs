//! The edge over real sockets, in front of origins that do as they are told.
#![allow(clippy::unwrap_used, clippy::panic, reason = "in tests a panic is the report")]

mod failover;
mod follow;
mod guard;
mod herd;
mod hostile;
mod media;
mod playlists;
mod sim;
mod support;
mod tiers;
mod viewer;
mod vod;
mod walk;
mod watch;
