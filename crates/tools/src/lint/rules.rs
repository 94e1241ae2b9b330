//! The rules: what a stream must or should be, each with an id, a level and a check over what was observed.
//!
//! Ids begin with the row of the project's checklist (V1–V19 the authoring rules, L1–L7 low latency) and go on with a
//! word. Levels follow draft-pantos-hls-rfc8216bis-22 and Apple's HLS Authoring Specification of June 2025 (numbers
//! like 8.1 below are its rules); where both speak, the stricter one counts. What the checklist has and cannot be seen
//! from outside: 14.2a/b (round trips of all viewers), 13.7 (encryption patterns), 1.28 (averages over an hour).

mod dates;
mod delivery;
mod iframes;
mod keys;
mod low_latency;
mod multivariant;
mod opened;
mod parts;
mod playlist;
mod probes;
mod renditions;
mod time;

use super::look::Look;
use serde::Serialize;
use std::fmt;

/// How binding a rule is (RFC 2119).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Level {
    /// Breaking it breaks players.
    #[serde(rename = "MUST")]
    Must,
    /// There may be reasons not to.
    #[serde(rename = "SHOULD")]
    Should,
}

/// One rule.
pub struct Rule {
    /// Its name: `V9.same`.
    pub id: &'static str,
    /// How binding it is.
    pub level: Level,
    /// What it demands, in one line.
    pub says: &'static str,
    /// Finds breaches.
    pub(super) check: fn(&Look<'_>, &mut Out),
}

/// Where a rule is broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file.
    pub url: String,
    /// The line, from 1, where the file has lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// What stands there: an attribute, a segment, a header.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub what: String,
}

/// One breach: where, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Breach {
    /// Where.
    pub place: Place,
    /// What was seen and what to do.
    pub mend: String,
}

/// Most breaches of one rule that are kept; the rest are counted.
const BREACHES_MAX: usize = 20;

/// What a check found.
#[derive(Debug, Default)]
pub struct Out {
    pub(super) breaches: Vec<Breach>,
    pub(super) more: usize,
    pub(super) looked: bool,
    pub(super) skipped: Option<String>,
}

impl Out {
    /// Notes that something was examined, and a breach unless it `holds`.
    fn check(&mut self, holds: bool, place: impl FnOnce() -> Place, mend: impl FnOnce() -> String) {
        self.looked = true;
        if holds {
            return;
        }
        if self.breaches.len() < BREACHES_MAX {
            self.breaches.push(Breach { place: place(), mend: mend() });
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    /// Says why there is nothing to examine. Without it, a rule that examined nothing did not apply.
    fn skip(&mut self, why: &str) {
        self.skipped.get_or_insert_with(|| why.to_owned());
    }
}

impl Place {
    /// A whole file.
    pub fn file(url: impl fmt::Display) -> Self {
        Self { url: url.to_string(), line: None, what: String::new() }
    }

    /// A line of a file, and what is on it.
    pub fn line(url: impl fmt::Display, line: u32, what: impl Into<String>) -> Self {
        Self { url: url.to_string(), line: Some(line), what: what.into() }
    }

    /// Something in a file that has no lines.
    pub fn of(url: impl fmt::Display, what: impl Into<String>) -> Self {
        Self { url: url.to_string(), line: None, what: what.into() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.what.is_empty() {
            write!(f, " ({})", self.what)?;
        }
        Ok(())
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Must => "MUST",
            Self::Should => "SHOULD",
        })
    }
}

/// Every rule, in the order of the checklist.
pub fn all() -> Vec<&'static Rule> {
    let groups: [&'static [Rule]; 12] = [
        playlist::RULES,
        dates::RULES,
        time::RULES,
        renditions::RULES,
        opened::RULES,
        multivariant::RULES,
        iframes::RULES,
        keys::RULES,
        delivery::RULES,
        low_latency::RULES,
        parts::RULES,
        probes::RULES,
    ];
    let mut rules: Vec<&'static Rule> = groups.into_iter().flatten().collect();
    rules.sort_by_key(|rule| order(rule.id));
    rules
}

/// `V9.same` sorts before `V10.number`, and all of V before L.
fn order(id: &str) -> (bool, u32, &str) {
    let (row, word) = id.split_once('.').unwrap_or((id, ""));
    let number = row.get(1..).and_then(|digits| digits.parse().ok()).unwrap_or(u32::MAX);
    (row.starts_with('L'), number, word)
}

const fn must(id: &'static str, says: &'static str, check: fn(&Look<'_>, &mut Out)) -> Rule {
    Rule { id, level: Level::Must, says, check }
}

const fn should(id: &'static str, says: &'static str, check: fn(&Look<'_>, &mut Out)) -> Rule {
    Rule { id, level: Level::Should, says, check }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_are_unique_and_every_row_of_the_checklist_has_a_rule() {
        let rules = all();
        let ids: BTreeSet<&str> = rules.iter().map(|rule| rule.id).collect();
        assert_eq!(ids.len(), rules.len());
        let rows: BTreeSet<&str> = ids.iter().filter_map(|id| id.split('.').next()).collect();
        let wanted = (1..=19).map(|n| format!("V{n}")).chain((1..=7).map(|n| format!("L{n}")));
        for row in wanted {
            assert!(rows.contains(row.as_str()), "{row} has no rule");
        }
    }
}
