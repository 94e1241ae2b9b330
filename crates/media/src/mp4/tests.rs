//! What is written here, read by mp4-atom (an independent reader) and by [`super::read`].

use super::boxes::Writer;
use super::read::{FragmentInfo, InitInfo, TrackFragment, boxes, fragment_info, init_info};
use super::{Sample, Track, chunk, init_audio, init_video};
use crate::aac::AudioConfig;
use crate::error::Malformed;
use crate::h264::samples;
use crate::projection::{Layout, Projection, Stereo};
use bytes::Bytes;
use mp4_atom::{Any, Codec, DecodeMaybe, FourCC, ProjKind, Spatial, Trak, TrunEntry};
use proptest::prelude::*;

const LAYOUT_360: Layout = Layout { projection: Projection::Equirect, stereo: Stereo::Mono };

/// Every top-level box, as mp4-atom reads it; nothing may be left over.
fn oracle(data: &[u8]) -> Vec<Any> {
    let mut rest = data;
    let mut atoms = Vec::new();
    while let Some(atom) = Any::decode_maybe(&mut rest).unwrap() {
        atoms.push(atom);
    }
    assert!(rest.is_empty());
    atoms
}

fn oracle_track(init: &[u8]) -> Trak {
    match &oracle(init)[..] {
        [Any::Ftyp(ftyp), Any::Moov(moov)] => {
            assert!(ftyp.compatible_brands.contains(&FourCC::new(b"cmf2")));
            assert_eq!(moov.mvex.as_ref().unwrap().trex[0].track_id, 1);
            assert_eq!(moov.mvhd.next_track_id, 2);
            let track = &moov.trak[0];
            let made = [moov.mvhd.creation_time, track.tkhd.creation_time, track.mdia.mdhd.creation_time];
            let changed =
                [moov.mvhd.modification_time, track.tkhd.modification_time, track.mdia.mdhd.modification_time];
            assert_eq!((made, changed), ([0; 3], [0; 3]), "a time of day would make equal inputs give unequal bytes");
            track.clone()
        }
        other => panic!("{other:?}"),
    }
}

fn video_samples() -> Vec<Sample> {
    let sample = |duration, composition_offset, sync, data: &'static [u8]| Sample {
        duration,
        composition_offset,
        sync,
        data: Bytes::from_static(data),
    };
    vec![sample(3000, 0, true, b"idr"), sample(3000, 6000, false, b"p"), sample(3003, -3000, false, b"bb")]
}

#[test]
fn an_independent_reader_finds_the_video_track() {
    let config = samples::config(samples::HIGH_4K30);
    let track = oracle_track(&init_video(&config, LAYOUT_360));
    assert_eq!((track.tkhd.track_id, track.tkhd.width.integer(), track.tkhd.height.integer()), (1, 3840, 1920));
    assert_eq!(track.mdia.mdhd.timescale, 90_000);
    assert_eq!(track.mdia.hdlr.handler, FourCC::new(b"vide"));
    let [Codec::Avc1(avc1)] = &track.mdia.minf.stbl.stsd.codecs[..] else { panic!("one avc1") };
    assert_eq!((avc1.visual.width, avc1.visual.height), (3840, 1920));
    let (sps, pps) = samples::parameter_sets(samples::HIGH_4K30);
    assert_eq!(avc1.avcc.sequence_parameter_sets, [sps.to_vec()]);
    assert_eq!(avc1.avcc.picture_parameter_sets, [pps.to_vec()]);
    assert_eq!(avc1.avcc.length_size, 4);
}

#[test]
fn an_independent_reader_finds_the_audio_track() {
    for (config, rate) in [(AudioConfig::lc(48_000, 6).unwrap(), 48_000), (AudioConfig::lc(96_000, 2).unwrap(), 0)] {
        let track = oracle_track(&init_audio(&config));
        assert_eq!(track.mdia.mdhd.timescale, config.sample_rate());
        assert_eq!(track.mdia.hdlr.handler, FourCC::new(b"soun"));
        let [Codec::Mp4a(mp4a)] = &track.mdia.minf.stbl.stsd.codecs[..] else { panic!("one mp4a") };
        assert_eq!(mp4a.audio.channel_count, u16::from(config.channels()));
        assert_eq!(mp4a.audio.sample_rate.integer(), rate, "a rate above 65535 does not fit the sample entry");
        let decoder = &mp4a.esds.es_desc.dec_config;
        assert_eq!((decoder.object_type_indication, decoder.stream_type), (0x40, 5));
        let specific = decoder.dec_specific.as_ref().unwrap();
        assert_eq!(specific.profile, 2);
        assert_eq!(
            u32::from(specific.freq_index),
            u32::from(config.asc()[0] & 7) << 1 | u32::from(config.asc()[1] >> 7)
        );
    }
}

/// What Google's and Apple's boxes should say.
#[derive(Debug, Default, PartialEq)]
struct Said {
    st3d: Option<u8>,
    /// Name of the projection, and what is cropped at the left and right.
    sv3d: Option<(&'static str, u32)>,
    vexu: Option<&'static [u8; 4]>,
    packing: Option<&'static [u8; 4]>,
    hfov: Option<u32>,
}

fn check_layout(projection: Projection, stereo: Stereo, expected: &Said) {
    let init = init_video(&samples::config(samples::HIGH_4K30), Layout { projection, stereo });
    let track = oracle_track(&init);
    let [Codec::Avc1(avc1)] = &track.mdia.minf.stbl.stsd.codecs[..] else { panic!("one avc1") };
    let spatial: Spatial = avc1.spatial.as_deref().cloned().unwrap_or_default();
    assert!(spatial.unknown.is_empty(), "{projection:?} {stereo:?}");
    let sv3d = spatial.sv3d.map(|sv3d| {
        assert_eq!(sv3d.svhd.unwrap().metadata_source, "live360");
        let proj = sv3d.proj.unwrap();
        assert_eq!(proj.prhd.unwrap(), mp4_atom::Prhd::default());
        match proj.kind.unwrap() {
            ProjKind::Equi(equi) => {
                assert_eq!((equi.projection_bounds_top, equi.projection_bounds_bottom), (0, 0));
                assert_eq!(equi.projection_bounds_left, equi.projection_bounds_right);
                ("equi", equi.projection_bounds_left)
            }
            ProjKind::Cbmp(cbmp) => {
                assert_eq!((cbmp.layout, cbmp.padding), (0, 0));
                ("cbmp", 0)
            }
            other => panic!("{other:?}"),
        }
    });
    let kind = |name: &'static [u8; 4]| FourCC::new(name);
    assert_eq!(spatial.st3d.map(|st3d| st3d.stereo_mode), expected.st3d, "{projection:?} {stereo:?}");
    assert_eq!(sv3d, expected.sv3d, "{projection:?} {stereo:?}");
    assert_eq!(spatial.hfov.map(|hfov| hfov.field_of_view), expected.hfov, "{projection:?} {stereo:?}");
    let vexu = spatial.vexu.unwrap_or_default();
    let prji = vexu.proj.and_then(|proj| proj.prji).map(|prji| prji.projection_kind);
    assert_eq!(prji, expected.vexu.map(kind), "{projection:?} {stereo:?}");
    let pkin = vexu.pack.and_then(|pack| pack.pkin).map(|pkin| pkin.view_packing_kind);
    assert_eq!(pkin, expected.packing.map(kind), "{projection:?} {stereo:?}");
    let eyes = vexu.eyes.and_then(|eyes| eyes.stri).map(|stri| stri.has_left_eye_view && stri.has_right_eye_view);
    assert_eq!(eyes, expected.packing.map(|_| true), "{projection:?} {stereo:?}");
}

#[test]
fn an_independent_reader_finds_the_layout() {
    use Projection::{Cubemap, Dfisheye, Equirect, Flat, Hequ};
    use Stereo::{Lr, Mono, Tb};
    let quarter = 0x4000_0000;
    let whole = Said { sv3d: Some(("equi", 0)), vexu: Some(b"equi"), hfov: Some(360_000), ..Said::default() };
    let half = Said { sv3d: Some(("equi", quarter)), vexu: Some(b"hequ"), hfov: Some(180_000), ..Said::default() };
    check_layout(Equirect, Mono, &Said { st3d: Some(0), ..whole });
    check_layout(Equirect, Tb, &Said { st3d: Some(1), packing: Some(b"over"), ..whole });
    check_layout(Equirect, Lr, &Said { st3d: Some(2), packing: Some(b"side"), ..whole });
    check_layout(Hequ, Mono, &Said { st3d: Some(0), ..half });
    check_layout(Hequ, Lr, &Said { st3d: Some(2), packing: Some(b"side"), ..half });
    check_layout(Cubemap, Mono, &Said { st3d: Some(0), sv3d: Some(("cbmp", 0)), ..Said::default() });
    check_layout(Cubemap, Tb, &Said { st3d: Some(1), sv3d: Some(("cbmp", 0)), ..Said::default() });
    check_layout(Dfisheye, Mono, &Said::default());
    check_layout(Flat, Mono, &Said::default());
    check_layout(Flat, Lr, &Said { st3d: Some(2), vexu: Some(b"rect"), packing: Some(b"side"), ..Said::default() });
}

#[test]
fn apples_boxes_have_the_bytes_of_its_muxer() {
    // vexu/proj/prji and hfov of a mono 360° picture, as FFmpeg's movenc writes them.
    let init = init_video(&samples::config(samples::HIGH_4K30), LAYOUT_360);
    let vexu = b"\0\0\0\x20vexu\0\0\0\x18proj\0\0\0\x10prji\0\0\0\0equi\0\0\0\x0chfov\0\x05\x7e\x40";
    assert!(init.windows(vexu.len()).any(|window| window == vexu));
}

#[test]
fn an_independent_reader_finds_every_sample_of_a_chunk() {
    let samples = video_samples();
    let bytes = chunk(Track::Video, 7, 1 << 40, &samples);
    let atoms = oracle(&bytes);
    let [Any::Moof(moof), Any::Mdat(mdat)] = &atoms[..] else { panic!("{atoms:?}") };
    assert_eq!(moof.mfhd.sequence_number, 7);
    let [traf] = &moof.traf[..] else { panic!("one traf") };
    assert!(traf.tfhd.default_base_is_moof);
    assert_eq!(traf.tfdt.as_ref().unwrap().base_media_decode_time, 1 << 40);
    let [trun] = &traf.trun[..] else { panic!("one trun") };
    let entry = |duration, size, flags, cts| TrunEntry {
        duration: Some(duration),
        size: Some(size),
        flags: Some(flags),
        cts: Some(cts),
    };
    let expected =
        [entry(3000, 3, 0x0200_0000, 0), entry(3000, 1, 0x0101_0000, 6000), entry(3003, 2, 0x0101_0000, -3000)];
    assert_eq!(trun.samples.iter().collect::<Vec<_>>(), expected);
    assert_eq!(mdat.data, b"idrpbb");
    let at = usize::try_from(trun.data_offset.unwrap()).unwrap();
    assert_eq!(bytes[at..at + 6], *b"idrpbb");
}

#[test]
fn audio_chunks_leave_flags_to_the_header() {
    let sample = Sample { duration: 1024, composition_offset: 0, sync: true, data: Bytes::from_static(b"aac") };
    let bytes = chunk(Track::Audio, 1, 48_000, &[sample.clone(), sample]);
    let atoms = oracle(&bytes);
    let [Any::Moof(moof), Any::Mdat(_)] = &atoms[..] else { panic!("{atoms:?}") };
    assert_eq!(moof.traf[0].tfhd.default_sample_flags, Some(0x0200_0000));
    let entry = TrunEntry { duration: Some(1024), size: Some(3), flags: None, cts: None };
    assert_eq!(moof.traf[0].trun[0].samples.iter().collect::<Vec<_>>(), [entry, entry]);
}

#[test]
fn our_reader_says_what_was_written() {
    let video = init_video(&samples::config(samples::HIGH_1080P30), LAYOUT_360);
    let info = InitInfo {
        codec: *b"avc1",
        codec_string: "avc1.640028".into(),
        timescale: 90_000,
        width: 1920,
        height: 1080,
        has_vexu: true,
        has_sv3d: true,
    };
    assert_eq!(init_info(&video), Some(info.clone()));
    let flat =
        init_video(&samples::config(samples::HIGH_1080P30), Layout { projection: Projection::Flat, ..LAYOUT_360 });
    assert_eq!(init_info(&flat), Some(InitInfo { has_vexu: false, has_sv3d: false, ..info }));
    let audio = init_info(&init_audio(&AudioConfig::lc(44_100, 2).unwrap())).unwrap();
    assert_eq!((&audio.codec, &audio.codec_string[..], audio.timescale), (b"mp4a", "mp4a.40.2", 44_100));

    let one = chunk(Track::Video, 1, 90_000, &video_samples()[..1]);
    let two = chunk(Track::Video, 2, 93_000, &video_samples());
    let first = TrackFragment {
        sequence: 1,
        track_id: 1,
        base_decode_time: 90_000,
        samples: 1,
        first_is_sync: true,
        duration: 3000,
        min_pts: 90_000,
        offset: 0,
        moof_bytes: one.len() - 8 - 3,
        mdat_bytes: 8 + 3,
    };
    let second = TrackFragment {
        sequence: 2,
        base_decode_time: 93_000,
        samples: 3,
        duration: 9003,
        offset: one.len(),
        moof_bytes: two.len() - 8 - 6,
        mdat_bytes: 8 + 6,
        min_pts: 93_000,
        ..first
    };
    assert_eq!(fragment_info(&[one, two].concat()), Ok(FragmentInfo { tracks: vec![first, second] }));
}

#[test]
fn the_earliest_presentation_time_may_lie_before_the_first_decoding_time() {
    let mut samples = video_samples();
    samples[1].composition_offset = -4000;
    let info = fragment_info(&chunk(Track::Video, 1, 500, &samples)).unwrap();
    assert_eq!(info.tracks[0].min_pts, -500);
}

#[test]
fn files_that_are_not_whole_chunks_are_refused() {
    let whole = chunk(Track::Video, 1, 0, &video_samples());
    let check = |data: &[u8], why| assert_eq!(fragment_info(data), Err(Malformed(why)));
    check(&whole[..whole.len() - 1], "a box size that its data does not have");
    check(&whole[..whole.len() - 14], "a moof without mdat");
    check(&whole[whole.len() - 14..], "a box where a moof or its mdat belongs");
    check(&init_audio(&AudioConfig::lc(48_000, 2).unwrap()), "a box where a moof or its mdat belongs");
    let mut short = whole.to_vec();
    short.truncate(whole.len() - 1);
    short[whole.len() - 14 + 3] -= 1;
    check(&short, "samples do not fill the mdat");
    assert_eq!(fragment_info(&[]), Ok(FragmentInfo::default()));
}

/// A chunk as other packagers write it: `tfdt` of version 0, what `tfhd_flags` say in `tfhd`, the first sample's flags
/// apart, three samples of two bytes.
fn foreign_chunk(tfhd_flags: u32) -> Vec<u8> {
    let mut w = Writer::default();
    w.boxed(b"moof", |w| {
        w.full_box(b"mfhd", 0, 0, |w| w.u32(9));
        w.boxed(b"traf", |w| {
            w.full_box(b"tfhd", 0, tfhd_flags, |w| {
                w.u32(5);
                for (bit, value) in [(0x8, 1001), (0x10, 2), (0x20, 0x0101_0000)] {
                    if tfhd_flags & bit != 0 {
                        w.u32(value);
                    }
                }
            });
            w.full_box(b"tfdt", 0, 0, |w| w.u32(4000));
            w.full_box(b"trun", 0, 0x4, |w| {
                w.u32(3);
                w.u32(0x0200_0000);
            });
        });
    });
    w.boxed(b"mdat", |w| w.bytes(b"aabbcc"));
    w.finish()
}

#[test]
fn defaults_of_the_track_fragment_count_and_those_of_other_files_do_not() {
    let info = fragment_info(&foreign_chunk(0x02_0038)).unwrap();
    let [track] = &info.tracks[..] else { panic!("one track") };
    assert_eq!((track.sequence, track.track_id, track.base_decode_time), (9, 5, 4000));
    assert_eq!((track.samples, track.duration, track.first_is_sync, track.min_pts), (3, 3003, true, 4000));
    for (tfhd_flags, why) in [
        (0x02_0030, "a sample without duration"),
        (0x02_0028, "a sample without size"),
        (0x02_0018, "a sample without flags"),
        (0x00_0038, "a tfhd ends early or is not relative to its moof"),
    ] {
        assert_eq!(fragment_info(&foreign_chunk(tfhd_flags)), Err(Malformed(why)));
    }
}

#[test]
fn box_sizes_may_be_long_or_open() {
    let names =
        |data: &[u8]| boxes(data).map(|item| item.map(|(name, content)| (name, content.len()))).collect::<Vec<_>>();
    assert_eq!(names(b"\0\0\0\x09free1\0\0\0\0mdat123"), [Ok((*b"free", 1)), Ok((*b"mdat", 3))]);
    assert_eq!(names(b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x12ab"), [Ok((*b"mdat", 2))]);
    let wrong = Malformed("a box size that its data does not have");
    assert_eq!(names(b"\0\0\0\x07free"), [Err(wrong)]);
    assert_eq!(names(b"\0\0\0\x01mdat\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFFab"), [Err(wrong)]);
    assert_eq!(names(b"\0\0\0"), [Err(Malformed("a box header ends early"))]);
}

proptest! {
    #[test]
    fn no_file_panics(data: Vec<u8>) {
        boxes(&data).for_each(drop);
        let _ = init_info(&data);
        let _ = fragment_info(&data);
    }

    #[test]
    fn no_damaged_file_panics(changes in proptest::collection::vec((0usize..900, any::<u8>()), 1..6), keep in 0usize..900) {
        let init = init_video(&samples::config(samples::HIGH_4K30), LAYOUT_360);
        let audio = init_audio(&AudioConfig::lc(48_000, 2).unwrap());
        let media = chunk(Track::Video, 1, 90_000, &video_samples());
        for whole in [init, audio, media] {
            let mut data = whole.to_vec();
            for &(at, byte) in &changes {
                let at = at % data.len();
                data[at] = byte;
            }
            data.truncate(keep);
            let _ = init_info(&data);
            let _ = fragment_info(&data);
        }
    }

    #[test]
    fn chunks_read_back(
        base in 0u64..1 << 50,
        sequence: u32,
        runs in proptest::collection::vec((0u32..100_000, -90_000i32..90_000, any::<bool>(), 0usize..50), 1..40),
    ) {
        let samples: Vec<Sample> = runs
            .iter()
            .map(|&(duration, composition_offset, sync, size)| Sample {
                duration, composition_offset, sync, data: vec![7; size].into(),
            })
            .collect();
        let info = fragment_info(&chunk(Track::Video, sequence, base, &samples)).unwrap();
        let track = &info.tracks[0];
        prop_assert_eq!((track.sequence, track.base_decode_time), (sequence, base));
        prop_assert_eq!(track.samples as usize, samples.len());
        prop_assert_eq!(track.first_is_sync, samples[0].sync);
        prop_assert_eq!(track.duration, samples.iter().map(|s| u64::from(s.duration)).sum::<u64>());
        let mut dts = i64::try_from(base).unwrap();
        let mut earliest = i64::MAX;
        for sample in &samples {
            earliest = earliest.min(dts + i64::from(sample.composition_offset));
            dts += i64::from(sample.duration);
        }
        prop_assert_eq!(track.min_pts, earliest);
    }
}
