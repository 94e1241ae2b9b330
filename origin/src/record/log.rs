//! What a session's journal knows, in the ingest store as it grows: what another process needs to finish the recording
//! when this machine and its disk are gone. Beside it a sign of life.
//!
//! `rec/{name}/{session}/log/{began}-{n}.jsonl` is journal lines. The newest of these objects is written again at each
//! closed segment, until it is full; nobody but this process writes any of them. What a log lists need not be stored yet:
//! who reads it looks. A session that is taken up again is told from its beginning under new names.

use super::keys;
use super::ledger::{Ledger, Line, lines};
use super::stores::Stores;
use super::upload::pause;
use bytes::Bytes;
use metrics::counter;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::{Error, Objects};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

/// From this length on, in bytes, an object of the log is full: about three minutes of four renditions.
const CHUNK_BYTES: usize = 64 << 10;

/// Bytes of a session's log that may wait for the store: two days. What comes then is only in the journal on disk.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// The renditions close a segment one after the other within this time; one object for all of them is enough.
const GATHER: Duration = Duration::from_millis(300);

/// Longest object of a log that is read, in bytes.
const CHUNK_BYTES_MAX: u64 = 4 << 20;

/// A session's log on its way to the store.
#[derive(Debug)]
pub(crate) struct Log {
    name: String,
    session: String,
    /// UTC ms: tells the objects of this process from those of one before.
    began_ms: i64,
    waiting: Mutex<Waiting>,
    changed: Notify,
    anchored: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    chunks: VecDeque<Chunk>,
    next: u64,
    closed: bool,
    anchor_ms: Option<i64>,
}

#[derive(Debug, Default)]
struct Chunk {
    number: u64,
    text: String,
    /// How much of it the store has, in bytes.
    stored: usize,
}

/// What a sign of life says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sign {
    pub(crate) name: String,
    pub(crate) session: String,
    /// The epoch's anchor, once there is one.
    pub(crate) anchor_ms: Option<i64>,
    /// What it becomes, once that is known.
    pub(crate) asset: Option<String>,
}

impl Waiting {
    fn add(&mut self, lines: &[Line]) {
        for line in lines {
            if let Line::Epoch { anchor_ms, .. } = line {
                self.anchor_ms = Some(*anchor_ms);
            }
            let Ok(text) = serde_json::to_string(line) else { continue };
            if self.chunks.iter().map(|chunk| chunk.text.len()).sum::<usize>() > WAITING_BYTES_MAX {
                counter!("live360_recording_log_lines_dropped_total").increment(1);
                continue;
            }
            let room = self.chunks.back().is_some_and(|last| last.text.len() < CHUNK_BYTES);
            if !room {
                self.chunks.push_back(Chunk { number: self.next, ..Chunk::default() });
                self.next = self.next.saturating_add(1);
            }
            if let Some(chunk) = self.chunks.back_mut() {
                chunk.text.push_str(&text);
                chunk.text.push('\n');
            }
        }
    }

    /// The oldest object that has to be written, whole.
    fn due(&self) -> Option<(u64, String)> {
        let due = self.chunks.iter().find(|chunk| chunk.stored < chunk.text.len())?;
        Some((due.number, due.text.clone()))
    }

    /// So much of an object is stored. A full one is not needed any more then.
    fn stored(&mut self, number: u64, bytes: usize) {
        if let Some(chunk) = self.chunks.iter_mut().find(|chunk| chunk.number == number) {
            chunk.stored = bytes;
        }
        self.chunks.retain(|chunk| chunk.text.len() < CHUNK_BYTES || chunk.stored < chunk.text.len());
    }
}

impl Log {
    /// A log for a session as far as it is known, `now` (UTC ms).
    pub(super) fn new(ledger: &Ledger, now: i64) -> Arc<Self> {
        let mut waiting = Waiting::default();
        waiting.add(&ledger.lines());
        Arc::new(Self {
            name: ledger.name.clone(),
            session: ledger.session.clone(),
            began_ms: now,
            waiting: Mutex::new(waiting),
            changed: Notify::new(),
            anchored: Notify::new(),
        })
    }

    /// Takes lines that are in the journal.
    pub(super) fn add(&self, lines: &[Line]) {
        self.lock().add(lines);
        self.changed.notify_one();
        if lines.iter().any(|line| matches!(line, Line::Epoch { .. })) {
            self.anchored.notify_one();
        }
    }

    /// No more lines follow.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    fn sign(&self) -> Sign {
        let anchor_ms = self.lock().anchor_ms;
        let asset = anchor_ms.map(|anchor_ms| super::asset_id(&self.name, anchor_ms));
        Sign { name: self.name.clone(), session: self.session.clone(), anchor_ms, asset }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stores a log until it is closed. `false` if the process ends before all of it is stored.
pub(super) async fn keep(
    stores: Arc<Stores>,
    log: Arc<Log>,
    shutdown: CancellationToken,
    abandon: CancellationToken,
) -> bool {
    let work = async {
        let mut failures: u32 = 0;
        loop {
            // Looked at before the log is: what comes later notifies again.
            let closed = log.lock().closed;
            let due = log.lock().due();
            let Some((number, text)) = due else {
                if closed {
                    return true;
                }
                log.changed.notified().await;
                if !log.lock().closed {
                    sleep(GATHER).await;
                }
                continue;
            };
            let bytes = text.len();
            match put_chunk(&stores, &log, number, text).await {
                Ok(()) => {
                    failures = 0;
                    log.lock().stored(number, bytes);
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    counter!("live360_recording_store_failures_total").increment(1);
                    tracing::debug!(stream = log.name, %error, failures, "can't store a recording's log");
                    tokio::select! {
                        () = sleep(pause(failures)) => {}
                        () = shutdown.cancelled() => return false,
                    }
                }
            }
        }
    };
    tokio::select! {
        done = work => done,
        () = abandon.cancelled() => false,
    }
}

async fn put_chunk(stores: &Stores, log: &Log, number: u64, text: String) -> Result<(), Error> {
    let key = format!("{}/{}-{number:05}.jsonl", keys::log(&log.name, &log.session), log.began_ms);
    stores.ingest().await?.put(&key, Bytes::from(text), "application/jsonl").await
}

/// Says again and again that the session's origin lives. To be dropped when the session is finished.
pub(super) async fn live(stores: Arc<Stores>, log: Arc<Log>, every: Duration) {
    let mut beat = interval(every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            () = log.anchored.notified() => {}
        }
        if let Err(error) = put_sign(&stores, &log.sign()).await {
            // The next beat tries again; the operator hears of the store from the uploads.
            tracing::debug!(stream = log.name, %error, "can't store a recording's sign of life");
        }
    }
}

async fn put_sign(stores: &Stores, sign: &Sign) -> Result<(), Error> {
    let Ok(text) = serde_json::to_vec(sign) else { return Ok(()) };
    let key = keys::sign(&sign.name, &sign.session);
    stores.ingest().await?.put(&key, text.into(), "application/json").await
}

/// Reads a session's sign of life, if it is there and is one.
pub(super) async fn read_sign(ingest: &Objects, key: &str) -> Result<Option<Sign>, Error> {
    let text = read_object(ingest, key, CHUNK_BYTES_MAX).await?;
    Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
}

/// Reads an object. One that is longer than `limit`, or has a key that is none, is passed over with a warning: it stays
/// like that, and nothing else shall wait for it.
pub(super) async fn read_object(objects: &Objects, key: &str, limit: u64) -> Result<Option<Bytes>, Error> {
    match objects.get_all(key, limit).await {
        Err(error @ (Error::TooLarge { .. } | Error::Key(_))) => {
            tracing::warn!(%error, "an object of the recordings can't be what it should be: it is passed over");
            Ok(None)
        }
        read => read,
    }
}

/// What a session's log says; an empty ledger if there is none. An object there that speaks of another session is none
/// of its log.
pub(super) async fn read(ingest: &Objects, name: &str, session: &str) -> Result<Ledger, Error> {
    let mut ledger = Ledger::default();
    // In order of key, which is the order of writing.
    for chunk in ingest.list(&keys::log(name, session))?.collect().await? {
        let Some(text) = read_object(ingest, &chunk.key, CHUNK_BYTES_MAX).await? else { continue };
        let lines: Vec<Line> = lines(&String::from_utf8_lossy(&text)).collect();
        if lines.iter().any(|line| is_of_another(line, name, session)) {
            tracing::warn!(key = chunk.key, "this speaks of another recording than its folder's: it is passed over");
            continue;
        }
        lines.into_iter().for_each(|line| ledger.enter(line));
    }
    Ok(ledger)
}

fn is_of_another(line: &Line, of: &str, id: &str) -> bool {
    matches!(line, Line::Session { name, session, .. } if name != of || session != id)
}

#[cfg(test)]
mod tests;
