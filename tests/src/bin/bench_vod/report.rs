//! How figures are printed: a table for people, a line of JSON for each figure.

use serde_json::json;

/// A figure, and what it must reach.
#[derive(Debug)]
pub(crate) struct Row {
    /// A name without spaces, for machines.
    name: String,
    /// What it is and its unit, for people.
    words: String,
    value: f64,
    goal: Option<Goal>,
}

/// A bound.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    Most(f64),
    Least(f64),
}

/// All figures so far.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    /// A figure that is only stated.
    pub(crate) fn state(&mut self, name: &str, words: impl Into<String>, value: f64) {
        self.add(name, words, value, None);
    }

    /// A figure that must reach something.
    pub(crate) fn judge(&mut self, name: &str, words: impl Into<String>, value: f64, goal: Goal) {
        self.add(name, words, value, Some(goal));
    }

    fn add(&mut self, name: &str, words: impl Into<String>, value: f64, goal: Option<Goal>) {
        let row = Row { name: name.to_owned(), words: words.into(), value, goal };
        // Whoever waits sees how far it is.
        eprintln!("{}: {}", row.words, number(value));
        self.0.push(row);
    }

    /// Prints them. Whether goals were reached is for the reader: nothing here fails.
    pub(crate) fn print(&self) {
        println!("\n| figure | value | must reach | |\n| --- | --- | --- | --- |");
        for Row { words, value, goal, .. } in &self.0 {
            let (bound, verdict) = match goal {
                None => ("-".to_owned(), "stated"),
                Some(Goal::Most(most)) => (format!("≤ {}", number(*most)), verdict(value <= most)),
                Some(Goal::Least(least)) => (format!("≥ {}", number(*least)), verdict(value >= least)),
            };
            println!("| {words} | {} | {bound} | {verdict} |", number(*value));
        }
        println!();
        for Row { name, value, goal, .. } in &self.0 {
            let (most, least) = match goal {
                None => (None, None),
                Some(Goal::Most(most)) => (Some(most), None),
                Some(Goal::Least(least)) => (None, Some(least)),
            };
            println!("{}", json!({ "figure": name, "value": value, "most": most, "least": least }));
        }
    }
}

fn verdict(reached: bool) -> &'static str {
    if reached { "yes" } else { "NO" }
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || size == size.trunc() => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}
