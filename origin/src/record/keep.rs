//! Puts down what a session records: files first, then the journal's lines of them, then word to the uploader.
//!
//! One blocking thread a session, which works off a bounded queue. Whatever the disk refuses stops the recording, never
//! the stream: what is lost is a gap, and what little the rest needs (the journal's lines, init segments) is kept until
//! the disk takes it. When there is room again the recording goes on, at the next key frame.

use super::Shared;
use super::flv::{Muxer, Written};
use super::keys;
use super::ledger::{End, Ledger, Line, key};
use super::log::Log;
use super::spool::{Journal, Place, Spool, Waiting};
use super::status::Going;
use crate::ingest::Ingested;
use bytes::Bytes;
use media::h264;
use media::ladder::Rendition;
use media::route::File;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// Init segments that a disk which refuses them may leave in memory; a stream has a few in all.
const INITS_OWED_MAX: usize = 64;

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
    /// The recording has stopped: may it go on?
    Again,
}

/// A session being put down.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(super) shared: Arc<Shared>,
    pub(super) spool: Spool,
    pub(super) ledger: Ledger,
    pub(super) going: Arc<Going>,
    pub(super) uploads: BTreeMap<Place, mpsc::UnboundedSender<Waiting>>,
    log: Arc<Log>,
    /// Bytes that wait in the queue.
    pub(super) queued: Arc<AtomicU64>,
    journal: Option<Journal>,
    /// What an earlier process left has been found.
    taken_up: bool,
    /// The disk has refused something and nobody has looked since: only what is owed is kept.
    refusing: bool,
    /// Lines that are not in the journal yet.
    owed: Vec<Line>,
    inits_owed: VecDeque<(Rendition, File, Vec<Bytes>)>,
    /// Segments that the disk refused and no line has spoken of yet.
    lost: BTreeSet<(Rendition, u64)>,
    muxer: Muxer,
    /// What the publisher has last said of himself: metadata, video, audio.
    heads: [Option<Ingested>; 3],
    /// Something is missing of what came in: it goes on in a new file, at a key frame.
    cut: bool,
    part: Option<(u64, fs::File)>,
}

impl Keeper {
    pub(super) fn new(
        shared: Arc<Shared>,
        spool: Spool,
        ledger: Ledger,
        going: Arc<Going>,
        uploads: BTreeMap<Place, mpsc::UnboundedSender<Waiting>>,
        log: Arc<Log>,
        queued: Arc<AtomicU64>,
    ) -> Self {
        Self {
            shared,
            spool,
            ledger,
            going,
            uploads,
            log,
            queued,
            journal: None,
            taken_up: false,
            refusing: false,
            owed: Vec::new(),
            inits_owed: VecDeque::new(),
            lost: BTreeSet::new(),
            muxer: Muxer::default(),
            heads: [const { None }; 3],
            cut: false,
            part: None,
        }
    }

    /// Takes up what an earlier process left: what waits goes to the uploader, and what it was writing is closed.
    pub(super) fn take_up(&mut self) {
        if let Err(error) = self.try_take_up() {
            self.refused(&error);
        }
    }

    fn try_take_up(&mut self) -> io::Result<()> {
        if !self.taken_up {
            let waiting = self.spool.waiting().map_err(|error| match error.is_full() {
                true => io_error(error),
                false => io::Error::other(format!("its folder can't be read: {error}")),
            })?;
            self.taken_up = true;
            let noted = self.note_parts(&waiting);
            waiting.into_iter().for_each(|file| self.upload(file));
            noted?;
        }
        let in_hand = self.part.as_ref().map(|(number, _)| *number);
        let open = self.spool.open_parts().into_iter().filter(|number| Some(*number) != in_hand);
        open.map(|number| self.close_part(number)).fold(Ok(()), Result::and)
    }

    /// A crash may come between a part and its line: without it, its number would be taken for another one.
    fn note_parts(&mut self, waiting: &[Waiting]) -> io::Result<()> {
        let number = |file: &Waiting| keys::part_number(keys::within(&file.key)?.2);
        let line = |file: &Waiting| Some(Line::Part { number: number(file)?, bytes: file.bytes });
        let parts = waiting.iter().filter(|file| file.place == Place::Ingest);
        let unknown = parts.filter(|file| number(file).is_some_and(|number| !self.ledger.parts.contains_key(&number)));
        let lines: Vec<Line> = unknown.filter_map(line).collect();
        self.write(lines)
    }

    /// Works off the queue until it is closed.
    pub(super) fn record(&mut self, mut items: mpsc::Receiver<Item>) {
        while let Some(item) = items.blocking_recv() {
            let bytes = item.bytes();
            if let Err(error) = self.take(item) {
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
        // What a failed attempt has left gets another one; what that leaves is seen before anything is removed.
        if let Err(error) = self.try_take_up().and_then(|()| self.put_inits()) {
            self.refused(&error);
        }
        let end = end.filter(|_| self.ledger.end.is_none()).map(Line::End);
        if let Err(error) = self.write(end.into_iter().collect()) {
            // After a crash in the next moment it counts as lost, that is all.
            tracing::warn!(stream = %self.ledger.name, %error, "can't note a recording's end");
        }
        self.log.close();
        self.ledger
    }

    fn take(&mut self, item: Item) -> io::Result<()> {
        match item {
            Item::Publish => {
                self.muxer.publish();
                (self.heads, self.cut) = ([const { None }; 3], false);
            }
            Item::Tag(tag) => self.tag(tag)?,
            Item::File(rendition, file, body) => self.file(rendition, file, body)?,
            Item::Lines(mut lines) => {
                lines.iter_mut().for_each(|line| self.mind(line));
                self.write(lines)?;
            }
            Item::Again => self.again(),
        }
        Ok(())
    }

    /// Goes on if the disk and the stores' backlog have room. All that was accepted before has been worked off by now.
    fn again(&mut self) {
        if let Err(error) = self.look_again() {
            tracing::debug!(stream = self.ledger.name, %error, "the recording can't go on yet");
        } else {
            (self.refusing, self.cut) = (false, true);
            self.going.go_on();
        }
        self.going.answer();
    }

    fn look_again(&mut self) -> io::Result<()> {
        self.spool.has_room_again()?;
        if !self.shared.backlog.has_room() {
            return Err(io::Error::other("too much waits for the store"));
        }
        self.try_take_up()?;
        self.write(Vec::new())?;
        self.put_inits()
    }

    fn put_inits(&mut self) -> io::Result<()> {
        while let Some((rendition, file, body)) = self.inits_owed.front().cloned() {
            self.put(rendition, &file, &body)?;
            self.inits_owed.pop_front();
        }
        Ok(())
    }

    fn file(&mut self, rendition: Rendition, file: File, body: Vec<Bytes>) -> io::Result<()> {
        let put = if self.refusing { Ok(false) } else { self.put(rendition, &file, &body) };
        match (&put, &file) {
            (Ok(true), _) => {}
            (_, File::Segment(msn)) => drop(self.lost.insert((rendition, *msn))),
            (_, File::Init(_)) => {
                if self.inits_owed.len() >= INITS_OWED_MAX {
                    self.inits_owed.pop_front();
                }
                self.inits_owed.push_back((rendition, file, body));
            }
            _ => {}
        }
        put.map(drop)
    }

    /// Puts down a file of a rung. `false` if nobody knows whose it is.
    fn put(&mut self, rendition: Rendition, file: &File, body: &[Bytes]) -> io::Result<bool> {
        let Some(asset) = self.ledger.asset() else { return Ok(false) };
        self.spool.has_room()?;
        let key = key(&asset, &format!("{rendition}/{file}"));
        let added = self.spool.add(Place::Egress, &key, body).map_err(io_error)?;
        self.going.shelf().put(rendition, file);
        self.upload(added);
        Ok(true)
    }

    /// A segment that the disk refused is a gap.
    fn mind(&mut self, line: &mut Line) {
        if let Line::Segment(entry) = line
            && let Ok(rendition) = entry.rendition.parse()
            && self.lost.remove(&(rendition, entry.msn))
        {
            (entry.gap, entry.bytes) = (true, 0);
        }
    }

    fn tag(&mut self, tag: Ingested) -> io::Result<()> {
        let head = match &tag {
            Ingested::Metadata(_) => Some(0),
            Ingested::VideoConfig(_) => Some(1),
            Ingested::AudioConfig(_) => Some(2),
            Ingested::Video { .. } | Ingested::Audio { .. } => None,
        };
        if let Some(slot) = head.and_then(|index: usize| self.heads.get_mut(index)) {
            *slot = Some(tag.clone());
        }
        if self.refusing {
            return Ok(());
        }
        let Some(written) = (if self.cut { self.rejoin(&tag) } else { Some(self.muxer.push(&tag)) }) else {
            return Ok(());
        };
        if written.begins {
            if let Some((number, file)) = self.part.take() {
                drop(file);
                self.close_part(number)?;
            }
            self.spool.has_room()?;
            let number = self.next_part();
            self.part = Some((number, self.spool.begin_part(number)?));
        }
        if let Some((_, file)) = &mut self.part {
            let slices: Vec<u8> = written.bytes.concat();
            file.write_all(&slices)?;
        }
        Ok(())
    }

    /// What came in goes on at a key frame, or at once without pictures, as if the publisher had just come.
    fn rejoin(&mut self, tag: &Ingested) -> Option<Written> {
        let begins = match (tag, &self.heads[1]) {
            (Ingested::Video { data, .. }, Some(Ingested::VideoConfig(config))) => {
                h264::contains_idr(data, config.nal_length_size())
            }
            (Ingested::Audio { .. }, None) => true,
            _ => false,
        };
        if !begins {
            return None;
        }
        self.cut = false;
        self.muxer.publish();
        let heads: Vec<Bytes> = self.heads.iter().flatten().flat_map(|head| self.muxer.push(head).bytes).collect();
        let written = self.muxer.push(tag);
        // Long after the publisher's zero the muxer begins by itself, heads included.
        let bytes = if written.begins { written.bytes } else { [heads, written.bytes].concat() };
        Some(Written { begins: true, bytes })
    }

    /// A number that no part has, whatever became of it.
    fn next_part(&self) -> u64 {
        let noted = self.ledger.parts.keys().next_back().copied();
        let open = self.spool.open_parts().last().copied();
        noted.max(open).map_or(0, |last| last.saturating_add(1))
    }

    fn close_part(&mut self, number: u64) -> io::Result<()> {
        let key = keys::part(&self.ledger.name, &self.ledger.session, number);
        let Some(file) = self.spool.close_part(number, &key)? else { return Ok(()) };
        let written = self.write(vec![Line::Part { number, bytes: file.bytes }]);
        // Also where the journal has no room for it: storing the file makes some.
        self.upload(file);
        written
    }

    /// Notes lines. Those that the disk refuses are written with the next ones.
    fn write(&mut self, lines: Vec<Line>) -> io::Result<()> {
        lines.iter().cloned().for_each(|line| self.ledger.enter(line));
        self.owed.extend(lines);
        if self.owed.is_empty() {
            return Ok(());
        }
        let journal = match &mut self.journal {
            Some(journal) => journal,
            None => self.journal.insert(self.spool.journal()?),
        };
        if let Err(error) = journal.write(&self.owed) {
            // Half a line may be there: opening it again cuts that off.
            self.journal = None;
            return Err(error);
        }
        self.log.add(&self.owed);
        self.owed.clear();
        Ok(())
    }

    fn upload(&mut self, file: Waiting) {
        if let Some(words) = self.shared.backlog.add(file.bytes) {
            self.going.stop(words);
        }
        if let Some(uploads) = self.uploads.get(&file.place) {
            // The uploader goes only after this, or with the process: then the file is found at the next start.
            let _ = uploads.send(file);
        }
    }

    fn refused(&mut self, error: &io::Error) {
        self.refusing = true;
        let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        let words = if full { "disk full".to_owned() } else { error.to_string() };
        self.going.stop(&words);
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

#[cfg(test)]
mod tests;
