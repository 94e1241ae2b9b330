//! What the machine has said so far, and what follows from what it says next. Pure.
//!
//! Knows nothing of how it is asked. Every thing is decided once: what is repeated changes nothing.

use std::fmt;
use std::time::{Duration, SystemTime};

/// The longest warning that EC2 gives of an interruption. A time further off is a clock that goes wrong.
pub const WARNING_MAX: Duration = Duration::from_secs(120);

/// What the machine has said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notice {
    /// That it is to be taken away.
    pub leave: Option<Leave>,
    /// That it runs a higher risk of that than usual. It may stay for hours, or go without another word.
    pub rebalance_recommended: bool,
    /// What it is called.
    pub instance: Option<String>,
    /// Whether it answers. `None` before it was first asked.
    pub answers: Option<bool>,
}

/// A machine is to be taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leave {
    /// Why.
    pub why: Why,
    /// When it is gone, if that was said.
    pub by: Option<SystemTime>,
}

/// Why a machine is to be taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// A spot interruption: `terminate`, `stop` or `hibernate`.
    Interruption(String),
    /// Its Auto Scaling group takes it out.
    Terminated,
}

/// One thing that the machine said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    /// A spot interruption, and when, if that could be read.
    Interruption { action: String, at: Option<SystemTime> },
    /// The state that its Auto Scaling group wants it in.
    Lifecycle(String),
    /// It should be replaced.
    Rebalance,
    /// What it is called.
    Instance(String),
    /// Everything that was asked was answered, be it by "there is nothing".
    Answers,
    /// Something that was asked was not.
    Silence,
}

/// What follows, and is worth a word in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    Leave(Leave),
    MarkRebalance,
    /// It answers now, and didn't.
    Answers,
    /// It doesn't answer, and did or should.
    Silent,
}

impl Notice {
    /// Takes in what was heard at `now`. Gives what is new in it; its name is not news.
    pub(super) fn on(&mut self, heard: Heard, now: SystemTime) -> Option<Decision> {
        match heard {
            Heard::Interruption { action, at } => {
                let latest = now.checked_add(WARNING_MAX).unwrap_or(now);
                // A time that is past or can't be: this machine's clock is wrong, so neither end can be passed.
                let by = at.map(|at| at.clamp(now.min(latest), latest));
                self.leave(Leave { why: Why::Interruption(action), by })
            }
            Heard::Lifecycle(state) => {
                let gone = matches!(state.as_str(), "Terminated" | "Warmed:Terminated");
                gone.then(|| self.leave(Leave { why: Why::Terminated, by: None })).flatten()
            }
            Heard::Rebalance => {
                let first = !std::mem::replace(&mut self.rebalance_recommended, true);
                first.then_some(Decision::MarkRebalance)
            }
            Heard::Instance(id) => {
                self.instance.get_or_insert(id);
                None
            }
            // The first answer is what everybody expects.
            Heard::Answers => (self.answers.replace(true) == Some(false)).then_some(Decision::Answers),
            Heard::Silence => (self.answers.replace(false) != Some(false)).then_some(Decision::Silent),
        }
    }

    fn leave(&mut self, leave: Leave) -> Option<Decision> {
        if self.leave.is_some() {
            return None;
        }
        self.leave = Some(leave.clone());
        Some(Decision::Leave(leave))
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interruption(action) => write!(f, "spot interruption ({action})"),
            Self::Terminated => f.write_str("the Auto Scaling group terminates this machine"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn interruption(seconds: Option<u64>) -> Heard {
        Heard::Interruption { action: "terminate".to_owned(), at: seconds.map(at) }
    }

    fn interrupted(seconds: Option<u64>) -> Option<Decision> {
        Some(Decision::Leave(Leave { why: Why::Interruption("terminate".to_owned()), by: seconds.map(at) }))
    }

    fn terminated() -> Option<Decision> {
        Some(Decision::Leave(Leave { why: Why::Terminated, by: None }))
    }

    fn lifecycle(state: &str) -> Heard {
        Heard::Lifecycle(state.to_owned())
    }

    /// Hears one thing after the other at second 1000; gives what is known in the end.
    fn check(steps: &[(Heard, Option<Decision>)]) -> Notice {
        let mut notice = Notice::default();
        for (step, (heard, expected)) in steps.iter().enumerate() {
            assert_eq!(notice.on(heard.clone(), at(1000)), *expected, "step {step} of {steps:?}");
        }
        notice
    }

    #[test]
    fn an_interruption_means_leaving_by_its_time_and_is_decided_once() {
        check(&[(interruption(Some(1110)), interrupted(Some(1110))), (interruption(Some(1110)), None)]);
        check(&[(interruption(None), interrupted(None)), (interruption(Some(1110)), None)]);
        check(&[(interruption(Some(1110)), interrupted(Some(1110))), (lifecycle("Terminated"), None)]);
    }

    #[test]
    fn a_time_that_cannot_be_is_moved_to_one_that_can() {
        check(&[(interruption(Some(990)), interrupted(Some(1000)))]);
        check(&[(interruption(Some(5000)), interrupted(Some(1120)))]);
        check(&[(interruption(Some(1120)), interrupted(Some(1120)))]);
    }

    #[test]
    fn only_the_lifecycle_states_at_the_end_mean_leaving() {
        for state in ["InService", "Standby", "Detached", "Warmed:Running", "Warmed:Stopped", "", "terminated"] {
            assert_eq!(check(&[(lifecycle(state), None)]), Notice::default(), "{state}");
        }
        for state in ["Terminated", "Warmed:Terminated"] {
            check(&[(lifecycle("InService"), None), (lifecycle(state), terminated()), (lifecycle(state), None)]);
        }
    }

    #[test]
    fn a_recommendation_to_rebalance_is_marked_once_and_nobody_leaves() {
        let marked = check(&[(Heard::Rebalance, Some(Decision::MarkRebalance)), (Heard::Rebalance, None)]);
        assert_eq!(marked, Notice { rebalance_recommended: true, ..Notice::default() });
        check(&[
            (Heard::Rebalance, Some(Decision::MarkRebalance)),
            (interruption(Some(1120)), interrupted(Some(1120))),
            (Heard::Rebalance, None),
        ]);
    }

    #[test]
    fn silence_is_told_when_it_begins_and_when_it_ends() {
        let (silence, answers) = (Heard::Silence, Heard::Answers);
        check(&[
            (answers.clone(), None),
            (silence.clone(), Some(Decision::Silent)),
            (silence.clone(), None),
            (answers.clone(), Some(Decision::Answers)),
            (answers.clone(), None),
            (silence.clone(), Some(Decision::Silent)),
        ]);
        check(&[(silence.clone(), Some(Decision::Silent)), (silence, None), (answers, Some(Decision::Answers))]);
    }

    #[test]
    fn the_first_name_stays() {
        let heard = |id: &str| (Heard::Instance(id.to_owned()), None);
        assert_eq!(check(&[heard("i-1"), heard("i-2")]).instance.as_deref(), Some("i-1"));
    }
}
