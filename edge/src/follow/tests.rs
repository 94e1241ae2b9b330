//! Two or three origins, step by step.

mod walks;

use super::*;
use crate::failure::Failure;
use crate::playlist::Text;
use ::media::hls::{MediaPlaylist, PartLine, Segment};
use std::sync::Arc;
use std::time::{Duration, Instant};

const PART_MS: u64 = 500;
const TRACK: Track = Track { rendition: Rendition::Source, iframes: false };
const SOUND: Track = Track { rendition: Rendition::Audio, iframes: false };

/// An origin's playlist. `lineage` marks what is its own; `skew` is how many segments its numbers are ahead.
#[derive(Clone, Copy)]
struct Version {
    lineage: u64,
    skew: u64,
    open: u64,
    parts: u32,
    parted: bool,
    ended: bool,
}

fn lineage(lineage: u64) -> Version {
    Version { lineage, skew: 0, open: 0, parts: 0, parted: true, ended: false }
}

impl Version {
    fn at(self, open: u64, parts: u32) -> Self {
        Self { open, parts, ..self }
    }

    fn skewed(self, skew: u64) -> Self {
        Self { skew, ..self }
    }

    fn text(self) -> Arc<Text> {
        let part =
            |number: u64, i: u32| PartLine { uri: format!("{number}.{i}.m4s"), seconds: 0.5, independent: i == 0 };
        let segment = |number: u64, parts: u32| Segment {
            uri: format!("{number}.m4s"),
            seconds: 2.0,
            map: format!("init-{:016x}.mp4", self.lineage),
            date_ms: 1_795_195_500_000 + number.saturating_sub(self.skew) as i64 * 2000,
            parts: (0..parts).map(|i| part(number, i)).collect(),
            ..Segment::default()
        };
        let parts = |number| if self.parted && number + 3 > self.open { 4 } else { 0 };
        let first = self.open.saturating_sub(5);
        let playlist = MediaPlaylist {
            target_s: 2,
            part_ms: PART_MS as u32,
            media_sequence: first,
            segments: (first..self.open).map(|number| segment(number, parts(number))).collect(),
            open: Some(segment(self.open, self.parts)),
            hint: Some(format!("{}.{}.m4s", self.open, self.parts)),
            ended: self.ended,
            ..MediaPlaylist::default()
        };
        let mut text = playlist.render();
        if !self.parted {
            text = text
                .lines()
                .filter(|line| {
                    !["#EXT-X-PART", "#EXT-X-SERVER", "#EXT-X-PRELOAD"].iter().any(|tag| line.starts_with(tag))
                })
                .map(|line| format!("{line}\n"))
                .collect();
        }
        Arc::new(Text::parse(text).unwrap())
    }
}

/// A stream under test, and a clock in milliseconds.
struct Bench {
    stream: Stream,
    begin: Instant,
    ms: u64,
}

impl Bench {
    fn new(origins: usize) -> Self {
        let begin = Instant::now();
        let timing = Timing { target: Duration::from_secs(2), idle: Duration::from_secs(10) };
        let mut bench = Self { stream: Stream::new(origins, timing, 1, begin), begin, ms: 0 };
        bench.asked(TRACK);
        bench
    }

    fn now(&self) -> Instant {
        self.begin + Duration::from_millis(self.ms)
    }

    fn at(&mut self, ms: u64) -> &mut Self {
        assert!(ms >= self.ms, "time goes forward");
        self.ms = ms;
        self.stream.on(Event::Tick, self.now());
        self
    }

    fn asked(&mut self, track: Track) {
        let now = self.now();
        self.stream.on(Event::Asked(track), now);
    }

    fn outcome(&mut self, track: Track, origin: usize, outcome: Outcome) -> &mut Self {
        let now = self.now();
        self.stream.on(Event::Answered(track, origin, outcome), now);
        self
    }

    fn gives(&mut self, origin: usize, version: Version) -> &mut Self {
        self.gives_of(TRACK, origin, version)
    }

    fn gives_of(&mut self, track: Track, origin: usize, version: Version) -> &mut Self {
        self.outcome(track, origin, Outcome::Playlist(version.text(), Duration::ZERO, None))
    }

    fn fails(&mut self, origin: usize) -> &mut Self {
        self.outcome(TRACK, origin, Outcome::Failed(Failure::Unreachable("gone".into())))
    }

    /// Lets the ETags of the origin be compared, if they are to be.
    fn compares(&mut self, origin: usize, same: bool) -> &mut Self {
        let now = self.now();
        let due = self.stream.due_comparison(TRACK, origin, now).expect("a comparison is due");
        self.stream.on(Event::Compared(due, Some(same)), now);
        self
    }

    /// Two origins that agree, both at this place.
    fn pair(open: u64, parts: u32) -> Self {
        let mut bench = Self::new(2);
        bench.gives(0, lineage(1).at(open, parts)).gives(1, lineage(1).at(open, parts)).compares(1, true);
        bench
    }

    #[track_caller]
    fn shows(&mut self, open: u64, parts: u32, lead: usize) -> &mut Self {
        let tip = self.shown(TRACK).facts.tip;
        assert_eq!((tip.open, tip.parts, self.stream.lead()), (open, parts, Some(lead)), "at {} ms", self.ms);
        self
    }

    fn shown(&self, track: Track) -> Arc<Text> {
        Arc::clone(&self.stream.shown(track).expect("something is shown").text)
    }

    fn look(&self) -> &'static str {
        match self.stream.look(TRACK, self.now()) {
            Look::Shown(false) => "shown",
            Look::Shown(true) => "stale",
            Look::Missing => "missing",
            Look::Failed(_) => "failed",
            Look::NotYet => "not yet",
        }
    }
}

#[test]
fn the_preferred_origin_leads_and_the_next_is_watched() {
    let mut bench = Bench::new(3);
    assert_eq!(bench.stream.wanted(bench.now()), [(TRACK, 0), (TRACK, 1)]);
    assert_eq!(bench.look(), "not yet");
    bench.gives(1, lineage(1).at(9, 1));
    assert_eq!(bench.look(), "not yet", "the preferred one has a moment");
    bench.at(100).gives(0, lineage(2).at(9, 0)).shows(9, 0, 0);
    assert_eq!(bench.look(), "shown");
}

#[test]
fn the_next_leads_at_once_where_the_preferred_is_gone_and_soon_where_it_is_silent() {
    let mut bench = Bench::new(2);
    bench.fails(0).gives(1, lineage(1).at(9, 1)).shows(9, 1, 1);
    let mut bench = Bench::new(2);
    bench.gives(1, lineage(1).at(9, 1)).at(299);
    assert_eq!(bench.look(), "not yet");
    bench.at(300).shows(9, 1, 1);
}

#[test]
fn of_two_that_agree_the_furthest_is_shown_whoever_leads() {
    let mut bench = Bench::pair(9, 1);
    bench.shows(9, 1, 0);
    bench.at(500).gives(1, lineage(1).at(9, 2)).shows(9, 2, 0);
    bench.at(510).gives(0, lineage(1).at(9, 2)).shows(9, 2, 0);
    assert!(bench.stream.is_plain());
    assert_eq!(bench.stream.source(TRACK, 8).unwrap().origins, [0, 1]);
}

#[test]
fn one_that_agrees_takes_over_without_a_trace_and_hands_back_after_half_a_minute() {
    let mut bench = Bench::pair(9, 1);
    for step in 1..=3u64 {
        bench.at(step * 500).gives(1, lineage(1).at(9, 1 + step as u32));
    }
    bench.shows(9, 4, 1);
    assert!(bench.stream.is_plain() && bench.shown(TRACK).all == lineage(1).at(9, 4).text().all);
    // It comes back and is well.
    for second in 2..=33u64 {
        bench.at(second * 1000);
        bench.asked(TRACK);
        bench.gives(0, lineage(1).at(8 + second, 0)).gives(1, lineage(1).at(8 + second, 0));
    }
    assert_eq!(bench.stream.lead(), Some(0));
}

#[test]
fn a_dead_one_is_passed_over_at_once_by_one_that_agrees() {
    let mut bench = Bench::pair(9, 1);
    bench.at(100).fails(0).at(200).fails(0);
    bench.at(500).gives(1, lineage(1).at(9, 2)).shows(9, 2, 1);
    assert_eq!(bench.stream.source(TRACK, 9).unwrap().origins, [1, 0]);
}

#[test]
fn one_that_does_not_agree_takes_over_with_a_break_and_numbers_go_on() {
    let mut bench = Bench::new(2);
    bench.asked(SOUND);
    for track in [TRACK, SOUND] {
        bench.gives_of(track, 0, lineage(1).at(100, 2)).gives_of(track, 1, lineage(2).skewed(7).at(107, 1));
    }
    // The one that leads is frozen; the other goes on.
    bench.at(500).gives(1, lineage(2).skewed(7).at(107, 2)).shows(100, 2, 0);
    bench.at(849).gives_of(SOUND, 1, lineage(2).skewed(7).at(107, 3)).shows(100, 2, 0);
    bench.at(850).shows(101, 2, 1);
    let text = bench.shown(TRACK).all.clone();
    let tail = text.split("99.m4s\n").nth(1).unwrap();
    assert_eq!(
        tail,
        "#EXT-X-GAP\n#EXTINF:0.001000,\n100.m4s\n#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"init-0000000000000002.mp4\"\n\
         #EXT-X-PROGRAM-DATE-TIME:2026-11-20T17:28:20.000Z\n\
         #EXT-X-PART:DURATION=0.500000,URI=\"101.0.m4s\",INDEPENDENT=YES\n\
         #EXT-X-PART:DURATION=0.500000,URI=\"101.1.m4s\"\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"101.2.m4s\"\n"
    );
    let sound = bench.shown(SOUND).all.clone();
    assert!(sound.contains("100.m4s\n#EXT-X-DISCONTINUITY\n") && sound.contains("101.2.m4s"), "{sound}");
    // Media stay with those who have them, under the numbers that they know.
    let (old, new) = (bench.stream.source(TRACK, 99).unwrap(), bench.stream.source(TRACK, 101).unwrap());
    assert_eq!((old.origins, old.number), (vec![0], 99));
    assert_eq!((new.origins, new.number), (vec![1], 107));
    assert!(old.lineage != new.lineage);
}

#[test]
fn the_break_leaves_the_window_and_is_counted() {
    let mut bench = Bench::new(2);
    bench.gives(0, lineage(1).at(100, 0)).gives(1, lineage(2).at(100, 1));
    bench.at(850).gives(1, lineage(2).at(100, 2)).shows(100, 2, 1);
    let mut before = 0;
    for number in 101..110u64 {
        bench.at(number * 2000);
        bench.asked(TRACK);
        bench.gives(1, lineage(2).at(number, 0)).shows(number, 0, 1);
        let shown = bench.shown(TRACK);
        assert!(shown.first() >= before && shown.segments().len() <= 7, "{}", shown.all);
        before = shown.first();
        let discs: Vec<u64> = shown.segments().iter().map(|block| u64::from(block.number >= 100)).collect();
        let told: Vec<u64> = shown.segments().iter().map(|block| block.disc).collect();
        assert_eq!(told, discs, "{}", shown.all);
    }
    assert!(before > 100 && bench.shown(TRACK).all.contains("#EXT-X-DISCONTINUITY-SEQUENCE:1\n"));
}

#[test]
fn who_lost_the_lead_comes_back_without_anybody_noticing() {
    let mut bench = Bench::new(2);
    bench.gives(0, lineage(1).at(100, 0)).gives(1, lineage(2).at(100, 1));
    bench.at(850).gives(1, lineage(2).at(100, 2)).shows(100, 2, 1);
    for step in 0..80u64 {
        bench.at(1000 + step * 500);
        bench.asked(TRACK);
        let (open, parts) = (101 + step / 4, (step % 4) as u32);
        bench.gives(0, lineage(1).at(open, parts)).gives(1, lineage(2).at(open, parts)).shows(open, parts, 1);
    }
}

#[test]
fn where_nobody_advances_nothing_changes() {
    let mut bench = Bench::new(2);
    bench.gives(0, lineage(1).at(100, 2)).gives(1, lineage(2).at(100, 1));
    for step in 1..20 {
        bench.at(step * 500);
        bench.asked(TRACK);
        bench.gives(0, lineage(1).at(100, 2)).gives(1, lineage(2).at(100, 1)).shows(100, 2, 0);
        assert_eq!(bench.look(), "shown");
    }
}

#[test]
fn a_silent_one_that_wakes_up_in_time_keeps_the_lead() {
    let mut bench = Bench::new(2);
    bench.gives(0, lineage(1).at(100, 0)).gives(1, lineage(2).at(100, 0));
    for step in 1..8u64 {
        // Each of its parts is late by two fifths.
        bench.at(step * 500).gives(1, lineage(2).at(100, step as u32));
        bench.at(step * 500 + 200).gives(0, lineage(1).at(100, step as u32)).shows(100, step as u32, 0);
    }
}

#[test]
fn a_playlist_without_parts_loses_after_one_and_a_half_targets() {
    let plain = |number| Version { parted: false, ..lineage(number) };
    let mut bench = Bench::new(2);
    bench.gives(0, plain(1).at(100, 0)).gives(1, plain(2).at(100, 0));
    bench.at(2000).gives(1, plain(2).at(101, 0));
    bench.at(3099).shows(100, 0, 0);
    bench.at(3100).shows(101, 0, 1);
    assert!(bench.shown(TRACK).all.contains("99.m4s\n#EXT-X-DISCONTINUITY\n"), "{}", bench.shown(TRACK).all);
}

#[test]
fn what_is_shown_never_goes_back() {
    let mut bench = Bench::new(1);
    bench.gives(0, lineage(1).at(100, 2));
    bench.at(500).gives(0, lineage(1).at(98, 1)).shows(100, 2, 0);
    // It catches up: the same stream, a bit behind.
    for step in 1..40u64 {
        let (open, parts) = (98 + step / 4, (step % 4) as u32);
        bench.at(500 + step * 500).gives(0, lineage(1).at(open, parts));
        bench.asked(TRACK);
        let tip = bench.shown(TRACK).facts.tip;
        assert_eq!((tip.open, tip.parts), (open, parts).max((100, 2)));
    }
    assert!(bench.stream.is_plain());
}

#[test]
fn one_that_lost_its_memory_goes_on_behind_a_break() {
    let mut bench = Bench::new(1);
    bench.gives(0, lineage(1).at(100, 2));
    bench.at(1000).gives(0, lineage(3).at(5, 1)).shows(100, 2, 0);
    bench.at(2999).gives(0, lineage(3).at(6, 0)).shows(100, 2, 0);
    bench.at(3000).gives(0, lineage(3).at(6, 1));
    let shown = bench.shown(TRACK);
    assert_eq!((shown.facts.tip.open, shown.facts.tip.parts), (101, 1), "{}", shown.all);
    assert_eq!(bench.stream.source(TRACK, 101).unwrap().number, 6);
}

#[test]
fn an_end_is_told_unless_another_goes_on() {
    let mut bench = Bench::pair(9, 1);
    let ended = |open| Version { ended: true, ..lineage(1).at(open, 0) };
    bench.at(500).gives(1, lineage(1).at(9, 2));
    bench.at(600).gives(0, ended(10));
    assert!(!bench.shown(TRACK).facts.tip.ended);
    bench.at(1000).gives(1, lineage(1).at(9, 3));
    assert!(!bench.shown(TRACK).facts.tip.ended);
    bench.at(1500).gives(1, ended(10));
    assert!(bench.shown(TRACK).facts.tip.ended);
}

#[test]
fn what_stands_in_does_so_for_three_targets() {
    let mut bench = Bench::new(1);
    bench.gives(0, lineage(1).at(9, 1));
    assert_eq!(bench.look(), "shown");
    bench.at(1000).fails(0);
    assert_eq!(bench.look(), "stale");
    bench.at(6999).fails(0);
    assert_eq!(bench.look(), "stale");
    bench.at(7000);
    assert_eq!(bench.look(), "failed");
    bench.gives(0, lineage(1).at(9, 1));
    assert_eq!(bench.look(), "shown");
}

#[test]
fn what_no_origin_has_is_missing_once_both_have_said_so() {
    let mut bench = Bench::new(2);
    bench.outcome(TRACK, 0, Outcome::Missing);
    assert_eq!(bench.look(), "not yet");
    bench.outcome(TRACK, 1, Outcome::Missing);
    assert_eq!(bench.look(), "missing");
}

#[test]
fn a_moment_of_404_costs_nothing() {
    let mut bench = Bench::new(1);
    bench.gives(0, lineage(1).at(9, 1));
    for ms in [500, 1000, 1500, 2000, 2500] {
        bench.at(ms).outcome(TRACK, 0, Outcome::Missing);
        assert_eq!(bench.look(), "stale");
    }
    bench.at(3000).gives(0, lineage(1).at(10, 2)).shows(10, 2, 0);
}

#[test]
fn a_pin_holds_whatever_happens_and_ends_with_it() {
    let mut bench = Bench::pair(9, 1);
    let now = bench.now();
    bench.stream.on(Event::Pinned(Some(1)), now);
    bench.shows(9, 1, 1);
    for step in 1..10u64 {
        bench.at(step * 500).gives(0, lineage(1).at(9, 1 + step as u32));
    }
    assert_eq!(bench.stream.lead(), Some(1));
    let now = bench.now();
    bench.stream.on(Event::Pinned(None), now);
    assert_eq!(bench.stream.lead(), Some(0));
}

#[test]
fn pinned_to_one_that_does_not_agree_it_goes_on_there_with_a_break() {
    let mut bench = Bench::new(2);
    bench.gives(0, lineage(1).at(100, 0)).gives(1, lineage(2).at(100, 1));
    let now = bench.now();
    bench.stream.on(Event::Pinned(Some(1)), now);
    bench.shows(100, 1, 1);
    assert!(bench.shown(TRACK).all.contains("#EXT-X-DISCONTINUITY\n"));
}

#[test]
fn nobody_is_followed_for_nobody() {
    let mut bench = Bench::pair(9, 1);
    bench.at(15_999);
    assert_eq!(bench.stream.wanted(bench.now()).len(), 2);
    bench.at(16_000);
    assert!(bench.stream.wanted(bench.now()).is_empty() && bench.stream.is_idle(bench.now()));
}

#[test]
fn a_rendition_that_is_watched_only_after_the_break_has_nothing_from_before_it() {
    let mut bench = Bench::new(2);
    bench.gives(0, lineage(1).at(100, 0)).gives(1, lineage(2).at(100, 1));
    bench.at(850).gives(1, lineage(2).at(100, 2)).shows(100, 2, 1);
    bench.asked(SOUND);
    bench.gives_of(SOUND, 1, lineage(2).at(101, 1));
    let shown = bench.shown(SOUND);
    assert_eq!((shown.first(), shown.facts.tip.open), (100, 101), "{}", shown.all);
    assert!(shown.all.contains("#EXT-X-DISCONTINUITY-SEQUENCE:1\n") && shown.all.contains("#EXT-X-MAP"));
}
