//! What a message's file is called: all that changes about a message is in its name, so one rename is one change of its
//! state, and there is nothing between two states.
//!
//! ```text
//! SENT-RANDOM-DEDUP.RECEIVES.UNTIL
//! ```
//!
//! in hexadecimal milliseconds of the Unix epoch, a random number, the hash of the sender's word against doubles (or
//! zeros); then in decimal how often it was received, and until when who received it last has it (milliseconds; 0: nobody
//! has it). Pure.

use super::VISIBILITY_MAX;
use std::time::Duration;

/// A time, in milliseconds of the Unix epoch.
pub(super) type Millis = u64;

/// The last time that a name has room for.
const MILLIS_MAX: Millis = (1 << 48) - 1;

/// A message's state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    /// When it was sent.
    pub(super) sent: Millis,
    random: u64,
    /// The hash of the sender's word against doubles.
    pub(super) dedup: Option<u128>,
    /// How often it was received.
    pub(super) receives: u32,
    /// Until when who received it last has it; 0: nobody has it.
    until: Millis,
}

/// What may be done with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Whoever comes may have it.
    Visible,
    /// Somebody has it.
    Held,
    /// Nobody has it, and it was given out so often that it isn't any more.
    Spent,
}

impl Name {
    /// A new message's.
    pub(super) fn new(sent: Millis, random: u64, dedup: Option<u128>) -> Self {
        // Zeros are nobody's.
        let dedup = dedup.filter(|hash| *hash != 0);
        Self { sent: sent.min(MILLIS_MAX), random, dedup, receives: 0, until: 0 }
    }

    /// The name of a file, if it is a message's.
    pub(super) fn parse(file: &str) -> Option<Self> {
        let mut parts = file.split('.');
        let (id, receives, until) = (parts.next()?, parts.next()?, parts.next()?);
        let mut parts = id.split('-');
        let (sent, random, dedup) = (parts.next()?, parts.next()?, parts.next()?);
        let dedup = u128::from_str_radix(dedup, 16).ok()?;
        let name = Self {
            sent: Millis::from_str_radix(sent, 16).ok()?,
            random: u64::from_str_radix(random, 16).ok()?,
            dedup: (dedup != 0).then_some(dedup),
            receives: receives.parse().ok()?,
            until: until.parse().ok()?,
        };
        // One spelling each: what is longer, shorter or otherwise written is no name of ours.
        (name.file() == file).then_some(name)
    }

    /// The file's name.
    pub(super) fn file(&self) -> String {
        format!("{}.{}.{}", self.id(), self.receives, self.until)
    }

    /// What the message is called as long as it is in the queue.
    pub(super) fn id(&self) -> String {
        format!("{:012x}-{:016x}-{:032x}", self.sent, self.random, self.dedup.unwrap_or(0))
    }

    /// What who received it last shows.
    pub(super) fn receipt(&self) -> String {
        format!("{}.{}", self.id(), self.receives)
    }

    /// Whether who shows this receipt has the message: nobody else received it since, and it was not given back. That its
    /// time is over is no reason yet.
    pub(super) fn is_held_with(&self, receipt: &str) -> bool {
        self.until != 0 && self.receipt() == receipt
    }

    /// What may be done with it.
    pub(super) fn state(&self, now: Millis, max_receives: u32) -> State {
        // Further ahead than anybody may hold a message: the clock was set back.
        let latest = now.saturating_add(millis(VISIBILITY_MAX));
        if self.until > now && self.until <= latest {
            State::Held
        } else if self.receives >= max_receives {
            State::Spent
        } else {
            State::Visible
        }
    }

    /// Received once more.
    pub(super) fn received(&self, now: Millis, visibility: Duration) -> Self {
        Self { receives: self.receives.saturating_add(1), ..self.extended(now, visibility) }
    }

    /// Held on to.
    pub(super) fn extended(&self, now: Millis, visibility: Duration) -> Self {
        // Never 0, which is nobody's.
        Self { until: now.saturating_add(millis(visibility)).clamp(1, MILLIS_MAX), ..self.clone() }
    }

    /// Held by nobody.
    pub(super) fn freed(&self) -> Self {
        Self { until: 0, ..self.clone() }
    }

    /// As good as new, and another message to whoever had it: receipts of its former life say nothing any more.
    pub(super) fn revived(&self, random: u64) -> Self {
        Self { random, receives: 0, until: 0, ..self.clone() }
    }
}

fn millis(time: Duration) -> Millis {
    Millis::try_from(time.as_millis()).unwrap_or(MILLIS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = 1_800_000_000_000;
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn names_are_read_back_and_others_are_none() {
        for dedup in [None, Some(1), Some(u128::MAX)] {
            let name = Name::new(NOW, 7, dedup).received(NOW, SECOND);
            assert_eq!(Name::parse(&name.file()), Some(name));
        }
        let good = Name::new(NOW, 7, Some(9)).file();
        assert_eq!(good, "01a3185c5000-0000000000000007-00000000000000000000000000000009.0.0");
        for bad in [
            "",
            "lock",
            ".tmp-1-1",
            &good[1..],
            &format!("0{good}"),
            &format!("{good}.0"),
            &format!("{good}~"),
            &good.to_uppercase(),
            &good.replace(".0.0", ".0.00"),
            &good.replace(".0.0", ".+1.0"),
            &good.replace(".0.0", ".0.18446744073709551616"),
            &good.replace(".0.0", ".4294967296.0"),
            &good.replace('-', "_"),
        ] {
            assert_eq!(Name::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_message_is_held_until_its_time_and_spent_after_so_many_times() {
        let new = Name::new(NOW, 7, None);
        let once = new.received(NOW, SECOND);
        let twice = once.received(NOW + 1000, SECOND);
        for (what, name, now, max, expected) in [
            ("new", &new, NOW, 2, State::Visible),
            ("new, by a clock that is behind", &new, NOW - 5000, 2, State::Visible),
            ("held", &once, NOW, 2, State::Held),
            ("held to the last moment", &once, NOW + 999, 2, State::Held),
            ("held by the last to have it", &twice, NOW + 1500, 2, State::Held),
            ("run out", &once, NOW + 1000, 2, State::Visible),
            ("given back", &once.freed(), NOW, 2, State::Visible),
            ("run out too often", &twice, NOW + 2000, 2, State::Spent),
            ("given back too often", &twice.freed(), NOW, 2, State::Spent),
            ("redriven", &twice.revived(8), NOW, 2, State::Visible),
            ("held, the clock set back a little", &once, NOW - 60_000, 2, State::Held),
            ("held, the clock set back by days", &once, NOW - 86_400_000, 2, State::Visible),
        ] {
            assert_eq!(name.state(now, max), expected, "{what}");
        }
    }

    #[test]
    fn a_receipt_is_good_until_the_next_one_is_given() {
        let new = Name::new(NOW, 7, None);
        let once = new.received(NOW, SECOND);
        let first = once.receipt();
        for (what, name, expected) in [
            ("held", once.clone(), true),
            ("extended", once.extended(NOW + 500, SECOND), true),
            ("received by another", once.received(NOW + 1000, SECOND), false),
            ("given back", once.freed(), false),
            ("redriven and received", once.revived(8).received(NOW, SECOND), false),
            ("another message", Name::new(NOW, 8, None).received(NOW, SECOND), false),
            ("never received", new, false),
        ] {
            assert_eq!(name.is_held_with(&first), expected, "{what}");
        }
    }

    #[test]
    fn times_beyond_all_bounds_stay_names() {
        let name = Name::new(u64::MAX, 1, Some(0)).received(u64::MAX, Duration::MAX);
        assert_eq!(Name::parse(&name.file()), Some(name.clone()));
        assert_eq!(name.dedup, None);
        let first = Name::new(0, 1, None).received(0, Duration::ZERO);
        assert!(first.is_held_with(&first.receipt()));
    }
}
