//! Which flight answers for which key: media files, by age and byte budget.
//!
//! Live media dies of age, so the oldest goes first; recency would keep what one slow viewer reads. A flight on its way
//! is never thrown out, so there is one fetch per object. [`Shelf`] is pure, time being a parameter; [`Cache`] is the
//! lock around it. Knows no sockets and no policy: how long something is good for is handed in.

use crate::failure::Failure;
use crate::flight::{self, Flight, Writer};
use crate::ledger::Ledger;
use media::route::Route;
use memory::Life;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What an object is known by: its address, and the lineage of origins that it is of. And, where somebody asks again since
/// a fetch was refused for another's longer way, how many edges he came through: he joins only those who came through as
/// many.
pub(crate) type Key = (crate::key::Key, u32, Option<usize>);

/// What an entry costs beside its object's bytes: key, flight, places in the tables. Rounded up.
pub(crate) const ENTRY_BYTES: u64 = 1024;

/// Most 4xx and failures that are remembered.
const NEGATIVE_MAX: usize = 1024;

/// Most fetches at a time.
const RUNNING_MAX: usize = 1024;

/// Of these, most of what is not known to be live.
const RUNNING_PAST_MAX: usize = RUNNING_MAX / 2;

/// Media by key.
#[derive(Debug)]
pub(crate) struct Cache {
    shelf: Mutex<Shelf>,
}

/// What was found for a key.
#[derive(Debug)]
pub(crate) enum Found {
    /// It is here.
    Hit(Arc<Flight>),
    /// Somebody fetches it.
    Joined(Arc<Flight>),
    /// The caller is to fetch it.
    Started(Arc<Flight>, Fetching),
}

/// The duty to fetch: fill the writer, then [`Cache::settle`].
#[derive(Debug)]
pub(crate) struct Fetching {
    /// Where the bytes go.
    pub(crate) writer: Writer,
    /// Which entry this is about.
    pub(crate) ticket: Ticket,
}

/// An entry, and not one that came later under the same key.
#[derive(Debug, Clone)]
pub(crate) struct Ticket {
    key: Key,
    generation: u64,
}

/// How a fetch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Keep it until then.
    Keep(Instant),
    /// A 4xx or a failure without a byte: remember until then that it is so.
    Negative(Instant),
    /// Forget it: bytes were given out and the rest never came.
    Forget,
}

/// What is kept, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Stat {
    /// Entries in all.
    pub(crate) entries: usize,
    /// Of these, fetches on their way.
    pub(crate) running: usize,
    /// Of these, remembered 4xx and failures.
    pub(crate) negative: usize,
    /// Bytes of all entries.
    pub(crate) bytes: u64,
}

impl Cache {
    /// Keeps at most `budget` bytes of those that `ledger` has room for. (The ledger also counts what was thrown out
    /// while viewers still read it.)
    pub(crate) fn new(budget: u64, ledger: Arc<Ledger>) -> Self {
        Self { shelf: Mutex::new(Shelf::new(budget, ledger)) }
    }

    /// Looks a key up, and starts a flight if there is none that is good. `past`: it is not known to be live.
    pub(crate) fn find(&self, key: &Key, past: bool, now: Instant) -> Result<Found, Failure> {
        self.lock().find(key, past, now)
    }

    /// The flight of a key if readers wouldn't have to wait for its head.
    pub(crate) fn here(&self, key: &Key, now: Instant) -> Option<Found> {
        self.lock().known(key, now).filter(|found| match found {
            Found::Hit(flight) | Found::Joined(flight) => flight.is_answered(),
            Found::Started(..) => false,
        })
    }

    /// Makes room for `bytes` more of this entry. `false`: there is none to be made.
    pub(crate) fn room(&self, ticket: &Ticket, bytes: u64) -> bool {
        self.lock().room(ticket, bytes)
    }

    /// Says how a fetch ended.
    pub(crate) fn settle(&self, ticket: &Ticket, verdict: Verdict) {
        self.lock().settle(ticket, verdict);
    }

    /// Throws out what is past its time.
    pub(crate) fn sweep(&self, now: Instant) {
        self.lock().sweep(now);
    }

    /// What is kept.
    pub(crate) fn stat(&self) -> Stat {
        self.lock().stat()
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        // Nothing panics while it holds the lock.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Shelf {
    budget: u64,
    ledger: Arc<Ledger>,
    entries: HashMap<Key, Entry>,
    /// Landed good entries, oldest first: what may be thrown out.
    oldest: BTreeMap<u64, Key>,
    /// Entries that say no, oldest first.
    negative: BTreeSet<u64>,
    running: usize,
    running_past: usize,
    /// Sum of the entries' bytes.
    bytes: u64,
    /// Of these, those on their way: they can't be thrown out.
    pinned: u64,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    flight: Arc<Flight>,
    generation: u64,
    bytes: u64,
    past: bool,
    /// Good until then; `None` while it is on its way.
    until: Option<Instant>,
}

impl Shelf {
    fn new(budget: u64, ledger: Arc<Ledger>) -> Self {
        Self {
            budget,
            ledger,
            entries: HashMap::new(),
            oldest: BTreeMap::new(),
            negative: BTreeSet::new(),
            running: 0,
            running_past: 0,
            bytes: 0,
            pinned: 0,
            next: 0,
        }
    }

    fn known(&self, key: &Key, now: Instant) -> Option<Found> {
        let entry = self.entries.get(key)?;
        match entry.until {
            Some(until) if now < until => Some(Found::Hit(Arc::clone(&entry.flight))),
            // A flight that failed before anybody said how (its task is gone) is nobody's answer.
            None if entry.flight.failure().is_none() => Some(Found::Joined(Arc::clone(&entry.flight))),
            _ => None,
        }
    }

    fn find(&mut self, key: &Key, past: bool, now: Instant) -> Result<Found, Failure> {
        if let Some(found) = self.known(key, now) {
            return Ok(found);
        }
        self.remove(key);
        if self.running >= RUNNING_MAX || past && self.running_past >= RUNNING_PAST_MAX {
            return Err(Failure::Busy);
        }
        if !self.evict_for(ENTRY_BYTES) {
            return Err(Failure::NoRoom);
        }
        let charge = self.ledger.charge(ENTRY_BYTES).ok_or(Failure::NoRoom)?;
        let life = if matches!(key.0.route, Route::Vod(_)) { Life::Recorded } else { Life::Live };
        let (writer, flight) = flight::begin(charge, life);
        let generation = self.next;
        self.next = self.next.wrapping_add(1);
        self.running = self.running.saturating_add(1);
        self.running_past = self.running_past.saturating_add(usize::from(past));
        self.bytes = self.bytes.saturating_add(ENTRY_BYTES);
        self.pinned = self.pinned.saturating_add(ENTRY_BYTES);
        let entry = Entry { flight: Arc::clone(&flight), generation, bytes: ENTRY_BYTES, past, until: None };
        self.entries.insert(key.clone(), entry);
        let ticket = Ticket { key: key.clone(), generation };
        Ok(Found::Started(flight, Fetching { writer, ticket }))
    }

    fn room(&mut self, ticket: &Ticket, bytes: u64) -> bool {
        if self.own(ticket).is_none_or(|entry| entry.until.is_some()) || !self.evict_for(bytes) {
            return false;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.pinned = self.pinned.saturating_add(bytes);
        if let Some(entry) = self.own(ticket) {
            entry.bytes = entry.bytes.saturating_add(bytes);
        }
        true
    }

    fn settle(&mut self, ticket: &Ticket, verdict: Verdict) {
        let Some(entry) = self.own(ticket).filter(|entry| entry.until.is_none()) else { return };
        let until = match verdict {
            Verdict::Forget => return self.remove(&ticket.key),
            Verdict::Keep(until) | Verdict::Negative(until) => until,
        };
        entry.until = Some(until);
        let (bytes, past) = (entry.bytes, entry.past);
        self.pinned = self.pinned.saturating_sub(bytes);
        self.running = self.running.saturating_sub(1);
        self.running_past = self.running_past.saturating_sub(usize::from(past));
        self.oldest.insert(ticket.generation, ticket.key.clone());
        if matches!(verdict, Verdict::Negative(_)) {
            self.negative.insert(ticket.generation);
        }
        if self.negative.len() > NEGATIVE_MAX
            && let Some(key) = self.negative.first().and_then(|oldest| self.oldest.get(oldest)).cloned()
        {
            self.remove(&key);
        }
    }

    fn sweep(&mut self, now: Instant) {
        let past = |entry: &Entry| match entry.until {
            Some(until) => until <= now,
            None => entry.flight.failure().is_some(),
        };
        let dead: Vec<Key> = self.entries.iter().filter(|(_, entry)| past(entry)).map(|(key, _)| key.clone()).collect();
        dead.iter().for_each(|key| self.remove(key));
    }

    fn stat(&self) -> Stat {
        let (entries, negative) = (self.entries.len(), self.negative.len());
        Stat { entries, running: self.running, negative, bytes: self.bytes }
    }

    fn own(&mut self, ticket: &Ticket) -> Option<&mut Entry> {
        self.entries.get_mut(&ticket.key).filter(|entry| entry.generation == ticket.generation)
    }

    /// Throws out the oldest until `bytes` more are within the budget; nothing, if all of it would not be enough.
    fn evict_for(&mut self, bytes: u64) -> bool {
        if self.pinned.saturating_add(bytes) > self.budget {
            return false;
        }
        // What was thrown out is still paid for while it is read, or while what shares a memory file with it is kept.
        while self.bytes.saturating_add(bytes) > self.budget || !self.ledger.has_room(bytes) {
            let Some(key) = self.oldest.first_key_value().map(|(_, key)| key.clone()) else { return false };
            self.remove(&key);
        }
        true
    }

    fn remove(&mut self, key: &Key) {
        let Some(entry) = self.entries.remove(key) else { return };
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        self.oldest.remove(&entry.generation);
        self.negative.remove(&entry.generation);
        if entry.until.is_none() {
            self.running = self.running.saturating_sub(1);
            self.running_past = self.running_past.saturating_sub(usize::from(entry.past));
            self.pinned = self.pinned.saturating_sub(entry.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flight::Head;
    use http::StatusCode;
    use proptest::prelude::*;
    use std::time::Duration;

    fn key(msn: u64) -> Key {
        (crate::key::Key::read(&format!("/hls/foo/source/{msn}.m4s"), None).unwrap(), 0, None)
    }

    fn head(length: u64) -> Head {
        Head {
            status: StatusCode::OK,
            length: Some(length),
            content_type: None,
            etag: None,
            received: Instant::now(),
            age: Duration::ZERO,
        }
    }

    fn start(shelf: &mut Shelf, msn: u64, now: Instant) -> Fetching {
        match shelf.find(&key(msn), false, now) {
            Ok(Found::Started(_, fetching)) => fetching,
            other => panic!("not started: {other:?}"),
        }
    }

    /// Fetches an object of `bytes`.
    fn land(shelf: &mut Shelf, msn: u64, bytes: u64, now: Instant, until: Instant) -> bool {
        let mut fetching = start(shelf, msn, now);
        if !shelf.room(&fetching.ticket, bytes) || !fetching.writer.head(head(bytes)) {
            shelf.settle(&fetching.ticket, Verdict::Forget);
            return false;
        }
        fetching.writer.push(&vec![0; bytes as usize]);
        shelf.settle(&fetching.ticket, Verdict::Keep(until));
        fetching.writer.finish().is_ok()
    }

    fn shelf(budget: u64) -> Shelf {
        Shelf::new(budget, Ledger::new(budget + budget / 10))
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn one_flight_per_key_until_it_is_past_its_time() {
        let (mut shelf, now) = (shelf(1 << 20), Instant::now());
        let fetching = start(&mut shelf, 1, now);
        assert!(matches!(shelf.find(&key(1), false, now), Ok(Found::Joined(_))));
        shelf.settle(&fetching.ticket, Verdict::Keep(now + SECOND));
        assert!(matches!(shelf.find(&key(1), false, now), Ok(Found::Hit(_))));
        assert!(matches!(shelf.find(&key(1), false, now + SECOND), Ok(Found::Started(..))));
    }

    #[test]
    fn a_flight_whose_fetch_is_gone_is_nobodys_answer() {
        let (mut shelf, now) = (shelf(1 << 20), Instant::now());
        drop(start(&mut shelf, 1, now));
        let second = start(&mut shelf, 1, now);
        assert_eq!(shelf.stat().running, 1);
        drop(second);
        shelf.sweep(now);
        assert_eq!(shelf.stat(), Stat { entries: 0, running: 0, negative: 0, bytes: 0 });
    }

    #[test]
    fn what_a_late_fetch_says_is_not_taken_for_its_successor() {
        let (mut shelf, now) = (shelf(1 << 20), Instant::now());
        let Fetching { writer, ticket } = start(&mut shelf, 1, now);
        drop(writer);
        let _second = start(&mut shelf, 1, now);
        shelf.settle(&ticket, Verdict::Keep(now + SECOND));
        assert!(!shelf.room(&ticket, 1));
        assert!(matches!(shelf.find(&key(1), false, now), Ok(Found::Joined(_))));
    }

    #[test]
    fn the_oldest_goes_first_and_never_what_is_on_its_way() {
        let (mut shelf, now) = (shelf(10 * ENTRY_BYTES), Instant::now());
        let until = now + SECOND;
        let first = start(&mut shelf, 0, now);
        for msn in 1..=4 {
            assert!(land(&mut shelf, msn, ENTRY_BYTES, now, until));
        }
        // A look at the oldest doesn't save it.
        assert!(matches!(shelf.find(&key(1), false, now), Ok(Found::Hit(_))));
        assert!(land(&mut shelf, 5, ENTRY_BYTES, now, until));
        assert!(matches!(shelf.find(&key(0), false, now), Ok(Found::Joined(_))));
        assert!(matches!(shelf.find(&key(2), false, now), Ok(Found::Hit(_))));
        assert!(matches!(shelf.find(&key(1), false, now), Ok(Found::Started(..))));
        drop(first);
    }

    #[test]
    fn what_is_larger_than_the_budget_is_not_kept() {
        let (mut shelf, now) = (shelf(4 * ENTRY_BYTES), Instant::now());
        assert!(!land(&mut shelf, 1, 4 * ENTRY_BYTES, now, now + SECOND));
        assert_eq!(shelf.stat().bytes, 0);
    }

    #[test]
    fn what_can_never_fit_throws_nothing_out() {
        let (mut shelf, now) = (shelf(8 * ENTRY_BYTES), Instant::now());
        for msn in 1..=3 {
            assert!(land(&mut shelf, msn, 0, now, now + SECOND));
        }
        let running = start(&mut shelf, 9, now);
        assert!(shelf.room(&running.ticket, 2 * ENTRY_BYTES));
        // Three are on their way already, and one more begins.
        assert!(!land(&mut shelf, 10, 5 * ENTRY_BYTES, now, now + SECOND));
        for msn in 1..=3 {
            assert!(matches!(shelf.find(&key(msn), false, now), Ok(Found::Hit(_))), "{msn}");
        }
        assert!(land(&mut shelf, 10, 4 * ENTRY_BYTES, now, now + SECOND), "what fits still makes its room");
    }

    #[test]
    fn what_viewers_still_read_counts_though_it_was_thrown_out() {
        let ledger = Ledger::new(11 * ENTRY_BYTES);
        let (mut shelf, now) = (Shelf::new(10 * ENTRY_BYTES, Arc::clone(&ledger)), Instant::now());
        assert!(land(&mut shelf, 1, 8 * ENTRY_BYTES, now, now + SECOND));
        let Ok(Found::Hit(flight)) = shelf.find(&key(1), false, now) else { panic!("it is there") };
        let reader = flight.reader();
        drop(flight);
        assert!(!land(&mut shelf, 2, 8 * ENTRY_BYTES, now, now + SECOND), "the reader pins the first");
        drop(reader);
        assert!(land(&mut shelf, 2, 8 * ENTRY_BYTES, now, now + SECOND));
        assert_eq!(ledger.used(), 9 * ENTRY_BYTES);
    }

    #[test]
    fn negatives_are_bounded_and_the_oldest_is_forgotten_first() {
        let (mut shelf, now) = (shelf(1 << 30), Instant::now());
        for msn in 0..NEGATIVE_MAX as u64 + 10 {
            let fetching = start(&mut shelf, msn, now);
            shelf.settle(&fetching.ticket, Verdict::Negative(now + SECOND));
        }
        assert_eq!((shelf.stat().negative, shelf.stat().entries), (NEGATIVE_MAX, NEGATIVE_MAX));
        assert!(matches!(shelf.find(&key(10), false, now), Ok(Found::Hit(_))));
        assert!(matches!(shelf.find(&key(9), false, now), Ok(Found::Started(..))));
    }

    #[test]
    fn fetches_are_bounded() {
        let (mut shelf, now) = (shelf(1 << 30), Instant::now());
        let all: Vec<Fetching> = (0..RUNNING_MAX as u64).map(|msn| start(&mut shelf, msn, now)).collect();
        assert!(matches!(shelf.find(&key(u64::from(u32::MAX)), false, now), Err(Failure::Busy)));
        assert!(matches!(shelf.find(&key(0), false, now), Ok(Found::Joined(_))));
        drop(all);
    }

    #[test]
    fn what_is_of_the_past_leaves_room_for_what_is_live() {
        let (mut shelf, now) = (shelf(1 << 30), Instant::now());
        let past = RUNNING_PAST_MAX as u64;
        let mut all: Vec<_> = (0..past).map(|msn| shelf.find(&key(msn), true, now).unwrap()).collect();
        assert!(matches!(shelf.find(&key(past), true, now), Err(Failure::Busy)));
        assert!(matches!(shelf.find(&key(past), false, now), Ok(Found::Started(..))));
        let Some(Found::Started(_, fetching)) = all.pop() else { panic!("started") };
        shelf.settle(&fetching.ticket, Verdict::Forget);
        assert!(matches!(shelf.find(&key(past + 1), true, now), Ok(Found::Started(..))));
    }

    proptest! {
        #[test]
        fn the_sum_is_exact_within_the_budget_and_all_of_it_comes_back(steps in proptest::collection::vec((0u64..12, 0u64..6000, 0u8..5, 0u64..4), 1..150)) {
            let budget = 16 * ENTRY_BYTES;
            let ledger = Ledger::new(budget + budget / 10);
            let mut shelf = Shelf::new(budget, Arc::clone(&ledger));
            let begin = Instant::now();
            let mut open: Vec<Fetching> = Vec::new();
            for (i, (msn, bytes, what, life)) in steps.into_iter().enumerate() {
                let now = begin + SECOND * u32::try_from(i).unwrap();
                match (what, open.pop()) {
                    (0, Some(mut fetching)) => {
                        if shelf.room(&fetching.ticket, bytes) && fetching.writer.head(head(bytes)) {
                            fetching.writer.push(&vec![0; bytes as usize]);
                        }
                        let kept = fetching.writer.shortfall().is_none();
                        shelf.settle(&fetching.ticket, if kept { Verdict::Keep(now + SECOND * life as u32) } else { Verdict::Forget });
                        let _ = fetching.writer.finish();
                    }
                    (1, Some(fetching)) => shelf.settle(&fetching.ticket, Verdict::Negative(now + SECOND)),
                    (2, Some(fetching)) => drop(fetching),
                    (3, some) => { open.extend(some); shelf.sweep(now); }
                    (_, some) => {
                        open.extend(some);
                        if let Ok(Found::Started(_, fetching)) = shelf.find(&key(msn), msn % 2 == 0, now) {
                            open.push(fetching);
                        }
                    }
                }
                let sum: u64 = shelf.entries.values().map(|entry| entry.bytes).sum();
                prop_assert_eq!(shelf.bytes, sum);
                prop_assert!(sum <= budget);
                prop_assert!(ledger.used() <= ledger.limit());
                let running = shelf.entries.values().filter(|entry| entry.until.is_none()).count();
                prop_assert_eq!(shelf.running, running);
                let past = shelf.entries.values().filter(|entry| entry.until.is_none() && entry.past).count();
                prop_assert_eq!(shelf.running_past, past);
                let on_their_way = shelf.entries.values().filter(|entry| entry.until.is_none());
                prop_assert_eq!(shelf.pinned, on_their_way.map(|entry| entry.bytes).sum::<u64>());
                prop_assert_eq!(shelf.oldest.len(), shelf.entries.len() - running);
            }
            open.clear();
            shelf.sweep(begin + SECOND * 100_000);
            prop_assert_eq!(shelf.stat(), Stat { entries: 0, running: 0, negative: 0, bytes: 0 });
            prop_assert_eq!(ledger.used(), 0);
        }
    }
}
