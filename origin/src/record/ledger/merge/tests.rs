//! What two origins have recorded, and what there is of it.

use super::super::{Line, Shape};
use super::*;
use crate::record::ledger::Entry;

const ANCHOR: i64 = 1_795_195_500_000;

/// `+7` is a segment, `-7` a gap.
fn ledger(name: &str, anchor_ms: i64, entries: &[i64]) -> Ledger {
    let mut ledger = Ledger::default();
    let session = format!("s-{}", entries.len());
    ledger.enter(Line::Session { name: name.to_owned(), session, began_ms: ANCHOR, rungs: true });
    ledger.enter(Line::Epoch { anchor_ms, target_s: 2, protect: false });
    ledger.enter(Line::Shape(Shape { fps: 30.0, ..Shape::default() }));
    for number in entries {
        ledger.enter(Line::Segment(Entry {
            rendition: "source".to_owned(),
            msn: number.unsigned_abs(),
            seconds: 2.0,
            date_ms: ANCHOR,
            gap: *number < 0,
            discontinuity: false,
            map: "init-0000000000000000.mp4".to_owned(),
            key: String::new(),
            bytes: 1,
            first_chunk: 1,
        }));
    }
    ledger
}

fn numbers(ledger: &Ledger) -> Vec<i64> {
    let entries = ledger.renditions.values().flat_map(BTreeMap::values);
    entries.map(|entry| if entry.gap { -(entry.msn as i64) } else { entry.msn as i64 }).collect()
}

#[test]
fn what_either_has_is_there() {
    for (what, mine, others, expected) in [
        ("the same", vec![1, 2, 3], vec![1, 2, 3], vec![1, 2, 3]),
        ("I came late and left early", vec![2], vec![1, 2, 3], vec![1, 2, 3]),
        ("I have more", vec![1, 2, 3], vec![2], vec![1, 2, 3]),
        ("gaps of mine", vec![1, -2, 3], vec![1, 2, -3], vec![1, 2, 3]),
        ("gaps of both", vec![1, -2, 3], vec![1, -2, 3], vec![1, -2, 3]),
        ("a gap of the other where I know nothing", vec![1], vec![-2, 3], vec![1, -2, 3]),
        ("nothing of mine", vec![], vec![1, 2], vec![1, 2]),
        ("nothing of the other", vec![1, 2], vec![], vec![1, 2]),
    ] {
        let (mut merged, others) = (ledger("foo", ANCHOR, &mine), ledger("foo", ANCHOR, &others));
        let mut reverse = others.clone();
        reverse.merge(&merged);
        merged.merge(&others);
        assert_eq!(numbers(&merged), expected, "{what}");
        assert_eq!(numbers(&reverse), expected, "{what}, the other way round");
        assert_eq!(reverse.session, others.session, "{what}: each stays its own session");
    }
}

#[test]
fn another_stream_or_epoch_is_no_sibling() {
    let mine = ledger("foo", ANCHOR, &[1]);
    let mut without_rungs = ledger("foo", ANCHOR, &[2]);
    without_rungs.rungs = false;
    for other in [ledger("bar", ANCHOR, &[2]), ledger("foo", ANCHOR + 1, &[2]), without_rungs, Ledger::default()] {
        let mut merged = mine.clone();
        merged.merge(&other);
        assert_eq!(merged, mine, "{other:?}");
    }
}

#[test]
fn what_is_not_in_the_store_is_a_gap() {
    for (missing, expected) in [
        ("nothing", vec![1, 2, -3]),
        ("2.m4s", vec![1, -2, -3]),
        ("3.m4s", vec![1, 2, -3]),
        ("init-0000000000000000.mp4", vec![-1, -2, -3]),
    ] {
        let mut ledger = ledger("foo", ANCHOR, &[1, 2, -3]);
        ledger.retain(|rendition, file| rendition == Rendition::Source && file != missing);
        assert_eq!(numbers(&ledger), expected, "without {missing}");
    }
}

#[test]
fn a_playlist_takes_the_place_of_one_that_has_less_and_of_no_other() {
    let playlist = |numbers: &[i64]| {
        let mut text = "#EXTM3U\n#EXT-X-MAP:URI=\"init-0000000000000000.mp4\"\n".to_owned();
        for number in numbers {
            let gap = if *number < 0 { "#EXT-X-GAP\n" } else { "" };
            text.push_str(&format!("{gap}#EXTINF:2.000000,\n{}.m4s\n", number.abs()));
        }
        text + "#EXT-X-ENDLIST\n"
    };
    for (new, old, expected) in [
        (vec![1, 2], vec![1], true),
        (vec![1, 2, 3], vec![1, -2, 3], true),
        (vec![1], vec![1], false),
        (vec![1], vec![1, 2], false),
        (vec![1, -2, 3], vec![1, 2], false),
        (vec![2, 3], vec![1], false),
        (vec![1], vec![], true),
        (vec![1, -2], vec![1], false),
    ] {
        assert_eq!(supersedes(&playlist(&new), &playlist(&old)), expected, "{new:?} over {old:?}");
    }
    let other = playlist(&[1, 2]).replace("2.000000", "1.966667");
    assert!(!supersedes(&other, &playlist(&[1])), "one that tells of other segments under the same names");
}
