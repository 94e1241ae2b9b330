//! Facts that are read back from segments, and what is no segment. Knows no encoder.

use super::*;
use media::mp4::Track;
use media::package::{Packaged, Packager, Unit};
use proptest::prelude::*;

const INIT: &str = "0123456789abcdef";

/// A segment of five pictures, without a head, and the length of its first chunk.
pub(crate) fn segment() -> (Vec<u8>, u64) {
    let mut packager = Packager::new(Track::Video, i64::MAX / 4, 3000);
    let mut out = Vec::new();
    for n in 0..5_u8 {
        let data = Bytes::from(vec![n; 20]);
        packager.push(0, Unit { dts: i64::from(n) * 3000, pts: i64::from(n) * 3000, sync: n == 0, data }, &mut out);
    }
    packager.finish(None, &mut out);
    let [Packaged::Part(_, part), Packaged::Segment(_, closed)] = &out[..] else { panic!("not one part") };
    (part.bytes.to_vec(), closed.first_chunk)
}

#[test]
fn a_segment_says_itself_what_it_is() {
    let (bytes, first_chunk) = segment();
    let head = head(INIT, "avc1.640028");
    let object = [&head[..], &bytes].concat();
    let facts = RungFacts {
        bytes: object.len() as u64,
        first_chunk: first_chunk + head.len() as u64,
        init: INIT.to_owned(),
        codec: "avc1.640028".to_owned(),
    };
    assert_eq!(read_segment(&object), Some(facts));
    // Readers of fragments pass over it, and the first chunk by itself is one too.
    assert_eq!(fragment_info(&object).unwrap().tracks.len(), 2);
    assert_eq!(fragment_info(&object[..first_chunk as usize + head.len()]).unwrap().tracks[0].samples, 1);
}

#[test]
fn what_is_cut_off_or_another_is_none() {
    let (bytes, _) = segment();
    let object = [&head(INIT, "avc1.640028")[..], &bytes].concat();
    for length in 0..object.len() {
        let whole = fragment_info(&object[..length]).is_ok_and(|info| !info.tracks.is_empty());
        assert!(whole || read_segment(&object[..length]).is_none(), "{length} bytes");
    }
    assert_eq!(read_segment(&bytes), None);
    assert_eq!(read_segment(&[&head("../../../../../..", "avc1.640028")[..], &bytes].concat()), None);
    assert_eq!(read_segment(&[&head(INIT, "avc1\"")[..], &bytes].concat()), None);
    assert_eq!(read_segment(&[&head(INIT, "")[..], &bytes].concat()), None);
}

#[test]
fn sound_is_read_too() {
    let (bytes, _) = segment();
    assert_eq!(read_sound(&bytes), Some(bytes.len() as u64));
    assert_eq!(read_sound(&bytes[..bytes.len() - 1]), None);
    assert_eq!(read_sound(&[]), None);
}

#[test]
fn facts_survive_being_written_and_nonsense_is_none() {
    let rung = |init: &str, codec: &str, first_chunk| {
        Some(RungFacts { bytes: 100, first_chunk, init: init.to_owned(), codec: codec.to_owned() })
    };
    let of = |rungs| TaskFacts {
        version: VERSION,
        task: 3,
        segments: vec![SegmentFacts { number: 15, rungs, sound: Some(7) }],
    };
    let facts = of(vec![rung(INIT, "avc1.640028", 9), None]);
    assert_eq!(TaskFacts::parse(facts.to_json().as_bytes()), Some(facts));
    for bad in [rung("x", "avc1", 9), rung(INIT, "avc1\n#EXT-X", 9), rung(INIT, "avc1", 101)] {
        assert_eq!(TaskFacts::parse(of(vec![bad]).to_json().as_bytes()), None);
    }
    assert_eq!(TaskFacts::parse(TaskFacts { version: 2, ..of(vec![]) }.to_json().as_bytes()), None);
    assert_eq!(TaskFacts::parse(b"{}"), None);
}

#[test]
fn hashes_are_those_of_names() {
    assert_eq!(hash(b""), "e3b0c44298fc1c14");
    assert!(is_init(&hash(b"x")));
}

proptest! {
    #[test]
    fn no_object_panics(object: Vec<u8>, at: prop::sample::Index, byte: u8) {
        let _ = (read_segment(&object), read_sound(&object), TaskFacts::parse(&object));
        let (bytes, _) = segment();
        let mut object = [&head(INIT, "avc1.640028")[..], &bytes].concat();
        let at = at.index(object.len());
        object[at] = byte;
        let _ = read_segment(&object);
    }
}
