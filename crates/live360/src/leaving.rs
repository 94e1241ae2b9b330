//! When a process that leaves does what. Pure: moments are counted from the one in which it was asked to.
//!
//! 1. At once readiness is off, and the edge's target group is told; meanwhile everything is served as before.
//! 2. For `edge.leave_s` more it is still served, new connections included: balancers and DNS need time to notice.
//! 3. The edge answers who is parked, closes what idles and finishes what is in flight.
//! 4. The tiers behind the edge finish; the process ends.

use service::config::Edge;
use service::machine::Why;
use service::shutdown::{Asked, DRAIN_WITHIN, LEAVE_WITHIN};
use std::fmt;
use std::time::Duration;

/// How long load balancers and DNS take to notice, if the config doesn't say.
const GRACE: Duration = Duration::from_secs(20);

/// How long the edge finishes what is in flight when somebody waits at a desk.
const DRAIN_AT_DESK: Duration = Duration::from_secs(10);

/// What is left for the tiers behind the edge, which then have no viewers any more.
const BEHIND: Duration = LEAVE_WITHIN.saturating_sub(DRAIN_WITHIN);

/// How long before the machine is taken away the process has ended: clocks differ, and disks must be written.
const SPARE: Duration = Duration::from_secs(5);

/// The least that leaving gets, however late the notice came.
const LEAST: Duration = Duration::from_secs(10);

/// Why a process leaves.
#[derive(Debug)]
pub(crate) enum Cause {
    /// A signal asked for it.
    Signal(Asked),
    /// The machine is to be taken away; after this time, if that was said.
    Machine(Why, Option<Duration>),
    /// A tier failed.
    Failure(anyhow::Error),
}

/// Which moments a process that leaves keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timeline {
    /// How long to serve as before once the balancer was told.
    pub(crate) grace: Duration,
    /// The latest end of that, since telling takes time too.
    pub(crate) serve_until: Duration,
    /// How long the edge may take from then on.
    pub(crate) drain: Duration,
    /// The latest end of that.
    pub(crate) edge_until: Duration,
    /// When the process has ended.
    pub(crate) within: Duration,
}

/// Plans the leaving; `edge` is there if the process has one.
pub(crate) fn plan(cause: &Cause, edge: Option<&Edge>) -> Timeline {
    let left = match cause {
        Cause::Machine(_, left) => *left,
        Cause::Signal(_) | Cause::Failure(_) => None,
    };
    let within = left.map_or(LEAVE_WITHIN, |left| left.saturating_sub(SPARE).clamp(LEAST, LEAVE_WITHIN));
    let edge_until = within.saturating_sub(BEHIND.min(within / 4));
    let drain = match cause {
        Cause::Signal(Asked::Interrupt) => DRAIN_AT_DESK,
        Cause::Signal(Asked::Terminate) | Cause::Machine(..) | Cause::Failure(_) => DRAIN_WITHIN,
    };
    let grace = edge.map_or(Duration::ZERO, |edge| grace(cause, edge));
    // What is in flight gets at least a third.
    Timeline { grace, serve_until: edge_until * 2 / 3, drain, edge_until, within }
}

fn grace(cause: &Cause, edge: &Edge) -> Duration {
    // Who runs on machines that come and go has something before them that must notice.
    let fleet = edge.target_group.is_some() || matches!(cause, Cause::Machine(..));
    match (cause, edge.leave_s) {
        // A process that lacks a tier serves nobody well.
        (Cause::Failure(_), _) => Duration::ZERO,
        (_, Some(seconds)) => Duration::from_secs(seconds),
        (_, None) if fleet => GRACE,
        (_, None) => Duration::ZERO,
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(asked) => asked.fmt(f),
            Self::Machine(why, _) => why.fmt(f),
            Self::Failure(error) => write!(f, "{error:#}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What leaves, in words that a table has room for.
    enum Edges {
        None,
        Alone,
        Grouped,
        Waiting(u64),
    }

    fn edge(edges: &Edges) -> Option<Edge> {
        let (target_group, leave_s) = match edges {
            Edges::None => return None,
            Edges::Alone => (None, None),
            Edges::Grouped => (Some("arn".to_owned()), None),
            Edges::Waiting(seconds) => (Some("arn".to_owned()), Some(*seconds)),
        };
        Some(Edge { target_group, leave_s, ..Edge::default() })
    }

    fn timeline(cause: &Cause, edges: &Edges) -> Timeline {
        plan(cause, edge(edges).as_ref())
    }

    fn interrupted(left_s: u64) -> Cause {
        Cause::Machine(Why::Interruption("terminate".to_owned()), Some(Duration::from_secs(left_s)))
    }

    const TERM: Cause = Cause::Signal(Asked::Terminate);
    const INT: Cause = Cause::Signal(Asked::Interrupt);

    /// Grace, latest end of serving, drain, latest end of the edge, end of all; in milliseconds.
    fn check(cause: &Cause, edges: &Edges, expected: [u128; 5]) {
        let Timeline { grace, serve_until, drain, edge_until, within } = timeline(cause, edges);
        let shown = [grace, serve_until, drain, edge_until, within].map(|moment| moment.as_millis());
        assert_eq!(shown, expected, "{cause}");
    }

    #[test]
    fn each_cause_has_its_moments() {
        check(&TERM, &Edges::None, [0, 60_000, 90_000, 90_000, 100_000]);
        check(&TERM, &Edges::Alone, [0, 60_000, 90_000, 90_000, 100_000]);
        check(&TERM, &Edges::Grouped, [20_000, 60_000, 90_000, 90_000, 100_000]);
        check(&TERM, &Edges::Waiting(0), [0, 60_000, 90_000, 90_000, 100_000]);
        check(&TERM, &Edges::Waiting(60), [60_000, 60_000, 90_000, 90_000, 100_000]);
        check(&INT, &Edges::Alone, [0, 60_000, 10_000, 90_000, 100_000]);
        check(&INT, &Edges::Grouped, [20_000, 60_000, 10_000, 90_000, 100_000]);
        check(&Cause::Failure(anyhow::anyhow!("x")), &Edges::Grouped, [0, 60_000, 90_000, 90_000, 100_000]);
        check(&Cause::Machine(Why::Terminated, None), &Edges::Alone, [20_000, 60_000, 90_000, 90_000, 100_000]);
        check(&Cause::Machine(Why::Terminated, None), &Edges::None, [0, 60_000, 90_000, 90_000, 100_000]);
    }

    #[test]
    fn a_machine_that_is_gone_soon_leaves_less_time() {
        check(&interrupted(120), &Edges::Alone, [20_000, 60_000, 90_000, 90_000, 100_000]);
        check(&interrupted(105), &Edges::Alone, [20_000, 60_000, 90_000, 90_000, 100_000]);
        check(&interrupted(65), &Edges::Alone, [20_000, 33_333, 90_000, 50_000, 60_000]);
        check(&interrupted(25), &Edges::Alone, [20_000, 10_000, 90_000, 15_000, 20_000]);
        check(&interrupted(0), &Edges::Alone, [20_000, 5_000, 90_000, 7_500, 10_000]);
    }

    #[test]
    fn whatever_the_notice_the_moments_are_in_order() {
        for left_s in 0..=120 {
            for edges in [Edges::None, Edges::Alone, Edges::Waiting(60)] {
                let plan = timeline(&interrupted(left_s), &edges);
                assert!(plan.serve_until < plan.edge_until && plan.edge_until < plan.within, "{left_s}: {plan:?}");
                assert!(plan.within <= LEAVE_WITHIN);
                assert!(left_s < 15 || plan.within + SPARE <= Duration::from_secs(left_s), "{left_s}: {plan:?}");
            }
        }
    }

    #[test]
    fn the_limits_add_up() {
        assert_eq!(DRAIN_WITHIN + BEHIND, LEAVE_WITHIN);
        // A notice is heard at most so long after it was given.
        let heard = service::machine::WARNING_MAX - service::machine::ASK_EVERY;
        assert!(LEAVE_WITHIN + SPARE <= heard);
    }

    #[cfg(feature = "aws")]
    #[test]
    fn there_is_time_to_tell_the_balancer() {
        let plan = timeline(&TERM, &Edges::Grouped);
        assert!(service::target_group::DEREGISTER_WITHIN + plan.grace <= plan.serve_until, "{plan:?}");
    }
}
