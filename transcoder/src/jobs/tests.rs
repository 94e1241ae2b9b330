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
fn what_follows_from_a_state() {
    let state = |keys: &[&str]| {
        let keys: Vec<String> = keys.iter().map(|key| format!("jobs/foo/{key}")).collect();
        super::state("foo", keys.iter().map(String::as_str))
    };
    let (plan, failed, finished) = ("plan.json", "failed.json", "finished.json");
    for (keys, expected) in [
        (&[][..], &[Step::Plan][..]),
        (&["errors/plan/1.json"], &[Step::Plan]),
        (&[failed], &[]),
        (&[plan], &[Step::Task(0), Step::Task(1)]),
        (&[plan, "done/00000.json"], &[Step::Task(1)]),
        (&[plan, "done/00000.json", failed], &[]),
        (&[plan, "done/00000.json", "done/00001.json"], &[Step::Finish]),
        (&[plan, "done/00000.json", "done/00001.json", finished], &[Step::Entry]),
        // Failed by a worker that was slow, finished by another.
        (&[plan, failed, finished], &[Step::Entry]),
    ] {
        assert_eq!(next(&state(keys), 2), expected, "{keys:?}");
    }
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
        next(&state("foo", keys.iter().map(String::as_str)), u32::MAX);
    }
}
