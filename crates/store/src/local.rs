//! A folder as a store: [`Files`] off the runtime's threads and within time limits.
//!
//! Nothing here touches the disk before it is asked for something: opening a store that is only read from makes no
//! folder. Content types are not kept: a file has none.

use crate::body::Body;
use crate::error::{Error, io_error};
use crate::files::{Entry, Files, Sync};
use crate::limits::Limits;
use crate::objects::{Creation, Facts, Object};
use bytes::Bytes;
use std::io::{Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// A folder.
#[derive(Debug, Clone)]
pub(crate) struct Local {
    files: Files,
    limits: Limits,
}

impl Local {
    pub(crate) fn new(root: PathBuf, limits: Limits) -> Self {
        Self { files: Files::at(root), limits }
    }

    pub(crate) async fn create(&self, key: &str, content: Bytes, _type: &str) -> Result<Creation, Error> {
        let length = content.len() as u64;
        let work = move |files: &Files, key: &str| files.create(key, &[content], Sync::Durable);
        self.run("write", key, length, work).await.map(created)
    }

    pub(crate) async fn put(&self, key: &str, content: Bytes, _type: &str) -> Result<(), Error> {
        let length = content.len() as u64;
        self.run("write", key, length, move |files, key| files.put(key, &[content], Sync::Durable)).await
    }

    pub(crate) async fn create_file(
        &self,
        key: &str,
        path: &Path,
        length: u64,
        _type: &str,
    ) -> Result<Creation, Error> {
        let path = path.to_owned();
        let work = move |files: &Files, key: &str| files.create_file(key, &path, Sync::Durable);
        self.run("write", key, length, work).await.map(created)
    }

    pub(crate) async fn put_file(&self, key: &str, path: &Path, length: u64, _type: &str) -> Result<(), Error> {
        let path = path.to_owned();
        self.run("write", key, length, move |files, key| files.put_file(key, &path, Sync::Durable)).await
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Option<Object>, Error> {
        let opened = self.run("read", key, 0, Files::reader).await?;
        Ok(opened.map(|(file, entry)| {
            let body = Body::file(file, self.place(key), entry.bytes, self.limits.stall);
            Object { facts: facts(entry), body }
        }))
    }

    pub(crate) async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Object>, Error> {
        let start = range.start;
        let opened = self.run("read", key, 0, move |files, key| {
            let Some((mut file, entry)) = files.reader(key)? else { return Ok(None) };
            file.seek(SeekFrom::Start(start))
                .map_err(io_error("read", files.root().join(key).display().to_string()))?;
            Ok(Some((file, entry)))
        });
        Ok(opened.await?.map(|(file, entry)| {
            let length = range.end.min(entry.bytes).saturating_sub(range.start);
            let body = Body::file(file, self.place(key), length, self.limits.stall);
            Object { facts: facts(entry), body }
        }))
    }

    pub(crate) async fn head(&self, key: &str) -> Result<Option<Facts>, Error> {
        Ok(self.run("look at", key, 0, Files::head).await?.map(facts))
    }

    pub(crate) async fn list(&self, folder: &str) -> Result<Vec<Entry>, Error> {
        self.run("list", folder, 0, Files::list).await
    }

    pub(crate) async fn remove(&self, key: &str) -> Result<(), Error> {
        self.run("remove", key, 0, Files::remove).await.map(drop)
    }

    /// Does `work` where it may block. What takes too long goes on, but nobody waits for it.
    async fn run<T: Send + 'static>(
        &self,
        doing: &'static str,
        key: &str,
        bytes: u64,
        work: impl FnOnce(&Files, &str) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (files, owned) = (self.files.clone(), key.to_owned());
        let after = self.limits.stretched(bytes).operation;
        let done = timeout(after, spawn_blocking(move || work(&files, &owned))).await;
        match done {
            Ok(Ok(done)) => done,
            Ok(Err(lost)) => Err(io_error(doing, self.place(key))(std::io::Error::other(lost))),
            Err(_) => Err(Error::Slow { doing, place: self.place(key), after }),
        }
    }

    fn place(&self, key: &str) -> String {
        self.files.root().join(key).display().to_string()
    }
}

fn created(created: bool) -> Creation {
    if created { Creation::Created } else { Creation::AlreadyThere }
}

fn facts(entry: Entry) -> Facts {
    let Entry { bytes, modified, etag, .. } = entry;
    Facts { bytes, etag, modified: Some(modified), content_type: None }
}
