//! Counts requests by class and outcome.
//!
//! A place for each pair that is counted often: a lookup by labels would cost more than the rest of a cached answer.

use crate::document::How;
use crate::failure::Failure;
use crate::policy::Class;
use metrics::{Counter, counter};
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Outcomes that are good: those of [`How`], and the page.
const OUTCOMES: usize = How::COUNT + 1;

/// The counters. Both labels come from fixed sets.
#[derive(Default)]
pub(crate) struct Meters {
    places: [[OnceLock<Counter>; OUTCOMES]; Class::COUNT],
    /// The same in all, for `/stat`: answered, of these fetched for the one who asked, and failed.
    answered: AtomicU64,
    fetched: AtomicU64,
    failed: AtomicU64,
}

impl Meters {
    /// Counts one answer that came from there.
    pub(crate) fn count(&self, class: Class, how: How) {
        if matches!(how, How::Miss) {
            self.fetched.fetch_add(1, Ordering::Relaxed);
        }
        self.add(class, how as usize, how.label());
    }

    /// Counts one answer that is part of this program.
    pub(crate) fn count_page(&self) {
        self.add(Class::Page, How::COUNT, "page");
    }

    /// Counts one request that failed.
    pub(crate) fn count_failed(&self, class: Class, failure: &Failure) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        of(class, failure.label()).increment(1);
    }

    /// Requests so far, as `/stat` says it.
    pub(crate) fn stat(&self) -> serde_json::Value {
        let [answered, fetched, failed] =
            [&self.answered, &self.fetched, &self.failed].map(|count| count.load(Ordering::Relaxed));
        serde_json::json!({
            "answered": answered, "from_here": answered.saturating_sub(fetched), "failed": failed,
        })
    }

    fn add(&self, class: Class, outcome: usize, label: &'static str) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        if let Some(place) = self.places.get(class as usize).and_then(|row| row.get(outcome)) {
            place.get_or_init(|| of(class, label)).increment(1);
        }
    }
}

fn of(class: Class, outcome: &'static str) -> Counter {
    counter!("live360_edge_requests_total", "class" => class.label(), "cache" => outcome)
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meters")
    }
}
