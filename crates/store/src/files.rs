//! Small files in a folder, each there as a whole or not at all, whatever dies in between.
//!
//! A file is written under a temporary name beside its place and then put there in one step, so a reader never sees half
//! of it, and `kill -9` leaves at most a temporary file, which a later [`Files::open`] sweeps away.

use crate::key::{self, BadKey};
use bytes::Bytes;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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

/// One file in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// Its length in bytes.
    pub bytes: u64,
}

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key is none.
    #[error(transparent)]
    Key(#[from] BadKey),
    /// The system said no.
    #[error("can't {doing} {path}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

impl Error {
    /// Whether the disk, or the quota on it, is full.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
    }
}

impl Files {
    /// Opens a folder, making it if need be, and sweeps away what a crash left in it.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, Error> {
        let root = root.into();
        fs::create_dir_all(&root).map_err(io_error("make the folder", &root))?;
        walk(&root, &mut |path, metadata| {
            let age = metadata.modified().ok().and_then(|at| at.elapsed().ok()).unwrap_or_default();
            if is_temporary(path) && age > ABANDONED {
                // Another process may sweep too; what can't be removed does no harm.
                let _ = fs::remove_file(path);
            }
        })?;
        Ok(Self { root })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Writes a whole file, in place of the one that may be there.
    pub fn put(&self, key: &str, chunks: &[Bytes], sync: Sync) -> Result<(), Error> {
        let path = self.path(key)?;
        self.write(&path, chunks, sync, |temporary| fs::rename(temporary, &path))
    }

    /// Writes a whole file unless there is one. Says whether it did; of several writers at once just one does.
    pub fn create(&self, key: &str, chunks: &[Bytes], sync: Sync) -> Result<bool, Error> {
        let path = self.path(key)?;
        let mut created = true;
        // A link, unlike a rename, fails where something is.
        self.write(&path, chunks, sync, |temporary| match fs::hard_link(temporary, &path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                created = false;
                Ok(())
            }
            linked => linked,
        })?;
        Ok(created)
    }

    /// Reads a whole file, if it is there.
    pub fn get(&self, key: &str) -> Result<Option<Bytes>, Error> {
        let path = self.path(key)?;
        match fs::read(&path) {
            Ok(content) => Ok(Some(content.into())),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(io_error("read", &path)(error)),
        }
    }

    /// All files whose keys begin with `folder` and a slash, or all if it is empty, in order of key.
    pub fn list(&self, folder: &str) -> Result<Vec<Entry>, Error> {
        let start = if folder.is_empty() { self.root.clone() } else { self.path(folder)? };
        let mut entries = Vec::new();
        walk(&start, &mut |path, metadata| {
            // What is no key was put there by somebody else: leave it alone.
            if let Some(key) = path.strip_prefix(&self.root).ok().and_then(Path::to_str)
                && key::check(key).is_ok()
            {
                entries.push(Entry { key: key.to_owned(), bytes: metadata.len() });
            }
        })?;
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(entries)
    }

    /// Removes a file, and the folders that are empty without it. Says whether it was there.
    pub fn remove(&self, key: &str) -> Result<bool, Error> {
        let path = self.path(key)?;
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if is_absent(&error) => return Ok(false),
            Err(error) => return Err(io_error("remove", &path)(error)),
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

    /// Writes a temporary file beside `path` and lets `place` put it there.
    fn write(
        &self,
        path: &Path,
        chunks: &[Bytes],
        sync: Sync,
        mut place: impl FnMut(&Path) -> io::Result<()>,
    ) -> Result<(), Error> {
        let folder = path.parent().unwrap_or(&self.root);
        let mut attempt = 0;
        let (temporary, mut file) = loop {
            attempt += 1;
            let temporary = Temporary::beside(folder);
            let open = || OpenOptions::new().write(true).create_new(true).open(&temporary.0);
            match fs::create_dir_all(folder).and_then(|()| open()) {
                Ok(file) => break (temporary, file),
                // The folder vanished between two steps, before the file was in it or while it was being made.
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists) && attempt < ATTEMPTS => {
                }
                Err(error) => return Err(io_error("write", path)(error)),
            }
        };
        let written = chunks.iter().try_for_each(|chunk| file.write_all(chunk));
        let written = written.and_then(|()| if sync == Sync::Durable { file.sync_all() } else { Ok(()) });
        written.map_err(io_error("write", path))?;
        place(&temporary.0).map_err(io_error("write", path))?;
        if sync == Sync::Durable {
            let synced = File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(io_error("sync the folder", folder))?;
        }
        Ok(())
    }
}

/// A temporary file, removed again wherever the write ends. After a rename there is nothing left to remove.
struct Temporary(PathBuf);

impl Temporary {
    fn beside(folder: &Path) -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        Self(folder.join(format!("{TEMPORARY}{}-{number}", std::process::id())))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Shows every plain file below a folder. Links are not followed; what vanishes meanwhile is not there.
fn walk(folder: &Path, visit: &mut impl FnMut(&Path, &fs::Metadata)) -> Result<(), Error> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => continue,
            Err(error) => return Err(io_error("list", &folder)(error)),
        };
        for entry in entries {
            let path = entry.map_err(io_error("list", &folder))?.path();
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_dir() => folders.push(path),
                Ok(metadata) if metadata.is_file() => visit(&path, &metadata),
                Ok(_) => {}
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(io_error("list", &path)(error)),
            }
        }
    }
    Ok(())
}

fn is_temporary(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(TEMPORARY))
}

/// Absent, or below something that is a file: either way there is no such file.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { doing, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    fn files() -> (tempfile::TempDir, Files) {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path().join("made")).unwrap();
        (folder, files)
    }

    fn keys(files: &Files, folder: &str) -> Vec<String> {
        files.list(folder).unwrap().into_iter().map(|entry| entry.key).collect()
    }

    /// Every name in the folder, temporary ones too.
    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn what_was_put_is_got_in_whole_and_replaced_in_whole() {
        let (_folder, files) = files();
        for sync in [Sync::Lazy, Sync::Durable] {
            files.put("a/b", &["one ".into(), "two".into()], sync).unwrap();
            assert_eq!(files.get("a/b").unwrap().unwrap(), "one two");
            files.put("a/b", &["3".into()], sync).unwrap();
            assert_eq!(files.get("a/b").unwrap().unwrap(), "3");
        }
        assert_eq!(names(&files.root().join("a")), ["b"]);
    }

    #[test]
    fn what_is_not_there_is_none() {
        let (_folder, files) = files();
        files.put("a", &["x".into()], Sync::Lazy).unwrap();
        for key in ["b", "b/c", "a/b"] {
            assert_eq!(files.get(key).unwrap(), None, "{key}");
            assert!(!files.remove(key).unwrap(), "{key}");
            assert!(files.list(key).unwrap().is_empty(), "{key}");
        }
    }

    #[test]
    fn of_many_creators_one_wins_and_nothing_is_left_over() {
        let (_folder, files) = files();
        let barrier = Barrier::new(8);
        let create = |n: usize| {
            barrier.wait();
            files.create("x/one", &[Bytes::from(n.to_string())], Sync::Lazy).unwrap().then_some(n)
        };
        let winners: Vec<usize> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|n| scope.spawn(move || create(n))).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(winners.len(), 1);
        assert_eq!(files.get("x/one").unwrap().unwrap(), winners[0].to_string());
        assert_eq!(names(&files.root().join("x")), ["one"]);
    }

    #[test]
    fn listings_are_in_order_and_hold_only_keys() {
        let (_folder, files) = files();
        for key in ["b/2", "b/1", "a", "bb/3"] {
            files.put(key, &["xy".into()], Sync::Lazy).unwrap();
        }
        fs::write(files.root().join(".hidden"), "").unwrap();
        fs::write(files.root().join(format!("b/{TEMPORARY}1-1")), "").unwrap();
        std::os::unix::fs::symlink("/", files.root().join("link")).unwrap();
        assert_eq!(keys(&files, ""), ["a", "b/1", "b/2", "bb/3"]);
        assert_eq!(files.list("b").unwrap()[0], Entry { key: "b/1".to_owned(), bytes: 2 });
        assert_eq!(keys(&files, "b"), ["b/1", "b/2"]);
    }

    #[test]
    fn removing_takes_empty_folders_along_but_never_the_root() {
        let (_folder, files) = files();
        files.put("a/b/c", &[], Sync::Lazy).unwrap();
        files.put("a/d", &[], Sync::Lazy).unwrap();
        assert!(files.remove("a/b/c").unwrap());
        assert_eq!(names(&files.root().join("a")), ["d"]);
        assert!(files.remove("a/d").unwrap());
        assert!(names(files.root()).is_empty());
    }

    #[test]
    fn writers_and_removers_of_one_folder_do_not_trip_each_other() {
        let (_folder, files) = files();
        std::thread::scope(|scope| {
            for n in 0..4 {
                let files = &files;
                scope.spawn(move || {
                    for _ in 0..200 {
                        files.put(&format!("x/{n}"), &["x".into()], Sync::Lazy).unwrap();
                        assert!(files.remove(&format!("x/{n}")).unwrap());
                    }
                });
            }
        });
        assert!(names(files.root()).is_empty());
    }

    #[test]
    fn opening_sweeps_what_a_crash_left_but_not_what_is_being_written() {
        let (_folder, files) = files();
        let (old, new) = (files.root().join(".tmp-1-1"), files.root().join(".tmp-1-2"));
        let long_ago = std::time::SystemTime::now() - ABANDONED * 2;
        File::create(&old).unwrap().set_modified(long_ago).unwrap();
        File::create(&new).unwrap();
        files.put("old", &[], Sync::Lazy).unwrap();
        File::options().write(true).open(files.root().join("old")).unwrap().set_modified(long_ago).unwrap();
        Files::open(files.root()).unwrap();
        assert!(!old.exists() && new.exists());
        assert_eq!(keys(&files, ""), ["old"]);
    }

    #[test]
    fn a_write_that_fails_leaves_what_was_there() {
        let (_folder, files) = files();
        files.put("a/b", &["x".into()], Sync::Lazy).unwrap();
        // A folder is in the way of the file.
        let error = files.put("a", &["y".into()], Sync::Lazy).unwrap_err();
        assert!(!error.is_full(), "{error}");
        assert_eq!(names(files.root()), ["a"]);
        assert_eq!(files.get("a/b").unwrap().unwrap(), "x");
    }

    #[test]
    fn keys_that_climb_reach_nothing() {
        let (folder, files) = files();
        fs::write(folder.path().join("secret"), "s").unwrap();
        for key in ["../secret", "/etc/hostname", "a/../../secret"] {
            assert!(matches!(files.get(key), Err(Error::Key(_))), "{key}");
            assert!(matches!(files.put(key, &[], Sync::Lazy), Err(Error::Key(_))), "{key}");
            assert!(matches!(files.remove(key), Err(Error::Key(_))), "{key}");
            assert!(matches!(files.list(key), Err(Error::Key(_))), "{key}");
        }
    }
}
