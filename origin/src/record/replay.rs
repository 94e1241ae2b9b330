//! Gives what was recorded of a stream that still lives, file by file: from this machine's disk while it waits for its
//! store, then from the store.
//!
//! For viewers who went back further than the live window: quick to answer, also when the answer is no, and never more
//! in memory than a piece of each file. Decides nothing about who may ask for what.

use super::ledger::key;
use super::spool::Place;
use super::{FOLDER, asset_id, folders};
use media::ladder::Rendition;
use media::name::StreamName;
use media::route::File;
use metrics::counter;
use service::config::Config;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use store::{Body, Error, Facts, Limits, Objects};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Files read at a time. A read takes its place until its last byte is sent.
const READS_MAX: usize = 64;

/// How long a request waits for its turn.
const TURN_WITHIN: Duration = Duration::from_secs(2);

/// Reads recordings. Cloning gives another handle to the same.
#[derive(Debug, Clone)]
pub(crate) struct Replay(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    /// Where sessions keep what is not stored yet.
    spools: PathBuf,
    url: String,
    store: OnceCell<Objects>,
    reads: Arc<Semaphore>,
    /// Whether the last read failed: the operator hears of the first of many.
    failing: AtomicBool,
}

/// A file being read.
#[derive(Debug)]
pub(crate) struct Reading {
    /// What is known of the whole file.
    pub(crate) facts: Facts,
    body: Body,
    inside: Arc<Inside>,
    _turn: OwnedSemaphorePermit,
}

/// Why a file can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// Neither disk nor store has it.
    #[error("the recording does not have this file")]
    Missing,
    /// The store does not answer, or not as it should.
    #[error("the store of recordings does not answer; try again in a moment")]
    Away,
    /// Too many read.
    #[error("too many viewers read recordings at this moment; try again")]
    Busy,
}

impl Replay {
    /// Reads what a recorder with the same config records.
    pub(crate) fn new(config: &Config) -> Self {
        Self::at(config.data_dir.join(FOLDER), config.egress())
    }

    fn at(spools: PathBuf, url: String) -> Self {
        let (reads, failing) = (Arc::new(Semaphore::new(READS_MAX)), AtomicBool::new(false));
        Self(Arc::new(Inside { spools, url, store: OnceCell::new(), reads, failing }))
    }

    /// Begins to read a file of the epoch that began at `anchor_ms` (UTC), or these bytes of it.
    pub(crate) async fn open(
        &self,
        name: &StreamName,
        anchor_ms: i64,
        rendition: Rendition,
        file: &File,
        range: Option<Range<u64>>,
    ) -> Result<Reading, Failure> {
        let inside = &self.0;
        let turn = timeout(TURN_WITHIN, inside.reads.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(Failure::Busy) };
        let key = key(&asset_id(name.as_str(), anchor_ms), &format!("{rendition}/{file}"));
        let found = match inside.spooled(name, &key, range.clone()).await {
            Some(found) => Ok(Some(found)),
            None => inside.stored(&key, range).await,
        };
        let outcome = match &found {
            Ok(Some(_)) => "found",
            Ok(None) => "missing",
            Err(_) => "failed",
        };
        counter!("live360_recording_replays_total", "outcome" => outcome).increment(1);
        let object = found.map_err(|error| inside.failed(&error))?.ok_or(Failure::Missing)?;
        Ok(Reading { facts: object.facts, body: object.body, inside: inside.clone(), _turn: turn })
    }
}

impl Inside {
    /// From the folder of the session that still has it, if one has. A file leaves its spool when it is stored, so who
    /// doesn't find it here finds it there.
    async fn spooled(&self, name: &StreamName, key: &str, range: Option<Range<u64>>) -> Option<store::Object> {
        let (above, key) = (self.spools.join(name.as_str()), format!("{}/{key}", Place::Egress.folder()));
        let wanted = key.clone();
        let find = move || folders(&above).into_iter().find(|session| session.join(&wanted).is_file());
        let session = tokio::task::spawn_blocking(find).await.ok()??;
        let folder = Objects::open(&place(&session), Limits::QUICK).await.ok()?;
        // A failure here may be the uploader's being faster, and else the store has the last word.
        read(&folder, &key, range).await.ok()?
    }

    async fn stored(&self, key: &str, range: Option<Range<u64>>) -> Result<Option<store::Object>, Error> {
        let store = self.store.get_or_try_init(|| Objects::open(&self.url, Limits::QUICK)).await?;
        let found = read(store, key, range).await?;
        if self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!(store = %store.place(), "recordings can be read again");
        }
        Ok(found)
    }

    /// What viewers are told of a store that fails: not where it is.
    fn failed(&self, error: &Error) -> Failure {
        if self.failing.swap(true, Ordering::Relaxed) {
            tracing::debug!(%error, "a viewer who went back can't be served");
        } else {
            tracing::warn!(%error, "a viewer who went back can't be served; further failures are logged at debug");
        }
        Failure::Away
    }
}

impl Reading {
    /// The next bytes; `None` at a clean end.
    pub(crate) async fn next(&mut self) -> Option<Result<bytes::Bytes, Failure>> {
        Some(self.body.next().await?.map_err(|error| self.inside.failed(&error)))
    }
}

async fn read(objects: &Objects, key: &str, range: Option<Range<u64>>) -> Result<Option<store::Object>, Error> {
    match range {
        Some(range) => objects.get_range(key, range).await,
        None => objects.get(key).await,
    }
}

fn place(folder: &Path) -> String {
    format!("file:{}", folder.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANCHOR: i64 = 1_795_195_500_000;

    fn write(path: &Path, content: &[u8]) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    async fn get(replay: &Replay, msn: u64, range: Option<Range<u64>>) -> Result<String, Failure> {
        let name = "foo".parse().unwrap();
        let mut reading = replay.open(&name, ANCHOR, Rendition::Source, &File::Segment(msn), range).await?;
        let mut all = Vec::new();
        while let Some(bytes) = reading.next().await {
            all.extend_from_slice(&bytes?);
        }
        Ok(String::from_utf8(all).unwrap())
    }

    #[tokio::test]
    async fn what_waits_comes_from_the_spool_and_the_rest_from_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let (spools, store) = (dir.path().join("recording"), dir.path().join("egress"));
        let replay = Replay::at(spools.clone(), place(&store));
        let asset = "vod/foo-20261120T172500Z/source";
        write(&spools.join("foo/other/journal.jsonl"), b"{}");
        write(&spools.join("foo/s").join("egress").join(asset).join("7.m4s"), b"waiting");
        write(&store.join(asset).join("6.m4s"), b"stored");
        assert_eq!(get(&replay, 7, None).await.unwrap(), "waiting");
        assert_eq!(get(&replay, 6, None).await.unwrap(), "stored");
        for (msn, expected) in [(6, "tor"), (7, "ait")] {
            assert_eq!(get(&replay, msn, Some(1..4)).await.unwrap(), expected);
        }
        assert_eq!(get(&replay, 5, None).await, Err(Failure::Missing));
        // Stored meanwhile.
        write(&store.join(asset).join("7.m4s"), b"waiting");
        std::fs::remove_dir_all(spools.join("foo")).unwrap();
        assert_eq!(get(&replay, 7, None).await.unwrap(), "waiting");
    }

    #[tokio::test]
    async fn a_store_that_can_not_be_read_is_away_and_what_waits_is_there_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let spools = dir.path().join("recording");
        // A link that leads to itself: nobody gets through, whoever he is.
        std::os::unix::fs::symlink("egress", dir.path().join("egress")).unwrap();
        let replay = Replay::at(spools.clone(), place(&dir.path().join("egress")));
        write(&spools.join("foo/s/egress/vod/foo-20261120T172500Z/source/7.m4s"), b"waiting");
        assert_eq!(get(&replay, 7, None).await.unwrap(), "waiting");
        assert_eq!(get(&replay, 6, None).await, Err(Failure::Away));
        std::fs::remove_file(dir.path().join("egress")).unwrap();
        assert_eq!(get(&replay, 6, None).await, Err(Failure::Missing));
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_get_a_turn_is_told_so() {
        let dir = tempfile::tempdir().unwrap();
        let replay = Replay::at(dir.path().join("recording"), place(&dir.path().join("egress")));
        let _all = replay.0.reads.clone().acquire_many_owned(READS_MAX as u32).await.unwrap();
        assert_eq!(get(&replay, 7, None).await, Err(Failure::Busy));
    }
}
