//! The window's rules, as tables.

use super::*;
use crate::hls::MediaPlaylist;

const SECOND: i64 = 90_000;
const SOURCE: Rendition = Rendition::Source;
const SMALL: Rendition = Rendition::Encoded(960);

fn window(window_s: u32) -> Window {
    let terms = Terms { anchor_ms: 1_795_195_500_000, target_s: 2, part_ms: 500, window_s };
    let mut window = Window::new(terms, 100, &[SOURCE, SMALL]);
    window.set_init(SOURCE, 100, "aaaaaaaaaaaaaaaa", 90_000);
    window.set_init(SMALL, 100, "bbbbbbbbbbbbbbbb", 90_000);
    window
}

/// Media time as UTC ms, in a world where both begin at 0.
fn now(ticks: i64) -> i64 {
    ticks / 90
}

fn whole(window: &mut Window, rendition: Rendition, msn: u64) -> bool {
    let closed = Closed { start: 0, ticks: 2 * SECOND, size: 500_000, first_chunk: 50_000 };
    window.complete(rendition, msn, closed)
}

/// Begins `count` slots of 2 s and completes all but the last on the source rung.
fn run(window: &mut Window, count: i64) {
    for number in 0..count {
        let start = window.end() + if number == 0 && window.newest().is_none() { 0 } else { 2 * SECOND };
        let msn = window.begin(start, false, now(start));
        if msn > 100 {
            whole(window, SOURCE, msn - 1);
        }
    }
}

/// A playlist's numbers: `-` a gap, `!` a discontinuity.
fn check(playlist: &MediaPlaylist, expected: &str) {
    let text: Vec<String> = (playlist.media_sequence..)
        .zip(&playlist.segments)
        .map(|(msn, segment)| {
            assert!(segment.uri.starts_with(&msn.to_string()));
            format!("{}{msn}{}", if segment.discontinuity { "!" } else { "" }, if segment.gap { "-" } else { "" })
        })
        .collect();
    assert_eq!(text.join(" "), expected);
}

#[test]
fn numbers_rise_by_one_and_begin_after_the_last_and_the_clock() {
    assert_eq!(first_number(None, 10_000_000, 2000), 5000);
    assert_eq!(first_number(Some(4000), 10_000_000, 2000), 5000);
    assert_eq!(first_number(Some(7000), 10_000_000, 2000), 7001);
    let mut window = window(120);
    assert_eq!([window.begin(0, false, 0), window.begin(2 * SECOND, false, 2000)], [100, 101]);
}

#[test]
fn renditions_stay_in_step_and_lists_end_at_what_is_whole() {
    let mut window = window(120);
    run(&mut window, 3);
    whole(&mut window, SMALL, 100);
    check(&window.playlist(SOURCE).unwrap(), "100 101");
    check(&window.playlist(SMALL).unwrap(), "100");
    assert_eq!(window.tip(SMALL), Tip { open: 101, parts: 0, last_parts: 0, ended: false });
}

use crate::hls::reload::Tip;

#[test]
fn a_rung_that_is_too_far_behind_gets_gaps_and_late_segments_are_refused() {
    let mut window = window(120);
    run(&mut window, 4);
    whole(&mut window, SMALL, 101);
    assert!(!window.give_up_late(6000), "4 s after its end there is still hope");
    assert!(window.playlist(SMALL).unwrap().segments.is_empty());
    assert!(window.give_up_late(6001));
    check(&window.playlist(SMALL).unwrap(), "100- 101");
    assert!(!whole(&mut window, SMALL, 100), "given up");
    assert!(window.give_up_late(10_001));
    check(&window.playlist(SMALL).unwrap(), "100- 101 102-");
}

#[test]
fn a_gap_is_listed_when_its_slot_has_ended() {
    let mut window = window(120);
    run(&mut window, 2);
    window.gap(SOURCE, 101);
    check(&window.playlist(SOURCE).unwrap(), "100");
    window.begin(4 * SECOND, false, 4000);
    check(&window.playlist(SOURCE).unwrap(), "100 101-");
}

#[test]
fn discontinuities_stand_in_every_rung_and_are_counted_when_they_leave() {
    let mut window = window(12);
    run(&mut window, 3);
    window.close(5 * SECOND, 5000);
    whole(&mut window, SOURCE, 102);
    window.begin(9 * SECOND, true, 9000);
    run(&mut window, 5);
    check(&window.playlist(SOURCE).unwrap(), "100 101 102 !103 104 105 106 107");
    assert_eq!(window.expire(), [100, 101]);
    run(&mut window, 2);
    assert_eq!(window.expire(), [102, 103]);
    let playlist = window.playlist(SOURCE).unwrap();
    check(&playlist, "104 105 106 107 108 109");
    assert_eq!(playlist.discontinuity_sequence, 1);
}

#[test]
fn the_first_segment_of_an_epoch_is_no_discontinuity() {
    let mut window = window(120);
    window.begin(0, true, 0);
    assert!(!window.newest().unwrap().1.discontinuity);
}

#[test]
fn at_least_six_segments_stay() {
    let mut window = window(2);
    run(&mut window, 10);
    assert_eq!(window.expire(), [100, 101, 102, 103]);
}

#[test]
fn parts_are_listed_within_three_targets_of_the_end_and_hinted_next() {
    let mut window = window(120);
    for _ in 0..6 {
        run(&mut window, 1);
        let (msn, _) = window.newest().unwrap();
        for part in 0..3 {
            window.add_part(SOURCE, msn, 45_000, part == 0);
        }
    }
    let playlist = window.playlist(SOURCE).unwrap();
    let parts: Vec<usize> = playlist.segments.iter().map(|segment| segment.parts.len()).collect();
    assert_eq!(parts, [0, 0, 3, 3, 3]);
    assert_eq!(playlist.open.unwrap().parts.len(), 3);
    assert_eq!(playlist.hint.as_deref(), Some("105.3.m4s"));
    assert_eq!(window.tip(SOURCE), Tip { open: 105, parts: 3, last_parts: 3, ended: false });
}

#[test]
fn reports_tell_how_far_the_others_are() {
    let mut window = window(120);
    run(&mut window, 2);
    window.add_part(SOURCE, 101, 45_000, true);
    whole(&mut window, SMALL, 100);
    let report = &window.playlist(SMALL).unwrap().reports[0];
    assert_eq!((report.uri.as_str(), report.last_msn, report.last_part), ("../source/index.m3u8", 101, Some(0)));
}

#[test]
fn an_ended_epoch_lists_everything_and_says_so() {
    let mut window = window(120);
    run(&mut window, 3);
    window.close(6 * SECOND, 6000);
    whole(&mut window, SOURCE, 102);
    whole(&mut window, SMALL, 100);
    window.end_epoch();
    check(&window.playlist(SOURCE).unwrap(), "100 101 102");
    let small = window.playlist(SMALL).unwrap();
    check(&small, "100 101- 102-");
    assert!(small.ended && small.hint.is_none());
    assert!(window.playlist(SOURCE).unwrap().segments.iter().all(|segment| segment.parts.is_empty()));
}

#[test]
fn a_restart_keeps_what_is_on_disk_and_the_number_of_what_was_in_progress() {
    let mut window = window(120);
    run(&mut window, 4);
    let text = serde_json::to_string(&window).unwrap();
    let mut restored: Window = serde_json::from_str(&text).unwrap();
    restored.restore(|rendition, file| rendition == SOURCE && *file != File::Segment(101));
    check(&restored.playlist(SOURCE).unwrap(), "100 101- 102 103-");
    assert_eq!(restored.next_number(), 104);
    assert_eq!(restored.begin(20 * SECOND, true, 20_000), 104);
}

#[test]
fn a_gap_in_progress_hints_at_the_segment_after_it() {
    let mut window = window(120);
    run(&mut window, 2);
    window.gap(SOURCE, 101);
    assert_eq!(window.next_part(SOURCE), Some((102, 0)));
}

#[test]
fn a_segment_of_a_few_pictures_does_not_count_as_peak() {
    let mut window = window(120);
    run(&mut window, 2);
    window.close(2 * SECOND + 3000, 2033);
    window.complete(SOURCE, 101, Closed { start: 0, ticks: 3000, size: 500_000, first_chunk: 500_000 });
    assert_eq!(window.rates(SOURCE).peak, 2_000_000);
}

#[test]
fn bit_rates_are_measured() {
    let mut window = window(120);
    run(&mut window, 2);
    let rates = window.rates(SOURCE);
    assert_eq!((rates.peak, rates.average(), rates.iframes_peak), (2_000_000, 2_000_000, 200_000));
}
