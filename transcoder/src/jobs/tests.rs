//! States of jobs by their keys, as tables. Knows no store.

use super::*;
use proptest::prelude::*;

#[test]
fn a_listing_says_how_far_a_job_is() {
    let keys = [
        plan_key("foo"),
        done_key("foo", 0),
        done_key("foo", 12),
        error_key("foo", Part::Task(3), 1),
        error_key("foo", Part::Task(3), 2),
        error_key("foo", Part::Finish, 1),
        "jobs/foo/done/7.json".to_owned(),
        "jobs/foo/done/plan.json".to_owned(),
        "jobs/foo/errors/x/1.json".to_owned(),
        "jobs/foobar/failed.json".to_owned(),
        "jobs/foo/later.json".to_owned(),
    ];
    let state = state("foo", keys.iter().map(String::as_str));
    let expected = JobState {
        planned: true,
        done: [0, 12].into(),
        errors: [(Part::Task(3), 2), (Part::Finish, 1)].into(),
        failed: false,
        expired: false,
        finished: false,
    };
    assert_eq!(state, expected);
}

#[test]
fn keys_are_those_of_the_design() {
    assert_eq!(done_key("foo", 3), "jobs/foo/done/00003.json");
    assert_eq!(error_key("foo", Part::Plan, 1), "jobs/foo/errors/plan/1.json");
    assert_eq!(error_key("foo", Part::Task(99_999), 3), "jobs/foo/errors/99999/3.json");
    assert_eq!((failed_key("a"), finished_key("a")), ("jobs/a/failed.json".into(), "jobs/a/finished.json".into()));
    for part in [Part::Plan, Part::Finish, Part::Task(0), Part::Task(TASKS_MAX - 1)] {
        assert_eq!(Part::parse(&part.to_string()), Some(part));
    }
}

#[test]
fn what_is_missing_is_what_has_no_facts() {
    for (done, tasks, expected) in [
        (&[][..], 0, &[][..]),
        (&[], 2, &[0, 1]),
        (&[0], 2, &[1]),
        (&[0, 1], 2, &[]),
        // Of another plan, or somebody's own.
        (&[1, 7], 2, &[0]),
    ] {
        let state = JobState { done: done.iter().copied().collect(), ..JobState::default() };
        assert_eq!(missing(&state, tasks), expected.iter().copied().collect(), "{done:?} of {tasks}");
    }
    assert_eq!(missing(&JobState::default(), u32::MAX).len(), TASKS_MAX as usize);
}

#[test]
fn the_third_error_is_the_last() {
    assert_eq!([1, 2, 3, 4].map(|count| after_error(count) == AfterError::GiveUp), [false, false, true, true]);
}

#[test]
fn names_are_plain() {
    for good in ["a", "foo-20261120T172500Z", "A_b-1", &"x".repeat(128)] {
        assert!(is_name(good), "{good}");
    }
    for bad in ["", "a/b", "a b", "é", ".", "a.b", &"x".repeat(129)] {
        assert!(!is_name(bad), "{bad}");
    }
}

proptest! {
    #[test]
    fn no_listing_panics(keys: Vec<String>) {
        let keys: Vec<String> = keys.iter().map(|key| format!("jobs/foo/{key}")).collect();
        missing(&state("foo", keys.iter().map(String::as_str)), 9);
    }
}
