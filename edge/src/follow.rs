//! What followers of one stream find out, and what viewers get of it: which origin leads, who agrees with whom, how
//! numbers go on when another takes over.
//!
//! Pure: events and the time go in, changed playlists come out. [`crate::hub`] has the tasks that ask. Origins are
//! numbers here, in order of preference.

mod agree;
mod ask;
mod event;
mod spans;
mod stream;
mod takeover;

pub(crate) use agree::{Agreement, Check};
pub(crate) use ask::{Ask, Seen};
pub(crate) use event::{Event, Look, Outcome, Shown, Timing};
pub(crate) use spans::{Source, Spans};
pub(crate) use stream::Stream;

use crate::key::Key;
use media::ladder::Rendition;
use media::name::StreamName;
use media::route::{File, Route};

/// One playlist of a stream that is followed by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Track {
    /// Whose.
    pub(crate) rendition: Rendition,
    /// Its I-frame playlist.
    pub(crate) iframes: bool,
}

impl Track {
    /// The stream and track that a playlist's address, or a media file's, belongs to.
    pub(crate) fn of(route: &Route) -> Option<(StreamName, Self)> {
        let Route::Hls(name, rendition, file) = route else { return None };
        Some((name.clone(), Self { rendition: *rendition, iframes: *file == File::IFrames }))
    }

    /// The address of its playlist.
    pub(crate) fn key(self, name: &StreamName) -> Key {
        let file = if self.iframes { File::IFrames } else { File::Playlist };
        Key { route: Route::Hls(name.clone(), self.rendition, file), directives: None }
    }
}

#[cfg(test)]
mod tests;
