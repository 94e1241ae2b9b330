//! What a run must come to: read from a line such as `stall_ratio<0.1%, latency_p95<6s`, and judged.
//!
//! Pure. Where the numbers come from is the caller's affair.

use super::ask::Kind;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// What is asked of a run of which nothing else is said.
pub const DEFAULT: &str = "started>=99%, stall_ratio<0.1%, errors<0.01%, startup_p95<2s, latency_p95<6s";

/// Words for what may stand in an objective.
const ALLOWED: &str = "allowed are started, stall_ratio, errors (shares, as 0.1%), stalls (a number), and startup_p95, \
                       latency_p95, stall_p95, segment_p95 or any other kind of request and percentile (times, as 250ms or 2s), \
                       each with <, <=, > or >= and a value, with commas between";

/// Something that is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Measure {
    /// Share of viewers that saw a first picture.
    Started,
    /// Share of the time that viewers stood still, of those that had begun.
    StallRatio,
    /// Share of requests that failed.
    Errors,
    /// How many stalls there were.
    Stalls,
    /// Percentile of the time to the first picture.
    Startup(f64),
    /// Percentile of the time behind what happens.
    Latency(f64),
    /// Percentile of the length of stalls.
    Stall(f64),
    /// Percentile of the time that requests of a kind took.
    Took(Kind, f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Less,
    AtMost,
    More,
    AtLeast,
}

/// One condition.
#[derive(Debug, Clone, PartialEq)]
struct Condition {
    text: String,
    measure: Measure,
    relation: Relation,
    bound: f64,
}

/// All conditions that a run must meet.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    conditions: Vec<Condition>,
    /// Whether what was not measured counts as met: only of the default.
    lenient: bool,
}

/// What is wrong with an objective.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no objective: {why}; {ALLOWED}")]
pub struct BadObjective {
    text: String,
    why: &'static str,
}

/// A condition judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The condition, as it was given.
    pub condition: String,
    /// What was measured: a share, a number or seconds.
    pub measured: Option<f64>,
    /// Whether it is met.
    pub met: bool,
}

impl Default for Objective {
    fn default() -> Self {
        // A test holds that it can be read.
        let read = DEFAULT.parse().unwrap_or(Self { conditions: Vec::new(), lenient: true });
        Self { lenient: true, ..read }
    }
}

impl FromStr for Objective {
    type Err = BadObjective;

    fn from_str(text: &str) -> Result<Self, BadObjective> {
        let conditions: Result<Vec<_>, _> = text.split(',').map(condition).collect();
        Ok(Self { conditions: conditions?, lenient: false })
    }
}

fn condition(text: &str) -> Result<Condition, BadObjective> {
    let text = text.trim();
    let bad = |why| BadObjective { text: text.to_owned(), why };
    let relations = [("<=", Relation::AtMost), (">=", Relation::AtLeast), ("<", Relation::Less), (">", Relation::More)];
    let split = relations.into_iter().find_map(|(sign, relation)| {
        let (name, value) = text.split_once(sign)?;
        Some((name.trim(), relation, value.trim()))
    });
    let (name, relation, value) = split.ok_or_else(|| bad("it compares nothing"))?;
    let measure = measure(name).ok_or_else(|| bad("that is not measured"))?;
    let bound = bound(measure, value).ok_or_else(|| bad("that is no value for it"))?;
    Ok(Condition { text: text.to_owned(), measure, relation, bound })
}

fn measure(name: &str) -> Option<Measure> {
    match name {
        "started" => return Some(Measure::Started),
        "stall_ratio" => return Some(Measure::StallRatio),
        "errors" => return Some(Measure::Errors),
        "stalls" => return Some(Measure::Stalls),
        _ => {}
    }
    let (what, percentile) = name.rsplit_once("_p")?;
    let percentile = percentile.parse::<f64>().ok().filter(|p| (0.0..=100.0).contains(p))?;
    match what {
        "startup" => Some(Measure::Startup(percentile)),
        "latency" => Some(Measure::Latency(percentile)),
        "stall" => Some(Measure::Stall(percentile)),
        _ => {
            let kind = Kind::ALL.into_iter().find(|kind| kind.word() == what)?;
            Some(Measure::Took(kind, percentile))
        }
    }
}

fn bound(measure: Measure, value: &str) -> Option<f64> {
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
    match measure {
        Measure::Started | Measure::StallRatio | Measure::Errors => match value.strip_suffix('%') {
            Some(percent) => number(percent).map(|percent| percent / 100.0),
            None => number(value).filter(|share| *share <= 1.0),
        },
        Measure::Stalls => number(value),
        _ => match value.strip_suffix("ms") {
            Some(millis) => number(millis).map(|millis| millis / 1000.0),
            None => number(value.strip_suffix('s')?),
        },
    }
}

impl Objective {
    /// Judges what was measured: `None` is what there was nothing to measure of, which misses what was asked for in words.
    pub(super) fn judge(&self, measured: impl Fn(Measure) -> Option<f64>) -> Vec<Verdict> {
        let judge = |condition: &Condition| {
            let measured = measured(condition.measure);
            let met = measured.map_or(self.lenient, |value| match condition.relation {
                Relation::Less => value < condition.bound,
                Relation::AtMost => value <= condition.bound,
                Relation::More => value > condition.bound,
                Relation::AtLeast => value >= condition.bound,
            });
            Verdict { condition: condition.text.clone(), measured, met }
        };
        self.conditions.iter().map(judge).collect()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.met { "met" } else { "MISSED" };
        let Some(value) = self.measured else {
            return write!(f, "{:<7} {} (nothing to measure)", word, self.condition);
        };
        let shown = if self.condition.contains('%') {
            format!("{:.3} %", value * 100.0)
        } else if self.condition.ends_with('s') {
            format!("{value:.3} s")
        } else {
            format!("{value}")
        };
        write!(f, "{word:<7} {} ({shown})", self.condition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, value: Option<f64>, expected: bool) {
        let objective: Objective = text.parse().unwrap();
        assert_eq!(objective.judge(|_| value).iter().all(|verdict| verdict.met), expected, "{text} {value:?}");
    }

    #[test]
    fn values_are_compared_in_the_units_that_people_write() {
        check("stall_ratio<0.1%", Some(0.000_9), true);
        check("stall_ratio < 0.1 %", Some(0.001), false);
        check("errors<=0.01", Some(0.01), true);
        check("latency_p95<6s", Some(5.9), true);
        check("startup_p99.9<250ms", Some(0.3), false);
        check("segment_p50>0s", Some(0.0), false);
        check("started>=99%", Some(0.99), true);
        check("stalls<1", Some(0.0), true);
        check("stalls<1, errors<1%", Some(0.5), false);
    }

    #[test]
    fn what_was_not_measured_misses_what_was_asked_for_and_nothing_else() {
        check("latency_p95<6s", None, false);
        assert!(Objective::default().judge(|_| None).iter().all(|verdict| verdict.met));
        assert_eq!(Objective::default().conditions.len(), 5);
    }

    #[test]
    fn what_is_no_objective_is_said_with_what_is() {
        for (text, why) in [
            ("", "it compares nothing"),
            ("stalls", "it compares nothing"),
            ("stalls<1,", "it compares nothing"),
            ("speed<1", "that is not measured"),
            ("latency_p101<1s", "that is not measured"),
            ("walk_p95<1s", "that is not measured"),
            ("latency_p95<6", "that is no value for it"),
            ("errors<1s", "that is no value for it"),
            ("errors<2", "that is no value for it"),
            ("stalls<NaN", "that is no value for it"),
            ("startup_p95<-1s", "that is no value for it"),
        ] {
            let error = text.parse::<Objective>().unwrap_err();
            assert_eq!(error.why, why, "{text}");
            assert!(error.to_string().contains("allowed are started"), "{error}");
        }
    }
}
