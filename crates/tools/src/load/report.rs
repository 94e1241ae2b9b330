//! What a run came to, for people and as JSON.
//!
//! Shows; measures nothing.

use super::ask::Kind;
use super::objective::{Measure, Objective, Verdict};
use super::tally::Tally;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// What a run came to.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What was watched.
    pub url: String,
    /// How long the run was, in seconds.
    pub seconds: f64,
    /// The viewers and what they saw.
    pub viewers: Viewers,
    /// Requests by kind; kinds of which there were none are left out.
    pub requests: BTreeMap<Kind, Requests>,
    /// What is left of them in one line.
    pub total: Total,
    /// Seconds of media by rung, the smallest first.
    pub rungs: Vec<Rung>,
    /// What it cost here.
    pub cost: Cost,
    /// The objective, condition by condition.
    pub objective: Vec<Verdict>,
}

/// The viewers and what they saw.
#[derive(Debug, Clone, Serialize)]
pub struct Viewers {
    /// Places for viewers.
    pub places: usize,
    /// Viewers that came: more than places with churn, or when a recording was over.
    pub came: u64,
    /// Of those that stayed long enough, the share that saw a first picture.
    pub started: Option<f64>,
    /// Seconds from coming to the first picture.
    pub startup_s: Percentiles,
    /// Seconds behind what happens, of viewers at the live edge, once a second each.
    pub latency_s: Percentiles,
    /// Stalls: how many, and how long.
    pub stalls: u64,
    /// Seconds that each was long.
    pub stall_s: Percentiles,
    /// Share of their time that viewers stood still after they had begun.
    pub stall_ratio: Option<f64>,
    /// Seconds played by all.
    pub played_s: f64,
    /// Seconds that all stood still.
    pub stalled_s: f64,
    /// Changes to a larger and to a smaller rung.
    pub switches_up: u64,
    /// The same, down.
    pub switches_down: u64,
    /// Seconds of media that were jumped over because they were missing.
    pub holes_s: f64,
    /// Pieces that could not be had and were passed over.
    pub lost: u64,
    /// How often a viewer fell out of the window and went back to the live edge.
    pub fell: u64,
    /// How many saw the end.
    pub ended: u64,
}

/// Requests of one kind.
#[derive(Debug, Clone, Serialize)]
pub struct Requests {
    /// How many.
    pub count: u64,
    /// Of their bodies.
    pub bytes: u64,
    /// Failures by cause.
    pub errors: BTreeMap<String, u64>,
    /// Seconds from the request to the last byte, where that was good. What the server held is in it.
    pub took_s: Percentiles,
}

/// All requests.
#[derive(Debug, Clone, Serialize)]
pub struct Total {
    /// How many.
    pub requests: u64,
    /// How many failed.
    pub errors: u64,
    /// Of bodies.
    pub bytes: u64,
    /// Bits a second of bodies.
    pub bits_per_s: f64,
    /// Connections made.
    pub connections: u64,
}

/// How much was watched of a rung.
#[derive(Debug, Clone, Serialize)]
pub struct Rung {
    /// Its size and bit rate.
    pub name: String,
    /// Seconds of media.
    pub seconds: f64,
}

/// What the run cost this process.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Cost {
    /// Processor time, user and system, in seconds.
    pub cpu_s: f64,
    /// The same for each second that a viewer was there.
    pub cpu_s_per_viewer_s: Option<f64>,
    /// Requests for each second of processor time.
    pub requests_per_cpu_s: Option<f64>,
    /// The most memory that was in use, in bytes.
    pub memory_bytes: u64,
    /// Threads with viewers.
    pub threads: usize,
}

/// Of a distribution, in seconds. Nothing where there was nothing to measure.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Percentiles {
    /// How many were measured.
    pub count: u64,
    /// The median.
    pub p50: Option<f64>,
    /// Exceeded by one in twenty.
    pub p95: Option<f64>,
    /// Exceeded by one in a hundred.
    pub p99: Option<f64>,
    /// The largest.
    pub max: Option<f64>,
}

impl Percentiles {
    fn of(histogram: &Histogram<u64>, units_per_s: f64) -> Self {
        let at = |percent| percentile(histogram, units_per_s, percent);
        Self { count: histogram.len(), p50: at(50.0), p95: at(95.0), p99: at(99.0), max: at(100.0) }
    }
}

fn percentile(histogram: &Histogram<u64>, units_per_s: f64, percent: f64) -> Option<f64> {
    (!histogram.is_empty()).then(|| histogram.value_at_percentile(percent) as f64 / units_per_s)
}

/// What a run was, beside its counts.
pub(super) struct Run {
    pub(super) url: String,
    pub(super) seconds: f64,
    pub(super) places: usize,
    pub(super) connections: u64,
    pub(super) rungs: Vec<String>,
    pub(super) cost: Cost,
}

impl Report {
    pub(super) fn new(run: Run, tally: &Tally, objective: &Objective) -> Self {
        let share = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
        let viewers = Viewers {
            places: run.places,
            came: tally.came,
            started: share(tally.started as f64, tally.judged as f64),
            startup_s: Percentiles::of(&tally.startup, 1e3),
            latency_s: Percentiles::of(&tally.latency, 1e3),
            stalls: tally.stalls.len(),
            stall_s: Percentiles::of(&tally.stalls, 1e3),
            stall_ratio: share(tally.stalled_s, tally.played_s + tally.stalled_s),
            played_s: tally.played_s,
            stalled_s: tally.stalled_s,
            switches_up: tally.up,
            switches_down: tally.down,
            holes_s: tally.holes_s,
            lost: tally.lost,
            fell: tally.fell,
            ended: tally.ended,
        };
        let requests = Kind::ALL.into_iter().zip(&tally.kinds).filter(|(_, of_kind)| of_kind.requests > 0);
        let requests = requests.map(|(kind, of_kind)| {
            let errors = of_kind.failures.iter().map(|(failure, count)| (failure.to_string(), *count)).collect();
            let took_s = Percentiles::of(&of_kind.took, 1e6);
            (kind, Requests { count: of_kind.requests, bytes: of_kind.bytes, errors, took_s })
        });
        let total = Total {
            requests: tally.requests(),
            errors: tally.errors(),
            bytes: tally.bytes(),
            bits_per_s: share(tally.bytes() as f64 * 8.0, run.seconds).unwrap_or(0.0),
            connections: run.connections,
        };
        let rungs = run.rungs.into_iter().zip(tally.rungs_s.iter().copied().chain(std::iter::repeat(0.0)));
        let mut report = Self {
            url: run.url,
            seconds: run.seconds,
            viewers,
            requests: requests.collect(),
            total,
            rungs: rungs.map(|(name, seconds)| Rung { name, seconds }).collect(),
            cost: run.cost,
            objective: Vec::new(),
        };
        report.objective = objective.judge(|measure| report.measured(measure, tally));
        report
    }

    fn measured(&self, measure: Measure, tally: &Tally) -> Option<f64> {
        let requests = self.total.requests;
        match measure {
            Measure::Started => self.viewers.started,
            Measure::StallRatio => self.viewers.stall_ratio,
            Measure::Errors => (requests > 0).then(|| self.total.errors as f64 / requests as f64),
            Measure::Stalls => Some(self.viewers.stalls as f64),
            Measure::Startup(percent) => percentile(&tally.startup, 1e3, percent),
            Measure::Latency(percent) => percentile(&tally.latency, 1e3, percent),
            // No stall is shorter than any bound.
            Measure::Stall(percent) => percentile(&tally.stalls, 1e3, percent).or(Some(0.0)),
            Measure::Took(kind, percent) => percentile(&tally.kinds.get(kind.index())?.took, 1e6, percent),
        }
    }

    /// Whether the objective is met.
    pub fn met(&self) -> bool {
        self.objective.iter().all(|verdict| verdict.met)
    }

    /// As JSON, on several lines.
    pub fn to_json(&self) -> String {
        // Texts for keys and numbers for values always serialise.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let viewers = &self.viewers;
        writeln!(
            f,
            "{}\n{} places for viewers, {} came, {:.1} s\n",
            self.url, viewers.places, viewers.came, self.seconds
        )?;
        writeln!(
            f,
            "{:<14}{:>10}{:>8}{:>12}{:>11}{:>11}{:>11}",
            "requests", "count", "errors", "MB", "p50", "p95", "p99"
        )?;
        for (kind, requests) in &self.requests {
            let errors: u64 = requests.errors.values().sum();
            let megabytes = requests.bytes as f64 / 1e6;
            write!(f, "{:<14}{:>10}{errors:>8}{megabytes:>12.1}", kind.word(), requests.count)?;
            writeln!(f, "{}", Row(&requests.took_s))?;
            for (cause, count) in &requests.errors {
                writeln!(f, "  {cause}: {count}")?;
            }
        }
        let (total, share) =
            (&self.total, |share: Option<f64>| share.map_or("–".to_owned(), |s| format!("{:.3} %", s * 100.0)));
        let megabytes = total.bytes as f64 / 1e6;
        writeln!(
            f,
            "{:<14}{:>10}{:>8}{megabytes:>12.1}  {:.1} Mbit/s, {} connections\n",
            "all",
            total.requests,
            total.errors,
            total.bits_per_s / 1e6,
            total.connections
        )?;
        writeln!(f, "{:<44}{:>11}{:>11}{:>11}", "viewers", "p50", "p95", "p99")?;
        for (name, percentiles) in [
            ("start-up", &viewers.startup_s),
            ("live latency", &viewers.latency_s),
            ("length of stalls", &viewers.stall_s),
        ] {
            writeln!(f, "{name:<44}{}", Row(percentiles))?;
        }
        writeln!(
            f,
            "started {}, stalled {} of the time, {} stalls",
            share(viewers.started),
            share(viewers.stall_ratio),
            viewers.stalls
        )?;
        writeln!(
            f,
            "rungs up {} and down {}, {:.1} s missing, {} pieces lost, {} fell out of the window, {} saw the end",
            viewers.switches_up, viewers.switches_down, viewers.holes_s, viewers.lost, viewers.fell, viewers.ended
        )?;
        let watched: f64 = self.rungs.iter().map(|rung| rung.seconds).sum();
        for rung in self.rungs.iter().filter(|_| watched > 0.0) {
            writeln!(f, "  {:<20}{:>7.1} %", rung.name, rung.seconds / watched * 100.0)?;
        }
        let cost = &self.cost;
        let each = cost.cpu_s_per_viewer_s.map(|s| format!(", {:.3} ms for each second of a viewer", s * 1e3));
        let memory = cost.memory_bytes as f64 / 1e6;
        writeln!(f, "this tool: {:.2} s of processor time{}, {memory:.0} MB\n", cost.cpu_s, each.unwrap_or_default())?;
        self.objective.iter().try_for_each(|verdict| writeln!(f, "{verdict}"))
    }
}

/// Percentiles in columns.
struct Row<'a>(&'a Percentiles);

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for value in [self.0.p50, self.0.p95, self.0.p99] {
            let text = match value {
                None => "–".to_owned(),
                Some(seconds) if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
                Some(seconds) => format!("{seconds:.2} s"),
            };
            write!(f, "{text:>11}")?;
        }
        Ok(())
    }
}
