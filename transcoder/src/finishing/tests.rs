//! Playlists of plans and facts, and what holds in all of them. Knows no store.

use super::*;
use crate::facts::VERSION;
use crate::plan::TaskPlan;
use crate::planning::tests::{flv, packets_48k, plan_of, reel, sources};
use codec::vod::Stamp;
use proptest::prelude::*;

const S: i64 = 90_000;

/// Two runs of 10 s with sound, the second a minute later in the source.
fn plan() -> Plan {
    let later = |stamps: Vec<Stamp>, by: i64| stamps.into_iter().map(|s| Stamp { pts: s.pts + by, ..s }).collect();
    let second = reel(later(flv(30.0, 0..300, 60), 60 * S), packets_48k(60 * S, 70 * S));
    plan_of(&[reel(flv(30.0, 0..300, 60), packets_48k(0, 10 * S)), second]).unwrap()
}

/// What a worker would have made: segment `n` on rung `r` has (n + 1) × 1000 × (3 - r) bytes.
fn facts(plan: &Plan) -> Vec<TaskFacts> {
    let rung = |number: u32, rung: u64| {
        let init = format!("{rung:016x}");
        Some(RungFacts {
            bytes: u64::from(number + 1) * 1000 * (3 - rung),
            first_chunk: 100,
            init,
            codec: format!("avc1.64002{}", 8 - rung),
        })
    };
    let segment =
        |number: u32| SegmentFacts { number, rungs: (0..3).map(|r| rung(number, r)).collect(), sound: Some(96_000) };
    let task = |(number, task): (u32, &TaskPlan)| TaskFacts {
        version: VERSION,
        task: number,
        segments: (task.first..task.after).map(segment).collect(),
    };
    (0..).zip(&plan.tasks).map(task).collect()
}

#[test]
fn tasks_that_share_a_segment_tell_of_their_own_rungs_only() {
    let whole = plan();
    let mut shared = whole.clone();
    let rungs = |task: &TaskPlan, rungs| TaskPlan { rungs, ..*task };
    shared.tasks = whole.tasks.iter().flat_map(|task| [rungs(task, 1), rungs(task, 6)]).collect();
    assert_eq!(shared.check(), Ok(()));
    let mut told = facts(&shared);
    for (facts, task) in told.iter_mut().zip(&shared.tasks) {
        for segment in &mut facts.segments {
            let others = segment.rungs.iter_mut().enumerate().filter(|(rung, _)| !task.makes(*rung));
            others.for_each(|(_, facts)| *facts = None);
            segment.sound = segment.sound.filter(|_| task.rungs == 6);
        }
    }
    assert_eq!(playlists(&shared, &told, None), playlists(&whole, &facts(&whole), None));
    told.pop();
    assert_eq!(playlists(&shared, &told, None), Err(Unfinished::Facts(3)));
}

fn text<'a>(finished: &'a Finished, name: &str) -> &'a str {
    &finished.media.iter().find(|(known, _)| known == name).expect(name).1
}

#[test]
fn a_rungs_playlist_as_text() {
    let plan = plan();
    let finished = playlists(&plan, &facts(&plan), None).unwrap();
    let expected = r#"#EXTM3U
#EXT-X-VERSION:6
#EXT-X-TARGETDURATION:6
#EXT-X-PLAYLIST-TYPE:VOD
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MEDIA-SEQUENCE:0
#EXT-X-DISCONTINUITY-SEQUENCE:0
#EXT-X-MAP:URI="init-0000000000000001.mp4"
#EXT-X-PROGRAM-DATE-TIME:2026-11-20T17:25:00.000Z
#EXTINF:6.000000,
0.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-11-20T17:25:06.000Z
#EXTINF:4.000000,
1.m4s
#EXT-X-DISCONTINUITY
#EXT-X-MAP:URI="init-0000000000000001.mp4"
#EXT-X-PROGRAM-DATE-TIME:2026-11-20T17:25:10.000Z
#EXTINF:6.000000,
2.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-11-20T17:25:16.000Z
#EXTINF:4.000000,
3.m4s
#EXT-X-ENDLIST
"#;
    assert_eq!(text(&finished, "hq/1920w/index.m3u8"), expected);
    let iframes = text(&finished, "hq/1920w/iframes.m3u8");
    assert!(iframes.contains("#EXT-X-I-FRAMES-ONLY") && iframes.contains("#EXT-X-BYTERANGE:100@0\n0.m4s"), "{iframes}");
    assert_eq!((finished.start_ms, finished.duration_s), (1_795_195_500_000, 20.0));
    assert_eq!(finished.missing, [false; 4]);
}

#[test]
fn the_multivariant_playlist_as_text() {
    let plan = plan();
    let finished = playlists(&plan, &facts(&plan), None).unwrap();
    let expected = r#"#EXTM3U
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-SESSION-DATA:DATA-ID="live360.thumbnails",VALUE="hq/thumbs.vtt"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Main",LANGUAGE="und",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="hq/audio/index.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=217549,AVERAGE-BANDWIDTH=165847,CODECS="avc1.640028,mp4a.40.2",RESOLUTION=3840x1920,FRAME-RATE=30.000,CLOSED-CAPTIONS=NONE,AUDIO="audio"
hq/3840w/index.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=209549,AVERAGE-BANDWIDTH=161847,CODECS="avc1.640027,mp4a.40.2",RESOLUTION=1920x960,FRAME-RATE=30.000,CLOSED-CAPTIONS=NONE,AUDIO="audio"
hq/1920w/index.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=201549,AVERAGE-BANDWIDTH=157847,CODECS="avc1.640026,mp4a.40.2",RESOLUTION=960x480,FRAME-RATE=30.000,CLOSED-CAPTIONS=NONE,AUDIO="audio"
hq/960w/index.m3u8
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=200,CODECS="avc1.640028",RESOLUTION=3840x1920,URI="hq/3840w/iframes.m3u8"
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=200,CODECS="avc1.640027",RESOLUTION=1920x960,URI="hq/1920w/iframes.m3u8"
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=200,CODECS="avc1.640026",RESOLUTION=960x480,URI="hq/960w/iframes.m3u8"
"#;
    assert_eq!(finished.multivariant, expected);
    let (_, parsed) = m3u8_rs::parse_master_playlist(expected.as_bytes()).unwrap();
    assert_eq!(parsed.variants.len(), 6);
    assert_eq!(finished.renditions, ["3840w", "1920w", "960w", "audio"]);
    let bare = finished.without_thumbnails();
    assert!(!bare.contains("SESSION-DATA") && bare.lines().count() + 1 == expected.lines().count(), "{bare}");
}

#[test]
fn all_renditions_break_at_the_same_places_and_sound_begins_with_the_picture() {
    let plan = plan();
    let finished = playlists(&plan, &facts(&plan), None).unwrap();
    let parse = |name: &str| m3u8_rs::parse_media_playlist(text(&finished, name).as_bytes()).unwrap().1;
    let video = parse("hq/3840w/index.m3u8");
    for name in ["hq/1920w/index.m3u8", "hq/960w/index.m3u8", "hq/audio/index.m3u8"] {
        let other = parse(name);
        assert_eq!(other.target_duration, video.target_duration);
        assert_eq!(other.segments.len(), video.segments.len());
        for (a, b) in video.segments.iter().zip(&other.segments) {
            assert_eq!((a.discontinuity, &a.uri), (b.discontinuity, &b.uri));
            let off = (a.program_date_time.unwrap() - b.program_date_time.unwrap()).num_milliseconds();
            assert!((-22..=0).contains(&off) && (a.duration - b.duration).abs() < 0.045, "{name} {off}");
        }
    }
}

#[test]
fn what_could_not_be_decoded_is_a_gap() {
    let plan = plan();
    let mut facts = facts(&plan);
    facts[0].segments[0].rungs = vec![None; 3];
    let finished = playlists(&plan, &facts, None).unwrap();
    let expected = "#EXT-X-MAP:URI=\"init-0000000000000000.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:2026-11-20T17:25:00.000Z\n\
                    #EXT-X-GAP\n#EXTINF:6.000000,\n0.m4s\n";
    assert!(text(&finished, "hq/3840w/index.m3u8").contains(expected));
    assert_eq!(text(&finished, "hq/3840w/iframes.m3u8").matches("#EXT-X-GAP").count(), 1);
    assert!(!text(&finished, "hq/audio/index.m3u8").contains("#EXT-X-GAP"));
    assert_eq!(finished.missing, [true, false, false, false]);
    // A rung of which nothing is there is none.
    facts.iter_mut().flat_map(|task| &mut task.segments).for_each(|segment| segment.rungs[1] = None);
    assert_eq!(playlists(&plan, &facts, None).unwrap().renditions, ["3840w", "960w", "audio"]);
    facts.iter_mut().flat_map(|task| &mut task.segments).for_each(|segment| segment.rungs = vec![None; 3]);
    assert_eq!(playlists(&plan, &facts, None), Err(Unfinished::Nothing));
}

#[test]
fn facts_that_are_missing_or_of_another_plan_are_named() {
    let plan = plan();
    let good = facts(&plan);
    let mut order = good.clone();
    order.reverse();
    assert_eq!(playlists(&plan, &order, None), playlists(&plan, &good, None));
    assert_eq!(playlists(&plan, &good[..1], None), Err(Unfinished::Facts(1)));
    let mut other = good.clone();
    other[1].segments[0].number = 7;
    assert_eq!(playlists(&plan, &other, None), Err(Unfinished::Facts(1)));
    let mut other = good;
    other[0].segments[0].rungs.pop();
    assert_eq!(playlists(&plan, &other, None), Err(Unfinished::Facts(0)));
}

#[test]
fn one_long_segment_does_not_hide_the_peak_of_all_others() {
    let mut plan = plan();
    // As a gap of ten seconds makes it; segments are meant to last 6 s.
    plan.target_s = 16;
    let size = |seconds, bytes| Size { seconds, bytes, first_chunk: bytes / 10 };
    let rates = Rates::of(&[size(6.0, 6_000), size(16.0, 6_000), size(6.0, 12_000), size(1.0, 90_000)], &plan);
    assert_eq!((rates.peak, rates.iframes_peak), (31_449, 1_600));
    let rates = Rates::of(&[size(6.0, 6_000), size(16.0, 6_000), size(6.0, 12_000), size(1.0, 1_000)], &plan);
    assert_eq!((rates.peak, rates.average), (16_000, 6_897));
}

#[test]
fn an_asset_without_sound_has_no_audio_rendition() {
    let plan = plan_of(&[reel(flv(30.0, 0..300, 60), vec![])]).unwrap();
    let finished = playlists(&plan, &facts(&plan), None).unwrap();
    assert!(!finished.multivariant.contains("audio") && !finished.multivariant.contains("mp4a"));
    assert_eq!(finished.media.len(), 6);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn whatever_the_source_all_playlists_agree(reels in sources(-60_000..60_000)) {
        let Ok(plan) = plan_of(&reels) else { return Ok(()) };
        let finished = playlists(&plan, &facts(&plan), None).unwrap();
        let parse = |text: &String| m3u8_rs::parse_media_playlist(text.as_bytes()).unwrap().1;
        let all: Vec<_> = finished.media.iter().map(|(_, text)| parse(text)).collect();
        for playlist in &all {
            prop_assert_eq!(playlist.target_duration, all[0].target_duration);
            prop_assert_eq!(playlist.segments.len(), all[0].segments.len());
            for (segment, first) in playlist.segments.iter().zip(&all[0].segments) {
                prop_assert_eq!((segment.discontinuity, &segment.uri), (first.discontinuity, &first.uri));
                prop_assert!(segment.duration > 0.0 && segment.duration.round() as u64 <= playlist.target_duration);
            }
            // Dates go forward, by what segments last, and a lead-in of sound at most (V4.forward).
            for pair in playlist.segments.windows(2) {
                let [before, after] = pair else { continue };
                let dates = after.program_date_time.unwrap() - before.program_date_time.unwrap();
                let off = dates.num_milliseconds() as f64 / 1000.0 - f64::from(before.duration);
                prop_assert!(dates.num_milliseconds() > 0 && (-0.11..0.15).contains(&off), "{off}");
            }
        }
    }
}

#[test]
fn what_is_encrypted_has_keys_and_neither_i_frames_nor_thumbnails() {
    use media::protect::{Keyring, Scope};
    let plan = plan();
    let lock = Keyring::new(["a secret"]).lock(Scope::Made(&plan.job), 3).unwrap();
    let finished = playlists(&plan, &facts(&plan), Some(&lock)).unwrap();
    let names: Vec<&str> = finished.media.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), 4);
    assert!(names.iter().all(|name| name.ends_with("/index.m3u8")), "{names:?}");
    for name in names {
        let text = text(&finished, name);
        let named = |number| text.matches(&format!("URI=\"{}\"", lock.key_file(number).uri())).count();
        assert_eq!((named(0), named(3)), (2, 1), "also behind the break: {text}");
    }
    let bare = finished.without_thumbnails();
    assert!(!bare.contains("I-FRAME") && !bare.contains("thumbs"), "{bare}");
    assert!(!plan.to_json().contains("protect"), "a plan in clear is as it was");
}
