//! Segments made by the VOD child from files of the `ffmpeg` command.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
mod films;

use bytes::Bytes;
use codec::vod::{Effort, EncodeJob, RungJob, SegmentJob, SoundJob, SoundSpan};
use films::{Made, cut, encode, film, job, mute_film, probe, rung, sound_film};
use media::unit::VideoUnit;

/// A key frame each second, B-frames, closed GOPs.
const CLOSED: &str = "-c:v libx264 -preset veryfast -g 30 -bf 3 -sc_threshold 0";

/// The source's own size, one that is scaled, one that is scaled from that.
fn rungs() -> Vec<RungJob> {
    vec![rung(320, 160, 1_000_000), rung(160, 80, 400_000), rung(80, 40, 150_000)]
}

/// That each segment's bytes are the same whether it is made with the others or alone, decoding from its own key frame.
async fn check_pure(file: Bytes) {
    let files = [file];
    let seen = probe(&files).await.remove(0);
    let (shown, keys) = (seen.shown(), seen.keys());
    let segments = cut(&shown, 50, 1);
    assert!(segments.len() > 2);
    let whole = encode(job(&files, &keys, &segments, &rungs()), &files).await;
    let again = encode(job(&files, &keys, &segments, &rungs()), &files).await;
    assert_eq!(whole, again);
    for (at, segment) in segments.iter().enumerate() {
        let alone = encode(job(&files, &keys, &segments[at..=at], &rungs()), &files).await;
        for (index, rung) in &alone.rungs {
            assert_eq!(rung.ended, [segment.seq]);
            assert_eq!(rung.config, whole.rungs[index].config);
            let pictures = shown.iter().filter(|&&pts| (segment.start..segment.end).contains(&pts)).count();
            assert_eq!(rung.segments[&segment.seq].len(), pictures, "rung {index}, segment {}", segment.seq);
            let (one, other) = (&rung.segments[&segment.seq], &whole.rungs[index].segments[&segment.seq]);
            assert!(one == other, "rung {index}, segment {} differs", segment.seq);
        }
    }
}

#[tokio::test]
async fn a_segment_is_the_same_made_alone_from_mp4_with_b_frames() {
    check_pure(sound_film("a.mp4", 6, CLOSED)).await;
}

#[tokio::test]
async fn a_segment_is_the_same_made_alone_from_flv() {
    check_pure(sound_film("a.flv", 6, CLOSED)).await;
}

#[tokio::test]
async fn every_picture_comes_out_at_its_own_time_and_decode_times_are_those_of_the_pictures_in_order() {
    let files = [sound_film("a.mp4", 4, CLOSED)];
    let seen = probe(&files).await.remove(0);
    let segments = cut(&seen.shown(), 60, 7);
    let made = encode(job(&files, &seen.keys(), &segments, &rungs()), &files).await;
    for (index, rung) in &made.rungs {
        assert_eq!(rung.ended, [7, 8]);
        let mut all = Vec::new();
        for units in rung.segments.values() {
            let mut shown: Vec<i64> = units.iter().map(|unit| unit.pts).collect();
            shown.sort_unstable();
            let decoded: Vec<i64> = units.iter().map(|unit| unit.dts).collect();
            assert_eq!(decoded, shown, "rung {index}");
            assert!(units.iter().any(|unit| unit.pts < unit.dts), "rung {index} has no B-frames");
            let straight: Vec<_> = units.iter().map(|unit| VideoUnit { dts: unit.pts, ..unit.clone() }).collect();
            assert_eq!(common::decode(rung.config.as_ref().unwrap(), &straight).0, shown, "rung {index}");
            all.extend(shown);
        }
        assert_eq!(all, seen.shown());
    }
}

#[tokio::test]
async fn a_segment_is_the_same_made_alone_from_open_gops_which_begin_with_recovery_points() {
    let seen = probe(&[sound_film("a.mp4", 6, "-c:v libx264 -g 30 -bf 3 -x264-params open-gop=1:scenecut=0")]).await;
    assert_eq!(seen[0].keys().len(), 1, "one IDR, and the others are none");
    check_pure(sound_film("a.mp4", 6, "-c:v libx264 -g 30 -bf 3 -x264-params open-gop=1:scenecut=0")).await;
}

#[tokio::test]
async fn a_segment_is_the_same_made_alone_from_recovery_points_where_idrs_are_far_apart() {
    let options =
        "-c:v libx264 -preset veryfast -g 60 -bf 3 -x264-params open-gop=1:scenecut=0:keyint=60:min-keyint=60";
    let files = [mute_film("a.mp4", 34, options)];
    let seen = probe(&files).await.remove(0);
    let (shown, keys) = (seen.shown(), seen.keys());
    assert!(keys.len() > 10, "{keys:?}");
    let segments = cut(&shown[120..300], 60, 1);
    let rungs = [rung(160, 80, 400_000)];
    let whole = encode(job(&files, &keys, &segments, &rungs), &files).await;
    for (at, segment) in segments.iter().enumerate() {
        let alone = encode(job(&files, &keys, &segments[at..=at], &rungs), &files).await;
        assert!(alone.rungs[&0].segments[&segment.seq] == whole.rungs[&0].segments[&segment.seq], "{segment:?}");
        assert_eq!(alone.rungs[&0].segments[&segment.seq].len(), 60);
    }
}

#[tokio::test]
async fn a_segment_is_the_same_made_alone_from_hevc() {
    check_pure(sound_film(
        "a.mp4",
        4,
        "-c:v libx265 -preset ultrafast -x265-params keyint=30:open-gop=1:log-level=none",
    ))
    .await;
}

#[tokio::test]
async fn a_segment_is_the_same_made_alone_from_vp9_in_webm() {
    let options = "-c:v libvpx-vp9 -g 30 -deadline realtime -cpu-used 8 -row-mt 0 -c:a libopus";
    check_pure(sound_film("a.webm", 4, options)).await;
}

#[tokio::test]
async fn a_segment_is_the_same_made_alone_behind_an_edit_list() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.mp4");
    std::fs::write(&whole, sound_film("a.mp4", 6, CLOSED)).unwrap();
    // Copied from between two key frames: what lies before is there and hidden.
    let file = film("b.mp4", &format!("-ss 1.5 -i {} -c copy", whole.display()));
    let seen = probe(std::slice::from_ref(&file)).await.remove(0);
    assert_eq!((seen.shown()[0], seen.keys()[0]), (0, 0));
    check_pure(file).await;
}

#[tokio::test]
async fn runs_go_on_over_reels_wherever_they_were_cut() {
    let file = sound_film("a.flv", 6, CLOSED);
    let one = probe(std::slice::from_ref(&file)).await.remove(0);
    let segments = cut(&one.shown(), 50, 0);
    let copied = |files: &[Bytes]| {
        let sound = SoundJob::Copy { start: 0, end: 5 * 48_000 };
        EncodeJob { sound, ..job(files, &one.keys(), &segments, &rungs()) }
    };
    let whole = [file.clone()];
    let expected = encode(copied(&whole), &whole).await;
    for pictures in [60, 47] {
        let parts = films::split_flv(&file, pictures);
        let mut shown: Vec<i64> = probe(&parts).await.iter().flat_map(films::Seen::shown).collect();
        shown.sort_unstable();
        assert_eq!(shown, one.shown());
        assert!(encode(copied(&parts), &parts).await == expected, "parts of {pictures} pictures");
    }
}

#[tokio::test]
async fn rungs_that_are_there_already_change_nothing_of_the_others() {
    let files = [mute_film("a.mp4", 4, CLOSED)];
    let seen = probe(&files).await.remove(0);
    let segments = cut(&seen.shown(), 60, 0);
    let whole = encode(job(&files, &seen.keys(), &segments, &rungs()), &files).await;
    for skip in 1..=7_u8 {
        let some: Vec<SegmentJob> = segments
            .iter()
            .map(|segment| SegmentJob { skip: if segment.seq == 0 { skip } else { 7 ^ skip }, ..*segment })
            .collect();
        let made = encode(job(&files, &seen.keys(), &some, &rungs()), &files).await;
        for (index, rung) in &made.rungs {
            assert_eq!(rung.ended, [0, 1]);
            for segment in &some {
                let skipped = segment.skip & 1 << index != 0;
                let expected = if skipped { None } else { whole.rungs[index].segments.get(&segment.seq) };
                assert!(
                    rung.segments.get(&segment.seq) == expected,
                    "skip {skip}, rung {index}, segment {}",
                    segment.seq
                );
            }
        }
    }
}

/// Noise: nothing is harder to keep below a bit rate.
const NOISE: &str = "-vf noise=alls=100:allf=t -c:v libx264 -preset ultrafast -qp 18 -g 60 -sc_threshold 0";

fn check_cap(made: &Made, job: &EncodeJob) {
    for (index, rung) in &made.rungs {
        let cap = u64::from(job.rungs[*index].bitrate);
        for segment in &job.segments {
            let units = &rung.segments[&segment.seq];
            let bits: u64 = units.iter().map(|unit| unit.data.len() as u64 * 8).sum();
            let rate = bits * 90_000 / (segment.end - segment.start) as u64;
            assert!(rate <= cap, "rung {index}, segment {}: {rate} bit/s of {cap}", segment.seq);
            assert!(rate * 2 >= cap, "rung {index}, segment {}: {rate} bit/s of {cap} is no use of them", segment.seq);
        }
    }
}

#[tokio::test]
async fn no_segment_passes_its_rungs_bit_rate_even_for_noise_and_whatever_its_length() {
    let files = [mute_film("a.mp4", 15, NOISE)];
    let seen = probe(&files).await.remove(0);
    let (shown, keys) = (seen.shown(), seen.keys());
    // 6 s, 6 s, 3 s; and 1 s.
    for (pictures, effort) in [(180, Effort::Medium), (180, Effort::Veryfast), (30, Effort::Slow)] {
        let segments = cut(&shown[..if pictures == 30 { 90 } else { 450 }], pictures, 0);
        let rungs = [rung(320, 160, 1_200_000), rung(160, 80, 300_000)].map(|rung| RungJob { effort, ..rung });
        let job = EncodeJob { segment_ms: 6000, ..job(&files, &keys, &segments, &rungs) };
        check_cap(&encode(job.clone(), &files).await, &job);
    }
}

#[tokio::test]
async fn the_bit_rate_holds_where_pictures_come_twice_as_fast_as_announced() {
    let files = [mute_film("a.mp4", 6, NOISE)];
    let seen = probe(&files).await.remove(0);
    let segments = cut(&seen.shown(), 90, 0);
    let rungs = [rung(160, 80, 300_000)];
    let job = EncodeJob { frame_rate: (15, 1), ..job(&files, &seen.keys(), &segments, &rungs) };
    check_cap(&encode(job.clone(), &files).await, &job);
}

#[tokio::test]
async fn every_kind_of_picture_becomes_8_bit_420_of_even_size() {
    let kinds = [
        ("a.mp4", "-c:v libx264 -pix_fmt yuv422p10le", (320, 160)),
        ("a.mkv", "-c:v libx264 -pix_fmt yuv444p", (320, 160)),
        ("a.mp4", "-c:v libx265 -preset ultrafast -pix_fmt yuv420p10le -x265-params log-level=none", (320, 160)),
        ("a.mov", "-c:v prores_ks", (320, 160)),
        ("a.mov", "-c:v qtrle -pix_fmt rgb24", (320, 160)),
        ("a.mp4", "-c:v libx264 -pix_fmt yuvj420p", (320, 160)),
        ("a.mkv", "-c:v libx264 -pix_fmt yuv444p -vf scale=321:161", (320, 160)),
        ("a.mp4", "-c:v libx264 -pix_fmt yuv420p -flags +ilme+ildct -x264-params tff=1", (320, 160)),
        ("a.mp4", "-c:v libsvtav1 -preset 12 -pix_fmt yuv420p10le", (320, 160)),
    ];
    let reference = mean(&[film("r.mp4", "-f lavfi -i testsrc2=size=320x160:rate=30:duration=1 -c:v libx264")]).await;
    for (name, options, (width, height)) in kinds {
        let files = [film(name, &format!("-f lavfi -i testsrc2=size=320x160:rate=30:duration=1 {options}"))];
        let seen = probe(&files).await.remove(0);
        assert_eq!(seen.shown().len(), 30, "{options}");
        let segments = cut(&seen.shown(), 30, 0);
        let made = encode(job(&files, &seen.keys(), &segments, &[rung(width, height, 2_000_000)]), &files).await;
        assert_eq!(made.rungs[&0].segments[&0].len(), 30, "{options}");
        // Full range shows darker darks: the numbers are kept, and the tag.
        let luma = mean(&files).await;
        assert!((luma - reference).abs() < 8.0, "{options}: {luma} is not {reference}");
    }
}

/// Average luma of what becomes of a second of a file.
async fn mean(files: &[Bytes]) -> f64 {
    let seen = probe(files).await.remove(0);
    let segments = cut(&seen.shown(), 30, 0);
    let made = encode(job(files, &seen.keys(), &segments, &[rung(320, 160, 2_000_000)]), files).await;
    let config = made.rungs[&0].config.clone().unwrap();
    let units: Vec<VideoUnit> =
        made.rungs[&0].segments[&0].iter().map(|unit| VideoUnit { dts: unit.pts, ..unit.clone() }).collect();
    let lumas = common::decode(&config, &units).1;
    lumas.iter().sum::<f64>() / lumas.len() as f64
}

#[tokio::test]
async fn sound_is_copied_packet_by_packet_within_its_bounds() {
    for name in ["a.mp4", "a.flv", "a.mkv"] {
        let files = [sound_film(name, 6, CLOSED)];
        let seen = probe(&files).await.remove(0);
        let segments = cut(&seen.shown()[..120], 30, 0);
        let expected: Vec<i64> = seen.audio.iter().map(|stamp| stamp.pts).collect();
        for (from, to) in [(0, 4), (2, 4), (3, 4)] {
            let (start, end) = (segments[from].start * 48 / 90, segments[to - 1].end * 48 / 90);
            let sound = SoundJob::Copy { start, end };
            let job = EncodeJob { sound, ..job(&files, &seen.keys(), &segments[from..to], &rungs()) };
            let made = encode(job, &files).await;
            let got: Vec<i64> = made.packets.iter().map(|(pts, _)| *pts).collect();
            let wanted: Vec<i64> = expected.iter().copied().filter(|pts| (start..end).contains(pts)).collect();
            assert_eq!(got, wanted, "{name} {from}..{to}");
            assert!(made.packets.iter().all(|(_, data)| !data.is_empty()));
        }
    }
}

#[tokio::test]
async fn sound_that_is_encoded_is_the_same_made_alone() {
    for (name, options) in [("a.mp4", CLOSED), ("a.flv", CLOSED), ("a.mkv", "-c:v libx264 -g 30 -c:a libopus")] {
        let files = [sound_film(name, 8, options)];
        let seen = probe(&files).await.remove(0);
        let segments = cut(&seen.shown(), 60, 0);
        let span = |segment: &SegmentJob| SoundSpan { seq: segment.seq, start: segment.start * 48 / 90, blocks: 94 };
        let with = |segments: &[SegmentJob]| EncodeJob {
            sound: SoundJob::Encode {
                sample_rate: 48_000,
                channels: 2,
                bitrate: 128_000,
                spans: segments.iter().map(span).collect(),
            },
            ..job(&files, &seen.keys(), segments, &rungs())
        };
        let whole = encode(with(&segments), &files).await;
        assert_eq!(whole.sounds.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
        for (at, segment) in segments.iter().enumerate() {
            let alone = encode(with(&segments[at..=at]), &files).await;
            assert_eq!(alone.sounds[&segment.seq].len(), 94);
            assert!(alone.sounds[&segment.seq] == whole.sounds[&segment.seq], "{name}, segment {}", segment.seq);
        }
    }
}
