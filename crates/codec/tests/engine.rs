//! The ladder in one process, on sources that the `ffmpeg` command made.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use codec::ladder::{Engine, RungSettings, ToLadder};
use common::{Source, decode, make, run, rung, settings};
use media::unit::VideoUnit;

/// 4 s at 30 fps with B-frames and a key frame each second.
fn with_b_frames() -> Source {
    make("testsrc2=size=640x320:rate=30:duration=4", "-preset ultrafast -bf 2 -g 30 -sc_threshold 0 -pix_fmt yuv420p")
}

const RUNGS: [RungSettings; 2] = [
    RungSettings { width: 320, height: 160, bitrate: 600_000 },
    RungSettings { width: 160, height: 80, bitrate: 200_000 },
];

#[test]
fn every_picture_comes_out_on_every_rung_at_its_own_time() {
    let source = with_b_frames();
    let output = run(settings(&source, &RUNGS, 1000), source.cut_at_idrs(7));
    assert!(output.failed.is_empty());
    let (_, source_lumas) = decode(&source.config, &source.units);
    for (index, rung) in RUNGS.iter().enumerate() {
        let made = &output.rungs[&index];
        assert_eq!(made.ended, [7, 8, 9, 10]);
        let [config] = &made.configs[..] else { panic!("{} configurations", made.configs.len()) };
        assert_eq!((config.width(), config.height(), config.nal_length_size()), (rung.width, rung.height, 4));
        assert_eq!(config.frame_rate(), Some((30, 1)));
        let (mut times, mut lumas) = (Vec::new(), Vec::new());
        for units in made.segments.values() {
            let alone = decode(config, units);
            times.extend(alone.0);
            lumas.extend(alone.1);
        }
        assert_eq!(times, source.shown());
        for (was, is) in source_lumas.iter().zip(&lumas) {
            assert!((was - is).abs() < 2.0, "a picture of brightness {was} became {is}");
        }
    }
}

#[test]
fn the_same_units_make_the_same_bytes_whatever_else_the_machine_does() {
    let source = with_b_frames();
    let alone = run(settings(&source, &RUNGS, 1000), source.cut_at_idrs(1));
    std::thread::scope(|scope| {
        let engines: Vec<_> =
            (0..3).map(|_| scope.spawn(|| run(settings(&source, &RUNGS, 1000), source.cut_at_idrs(1)))).collect();
        for engine in engines {
            assert_eq!(engine.join().unwrap(), alone);
        }
    });
}

#[test]
fn a_segment_does_not_depend_on_the_ones_before_it() {
    let source = with_b_frames();
    let whole = run(settings(&source, &RUNGS, 1000), source.cut_at_idrs(1));
    let messages = source.cut_at_idrs(1);
    let third = messages.iter().position(|message| matches!(message, ToLadder::Segment { seq: 3, .. })).unwrap();
    let late = run(settings(&source, &RUNGS, 1000), messages[third..].to_vec());
    for index in 0..RUNGS.len() {
        for seq in [3, 4] {
            assert_eq!(late.rungs[&index].segments[&seq], whole.rungs[&index].segments[&seq], "rung {index}, {seq}");
        }
    }
}

#[test]
fn segments_may_be_cut_between_key_frames() {
    let source = make("testsrc2=size=320x160:rate=25:duration=4", "-preset ultrafast -bf 0 -g 999 -sc_threshold 0");
    let mut messages = vec![ToLadder::Segment { seq: 1, start_pts: source.units[0].pts, skip: 0 }];
    for (number, unit) in source.units.iter().enumerate() {
        if number == 50 {
            messages.push(ToLadder::Segment { seq: 2, start_pts: unit.pts, skip: 0 });
        }
        messages.push(ToLadder::Unit(unit.clone()));
    }
    let output = run(settings(&source, &[rung(160, 80, 300_000)], 2000), messages);
    let made = &output.rungs[&0];
    assert_eq!(made.ended, [1, 2]);
    for (seq, expected) in [(1, &source.shown()[..50]), (2, &source.shown()[50..])] {
        assert_eq!(decode(&made.configs[0], &made.segments[&seq]).0, expected, "segment {seq}");
    }
}

/// Bits that segments take per second, at worst.
fn peak(made: &common::Rung, picture_ticks: i64) -> u64 {
    let rate = |units: &Vec<VideoUnit>| {
        let bits: usize = units.iter().map(|unit| unit.data.len() * 8).sum();
        let ticks = units.last().unwrap().pts - units[0].pts + picture_ticks;
        bits as u64 * 90_000 / ticks as u64
    };
    made.segments.values().map(rate).max().unwrap()
}

/// Noise: nothing is harder to keep below a bit rate.
const NOISE: &str = "-vf noise=alls=100:allf=t -preset ultrafast -qp 18 -g 60 -sc_threshold 0 -pix_fmt yuv420p";

#[test]
fn no_segment_passes_its_rungs_bit_rate_even_for_noise() {
    let source = make("testsrc2=size=640x320:rate=30:duration=6", NOISE);
    let rungs = [rung(320, 160, 1_000_000), rung(160, 80, 200_000)];
    let output = run(settings(&source, &rungs, 2000), source.cut_at_idrs(0));
    for (index, rung) in rungs.iter().enumerate() {
        let peak = peak(&output.rungs[&index], 3000);
        assert!(peak <= u64::from(rung.bitrate), "rung {index}: {peak} bit/s");
        assert!(peak >= u64::from(rung.bitrate) / 2, "rung {index}: {peak} bit/s is no use of the bit rate");
    }
}

#[test]
fn the_bit_rate_holds_when_the_source_lies_about_its_picture_rate() {
    let mut source = make("testsrc2=size=320x160:rate=30:duration=8", NOISE);
    assert_eq!(source.config.frame_rate(), Some((30, 1)), "the lie");
    source.units.iter_mut().for_each(|unit| (unit.pts, unit.dts) = (unit.pts / 2, unit.dts / 2));
    let output = run(settings(&source, &[rung(160, 80, 300_000)], 1000), source.cut_at_idrs(0));
    let peak = peak(&output.rungs[&0], 1500);
    assert!((150_000..=300_000).contains(&peak), "{peak} bit/s");
}

#[test]
fn damage_costs_pictures_and_never_the_ladder() {
    let source = with_b_frames();
    let mut messages = source.cut_at_idrs(0);
    // Segment 1: its IDR and some others lost; segment 2: garbage, an empty unit, a lying length; segment 3 is whole.
    let starts: Vec<usize> = (0..messages.len()).filter(|&i| matches!(messages[i], ToLadder::Segment { .. })).collect();
    for (at, data) in [(2, &b""[..]), (3, b"\xFF\xFF\xFF\xFF\x65"), (9, &[0x5A; 900]), (12, b"\0\0\0\x02\x65\x88")] {
        let ToLadder::Unit(unit) = &mut messages[starts[2] + at] else { panic!("not a unit") };
        unit.data = bytes::Bytes::copy_from_slice(data);
    }
    messages.drain(starts[1] + 5..starts[1] + 8);
    messages.remove(starts[1] + 1);
    let mut engine = Engine::new(settings(&source, &RUNGS, 1000)).unwrap();
    let mut output = common::Output::default();
    for message in messages.into_iter().chain([ToLadder::End]) {
        engine.push(message, &mut |message| output.take(message)).unwrap();
    }
    assert!(engine.damaged() >= 3, "{}", engine.damaged());
    for made in output.rungs.values() {
        assert_eq!(made.ended, [0, 1, 2, 3]);
        assert_eq!(made.segments[&3].len(), 30);
        assert_eq!(made.segments[&0].len(), 30);
    }
}

#[test]
fn a_segment_of_nothing_but_garbage_ends_without_units() {
    let source = with_b_frames();
    let mut messages = source.cut_at_idrs(0);
    let from = messages.iter().position(|message| matches!(message, ToLadder::Segment { seq: 3, .. })).unwrap();
    for message in &mut messages[from..] {
        if let ToLadder::Unit(unit) = message {
            unit.data = bytes::Bytes::from_static(&[0xAA; 50]);
        }
    }
    let output = run(settings(&source, &RUNGS, 1000), messages);
    for made in output.rungs.values() {
        assert_eq!(made.ended, [0, 1, 2, 3]);
        assert_eq!(made.segments.keys().copied().collect::<Vec<u64>>(), [0, 1, 2]);
    }
}

#[test]
fn the_source_may_change_its_size_and_rungs_keep_theirs() {
    let wide = make("testsrc2=size=640x320:rate=30:duration=1", "-preset ultrafast -g 30");
    let mut small = make("testsrc2=size=240x120:rate=30:duration=1", "-preset ultrafast -g 30");
    let after = wide.shown().last().unwrap() + 3000 - small.units[0].pts;
    small.units.iter_mut().for_each(|unit| (unit.pts, unit.dts) = (unit.pts + after, unit.dts + after));
    let mut messages = wide.cut_at_idrs(0);
    messages.push(ToLadder::Config(small.config.clone()));
    messages.extend(small.cut_at_idrs(1));
    let output = run(settings(&wide, &RUNGS, 1000), messages);
    for (index, made) in &output.rungs {
        let [config] = &made.configs[..] else { panic!("rung {index} changed its configuration") };
        assert_eq!(decode(config, &made.segments[&0]).0, wide.shown());
        assert_eq!(decode(config, &made.segments[&1]).0, small.shown());
    }
}

#[test]
fn rungs_may_be_listed_in_any_order_and_be_as_large_as_the_source() {
    let source = make("testsrc2=size=320x160:rate=30:duration=1", "-preset ultrafast -bf 2 -g 30");
    let listed = [rung(160, 80, 200_000), rung(320, 160, 900_000), rung(240, 120, 400_000)];
    let output = run(settings(&source, &listed, 1000), source.cut_at_idrs(0));
    for (index, rung) in listed.iter().enumerate() {
        let made = &output.rungs[&index];
        assert_eq!((made.configs[0].width(), made.configs[0].height()), (rung.width, rung.height));
        assert_eq!(decode(&made.configs[0], &made.segments[&0]).0, source.shown());
    }
}

/// What ffprobe says of a rung's first segment.
fn probe(made: &common::Rung, what: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rung.h264");
    // A length and a NAL unit each; in the avcC they stand after 8 bytes (SPS) and 3 more (PPS), with 16-bit lengths.
    let avcc = made.configs[0].avcc();
    let sps = &avcc[8..8 + usize::from(avcc[7])];
    let pps = &avcc[11 + sps.len()..11 + sps.len() + usize::from(avcc[10 + sps.len()])];
    let mut stream = Vec::new();
    let nals = made.segments[&0].iter().flat_map(|unit| media::h264::nal_units(&unit.data, 4));
    for nal in [sps.to_vec(), pps.to_vec()].into_iter().chain(nals.map(|nal| nal.unwrap().to_vec())) {
        stream.extend([0, 0, 0, 1]);
        stream.extend(nal);
    }
    std::fs::write(&file, stream).unwrap();
    let output = std::process::Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", &format!("stream={what}"), "-of", "default=nk=1:nw=1"])
        .arg(&file)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn colours_mean_the_same_on_every_rung() {
    let tags = "color_range,color_space,color_transfer,color_primaries,sample_aspect_ratio,profile";
    let check = |options: &str, expected: &str| {
        let options = format!("-preset ultrafast -g 10 {options}");
        let source = make("testsrc2=size=320x160:rate=10:duration=1", &options);
        let output = run(settings(&source, &[rung(160, 80, 300_000)], 1000), source.cut_at_idrs(0));
        assert_eq!(probe(&output.rungs[&0], tags), expected, "{options}");
    };
    let bt709 = "-colorspace bt709 -color_primaries bt709 -color_trc bt709";
    check("-pix_fmt yuv420p", "High 1:1 unknown unknown unknown unknown");
    check(&format!("-pix_fmt yuv420p -color_range tv {bt709}"), "High 1:1 tv bt709 bt709 bt709");
    check(&format!("-pix_fmt yuvj420p {bt709}"), "High 1:1 pc bt709 bt709 bt709");
    check("-pix_fmt yuv420p -aspect 16:9", "High 8:9 unknown unknown unknown unknown");
}

#[test]
fn settings_that_cannot_work_fail_at_once_and_in_words() {
    let source = make("testsrc2=size=64x32:rate=10:duration=1", "-preset ultrafast");
    let check = |rungs: &[RungSettings], expected: &str| {
        let error = Engine::new(settings(&source, rungs, 1000)).err().expect("refused");
        assert_eq!(error.to_string(), expected);
    };
    check(&[], "number of rungs is 0, and must be 1 to 8");
    check(&[rung(32, 16, 100_000); 9], "number of rungs is 9, and must be 1 to 8");
    check(&[rung(33, 16, 100_000)], "picture size is 33x16, and must be even, 2 to 16384");
    check(&[rung(32, 16, 0)], "bit rate is 0 bit/s, buffer 0 bit, and must be 10 kbit/s to 1 Gbit/s");
}
