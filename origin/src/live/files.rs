//! The files of one stream: inits, segments and parts, in memory while they are new, on disk while they are listed.
//!
//! Files are named by [`media::route::File`]; a name never gets other content. Knows no playlists. Memory holds what the
//! disk has not taken yet, so a full disk costs memory for the length of the window and a warning, never the stream.

use bytes::Bytes;
use media::ladder::Rendition;
use media::route::File;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use tokio::sync::mpsc;

/// Segments behind the newest one that stay in memory: what players at the live edge ask for.
const SEGMENTS_IN_MEMORY: u64 = 6;

/// Writes that may wait for the disk; more are not kept (they stay in memory until they expire).
const WRITES_WAITING_MAX: usize = 256;

/// The state file's key.
const STATE_KEY: &str = "state.json";

/// One stream's files.
#[derive(Debug)]
pub(crate) struct Files {
    disk: store::Files,
    held: Mutex<Table>,
    /// `None` once the stream is over.
    writes: Mutex<Option<mpsc::Sender<Write>>>,
}

#[derive(Debug, Default)]
struct Table {
    files: HashMap<(Rendition, File), Held>,
    newest: u64,
    parts_from: u64,
    /// Numbers that left the playlists, and when their files may go (UTC ms).
    expired: VecDeque<(i64, Vec<u64>)>,
}

/// A file at hand.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) etag: String,
    pub(crate) body: Vec<Bytes>,
}

#[derive(Debug)]
struct Held {
    /// `None` until a file that an earlier process left is read for the first time.
    etag: Option<String>,
    /// `None` once only the disk has it.
    body: Option<Vec<Bytes>>,
    on_disk: bool,
}

/// Work for the writer, in order.
#[derive(Debug)]
pub(crate) enum Write {
    /// A file's content.
    File(Rendition, File, Vec<Bytes>),
    /// The state file.
    State(Vec<u8>),
    /// Files to remove.
    Remove(Vec<(Rendition, File)>),
}

impl Files {
    /// The files below `dir`, and the queue that [`write_all`] works off.
    pub(crate) fn new(dir: PathBuf) -> Result<(Self, mpsc::Receiver<Write>), store::Error> {
        let (writes, queue) = mpsc::channel(WRITES_WAITING_MAX);
        let disk = store::Files::open(dir)?;
        Ok((Self { disk, held: Mutex::default(), writes: Mutex::new(Some(writes)) }, queue))
    }

    /// What an earlier process left: its state file, and the keys of the others.
    pub(crate) fn left_behind(&self) -> Result<(Option<Bytes>, HashSet<String>), store::Error> {
        let keys = self.disk.list("")?.into_iter().map(|entry| entry.key).collect();
        Ok((self.disk.get(STATE_KEY)?, keys))
    }

    /// Removes everything.
    pub(crate) fn remove_all(&self) -> io::Result<()> {
        std::fs::remove_dir_all(self.disk.root())
    }

    /// Takes over the files that an earlier process left: those that are listed for good, the others until `until` (UTC
    /// ms), since playlists that named them may still be about.
    pub(crate) fn take_over(&self, listed: &HashSet<(Rendition, File)>, keys: &HashSet<String>, until: i64) {
        let mut table = self.table();
        let mut others = Vec::new();
        for (rendition, file) in keys.iter().filter_map(|key| read_key(key)) {
            match file {
                File::Segment(msn) if listed.contains(&(rendition, file.clone())) => {
                    table.newest = table.newest.max(msn)
                }
                File::Segment(msn) => others.push(msn),
                _ => {}
            }
            table.files.insert((rendition, file), Held { etag: None, body: None, on_disk: true });
        }
        table.expired.push_back((until, others));
    }

    /// Takes a new file; inits and segments go to disk as well. Parts below `parts_from` are let go. `false` if the disk is
    /// so far behind that this one is not written.
    pub(crate) fn insert(&self, rendition: Rendition, file: File, body: Vec<Bytes>, parts_from: u64) -> bool {
        let keep = !matches!(file, File::Part(..));
        let held = Held { etag: Some(etag(&body)), body: Some(body.clone()), on_disk: false };
        let mut table = self.table();
        if let File::Segment(msn) = file {
            table.newest = table.newest.max(msn);
        }
        table.files.entry((rendition, file.clone())).or_insert(held);
        if table.parts_from < parts_from {
            table.parts_from = parts_from;
            table.files.retain(|(_, file), _| !matches!(file, File::Part(msn, _) if *msn < parts_from));
        }
        table.trim();
        drop(table);
        !keep || self.write(Write::File(rendition, file, body))
    }

    /// Keeps the state file. A state that the disk has no time for is followed by a newer one.
    pub(crate) fn save(&self, state: Vec<u8>) {
        self.write(Write::State(state));
    }

    /// These numbers left the playlists; their files may go at `until` (UTC ms).
    pub(crate) fn expire(&self, numbers: Vec<u64>, until: i64) {
        self.table().expired.push_back((until, numbers));
    }

    /// These numbers left the live window, and others have their files: they may go at once.
    pub(crate) fn release(&self, numbers: Vec<u64>) {
        self.table().expired.push_front((0, numbers));
    }

    /// Whether [`Files::sweep`] has anything to do at `now` (UTC ms).
    pub(crate) fn is_due(&self, now: i64) -> bool {
        self.table().expired.front().is_some_and(|(until, _)| *until <= now)
    }

    /// Lets go what may go at `now` (UTC ms), and then all inits but the listed ones.
    pub(crate) fn sweep(&self, now: i64, inits: &HashSet<(Rendition, File)>) {
        let mut table = self.table();
        let mut gone = Vec::new();
        while let Some((_, numbers)) = table.expired.pop_front_if(|(until, _)| *until <= now) {
            let old: Vec<(Rendition, File)> =
                table.files.keys().filter(|key| is_of(&key.1, &numbers) || is_old_init(key, inits)).cloned().collect();
            for key in old {
                if table.files.remove(&key).is_some_and(|held| held.on_disk) {
                    gone.push(key);
                }
            }
        }
        drop(table);
        if !gone.is_empty() {
            self.write(Write::Remove(gone));
        }
    }

    /// Whether a file is there.
    pub(crate) fn has(&self, rendition: Rendition, file: &File) -> bool {
        self.table().files.contains_key(&(rendition, file.clone()))
    }

    /// A file, from memory or from disk.
    pub(crate) async fn get(&self, rendition: Rendition, file: &File) -> io::Result<Option<Found>> {
        let key = (rendition, file.clone());
        {
            let table = self.table();
            let Some(held) = table.files.get(&key) else { return Ok(None) };
            if let (Some(etag), Some(body)) = (&held.etag, &held.body) {
                return Ok(Some(Found { etag: etag.clone(), body: body.clone() }));
            }
        }
        let (disk, name) = (self.disk.clone(), file_key(rendition, file));
        let read = tokio::task::spawn_blocking(move || disk.get(&name)).await.map_err(io::Error::other)?;
        let Some(bytes) = read.map_err(io::Error::other)? else { return Err(io::ErrorKind::NotFound.into()) };
        let body = vec![bytes];
        let etag = etag(&body);
        if let Some(held) = self.table().files.get_mut(&key) {
            held.etag = Some(etag.clone());
        }
        Ok(Some(Found { etag, body }))
    }

    /// A file from disk, at once: for the start.
    pub(crate) fn read_now(&self, rendition: Rendition, file: &File) -> Option<Bytes> {
        self.disk.get(&file_key(rendition, file)).ok().flatten()
    }

    /// The writer has put a file on disk. `false` if it was let go meanwhile.
    fn written(&self, rendition: Rendition, file: File) -> bool {
        let mut table = self.table();
        let Some(held) = table.files.get_mut(&(rendition, file)) else { return false };
        held.on_disk = true;
        table.trim();
        true
    }

    /// No more writes: [`write_all`] ends after those that wait.
    pub(crate) fn close(&self) {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn write(&self, job: Write) -> bool {
        let writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        writes.as_ref().is_some_and(|writes| writes.try_send(job).is_ok())
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        // A poisoned table is still a table: its invariants hold between any two statements here.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Drops old segments' bytes once they are on disk.
    fn trim(&mut self) {
        let Some(oldest) = self.newest.checked_sub(SEGMENTS_IN_MEMORY) else { return };
        for ((_, file), held) in &mut self.files {
            if held.on_disk && matches!(file, File::Segment(msn) if *msn < oldest) {
                held.body = None;
            }
        }
    }
}

/// Works off a stream's writes until the stream is gone; `warn` hears of a failure, once while it lasts.
pub(crate) async fn write_all(files: std::sync::Arc<Files>, mut queue: mpsc::Receiver<Write>, warn: impl Fn(String)) {
    let mut last_failure: Option<String> = None;
    while let Some(job) = queue.recv().await {
        let disk = files.disk.clone();
        let done = match &job {
            Write::File(rendition, file, _) => Some((*rendition, file.clone())),
            _ => None,
        };
        let result = tokio::task::spawn_blocking(move || perform(&disk, job)).await;
        match result {
            Ok(Ok(())) => {
                last_failure = None;
                if let Some((rendition, file)) = done
                    && !files.written(rendition, file.clone())
                {
                    files.write(Write::Remove(vec![(rendition, file)]));
                }
            }
            Ok(Err(error)) => {
                let words = format!("cannot keep the live window in {}: {error}", files.disk.root().display());
                if last_failure.as_ref() != Some(&words) {
                    warn(words.clone());
                }
                last_failure = Some(words);
            }
            // Only a runtime that goes away does this.
            Err(_) => return,
        }
    }
}

fn perform(disk: &store::Files, job: Write) -> Result<(), store::Error> {
    match job {
        // Not synced: a window that a power cut takes is a window nobody would come back to in time.
        Write::File(rendition, file, body) => disk.put(&file_key(rendition, &file), &body, store::Sync::Lazy),
        Write::State(state) => disk.put(STATE_KEY, &[Bytes::from(state)], store::Sync::Lazy),
        Write::Remove(files) => files.iter().try_for_each(|(rendition, file)| {
            disk.remove(&file_key(*rendition, file))?;
            Ok(())
        }),
    }
}

/// The key of a file below the stream's folder.
pub(crate) fn file_key(rendition: Rendition, file: &File) -> String {
    format!("{rendition}/{file}")
}

/// The file of a key, if it is one.
fn read_key(key: &str) -> Option<(Rendition, File)> {
    let (rendition, name) = key.split_once('/')?;
    Some((rendition.parse().ok()?, File::parse(name)?))
}

fn is_old_init(key: &(Rendition, File), listed: &HashSet<(Rendition, File)>) -> bool {
    matches!(key.1, File::Init(_)) && !listed.contains(key)
}

fn is_of(file: &File, numbers: &[u64]) -> bool {
    matches!(file, File::Segment(msn) | File::Part(msn, _) if numbers.contains(msn))
}

fn etag(body: &[Bytes]) -> String {
    let mut hash = Sha256::new();
    body.iter().for_each(|chunk| hash.update(chunk));
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
