//! A stream looked at again and again: what is new since the last look, as lines for operators and as metrics.
//!
//! Pure: looks and times are handed in.

use super::report::{Report, Status};
use super::rules::Level;
use super::{CannotLook, Outcome};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Change {
    /// A rule is broken that was not.
    Broken {
        /// The rule.
        rule: &'static str,
        /// How binding it is.
        level: Level,
        /// Where, what, and how to mend it.
        what: String,
    },
    /// A rule that was broken is kept.
    Mended {
        /// The rule.
        rule: &'static str,
    },
    /// The stream can't be looked at any more.
    Lost {
        /// Why.
        why: String,
    },
    /// It can again.
    Found,
}

/// A change, and when it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// RFC 3339, UTC.
    pub time: String,
    /// What has changed.
    #[serde(flatten)]
    pub change: Change,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.time)?;
        match &self.change {
            Change::Broken { rule, level, what } => write!(f, "broken {rule} {level} at {what}"),
            Change::Mended { rule } => write!(f, "mended {rule}"),
            Change::Lost { why } => write!(f, "lost: {why}"),
            Change::Found => f.write_str("found again"),
        }
    }
}

impl Event {
    /// As one line of JSON.
    pub fn to_json(&self) -> String {
        // Texts only: nothing that JSON could refuse.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Watcher {
    broken: BTreeMap<&'static str, Level>,
    lost: Option<String>,
    looks: u64,
    failed: u64,
    last: Duration,
    ever_broken: bool,
}

impl Watcher {
    /// Takes a look in; gives what is new.
    pub fn take(&mut self, look: &Result<Report, CannotLook>, now: SystemTime) -> Vec<Event> {
        self.last = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let changes = match look {
            Ok(report) => self.looked(report),
            Err(error) => {
                self.failed = self.failed.saturating_add(1);
                let why = error.to_string();
                let new = self.lost.replace(why.clone()).is_none();
                new.then_some(Change::Lost { why }).into_iter().collect()
            }
        };
        let time = humantime::format_rfc3339_seconds(now).to_string();
        changes.into_iter().map(|change| Event { time: time.clone(), change }).collect()
    }

    fn looked(&mut self, report: &Report) -> Vec<Change> {
        self.looks = self.looks.saturating_add(1);
        let mut changes: Vec<Change> = self.lost.take().map(|_| Change::Found).into_iter().collect();
        for finding in &report.rules {
            match &finding.status {
                Status::Broken { breaches, more } => {
                    self.ever_broken |= finding.level == Level::Must || report.strict;
                    if self.broken.insert(finding.id, finding.level).is_none() {
                        let all = breaches.len().saturating_sub(1).saturating_add(*more);
                        let more = if all > 0 { format!(" (and {all} more)") } else { String::new() };
                        let first = breaches.first().map(|breach| format!("{}: {}", breach.place, breach.mend));
                        let what = format!("{}{more}", first.unwrap_or_default());
                        changes.push(Change::Broken { rule: finding.id, level: finding.level, what });
                    }
                }
                // What could not be examined this time is no news.
                Status::Skipped { .. } => {}
                Status::Kept | Status::Accepted { .. } => {
                    if self.broken.remove(finding.id).is_some() {
                        changes.push(Change::Mended { rule: finding.id });
                    }
                }
            }
        }
        changes
    }

    /// Whether the stream was ever looked at, and whether a rule that counts was ever broken.
    pub fn outcome(&self) -> Option<Outcome> {
        let outcome = if self.ever_broken { Outcome::Breaches } else { Outcome::Clean };
        (self.looks > 0).then_some(outcome)
    }

    /// For Prometheus, as its textfile collector reads it.
    pub fn metrics(&self, url: &str) -> String {
        let url = url.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "");
        let mut text = String::new();
        let mut metric = |name: &str, kind: &str, help: &str, samples: &[(String, String)]| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in samples {
                let _ = writeln!(text, "{name}{{url=\"{url}\"{labels}}} {value}");
            }
        };
        let one = |value: String| [(String::new(), value)];
        metric(
            "live360_lint_up",
            "gauge",
            "Whether the last look found the stream.",
            &one(u8::from(self.lost.is_none()).to_string()),
        );
        metric("live360_lint_looks_total", "counter", "Looks that found the stream.", &one(self.looks.to_string()));
        metric("live360_lint_failed_looks_total", "counter", "Looks that did not.", &one(self.failed.to_string()));
        metric(
            "live360_lint_last_look_timestamp_seconds",
            "gauge",
            "When the last look ended.",
            &one(self.last.as_secs().to_string()),
        );
        let broken = self.broken.iter().map(|(rule, level)| {
            let level = if *level == Level::Must { "must" } else { "should" };
            (format!(",rule=\"{rule}\",level=\"{level}\""), "1".to_owned())
        });
        let broken: Vec<_> = broken.collect();
        metric("live360_lint_broken", "gauge", "Rules that are broken, 1 for each.", &broken);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Finding;
    use super::super::rules::{Breach, Place};
    use super::*;

    fn report(broken: &[(&'static str, Level)], kept: &[&'static str]) -> Result<Report, CannotLook> {
        let place = Place { url: "http://a/b".to_owned(), line: None, what: String::new() };
        let breach = Breach { place, mend: "mend it".to_owned() };
        let finding = |id, level, status| Finding { id, level, says: "", status };
        let breaches = || Status::Broken { breaches: vec![breach.clone()], more: 2 };
        let broken = broken.iter().map(|(id, level)| finding(*id, *level, breaches()));
        let kept = kept.iter().map(|id| finding(*id, Level::Must, Status::Kept));
        Ok(Report { url: String::new(), strict: false, rules: broken.chain(kept).collect(), notes: Vec::new() })
    }

    fn lost() -> Result<Report, CannotLook> {
        Err(CannotLook::Fetch { url: "http://a/b".to_owned(), said: "answered 404".to_owned() })
    }

    fn words(watcher: &mut Watcher, look: &Result<Report, CannotLook>) -> Vec<String> {
        let events = watcher.take(look, UNIX_EPOCH + Duration::from_secs(1_795_195_500));
        events.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_what_is_new_is_told() {
        let (mut watcher, must) = (Watcher::default(), Level::Must);
        let broken = report(&[("V1.a", must)], &["V2.b"]);
        let said = ["2026-11-20T17:25:00Z broken V1.a MUST at http://a/b: mend it (and 2 more)"];
        assert_eq!(words(&mut watcher, &broken), said);
        assert_eq!(words(&mut watcher, &broken), [""; 0]);
        // What was not examined is as it was.
        assert_eq!(words(&mut watcher, &report(&[], &[])), [""; 0]);
        assert_eq!(words(&mut watcher, &lost()), ["2026-11-20T17:25:00Z lost: http://a/b answered 404"]);
        assert_eq!(words(&mut watcher, &lost()), [""; 0]);
        let again = words(&mut watcher, &report(&[], &["V1.a"]));
        assert_eq!(again, ["2026-11-20T17:25:00Z found again", "2026-11-20T17:25:00Z mended V1.a"]);
        assert_eq!(watcher.outcome(), Some(Outcome::Breaches));
    }

    #[test]
    fn a_broken_should_is_told_and_does_not_count() {
        let mut watcher = Watcher::default();
        assert_eq!(watcher.outcome(), None);
        assert_eq!(words(&mut watcher, &report(&[("V1.a", Level::Should)], &[])).len(), 1);
        assert_eq!(watcher.outcome(), Some(Outcome::Clean));
    }

    #[test]
    fn metrics_name_what_is_broken_now() {
        let mut watcher = Watcher::default();
        let _ = words(&mut watcher, &report(&[("V1.a", Level::Must)], &[]));
        let _ = words(&mut watcher, &lost());
        let text = watcher.metrics("http://a/\"b");
        for line in [
            "live360_lint_up{url=\"http://a/\\\"b\"} 0",
            "live360_lint_looks_total{url=\"http://a/\\\"b\"} 1",
            "live360_lint_failed_looks_total{url=\"http://a/\\\"b\"} 1",
            "live360_lint_broken{url=\"http://a/\\\"b\",rule=\"V1.a\",level=\"must\"} 1",
            "# TYPE live360_lint_broken gauge",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
    }
}
