//! How far a job is, from what lies below `jobs/{job}/`, and what is to be done next.
//!
//! Pure. A listing is the only state that there is: whoever reads it comes to the same conclusion.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Where jobs lie in the ingest store.
pub const FOLDER: &str = "jobs";

/// Counted errors of one step after which the job has failed.
pub const ERRORS_MAX: u32 = 3;

/// Most tasks of one job: their numbers have five digits in keys.
pub const TASKS_MAX: u32 = 100_000;

/// Longest name of a job, in bytes: that of an upload, with room.
const NAME_BYTES_MAX: usize = 128;

/// Whether a text can be the name of a job and its asset: 1 to 128 of `a-z A-Z 0-9 _ -`.
pub fn is_name(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.chars().all(legal)
}

/// A part of a job that can fail by itself; prints as its folder below `errors/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Looking through the source and planning.
    Plan,
    /// A task.
    Task(u32),
    /// Playlists and thumbnails.
    Finish,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan => f.write_str("plan"),
            Self::Task(task) => write!(f, "{task:05}"),
            Self::Finish => f.write_str("finish"),
        }
    }
}

impl Part {
    fn parse(text: &str) -> Option<Self> {
        let part = match text {
            "plan" => Self::Plan,
            "finish" => Self::Finish,
            number => Self::Task(number.parse().ok().filter(|task| *task < TASKS_MAX)?),
        };
        (part.to_string() == text).then_some(part)
    }
}

/// The key of a job's plan.
pub fn plan_key(job: &str) -> String {
    format!("{FOLDER}/{job}/plan.json")
}

/// The key of a task's facts.
pub fn done_key(job: &str, task: u32) -> String {
    format!("{FOLDER}/{job}/done/{}.json", Part::Task(task))
}

/// The key of the `number`th error of a part, from 1.
pub fn error_key(job: &str, part: Part, number: u32) -> String {
    format!("{FOLDER}/{job}/errors/{part}/{number}.json")
}

/// The key of what says that a job has failed.
pub fn failed_key(job: &str) -> String {
    format!("{FOLDER}/{job}/failed.json")
}

/// The key of what says that a job is finished.
pub fn finished_key(job: &str) -> String {
    format!("{FOLDER}/{job}/finished.json")
}

/// How far a job is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobState {
    /// There is a plan.
    pub planned: bool,
    /// Tasks that are done.
    pub done: BTreeSet<u32>,
    /// The highest number of an error of each part that had any.
    pub errors: BTreeMap<Part, u32>,
    /// It has failed, or is too old.
    pub failed: bool,
    /// It is too old.
    pub expired: bool,
    /// Its playlists are there.
    pub finished: bool,
}

/// The state of `job` by the keys below `jobs/{job}/` (whole keys, in any order); other keys are passed over.
pub fn state<'a>(job: &str, keys: impl IntoIterator<Item = &'a str>) -> JobState {
    let mut state = JobState::default();
    for key in keys {
        let mut parts = key.split('/');
        if parts.next() != Some(FOLDER) || parts.next() != Some(job) {
            continue;
        }
        match parts.collect::<Vec<_>>()[..] {
            ["plan.json"] => state.planned = true,
            // What is too old to be kept is not made any more, either (the recorder's retention writes that).
            ["expired.json"] => (state.failed, state.expired) = (true, true),
            ["failed.json"] => state.failed = true,
            ["finished.json"] => state.finished = true,
            ["done", file] => {
                if let Some(Part::Task(task)) = file.strip_suffix(".json").and_then(Part::parse) {
                    state.done.insert(task);
                }
            }
            ["errors", part, file] => {
                let number = file.strip_suffix(".json").and_then(|number| number.parse::<u32>().ok());
                if let (Some(part), Some(number)) = (Part::parse(part), number) {
                    let known = state.errors.entry(part).or_default();
                    *known = number.max(*known);
                }
            }
            _ => {}
        }
    }
    state
}

/// Tasks that have no facts yet, of a plan with so many.
pub fn missing(state: &JobState, tasks: u32) -> BTreeSet<u32> {
    (0..tasks.min(TASKS_MAX)).filter(|task| !state.done.contains(task)).collect()
}

/// What follows from an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterError {
    /// It is tried again.
    Again,
    /// The job has failed.
    GiveUp,
}

/// What follows from the `count`th counted error of a part.
pub fn after_error(count: u32) -> AfterError {
    if count < ERRORS_MAX { AfterError::Again } else { AfterError::GiveUp }
}

#[cfg(test)]
mod tests;
