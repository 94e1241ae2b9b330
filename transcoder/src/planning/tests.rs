//! Plans of made-up sources: tables, and whatever stamps chance gives.

use super::*;
use crate::plan::{Span, TaskPlan};
use codec::vod::AudioTrack;
use media::unit::AAC_FRAME_SAMPLES;
use proptest::prelude::*;

const S: i64 = TIMESCALE;

pub(crate) fn video_track() -> VideoTrack {
    VideoTrack {
        codec: "h264".to_owned(),
        width: 3840,
        height: 1920,
        frame_rate: None,
        layout: None,
        config: "aa".to_owned(),
    }
}

pub(crate) fn aac(sample_rate: u32, channels: u8) -> AudioTrack {
    let config = media::aac::AudioConfig::lc(sample_rate, channels).unwrap();
    let asc = config.asc().iter().map(|byte| format!("{byte:02x}")).collect();
    AudioTrack { codec: "aac".to_owned(), sample_rate, channels, asc: Some(asc) }
}

pub(crate) fn reel(video: Vec<Stamp>, audio: Vec<Stamp>) -> ProbedReel {
    let audio_track = (!audio.is_empty()).then(|| aac(48_000, 2));
    ProbedReel {
        key: "rec/foo/s/0.flv".to_owned(),
        bytes: 1000,
        etag: None,
        tracks: Tracks { format: "flv".to_owned(), video: Some(video_track()), audio: audio_track },
        video,
        audio,
    }
}

/// Pictures `from..to` of a stream of `fps` from time 0 with a key every `gop`, as FLV rounds them: in whole ms.
pub(crate) fn flv(fps: f64, numbers: std::ops::Range<u32>, gop: u32) -> Vec<Stamp> {
    let at = |number: u32| (f64::from(number) * 1000.0 / fps).round() as i64 * 90;
    numbers.map(|number| Stamp { pts: at(number), key: number % gop == 0 }).collect()
}

/// Packets of 48 kHz between two times (90 kHz).
pub(crate) fn packets_48k(from: i64, to: i64) -> Vec<Stamp> {
    let sample = |time: i64| time * 8 / 15;
    (sample(from).div_euclid(1024)..)
        .map(|n| n * 1024)
        .take_while(|pts| *pts < sample(to))
        .map(|pts| Stamp { pts, key: true })
        .collect()
}

pub(crate) fn plan_of(reels: &[ProbedReel]) -> Result<Plan, PlanError> {
    let ladder = Ladder::parse(&["source", "1920w 6000k", "960w 2300k"]).unwrap();
    plan(&Input {
        job: "foo-20261120T172500Z",
        name: "foo",
        start_ms: 1_795_195_500_000,
        source: "rec/foo/s/ended.json",
        reels,
        layout: None,
        ladder: &ladder,
        effort: Effort::Veryfast,
    })
}

/// `at+ticks` of segments in ms, `|` where a run begins.
fn print(plan: &Plan) -> String {
    let mut out = Vec::new();
    for (number, segment) in plan.segments.iter().enumerate() {
        if number > 0 && plan.segments[number - 1].run != segment.run {
            out.push("|".to_owned());
        }
        out.push(format!("{}+{}", segment.at / 90, segment.ticks / 90));
    }
    out.join(" ")
}

#[track_caller]
fn check(reels: &[ProbedReel], expected: &str) -> Plan {
    let plan = plan_of(reels).unwrap();
    assert_eq!(print(&plan), expected);
    plan
}

#[test]
fn segments_are_cut_at_the_first_picture_of_each_six_seconds() {
    let plan = check(&[reel(flv(30.0, 0..600, 60), vec![])], "0+6000 6000+6000 12000+6000 18000+2000");
    assert_eq!((plan.runs[0].frame_rate, plan.runs[0].constant), ((30, 1), true));
    assert_eq!(plan.segments.iter().map(|segment| segment.pictures).collect::<Vec<_>>(), [180, 180, 180, 60]);
    // 29.97: the 180th picture is shown at 6.006 s.
    let plan = check(&[reel(flv(30_000.0 / 1001.0, 0..400, 60), vec![])], "0+6006 6006+6006 12012+1334");
    assert_eq!((plan.runs[0].frame_rate, plan.runs[0].constant), ((30_000, 1001), true));
    assert_eq!((plan.segments[1].at, plan.target_s), (540_540, 6));
}

#[test]
fn a_short_last_segment_is_joined_to_the_one_before() {
    check(&[reel(flv(30.0, 0..209, 60), vec![])], "0+6966");
    check(&[reel(flv(30.0, 0..210, 60), vec![])], "0+6000 6000+1000");
    check(&[reel(flv(30.0, 0..2, 60), vec![])], "0+66");
}

#[test]
fn mp4s_stamps_need_no_rounding() {
    let video = (0..300).map(|n| Stamp { pts: n * 3003, key: n % 50 == 0 }).collect();
    let plan = check(&[reel(video, vec![])], "0+6006 6006+4004");
    assert!(plan.runs[0].constant);
    assert_eq!(output_time(&plan.runs[0], 3003 * 7), 3003 * 7);
}

#[test]
fn the_containers_rate_counts_where_no_known_one_fits() {
    let video = (0..120).map(|n| Stamp { pts: n * 7500, key: n % 50 == 0 }).collect();
    let mut reel = reel(video, vec![]);
    assert_eq!(plan_of(std::slice::from_ref(&reel)).unwrap().runs[0].frame_rate, (12_000, 1000));
    assert!(!plan_of(std::slice::from_ref(&reel)).unwrap().runs[0].constant);
    reel.tracks.video.as_mut().unwrap().frame_rate = Some((12, 1));
    let run = &plan_of(&[reel]).unwrap().runs[0];
    assert_eq!((run.frame_rate, run.constant), ((12, 1), true));
}

#[test]
fn uneven_pictures_keep_their_times_and_long_ones_make_one_long_segment() {
    let times = [0, 3100, 5000, 9000, 20_000, 31_000, 45_000, 5 * S + 1, 12 * S, 13 * S, 17 * S, 18 * S + 5, 20 * S];
    let video = times.iter().map(|&pts| Stamp { pts, key: true }).collect();
    let plan = plan_of(&[reel(video, vec![])]).unwrap();
    assert!(!plan.runs[0].constant);
    assert_eq!(plan.segments.iter().map(|segment| segment.start).collect::<Vec<_>>(), [0, 12 * S, 18 * S + 5]);
    assert_eq!(plan.target_s, 12);
}

#[test]
fn one_picture_that_creeps_off_the_grid_is_put_back_and_a_clock_of_its_own_is_none() {
    let mut video = flv(25.0, 0..1000, 50);
    video[300].pts += 10 * 90;
    let run = &plan_of(&[reel(video, vec![])]).unwrap().runs[0];
    assert!(run.constant);
    assert_eq!(output_time(run, 300 * 3600 + 900), 300 * 3600);
    // Half a per mille fast: after a minute it is a frame ahead.
    let video = (0..3000).map(|n| Stamp { pts: n * 3602, key: n % 50 == 0 }).collect();
    assert!(!plan_of(&[reel(video, vec![])]).unwrap().runs[0].constant);
}

#[test]
fn reels_that_go_on_are_one_run_and_others_begin_a_new_one() {
    let all = flv(30.0, 0..600, 60);
    let reels = |gap: i64| {
        let late = all[300..].iter().map(|stamp| Stamp { pts: stamp.pts + gap, ..*stamp }).collect();
        [reel(all[..300].to_vec(), vec![]), reel(late, vec![])]
    };
    check(&reels(0), "0+6000 6000+6000 12000+6000 18000+2000");
    check(&reels(S - 3000), "0+6000 6000+6000 12000+6000 18000+2966");
    let plan = check(&reels(2 * S), "0+6000 6000+4000 | 10000+6000 16000+4000");
    assert_eq!(plan.runs.iter().map(|run| run.reels).collect::<Vec<_>>(), [(0, 1), (1, 2)]);
    assert_eq!(tasks(&plan), "0-2 2-4");
    check(&reels(-9 * S), "0+6000 6000+4000 | 10000+6000 16000+4000");
    let mut other = reels(0);
    other[1].tracks.video.as_mut().unwrap().config = "bb".to_owned();
    check(&other, "0+6000 6000+4000 | 10000+6000 16000+4000");
}

#[test]
fn a_reel_that_is_left_out_is_in_no_run() {
    let all = flv(30.0, 0..600, 60);
    let mut odd = reel(vec![all[300]], vec![]);
    odd.tracks.video.as_mut().unwrap().config = "bb".to_owned();
    let reels = [reel(all[..300].to_vec(), vec![]), odd, reel(all[300..].to_vec(), vec![])];
    let plan = check(&reels, "0+6000 6000+4000 | 10000+6000 16000+4000");
    assert_eq!(plan.runs.iter().map(|run| run.reels).collect::<Vec<_>>(), [(0, 1), (2, 3)]);
}

#[test]
fn a_clock_that_leaps_inside_a_reel_begins_a_new_run() {
    let leap = |by: i64| {
        let mut video = flv(30.0, 0..600, 60);
        video[300..].iter_mut().for_each(|stamp| stamp.pts += by);
        check(&[reel(video, vec![])], "0+6000 6000+4000 | 10000+6000 16000+4000")
    };
    assert_eq!(leap(11 * S).runs[1].reels, (0, 1));
    leap(-1000 * S);
    // A stray picture is left out.
    let mut video = flv(30.0, 0..600, 60);
    video[310].pts += 1000 * S;
    let plan = plan_of(&[reel(video, vec![])]).unwrap();
    assert_eq!((plan.runs.len(), plan.segments.iter().map(|segment| segment.pictures).sum::<u32>()), (1, 599));
    // Pictures that are shown in another order than they are decoded are none.
    let mut video: Vec<Stamp> = flv(1.0, 0..30, 30);
    video.iter_mut().for_each(|stamp| stamp.pts *= 9);
    let (head, tail) = video.split_at_mut(1);
    head[0].key = true;
    tail.chunks_mut(3).for_each(|group| group.rotate_right(1));
    assert_eq!(plan_of(&[reel(video, vec![])]).unwrap().runs.len(), 1);
}

#[test]
fn what_is_shown_twice_is_planned_once() {
    let mut video = flv(30.0, 0..600, 60);
    video.extend(flv(30.0, 0..600, 60));
    let plan = check(&[reel(video, vec![])], "0+6000 6000+6000 12000+6000 18000+2000");
    assert_eq!(plan.segments.iter().map(|segment| segment.pictures).sum::<u32>(), 600);
}

#[test]
fn decoding_begins_at_the_key_before_in_its_own_reel() {
    let all = flv(30.0, 0..1200, 240);
    let reels = [reel(all[..480].to_vec(), vec![]), reel(all[480..].to_vec(), vec![])];
    let plan = plan_of(&reels).unwrap();
    let seeks: Vec<(i64, u32, u32)> =
        plan.segments.iter().map(|segment| (segment.seek / S, segment.seek_reel, segment.last_reel)).collect();
    assert_eq!(seeks, [(0, 0, 0), (0, 0, 0), (8, 0, 1), (16, 1, 1), (24, 1, 1), (24, 1, 1), (32, 1, 1)]);
}

#[test]
fn pictures_before_the_first_key_are_left_out() {
    let plan = plan_of(&[reel(flv(30.0, 10..600, 60), vec![])]).unwrap();
    assert_eq!((plan.runs[0].origin, plan.segments[0].seek), (2 * S, 2 * S));
}

#[test]
fn sound_that_lies_before_the_key_in_the_file_is_reached() {
    let all = flv(30.0, 0..720, 60);
    let sound = packets_48k(0, 24 * S);
    // The first reel ends with sound that is heard with the second one's pictures.
    let early = sound.iter().filter(|stamp| stamp.pts < 48_000 * 12 + 20_000).copied().collect();
    let late = sound.iter().filter(|stamp| stamp.pts >= 48_000 * 12 + 20_000).copied().collect();
    let plan = plan_of(&[reel(all[..360].to_vec(), early), reel(all[360..].to_vec(), late)]).unwrap();
    let segment = &plan.segments[2];
    assert_eq!((segment.start, segment.seek, segment.seek_reel), (12 * S, 10 * S, 0));
    assert_eq!((plan.segments[3].seek, plan.segments[3].seek_reel), (18 * S, 1));
}

#[test]
fn aac_is_copied_block_by_block() {
    let plan = plan_of(&[reel(flv(30.0, 0..600, 60), packets_48k(0, 20 * S))]).unwrap();
    let sound = plan.sound.as_ref().unwrap();
    assert_eq!((sound.encode, sound.sample_rate, sound.channels, sound.asc.as_str()), (None, 48_000, 2, "1190"));
    assert_eq!(plan.segments[0].sound, [Span::Source { from: 0, blocks: 282 }]);
    assert_eq!(plan.segments[1].sound, [Span::Source { from: 282 * 1024, blocks: 281 }]);
    assert_eq!(plan.segments[1].sound_at, 282 * 1024);
}

#[test]
fn holes_in_copied_sound_are_silence() {
    let mut sound = packets_48k(0, 20 * S);
    sound.drain(100..150);
    let plan = plan_of(&[reel(flv(30.0, 0..600, 60), sound)]).unwrap();
    let expected = [
        Span::Source { from: 0, blocks: 100 },
        Span::Silence { blocks: 50 },
        Span::Source { from: 150 * 1024, blocks: 132 },
    ];
    assert_eq!(plan.segments[0].sound, expected);
}

#[test]
fn pictures_on_top_of_each_other_after_a_reconnect_refuse_nothing() {
    let hiccup = (0..10).map(|n| Stamp { pts: 100 * S + n * 90, key: n == 0 }).collect();
    let plan = check(&[reel(flv(30.0, 0..60, 60), vec![]), reel(hiccup, vec![])], "0+2000 | 2000+13");
    assert_eq!(plan.runs[1].frame_rate, (240_000, 1000));
}

#[test]
fn sound_that_is_mostly_holes_is_encoded() {
    let mut sound = packets_48k(0, 20 * S);
    let mut number = 0;
    sound.retain(|_| {
        number += 1;
        number % 4 < 2
    });
    let plan = plan_of(&[reel(flv(30.0, 0..600, 60), sound)]).unwrap();
    assert_eq!(plan.sound.as_ref().unwrap().encode, Some(128_000));
    assert_eq!(plan.segments[0].sound, [Span::Source { from: 0, blocks: 282 }]);
}

#[test]
fn a_packet_that_is_left_out_begins_a_new_span() {
    let mut sound = packets_48k(0, 20 * S);
    sound.insert(100, Stamp { pts: 10 * 1024, key: true });
    let plan = plan_of(&[reel(flv(30.0, 0..600, 60), sound)]).unwrap();
    let expected = [Span::Source { from: 0, blocks: 100 }, Span::Source { from: 100 * 1024, blocks: 182 }];
    assert_eq!(plan.segments[0].sound, expected);
}

#[test]
fn other_sound_is_encoded_from_where_the_run_begins() {
    let mut odd = reel(flv(30.0, 60..660, 60), packets_48k(2 * S, 22 * S));
    odd.tracks.audio = Some(AudioTrack { codec: "mp3".to_owned(), sample_rate: 44_100, channels: 6, asc: None });
    let plan = plan_of(&[odd]).unwrap();
    let sound = plan.sound.as_ref().unwrap();
    assert_eq!(
        (sound.encode, sound.sample_rate, sound.channels, sound.asc.as_str()),
        (Some(128_000), 44_100, 2, "1210")
    );
    assert_eq!(plan.segments[0].sound, [Span::Source { from: 88_200, blocks: 259 }]);
    assert_eq!(plan.segments[1].sound, [Span::Source { from: 88_200 + 259 * 1024, blocks: 258 }]);
}

#[test]
fn sound_that_changes_is_encoded_and_a_run_without_any_is_silent() {
    let pictures =
        |by: i64| flv(30.0, 0..300, 60).into_iter().map(|s| Stamp { pts: s.pts + by, ..s }).collect::<Vec<_>>();
    let sounding = reel(pictures(0), packets_48k(0, 10 * S));
    let silent = reel(pictures(100 * S), vec![]);
    let mut mono = reel(pictures(200 * S), packets_48k(200 * S, 210 * S));
    let plan = plan_of(&[sounding.clone(), silent.clone()]).unwrap();
    assert_eq!(plan.sound.as_ref().unwrap().encode, None);
    assert_eq!(plan.runs.iter().map(|run| run.sounds).collect::<Vec<_>>(), [true, false]);
    assert_eq!(plan.segments[2].sound, [Span::Silence { blocks: 282 }]);
    mono.tracks.audio = Some(aac(48_000, 1));
    let plan = plan_of(&[sounding, silent.clone(), mono]).unwrap();
    assert_eq!(plan.sound.as_ref().unwrap().encode, Some(128_000));
    assert!(matches!(plan.segments[0].sound[..], [Span::Source { from: 0, .. }]));
    assert!(matches!(plan.segments[2].sound[..], [Span::Silence { .. }]));
    let plan = plan_of(&[silent]).unwrap();
    assert!(plan.sound.is_none() && plan.segments.iter().all(|segment| segment.sound.is_empty()));
}

#[test]
fn tasks_of_long_assets_become_smaller_towards_the_end() {
    let sizes = |seconds: u32| {
        let plan = plan_of(&[reel(flv(1.0, 0..seconds, 2), vec![])]).unwrap();
        let size = |task: &TaskPlan| (task.segments(), task.rungs);
        let sizes: Vec<(u32, u8)> = plan.tasks.iter().map(size).collect();
        assert!(sizes.is_sorted_by(|one, next| one.0 >= next.0), "{sizes:?}");
        let count = |size| sizes.iter().filter(|other| **other == size).count();
        let counts = [count((5, 7)), count((2, 7)), count((1, 1)), count((1, 6))];
        assert_eq!(counts.iter().sum::<usize>(), sizes.len(), "{sizes:?}");
        counts
    };
    assert_eq!(sizes(3600), [60, 105, 90, 90]);
    assert_eq!(sizes(3 * 3600), [300, 105, 90, 90]);
    assert_eq!(sizes(1140), [38, 0, 0, 0]);
}

/// Tasks as `first-after`, and `:mask` where they don't have all rungs.
fn tasks(plan: &Plan) -> String {
    let one = |task: &TaskPlan| {
        let rungs = if task.rungs == plan.all_rungs() { String::new() } else { format!(":{}", task.rungs) };
        format!("{}-{}{rungs}", task.first, task.after)
    };
    plan.tasks.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[test]
fn tasks_are_whole_segments_of_half_a_minute_and_shorter_ones_of_large_pictures() {
    let mut reel = reel(flv(10.0, 0..700, 10), vec![]);
    assert_eq!(tasks(&plan_of(std::slice::from_ref(&reel)).unwrap()), "0-5 5-10 10-12");
    let track = reel.tracks.video.as_mut().unwrap();
    (track.width, track.height) = (7680, 7680);
    assert_eq!(tasks(&plan_of(&[reel]).unwrap()), "0-4 4-8 8-12");
}

#[test]
fn rungs_are_shared_out_by_pixels() {
    let check = |ladder: &[&str], width: u32, expected: [u8; 2]| {
        let rungs = crate::ladder::rungs(&Ladder::parse(ladder).unwrap(), Effort::Fast, (width, width / 2), 30.0);
        assert_eq!(cuts::halves(&rungs), expected, "{ladder:?}");
    };
    check(&["source"], 1920, [1, 0]);
    check(&["source", "960w 1000k"], 1920, [1, 2]);
    check(&["source", "2880w 11000k", "1920w 6000k", "1280w 3200k", "960w 2300k", "480w 600k"], 3840, [1, 62]);
    check(&["7000w 9000k", "6900w 9000k", "6800w 9000k", "6700w 9000k"], 8192, [3, 12]);
}

#[test]
fn what_cannot_be_planned_says_why() {
    let good = || reel(flv(30.0, 0..60, 60), vec![]);
    let check = |reels: &[ProbedReel], expected: &str| {
        assert_eq!(plan_of(reels).unwrap_err().to_string(), expected);
    };
    check(&[], "it has no video");
    let mut sound_alone = reel(vec![], packets_48k(0, S));
    sound_alone.tracks.video = None;
    check(&[sound_alone], "it has no video");
    check(&[reel(vec![], vec![])], "it has no pictures that could be played: none follows a key frame");
    check(&[reel(flv(30.0, 1..50, 60), vec![])], "it has no pictures that could be played: none follows a key frame");
    check(&[reel(flv(30.0, 0..1, 60), vec![])], "it has no pictures that could be played: none follows a key frame");
    let mut wide = good();
    wide.tracks.video.as_mut().unwrap().width = 8194;
    check(&[wide], "its pictures are 8194 × 1920 pixels: from 16 × 16 to 8192 × 8192 can be made");
    let mut large = good();
    large.bytes = SOURCE_BYTES_MAX + 1;
    check(&[large], "it is larger than 200 GB");
    check(&vec![good(); PARTS_MAX + 1], "it consists of more than 20000 files");
    for step in [300, 1] {
        let fast = (0..600).map(|n| Stamp { pts: n * step, key: n == 0 }).collect();
        check(&[reel(fast, vec![])], "it has more than 240 pictures a second");
    }
    let long = (0..5000).map(|n| Stamp { pts: n * 9 * S, key: true }).collect();
    check(&[reel(long, vec![])], "it is longer than 12 h");
}

#[test]
fn a_plan_survives_being_written_and_other_texts_are_none() {
    let plan = plan_of(&[reel(flv(30.0, 0..600, 60), packets_48k(0, 20 * S))]).unwrap();
    let text = plan.to_json();
    assert_eq!(Plan::parse(text.as_bytes()), Ok(plan.clone()));
    assert_eq!(text, plan_of(&[reel(flv(30.0, 0..600, 60), packets_48k(0, 20 * S))]).unwrap().to_json());
    for text in ["", "{}", "null", &text[1..]] {
        assert!(Plan::parse(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn hostile_plans_are_refused() {
    let good = plan_of(&[reel(flv(30.0, 0..1200, 60), packets_48k(0, 40 * S))]).unwrap();
    let refused = |why: &str, change: fn(&mut Plan)| {
        let mut plan = good.clone();
        change(&mut plan);
        assert_ne!(plan, good);
        let words = plan.check().expect_err(why).to_string();
        assert!(words.contains(why), "{words}, not {why}");
    };
    refused("version", |plan| plan.version = VERSION + 1);
    refused("job", |plan| plan.job = "../x".to_owned());
    refused("source", |plan| plan.source.key = "jobs/x".to_owned());
    refused("key", |plan| plan.source.reels[0].key = "../x".to_owned());
    refused("reels", |plan| plan.source.reels.clear());
    refused("200 GB", |plan| plan.source.reels[0].bytes = u64::MAX);
    refused("rung", |plan| plan.rungs[0].rendition = "../..".to_owned());
    refused("rung", |plan| plan.rungs[0].width = 100_001);
    refused("rung", |plan| plan.rungs.clear());
    refused("order", |plan| plan.rungs.reverse());
    refused("twice", |plan| plan.rungs[1].rendition = plan.rungs[0].rendition.clone());
    refused("configuration", |plan| plan.sound.as_mut().unwrap().asc = "zz".to_owned());
    refused("another's", |plan| plan.sound.as_mut().unwrap().sample_rate = 1);
    refused("outside the source", |plan| plan.runs[0].reels.1 = 9);
    refused("frame rate", |plan| plan.runs[0].frame_rate.1 = 0);
    refused("reels are not those", |plan| plan.segments[1].last_reel = u32::MAX);
    refused("belongs to no run", |plan| plan.segments[1].run = 7);
    refused("times are none", |plan| plan.segments[1].start = i64::MIN);
    refused("in a row", |plan| plan.segments[1].at += 1);
    refused("in a row", |plan| plan.segments[1].end += 1);
    refused("in a row", |plan| plan.segments[1].sound_at += 1);
    refused("too long", |plan| plan.segments[0].ticks = i64::MAX);
    refused("sound is none", |plan| plan.segments[0].sound = vec![Span::Silence { blocks: u32::MAX }]);
    refused("sound is none", |plan| plan.segments[0].sound[0] = Span::Source { from: i64::MAX, blocks: 1 });
    refused("and the asset none", |plan| plan.sound = None);
    refused("tasks overlap", |plan| plan.tasks[1].first = 0);
    refused("tasks don't cover", |plan| plan.tasks.truncate(1));
    refused("tasks don't cover", |plan| plan.tasks[1].rungs = 1);
    refused("no segments", |plan| plan.tasks[1].after = u32::MAX);
    refused("no segments", |plan| plan.tasks[1].after = plan.tasks[1].first);
    refused("no rungs", |plan| plan.tasks[1].rungs = 0);
    refused("or others", |plan| plan.tasks[1].rungs = 255);
    refused("elsewhere", |plan| plan.runs[0].origin = 1);
}

/// Checks what holds of every plan. `whole`: clocks go forward inside reels, so that runs share none.
fn hold(plan: &Plan, pictures: &[ProbedReel], whole: bool) {
    assert_eq!(plan.check(), Ok(()));
    assert_eq!(Plan::parse(plan.to_json().as_bytes()).as_ref(), Ok(plan));
    for (number, segment) in (0_u32..).zip(&plan.segments) {
        let run = &plan.runs[segment.run as usize];
        let reels = &pictures[run.reels.0 as usize..run.reels.1 as usize];
        let mut own: Vec<i64> = reels.iter().flat_map(|reel| &reel.video).map(|stamp| stamp.pts).collect();
        own.retain(|pts| (segment.start..segment.end).contains(pts));
        own.sort_unstable();
        own.dedup();
        assert!(!whole || own.len() == segment.pictures as usize, "segment {number}");
        // Asset times never go back, and stay inside the segment.
        assert!(own.contains(&segment.start));
        let times: Vec<i64> = own.iter().map(|pts| output_time(run, *pts)).collect();
        assert!(times.is_sorted_by(|a, b| if whole { a < b } else { a <= b }), "{times:?}");
        assert_eq!(times[0], segment.at);
        let end = segment.at + segment.ticks;
        assert!(times.last().is_some_and(|last| if whole { *last < end } else { *last <= end }));
        let keyed = reels.iter().flat_map(|reel| &reel.video).any(|stamp| stamp.key && stamp.pts == segment.seek);
        assert!(keyed, "segment {number} is decoded from a key frame");
        let tasks = plan.tasks.iter().filter(|task| (task.first..task.after).contains(&number));
        assert_eq!(tasks.map(|task| u32::from(task.rungs)).sum::<u32>(), u32::from(plan.all_rungs()));
        if let Some(sound) = &plan.sound {
            let from = segment.sound_at - media::audio::to_samples(segment.at, i64::from(sound.sample_rate));
            assert!((0..i64::from(sound.sample_rate) / 10 + 1024).contains(&from), "segment {number}: {from}");
            let end = segment.sound_at + check::blocks(segment) * i64::from(AAC_FRAME_SAMPLES);
            let next = plan.segments.get(number as usize + 1).filter(|next| next.run == segment.run);
            assert!(next.is_none_or(|next| next.sound_at == end), "segment {number}");
            let stop = media::audio::to_samples(segment.at + segment.ticks, i64::from(sound.sample_rate));
            assert!(
                next.is_some() || segment.sound.is_empty() || (stop - 1024 - 1..=stop).contains(&end),
                "{end} {stop}"
            );
        }
    }
    for (number, run) in (0_u32..).zip(&plan.runs).filter(|_| whole) {
        let reels = &pictures[run.reels.0 as usize..run.reels.1 as usize];
        let all = reels.iter().flat_map(|reel| &reel.video).map(|stamp| stamp.pts).filter(|pts| *pts >= run.origin);
        let planned =
            plan.segments.iter().filter(|segment| segment.run == number).map(|segment| segment.pictures as usize);
        assert_eq!(all.collect::<std::collections::BTreeSet<i64>>().len(), planned.sum::<usize>(), "run {number}");
    }
}

/// Reels of pictures whose distances are mostly those of 30 or 25 pictures a second, with all sorts of leaps.
pub(crate) fn sources(leap: std::ops::Range<i64>) -> impl Strategy<Value = Vec<ProbedReel>> {
    let step = prop_oneof![
        40 => Just(33_i64),
        8 => Just(34),
        3 => 1_i64..200,
        1 => 200_i64..9_000,
        1 => leap,
    ];
    let packet = prop_oneof![60 => Just(1024_i64), 2 => 0_i64..3000, 1 => -60_000_i64..600_000];
    let one = (
        prop::collection::vec((step, prop::bool::weighted(0.1)), 0..400),
        prop::collection::vec(packet, 0..700),
        -3_i64..3,
        prop::bool::weighted(0.9),
        prop::bool::weighted(0.9),
    );
    prop::collection::vec(one, 1..6).prop_map(|reels| {
        let mut time = 0;
        let mut out = Vec::new();
        for (number, (steps, packets, gap, same, aac)) in reels.into_iter().enumerate() {
            time += gap * 40_000 * i64::from(gap.abs() == 2);
            let mut sample = time * 8 / 15;
            let audio = packets.into_iter().map(|step| {
                sample += step;
                Stamp { pts: sample, key: true }
            });
            let audio: Vec<Stamp> = audio.collect();
            let video = steps.into_iter().map(|(step, key)| {
                time += step * 90;
                Stamp { pts: time, key }
            });
            let mut reel = reel(video.collect(), audio);
            reel.key = format!("rec/foo/s/{number}.flv");
            if !same {
                reel.tracks.video.as_mut().unwrap().config = format!("{number}");
            }
            if let Some(track) = reel.tracks.audio.as_mut().filter(|_| !aac) {
                track.codec = "mp3".to_owned();
            }
            out.push(reel);
        }
        out
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_the_stamps_a_plan_covers_every_picture_once(reels in sources(0..10_000)) {
        if let Ok(plan) = plan_of(&reels) {
            hold(&plan, &reels, true);
        }
    }

    #[test]
    fn clocks_that_leap_inside_reels_break_no_plan(reels in sources(-60_000..60_000)) {
        if let Ok(plan) = plan_of(&reels) {
            hold(&plan, &reels, false);
        }
    }

    #[test]
    fn times_that_mean_nothing_panic_nobody(
        video: Vec<(i64, bool)>,
        audio: Vec<i64>,
        sample_rate: u32,
        frame_rate: Option<(u32, u32)>,
    ) {
        let video = video.into_iter().map(|(pts, key)| Stamp { pts, key }).collect();
        let mut reel = reel(video, audio.into_iter().map(|pts| Stamp { pts, key: true }).collect());
        reel.tracks.audio = Some(AudioTrack { codec: "x".to_owned(), sample_rate, channels: 0, asc: None });
        reel.tracks.video.as_mut().unwrap().frame_rate = frame_rate;
        if let Ok(plan) = plan_of(std::slice::from_ref(&reel)) {
            prop_assert_eq!(plan.check(), Ok(()));
        }
    }

    #[test]
    fn no_number_in_a_plan_panics_the_check(at in 0_usize..400, number: i64) {
        let plan = plan_of(&[reel(flv(30.0, 0..400, 60), packets_48k(0, 13 * S))]).unwrap();
        let mut value = serde_json::to_value(&plan).unwrap();
        let mut left = at;
        change(&mut value, &mut left, number);
        if let Ok(plan) = Plan::parse(value.to_string().as_bytes()) {
            for segment in &plan.segments {
                output_time(&plan.runs[segment.run as usize], segment.end);
            }
        }
    }
}

/// Puts a number in the place of the `left`th.
fn change(value: &mut serde_json::Value, left: &mut usize, number: i64) {
    match value {
        serde_json::Value::Number(_) if *left == 0 => (*value, *left) = (number.into(), usize::MAX),
        serde_json::Value::Number(_) => *left -= 1,
        serde_json::Value::Array(list) => list.iter_mut().for_each(|value| change(value, left, number)),
        serde_json::Value::Object(map) => map.values_mut().for_each(|value| change(value, left, number)),
        _ => {}
    }
}
