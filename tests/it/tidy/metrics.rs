//! The table of metrics in `docs/metrics.md` is true: it has every metric of the sources, with its type and labels, and no
//! other; and names keep to Prometheus's conventions.
//!
//! Reads texts: where a metric is reported, its name and labels must stand there as literals.

use super::{Source, complain, is_test_file, root, sources, tests_begin};
use std::collections::{BTreeMap, BTreeSet};

/// How a metric is reported, and what type it is then. (`service::telemetry::Series` has the last two.)
const REPORTS: [(&str, &str); 5] = [
    ("counter!(", "counter"),
    ("gauge!(", "gauge"),
    ("histogram!(", "histogram"),
    ("series.gauge(", "gauge"),
    ("series.counter(", "counter"),
];

/// Labels whose values come from fixed sets, the config, or are bounded by those who report them.
const LABELS: [&str; 15] = [
    "cache",
    "cause",
    "class",
    "event",
    "kind",
    "listener",
    "origin",
    "outcome",
    "reason",
    "rendition",
    "state",
    "status",
    "stream",
    "version",
    "what",
];

/// Units that a name may end with, before `_total`; base units only. What counts things has none.
const WRONG_UNITS: [&str; 8] = ["_ms", "_us", "_millis", "_milliseconds", "_minutes", "_kb", "_mb", "_percent"];

/// A metric's type and labels.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Metric {
    kind: String,
    labels: BTreeSet<String>,
}

/// The rows of the table, by name.
pub(crate) fn table() -> BTreeMap<String, (String, BTreeSet<String>)> {
    rows(&std::fs::read_to_string(root().join("docs/metrics.md")).unwrap())
        .into_iter()
        .map(|(name, metric)| (name, (metric.kind, metric.labels)))
        .collect()
}

fn rows(text: &str) -> Vec<(String, Metric)> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.strip_prefix("| `")?.split('|').map(str::trim).collect();
        let [name, kind, labels, _meaning, ""] = cells[..] else { panic!("a row has four cells: {line}") };
        let labels = labels.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        Some((name.trim_end_matches('`').to_owned(), Metric { kind: kind.to_owned(), labels }))
    };
    text.lines().filter_map(row).collect()
}

/// Every report in a text: name, metric and line, or what is wrong with it.
fn reports(text: &str) -> Vec<Result<(String, Metric, usize), String>> {
    let mut found = Vec::new();
    for (call, kind) in REPORTS {
        for (at, _) in text.match_indices(call) {
            let line = text[..at].matches('\n').count() + 1;
            let code = text[..at].lines().last().unwrap_or_default();
            if text[..at].ends_with('_') || code.trim_start().starts_with("//") {
                continue;
            }
            let Some(arguments) = arguments(&text[at + call.len()..]) else { continue };
            let Some((name, rest)) = arguments.trim_start().strip_prefix('"').and_then(|rest| rest.split_once('"'))
            else {
                found.push(Err(format!("line {line}: a metric's name must stand where it is reported")));
                continue;
            };
            let labels = labels(rest, call.ends_with("!("));
            found.push(Ok((name.to_owned(), Metric { kind: kind.to_owned(), labels }, line)));
        }
    }
    found
}

/// What stands between a call's brackets.
fn arguments(text: &str) -> Option<&str> {
    let mut depth = 1;
    let end = text.char_indices().find(|(_, c)| {
        depth += i32::from(*c == '(') - i32::from(*c == ')');
        depth == 0
    })?;
    Some(&text[..end.0])
}

/// Of a macro, `"label" => value`; of a series, `("label", value)`.
fn labels(rest: &str, of_macro: bool) -> BTreeSet<String> {
    let texts: Vec<&str> = rest.split('"').collect();
    let (odd, even) = (texts.iter().skip(1).step_by(2), texts.iter().skip(2).step_by(2));
    let before = texts.iter().step_by(2);
    let is_label = |(((_, text), after), before): &(((usize, &&str), &&str), &&str)| {
        !text.is_empty() && if of_macro { after.trim_start().starts_with("=>") } else { before.ends_with('(') }
    };
    odd.enumerate().zip(even).zip(before).filter(is_label).map(|(((_, text), _), _)| (*text).to_owned()).collect()
}

fn all() -> Vec<(String, Metric, String)> {
    let of_source = |source: &Source| {
        if is_test_file(&source.path) {
            return Vec::new();
        }
        let lines: Vec<&str> = source.text.lines().take(tests_begin(&source.text)).collect();
        let metric = |report: Result<(String, Metric, usize), String>| match report {
            Ok((name, metric, line)) => (name, metric, format!("{}:{line}", source.path)),
            Err(words) => panic!("{}: {words}", source.path),
        };
        reports(&lines.join("\n")).into_iter().map(metric).collect()
    };
    sources().iter().flat_map(of_source).collect()
}

#[test]
fn the_table_has_every_metric_and_no_other() {
    let (rows, all) = (rows(&std::fs::read_to_string(root().join("docs/metrics.md")).unwrap()), all());
    assert!(all.len() > 60, "found only {} reports", all.len());
    let names: BTreeSet<&str> = all.iter().map(|(name, ..)| name.as_str()).collect();
    let mut wrong: Vec<String> = Vec::new();
    for (name, metric, place) in &all {
        match rows.iter().find(|(row, _)| row == name) {
            None => wrong.push(format!("{place}: {name} has no row: {metric:?}")),
            Some((_, row)) if row != metric => {
                wrong.push(format!("{place}: {name} is {metric:?}, its row says {row:?}"))
            }
            Some(_) => {}
        }
    }
    wrong.extend(
        rows.iter().filter(|(row, _)| !names.contains(row.as_str())).map(|(row, _)| format!("nobody reports {row}")),
    );
    let twice = |at: usize| rows[..at].iter().any(|(name, _)| *name == rows[at].0);
    wrong.extend((0..rows.len()).filter(|at| twice(*at)).map(|at| format!("{} has two rows", rows[at].0)));
    complain(wrong.into_iter());
}

#[test]
fn names_and_labels_keep_to_the_conventions() {
    let judge = |(name, metric): &(String, Metric)| {
        let (counts, stem) = (metric.kind == "counter", name.trim_end_matches("_total"));
        let legal = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        let mut wrong = Vec::new();
        if !(legal && (name.starts_with("live360_") || name.starts_with("process_"))) {
            wrong.push("begins with live360_ and has small letters");
        }
        if counts != name.ends_with("_total") {
            wrong.push("ends with _total if it is a counter, and only then");
        }
        if metric.kind == "histogram" && !name.ends_with("_seconds") && !name.ends_with("_bytes") {
            wrong.push("is a histogram of seconds or bytes");
        }
        if WRONG_UNITS.iter().any(|unit| stem.ends_with(unit)) {
            wrong.push("is in a base unit");
        }
        if !metric.labels.iter().all(|label| LABELS.contains(&label.as_str()) || label == "why") {
            wrong.push("has labels that are known to be bounded (LABELS in tests/it/tidy/metrics.rs)");
        }
        wrong.into_iter().map(|words| format!("{name} {words}")).collect::<Vec<_>>()
    };
    let rows = rows(&std::fs::read_to_string(root().join("docs/metrics.md")).unwrap());
    complain(rows.iter().flat_map(judge).map(|words| format!("not so: {words}")));
}

#[test]
fn reports_are_found_with_their_types_and_labels() {
    let check = |text: &str, expected: &[(&str, &str, &[&str])]| {
        let found: Vec<(String, Metric)> =
            reports(text).into_iter().map(|report| report.map(|(name, metric, _)| (name, metric)).unwrap()).collect();
        let metric = |(name, kind, labels): &(&str, &str, &[&str])| {
            let labels = labels.iter().map(|label| (*label).to_owned()).collect();
            ((*name).to_owned(), Metric { kind: (*kind).to_owned(), labels })
        };
        assert_eq!(found, expected.iter().map(metric).collect::<Vec<_>>(), "{text}");
    };
    check("counter!(\"a_total\").increment(1);", &[("a_total", "counter", &[])]);
    check("metrics::gauge!(\n  \"b\", \"x\" => f(\"y\"), \"z\" => w\n).set(1.0)", &[("b", "gauge", &["x", "z"])]);
    check("series.gauge(\"c\", &[(\"x\", \"y\"), (\"z\", name)], f(1))", &[("c", "gauge", &["x", "z"])]);
    check("describe_counter!(name, words);\n// counter!(\"a\")", &[]);
    assert!(reports("counter!(name)")[0].is_err());
}
