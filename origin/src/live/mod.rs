//! One stream's life.
//!
//! `core` decides (pure), helped by `session` (timing), `epoch` and `running` (cuts, numbers, renditions), `output`
//! (packaging) `load` (how much of the ladder this machine can afford) and `pulse` (what comes in, measured). `stream` acts: one task a stream, which owns the core, the ladder's child (`ladder`), the publisher's claim
//! (`publisher`), the files (`files`) and the playlists' texts (`shown`). `registry` says which streams there are.

mod core;
#[cfg(test)]
mod core_tests;
mod epoch;
mod files;
mod ladder;
mod load;
mod output;
mod publisher;
mod pulse;
mod registry;
mod running;
mod session;
mod shown;
mod stream;

pub(crate) use core::{Core, State};
pub(crate) use files::Found;
pub(crate) use registry::{Door, Registry};
pub(crate) use shown::{Kind, Shown};
pub(crate) use stream::Stream;
