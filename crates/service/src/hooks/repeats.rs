//! Which alarms were raised a moment ago: what goes wrong, often goes wrong many times a second. Pure.

use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// How long an alarm is not raised again.
const QUIET: Duration = Duration::from_secs(60);

/// Alarms that are remembered; when there are more, whatever comes is a repetition.
const REMEMBERED_MAX: usize = 256;

/// What was raised, and when.
#[derive(Debug, Default)]
pub(super) struct Repeats(HashMap<String, Instant>);

impl Repeats {
    /// Whether this was not raised lately; notes that it is now.
    pub(super) fn is_news(&mut self, alarm: String, now: Instant) -> bool {
        self.0.retain(|_, raised| now.saturating_duration_since(*raised) < QUIET);
        if self.0.len() >= REMEMBERED_MAX || self.0.contains_key(&alarm) {
            return false;
        }
        self.0.insert(alarm, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_alarm_is_news_once_a_minute() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        for (after_s, alarm, expected) in
            [(0, "a", true), (1, "a", false), (1, "b", true), (59, "a", false), (60, "a", true), (60, "b", false)]
        {
            let now = start + Duration::from_secs(after_s);
            assert_eq!(repeats.is_news(alarm.to_owned(), now), expected, "{alarm} after {after_s} s");
        }
    }

    #[test]
    fn more_different_alarms_than_are_remembered_wait_for_the_minute() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        let news = (0..1000).filter(|alarm: &i32| repeats.is_news(alarm.to_string(), start)).count();
        assert_eq!(news, REMEMBERED_MAX);
        assert!(repeats.is_news("1000".to_owned(), start + QUIET));
    }
}
