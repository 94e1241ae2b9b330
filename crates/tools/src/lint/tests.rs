//! The linter as a whole: good streams pass, each planted breach is named, and nothing that a server sends panics it.

mod planted;
mod served;

use super::fixture::{encrypted, live, sealed, vod};
use super::observe::{Observed, Watched};
use super::rules::{self, Level};
use super::*;
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// The rules that a report says are broken.
fn broken(report: &Report) -> BTreeSet<&'static str> {
    [Level::Must, Level::Should].into_iter().flat_map(|level| report.broken(level)).map(|finding| finding.id).collect()
}

#[test]
fn good_streams_break_nothing() {
    for (name, observed) in [("live", live()), ("vod", vod()), ("encrypted", encrypted()), ("sealed", sealed())] {
        let report = judge(&observed, &[]);
        assert_eq!(broken(&report), BTreeSet::new(), "{name}\n{report}");
        assert_eq!(report.outcome(), Outcome::Clean, "{name}");
    }
}

#[test]
fn every_rule_has_something_to_look_at_in_one_of_the_good_streams() {
    let reports = [live(), vod(), encrypted(), sealed()].map(|observed| judge(&observed, &[]));
    for rule in rules::all() {
        let looked = |report: &Report| report.rules.iter().any(|f| f.id == rule.id && f.status == Status::Kept);
        assert!(reports.iter().any(looked), "{} was looked at in none of them", rule.id);
    }
}

/// Each breach must be named, and nothing else.
fn check(plants: Vec<planted::Plant>) {
    assert!(!plants.is_empty());
    for plant in plants {
        let mut observed = (plant.base)();
        (plant.mutate)(&mut observed);
        let report = judge(&observed, &[]);
        let expected: BTreeSet<&str> = plant.also.iter().copied().chain([plant.rule]).collect();
        assert_eq!(broken(&report), expected, "planted: {}\n{report}", plant.rule);
    }
}

#[test]
fn breaches_planted_in_one_playlist_are_named() {
    check(planted::playlists());
}

#[test]
fn breaches_planted_in_keys_are_named() {
    check(planted::keys());
}

#[test]
fn breaches_planted_between_moments_are_named() {
    check(planted::moments());
}

#[test]
fn breaches_planted_between_renditions_and_in_media_are_named() {
    check(planted::renditions_and_media());
}

#[test]
fn breaches_planted_in_the_multivariant_playlist_are_named() {
    check(planted::multivariants());
}

#[test]
fn breaches_planted_in_delivery_are_named() {
    check(planted::delivery());
}

#[test]
fn breaches_planted_in_low_latency_tags_are_named() {
    check(planted::low_latency());
}

#[test]
fn breaches_planted_in_parts_are_named() {
    check(planted::parts());
}

#[test]
fn breaches_planted_in_what_probes_found_are_named() {
    check(planted::probes());
}

#[test]
fn every_rule_has_a_planted_breach() {
    let planted: BTreeSet<&str> = planted::all().iter().map(|plant| plant.rule).collect();
    let rules: BTreeSet<&str> = rules::all().iter().map(|rule| rule.id).collect();
    assert_eq!(rules.difference(&planted).collect::<Vec<_>>(), Vec::<&&str>::new(), "rules without a breach");
    assert_eq!(planted.difference(&rules).collect::<Vec<_>>(), Vec::<&&str>::new(), "breaches without a rule");
}

/// A stream with the breach of one rule in it.
fn with(rule: &str) -> Observed {
    let plant = planted::all().into_iter().find(|plant| plant.rule == rule).unwrap();
    let mut observed = (plant.base)();
    (plant.mutate)(&mut observed);
    observed
}

#[test]
fn a_broken_must_is_a_breach_and_a_broken_should_only_if_strict() {
    for (rule, strict, outcome) in [
        ("V1.longest", false, Outcome::Breaches),
        ("V15.mime", false, Outcome::Clean),
        ("V15.mime", true, Outcome::Breaches),
    ] {
        let mut report = judge(&with(rule), &[]);
        report.strict = strict;
        assert_eq!(report.outcome(), outcome, "{rule}, strict {strict}");
    }
}

#[test]
fn an_accepted_should_is_told_with_its_reason_and_is_no_breach() {
    let accept = [("V15.mime".to_owned(), "our cache says otherwise".to_owned())];
    let mut report = judge(&with("V15.mime"), &accept);
    report.strict = true;
    assert_eq!(report.outcome(), Outcome::Clean);
    let text = report.to_string();
    assert!(text.contains("V15.mime SHOULD") && text.contains("accepted: our cache says otherwise"), "{text}");
    assert!(text.ends_with(" not looked at\n") && text.contains("0 SHOULD broken, 1 accepted"), "{text}");
}

#[tokio::test]
async fn only_shoulds_that_exist_can_be_accepted() {
    for id in ["V1.longest", "V99.nothing"] {
        let mut options = Options::new("http://127.0.0.1:9/x.m3u8");
        options.accept = vec![(id.to_owned(), "because".to_owned())];
        let error = run(options).await.unwrap_err();
        assert!(matches!(error, CannotLook::Accept { .. }), "{error}");
    }
}

#[test]
fn the_report_names_rule_level_place_and_mend_in_text_and_json() {
    let report = judge(&with("V1.longest"), &[]);
    let text = report.to_string();
    for part in ["V1.longest MUST: ", "  at   https://origin.example/hls/foo/high/index.m3u8:", "  mend EXTINF 2.6"] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    let finding = json["rules"].as_array().unwrap().iter().find(|rule| rule["id"] == "V1.longest").unwrap();
    assert_eq!(finding["level"], "MUST");
    assert_eq!(finding["status"], "broken");
    assert!(finding["breaches"][0]["place"]["line"].as_u64().is_some());
    assert!(finding["breaches"][0]["mend"].as_str().is_some());
}

/// Keeps three segments and little else, so that each case is quick.
fn small() -> Observed {
    let mut observed = live();
    for Watched { snapshots, .. } in &mut observed.playlists {
        snapshots.truncate(2);
        for fetch in snapshots {
            let Ok(answer) = &mut fetch.outcome else { continue };
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            let (head, _) = text.split_once("#EXT-X-MAP").unwrap_or((&text, ""));
            let lines: Vec<&str> = text.lines().collect();
            let tail = lines[lines.len().saturating_sub(24)..].join("\n");
            answer.body = Bytes::from(format!("{head}#EXT-X-MAP:URI=\"init-1.mp4\"\n{tail}\n"));
        }
    }
    observed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_that_a_server_sends_makes_the_rules_panic(
        spoils in prop::collection::vec((0usize..5, 0usize..2, 0.0..1.0f64, any::<u8>()), 1..40),
        files in prop::collection::vec((any::<prop::sample::Index>(), 0.0..1.0f64, any::<u8>()), 0..20),
    ) {
        let mut observed = small();
        for (playlist, moment, place, byte) in spoils {
            spoil(&mut observed.playlists[playlist].snapshots[moment], place, byte);
        }
        for (file, place, byte) in files {
            let count = observed.files.len();
            spoil(&mut observed.files[file.index(count)], place, byte);
        }
        let report = judge(&observed, &[]);
        prop_assert!(!report.to_string().is_empty() && !report.to_json().is_empty());
    }
}

/// Overwrites one byte of a body.
fn spoil(fetch: &mut super::observe::Fetch, place: f64, byte: u8) {
    let Ok(answer) = &mut fetch.outcome else { return };
    let mut body = answer.body.to_vec();
    let at = (body.len() as f64 * place) as usize;
    if let Some(slot) = body.get_mut(at) {
        *slot = byte;
    }
    answer.body = body.into();
}
