//! A viewer as a table: what comes when, what it asks for, what became of it. No socket, no clock.

use super::super::ask::{Content, Failure};
use super::*;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use url::Url;

/// A stream as a server would have it at a moment: segments of 2 s, parts of 0.5 s, dated from 1000 s after 1970 on.
#[derive(Clone)]
struct Stream {
    /// Of the first segment that is listed.
    first: u64,
    /// Whole segments.
    segments: u64,
    /// Parts of the segment in the making; `None` without low latency.
    parts: Option<u64>,
    ended: bool,
    gaps: Vec<u64>,
    /// Segments whose numbers a break stands before; media before it are dated ten seconds earlier.
    discontinuity: Option<u64>,
}

impl Stream {
    fn live(segments: u64, parts: u64) -> Self {
        Self { first: 100, segments, parts: Some(parts), ended: false, gaps: Vec::new(), discontinuity: None }
    }

    fn plain(segments: u64) -> Self {
        Self { parts: None, ..Self::live(segments, 0) }
    }

    fn recording(segments: u64) -> Self {
        Self { ended: true, first: 0, ..Self::plain(segments) }
    }

    fn text(&self) -> String {
        let mut text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:{}\n", self.first);
        if self.parts.is_some() {
            text += "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12,PART-HOLD-BACK=1.5\n";
            text += "#EXT-X-PART-INF:PART-TARGET=0.5\n";
        }
        text += "#EXT-X-MAP:URI=\"init.mp4\"\n";
        let until = self.first + self.segments;
        for msn in self.first..until {
            if self.discontinuity == Some(msn) {
                text += "#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"init2.mp4\"\n";
            }
            let _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{}", self.date(msn));
            if self.parts.is_some() && msn + 2 >= until {
                text += &(0..4).map(|part| self.part(msn, part)).collect::<String>();
            }
            if self.gaps.contains(&msn) {
                text += "#EXT-X-GAP\n";
            }
            let _ = writeln!(text, "#EXTINF:2,\n{msn}.m4s");
        }
        if let Some(parts) = self.parts {
            text += &(0..parts).map(|part| self.part(until, part)).collect::<String>();
            let _ = writeln!(text, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{until}.{parts}.m4s\"");
        }
        if self.ended { text + "#EXT-X-ENDLIST\n" } else { text }
    }

    fn part(&self, msn: u64, part: u64) -> String {
        format!("#EXT-X-PART:DURATION=0.5,URI=\"{msn}.{part}.m4s\"\n")
    }

    fn date(&self, msn: u64) -> String {
        let early = if self.discontinuity.is_some_and(|at| msn < at) { 10 } else { 0 };
        let second = 1000 + (msn % 100) * 2 - early;
        format!("1970-01-01T00:{:02}:{:02}Z", second / 60, second % 60)
    }
}

/// A viewer and what it has asked for and told.
struct Bench {
    viewer: Viewer,
    now: f64,
    open: BTreeMap<u32, Ask>,
    notes: Vec<Note>,
    dropped: usize,
}

const LADDER: &str = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=500000,RESOLUTION=480x240\nlow.m3u8\n\
    #EXT-X-STREAM-INF:BANDWIDTH=4000000,RESOLUTION=1920x960\nhigh.m3u8\n";
const SOUND: &str = "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"a\",DEFAULT=YES,URI=\"a.m3u8\"\n\
    #EXT-X-STREAM-INF:BANDWIDTH=500000,AUDIO=\"a\"\nlow.m3u8\n";

fn settings() -> Settings {
    // The stream that begins at 1000 s has ten segments and a bit at 1020 s: the clock's zero.
    Settings { rung: RungChoice::Lowest, low_latency: true, hints: true, back: None, goal_s: 30.0, epoch: 1020.0 }
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let entry = Place::new(&Url::parse("http://h/m.m3u8").unwrap(), None).unwrap();
        let viewer = Viewer::new(settings, entry, 0.0);
        let mut bench = Self { viewer, now: 0.0, open: BTreeMap::new(), notes: Vec::new(), dropped: 0 };
        bench.collect();
        bench
    }

    /// A viewer that has the multivariant playlist.
    fn entered(settings: Settings, ladder: &str) -> Self {
        let mut bench = Self::new(settings);
        bench.answer("m.m3u8", |ask| Ok(Content::Ladder(Arc::new(Ladder::read(ladder, &ask.resource.place)?))));
        bench
    }

    fn collect(&mut self) {
        for output in self.viewer.take() {
            match output {
                Output::Get(ask) => drop(self.open.insert(ask.id, *ask)),
                Output::Drop(id) => {
                    assert!(self.open.remove(&id).is_some(), "only what is under way can be dropped");
                    self.dropped += 1;
                }
                Output::Note(note) => self.notes.push(note),
            }
        }
    }

    /// What is under way: kind, and the end of the address with its query.
    fn asked(&self) -> Vec<String> {
        let word = |ask: &Ask| format!("{} {}", ask.kind.word(), ask.target().as_str().trim_start_matches('/'));
        let mut words: Vec<String> = self.open.values().map(word).collect();
        words.sort();
        words
    }

    /// Answers the one request whose address begins so.
    fn answer(&mut self, path: &str, content: impl FnOnce(&Ask) -> Result<Content, Failure>) {
        self.answer_slowly(path, 100_000, 0.01, content);
    }

    /// The same, with so many bytes in so many seconds.
    fn answer_slowly(
        &mut self,
        path: &str,
        bytes: u64,
        seconds: f64,
        content: impl FnOnce(&Ask) -> Result<Content, Failure>,
    ) {
        let found = self.open.values().find(|ask| ask.target().as_str().trim_start_matches('/').starts_with(path));
        let id = found.unwrap_or_else(|| panic!("{path} was not asked for, but {:?}", self.asked())).id;
        let ask = self.open.remove(&id).unwrap();
        let result = content(&ask);
        self.viewer.reply(&Reply { id, first: self.now - seconds, done: self.now, bytes, result });
        self.collect();
    }

    fn listing(&mut self, path: &str, stream: &Stream) {
        let text = stream.text();
        self.answer(path, |ask| {
            Ok(Content::Listing(Arc::new(Listing::read(&text, &ask.resource.place, ask.base.as_deref())?)))
        });
    }

    fn media(&mut self, path: &str) {
        self.answer(path, |_| Ok(Content::Media));
    }

    fn fail(&mut self, path: &str, failure: Failure) {
        self.answer(path, |_| Err(failure));
    }

    /// Time passes, and the viewer is woken when it wants to be.
    fn pass(&mut self, until: f64) {
        while self.now < until {
            self.now = self.viewer.next_wake().max(self.now + 0.001).min(until);
            self.viewer.wake(self.now);
            self.collect();
        }
    }

    /// What was told, but for what is told every second and of every piece.
    fn events(&self) -> Vec<Note> {
        let often = |note: &Note| matches!(note, Note::Times { .. } | Note::Latency(_) | Note::Loaded { .. });
        self.notes.iter().copied().filter(|note| !often(note)).collect()
    }

    fn stalled(&self) -> f64 {
        self.notes.iter().map(|note| if let Note::Times { stalled, .. } = note { *stalled } else { 0.0 }).sum()
    }

    fn latency(&self) -> Option<f64> {
        self.notes.iter().rev().find_map(|note| if let Note::Latency(latency) = note { Some(*latency) } else { None })
    }

    /// A viewer of [`Stream::live`] with ten segments and a part, up to its first piece.
    fn live(settings: Settings) -> Self {
        let mut bench = Self::entered(settings, LADDER);
        bench.listing("low.m3u8", &Stream::live(10, 1));
        bench.media("init.mp4");
        bench
    }
}

#[test]
fn it_asks_for_the_ladder_then_a_low_rung_then_its_init_segment() {
    let mut bench = Bench::new(settings());
    assert_eq!(bench.asked(), ["multivariant m.m3u8"]);
    bench.answer("m.m3u8", |ask| Ok(Content::Ladder(Arc::new(Ladder::read(LADDER, &ask.resource.place)?))));
    assert_eq!(bench.asked(), ["playlist low.m3u8"]);
    bench.listing("low.m3u8", &Stream::live(10, 1));
    // The next part is 110.1, and a delta will do.
    assert_eq!(bench.asked(), ["init init.mp4", "reload low.m3u8?_HLS_msn=110&_HLS_part=1&_HLS_skip=YES"]);
    bench.media("init.mp4");
    // 1.5 s before the end lie in the last whole segment.
    assert_eq!(bench.asked()[1], "segment 109.m4s");
}

#[test]
fn it_begins_where_the_server_says_and_then_takes_parts_also_those_announced() {
    let mut bench = Bench::live(settings());
    bench.media("109.m4s");
    assert_eq!(bench.events(), [Note::Started(0.0)]);
    assert!(bench.asked().contains(&"part 110.0.m4s".to_owned()), "{:?}", bench.asked());
    bench.media("110.0.m4s");
    assert!(bench.asked().contains(&"hint 110.1.m4s".to_owned()), "{:?}", bench.asked());
    // It comes before it is listed: only then it counts.
    bench.pass(0.5);
    bench.media("110.1.m4s");
    let before = bench.viewer.ahead().until;
    bench.listing("low.m3u8", &Stream::live(10, 2));
    assert_eq!(bench.viewer.ahead().until, before + 0.5);
    assert!(bench.asked().contains(&"hint 110.2.m4s".to_owned()), "{:?}", bench.asked());
    // It is listed before it comes, as the last of its segment.
    bench.listing("low.m3u8", &Stream::live(10, 3));
    bench.media("110.2.m4s");
    bench.listing("low.m3u8", &Stream::live(11, 0));
    bench.media("110.3.m4s");
    assert!(bench.asked().contains(&"hint 111.0.m4s".to_owned()), "{:?}", bench.asked());
    assert_eq!(bench.events(), [Note::Started(0.0)]);
}

#[test]
fn without_hints_it_waits_for_what_is_listed() {
    let mut bench = Bench::live(Settings { hints: false, ..settings() });
    bench.media("109.m4s");
    bench.media("110.0.m4s");
    assert_eq!(bench.asked(), ["reload low.m3u8?_HLS_msn=110&_HLS_part=1&_HLS_skip=YES"]);
}

#[test]
fn without_low_latency_it_polls_and_takes_whole_segments() {
    let mut bench = Bench::entered(Settings { low_latency: false, ..settings() }, LADDER);
    bench.listing("low.m3u8", &Stream::live(10, 1));
    bench.media("init.mp4");
    // Three target durations before the end.
    assert_eq!(bench.asked(), ["segment 107.m4s"]);
    for segment in ["107.m4s", "108.m4s", "109.m4s"] {
        bench.media(segment);
    }
    assert_eq!(bench.asked(), [""; 0]);
    bench.pass(1.9);
    assert_eq!(bench.asked(), [""; 0]);
    bench.pass(2.0);
    assert_eq!(bench.asked(), ["playlist low.m3u8"]);
    // Nothing new: again after half a target duration.
    bench.listing("low.m3u8", &Stream::live(10, 1));
    bench.pass(2.9);
    assert_eq!(bench.asked(), [""; 0]);
    bench.pass(3.0);
    bench.listing("low.m3u8", &Stream::live(11, 1));
    assert_eq!(bench.asked(), ["segment 110.m4s"]);
}

#[test]
fn a_reload_that_brings_nothing_is_not_repeated_at_once() {
    let mut bench = Bench::live(settings());
    bench.listing("low.m3u8", &Stream::live(10, 1));
    assert!(!bench.asked().iter().any(|asked| asked.contains("m3u8")), "{:?}", bench.asked());
    bench.pass(1.0);
    assert!(bench.asked().contains(&"playlist low.m3u8".to_owned()), "{:?}", bench.asked());
    bench.listing("low.m3u8", &Stream::live(10, 2));
    assert!(bench.asked().iter().any(|asked| asked.starts_with("reload")), "{:?}", bench.asked());
}

#[test]
fn a_useless_delta_is_followed_by_a_whole_playlist() {
    let mut bench = Bench::live(settings());
    bench.fail("low.m3u8", Failure::Delta);
    bench.pass(1.0);
    assert!(bench.asked().contains(&"reload low.m3u8?_HLS_msn=110&_HLS_part=1".to_owned()), "{:?}", bench.asked());
}

#[test]
fn a_stall_is_told_with_its_length() {
    let mut bench = Bench::live(settings());
    bench.media("109.m4s");
    // From 0.5 s on in a segment of 2 s: 1 s and a half is there.
    bench.pass(4.0);
    assert_eq!(bench.events(), [Note::Started(0.0), Note::Stalled]);
    bench.media("110.0.m4s");
    bench.pass(4.1);
    assert_eq!(bench.events().len(), 3);
    assert!(
        matches!(bench.events()[2], Note::Resumed(seconds) if (seconds - 3.0).abs() < 0.51),
        "{:?}",
        bench.events()
    );
    bench.viewer.finish(4.1);
    bench.collect();
    assert!(bench.stalled() > 2.0, "{}", bench.stalled());
}

#[test]
fn live_latency_is_the_clock_less_the_date_of_the_picture() {
    let mut bench = Bench::live(settings());
    bench.media("109.m4s");
    for part in 0..3u64 {
        bench.pass(0.5 * part as f64);
        bench.media(&format!("110.{part}.m4s"));
        bench.listing("low.m3u8", &Stream::live(10, part + 2));
    }
    bench.pass(1.2);
    // 20.5 s are listed at 1020 s by the clock; it plays from 1.5 s before that.
    let latency = bench.latency().unwrap();
    assert!((latency - 1.0).abs() < 0.1, "{latency}");
}

#[test]
fn a_slow_connection_takes_it_down_and_a_fast_one_up() {
    let mut bench = Bench::entered(Settings { rung: RungChoice::Auto, ..settings() }, LADDER);
    bench.listing("low.m3u8", &Stream::plain(10));
    bench.media("init.mp4");
    // 40 Mbit/s.
    bench.answer_slowly("107.m4s", 5_000_000, 1.0, |_| Ok(Content::Media));
    assert_eq!(bench.events(), [Note::Switched { up: true }, Note::Started(0.0)]);
    assert_eq!(bench.asked(), ["playlist high.m3u8"]);
    bench.listing("high.m3u8", &Stream::plain(10));
    // Its init segment has the same address here, so it is there already. 1 Mbit/s for a while.
    bench.answer_slowly("108.m4s", 1_500_000, 12.0, |_| Ok(Content::Media));
    assert_eq!(bench.events()[2..], [Note::Switched { up: false }]);
    bench.listing("low.m3u8", &Stream::plain(10));
    assert_eq!(bench.asked(), ["segment 109.m4s"]);
    let rungs: Vec<usize> = bench
        .notes
        .iter()
        .filter_map(|note| if let Note::Loaded { rung, .. } = note { Some(*rung) } else { None })
        .collect();
    assert_eq!(rungs, [0, 1]);
}

#[test]
fn a_change_of_rung_drops_the_held_reload_of_the_other() {
    let mut bench = Bench::live(Settings { rung: RungChoice::Auto, ..settings() });
    bench.answer_slowly("109.m4s", 5_000_000, 1.0, |_| Ok(Content::Media));
    assert_eq!((bench.asked(), bench.dropped), (vec!["playlist high.m3u8".to_owned()], 1));
}

#[test]
fn a_fixed_rung_stays() {
    for (rung, path) in [(RungChoice::Highest, "high"), (RungChoice::Nth(9), "high"), (RungChoice::Nth(0), "low")] {
        let mut bench = Bench::entered(Settings { rung, ..settings() }, LADDER);
        bench.listing(&format!("{path}.m3u8"), &Stream::plain(10));
        bench.media("init.mp4");
        bench.answer_slowly("107.m4s", 5_000, 1.0, |_| Ok(Content::Media));
        assert_eq!(bench.asked(), ["segment 108.m4s"], "{rung:?}");
    }
}

#[test]
fn a_break_in_the_timeline_needs_another_init_segment_and_no_pause() {
    let mut bench = Bench::entered(settings(), LADDER);
    bench.listing("low.m3u8", &Stream { discontinuity: Some(108), ..Stream::plain(10) });
    for path in ["init.mp4", "107.m4s", "init2.mp4", "108.m4s", "109.m4s"] {
        bench.media(path);
    }
    bench.pass(4.0);
    assert_eq!(bench.events(), [Note::Started(0.0)]);
    // Behind the break the dates are the new ones.
    let latency = bench.latency().unwrap();
    assert!((latency - 6.0).abs() < 0.1, "{latency}");
}

#[test]
fn what_is_announced_as_missing_is_jumped_over() {
    let mut bench = Bench::entered(settings(), LADDER);
    bench.listing("low.m3u8", &Stream { gaps: vec![108], ..Stream::plain(10) });
    for path in ["init.mp4", "107.m4s", "109.m4s"] {
        bench.media(path);
    }
    bench.pass(3.0);
    assert_eq!(bench.events(), [Note::Started(0.0), Note::Hole(2.0)]);
}

#[test]
fn a_piece_that_is_not_to_be_had_is_tried_again_and_then_passed_over() {
    for failure in [Failure::Status(404), Failure::Status(503), Failure::Timeout] {
        let mut bench = Bench::entered(settings(), LADDER);
        bench.listing("low.m3u8", &Stream::plain(10));
        bench.media("init.mp4");
        for again in [0.0, 1.0, 3.0] {
            bench.pass(again);
            bench.fail("107.m4s", failure);
        }
        bench.media("108.m4s");
        assert_eq!(bench.events(), [Note::Lost, Note::Hole(2.0), Note::Started(3.0)], "{failure:?}");
    }
}

#[test]
fn an_announced_part_that_is_refused_is_taken_once_it_is_listed() {
    let mut bench = Bench::live(settings());
    bench.media("109.m4s");
    bench.media("110.0.m4s");
    bench.fail("110.1.m4s", Failure::Status(404));
    assert_eq!(bench.asked().len(), 1, "{:?}", bench.asked());
    bench.listing("low.m3u8", &Stream::live(10, 2));
    assert!(bench.asked().contains(&"part 110.1.m4s".to_owned()), "{:?}", bench.asked());
}

#[test]
fn an_announced_part_that_never_comes_to_be_is_not_waited_for() {
    let mut bench = Bench::live(settings());
    bench.media("109.m4s");
    bench.media("110.0.m4s");
    assert!(bench.asked().contains(&"hint 110.1.m4s".to_owned()));
    // The segment ended with its first part.
    let text = Stream::live(11, 1).text().replace("#EXT-X-PART:DURATION=0.5,URI=\"110.1.m4s\"\n", "");
    let text = text.replace("#EXT-X-PART:DURATION=0.5,URI=\"110.2.m4s\"\n", "");
    let text = text.replace("#EXT-X-PART:DURATION=0.5,URI=\"110.3.m4s\"\n", "");
    bench.answer("low.m3u8", |ask| Ok(Content::Listing(Arc::new(Listing::read(&text, &ask.resource.place, None)?))));
    assert_eq!(bench.dropped, 1);
    assert!(bench.asked().contains(&"part 111.0.m4s".to_owned()), "{:?}", bench.asked());
}

#[test]
fn playlists_that_fail_are_asked_for_with_growing_pauses() {
    let mut bench = Bench::new(settings());
    for (failure, again) in [(Failure::Status(404), 1.0), (Failure::Status(503), 3.0), (Failure::Connect, 7.0)] {
        bench.fail("m.m3u8", failure);
        bench.pass(again - 0.01);
        assert_eq!(bench.asked(), [""; 0]);
        bench.pass(again);
        assert_eq!(bench.asked(), ["multivariant m.m3u8"]);
    }
}

#[test]
fn a_recording_is_read_ahead_up_to_the_goal_and_played_to_its_end() {
    let mut bench = Bench::entered(Settings { goal_s: 5.0, ..settings() }, LADDER);
    bench.listing("low.m3u8", &Stream::recording(4));
    for path in ["init.mp4", "0.m4s", "1.m4s", "2.m4s"] {
        bench.media(path);
    }
    assert_eq!(bench.asked(), [""; 0]);
    bench.pass(1.0);
    assert_eq!(bench.asked(), ["segment 3.m4s"]);
    bench.media("3.m4s");
    bench.pass(9.0);
    assert_eq!(bench.events(), [Note::Started(0.0), Note::Ended]);
    assert!(bench.viewer.over() && bench.viewer.of_recording());
    assert_eq!(bench.latency(), None);
}

#[test]
fn a_live_stream_that_ends_is_played_to_its_end() {
    let mut bench = Bench::entered(settings(), LADDER);
    bench.listing("low.m3u8", &Stream::plain(10));
    for path in ["init.mp4", "107.m4s", "108.m4s", "109.m4s"] {
        bench.media(path);
    }
    bench.pass(2.0);
    bench.listing("low.m3u8", &Stream { ended: true, ..Stream::plain(10) });
    bench.pass(8.0);
    assert_eq!(bench.events(), [Note::Started(0.0), Note::Ended]);
    assert!(bench.viewer.over() && !bench.viewer.of_recording());
}

#[test]
fn who_begins_back_in_the_window_reads_whole_segments_from_there() {
    let mut bench = Bench::entered(Settings { back: Some(1.0), ..settings() }, LADDER);
    bench.listing("low.m3u8", &Stream::live(10, 1));
    bench.media("init.mp4");
    assert!(bench.asked().contains(&"segment 100.m4s".to_owned()), "{:?}", bench.asked());
    bench.media("100.m4s");
    bench.pass(1.5);
    assert_eq!(bench.latency(), None);
}

#[test]
fn who_falls_out_of_the_window_goes_back_to_the_edge() {
    let mut bench = Bench::entered(settings(), LADDER);
    bench.listing("low.m3u8", &Stream::plain(10));
    bench.media("init.mp4");
    bench.media("107.m4s");
    // Held up for long.
    bench.pass(20.0);
    bench.listing("low.m3u8", &Stream { first: 120, ..Stream::plain(10) });
    bench.fail("108.m4s", Failure::Timeout);
    assert!(bench.notes.contains(&Note::Fell), "{:?}", bench.notes);
    bench.pass(20.1);
    assert!(bench.asked().contains(&"segment 127.m4s".to_owned()), "{:?}", bench.asked());
}

#[test]
fn sound_is_fetched_beside_the_picture_and_waited_for() {
    let mut bench = Bench::entered(settings(), SOUND);
    assert_eq!(bench.asked(), ["playlist a.m3u8", "playlist low.m3u8"]);
    bench.listing("low.m3u8", &Stream::plain(10));
    bench.pass(0.5);
    bench.listing("a.m3u8", &Stream::plain(11));
    assert_eq!(bench.asked(), ["init init.mp4", "init init.mp4"]);
    bench.media("init.mp4");
    bench.media("init.mp4");
    // Both begin at the same moment of the stream.
    assert_eq!(bench.asked(), ["segment 107.m4s", "segment 107.m4s"]);
    bench.media("107.m4s");
    assert_eq!(bench.events(), []);
    bench.media("107.m4s");
    assert_eq!(bench.events(), [Note::Started(0.5)]);
}
