//! Which origin is asked first.
//!
//! Pure: time is a parameter, and what happened is reported. Origins are tried in the order of preference; one that
//! could not be reached or broke off is asked last for a moment. Knows nothing of streams: an origin's error about one
//! stream says nothing of the others.

use std::time::{Duration, Instant};

/// How long an origin that failed is asked last.
const HOLD_DOWN: Duration = Duration::from_secs(2);

/// The origins' standing, by their index in the order of preference.
#[derive(Debug)]
pub(crate) struct Choice {
    down_until: Vec<Option<Instant>>,
}

impl Choice {
    /// All of `count` origins are good.
    pub(crate) fn new(count: usize) -> Self {
        Self { down_until: vec![None; count] }
    }

    /// Whom to ask, first to last: everybody, so that nobody is given up while there is no better one.
    pub(crate) fn order(&self, now: Instant) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.down_until.len()).collect();
        order.sort_by_key(|index| self.is_down(*index, now));
        order
    }

    /// It could not be reached, said nothing, or broke off.
    pub(crate) fn failed(&mut self, index: usize, now: Instant) {
        if let Some(until) = self.down_until.get_mut(index) {
            *until = now.checked_add(HOLD_DOWN);
        }
    }

    /// It answered.
    pub(crate) fn answered(&mut self, index: usize) {
        if let Some(until) = self.down_until.get_mut(index) {
            *until = None;
        }
    }

    /// Whether it is asked last now.
    pub(crate) fn is_down(&self, index: usize, now: Instant) -> bool {
        self.down_until.get(index).copied().flatten().is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Applies `(ms, event)`, then looks at the order at `ms`.
    #[track_caller]
    fn check(events: &[(u64, &str, usize)], at_ms: u64, expected: &[usize]) {
        let begin = Instant::now();
        let mut choice = Choice::new(3);
        for (ms, event, index) in events {
            match *event {
                "failed" => choice.failed(*index, begin + Duration::from_millis(*ms)),
                _ => choice.answered(*index),
            }
        }
        assert_eq!(choice.order(begin + Duration::from_millis(at_ms)), expected);
    }

    #[test]
    fn who_failed_is_asked_last_for_a_moment() {
        check(&[], 0, &[0, 1, 2]);
        check(&[(0, "failed", 0)], 1999, &[1, 2, 0]);
        check(&[(0, "failed", 0)], 2000, &[0, 1, 2]);
        check(&[(0, "failed", 0), (1500, "failed", 0)], 3000, &[1, 2, 0]);
        check(&[(0, "failed", 0), (0, "answered", 0)], 1, &[0, 1, 2]);
    }

    #[test]
    fn when_all_failed_preference_decides() {
        check(&[(0, "failed", 2), (0, "failed", 0), (0, "failed", 1)], 1, &[0, 1, 2]);
    }

    #[test]
    fn an_index_that_is_none_changes_nothing() {
        check(&[(0, "failed", 9), (0, "answered", 9)], 1, &[0, 1, 2]);
    }
}
