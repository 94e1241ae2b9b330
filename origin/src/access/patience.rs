//! How long somebody waits who guessed wrong, and how often a refusal is logged. Pure: addresses and times go in.
//!
//! Each wrong guess of an address is a debt of [`FORGIVEN_AFTER`]; the more of it, the longer the next refusal takes. An encoder
//! with a mistyped key that tries again and again ends up at a few seconds; whoever guesses on many connections at once is not
//! even heard any more, until some of the debt is paid. Being right pays nothing: who has one key might guess at
//! another.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use tokio::time::Instant;

/// How long a wrong guess counts.
const FORGIVEN_AFTER: Duration = Duration::from_secs(5);

/// So many wrong guesses count at most.
const GUESSES_MAX: u32 = 30;

/// Above this many an address is refused without looking at what it shows.
const HEARD_MAX: u32 = 20;

/// What a refusal waits at least and at most. Encoders give up after some ten seconds.
pub(super) const WAIT: Duration = Duration::from_secs(1);
pub(super) const WAIT_MOST: Duration = Duration::from_secs(8);

/// Addresses that are remembered. When there are more, all further ones share one debt.
const ADDRESSES_MAX: usize = 4096;

/// For those that share.
const OTHERS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// After a line in the log, how long further refusals are only counted.
const QUIET: Duration = Duration::from_secs(10);

/// Who guessed wrong: until when each address has paid its debt.
#[derive(Debug, Default)]
pub(super) struct Patience(HashMap<IpAddr, Instant>);

impl Patience {
    /// A wrong guess.
    pub(super) fn failed(&mut self, who: IpAddr, now: Instant) {
        if self.0.len() >= ADDRESSES_MAX && !self.0.contains_key(&who) {
            self.0.retain(|_, paid| *paid > now);
        }
        let who = self.entry(who);
        let paid = self.0.entry(who).or_insert(now);
        *paid = ((*paid).max(now) + FORGIVEN_AFTER).min(now + FORGIVEN_AFTER * GUESSES_MAX);
    }

    /// Whether it guessed so often that it isn't heard for now.
    pub(super) fn is_exhausted(&self, who: IpAddr, now: Instant) -> bool {
        self.guesses(who, now) > HEARD_MAX
    }

    /// How long its refusal takes.
    pub(super) fn wait(&self, who: IpAddr, now: Instant) -> Duration {
        let doublings = self.guesses(who, now).saturating_sub(1) / 3;
        WAIT.saturating_mul(2_u32.saturating_pow(doublings)).min(WAIT_MOST)
    }

    fn guesses(&self, who: IpAddr, now: Instant) -> u32 {
        let debt = self.0.get(&self.entry(who)).map_or(Duration::ZERO, |paid| paid.saturating_duration_since(now));
        u32::try_from(debt.as_millis().div_ceil(FORGIVEN_AFTER.as_millis())).unwrap_or(u32::MAX)
    }

    fn entry(&self, who: IpAddr) -> IpAddr {
        if self.0.len() < ADDRESSES_MAX || self.0.contains_key(&who) { who } else { OTHERS }
    }
}

/// Which refusals are logged.
#[derive(Debug, Default)]
pub(super) struct Burst {
    logged: Option<Instant>,
    unsaid: u64,
}

impl Burst {
    /// A refusal: if it is to be logged, with how many came unsaid since the last that was.
    pub(super) fn tell(&mut self, now: Instant) -> Option<u64> {
        if self.logged.is_some_and(|logged| now.saturating_duration_since(logged) < QUIET) {
            self.unsaid += 1;
            return None;
        }
        self.logged = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from(0x0A00_0000 + number).into()
    }

    /// Seconds that the last of so many guesses at one moment waits, `after_s` later.
    fn check(guesses: u32, after_s: u64, expected_s: u64, heard: bool) {
        let (mut patience, start) = (Patience::default(), Instant::now());
        (0..guesses).for_each(|_| patience.failed(address(1), start));
        let now = start + Duration::from_secs(after_s);
        assert_eq!(patience.wait(address(1), now).as_secs(), expected_s, "{guesses} guesses, {after_s} s later");
        assert_eq!(!patience.is_exhausted(address(1), now), heard, "{guesses} guesses, {after_s} s later");
        assert_eq!(patience.wait(address(2), now), WAIT, "somebody else");
    }

    #[test]
    fn a_refusal_takes_longer_the_more_there_were_and_time_forgives() {
        for (guesses, after_s, expected_s, heard) in [
            (0, 0, 1, true),
            (1, 0, 1, true),
            (3, 0, 1, true),
            (4, 0, 2, true),
            (7, 0, 4, true),
            (10, 0, 8, true),
            (20, 0, 8, true),
            (21, 0, 8, false),
            (21, 5, 8, true),
            (21, 100, 1, true),
            (1000, 0, 8, false),
            (1000, 50, 8, true),
            (1000, 150, 1, true),
        ] {
            check(guesses, after_s, expected_s, heard);
        }
    }

    #[test]
    fn an_encoder_that_tries_again_and_again_is_always_heard() {
        let (mut patience, mut now) = (Patience::default(), Instant::now());
        for round in 0..500 {
            assert!(!patience.is_exhausted(address(1), now), "round {round}");
            patience.failed(address(1), now);
            // Refused after the wait; a second later it is back.
            now += patience.wait(address(1), now) + Duration::from_secs(1);
        }
    }

    #[test]
    fn the_table_is_bounded_and_who_finds_no_room_shares_one_debt() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        (0..10_000).for_each(|number| patience.failed(address(number), now));
        assert_eq!(patience.0.len(), ADDRESSES_MAX + 1);
        assert!(patience.is_exhausted(address(20_000), now) && !patience.is_exhausted(address(1), now));
        // What is paid makes room.
        let later = now + FORGIVEN_AFTER * GUESSES_MAX;
        patience.failed(address(20_000), later);
        assert_eq!(patience.0.len(), 1);
    }

    #[test]
    fn a_burst_is_one_line_and_a_count() {
        let (mut burst, start) = (Burst::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(burst.tell(at(0)), Some(0));
        assert_eq!((burst.tell(at(1)), burst.tell(at(9))), (None, None));
        assert_eq!(burst.tell(at(10)), Some(2));
        assert_eq!(burst.tell(at(30)), Some(0));
    }
}
