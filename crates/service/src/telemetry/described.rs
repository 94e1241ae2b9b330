//! What each metric means: the table in `docs/metrics.md`, which people read and `/metrics` repeats as HELP.
//!
//! One table, so that the two can't differ. That it has a row for every metric, and no other, is held by `tests/it/tidy`.

use metrics::{describe_counter, describe_gauge, describe_histogram};

const TABLE: &str = include_str!("../../../../docs/metrics.md");

/// A row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row<'a> {
    name: &'a str,
    kind: &'a str,
    meaning: &'a str,
}

fn rows(table: &str) -> impl Iterator<Item = Row<'_>> {
    table.lines().filter_map(|line| {
        let cells: Vec<&str> =
            line.strip_prefix("| `")?.trim_end().trim_end_matches('|').split('|').map(str::trim).collect();
        let [name, kind, _labels, meaning] = cells[..] else { return None };
        Some(Row { name: name.trim_end_matches('`'), kind, meaning })
    })
}

/// Tells the recorder what the metrics of the macros mean.
pub(super) fn describe() {
    for Row { name, kind, meaning } in rows(TABLE) {
        match kind {
            "counter" => describe_counter!(name, meaning),
            "gauge" => describe_gauge!(name, meaning),
            _ => describe_histogram!(name, meaning),
        }
    }
}

/// What one metric means.
pub(super) fn meaning(name: &str) -> Option<&'static str> {
    rows(TABLE).find(|row| row.name == name).map(|row| row.meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_told_from_the_words_around_them() {
        let table = "# Metrics\n\n| name | type | labels | meaning |\n| --- | --- | --- | --- |\n\
                     | `a_total` | counter | `x` (`y`, `z`) | Counts a. |\n| `b` | gauge |  | How b is. |\nwords";
        let a = Row { name: "a_total", kind: "counter", meaning: "Counts a." };
        assert_eq!(rows(table).collect::<Vec<_>>(), [a, Row { name: "b", kind: "gauge", meaning: "How b is." }]);
    }

    #[test]
    fn the_table_has_rows_of_known_kinds() {
        assert!(rows(TABLE).count() > 40);
        for row in rows(TABLE) {
            assert!(matches!(row.kind, "counter" | "gauge" | "histogram"), "{row:?}");
            assert!(row.meaning.ends_with('.') && !row.meaning.contains(['\\', '\n']), "{row:?}");
        }
    }
}
