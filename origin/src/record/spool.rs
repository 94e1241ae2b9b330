//! A session's folder below `data_dir/recording`: what is not stored yet, and the journal of what has been recorded.
//!
//! `journal.jsonl` · `open/{n}.flv`, being written · `ingest/{key}` and `egress/{key}`, to be stored under that key.
//! Blocking: for threads that may. A file is in one of the last two only when it is whole and safe on disk, and is
//! removed only when the store has it.

use super::ledger::{Ledger, Line};
use bytes::Bytes;
use media::ladder::Rendition;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;
use store::{Files, Sync};

const JOURNAL: &str = "journal.jsonl";

/// What recordings leave of a disk: this part of it…
const RESERVE_SHARE: u64 = 20;

/// … at most so many bytes.
const RESERVE_BYTES_MAX: u64 = 1 << 30;

/// So many times that must be free before a recording that the disk has stopped goes on.
const RESERVES_TO_GO_ON: u64 = 2;

/// Which store a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    /// What came in.
    Ingest,
    /// What viewers get.
    Egress,
}

/// A file that waits for its store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) place: Place,
    pub(crate) key: String,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

/// A session's folder.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    files: Files,
}

/// A journal, open at its end.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
}

impl Place {
    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Egress => "egress",
        }
    }
}

impl Spool {
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { files: Files::at(root) }
    }

    pub(crate) fn root(&self) -> &Path {
        self.files.root()
    }

    /// Writes a file for a store, safe from power cuts; nothing if it is there already.
    pub(crate) fn add(&self, place: Place, key: &str, body: &[Bytes]) -> Result<Waiting, store::Error> {
        let name = format!("{}/{key}", place.folder());
        self.files.create(&name, body, Sync::Durable)?;
        let bytes = body.iter().map(|chunk| chunk.len() as u64).sum();
        Ok(Waiting { place, key: key.to_owned(), path: self.root().join(name), bytes })
    }

    /// An error where what is left of the disk is for others, such as the live window.
    pub(crate) fn has_room(&self) -> io::Result<()> {
        self.has_reserves(1)
    }

    /// The same for going on after the disk has said no: with some more, so that it doesn't say so again at once.
    pub(crate) fn has_room_again(&self) -> io::Result<()> {
        self.has_reserves(RESERVES_TO_GO_ON)
    }

    fn has_reserves(&self, reserves: u64) -> io::Result<()> {
        // The folder of all recordings: the session's own may not be there yet.
        let folder = self.root().ancestors().find(|folder| folder.exists()).unwrap_or(self.root());
        let disk = nix::sys::statvfs::statvfs(folder)?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.fragment_size());
        let reserve = (bytes(disk.blocks()) / RESERVE_SHARE).min(RESERVE_BYTES_MAX);
        if bytes(disk.blocks_available()) < reserve.saturating_mul(reserves) {
            Err(ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }

    /// What waits, oldest first.
    pub(crate) fn waiting(&self) -> Result<Vec<Waiting>, store::Error> {
        let mut found = Vec::new();
        for place in [Place::Ingest, Place::Egress] {
            let folder = place.folder();
            for entry in self.files.list(folder)? {
                let Some(key) = entry.key.strip_prefix(folder).and_then(|key| key.strip_prefix('/')) else { continue };
                let path = self.root().join(&entry.key);
                let waiting = Waiting { place, key: key.to_owned(), path, bytes: entry.bytes };
                found.push((entry.modified, waiting));
            }
        }
        found.sort_by_key(|(modified, _)| *modified);
        Ok(found.into_iter().map(|(_, waiting)| waiting).collect())
    }

    /// The journal as it was left; empty if there is none.
    pub(crate) fn ledger(&self) -> Ledger {
        let text = std::fs::read(self.root().join(JOURNAL)).unwrap_or_default();
        Ledger::read(&String::from_utf8_lossy(&text))
    }

    /// Opens the journal at its end, behind the last whole line.
    pub(crate) fn journal(&self) -> io::Result<Journal> {
        std::fs::create_dir_all(self.root())?;
        let path = self.root().join(JOURNAL);
        let whole = match std::fs::read(&path) {
            Ok(text) => text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at.saturating_add(1)),
            Err(_) => 0,
        };
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        file.set_len(whole as u64)?;
        Ok(Journal { file })
    }

    /// Begins a file of what came in.
    pub(crate) fn begin_part(&self, number: u64) -> io::Result<File> {
        std::fs::create_dir_all(self.root().join("open"))?;
        File::create(self.open_part(number))
    }

    /// The file of what came in is whole: it may be stored under this key. `None` if it holds nothing.
    pub(crate) fn close_part(&self, number: u64, key: &str) -> io::Result<Option<Waiting>> {
        let from = self.open_part(number);
        let file = OpenOptions::new().write(true).open(&from)?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        if bytes == 0 {
            std::fs::remove_file(&from)?;
            return Ok(None);
        }
        let to = self.root().join(Place::Ingest.folder()).join(key);
        if let Some(folder) = to.parent() {
            std::fs::create_dir_all(folder)?;
            std::fs::rename(&from, &to)?;
            File::open(folder)?.sync_all()?;
        }
        Ok(Some(Waiting { place: Place::Ingest, key: key.to_owned(), path: to, bytes }))
    }

    /// Numbers of files of what came in that were never closed.
    pub(crate) fn open_parts(&self) -> Vec<u64> {
        let entries = std::fs::read_dir(self.root().join("open")).into_iter().flatten().flatten();
        let number = |name: &str| name.strip_suffix(".flv")?.parse().ok();
        let mut numbers: Vec<u64> = entries.filter_map(|entry| number(entry.file_name().to_str()?)).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Whether nothing waits and no part is open. An error where nobody can say.
    pub(crate) fn is_empty(&self) -> io::Result<bool> {
        match std::fs::read_dir(self.root().join("open")) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(self.open_parts().is_empty() && self.waiting().map_err(io::Error::other)?.is_empty())
    }

    /// Sizes of the segments that wait.
    pub(crate) fn segments(&self) -> HashMap<(Rendition, u64), u64> {
        let waiting = self.waiting().unwrap_or_default();
        waiting.iter().filter_map(|file| Some((segment(&file.key)?, file.bytes))).collect()
    }

    /// When something was last recorded, UTC ms.
    pub(crate) fn touched_ms(&self) -> i64 {
        let modified = std::fs::metadata(self.root().join(JOURNAL)).and_then(|metadata| metadata.modified()).ok();
        let since = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    /// Removes the folder with whatever is in it, and its stream's if it is empty then.
    pub(crate) fn remove(&self) {
        if let Err(error) = std::fs::remove_dir_all(self.root()) {
            tracing::warn!(folder = %self.root().display(), %error, "can't remove a recording's folder");
        }
        if let Some(above) = self.root().parent() {
            // Another session of the stream may be in it.
            let _ = std::fs::remove_dir(above);
        }
    }

    fn open_part(&self, number: u64) -> PathBuf {
        self.root().join("open").join(format!("{number}.flv"))
    }
}

/// The segment that has this key, if one has.
fn segment(key: &str) -> Option<(Rendition, u64)> {
    let (folder, name) = key.rsplit_once('/')?;
    let rendition = folder.rsplit('/').next()?.parse().ok()?;
    match media::route::File::parse(name)? {
        media::route::File::Segment(msn) => Some((rendition, msn)),
        _ => None,
    }
}

impl Journal {
    /// Adds lines, safe from power cuts.
    pub(crate) fn write(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
        }
        self.file.write_all(&text)?;
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests;
