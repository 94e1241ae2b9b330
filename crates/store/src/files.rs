//! Small files in a folder, each there as a whole or not at all, whatever dies in between.
//!
//! A file is written under a temporary name beside its place and then put there in one step, so a reader never sees half
//! of it, and `kill -9` leaves at most a temporary file, which a later [`Files::open`] or [`Files::list`] sweeps away.

use crate::error::{Error, io_error};
use crate::key;
use bytes::Bytes;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// What the names of temporary files begin with. No key's part begins with a dot.
const TEMPORARY: &str = ".tmp-";

/// From which age on a temporary file belongs to nobody who still runs: writing one takes milliseconds.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Times a write is begun again because its folder was removed meanwhile for being empty.
const ATTEMPTS: u32 = 64;

/// Distinguishes the temporary files of one process.
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A folder of files by key. Cloning gives another handle to the same folder.
#[derive(Debug, Clone)]
pub struct Files {
    root: PathBuf,
}

/// Whether a write waits until a power cut can't undo it. A crash of the process never can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// Leave it to the system, which writes within seconds.
    Lazy,
    /// Wait for the disk: file and folder.
    Durable,
}

/// What is known of a file or object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was written.
    pub modified: SystemTime,
    /// Its ETag, in quotes: another whenever it was written again.
    pub etag: Option<String>,
}

impl Files {
    /// Opens a folder, making it if need be, and sweeps away what a crash left in it.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, Error> {
        let files = Self::at(root);
        let root = files.root();
        let made = !root.exists();
        fs::create_dir_all(root).map_err(io_error("make the folder", root))?;
        if made {
            files.sync_above();
        }
        walk(root, &mut |_, _| {})?;
        Ok(files)
    }

    /// A folder that need not be there yet: the first write makes it.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Writes a whole file, in place of the one that may be there.
    pub fn put(&self, key: &str, chunks: &[Bytes], sync: Sync) -> Result<(), Error> {
        self.replace(key, sync, |file| chunks.iter().try_for_each(|chunk| file.write_all(chunk)))
    }

    /// Writes a whole file unless there is one. Says whether it did; of several writers at once just one does.
    pub fn create(&self, key: &str, chunks: &[Bytes], sync: Sync) -> Result<bool, Error> {
        self.create_new(key, sync, |file| chunks.iter().try_for_each(|chunk| file.write_all(chunk)))
    }

    /// [`Files::put`] of what another file has.
    pub fn put_file(&self, key: &str, source: &Path, sync: Sync) -> Result<(), Error> {
        let mut source = open_source(source)?;
        self.replace(key, sync, |file| io::copy(&mut source, file).map(drop))
    }

    /// [`Files::create`] of what another file has.
    pub fn create_file(&self, key: &str, source: &Path, sync: Sync) -> Result<bool, Error> {
        // Copying gigabytes to learn that they are there already helps nobody.
        if self.head(key)?.is_some() {
            return Ok(false);
        }
        let mut source = open_source(source)?;
        self.create_new(key, sync, |file| io::copy(&mut source, file).map(drop))
    }

    /// Reads a whole file, if it is there.
    pub fn get(&self, key: &str) -> Result<Option<Bytes>, Error> {
        let path = self.path(key)?;
        present(fs::read(&path)).map(|content| content.map(Bytes::from)).map_err(io_error("read", path))
    }

    /// Opens a file to read it bit by bit, if it is there. What is put in its place later doesn't show in it.
    pub fn reader(&self, key: &str) -> Result<Option<(File, Entry)>, Error> {
        let path = self.path(key)?;
        let opened = File::open(&path).and_then(|file| file.metadata().map(|metadata| (file, metadata)));
        let opened = present(opened).map_err(io_error("read", path))?;
        Ok(opened.filter(|(_, metadata)| metadata.is_file()).map(|(file, metadata)| (file, entry(key, &metadata))))
    }

    /// What is known of a file, if it is there.
    pub fn head(&self, key: &str) -> Result<Option<Entry>, Error> {
        let path = self.path(key)?;
        let metadata = present(fs::metadata(&path)).map_err(io_error("look at", path))?;
        Ok(metadata.filter(Metadata::is_file).map(|metadata| entry(key, &metadata)))
    }

    /// All files whose keys begin with `folder` and a slash, or all if it is empty, in order of key. Sweeps away what
    /// crashes left there.
    pub fn list(&self, folder: &str) -> Result<Vec<Entry>, Error> {
        let start = if folder.is_empty() { self.root.clone() } else { self.path(folder)? };
        let mut entries = Vec::new();
        walk(&start, &mut |path, metadata| {
            // What is no key was put there by somebody else: leave it alone.
            if let Some(key) = path.strip_prefix(&self.root).ok().and_then(Path::to_str)
                && key::check(key).is_ok()
            {
                entries.push(entry(key, metadata));
            }
        })?;
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(entries)
    }

    /// Removes a file, and the folders that are empty without it. Says whether it was there.
    pub fn remove(&self, key: &str) -> Result<bool, Error> {
        let path = self.path(key)?;
        if present(fs::remove_file(&path)).map_err(io_error("remove", &path))?.is_none() {
            return Ok(false);
        }
        let parents = path.ancestors().skip(1).take_while(|parent| *parent != self.root);
        // The first folder that is not empty ends it.
        let _ = parents.map(fs::remove_dir).find(Result::is_err);
        Ok(true)
    }

    fn path(&self, key: &str) -> Result<PathBuf, Error> {
        key::check(key)?;
        Ok(self.root.join(key))
    }

    fn replace(&self, key: &str, sync: Sync, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), Error> {
        let path = self.path(key)?;
        self.write(&path, sync, fill, |temporary| fs::rename(temporary, &path))
    }

    fn create_new(&self, key: &str, sync: Sync, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<bool, Error> {
        let path = self.path(key)?;
        self.write(&path, sync, fill, |temporary| link_new(temporary, &path))
    }

    /// Fills a temporary file beside `path` and lets `place` put it there.
    fn write<T>(
        &self,
        path: &Path,
        sync: Sync,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
        place: impl FnOnce(&Path) -> io::Result<T>,
    ) -> Result<T, Error> {
        let folder = path.parent().unwrap_or(&self.root);
        let failed = |error: io::Error| match error.kind() {
            ErrorKind::IsADirectory | ErrorKind::NotADirectory => Error::Clash { path: path.to_owned() },
            _ => io_error("write", path)(error),
        };
        let (temporary, mut file) = self.begin(folder).map_err(failed)?;
        let written = fill(&mut file);
        let written = written.and_then(|()| if sync == Sync::Durable { file.sync_all() } else { Ok(()) });
        written.map_err(io_error("write", path))?;
        let placed = place(&temporary.0).map_err(failed)?;
        if sync == Sync::Durable {
            self.sync_folders(folder)?;
        }
        Ok(placed)
    }

    /// Makes a temporary file in a folder, and the folder if need be.
    fn begin(&self, folder: &Path) -> io::Result<(Temporary, File)> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let temporary = Temporary::beside(folder);
            let open = || OpenOptions::new().write(true).create_new(true).open(&temporary.0);
            match fs::create_dir_all(folder).and_then(|()| open()) {
                Ok(file) => return Ok((temporary, file)),
                Err(_) if self.is_blocked(folder) => return Err(ErrorKind::NotADirectory.into()),
                // The folder vanished between two steps, before the file was in it or while it was being made.
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists) && attempt < ATTEMPTS => {
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether a file is where this folder, or one above it, would be.
    fn is_blocked(&self, folder: &Path) -> bool {
        let within = folder.ancestors().take_while(|above| *above != self.root);
        within.filter_map(|above| fs::metadata(above).ok()).any(|metadata| !metadata.is_dir())
    }

    /// Waits until a file that was placed here is found again after a power cut: its folder, and those above it, which
    /// may be new too, whoever made them.
    fn sync_folders(&self, folder: &Path) -> Result<(), Error> {
        for above in folder.ancestors() {
            // Who removed it again has removed the file with it.
            let synced = present(File::open(above).and_then(|folder| folder.sync_all()));
            synced.map_err(io_error("sync the folder", above))?;
            if above == self.root {
                break;
            }
        }
        Ok(())
    }

    /// The same for the root. What is above it need not be ours to read: then whoever made it sees to that.
    fn sync_above(&self) {
        if let Some(above) = self.root.parent() {
            let _ = File::open(above).and_then(|folder| folder.sync_all());
        }
    }
}

/// A temporary file, removed again wherever the write ends. After a rename there is nothing left to remove.
struct Temporary(PathBuf);

impl Temporary {
    fn beside(folder: &Path) -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        Self(folder.join(format!("{TEMPORARY}{}-{number}", std::process::id())))
    }

    fn is(path: &Path) -> bool {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(TEMPORARY))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Links a file to a name unless there is a file of that name: a link, unlike a rename, fails where something is.
fn link_new(temporary: &Path, path: &Path) -> io::Result<bool> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        match fs::hard_link(temporary, path) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        match present(fs::symlink_metadata(path))? {
            Some(metadata) if metadata.is_dir() => return Err(ErrorKind::IsADirectory.into()),
            Some(_) => return Ok(false),
            // It was removed meanwhile; if it was a folder, nothing was ever there.
            None if attempt < ATTEMPTS => {}
            None => return Err(ErrorKind::AlreadyExists.into()),
        }
    }
}

fn open_source(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(io_error("read", path))
}

fn entry(key: &str, metadata: &Metadata) -> Entry {
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    // A file is never written in place, so one that was written again is another inode with a later time.
    let nanos = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let etag = format!("\"{:x}-{nanos:x}-{:x}\"", metadata.ino(), metadata.len());
    Entry { key: key.to_owned(), bytes: metadata.len(), modified, etag: Some(etag) }
}

/// Shows every plain file below a folder but temporary ones, and removes those that nobody writes any more. Links are
/// not followed; what vanishes meanwhile is not there.
fn walk(folder: &Path, visit: &mut impl FnMut(&Path, &Metadata)) -> Result<(), Error> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Some(entries) = present(fs::read_dir(&folder)).map_err(io_error("list", &folder))? else { continue };
        for entry in entries {
            let path = entry.map_err(io_error("list", &folder))?.path();
            match present(fs::symlink_metadata(&path)).map_err(io_error("list", &path))? {
                Some(metadata) if metadata.is_dir() => folders.push(path),
                Some(metadata) if metadata.is_file() && Temporary::is(&path) => {
                    let age = metadata.modified().ok().and_then(|at| at.elapsed().ok()).unwrap_or_default();
                    if age > ABANDONED {
                        // Another process may sweep too; what can't be removed does no harm.
                        let _ = fs::remove_file(path);
                    }
                }
                Some(metadata) if metadata.is_file() => visit(&path, &metadata),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Absent, a folder, or below something that is a file: in each case there is no such file.
fn present<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
