//! How much the ladder's threads have to do: what is left of real time is headroom.
//!
//! Each thread notes for how long it worked, without what it waited for others. Does not know what they do.

use media::ladder::RUNGS_MAX;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Work of each thread since it was last asked, in µs: the rungs', and the decoder's behind them. Cloning gives another
/// handle to the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Busy(Arc<[AtomicU64; RUNGS_MAX + 1]>);

impl Busy {
    /// Where the decoder's thread notes its work.
    pub(crate) const DECODER: usize = RUNGS_MAX;

    /// A thread worked from `since` till now, but for `waited`.
    pub(crate) fn worked(&self, thread: usize, since: Instant, waited: Duration) {
        if let Some(sum) = self.0.get(thread) {
            let worked = since.elapsed().saturating_sub(waited);
            sum.fetch_add(u64::try_from(worked.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// The most that any thread has worked since the last time, in µs.
    pub(crate) fn take(&self) -> u32 {
        let most = self.0.iter().map(|sum| sum.swap(0, Ordering::Relaxed)).max();
        u32::try_from(most.unwrap_or(0)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_thread_counts_and_only_once() {
        let (busy, now) = (Busy::default(), Instant::now());
        let before = |ms| now.checked_sub(Duration::from_millis(ms)).unwrap();
        busy.worked(0, before(5_000), Duration::from_millis(4_000));
        busy.worked(1, before(3_000), Duration::ZERO);
        busy.worked(RUNGS_MAX + 1, before(9_000), Duration::ZERO);
        assert!((3_000_000..3_900_000).contains(&busy.take()));
        assert_eq!(busy.take(), 0);
    }
}
