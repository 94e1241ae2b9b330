//! Something that is asked for, and asked for again with growing pauses when it fails.
//!
//! Pure; what it is about is its owner's affair.

/// The pause after the first failure, and the longest, in seconds: what hls.js does.
const FIRST_PAUSE_S: f64 = 1.0;
const LONGEST_PAUSE_S: f64 = 8.0;

/// Where it stands.
#[derive(Debug, Default)]
pub(super) struct Errand {
    out: Option<u32>,
    not_before: f64,
    failures: u32,
}

impl Errand {
    /// The request is under way.
    pub(super) fn sent(&mut self, id: u32) {
        self.out = Some(id);
    }

    /// The request that is under way.
    pub(super) fn id(&self) -> Option<u32> {
        self.out
    }

    /// Whether this answer is the one that is waited for.
    pub(super) fn is(&self, id: u32) -> bool {
        self.out == Some(id)
    }

    /// It came.
    pub(super) fn done(&mut self) {
        *self = Self::default();
    }

    /// It failed: how often in a row by now.
    pub(super) fn failed(&mut self, now: f64) -> u32 {
        let pause = FIRST_PAUSE_S * 2f64.powi(i32::try_from(self.failures).unwrap_or(i32::MAX).min(8));
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + pause.min(LONGEST_PAUSE_S);
        self.out = None;
        self.failures
    }

    /// When it may be asked for; never while it is.
    pub(super) fn due(&self) -> f64 {
        if self.out.is_some() { f64::INFINITY } else { self.not_before }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_eight_seconds_and_begin_anew_after_a_success() {
        let mut errand = Errand::default();
        assert_eq!(errand.due(), 0.0);
        errand.sent(1);
        assert_eq!((errand.due(), errand.is(1), errand.is(2)), (f64::INFINITY, true, false));
        let pauses: Vec<f64> = (0..6)
            .map(|_| {
                errand.failed(100.0);
                errand.due() - 100.0
            })
            .collect();
        assert_eq!(pauses, [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]);
        errand.done();
        assert_eq!((errand.due(), errand.failed(0.0), errand.due()), (0.0, 1, 1.0));
    }
}
