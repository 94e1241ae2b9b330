//! What a stream may know of its recording: which segments are safe on disk, and what was recorded before this process.
//!
//! The keeper puts in, the stream takes out; nobody waits for anybody.

use super::ledger::Entry;
use media::hls::Segment;
use media::ladder::Rendition;
use media::route::File;
use std::sync::{Mutex, PoisonError};

/// Segments that wait to be taken out, at most: a stream that lives takes them out many times a second.
const WAITING_MAX: usize = 65_536;

/// What has been recorded of a stream.
#[derive(Debug, Default)]
pub(crate) struct Shelf(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    fresh: Vec<(Rendition, u64)>,
    journal: Vec<(Rendition, u64, Segment)>,
}

impl Shelf {
    /// A file is safe: in the spool, and later in the store.
    pub(super) fn put(&self, rendition: Rendition, file: &File) {
        let mut inside = self.lock();
        if let File::Segment(msn) = file
            && inside.fresh.len() < WAITING_MAX
        {
            inside.fresh.push((rendition, *msn));
        }
    }

    /// The session goes on that has this in its journal.
    pub(super) fn went_before<'a>(&self, entries: impl Iterator<Item = &'a Entry>) {
        let read = |entry: &Entry| Some((entry.rendition.parse().ok()?, entry.msn, segment(entry)));
        self.lock().journal = entries.filter_map(read).collect();
    }

    /// What has become safe since the last time.
    pub(crate) fn take(&self) -> Vec<(Rendition, u64)> {
        std::mem::take(&mut self.lock().fresh)
    }

    /// What an earlier process recorded of the epoch that goes on. Once.
    pub(crate) fn journal(&self) -> Vec<(Rendition, u64, Segment)> {
        std::mem::take(&mut self.lock().journal)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A segment as live playlists listed it when its parts were no longer listed.
fn segment(entry: &Entry) -> Segment {
    Segment {
        uri: File::Segment(entry.msn).to_string(),
        seconds: entry.seconds,
        gap: entry.gap,
        discontinuity: entry.discontinuity,
        map: entry.map.clone(),
        key: entry.key.clone(),
        date_ms: entry.date_ms,
        parts: Vec::new(),
        first_chunk: entry.first_chunk,
    }
}
