//! Puts down what a session records: files first, then the journal's lines of them, then word to the uploader.
//!
//! One blocking thread a session, which works off a bounded queue. Whatever the disk refuses ends the recording, never
//! the stream.

use super::flv::Muxer;
use super::keys;
use super::ledger::{End, Ledger, Line, key};
use super::log::Log;
use super::spool::{Journal, Place, Spool, Waiting};
use super::{Shared, Status};
use crate::ingest::Ingested;
use bytes::Bytes;
use media::ladder::Rendition;
use media::route::File;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// What a stream records.
#[derive(Debug)]
pub(crate) enum Item {
    /// A publisher begins.
    Publish,
    /// What he sent.
    Tag(Ingested),
    /// An init or a segment of a rung.
    File(Rendition, File, Vec<Bytes>),
    /// What is known of the files before.
    Lines(Vec<Line>),
}

/// A session being put down.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(super) shared: Arc<Shared>,
    pub(super) spool: Spool,
    pub(super) ledger: Ledger,
    pub(super) status: Arc<Status>,
    pub(super) uploads: BTreeMap<Place, mpsc::UnboundedSender<Waiting>>,
    log: Arc<Log>,
    /// Bytes that wait in the queue.
    pub(super) queued: Arc<AtomicU64>,
    journal: Option<Journal>,
    muxer: Muxer,
    part: Option<(u64, fs::File)>,
}

impl Keeper {
    pub(super) fn new(
        shared: Arc<Shared>,
        spool: Spool,
        ledger: Ledger,
        status: Arc<Status>,
        uploads: BTreeMap<Place, mpsc::UnboundedSender<Waiting>>,
        log: Arc<Log>,
        queued: Arc<AtomicU64>,
    ) -> Self {
        let muxer = Muxer::default();
        Self { shared, spool, ledger, status, uploads, log, queued, journal: None, muxer, part: None }
    }

    /// Takes up what an earlier process left: what waits goes to the uploader, and what it was writing is closed.
    pub(super) fn take_up(&mut self) {
        match self.spool.waiting() {
            Ok(waiting) => waiting.into_iter().for_each(|file| self.upload(file)),
            Err(error) => self.status.stop(&self.ledger.name, &format!("its folder can't be read: {error}")),
        }
        for number in self.spool.open_parts() {
            if let Err(error) = self.close_part(number) {
                self.refused(&error);
            }
        }
    }

    /// Works off the queue until it is closed.
    pub(super) fn record(&mut self, mut items: mpsc::Receiver<Item>) {
        while let Some(item) = items.blocking_recv() {
            let bytes = item.bytes();
            if !self.status.stopped()
                && let Err(error) = self.take(item)
            {
                self.refused(&error);
                // What is there of it can be stored, and makes room.
                self.end_part();
            }
            self.queued.fetch_sub(bytes, Ordering::Relaxed);
        }
        self.end_part();
    }

    fn end_part(&mut self) {
        if let Some((number, file)) = self.part.take() {
            drop(file);
            if let Err(error) = self.close_part(number) {
                self.refused(&error);
            }
        }
    }

    /// Nothing more comes: what the session is, and how it ended if it did.
    pub(super) fn end(mut self, end: Option<End>) -> Ledger {
        if self.ledger.end.is_none()
            && let Some(end) = end
        {
            let line = Line::End(end);
            if let Err(error) = self.write(vec![line.clone()]) {
                // After a crash in the next moment it counts as lost, that is all.
                tracing::warn!(stream = %self.ledger.name, %error, "can't note a recording's end");
                self.ledger.enter(line);
            }
        }
        self.log.close();
        self.ledger
    }

    fn take(&mut self, item: Item) -> io::Result<()> {
        match item {
            Item::Publish => self.muxer.publish(),
            Item::Tag(tag) => self.tag(&tag)?,
            Item::File(rendition, file, body) => {
                let Some(asset) = self.ledger.asset() else { return Ok(()) };
                self.spool.has_room()?;
                let key = key(&asset, &format!("{rendition}/{file}"));
                let added = self.spool.add(Place::Egress, &key, &body).map_err(io_error)?;
                self.status.shelf().put(rendition, &file);
                self.upload(added);
            }
            Item::Lines(lines) => self.write(lines)?,
        }
        Ok(())
    }

    fn tag(&mut self, tag: &Ingested) -> io::Result<()> {
        let written = self.muxer.push(tag);
        if written.begins {
            if let Some((number, file)) = self.part.take() {
                drop(file);
                self.close_part(number)?;
            }
            self.spool.has_room()?;
            let number = self.ledger.parts.keys().next_back().map_or(0, |last| last.saturating_add(1));
            self.part = Some((number, self.spool.begin_part(number)?));
        }
        if let Some((_, file)) = &mut self.part {
            let slices: Vec<u8> = written.bytes.concat();
            file.write_all(&slices)?;
        }
        Ok(())
    }

    fn close_part(&mut self, number: u64) -> io::Result<()> {
        let key = keys::part(&self.ledger.name, &self.ledger.session, number);
        let Some(file) = self.spool.close_part(number, &key)? else { return Ok(()) };
        let line = Line::Part { number, bytes: file.bytes };
        let written = self.write(vec![line.clone()]);
        // Also where the journal has no room for it: storing the file makes some.
        self.ledger.enter(line);
        self.upload(file);
        written
    }

    fn write(&mut self, lines: Vec<Line>) -> io::Result<()> {
        let journal = match &mut self.journal {
            Some(journal) => journal,
            None => self.journal.insert(self.spool.journal()?),
        };
        if let Err(error) = journal.write(&lines) {
            // Half a line may be there: opening it again cuts that off.
            self.journal = None;
            return Err(error);
        }
        self.log.add(&lines);
        lines.into_iter().for_each(|line| self.ledger.enter(line));
        Ok(())
    }

    fn upload(&mut self, file: Waiting) {
        if let Some(words) = self.shared.backlog.add(file.bytes) {
            self.status.stop(&self.ledger.name, words);
        }
        if let Some(uploads) = self.uploads.get(&file.place) {
            // The uploader goes only after this, or with the process: then the file is found at the next start.
            let _ = uploads.send(file);
        }
    }

    fn refused(&self, error: &io::Error) {
        let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        let words = if full { "disk full".to_owned() } else { error.to_string() };
        self.status.stop(&self.ledger.name, &words);
    }
}

impl Item {
    /// How much of the queue it takes.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Tag(Ingested::Video { data, .. } | Ingested::Audio { data, .. }) => data.len() as u64,
            Self::File(_, _, body) => body.iter().map(|chunk| chunk.len() as u64).sum(),
            _ => 0,
        }
    }
}

/// The system's own kind where there is one.
fn io_error(error: store::Error) -> io::Error {
    if error.is_full() { io::Error::new(ErrorKind::StorageFull, error) } else { io::Error::other(error) }
}
