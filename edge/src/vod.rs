//! Recordings: read from the egress store, where their keys are the addresses' paths.
//!
//! What comes of a store looks like what comes of an origin (a head, then bytes), so that flights and documents are the
//! same for both. Types are told by names, never taken from the store. Knows no viewers and decides nothing about
//! caching.

use crate::failure::Failure;
use crate::fetch::OBJECT_BYTES_MAX;
use crate::flight::{Head, Writer};
use crate::key::Key;
use crate::policy::QUICK_WAIT;
use crate::upstream::strong;
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use metrics::counter;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use store::{Body, Error, Limits, Objects};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Objects read at a time.
const READS_MAX: usize = 128;

/// What is said of what is not there.
const MISSING: &str = "there is no such recording, or no such file in it\n";

/// The store of recordings. Cloning gives another handle to the same.
#[derive(Debug, Clone)]
pub(crate) struct Vod {
    objects: Objects,
    or_origins: bool,
    reads: Arc<Semaphore>,
    /// Whether the last read failed: the operator hears of the first of many.
    failing: Arc<AtomicBool>,
}

/// A body on its way.
#[derive(Debug)]
pub(crate) struct VodFeed {
    source: Source,
    vod: Vod,
    _permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
enum Source {
    Stored(Body),
    Words(Option<Bytes>),
}

impl Vod {
    /// Opens the store at this address; whether it is there shows when it is read from. With `or_origins`, what is not in
    /// it may be at the origins.
    pub(crate) async fn open(url: &str, or_origins: bool) -> Result<Self, Error> {
        let limits = Limits { operation: QUICK_WAIT, ..Limits::QUICK };
        let objects = Objects::open(url, limits).await?;
        tracing::info!(store = %objects.place(), "recordings are read from the store");
        Ok(Self { objects, or_origins, reads: Arc::new(Semaphore::new(READS_MAX)), failing: Arc::default() })
    }

    /// What is at an address: 200 or 404. `None`: it is not here, but may be at the origins.
    pub(crate) async fn get(&self, key: &Key) -> Result<Option<(Head, VodFeed)>, Failure> {
        let permit = timeout(QUICK_WAIT, Arc::clone(&self.reads).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else { return Err(Failure::Busy) };
        let address = key.route.to_string();
        let name = address.trim_start_matches('/');
        let found = match self.objects.get(name).await {
            // An address may be longer than any key.
            Err(Error::Key(_)) => Ok(None),
            found => found,
        };
        let outcome = match &found {
            Ok(Some(_)) => "found",
            Ok(None) => "missing",
            Err(_) => "failed",
        };
        counter!("live360_edge_store_reads_total", "outcome" => outcome).increment(1);
        let found = found.map_err(|error| self.failed(&error))?;
        self.works();
        Ok(match found {
            Some(object) => {
                let facts = object.facts;
                let etag = facts.etag.and_then(|etag| HeaderValue::try_from(etag).ok()).filter(strong);
                let head = head(StatusCode::OK, facts.bytes, content_type(name), etag);
                Some((head, VodFeed { source: Source::Stored(object.body), vod: self.clone(), _permit: Some(permit) }))
            }
            None if self.or_origins => None,
            None => {
                let head = head(StatusCode::NOT_FOUND, MISSING.len() as u64, "text/plain; charset=utf-8", None);
                let source = Source::Words(Some(Bytes::from_static(MISSING.as_bytes())));
                Some((head, VodFeed { source, vod: self.clone(), _permit: None }))
            }
        })
    }

    /// Pours what is at an address into a flight; `room` makes place for so many bytes in the cache. `None`: it is not
    /// here, but may be at the origins.
    pub(crate) async fn bring(
        &self,
        key: &Key,
        writer: &mut Writer,
        room: impl Fn(u64) -> bool,
    ) -> Result<Option<StatusCode>, Failure> {
        let Some((head, mut feed)) = self.get(key).await? else { return Ok(None) };
        let (status, length) = (head.status, head.length.unwrap_or(0));
        if length > OBJECT_BYTES_MAX {
            return Err(Failure::TooLarge { limit: OBJECT_BYTES_MAX });
        }
        if !room(length) || !writer.head(head) {
            return Err(Failure::NoRoom);
        }
        while let Some(bytes) = feed.next().await {
            let bytes = bytes?;
            if !writer.push(&bytes) {
                return Err(Failure::Nonsense("more bytes than announced"));
            }
            counter!("live360_edge_store_bytes_total").increment(bytes.len() as u64);
        }
        writer.shortfall().map_or(Ok(Some(status)), Err)
    }

    /// What viewers are told of a store that fails: not where it is.
    fn failed(&self, error: &Error) -> Failure {
        if self.failing.swap(true, Ordering::Relaxed) {
            tracing::debug!(%error, "reading a recording failed");
        } else {
            tracing::warn!(%error, "reading a recording failed; further failures are logged at debug");
        }
        if error.is_away() { Failure::StoreAway } else { Failure::StoreRefused }
    }

    fn works(&self) {
        if self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("the store of recordings answers again");
        }
    }
}

impl VodFeed {
    /// The next bytes; `None` at a clean end.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        match &mut self.source {
            Source::Stored(body) => Some(body.next().await?.map_err(|error| self.vod.failed(&error))),
            Source::Words(words) => words.take().map(Ok),
        }
    }

    /// The whole body, of at most `limit` bytes.
    pub(crate) async fn collect(self, limit: u64) -> Result<Bytes, Failure> {
        match self.source {
            Source::Stored(body) => body.collect(limit).await.map_err(|error| match error {
                Error::TooLarge { .. } => Failure::TooLarge { limit },
                error => self.vod.failed(&error),
            }),
            Source::Words(words) => Ok(words.unwrap_or_default()),
        }
    }
}

fn head(status: StatusCode, length: u64, content_type: &'static str, etag: Option<HeaderValue>) -> Head {
    let content_type = Some(HeaderValue::from_static(content_type));
    Head { status, length: Some(length), content_type, etag, received: Instant::now(), age: Duration::ZERO }
}

/// What a file is, by its name.
fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("m3u8") => "application/vnd.apple.mpegurl",
        Some("m4s" | "mp4") => "video/mp4",
        Some("vtt") => "text/vtt; charset=utf-8",
        Some("jpg") => "image/jpeg",
        Some("png") => "image/png",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests;
