//! Counts requests by class and outcome.
//!
//! Looked up once for each pair: a lookup by labels would cost more than the rest of a cached answer.

use crate::policy::Class;
use metrics::{Counter, counter};
use std::collections::HashMap;
use std::fmt;
use std::sync::{PoisonError, RwLock};

/// The counters. Both labels come from fixed sets.
#[derive(Default)]
pub(crate) struct Meters(RwLock<HashMap<(Class, &'static str), Counter>>);

impl Meters {
    /// Counts one request.
    pub(crate) fn count(&self, class: Class, outcome: &'static str) {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&(class, outcome)).cloned();
        let counter = known.unwrap_or_else(|| {
            let counter = counter!("live360_edge_requests_total", "class" => class.label(), "cache" => outcome);
            self.0.write().unwrap_or_else(PoisonError::into_inner).insert((class, outcome), counter.clone());
            counter
        });
        counter.increment(1);
    }
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meters")
    }
}
