//! What is sent to whom and when: order, retries, room. Pure: times and random numbers go in, sockets are `sender`'s.
//!
//! Each receiver has a queue of its own. What concerns one stream is delivered in order: while one message is tried again, the
//! next ones of that stream wait, but no longer than [`ORDERED`]; nobody else waits for it.

use super::Message;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Messages that wait for one receiver; one more is dropped.
const WAITING_MAX: usize = 1000;

/// Requests to one receiver at a time.
const FLYING_MAX: usize = 4;

/// From a failure to the next try: the first time, and at most. In between it doubles.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(60);

/// How long a message is tried, and how long it holds up what comes after it in its stream.
const ORDERED: Duration = Duration::from_secs(15 * 60);

/// How long a message is tried that must not be lost.
const KEPT_TRIED: Duration = Duration::from_secs(24 * 3600);

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Send this to that receiver, and say how it went.
    Send(Ticket, Arc<Message>),
    /// Nothing until then, or until something new comes.
    Wait(Option<Instant>),
}

/// A message on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    /// To which receiver, counted from 0.
    pub(super) to: usize,
    number: u64,
}

/// What became of a try.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The receiver has it. `last`: so have all others, or they never will.
    Delivered { last: bool },
    /// It is tried again after this.
    Again(Duration),
    /// It was tried for long enough.
    GivenUp { last: bool },
}

/// All that waits.
#[derive(Debug)]
pub(super) struct Outbox {
    receivers: Vec<VecDeque<Entry>>,
    numbers: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    message: Arc<Message>,
    since: Instant,
    due: Instant,
    failures: u32,
    flying: bool,
    surely: bool,
}

impl Outbox {
    /// For so many receivers.
    pub(super) fn new(receivers: usize) -> Self {
        Self { receivers: (0..receivers).map(|_| VecDeque::new()).collect(), numbers: 0 }
    }

    /// Takes a message; says for how many receivers there was no room. `surely`: it must not be lost.
    pub(super) fn push(&mut self, message: Message, surely: bool, now: Instant) -> usize {
        let message = Arc::new(message);
        let mut dropped = 0;
        for queue in &mut self.receivers {
            if queue.len() >= WAITING_MAX {
                dropped += 1;
                continue;
            }
            self.numbers += 1;
            let (number, message) = (self.numbers, message.clone());
            queue.push_back(Entry { number, message, since: now, due: now, failures: 0, flying: false, surely });
        }
        dropped
    }

    /// The next thing to do.
    pub(super) fn next(&mut self, now: Instant) -> Step {
        let mut wake = None;
        for (to, queue) in self.receivers.iter_mut().enumerate() {
            if queue.iter().filter(|entry| entry.flying).count() >= FLYING_MAX {
                continue;
            }
            let mut before = HashSet::new();
            for entry in queue {
                let held_up = before.contains(entry.message.subject.as_str());
                if entry.holds_up(now) {
                    before.insert(entry.message.subject.as_str());
                }
                if held_up || entry.flying {
                    continue;
                }
                if entry.due <= now {
                    entry.flying = true;
                    return Step::Send(Ticket { to, number: entry.number }, entry.message.clone());
                }
                wake = Some(wake.map_or(entry.due, |wake: Instant| wake.min(entry.due)));
            }
        }
        Step::Wait(wake)
    }

    /// Notes how a try went. `chance` is a random number from 0 to 1, so that many of us don't try again at one moment.
    pub(super) fn settle(&mut self, ticket: Ticket, delivered: bool, now: Instant, chance: f64) -> Option<Outcome> {
        let queue = self.receivers.get_mut(ticket.to)?;
        let at = queue.iter().position(|entry| entry.number == ticket.number)?;
        let entry = queue.get_mut(at)?;
        let tried_for = if entry.surely { KEPT_TRIED } else { ORDERED };
        let over = now.saturating_duration_since(entry.since) >= tried_for;
        if !delivered && !over {
            let wait = RETRY.saturating_mul(2_u32.saturating_pow(entry.failures)).min(RETRY_MOST);
            let wait = wait.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
            (entry.flying, entry.failures, entry.due) = (false, entry.failures.saturating_add(1), now + wait);
            return Some(Outcome::Again(wait));
        }
        let id = queue.remove(at)?.message.id.clone();
        let last = !self.receivers.iter().flatten().any(|entry| entry.message.id == id);
        Some(if delivered { Outcome::Delivered { last } } else { Outcome::GivenUp { last } })
    }

    /// There is no time left: whatever waits for its next try has it now.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.receivers.iter_mut().flatten().for_each(|entry| entry.due = entry.due.min(now));
    }

    /// What nobody has got yet, for each receiver.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Message> {
        self.receivers.iter().flatten().map(|entry| entry.message.as_ref())
    }
}

impl Entry {
    fn holds_up(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < ORDERED
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HookEvent;

    /// An outbox with its clock, in seconds.
    struct World {
        outbox: Outbox,
        start: Instant,
        now: Instant,
    }

    impl World {
        fn new(receivers: usize) -> Self {
            let start = Instant::now();
            Self { outbox: Outbox::new(receivers), start, now: start }
        }

        fn at(&mut self, seconds: f64) {
            self.now = self.start + Duration::from_secs_f64(seconds);
        }

        fn push(&mut self, id: &str, subject: &str, surely: bool) -> usize {
            let message = Message {
                id: id.to_owned(),
                kind: HookEvent::Alarm,
                subject: subject.to_owned(),
                body: Default::default(),
            };
            self.outbox.push(message, surely, self.now)
        }

        /// Everything that goes out now, as `ID>RECEIVER`.
        fn sent(&mut self) -> (Vec<String>, Vec<Ticket>) {
            let (mut names, mut tickets) = (Vec::new(), Vec::new());
            while let Step::Send(ticket, message) = self.outbox.next(self.now) {
                names.push(format!("{}>{}", message.id, ticket.to));
                tickets.push(ticket);
            }
            (names, tickets)
        }

        /// When the next thing is due, in milliseconds from the start.
        fn wake_ms(&mut self) -> Option<u128> {
            match self.outbox.next(self.now) {
                Step::Wait(wake) => wake.map(|wake| (wake - self.start).as_millis()),
                Step::Send(..) => Some(0),
            }
        }

        fn settle(&mut self, ticket: Ticket, delivered: bool, chance: f64) -> Option<Outcome> {
            self.outbox.settle(ticket, delivered, self.now, chance)
        }
    }

    #[test]
    fn every_receiver_is_told_and_the_last_to_have_it_is_known() {
        let mut world = World::new(2);
        world.push("a", "foo", true);
        let (names, tickets) = world.sent();
        assert_eq!(names, ["a>0", "a>1"]);
        assert_eq!(world.settle(tickets[1], true, 0.0), Some(Outcome::Delivered { last: false }));
        assert_eq!(world.settle(tickets[0], true, 0.0), Some(Outcome::Delivered { last: true }));
        assert_eq!(world.settle(tickets[0], true, 0.0), None);
        assert_eq!(world.outbox.waiting().count(), 0);
    }

    #[test]
    fn one_stream_is_told_in_order_and_others_dont_wait_for_it() {
        let mut world = World::new(1);
        for (id, subject) in [("a", "foo"), ("b", "foo"), ("c", "bar")] {
            world.push(id, subject, false);
        }
        let (names, tickets) = world.sent();
        assert_eq!(names, ["a>0", "c>0"]);
        assert_eq!(world.settle(tickets[0], false, 1.0), Some(Outcome::Again(RETRY)));
        assert_eq!(world.sent().0, [""; 0]);
        world.at(1.0);
        let (names, tickets) = world.sent();
        assert_eq!(names, ["a>0"]);
        world.settle(tickets[0], true, 0.0);
        assert_eq!(world.sent().0, ["b>0"]);
    }

    #[test]
    fn a_failure_is_tried_again_later_and_later_but_not_for_ever() {
        let mut world = World::new(1);
        world.push("a", "foo", false);
        let mut waits = Vec::new();
        loop {
            let (_, tickets) = world.sent();
            match world.settle(tickets[0], false, 1.0) {
                Some(Outcome::Again(wait)) => {
                    waits.push(wait.as_secs());
                    world.now += wait;
                }
                outcome => break assert_eq!(outcome, Some(Outcome::GivenUp { last: true })),
            }
        }
        assert_eq!(waits[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
        let tried: u64 = waits.iter().sum();
        assert!((900..960).contains(&tried), "{tried} s");
        assert_eq!(world.outbox.waiting().count(), 0);
    }

    #[test]
    fn chance_spreads_the_next_try_over_the_second_half_of_the_wait() {
        for (chance, expected_ms) in [(0.0, 500), (0.5, 750), (1.0, 1000), (7.0, 1000)] {
            let mut world = World::new(1);
            world.push("a", "foo", false);
            let ticket = world.sent().1[0];
            world.settle(ticket, false, chance);
            assert_eq!(world.wake_ms(), Some(expected_ms), "{chance}");
        }
    }

    #[test]
    fn what_must_not_be_lost_is_tried_for_a_day_and_holds_up_its_stream_for_minutes() {
        let mut world = World::new(1);
        world.push("a", "foo", true);
        world.push("b", "foo", false);
        let ticket = world.sent().1[0];
        world.at(899.0);
        assert_eq!(world.settle(ticket, false, 1.0), Some(Outcome::Again(RETRY)));
        world.at(899.5);
        assert_eq!(world.sent().0, [""; 0]);
        world.at(900.0);
        let (names, tickets) = world.sent();
        assert_eq!(names, ["a>0", "b>0"]);
        assert!(matches!(world.settle(tickets[0], false, 1.0), Some(Outcome::Again(_))));
        world.at(24.0 * 3600.0);
        let ticket = world.sent().1[0];
        assert_eq!(world.settle(ticket, false, 1.0), Some(Outcome::GivenUp { last: true }));
    }

    #[test]
    fn a_receiver_that_hangs_takes_few_connections_and_a_bounded_queue() {
        let mut world = World::new(2);
        let dropped: usize = (0..WAITING_MAX + 5).map(|id| world.push(&id.to_string(), &id.to_string(), false)).sum();
        assert_eq!(dropped, 2 * 5);
        let (names, tickets) = world.sent();
        assert_eq!(names.len(), 2 * FLYING_MAX);
        assert_eq!(world.wake_ms(), None);
        // The second one answers, the first one doesn't.
        world.settle(tickets[FLYING_MAX], true, 0.0);
        assert_eq!(world.sent().0, ["4>1"]);
    }

    #[test]
    fn at_the_end_nothing_waits_for_its_next_try() {
        let mut world = World::new(1);
        world.push("a", "foo", false);
        let ticket = world.sent().1[0];
        world.settle(ticket, false, 1.0);
        world.outbox.hurry(world.now);
        assert_eq!(world.sent().0, ["a>0"]);
    }
}
