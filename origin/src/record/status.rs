//! How a stream's recording is: of each session whether it takes what comes, and of the newest what `/stat` says.
//!
//! A session that is still being put down when the next one begins neither stops that one nor is started by it.

use super::shelf::Shelf;
use metrics::counter;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const ON: &str = "on";

const HELD: &str = "stopped: by the operator";

/// How a stream's recording is, as `/stat` says it.
#[derive(Debug)]
pub(crate) struct Status {
    newest: Mutex<Newest>,
    shelf: Shelf,
    /// Bytes of the newest session that wait for the disk.
    queued: Mutex<Arc<AtomicU64>>,
}

#[derive(Debug)]
struct Newest {
    /// How many sessions have begun.
    session: u64,
    words: String,
}

/// Whether a session takes what comes.
#[derive(Debug)]
pub(crate) struct Going {
    status: Arc<Status>,
    name: String,
    session: u64,
    words: Mutex<String>,
    /// The keeper was asked to look whether it can go on, and has not looked yet.
    asked: AtomicBool,
}

impl Status {
    pub(super) fn new(words: &str) -> Self {
        let newest = Mutex::new(Newest { session: 0, words: words.to_owned() });
        Self { newest, shelf: Shelf::default(), queued: Mutex::default() }
    }

    /// What has been recorded.
    pub(crate) fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// Bytes that wait for this machine's disk.
    pub(crate) fn waiting(&self) -> u64 {
        self.queued.lock().unwrap_or_else(PoisonError::into_inner).load(Ordering::Relaxed)
    }

    /// Where a session that begins counts its bytes.
    pub(super) fn count_in(&self, queued: Arc<AtomicU64>) {
        *self.queued.lock().unwrap_or_else(PoisonError::into_inner) = queued;
    }

    /// Whether what comes will be recorded.
    pub(crate) fn goes_on(&self) -> bool {
        self.lock().words == ON
    }

    /// In words: `on`, `off` or `stopped: …`.
    pub(crate) fn words(&self) -> String {
        self.lock().words.clone()
    }

    /// Nothing is recorded now, and whether something will be.
    pub(super) fn between(&self, words: &str) {
        words.clone_into(&mut self.lock().words);
    }

    fn lock(&self) -> MutexGuard<'_, Newest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Going {
    /// A session of this stream begins, or is taken up: the newest from now on.
    pub(super) fn begin(status: &Arc<Status>, name: &str) -> Arc<Self> {
        let mut newest = status.lock();
        newest.session = newest.session.saturating_add(1);
        ON.clone_into(&mut newest.words);
        let (words, asked) = (Mutex::new(ON.to_owned()), AtomicBool::new(false));
        Arc::new(Self { status: status.clone(), name: name.to_owned(), session: newest.session, words, asked })
    }

    /// What the session has recorded.
    pub(super) fn shelf(&self) -> &Shelf {
        &self.status.shelf
    }

    pub(super) fn stopped(&self) -> bool {
        *self.lock() != ON
    }

    /// In words: `on` or `stopped: …`.
    pub(super) fn words(&self) -> String {
        self.lock().clone()
    }

    /// Nothing new is taken, with an alarm the first time.
    pub(super) fn stop(&self, why: &str) {
        let mut words = self.lock();
        if *words == ON {
            *words = format!("stopped: {why}");
            self.tell(&words);
            tracing::error!(stream = self.name, "recording stopped: {why}; the live stream goes on");
            counter!("live360_recordings_stopped_total").increment(1);
        }
    }

    /// Nothing new is taken, as the operator wants it.
    pub(super) fn hold(&self) {
        let mut words = self.lock();
        HELD.clone_into(&mut words);
        self.tell(&words);
        tracing::info!(stream = self.name, "recording stopped by the operator");
    }

    /// What comes is taken again.
    pub(super) fn go_on(&self) {
        let mut words = self.lock();
        if *words != ON {
            tracing::warn!(stream = self.name, "the recording goes on, with a gap; it had {words}");
            ON.clone_into(&mut words);
            self.tell(&words);
        }
    }

    /// Notes that the keeper is asked; `false` if it was already.
    pub(super) fn ask(&self) -> bool {
        !self.asked.swap(true, Ordering::Relaxed)
    }

    /// It was not asked after all, or has looked.
    pub(super) fn answer(&self) {
        self.asked.store(false, Ordering::Relaxed);
    }

    fn tell(&self, words: &str) {
        let mut newest = self.status.lock();
        if newest.session == self.session {
            words.clone_into(&mut newest.words);
        }
    }

    fn lock(&self) -> MutexGuard<'_, String> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_stop_and_go_on_each_for_itself_and_the_stream_says_what_the_newest_does() {
        let status = Arc::new(Status::new("on"));
        let old = Going::begin(&status, "foo");
        old.stop("disk full");
        old.stop("something else");
        assert_eq!(status.words(), "stopped: disk full");
        let new = Going::begin(&status, "foo");
        assert!(old.stopped() && !new.stopped() && status.goes_on());
        new.stop("the disk is too slow");
        old.go_on();
        assert_eq!((old.words().as_str(), status.words().as_str()), ("on", "stopped: the disk is too slow"));
        new.go_on();
        old.stop("disk full");
        assert!(status.goes_on() && !new.stopped());
    }
}
