//! What one follower has seen, and what it asks next, and when.
//!
//! A follower is one track at one origin.

use crate::failure::Failure;
use crate::playlist::Text;
use http::HeaderValue;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The first pause after a failure; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(100);

/// The longest pause after failures.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Between two questions for something that is not there.
const MISSING: Duration = Duration::from_millis(500);

/// Between two questions for a playlist that has ended: a new one may begin under the same name.
const ENDED: Duration = Duration::from_secs(2);

/// At least this between two questions that are not held.
const POLL_MIN: Duration = Duration::from_millis(250);

/// What to ask next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ask {
    /// Number and part to wait for, as the origin knows them; `None` for the playlist as it is.
    pub(crate) wait_for: Option<(u64, Option<u32>)>,
    /// Not before.
    pub(crate) at: Instant,
}

/// What a follower has seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// The playlist that came last.
    pub(crate) text: Option<Arc<Text>>,
    /// When it came, how old it was then, and its ETag.
    pub(crate) came: Option<Instant>,
    pub(crate) age: Duration,
    pub(crate) etag: Option<HeaderValue>,
    /// When anything came last.
    pub(crate) last: Option<Instant>,
    /// Whether the last answer said that there is no such thing.
    pub(crate) missing: bool,
    /// Failures in a row, and the last one.
    pub(crate) failures: u32,
    pub(crate) failure: Option<Failure>,
    /// Since when there is nothing but refusals and failures.
    pub(crate) trouble: Option<Instant>,
    /// Steps forward since the last one of the origin that leads.
    pub(crate) steps: u32,
    /// Whether the last answer brought the stream further.
    advanced: bool,
    /// Whether the origin gave up the last wait.
    gave_up: bool,
}

impl Seen {
    /// A playlist came. `true`: it is further than the one before.
    pub(crate) fn playlist(&mut self, text: Arc<Text>, age: Duration, etag: Option<HeaderValue>, now: Instant) -> bool {
        (self.came, self.age, self.etag) = (Some(now), age, etag);
        let before = self.text.replace(text);
        let advanced = match (&before, &self.text) {
            (Some(before), Some(text)) => text.facts.is_ahead_of(&before.facts),
            _ => false,
        };
        self.advanced = advanced || before.is_none();
        self.answered(now);
        advanced
    }

    /// The origin held the question, and nothing came.
    pub(crate) fn held(&mut self, now: Instant) {
        self.answered(now);
        self.gave_up = true;
    }

    /// There is no such thing there.
    pub(crate) fn missed(&mut self, now: Instant) {
        let since = self.trouble;
        self.answered(now);
        self.missing = true;
        self.trouble = since.or(Some(now));
    }

    /// No answer, or none that makes sense.
    pub(crate) fn failed(&mut self, failure: Failure, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.failure = Some(failure);
        self.missing = false;
        self.last = Some(now);
        self.trouble.get_or_insert(now);
    }

    fn answered(&mut self, now: Instant) {
        (self.missing, self.gave_up, self.failures, self.failure, self.trouble) = (false, false, 0, None, None);
        self.last = Some(now);
    }

    /// What to ask next.
    pub(crate) fn ask(&self, now: Instant) -> Ask {
        let plain = |pause: Duration| Ask { wait_for: None, at: self.last.map_or(now, |last| last + pause) };
        if self.failures > 0 {
            let doubled = PAUSE.saturating_mul(1u32.checked_shl(self.failures.saturating_sub(1)).unwrap_or(u32::MAX));
            return plain(doubled.min(PAUSE_MAX));
        }
        if self.missing {
            return plain(MISSING);
        }
        let Some(facts) = self.text.as_ref().map(|text| text.facts) else { return plain(Duration::ZERO) };
        if facts.tip.ended {
            return plain(facts.target.max(ENDED));
        }
        if !facts.blocking {
            return plain((facts.target / 2).max(POLL_MIN));
        }
        if self.gave_up {
            return plain(Duration::ZERO);
        }
        // An origin that answers a wait at once with what is known would be asked without end.
        let pause = if self.advanced { Duration::ZERO } else { facts.part.unwrap_or(facts.target) / 2 };
        let wait_for = Some((facts.tip.open, facts.part.map(|_| facts.tip.parts)));
        Ask { wait_for, ..plain(pause) }
    }
}
