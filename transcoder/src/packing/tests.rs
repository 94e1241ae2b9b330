//! What a child says, made into segments. Knows no child.

use super::*;
use crate::plan::TaskPlan;
use crate::work::tests::plan as small_plan;
use crate::work::{There, lacking};
use media::mp4::read::{fragment_info, init_info};
use media::unit::VideoUnit;

/// 1920x1080 at 30/s, made by libx264.
const SPS: [u8; 27] = [
    0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00,
    0x00, 0x03, 0x00, 0xf0, 0x3c, 0x60, 0xc6, 0x58,
];
const PPS: [u8; 6] = [0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0];

fn config() -> VideoConfig {
    VideoConfig::from_parameter_sets(&SPS, &PPS).unwrap()
}

/// The small plan with one rung, of the size of [`config`].
fn plan() -> Plan {
    let mut plan = small_plan();
    plan.rungs.truncate(1);
    (plan.rungs[0].width, plan.rungs[0].height) = (1920, 1080);
    // The second run begins elsewhere in its source.
    plan.runs[1].origin = 7_000_000;
    for (n, segment) in (0..).zip(&mut plan.segments[4..]) {
        (segment.start, segment.end) = (7_000_000 + n * 90_000, 7_090_000 + n * 90_000);
    }
    plan
}

fn unit(seq: u64, dts: i64, pts: i64, idr: bool) -> FromVod {
    FromVod::Unit { rung: 0, seq, unit: VideoUnit { dts, pts, idr, data: Bytes::from_static(b"picture") } }
}

/// A packet of the small plan's sound: the `n`th of a segment.
fn packet(segment: i64, n: i64) -> FromVod {
    let data = format!("{segment}.{n} ").into_bytes();
    FromVod::Packet { pts: segment * 48_000 + 2048 + n * 1024, data: data.into() }
}

/// What comes of what a child says; of the whole task unless some is there.
fn make(plan: &Plan, there: &There, child: usize, said: Vec<FromVod>) -> Step<Vec<Made>> {
    let works = lacking(plan, &TaskPlan { first: 0, after: 6, rungs: plan.all_rungs() }, there);
    let (mut out, mut packing) = (Vec::new(), Packing::new(plan, &works[child])?);
    packing.begin(&mut out);
    for said in said {
        packing.take(said, &mut out)?;
    }
    packing.finish(&mut out)?;
    Ok(out)
}

/// The sound that came out: by segment, when it begins and what it is, as text.
fn sound(made: &[Made]) -> Vec<(u32, u64, String)> {
    let one = |made: &Made| {
        let Made::Sound { number, bytes } = made else { return None };
        let info = fragment_info(bytes).unwrap();
        let text = bytes
            .windows(4)
            .filter(|w| w.ends_with(b" ") && w[1] == b'.')
            .map(|w| String::from_utf8_lossy(&w[..3]).into_owned());
        let blocks: u32 = info.tracks.iter().map(|track| track.samples).sum();
        assert_eq!(info.tracks.iter().map(|track| track.duration).sum::<u64>(), u64::from(blocks) * 1024);
        let words: Vec<String> = text.take(3).collect();
        Some((*number, info.tracks[0].base_decode_time, format!("{blocks}: {}", words.join(" "))))
    };
    made.iter().filter_map(one).collect()
}

#[test]
fn a_segment_is_put_on_the_assets_time_line_and_says_what_it_belongs_to() {
    let plan = plan();
    let there = There { rungs: (0..4).map(|n| (n, 1)).collect(), sound: (0..6).collect() };
    let said = vec![
        FromVod::Config { rung: 0, config: config() },
        unit(4, 7_000_000, 7_000_000, true),
        unit(4, 7_003_600, 7_007_200, false),
        unit(4, 7_007_200, 7_003_600, false),
        FromVod::SegmentEnd { rung: 0, seq: 4 },
        FromVod::SegmentEnd { rung: 0, seq: 5 },
        FromVod::Done,
    ];
    let made = make(&plan, &there, 0, said).unwrap();
    let [Made::Init { rung: 0, file, bytes: init }, Made::Picture { rung: 0, number: 4, bytes, facts }, gap] =
        &made[..]
    else {
        panic!("{made:?}")
    };
    assert_eq!(file.to_string(), format!("init-{}.mp4", facts.init));
    assert_eq!(init_info(init).unwrap().width, 1920);
    assert_eq!(facts::read_segment(bytes).as_ref(), Some(facts));
    let tracks = fragment_info(bytes).unwrap().tracks;
    // Four seconds of the first run, and to the plan's end of the segment.
    assert_eq!((tracks[0].base_decode_time, tracks[0].samples), (360_000, 1));
    assert_eq!(tracks.iter().map(|track| track.duration).sum::<u64>(), 90_000);
    assert_eq!(*gap, Made::Gap { rung: 0, number: 5 });
}

#[test]
fn a_segment_that_is_there_already_is_no_gap() {
    let there = There { rungs: (0..5).map(|n| (n, 1)).collect(), sound: [0, 1, 2, 3, 5].into() };
    let said = vec![FromVod::SegmentEnd { rung: 0, seq: 4 }, FromVod::SegmentEnd { rung: 0, seq: 5 }, FromVod::Done];
    let made = make(&plan(), &there, 0, said).unwrap();
    assert!(matches!(made[..], [Made::Gap { rung: 0, number: 5 }, Made::Sound { number: 4, .. }]), "{made:?}");
}

#[test]
fn copied_sound_is_laid_out_as_the_plan_says() {
    let said = (0..4).flat_map(|segment| (0..45).map(move |n| packet(segment, n))).chain([FromVod::Done]).collect();
    let there = There { rungs: (0..6).map(|n| (n, 1)).collect(), sound: [4, 5].into() };
    let made = make(&plan(), &there, 0, said).unwrap();
    let expected = |n: u32| (n, u64::from(n) * 47 * 1024, format!("47: {n}.0 {n}.1 {n}.2"));
    assert_eq!(sound(&made), (0..4).map(expected).collect::<Vec<_>>());
}

#[test]
fn a_child_that_begins_later_makes_the_same_sound() {
    let all = There { rungs: (0..6).map(|n| (n, 1)).collect(), sound: [4, 5].into() };
    let said = |from| (from..4).flat_map(|segment| (0..45).map(move |n| packet(segment, n))).collect();
    let whole = make(&plan(), &all, 0, said(0)).unwrap();
    let there = There { sound: [0, 2, 4, 5].into(), ..all };
    let some = make(&plan(), &there, 0, said(1)).unwrap();
    assert_eq!(some, [whole[1].clone(), whole[3].clone()]);
}

#[test]
fn sound_that_the_source_does_not_have_any_more_is_silence() {
    let there = There { rungs: (0..6).map(|n| (n, 1)).collect(), sound: [4, 5].into() };
    // Segment 1 is missing as a whole, and all from the tenth block of segment 2 on.
    let said = (0..45).map(|n| packet(0, n)).chain((0..10).map(|n| packet(2, n))).chain([FromVod::Done]).collect();
    let made = sound(&make(&plan(), &there, 0, said).unwrap());
    let texts: Vec<&str> = made.iter().map(|(_, _, text)| text.as_str()).collect();
    assert_eq!(texts, ["47: 0.0 0.1 0.2", "47: ", "47: 2.0 2.1 2.2", "47: "]);
}

#[test]
fn encoded_sound_fills_its_spans_and_silence_lies_between() {
    let mut plan = plan();
    plan.sound.as_mut().unwrap().encode = Some(128_000);
    plan.segments[0].sound =
        vec![Span::Source { from: 0, blocks: 2 }, Span::Silence { blocks: 3 }, Span::Source { from: 9000, blocks: 1 }];
    plan.segments[1].sound = vec![Span::Silence { blocks: 4 }];
    let there = There { rungs: (0..6).map(|n| (n, 1)).collect(), sound: [2, 3, 4, 5].into() };
    let blocks = |seq, text: &[&'static str]| FromVod::Sound {
        seq,
        blocks: text.iter().map(|text| Bytes::from_static(text.as_bytes())).collect(),
    };
    let made = make(&plan, &there, 0, vec![blocks(0, &["0.a ", "0.b "]), blocks(0, &["0.c "]), FromVod::Done]).unwrap();
    assert_eq!(sound(&made), [(0, 0, "6: 0.a 0.b 0.c".to_owned()), (1, 47 * 1024, "4: ".to_owned())]);
}

#[test]
fn what_nobody_asked_for_is_a_fault() {
    let there = There { rungs: (0..4).map(|n| (n, 1)).collect(), sound: (0..6).collect() };
    let start = || unit(4, 7_000_000, 7_000_000, true);
    let large = || {
        let data = Bytes::from(vec![0; 60 << 20]);
        FromVod::Unit { rung: 0, seq: 4, unit: VideoUnit { dts: 7_000_000, pts: 7_000_000, idr: true, data } }
    };
    for (said, words) in [
        (vec![FromVod::SegmentEnd { rung: 0, seq: 2 }], "nobody asked for"),
        (vec![FromVod::SegmentEnd { rung: 1, seq: 4 }], "nobody asked for"),
        (vec![start(), FromVod::SegmentEnd { rung: 0, seq: 4 }], "said nothing of its configuration"),
        (vec![FromVod::Config { rung: 0, config: config() }, start()], "did not finish segment 4"),
        (vec![FromVod::Config { rung: 0, config: config() }; 2], "changed its configuration"),
        (vec![unit(4, 0, 0, true)], "outside it"),
        (vec![unit(4, 7_000_000, 7_090_000 + 17 * 3600, true)], "outside it"),
        (vec![unit(4, i64::MIN, i64::MAX, true)], "outside it"),
        (vec![FromVod::Packet { pts: i64::MIN, data: vec![0; 65_537].into() }], "that is none"),
        (vec![large(), large(), large(), large(), large()], "larger than 256 MiB"),
    ] {
        let error = make(&plan(), &there, 0, said).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let mut plan = plan();
    plan.rungs[0].width = 960;
    let said = vec![FromVod::Config { rung: 0, config: config() }];
    assert!(make(&plan, &there, 0, said).unwrap_err().to_string().contains("another size"));
}
