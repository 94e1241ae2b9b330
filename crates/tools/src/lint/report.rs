//! What a look came to: every rule with its verdict, as text and as JSON.

use super::look::Look;
use super::observe::Observed;
use super::rules::{self, Breach, Level, Out, Rule};
use serde::Serialize;
use std::fmt;

/// Every rule with its verdict.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What was looked at.
    pub url: String,
    /// Whether a broken SHOULD counts as a breach.
    pub strict: bool,
    /// All rules, in the order of the checklist.
    pub rules: Vec<Finding>,
    /// What could not be looked at, and limits that were met.
    pub notes: Vec<String>,
}

/// One rule with its verdict.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// The rule's name.
    pub id: &'static str,
    /// How binding it is.
    pub level: Level,
    /// What it demands.
    pub says: &'static str,
    /// The verdict.
    #[serde(flatten)]
    pub status: Status,
}

/// A rule's verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum Status {
    /// Something was examined, and all of it was right.
    Kept,
    /// It is broken.
    Broken {
        /// Where, and how to mend it.
        breaches: Vec<Breach>,
        /// How many more there are.
        more: usize,
    },
    /// It is broken on purpose.
    Accepted {
        /// Why, in the caller's words.
        reason: String,
        /// Where, and how one would mend it.
        breaches: Vec<Breach>,
        /// How many more there are.
        more: usize,
    },
    /// There was nothing to examine.
    Skipped {
        /// Why.
        why: String,
    },
}

/// What a report comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No MUST is broken, and if strict no SHOULD that isn't accepted.
    Clean,
    /// At least one is.
    Breaches,
}

/// Judges what was observed by every rule. `accept`: SHOULDs broken on purpose, with reasons.
pub fn judge(observed: &Observed, accept: &[(String, String)]) -> Report {
    let look = Look::new(observed);
    let rules = rules::all().into_iter().map(|rule| verdict(rule, &look, accept)).collect();
    Report { url: observed.start.to_string(), strict: false, rules, notes: Vec::new() }
}

fn verdict(rule: &Rule, look: &Look<'_>, accept: &[(String, String)]) -> Finding {
    let mut out = Out::default();
    (rule.check)(look, &mut out);
    let accepted = accept.iter().find(|(id, _)| id == rule.id && rule.level == Level::Should);
    let (breaches, more) = (out.breaches, out.more);
    let status = match (breaches.is_empty(), accepted) {
        (true, _) if out.looked => Status::Kept,
        (true, _) => Status::Skipped { why: why_skipped(rule, look, out.skipped) },
        (false, Some((_, reason))) => Status::Accepted { reason: reason.clone(), breaches, more },
        (false, None) => Status::Broken { breaches, more },
    };
    Finding { id: rule.id, level: rule.level, says: rule.says, status }
}

/// The plainest reason why there was nothing to examine.
fn why_skipped(rule: &Rule, look: &Look<'_>, said: Option<String>) -> String {
    let low_latency = look.renditions.iter().any(|rendition| rendition.latest().media.low_latency());
    if rule.id.starts_with('L') && !low_latency {
        return "the stream is not a low-latency one".to_owned();
    }
    said.unwrap_or_else(|| "there was nothing to look at".to_owned())
}

impl Report {
    /// What it comes to.
    pub fn outcome(&self) -> Outcome {
        let counts = |finding: &&Finding| {
            matches!(finding.status, Status::Broken { .. }) && (finding.level == Level::Must || self.strict)
        };
        if self.rules.iter().any(|finding| counts(&finding)) { Outcome::Breaches } else { Outcome::Clean }
    }

    /// The rules of a level that are broken and not accepted.
    pub fn broken(&self, level: Level) -> impl Iterator<Item = &Finding> {
        self.rules.iter().filter(move |f| f.level == level && matches!(f.status, Status::Broken { .. }))
    }

    /// The report as one JSON object.
    pub fn to_json(&self) -> String {
        // Strings, numbers and lists only: nothing that JSON could refuse.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    fn count(&self, is: impl Fn(&Status) -> bool) -> usize {
        self.rules.iter().filter(|finding| is(&finding.status)).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.url)?;
        for level in [Level::Must, Level::Should] {
            for finding in self.broken(level) {
                finding.write(f)?;
            }
        }
        for finding in self.rules.iter().filter(|finding| matches!(finding.status, Status::Accepted { .. })) {
            finding.write(f)?;
        }
        let skipped: Vec<_> = self
            .rules
            .iter()
            .filter_map(|finding| match &finding.status {
                Status::Skipped { why } => Some((finding.id, why)),
                _ => None,
            })
            .collect();
        let mut reasons: Vec<(&String, Vec<&str>)> = Vec::new();
        for (id, why) in &skipped {
            match reasons.iter_mut().find(|(known, _)| known == why) {
                Some((_, ids)) => ids.push(id),
                None => reasons.push((why, vec![id])),
            }
        }
        for (why, ids) in reasons {
            writeln!(f, "\nnot looked at: {}\n  {why}", ids.join(" "))?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        writeln!(
            f,
            "\n{} MUST broken, {} SHOULD broken, {} accepted, {} kept, {} not looked at",
            self.broken(Level::Must).count(),
            self.broken(Level::Should).count(),
            self.count(|status| matches!(status, Status::Accepted { .. })),
            self.count(|status| matches!(status, Status::Kept)),
            skipped.len(),
        )
    }
}

impl Finding {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (breaches, more) = match &self.status {
            Status::Broken { breaches, more } | Status::Accepted { breaches, more, .. } => (breaches, *more),
            Status::Kept | Status::Skipped { .. } => return Ok(()),
        };
        writeln!(f, "\n{} {}: {}", self.id, self.level, self.says)?;
        if let Status::Accepted { reason, .. } = &self.status {
            writeln!(f, "  accepted: {reason}")?;
        }
        for breach in breaches {
            writeln!(f, "  at   {}\n  mend {}", breach.place, breach.mend)?;
        }
        if more > 0 { writeln!(f, "  and {more} more") } else { Ok(()) }
    }
}
