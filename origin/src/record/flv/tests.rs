//! FLV files as tables: simulated tags, read back with a plain eye.

use super::*;
use media::aac::AudioConfig;

fn sound(rtmp_ms: u32) -> Ingested {
    Ingested::Audio { rtmp_ms, data: Bytes::from_static(b"sound") }
}

/// A picture of one NAL unit behind a length of 4 bytes: type 5 is an IDR.
fn picture(rtmp_ms: u32, idr: bool) -> Ingested {
    let data = Bytes::from_static(if idr { &[0, 0, 0, 2, 0x65, 1] } else { &[0, 0, 0, 2, 0x41, 1] });
    Ingested::Video { rtmp_ms, composition_ms: 66, data }
}

fn config() -> Ingested {
    Ingested::AudioConfig(AudioConfig::lc(48_000, 2).unwrap())
}

fn muxer() -> Muxer {
    Muxer { video: Some((Bytes::from_static(b"avcc"), 4)), ..Muxer::default() }
}

/// Kinds and times of the tags in these bytes, which are whole FLV but for the header.
fn tags(written: &Written) -> Vec<(u8, u32)> {
    let all = written.bytes.concat();
    let mut rest = if written.begins { &all[HEADER.len()..] } else { &all[..] };
    let mut found = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_be_bytes([0, rest[1], rest[2], rest[3]]) as usize;
        found.push((rest[0], u32::from_be_bytes([rest[7], rest[4], rest[5], rest[6]])));
        let before = &rest[11 + length..15 + length];
        assert_eq!(u32::from_be_bytes(before.try_into().unwrap()) as usize, 11 + length);
        rest = &rest[15 + length..];
    }
    found
}

#[test]
fn every_file_begins_with_what_decoders_need() {
    let mut muxer = muxer();
    assert_eq!(tags(&muxer.push(&config())), [(VIDEO, 0), (AUDIO, 0)]);
    let first = muxer.push(&picture(0x0100_0000, true));
    assert_eq!(
        (first.begins, tags(&first)),
        (true, vec![(VIDEO, 0x0100_0000), (AUDIO, 0x0100_0000), (VIDEO, 0x0100_0000)])
    );
    let second = muxer.push(&picture(0x0100_0000 + 10_000, true));
    assert!(second.begins);
    assert_eq!(tags(&second).len(), 3, "picture and sound are described again, then the picture");
}

#[test]
fn files_end_at_key_frames_and_without_them_all_the_same() {
    for (tags, expected) in [
        (vec![picture(0, true), picture(9_999, true)], 1),
        (vec![picture(0, true), picture(10_000, true)], 2),
        (vec![picture(0, true), picture(10_000, false), sound(10_001)], 1),
        (vec![picture(0, true), picture(59_999, false), picture(60_000, false)], 2),
        (vec![picture(5, true), sound(0), sound(10_006), picture(10_006, true)], 2),
        (vec![picture(u32::MAX - 4_999, true), picture(5_000, true)], 2),
    ] {
        let mut muxer = muxer();
        let begun = tags.iter().filter(|tag| muxer.push(tag).begins).count();
        assert_eq!(begun, expected, "{tags:?}");
    }
}

#[test]
fn large_files_end_at_the_next_key_frame() {
    let mut muxer = muxer();
    let mut data = vec![0x41; PART_BYTES as usize];
    data[..4].copy_from_slice(&(PART_BYTES as u32 - 4).to_be_bytes());
    let data = Bytes::from(data);
    assert!(muxer.push(&picture(0, true)).begins);
    assert!(!muxer.push(&Ingested::Video { rtmp_ms: 33, composition_ms: 0, data }).begins);
    assert!(!muxer.push(&picture(66, false)).begins);
    assert!(muxer.push(&picture(100, true)).begins);
}

#[test]
fn a_publisher_that_comes_back_begins_a_file() {
    let mut muxer = muxer();
    assert!(muxer.push(&picture(0, true)).begins);
    assert!(!muxer.push(&sound(10)).begins);
    muxer.publish();
    assert!(muxer.push(&sound(0)).begins);
}

#[test]
fn pictures_keep_their_bytes_and_both_times() {
    let mut muxer = muxer();
    muxer.push(&picture(0x0102_0300, true));
    let written = muxer.push(&picture(0x0102_0304, false)).bytes.concat();
    assert_eq!(written[..11], [9, 0, 0, 11, 2, 3, 4, 1, 0, 0, 0]);
    assert_eq!(written[11..22], [0x27, 1, 0, 0, 66, 0, 0, 0, 2, 0x41, 1]);
}
