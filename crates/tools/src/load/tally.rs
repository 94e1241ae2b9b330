//! What all viewers of a thread came to, in numbers that can be added up.
//!
//! Counts what it is told; knows nothing of players and nothing of HTTP.

use super::ask::{Failure, Kind};
use super::viewer::Note;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Digits that hold of every percentile.
const DIGITS: u8 = 3;

/// Who has seen nothing after so many seconds counts as a viewer that did not start.
const PATIENCE_S: f64 = 3.0;

/// What is shown while it runs: of all threads, in one place.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// Viewers that are there.
    pub(super) viewers: AtomicU64,
    pub(super) requests: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// Viewers that stand still at this moment.
    pub(super) stalled: AtomicU64,
}

/// Requests of one kind.
#[derive(Debug, Clone)]
pub(super) struct OfKind {
    pub(super) requests: u64,
    pub(super) bytes: u64,
    pub(super) failures: BTreeMap<Failure, u64>,
    /// Microseconds from the request to the last byte, of those that were answered well.
    pub(super) took: Histogram<u64>,
}

/// The counts.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    live: Arc<Live>,
    pub(super) kinds: [OfKind; Kind::ALL.len()],
    /// Milliseconds from coming to the first picture.
    pub(super) startup: Histogram<u64>,
    /// Milliseconds behind what happens, of each viewer at the live edge once a second.
    pub(super) latency: Histogram<u64>,
    /// Milliseconds that each stall was long.
    pub(super) stalls: Histogram<u64>,
    pub(super) came: u64,
    /// Viewers that were there long enough to see something.
    pub(super) judged: u64,
    pub(super) started: u64,
    pub(super) played_s: f64,
    pub(super) stalled_s: f64,
    pub(super) up: u64,
    pub(super) down: u64,
    pub(super) holes_s: f64,
    pub(super) lost: u64,
    pub(super) fell: u64,
    pub(super) ended: u64,
    /// Seconds of media by rung.
    pub(super) rungs_s: Vec<f64>,
}

fn histogram() -> Histogram<u64> {
    // DIGITS is from 0 to 5, which is all that can be wrong.
    Histogram::new(DIGITS).unwrap_or_else(|_| unreachable!("three digits are allowed"))
}

fn record(histogram: &mut Histogram<u64>, value: f64) {
    // It grows by itself; what is no number is nothing.
    let _ = histogram.record(value.max(0.0) as u64);
}

impl Tally {
    pub(super) fn new(live: Arc<Live>) -> Self {
        let of_kind = || OfKind { requests: 0, bytes: 0, failures: BTreeMap::new(), took: histogram() };
        Self {
            live,
            kinds: std::array::from_fn(|_| of_kind()),
            startup: histogram(),
            latency: histogram(),
            stalls: histogram(),
            came: 0,
            judged: 0,
            started: 0,
            played_s: 0.0,
            stalled_s: 0.0,
            up: 0,
            down: 0,
            holes_s: 0.0,
            lost: 0,
            fell: 0,
            ended: 0,
            rungs_s: Vec::new(),
        }
    }

    /// A viewer has come.
    pub(super) fn came(&mut self) {
        self.came = self.came.saturating_add(1);
        self.live.viewers.fetch_add(1, Ordering::Relaxed);
    }

    /// It has gone after so many seconds. Who went at once can't have seen anything, and tells nothing.
    pub(super) fn went(&mut self, started: bool, stayed_s: f64) {
        let judged = started || stayed_s >= PATIENCE_S;
        self.judged = self.judged.saturating_add(u64::from(judged));
        self.started = self.started.saturating_add(u64::from(started));
        self.live.viewers.fetch_sub(1, Ordering::Relaxed);
    }

    /// A request has been answered, or has failed.
    pub(super) fn request(&mut self, kind: Kind, took_s: f64, bytes: u64, failure: Option<Failure>) {
        self.live.requests.fetch_add(1, Ordering::Relaxed);
        self.live.bytes.fetch_add(bytes, Ordering::Relaxed);
        let Some(of_kind) = self.kinds.get_mut(kind.index()) else { return };
        of_kind.requests = of_kind.requests.saturating_add(1);
        of_kind.bytes = of_kind.bytes.saturating_add(bytes);
        match failure {
            None => record(&mut of_kind.took, took_s * 1e6),
            Some(failure) => {
                let count = of_kind.failures.entry(failure).or_default();
                *count = count.saturating_add(1);
                self.live.errors.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Something has happened to a viewer.
    pub(super) fn note(&mut self, note: Note) {
        match note {
            Note::Started(seconds) => record(&mut self.startup, seconds * 1e3),
            Note::Stalled => {
                self.live.stalled.fetch_add(1, Ordering::Relaxed);
            }
            Note::Resumed(seconds) => {
                record(&mut self.stalls, seconds * 1e3);
                self.live.stalled.fetch_sub(1, Ordering::Relaxed);
            }
            Note::Times { played, stalled } => {
                self.played_s += played;
                self.stalled_s += stalled;
            }
            Note::Latency(seconds) => record(&mut self.latency, seconds * 1e3),
            Note::Loaded { rung, seconds } => {
                if self.rungs_s.len() <= rung {
                    self.rungs_s.resize(rung.saturating_add(1), 0.0);
                }
                if let Some(sum) = self.rungs_s.get_mut(rung) {
                    *sum += seconds;
                }
            }
            Note::Switched { up: true } => self.up = self.up.saturating_add(1),
            Note::Switched { up: false } => self.down = self.down.saturating_add(1),
            Note::Hole(seconds) => self.holes_s += seconds,
            Note::Lost => self.lost = self.lost.saturating_add(1),
            Note::Fell => self.fell = self.fell.saturating_add(1),
            Note::Ended => self.ended = self.ended.saturating_add(1),
        }
    }

    /// Adds another thread's.
    pub(super) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.kinds.iter_mut().zip(&other.kinds) {
            mine.requests = mine.requests.saturating_add(theirs.requests);
            mine.bytes = mine.bytes.saturating_add(theirs.bytes);
            for (failure, count) in &theirs.failures {
                *mine.failures.entry(*failure).or_default() += count;
            }
            let _ = mine.took.add(&theirs.took);
        }
        let histograms = [(&mut self.startup, &other.startup), (&mut self.latency, &other.latency)];
        for (mine, theirs) in histograms.into_iter().chain([(&mut self.stalls, &other.stalls)]) {
            let _ = mine.add(theirs);
        }
        let counts =
            [(&mut self.came, other.came), (&mut self.judged, other.judged), (&mut self.started, other.started)];
        let more = [(&mut self.up, other.up), (&mut self.down, other.down), (&mut self.lost, other.lost)];
        let last = [(&mut self.fell, other.fell), (&mut self.ended, other.ended)];
        for (mine, theirs) in counts.into_iter().chain(more).chain(last) {
            *mine = mine.saturating_add(theirs);
        }
        self.played_s += other.played_s;
        self.stalled_s += other.stalled_s;
        self.holes_s += other.holes_s;
        if self.rungs_s.len() < other.rungs_s.len() {
            self.rungs_s.resize(other.rungs_s.len(), 0.0);
        }
        for (mine, theirs) in self.rungs_s.iter_mut().zip(&other.rungs_s) {
            *mine += theirs;
        }
    }

    /// Of all kinds.
    pub(super) fn requests(&self) -> u64 {
        self.kinds.iter().map(|of_kind| of_kind.requests).sum()
    }

    /// Of all kinds.
    pub(super) fn errors(&self) -> u64 {
        self.kinds.iter().flat_map(|of_kind| of_kind.failures.values()).sum()
    }

    /// Of all kinds.
    pub(super) fn bytes(&self) -> u64 {
        self.kinds.iter().map(|of_kind| of_kind.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_two_threads_add_up() {
        let live = Arc::new(Live::default());
        let mut sum = Tally::new(Arc::clone(&live));
        let mut other = Tally::new(Arc::clone(&live));
        for tally in [&mut sum, &mut other] {
            tally.came();
            tally.request(Kind::Part, 0.25, 1000, None);
            tally.request(Kind::Part, 0.25, 10, Some(Failure::Status(404)));
            tally.note(Note::Started(0.5));
            tally.note(Note::Stalled);
            tally.note(Note::Times { played: 9.0, stalled: 1.0 });
            tally.went(true, 10.0);
        }
        other.note(Note::Loaded { rung: 2, seconds: 4.0 });
        other.note(Note::Resumed(1.5));
        sum.add(&other);
        assert_eq!((sum.requests(), sum.errors(), sum.bytes(), sum.came, sum.started), (4, 2, 2020, 2, 2));
        assert_eq!((sum.played_s, sum.stalled_s, sum.rungs_s.clone()), (18.0, 2.0, vec![0.0, 0.0, 4.0]));
        assert_eq!((sum.startup.len(), sum.stalls.len()), (2, 1));
        let took = &sum.kinds[Kind::Part.index()].took;
        assert_eq!((took.len(), took.value_at_quantile(0.5) / 1000), (2, 250));
        assert_eq!((live.viewers.load(Ordering::Relaxed), live.stalled.load(Ordering::Relaxed)), (0, 1));
    }
}
