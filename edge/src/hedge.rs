//! When a second origin is asked because the first takes its time, and how often that may be.
//!
//! Pure. A second question goes out where the first has taken longer than nearly all before it, and only for a few in a
//! hundred: in an outage, when everything is slow, hedging must not double the load.

use std::time::Duration;

/// Answers that are remembered.
const SAMPLES: usize = 64;

/// Fewer say nothing about what is usual.
const SAMPLES_MIN: usize = 8;

/// What a fetch earns, and what a second question costs: one in twenty.
const EARNED: u32 = 1;
const COST: u32 = 20;

/// Second questions that can be saved up.
const SAVED_MAX: u32 = 10 * COST;

/// How long answers took, and what may be spent.
#[derive(Debug)]
pub(crate) struct Hedge {
    took: Vec<Duration>,
    next: usize,
    saved: u32,
}

impl Default for Hedge {
    fn default() -> Self {
        Self { took: Vec::new(), next: 0, saved: COST }
    }
}

impl Hedge {
    /// A fetch begins. Gives how long to wait for its answer before a second origin is asked: at most `most`.
    pub(crate) fn begin(&mut self, most: Duration) -> Duration {
        self.saved = self.saved.saturating_add(EARNED).min(SAVED_MAX);
        if self.took.len() < SAMPLES_MIN {
            return most;
        }
        let mut sorted = self.took.clone();
        sorted.sort_unstable();
        let index = sorted.len().saturating_mul(95) / 100;
        sorted.get(index).copied().unwrap_or(most).min(most)
    }

    /// An answer came after this time.
    pub(crate) fn answered(&mut self, took: Duration) {
        match self.took.get_mut(self.next) {
            Some(slot) => *slot = took,
            None => self.took.push(took),
        }
        self.next = self.next.saturating_add(1) % SAMPLES;
    }

    /// Asks to spend on a second question.
    pub(crate) fn spend(&mut self) -> bool {
        let left = self.saved.checked_sub(COST);
        self.saved = left.unwrap_or(self.saved);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_millis(250);

    #[test]
    fn the_second_origin_waits_for_what_is_usual_and_no_longer_than_is_good() {
        let mut hedge = Hedge::default();
        assert_eq!(hedge.begin(MOST), MOST);
        for ms in 1..=64 {
            hedge.answered(Duration::from_millis(ms));
        }
        assert_eq!(hedge.begin(MOST).as_millis(), 61);
        (0..64).for_each(|_| hedge.answered(Duration::from_secs(1)));
        assert_eq!(hedge.begin(MOST), MOST);
    }

    #[test]
    fn one_in_twenty_may_be_asked_twice() {
        let mut hedge = Hedge::default();
        let mut second = 0;
        for _ in 0..1000 {
            hedge.begin(MOST);
            second += u32::from(hedge.spend());
        }
        assert_eq!(second, 51);
    }

    #[test]
    fn a_quiet_time_saves_up_a_handful() {
        let mut hedge = Hedge::default();
        (0..10_000).for_each(|_| assert_eq!(hedge.begin(MOST), MOST));
        assert_eq!((0..100).filter(|_| hedge.spend()).count(), 10);
    }
}
