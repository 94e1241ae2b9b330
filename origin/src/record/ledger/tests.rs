//! Journals as tables, and the playlists that follow from them.

use super::*;

const ANCHOR: i64 = 1_795_195_500_000;

fn entry(rendition: &str, msn: u64) -> Entry {
    Entry {
        rendition: rendition.to_owned(),
        msn,
        seconds: 2.0,
        date_ms: ANCHOR + (msn as i64 - 10) * 2000,
        gap: false,
        discontinuity: false,
        map: "init-0000000000000000.mp4".to_owned(),
        key: String::new(),
        bytes: 250_000,
        first_chunk: 25_000,
    }
}

fn gap(rendition: &str, msn: u64) -> Entry {
    Entry { gap: true, bytes: 0, first_chunk: 0, ..entry(rendition, msn) }
}

fn heads() -> Vec<Line> {
    let video = |rendition: &str, width: u32| Video {
        rendition: rendition.to_owned(),
        codec: "avc1.64001f".to_owned(),
        size: (width, width / 2),
    };
    vec![
        Line::Session { name: "foo".to_owned(), session: "s".to_owned(), began_ms: ANCHOR, rungs: true },
        Line::Epoch { anchor_ms: ANCHOR, target_s: 2, protect: false },
        Line::Shape(Shape {
            fps: 30.0,
            video: vec![video("480w", 480), video("source", 960)],
            audio: Some(("mp4a.40.2".to_owned(), 2)),
        }),
    ]
}

fn ledger(entries: Vec<Entry>) -> Ledger {
    let mut ledger = Ledger::default();
    heads().into_iter().chain(entries.into_iter().map(Line::Segment)).for_each(|line| ledger.enter(line));
    ledger
}

/// Numbers of a rendition's playlist, with `-` for gaps.
fn numbers(ledger: &Ledger, rendition: &str) -> Vec<String> {
    let vod = ledger.vod().expect("something to play");
    let name = format!("{rendition}/index.m3u8");
    let text = vod.playlists.iter().find(|(file, _)| *file == name).map(|(_, text)| text.as_str()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let is_gap = |at: usize| lines[at.saturating_sub(2)] == "#EXT-X-GAP";
    let uri =
        |(at, line): (usize, &&str)| format!("{}{}", if is_gap(at) { "-" } else { "" }, line.trim_end_matches(".m4s"));
    lines.iter().enumerate().filter(|(_, line)| line.ends_with(".m4s")).map(uri).collect()
}

#[test]
fn renditions_stay_in_step_from_the_first_to_the_last_number_that_can_be_played() {
    let all = |rendition: &'static str, numbers: std::ops::Range<u64>| numbers.map(move |msn| entry(rendition, msn));
    for (what, entries, source, small) in [
        (
            "all are there",
            all("source", 10..13).chain(all("480w", 10..13)).chain(all("audio", 10..13)).collect::<Vec<_>>(),
            vec!["10", "11", "12"],
            vec!["10", "11", "12"],
        ),
        (
            "a crash came before the small rung and the sound were whole",
            all("source", 10..14).chain(all("480w", 10..12)).chain(all("audio", 10..13)).collect(),
            vec!["10", "11", "12"],
            vec!["10", "11", "-12"],
        ),
        (
            "a gap in the middle stays, at the ends it goes",
            [gap("source", 10), entry("source", 11), gap("source", 12), entry("source", 13), gap("source", 14)]
                .into_iter()
                .chain(all("audio", 10..15))
                .collect(),
            vec!["11", "-12", "13"],
            vec![],
        ),
        (
            "a number of which nobody knows anything",
            [entry("source", 10), entry("source", 12), entry("audio", 10), entry("audio", 12)].to_vec(),
            vec!["10", "-11", "12"],
            vec![],
        ),
    ] {
        let ledger = ledger(entries);
        assert_eq!((numbers(&ledger, "source"), numbers(&ledger, "480w")), (own(source), own(small)), "{what}");
    }
}

fn own(texts: Vec<&str>) -> Vec<String> {
    texts.into_iter().map(str::to_owned).collect()
}

#[test]
fn nothing_can_be_played_without_pictures_or_without_an_epoch() {
    assert_eq!(ledger(vec![entry("audio", 10)]).vod(), None);
    assert_eq!(ledger(vec![gap("source", 10)]).vod(), None);
    let mut without = Ledger::default();
    without.enter(Line::Segment(entry("source", 10)));
    assert_eq!(without.vod(), None);
}

#[test]
fn playlists_say_what_the_live_ones_said() {
    let broken = Entry { discontinuity: true, map: "init-1111111111111111.mp4".to_owned(), ..entry("source", 11) };
    let first = Entry { discontinuity: true, ..entry("source", 10) };
    let ledger = ledger(vec![first, broken, entry("audio", 10), entry("audio", 11)]);
    let vod = ledger.vod().unwrap();
    let source = &vod.playlists.iter().find(|(name, _)| name == "source/index.m3u8").unwrap().1;
    let expected = "#EXTM3U
#EXT-X-VERSION:6
#EXT-X-TARGETDURATION:2
#EXT-X-PLAYLIST-TYPE:VOD
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MEDIA-SEQUENCE:10
#EXT-X-DISCONTINUITY-SEQUENCE:0
#EXT-X-MAP:URI=\"init-0000000000000000.mp4\"
#EXT-X-PROGRAM-DATE-TIME:2026-11-20T17:25:00.000Z
#EXTINF:2.000000,
10.m4s
#EXT-X-DISCONTINUITY
#EXT-X-MAP:URI=\"init-1111111111111111.mp4\"
#EXT-X-PROGRAM-DATE-TIME:2026-11-20T17:25:02.000Z
#EXTINF:2.000000,
11.m4s
#EXT-X-ENDLIST
";
    assert_eq!(source, expected);
    assert_eq!((vod.start_ms, vod.duration_s), (ANCHOR, 4.0));
    assert_eq!(vod.renditions, ["source", "audio"], "a rung without a segment is left out");
    assert!(!vod.multivariant.contains("480w"), "{}", vod.multivariant);
    let rate = "BANDWIDTH=2000000,AVERAGE-BANDWIDTH=2000000,CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=960x480";
    assert!(
        vod.multivariant.contains(rate) && vod.multivariant.contains("\nsource/index.m3u8\n"),
        "{}",
        vod.multivariant
    );
}

#[test]
fn a_journal_reads_back_and_what_a_crash_cut_off_is_not_there() {
    let mut text = String::new();
    let lines = heads().into_iter().chain([entry("source", 10), gap("source", 11)].map(Line::Segment));
    for line in lines.chain([Line::Part { number: 0, bytes: 7 }]) {
        text.push_str(&serde_json::to_string(&line).unwrap());
        text.push('\n');
    }
    let whole = Ledger::read(&text);
    let mut expected = ledger(vec![entry("source", 10), gap("source", 11)]);
    expected.enter(Line::Part { number: 0, bytes: 7 });
    assert_eq!(whole, expected);
    let mut again = Ledger::default();
    whole.lines().into_iter().for_each(|line| again.enter(line));
    assert_eq!(again, whole, "what a ledger says of itself");
    let cut = serde_json::to_string(&Line::Segment(entry("source", 12))).unwrap();
    text.push_str(&cut[..cut.len() / 2]);
    assert_eq!(Ledger::read(&text), whole);
}

#[test]
fn an_asset_is_named_after_its_first_picture_and_only_if_rungs_are_recorded() {
    let mut ledger = ledger(vec![entry("source", 10)]);
    assert_eq!(ledger.asset().as_deref(), Some("foo-20261120T172500Z"));
    ledger.rungs = false;
    assert_eq!(ledger.asset(), None);
}

#[test]
fn what_is_no_init_segment_stands_in_no_playlist() {
    for map in ["", "init-00.mp4", "../0.mp4", "x\"\n#EXT-X-ENDLIST", "7.m4s"] {
        let mut ledger = ledger(vec![entry("source", 10), entry("source", 12)]);
        ledger.enter(Line::Segment(Entry { map: map.to_owned(), ..entry("source", 11) }));
        let vod = ledger.vod().unwrap();
        let (_, text) = &vod.playlists[0];
        assert_eq!(text.matches("#EXT-X-MAP").count(), 1, "{text}");
        assert_eq!(text.matches("#EXT-X-GAP").count(), 1, "{text}");
        assert!(!text.contains("../") && text.matches("#EXT-X-ENDLIST").count() == 1, "{text}");
    }
}

#[test]
fn a_number_that_no_recording_reaches_makes_no_playlist_endless() {
    let ledger = ledger(vec![entry("source", 10), entry("source", 11), entry("source", u64::MAX - 1)]);
    assert_eq!(ledger.vod().unwrap().duration_s, 4.0);
}

#[test]
fn what_is_encrypted_is_listed_with_its_keys_and_without_i_frames() {
    let key = |msn: u64| format!("../keys/{}-0123456789abcdef.key", msn / 2);
    let sealed = |rendition: &str, msn: u64| Entry { key: key(msn), first_chunk: 0, ..entry(rendition, msn) };
    let all = ["source", "480w", "audio"].into_iter().flat_map(|r| (10..13).map(move |msn| sealed(r, msn)));
    // One of them says of its key what can't be.
    let odd = Entry { key: "http://elsewhere/7.key\"".to_owned(), ..sealed("source", 13) };
    let mut ledger = ledger(all.chain([odd, sealed("480w", 13), sealed("audio", 13)]).collect());
    ledger.enter(Line::Epoch { anchor_ms: ANCHOR, target_s: 2, protect: true });
    let vod = ledger.vod().unwrap();
    let names: Vec<&str> = vod.playlists.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["source/index.m3u8", "480w/index.m3u8", "audio/index.m3u8"]);
    assert!(!vod.multivariant.contains("I-FRAME"), "{}", vod.multivariant);
    let text = &vod.playlists[0].1;
    for (held, times) in [(key(10), 1), (key(12), 1), ("METHOD=NONE".to_owned(), 1), ("elsewhere".to_owned(), 0)] {
        assert_eq!(text.matches(&held).count(), times, "{held} in {text}");
    }
    assert_eq!(numbers(&ledger, "source"), ["10", "11", "12", "-13"]);
    let again: String = ledger.lines().iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
    assert_eq!(Ledger::read(&again), ledger);
}

#[test]
fn a_journal_of_what_is_in_clear_says_nothing_of_keys() {
    let lines = ledger(vec![entry("source", 10)]).lines();
    let text: String = lines.iter().map(|line| serde_json::to_string(line).unwrap()).collect();
    assert!(!text.contains("key") && !text.contains("protect"), "{text}");
}

#[test]
fn marks_are_kept_in_order_merged_once_and_bounded() {
    let mark = |at_ms, name: &str| Mark { at_ms, name: name.to_owned() };
    let mut ledger = Ledger::default();
    heads().into_iter().for_each(|line| ledger.enter(line));
    for line in [mark(2000, "b"), mark(1000, "a"), mark(2000, "b"), mark(0, &"x".repeat(WORDS_BYTES_MAX + 1))] {
        ledger.enter(Line::Mark(line));
    }
    let names = |ledger: &Ledger| ledger.marks.iter().map(|mark| mark.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&ledger), ["a", "b"]);
    let text: String = ledger.lines().iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
    assert_eq!(Ledger::read(&text), ledger);
    let mut other = Ledger::default();
    heads().into_iter().for_each(|line| other.enter(line));
    (0..2 * MARKS_MAX as i64).for_each(|at_ms| other.enter(Line::Mark(mark(at_ms, "c"))));
    ledger.merge(&other);
    assert_eq!((other.marks.len(), ledger.marks.len()), (MARKS_MAX, MARKS_MAX));
    assert!(names(&ledger).contains(&"a".to_owned()));
}
