//! The window's rules, as tables.

use super::*;
use crate::hls::{MediaPlaylist, Segment};

const SECOND: i64 = 90_000;
const SOURCE: Rendition = Rendition::Source;
const SMALL: Rendition = Rendition::Encoded(960);

fn window(window_s: u32) -> Window {
    let terms = Terms { anchor_ms: 1_795_195_500_000, target_s: 2, part_ms: 500, window_s, dvr_s: 0, protect: None };
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

/// The same with `dvr_s` of 60 and a recording that goes on.
fn long_window(window_s: u32) -> Window {
    let mut window = window(window_s);
    window.terms.dvr_s = 60;
    window.set_recording(true);
    window
}

/// One more slot of 2 s; what is whole of the one before it is recorded if `recorded` says so. Returns what left.
fn step(window: &mut Window, recorded: impl Fn(Rendition, u64) -> bool) -> Vec<u64> {
    run(window, 1);
    if let Some(msn) = window.newest().map(|(msn, _)| msn - 1).filter(|msn| *msn >= 100) {
        if msn % 7 != 3 {
            whole(window, SMALL, msn);
        }
        for rendition in [SOURCE, SMALL] {
            if recorded(rendition, msn) {
                window.recorded(rendition, msn);
            }
        }
    }
    window.expire()
}

/// First number listed, how many are listed before the live window, and the first number of that.
fn listed(window: &Window) -> (u64, usize, u64) {
    let playlist = window.playlist(SOURCE).unwrap();
    let text = playlist.render();
    let (_, parsed) = m3u8_rs::parse_media_playlist(text.as_bytes()).unwrap();
    assert_eq!(parsed.segments.len(), playlist.past.len() + playlist.segments.len());
    assert_eq!(parsed.segments[0].uri, format!("{}.m4s", parsed.media_sequence));
    assert_eq!(parsed.media_sequence, window.listed_from());
    (parsed.media_sequence, playlist.past.len(), playlist.media_sequence)
}

#[test]
fn what_is_recorded_stays_listed_behind_the_live_window_and_no_longer_than_asked() {
    let mut window = long_window(12);
    let left: Vec<u64> = (0..20).flat_map(|_| step(&mut window, |_, _| true)).collect();
    assert_eq!(left, (100..113).collect::<Vec<_>>(), "the live window forgets as it always does");
    assert_eq!(listed(&window), (100, 13, 113));
    assert_eq!(window.recall(SOURCE, &File::Segment(100)), Recall::Listed);
    for (rendition, msn, expected) in
        [(SMALL, 101, Recall::No), (SMALL, 102, Recall::Listed), (SOURCE, 113, Recall::No)]
    {
        assert_eq!(window.recall(rendition, &File::Segment(msn)), expected, "{rendition} {msn}");
    }
    (0..40).for_each(|_| drop(step(&mut window, |_, _| true)));
    // 60 s of whole segments and one that is partly out, as in the live window.
    assert_eq!(listed(&window), (129, 24, 153));
    assert_eq!(
        window.recall(SOURCE, &File::Segment(128)),
        Recall::Perhaps,
        "players may still have a playlist with it"
    );
    assert_eq!(window.recall(SOURCE, &File::Init("aaaaaaaaaaaaaaaa".to_owned())), Recall::Listed);
}

#[test]
fn a_recording_that_stops_ends_the_list_at_what_it_lacks() {
    let mut window = long_window(12);
    (0..20).for_each(|_| drop(step(&mut window, |_, msn| msn < 115)));
    assert_eq!(listed(&window), (100, 13, 113), "so far all that left is recorded");
    window.set_recording(false);
    (0..2).for_each(|_| drop(step(&mut window, |_, _| false)));
    assert_eq!(listed(&window), (100, 15, 115));
    step(&mut window, |_, _| false);
    assert_eq!(listed(&window), (116, 0, 116), "115 is nowhere any more, so nothing before it can be listed");
    assert_eq!(window.recall(SOURCE, &File::Segment(114)), Recall::Perhaps);
    assert_eq!(window.recall(SOURCE, &File::Segment(115)), Recall::No);
    // It begins again.
    window.set_recording(true);
    (0..14).for_each(|_| drop(step(&mut window, |_, _| true)));
    assert_eq!(listed(&window), (122, 8, 130));
}

#[test]
fn one_rung_that_is_not_recorded_is_enough() {
    let mut window = long_window(12);
    window.set_recording(false);
    (0..20).for_each(|_| drop(step(&mut window, |rendition, _| rendition == SOURCE)));
    assert_eq!(listed(&window).1, 0);
}

#[test]
fn a_slow_recorder_is_waited_for_as_long_again_as_the_window_is() {
    let mut window = long_window(12);
    (0..12).for_each(|_| assert!(step(&mut window, |_, _| false).is_empty()));
    assert_eq!(listed(&window), (100, 0, 100));
    for msn in 100..112 {
        window.recorded(SOURCE, msn);
        window.recorded(SMALL, msn);
    }
    assert_eq!(step(&mut window, |_, _| false), [100, 101, 102, 103, 104, 105], "all that it has caught up with");
    assert_eq!(listed(&window), (100, 6, 106));
    (0..12).for_each(|_| drop(step(&mut window, |_, _| false)));
    assert_eq!(listed(&window), (113, 0, 113), "then no more");
}

#[test]
fn without_a_recording_or_the_wish_nothing_is_listed_longer() {
    for (dvr_s, recording) in [(0, true), (12, true), (60, false)] {
        let mut window = window(12);
        window.terms.dvr_s = dvr_s;
        window.set_recording(recording);
        (0..20).for_each(|_| drop(step(&mut window, |_, _| dvr_s != 60)));
        assert_eq!(listed(&window), (113, 0, 113), "{dvr_s} {recording}");
    }
}

#[test]
fn discontinuities_are_counted_when_they_leave_the_list_and_not_the_live_window() {
    let mut window = long_window(12);
    (0..3).for_each(|_| drop(step(&mut window, |_, _| true)));
    window.close(window.end() + 2 * SECOND, 0);
    whole(&mut window, SOURCE, 102);
    whole(&mut window, SMALL, 102);
    window.recorded(SOURCE, 102);
    window.recorded(SMALL, 102);
    window.begin(window.end() + 3 * SECOND, true, 0);
    (0..10).for_each(|_| drop(step(&mut window, |_, _| true)));
    let sequences = |window: &Window| {
        let text = window.playlist(SOURCE).unwrap().render();
        let (_, parsed) = m3u8_rs::parse_media_playlist(text.as_bytes()).unwrap();
        (parsed.discontinuity_sequence, parsed.segments.iter().filter(|segment| segment.discontinuity).count())
    };
    assert!(window.numbers().start > 103);
    assert_eq!(sequences(&window), (0, 1));
    (0..30).for_each(|_| drop(step(&mut window, |_, _| true)));
    assert_eq!(sequences(&window), (1, 0));
}

#[test]
fn a_restart_finds_what_is_past_in_the_recordings_journal() {
    let mut window = long_window(12);
    let mut journal = Vec::new();
    for _ in 0..20 {
        step(&mut window, |_, _| true);
        window.give_up_late(now(window.end()) + 10_000);
        for rendition in [SOURCE, SMALL] {
            let Some(playlist) = window.playlist(rendition) else { continue };
            let noted =
                |msn: u64| journal.iter().any(|(r, n, _): &(Rendition, u64, Segment)| (*r, *n) == (rendition, msn));
            let new: Vec<_> =
                (playlist.media_sequence..).zip(playlist.segments).filter(|(msn, _)| !noted(*msn)).collect();
            journal.extend(new.into_iter().map(|(msn, segment)| (rendition, msn, segment)));
        }
    }
    let text = serde_json::to_string(&window).unwrap();
    assert!(!text.contains("past"), "what is past is not written with every segment: {text}");
    let mut restored: Window = serde_json::from_str(&text).unwrap();
    restored.restore(|_, _| true);
    restored.recover(journal.clone());
    assert_eq!(listed(&restored), (100, 13, 113));
    let past = |window: &Window, rendition| window.playlist(rendition).unwrap().past;
    for rendition in [SOURCE, SMALL] {
        assert_eq!(past(&restored, rendition), past(&window, rendition), "{rendition}");
    }
    // It goes on, with what was recorded of the live window before.
    restored.set_recording(true);
    restored.begin(60 * SECOND, true, 60_000);
    (0..8).for_each(|_| drop(step(&mut restored, |_, _| true)));
    assert!(listed(&restored).1 > 13, "{:?}", listed(&restored));
    // A hole in the journal ends it.
    let mut restored: Window = serde_json::from_str(&text).unwrap();
    journal.retain(|(_, msn, _)| *msn != 107);
    restored.recover(journal.clone());
    assert_eq!(listed(&restored), (108, 5, 113));
    // What has left the list does not come back to it.
    window.set_recording(false);
    (0..9).for_each(|_| drop(step(&mut window, |_, _| false)));
    let text = serde_json::to_string(&window).unwrap();
    let mut restored: Window = serde_json::from_str(&text).unwrap();
    let gone = listed(&window);
    let again = |msn: u64| Segment { uri: format!("{msn}.m4s"), date_ms: msn as i64 * 2000, ..Segment::default() };
    restored.recover((100..gone.0).map(|msn| (SOURCE, msn, again(msn))).collect());
    assert_eq!(listed(&restored), gone);
}
