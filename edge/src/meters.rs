//! Counts requests by class and outcome.
//!
//! A place for each pair that is counted often: a lookup by labels would cost more than the rest of a cached answer.

use crate::document::How;
use crate::failure::Failure;
use crate::policy::Class;
use metrics::{Counter, counter};
use std::fmt;
use std::sync::OnceLock;

/// Outcomes that are good: those of [`How`], and the page.
const OUTCOMES: usize = How::COUNT + 1;

/// The counters. Both labels come from fixed sets.
#[derive(Default)]
pub(crate) struct Meters([[OnceLock<Counter>; OUTCOMES]; Class::COUNT]);

impl Meters {
    /// Counts one answer that came from there.
    pub(crate) fn count(&self, class: Class, how: How) {
        self.add(class, how as usize, how.label());
    }

    /// Counts one answer that is part of this program.
    pub(crate) fn count_page(&self) {
        self.add(Class::Page, How::COUNT, "page");
    }

    /// Counts one request that failed.
    pub(crate) fn count_failed(&self, class: Class, failure: &Failure) {
        of(class, failure.label()).increment(1);
    }

    fn add(&self, class: Class, outcome: usize, label: &'static str) {
        if let Some(place) = self.0.get(class as usize).and_then(|row| row.get(outcome)) {
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
