//! Series that are there only while what they tell of is: written when somebody looks.
//!
//! The recorder behind the `metrics` macros keeps every series for good, which would let the names of streams grow without
//! end. What these mean stands in the same table as the others.

use super::described;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Series of one family that are shown at most: no collector should have more, and Prometheus would choke on them.
const SERIES_MAX: usize = 1024;

/// What the collectors found.
#[derive(Debug, Default)]
pub struct Series(BTreeMap<&'static str, Family>);

#[derive(Debug)]
struct Family {
    kind: &'static str,
    lines: Vec<String>,
}

impl Series {
    /// A value that goes up and down.
    pub fn gauge(&mut self, name: &'static str, labels: &[(&'static str, &str)], value: f64) {
        self.add(name, "gauge", labels, value);
    }

    /// A value that only grows.
    pub fn counter(&mut self, name: &'static str, labels: &[(&'static str, &str)], value: f64) {
        self.add(name, "counter", labels, value);
    }

    fn add(&mut self, name: &'static str, kind: &'static str, labels: &[(&'static str, &str)], value: f64) {
        let family = self.0.entry(name).or_insert_with(|| Family { kind, lines: Vec::new() });
        if family.lines.len() >= SERIES_MAX || !value.is_finite() {
            return;
        }
        let labels: Vec<String> = labels.iter().map(|(label, of)| format!("{label}=\"{}\"", escaped(of))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        family.lines.push(format!("{name}{labels} {value}"));
    }

    /// Appends them in the Prometheus text format.
    pub(super) fn render(self, out: &mut String) {
        for (name, Family { kind, lines }) in self.0 {
            if let Some(meaning) = described::meaning(name) {
                let _ = writeln!(out, "# HELP {name} {meaning}");
            }
            let _ = writeln!(out, "# TYPE {name} {kind}");
            for line in lines {
                let _ = writeln!(out, "{line}");
            }
            out.push('\n');
        }
    }
}

/// A label's value as the format wants it.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_grouped_by_name_and_escaped() {
        let mut series = Series::default();
        series.gauge("b", &[("stream", "x\"y\\z\n")], 1.5);
        series.counter("a_total", &[], 2.0);
        series.gauge("b", &[("stream", "w"), ("rung", "960w")], f64::NAN);
        series.gauge("b", &[("stream", "w"), ("rung", "960w")], 3.0);
        let mut text = String::new();
        series.render(&mut text);
        let expected = "# TYPE a_total counter\na_total 2\n\n# TYPE b gauge\nb{stream=\"x\\\"y\\\\z\\n\"} 1.5\n\
                        b{stream=\"w\",rung=\"960w\"} 3\n\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_family_has_an_end() {
        let mut series = Series::default();
        (0..2 * SERIES_MAX).for_each(|n| series.gauge("b", &[("n", &n.to_string())], 0.0));
        let mut text = String::new();
        series.render(&mut text);
        assert_eq!(text.lines().filter(|line| line.starts_with("b{")).count(), SERIES_MAX);
    }
}
