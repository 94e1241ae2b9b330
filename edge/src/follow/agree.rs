//! Whether another origin has the same numbers, names and bytes as the one that leads.
//!
//! Playlists are compared whenever one comes; the bytes by the ETags of one segment that both list, now and then. Both
//! must be the same.

use std::time::{Duration, Instant};

/// After this time ETags are compared again.
const AGAIN: Duration = Duration::from_secs(10);

/// How an origin stands to the one that leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agreement {
    /// Nothing to compare yet.
    Unknown,
    /// Interchangeable, object by object.
    Yes,
    /// Never to be mixed.
    No,
}

/// The state of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Check {
    /// What is known.
    pub(crate) agreement: Agreement,
    /// Since when ETags are being asked for, or when they last came.
    asked: Option<Instant>,
}

impl Default for Check {
    fn default() -> Self {
        Self { agreement: Agreement::Unknown, asked: None }
    }
}

impl Check {
    /// An origin that is known to agree.
    pub(crate) fn yes(now: Instant) -> Self {
        Self { agreement: Agreement::Yes, asked: Some(now) }
    }

    /// An origin that is known not to agree.
    pub(crate) fn no(now: Instant) -> Self {
        Self { agreement: Agreement::No, asked: Some(now) }
    }

    /// Playlists differ, or have nothing in common (`None`).
    pub(crate) fn differs(&mut self, same: Option<bool>) {
        self.agreement = if same.is_some() { Agreement::No } else { Agreement::Unknown };
        if same.is_none() {
            self.asked = None;
        }
    }

    /// Takes a comparison of playlists. `true`: ETags are to be compared now.
    pub(crate) fn playlists(&mut self, same: Option<bool>, now: Instant) -> bool {
        match same {
            None => false,
            Some(false) => {
                self.agreement = Agreement::No;
                false
            }
            Some(true) => {
                let due = self.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= AGAIN);
                if due {
                    self.asked = Some(now);
                }
                due
            }
        }
    }

    /// Takes a comparison of ETags; `None`: they didn't come.
    pub(crate) fn etags(&mut self, same: Option<bool>, now: Instant) {
        match same {
            Some(true) => self.agreement = Agreement::Yes,
            Some(false) => self.agreement = Agreement::No,
            // Once more with the next playlist, unless something is known.
            None if self.agreement == Agreement::Unknown => {
                self.asked = None;
                return;
            }
            None => {}
        }
        self.asked = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_playlists_and_bytes_must_be_the_same() {
        let begin = Instant::now();
        let at = |s| begin + Duration::from_secs(s);
        let mut check = Check::default();
        assert!(!check.playlists(None, at(0)));
        assert!(check.playlists(Some(true), at(1)));
        assert!(!check.playlists(Some(true), at(2)), "one question at a time");
        assert_eq!(check.agreement, Agreement::Unknown);
        check.etags(Some(true), at(3));
        assert_eq!(check.agreement, Agreement::Yes);
        assert!(!check.playlists(Some(true), at(12)));
        assert!(check.playlists(Some(true), at(13)), "now and then again");
        check.etags(None, at(14));
        assert_eq!(check.agreement, Agreement::Yes, "no news is no disagreement");
        assert!(!check.playlists(Some(false), at(15)));
        assert_eq!(check.agreement, Agreement::No);
    }

    #[test]
    fn bytes_that_could_not_be_compared_are_compared_with_the_next_playlist() {
        let now = Instant::now();
        let mut check = Check::default();
        assert!(check.playlists(Some(true), now));
        check.etags(None, now);
        assert!(check.playlists(Some(true), now));
        check.etags(Some(false), now);
        assert_eq!(check.agreement, Agreement::No);
    }
}
