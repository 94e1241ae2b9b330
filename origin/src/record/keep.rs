//! Puts down what a session records: files first, then the journal's lines of them, then word to the uploader.
//!
//! One blocking thread a session, which works off a bounded queue. Whatever the disk refuses ends the recording, never
//! the stream.

use super::flv::Muxer;
use super::ledger::{Ledger, Line, Vod, asset, key};
use super::spool::{Journal, Place, Spool, Waiting};
use super::{Shared, Status};
use crate::ingest::Ingested;
use bytes::Bytes;
use media::hls::date;
use media::ladder::Rendition;
use media::route::File;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a session that can't be finished for want of room waits before it tries again.
const FINISH_EVERY: Duration = Duration::from_secs(1);

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

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    /// `ended` or `lost`.
    pub(crate) reason: &'static str,
    /// UTC ms.
    pub(crate) at_ms: i64,
}

/// A file for the uploader, and after what it must be stored: lower ranks come first.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) rank: u8,
    pub(crate) file: Waiting,
}

/// Ranks of uploads: nobody sees a playlist before what it lists, nor an asset before its playlists.
pub(super) const MEDIA: u8 = 0;
const PLAYLIST: u8 = 1;
const MULTIVARIANT: u8 = 2;
pub(super) const LISTING: u8 = 3;
const ENDED: u8 = 4;

/// A session being put down.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(super) shared: Arc<Shared>,
    pub(super) spool: Spool,
    pub(super) ledger: Ledger,
    pub(super) status: Arc<Status>,
    pub(super) uploads: BTreeMap<Place, mpsc::UnboundedSender<Upload>>,
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
        uploads: BTreeMap<Place, mpsc::UnboundedSender<Upload>>,
        queued: Arc<AtomicU64>,
    ) -> Self {
        let muxer = Muxer::default();
        Self { shared, spool, ledger, status, uploads, queued, journal: None, muxer, part: None }
    }

    /// Takes up what an earlier process left: what waits goes to the uploader, and what it was writing is closed.
    pub(super) fn take_up(&mut self) {
        match self.spool.waiting() {
            Ok(mut waiting) => {
                waiting.sort_by_key(|file| rank(&file.key));
                waiting.into_iter().for_each(|file| self.upload(rank(&file.key), file));
            }
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

    /// Writes what makes the session whole. Tries until there is room for it; `false` if the process ends before that.
    pub(super) fn finish(&mut self, end: &End) -> bool {
        loop {
            match self.write_end(end) {
                Ok(()) => return true,
                Err(error) => {
                    tracing::error!(stream = %self.ledger.name, %error, "can't finish a recording yet");
                    if self.shared.shutdown.is_cancelled() {
                        return false;
                    }
                    std::thread::sleep(FINISH_EVERY);
                }
            }
        }
    }

    fn take(&mut self, item: Item) -> io::Result<()> {
        match item {
            Item::Publish => self.muxer.publish(),
            Item::Tag(tag) => self.tag(&tag)?,
            Item::File(rendition, file, body) => {
                let Some(asset) = self.ledger.asset() else { return Ok(()) };
                self.spool.has_room()?;
                let key = key(&asset, &format!("{rendition}/{file}"));
                let file = self.spool.add(Place::Egress, &key, &body).map_err(io_error)?;
                self.upload(MEDIA, file);
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
        let key = format!("rec/{}/{}/{number}.flv", self.ledger.name, self.ledger.session);
        let Some(file) = self.spool.close_part(number, &key)? else { return Ok(()) };
        let line = Line::Part { number, bytes: file.bytes };
        let written = self.write(vec![line.clone()]);
        // Also where the journal has no room for it: storing the file makes some.
        self.ledger.enter(line);
        self.upload(MEDIA, file);
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
        lines.into_iter().for_each(|line| self.ledger.enter(line));
        Ok(())
    }

    fn write_end(&mut self, end: &End) -> io::Result<()> {
        let vod = self.ledger.vod().filter(|_| self.ledger.rungs);
        let asset_id = self.ledger.asset().filter(|_| vod.is_some());
        if let (Some(vod), Some(id)) = (&vod, &asset_id) {
            self.write_vod(vod, id)?;
        }
        if self.ledger.parts.is_empty() && asset_id.is_none() {
            return Ok(());
        }
        let folder = format!("rec/{}/{}", self.ledger.name, self.ledger.session);
        let parts: Vec<serde_json::Value> = self
            .ledger
            .parts
            .iter()
            .map(|(number, bytes)| serde_json::json!({ "key": format!("{folder}/{number}.flv"), "bytes": bytes }))
            .collect();
        let ended = serde_json::json!({
            "name": self.ledger.name, "session": self.ledger.session, "asset": asset_id,
            "start": date(self.ledger.epoch.map_or(self.ledger.began_ms, |(anchor_ms, _)| anchor_ms)),
            "end": date(end.at_ms), "reason": end.reason, "parts": parts,
            "renditions": vod.map(|vod| vod.renditions).unwrap_or_default(), "recording": self.status.words(),
        });
        self.put(Place::Ingest, &format!("{folder}/ended.json"), ended.to_string())
    }

    fn write_vod(&mut self, vod: &Vod, id: &str) -> io::Result<()> {
        for (name, text) in &vod.playlists {
            self.put(Place::Egress, &key(id, name), text.clone())?;
        }
        self.put(Place::Egress, &key(id, &File::Playlist.to_string()), vod.multivariant.clone())?;
        let listing = asset(&self.ledger.name, id, vod);
        self.put(Place::Egress, &super::catalog::key(id), listing.to_string())
    }

    fn put(&mut self, place: Place, key: &str, text: String) -> io::Result<()> {
        let file = self.spool.add(place, key, &[Bytes::from(text)]).map_err(io_error)?;
        self.upload(rank(key), file);
        Ok(())
    }

    fn upload(&mut self, rank: u8, file: Waiting) {
        if let Some(words) = self.shared.backlog.add(file.bytes) {
            self.status.stop(&self.ledger.name, words);
        }
        if let Some(uploads) = self.uploads.get(&file.place) {
            // The uploader goes only after this, or with the process: then the file is found at the next start.
            let _ = uploads.send(Upload { rank, file });
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

/// After what a key must be stored.
fn rank(key: &str) -> u8 {
    let name = key.rsplit('/').next().unwrap_or_default();
    match (name, key.split('/').count()) {
        ("ended.json", _) => ENDED,
        _ if super::catalog::id(key).is_some() => LISTING,
        (_, 3) if name.ends_with(".m3u8") => MULTIVARIANT,
        _ if name.ends_with(".m3u8") => PLAYLIST,
        _ => MEDIA,
    }
}

/// The system's own kind where there is one.
fn io_error(error: store::Error) -> io::Error {
    if error.is_full() { io::Error::new(ErrorKind::StorageFull, error) } else { io::Error::other(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lists_is_stored_after_what_is_listed() {
        for (key, expected) in [
            ("rec/foo/s/0.flv", MEDIA),
            ("vod/foo-1/source/7.m4s", MEDIA),
            ("vod/foo-1/source/init-00.mp4", MEDIA),
            ("vod/foo-1/source/index.m3u8", PLAYLIST),
            ("vod/foo-1/source/iframes.m3u8", PLAYLIST),
            ("vod/foo-1/index.m3u8", MULTIVARIANT),
            ("assets/foo-1.json", LISTING),
            ("rec/foo/s/ended.json", ENDED),
        ] {
            assert_eq!(rank(key), expected, "{key}");
        }
    }
}
