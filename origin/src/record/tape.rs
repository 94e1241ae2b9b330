//! A stream's side of its recording: hands on what there is, without ever waiting.
//!
//! The queue to the disk is bounded in items and bytes. Where it is full the recording stops with an alarm, and the live
//! stream goes on.

use super::keep::Item;
use super::ledger::{End, Entry, Line, Reason, Shape};
use super::{Recorder, Status, asset_id};
use crate::ingest::Ingested;
use crate::live::{Core, State};
use bytes::Bytes;
use media::ladder::Rendition;
use media::name::StreamName;
use media::route::File;
use service::config::Record;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc;

/// Items that may wait for the disk.
pub(super) const ITEMS_WAITING_MAX: usize = 4096;

/// Bytes that may wait for the disk. They are the live window's own, so most of them cost no memory on top.
const BYTES_WAITING_MAX: u64 = 128 << 20;

/// A stream's recording.
#[derive(Debug)]
pub(crate) struct Tape {
    pub(super) recorder: Recorder,
    pub(super) name: StreamName,
    pub(super) record: Record,
    pub(super) status: Arc<Status>,
    pub(super) open: Option<Open>,
}

/// A session in progress.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) items: mpsc::Sender<Item>,
    pub(super) queued: Arc<AtomicU64>,
    pub(super) end: Arc<OnceLock<End>>,
    /// The epoch's anchor, once there is one.
    pub(super) anchor: Option<i64>,
    /// Sizes of segments that were handed on and are not in the journal yet.
    pub(super) sizes: HashMap<(Rendition, u64), u64>,
    /// The newest number in the journal.
    pub(super) noted: HashMap<Rendition, u64>,
    pub(super) shape: Option<Shape>,
}

impl Tape {
    /// What `/stat` says of it.
    pub(crate) fn status(&self) -> Arc<Status> {
        self.status.clone()
    }

    /// A publisher begins. With an epoch in progress its session goes on.
    pub(crate) fn publish(&mut self, now: i64) {
        if self.record == Record::Off {
            return;
        }
        if self.open.is_none() {
            self.open = Some(self.recorder.begin(&self.name, self.record, &self.status, now));
        }
        self.send(Item::Publish);
    }

    /// What the publisher sent.
    pub(crate) fn tag(&mut self, tag: &Ingested) {
        self.send(Item::Tag(tag.clone()));
    }

    /// A file of a rung.
    pub(crate) fn file(&mut self, core: &Core, rendition: Rendition, file: &File, body: &[Bytes]) {
        if self.record != Record::All || matches!(file, File::Part(..)) {
            return;
        }
        self.anchor(core);
        let item = Item::File(rendition, file.clone(), body.to_vec());
        let bytes = item.bytes();
        if self.send(item)
            && let (Some(open), File::Segment(msn)) = (&mut self.open, file)
        {
            open.sizes.insert((rendition, *msn), bytes);
        }
    }

    /// Looks what became of the stream; `closed` if a segment closed, or the state changed.
    pub(crate) fn observe(&mut self, core: &Core, closed: bool, now: i64) {
        let Some(open) = &self.open else { return };
        if open.anchor.is_some() && open.anchor != core.since() {
            return self.end(Reason::Ended, now);
        }
        self.anchor(core);
        if closed {
            self.note(core);
        }
        if matches!(core.state(), State::Ended(_)) {
            self.end(Reason::Ended, now);
        }
    }

    /// The epoch has begun: from now on there is an asset.
    fn anchor(&mut self, core: &Core) {
        let Some(open) = self.open.as_mut().filter(|open| open.anchor.is_none()) else { return };
        if let (Some(anchor_ms), Some(window)) = (core.since(), core.window()) {
            open.anchor = Some(anchor_ms);
            let epoch = Line::Epoch { anchor_ms, target_s: window.terms().target_s };
            self.send(Item::Lines(vec![epoch, Line::Layout(core.layout())]));
        }
    }

    /// Writes down the segments that were decided since the last time.
    fn note(&mut self, core: &Core) {
        let (Some(open), Some(window), Record::All) = (&mut self.open, core.window(), self.record) else { return };
        let mut lines = Vec::new();
        for rendition in window.renditions() {
            let noted = open.noted.get(&rendition).copied();
            if noted.is_some_and(|noted| window.tip(rendition).open <= noted.saturating_add(1)) {
                continue;
            }
            let Some(playlist) = window.playlist(rendition) else { continue };
            for (segment, msn) in playlist.segments.into_iter().zip(playlist.media_sequence..) {
                if noted.is_some_and(|noted| msn <= noted) {
                    continue;
                }
                // What never came here, say before a crash, is missing, whatever the live window has.
                let size = open.sizes.remove(&(rendition, msn)).filter(|_| !segment.gap);
                lines.push(Line::Segment(Entry {
                    rendition: rendition.to_string(),
                    msn,
                    seconds: segment.seconds,
                    date_ms: segment.date_ms,
                    gap: size.is_none(),
                    discontinuity: segment.discontinuity,
                    map: segment.map,
                    bytes: size.unwrap_or(0),
                    first_chunk: segment.first_chunk,
                }));
                open.noted.insert(rendition, msn);
            }
        }
        if lines.is_empty() {
            return;
        }
        let shape = core.multivariant(self.name.as_str()).map(|playlist| Shape::of(&playlist));
        if let Some(shape) = shape.filter(|shape| open.shape.as_ref() != Some(shape)) {
            open.shape = Some(shape.clone());
            lines.insert(0, Line::Shape(shape));
        }
        self.send(Item::Lines(lines));
    }

    fn end(&mut self, reason: Reason, at_ms: i64) {
        if let Some(open) = self.open.take() {
            // Read when the queue is closed, which dropping its only sender does.
            let _ = open.end.set(End { reason, at_ms });
            if let Some(anchor_ms) = open.anchor
                && !self.status.stopped()
            {
                tracing::info!(stream = %self.name, asset = asset_id(self.name.as_str(), anchor_ms), "recording ends");
            }
        }
    }

    /// Hands an item on. `false` if it was not taken.
    fn send(&mut self, item: Item) -> bool {
        let Some(open) = &self.open else { return false };
        if self.status.stopped() {
            return false;
        }
        let bytes = item.bytes();
        let waiting = open.queued.fetch_add(bytes, Ordering::Relaxed);
        let room = waiting == 0 || waiting.saturating_add(bytes) <= BYTES_WAITING_MAX;
        if room && open.items.try_send(item).is_ok() {
            return true;
        }
        open.queued.fetch_sub(bytes, Ordering::Relaxed);
        self.status.stop(self.name.as_str(), "the disk is too slow");
        false
    }
}
