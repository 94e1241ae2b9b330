//! The files of one stream: inits, segments and parts, in memory while they are new, on disk while they are listed.
//!
//! Files are named by [`media::route::File`]; a name never gets other content. Knows no playlists. Memory holds what the
//! disk has not taken yet, so a full disk costs memory for the length of the window and a warning, never the stream.

use bytes::Bytes;
use media::ladder::Rendition;
use media::route::File;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tokio::sync::mpsc;

/// Segments behind the newest one that stay in memory, with their parts: what players at the live edge ask for, and twice
/// the three target durations within which parts are listed.
const SEGMENTS_IN_MEMORY: u64 = 6;

/// Writes that may wait for the disk; more are not kept (they stay in memory until they expire).
const WRITES_WAITING_MAX: usize = 256;

/// One stream's files.
#[derive(Debug)]
pub(crate) struct Files {
    dir: PathBuf,
    held: Mutex<Table>,
    /// `None` once the stream is over.
    writes: Mutex<Option<mpsc::Sender<Write>>>,
}

#[derive(Debug, Default)]
struct Table {
    files: HashMap<(Rendition, File), Held>,
    newest: u64,
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
    pub(crate) fn new(dir: PathBuf) -> (Self, mpsc::Receiver<Write>) {
        let (writes, queue) = mpsc::channel(WRITES_WAITING_MAX);
        (Self { dir, held: Mutex::default(), writes: Mutex::new(Some(writes)) }, queue)
    }

    /// Where they are.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether an earlier process left this file.
    pub(crate) fn left_behind(&self, rendition: Rendition, file: &File) -> bool {
        path(&self.dir, rendition, file).is_file()
    }

    /// Takes over a file that an earlier process left.
    pub(crate) fn adopt(&self, rendition: Rendition, file: File) {
        let mut table = self.table();
        if let File::Segment(msn) = file {
            table.newest = table.newest.max(msn);
        }
        table.files.insert((rendition, file), Held { etag: None, body: None, on_disk: true });
    }

    /// Takes a new file; inits and segments go to disk as well. `false` if the disk is so far behind that this one is not
    /// written.
    pub(crate) fn insert(&self, rendition: Rendition, file: File, body: Vec<Bytes>) -> bool {
        let keep = !matches!(file, File::Part(..));
        let held = Held { etag: Some(etag(&body)), body: Some(body.clone()), on_disk: false };
        let mut table = self.table();
        if let File::Segment(msn) = file {
            table.newest = table.newest.max(msn);
        }
        table.files.entry((rendition, file.clone())).or_insert(held);
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

    /// Lets go what may go at `now` (UTC ms).
    pub(crate) fn sweep(&self, now: i64) {
        let mut table = self.table();
        let mut gone = Vec::new();
        while let Some((_, numbers)) = table.expired.pop_front_if(|(until, _)| *until <= now) {
            let old: Vec<(Rendition, File)> =
                table.files.keys().filter(|(_, file)| is_of(file, &numbers)).cloned().collect();
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
        let body = vec![Bytes::from(tokio::fs::read(path(&self.dir, rendition, file)).await?)];
        let etag = etag(&body);
        if let Some(held) = self.table().files.get_mut(&key) {
            held.etag = Some(etag.clone());
        }
        Ok(Some(Found { etag, body }))
    }

    /// The writer has put a file on disk.
    fn written(&self, rendition: Rendition, file: File) {
        let mut table = self.table();
        if let Some(held) = table.files.get_mut(&(rendition, file)) {
            held.on_disk = true;
        }
        table.trim();
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
    /// Drops old parts, and old segments' bytes once they are on disk.
    fn trim(&mut self) {
        let Some(oldest) = self.newest.checked_sub(SEGMENTS_IN_MEMORY) else { return };
        self.files.retain(|(_, file), held| match file {
            File::Part(msn, _) => *msn >= oldest,
            File::Segment(msn) => {
                if *msn < oldest && held.on_disk {
                    held.body = None;
                }
                true
            }
            _ => true,
        });
    }
}

/// Works off a stream's writes until the stream is gone; `warn` hears of failures, once per kind of failure in a row.
pub(crate) async fn write_all(files: std::sync::Arc<Files>, mut queue: mpsc::Receiver<Write>, warn: impl Fn(String)) {
    let mut last_failure: Option<io::ErrorKind> = None;
    while let Some(job) = queue.recv().await {
        let dir = files.dir.clone();
        let done = match &job {
            Write::File(rendition, file, _) => Some((*rendition, file.clone())),
            _ => None,
        };
        let result = tokio::task::spawn_blocking(move || perform(&dir, job)).await.unwrap_or_else(|_| {
            // The closure has nothing that panics; a runtime that goes away cancels it.
            Err(io::Error::from(io::ErrorKind::Interrupted))
        });
        match result {
            Ok(()) => {
                last_failure = None;
                if let Some((rendition, file)) = done {
                    files.written(rendition, file);
                }
            }
            Err(error) if last_failure != Some(error.kind()) => {
                last_failure = Some(error.kind());
                warn(format!("cannot keep the live window in {}: {error}", files.dir.display()));
            }
            Err(_) => {}
        }
    }
}

fn perform(dir: &Path, job: Write) -> io::Result<()> {
    match job {
        // Not synced: a window that the machine's crash takes is a window nobody would come back to in time.
        Write::File(rendition, file, body) => write_whole(&path(dir, rendition, &file), &body),
        Write::State(state) => write_whole(&state_path(dir), &[Bytes::from(state)]),
        Write::Remove(files) => {
            for (rendition, file) in files {
                match std::fs::remove_file(path(dir, rendition, &file)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            Ok(())
        }
    }
}

fn write_whole(path: &Path, body: &[Bytes]) -> io::Result<()> {
    use std::io::Write as _;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let temporary = path.with_extension("tmp");
    let mut file = std::fs::File::create(&temporary)?;
    body.iter().try_for_each(|chunk| file.write_all(chunk))?;
    std::fs::rename(&temporary, path)
}

/// Where a stream's state file is.
pub(crate) fn state_path(dir: &Path) -> PathBuf {
    dir.join("state.json")
}

fn path(dir: &Path, rendition: Rendition, file: &File) -> PathBuf {
    dir.join(rendition.to_string()).join(file.to_string())
}

fn is_of(file: &File, numbers: &[u64]) -> bool {
    matches!(file, File::Segment(msn) | File::Part(msn, _) if numbers.contains(msn))
}

fn etag(body: &[Bytes]) -> String {
    let mut hash = Sha256::new();
    body.iter().for_each(|chunk| hash.update(chunk));
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
