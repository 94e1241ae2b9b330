//! Counts the bytes that the edge keeps, to the byte, and says no before there are too many.
//!
//! Knows numbers only: not what is kept, nor what could be thrown out to make room (that is [`crate::cache`]'s).

use memory::{Filler, Life, Object, Pool};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes kept, in all, and the most there may be.
#[derive(Debug)]
pub(crate) struct Ledger {
    limit: u64,
    used: AtomicU64,
    /// Who puts larger objects into memory files.
    pool: Pool,
}

/// Bytes that somebody keeps; given back when dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    ledger: Arc<Ledger>,
    bytes: u64,
}

impl Ledger {
    /// A ledger with room for `limit` bytes.
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicU64::new(0), pool: Pool::new(limit) })
    }

    /// Takes `bytes` from what is left. `None`: that much isn't left.
    pub(crate) fn charge(self: &Arc<Self>, bytes: u64) -> Option<Charge> {
        let mut charge = Charge { ledger: Arc::clone(self), bytes: 0 };
        charge.grow(bytes).then_some(charge)
    }

    /// A memory file for an object of `length` bytes, paid for from here for as long as there is anything of it. `None`:
    /// it is as well kept without, or there is no room.
    pub(crate) fn file(self: &Arc<Self>, length: u64, life: Life) -> Option<(Filler, Object)> {
        self.pool.begin(length, life, |bytes| self.charge(bytes))
    }

    /// Whether an object of `bytes` more would find room, however it is kept.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        self.used().saturating_add(self.pool.most(bytes)) <= self.limit
    }

    /// Bytes kept now.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The most there may be.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }
}

impl Charge {
    /// Takes `more` bytes. `false`: that much isn't left, and nothing was taken.
    pub(crate) fn grow(&mut self, more: u64) -> bool {
        let add = |used: u64| used.checked_add(more).filter(|sum| *sum <= self.ledger.limit);
        let taken = self.ledger.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok();
        if taken {
            self.bytes = self.bytes.saturating_add(more);
        }
        taken
    }

    /// Where it was taken from.
    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    #[cfg(test)]
    fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.ledger.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_come_back_when_the_charge_goes() {
        let ledger = Ledger::new(100);
        let mut one = ledger.charge(60).unwrap();
        assert!(ledger.charge(41).is_none());
        assert!(one.grow(40));
        assert!(!one.grow(1));
        assert_eq!((ledger.used(), one.bytes()), (100, 100));
        drop(one);
        assert_eq!(ledger.used(), 0);
    }

    proptest! {
        #[test]
        fn the_sum_is_exact_and_never_above_the_limit(steps in proptest::collection::vec((0usize..4, 0u64..80), 0..200)) {
            let ledger = Ledger::new(100);
            let mut held: Vec<Option<Charge>> = (0..4).map(|_| None).collect();
            for (slot, bytes) in steps {
                held[slot] = match held[slot].take() {
                    Some(mut charge) if bytes % 2 == 0 => { charge.grow(bytes); Some(charge) }
                    Some(_) => None,
                    None => ledger.charge(bytes),
                };
                let sum: u64 = held.iter().flatten().map(Charge::bytes).sum();
                prop_assert_eq!(ledger.used(), sum);
                prop_assert!(sum <= 100);
            }
        }
    }
}
