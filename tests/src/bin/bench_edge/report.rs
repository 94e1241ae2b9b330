//! Medians, and how figures are printed: a table for people, a line of JSON for each figure.

use serde_json::json;

/// The middle one.
pub(crate) fn median(values: Vec<f64>) -> f64 {
    percentile(values, 50)
}

/// The value that this many of 100 are not above.
pub(crate) fn percentile(mut values: Vec<f64>, percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = (values.len() * percent / 100).min(values.len().saturating_sub(1));
    values.get(index).copied().unwrap_or(f64::NAN)
}

/// A figure, by server, and what it must reach.
#[derive(Debug)]
pub(crate) struct Figure {
    /// A name without spaces, for machines.
    pub(crate) name: &'static str,
    /// What it is and its unit, for people.
    pub(crate) words: &'static str,
    /// Ours first. Without a value: this one can't do it, or was not asked to.
    pub(crate) live360: f64,
    pub(crate) nginx: Option<f64>,
    pub(crate) varnish: Option<f64>,
    /// What ours must be at most.
    pub(crate) goals: Vec<Goal>,
}

/// A bound on our figure.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// This much.
    Most(f64),
    /// This share of nginx's.
    Nginx(f64),
    /// This share of Varnish's.
    Varnish(f64),
    /// This share of the better one of the two.
    Better(f64),
}

impl Figure {
    /// Our figure by what the goal compares it with, the bound, and words for it.
    fn judge(&self, goal: Goal) -> (f64, f64, String) {
        let (nginx, varnish) = (self.nginx.unwrap_or(f64::NAN), self.varnish.unwrap_or(f64::NAN));
        let by = |other: f64, bound: f64, name: &str| (self.live360 / other, bound, format!("≤ {bound} × {name}"));
        match goal {
            Goal::Most(bound) => (self.live360, bound, format!("≤ {bound}")),
            Goal::Nginx(bound) => by(nginx, bound, "nginx"),
            Goal::Varnish(bound) => by(varnish, bound, "Varnish"),
            Goal::Better(bound) => by(nginx.min(varnish), bound, "the better one"),
        }
    }
}

/// Prints all figures. Whether all goals were reached is for the reader: nothing here fails.
pub(crate) fn print(figures: &[Figure]) {
    let cell = |value: Option<f64>| value.map_or("-".to_owned(), number);
    println!(
        "\n| figure | live360 | nginx | Varnish | ratio | must reach | |\n| --- | --- | --- | --- | --- | --- | --- |"
    );
    for figure in figures {
        let judged: Vec<_> = figure.goals.iter().map(|goal| figure.judge(*goal)).collect();
        let join = |words: Vec<String>| if words.is_empty() { "-".to_owned() } else { words.join("; ") };
        let ratio = |goal: &Goal, value: f64| match goal {
            Goal::Most(_) => number(value),
            _ => format!("{value:.2} ×"),
        };
        println!(
            "| {} | {} | {} | {} | {} | {} | {} |",
            figure.words,
            number(figure.live360),
            cell(figure.nginx),
            cell(figure.varnish),
            join(figure.goals.iter().zip(&judged).map(|(goal, judged)| ratio(goal, judged.0)).collect()),
            join(judged.iter().map(|judged| judged.2.clone()).collect()),
            if judged.is_empty() {
                "stated"
            } else if judged.iter().all(|(value, bound, _)| value <= bound) {
                "yes"
            } else {
                "NO"
            },
        );
    }
    println!();
    for figure in figures {
        let goals: Vec<_> = figure.goals.iter().map(|goal| figure.judge(*goal)).collect();
        let goals: Vec<_> = goals.iter().map(|(value, bound, words)| json!({ "value": value, "bound": bound, "words": words, "reached": value <= bound })).collect();
        println!(
            "{}",
            json!({ "figure": figure.name, "live360": figure.live360, "nginx": figure.nginx, "varnish": figure.varnish, "goals": goals })
        );
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || size == size.trunc() => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
