//! The sound of spans against the sound that went in.

use super::*;
use ffmpeg_next::codec::Id;
use ffmpeg_next::format::{Sample, sample};
use ffmpeg_next::{ChannelLayout, Rational, codec, encoder, frame};

const PLANAR: sample::Type = sample::Type::Planar;
const PACKED: sample::Type = sample::Type::Packed;

/// A source: how it is packed, and its packets with their PTS in samples.
struct Source {
    params: Parameters,
    packets: Vec<(i64, Packet)>,
}

/// What a source is made with.
struct Kind {
    id: Id,
    format: Sample,
    rate: u32,
    channels: i32,
    /// Samples in a packet, where the codec leaves that open.
    samples: usize,
}

fn sine(rate: u32, hz: f64) -> impl Fn(i64) -> f64 {
    move |at| 0.5 * (std::f64::consts::TAU * hz * at as f64 / f64::from(rate)).sin()
}

/// Encodes `wave` from sample 0 on for `seconds`, the same in all channels.
fn source(kind: &Kind, seconds: usize, wave: impl Fn(i64) -> f64) -> Source {
    let found = encoder::find(kind.id).unwrap();
    let mut context = codec::Context::new_with_codec(found).encoder().audio().unwrap();
    context.set_rate(kind.rate as i32);
    context.set_format(kind.format);
    context.set_channel_layout(ChannelLayout::default(kind.channels));
    context.set_time_base(Rational(1, kind.rate as i32));
    context.set_bit_rate(256_000);
    let mut encoder = context.open_as(found).unwrap();
    let count = match encoder.frame_size() {
        0 => kind.samples,
        size => size as usize,
    };
    let mut source = Source { params: Parameters::from(&encoder), packets: Vec::new() };
    let mut packet = Packet::empty();
    for block in 0..seconds * kind.rate as usize / count {
        let mut frame = frame::Audio::new(kind.format, count, ChannelLayout::default(kind.channels));
        frame.set_rate(kind.rate);
        frame.set_pts(Some((block * count) as i64));
        fill(&mut frame, |i| wave((block * count + i) as i64));
        encoder.send_frame(&frame).unwrap();
        while encoder.receive_packet(&mut packet).is_ok() {
            source.packets.push((packet.pts().unwrap(), packet.clone()));
        }
    }
    encoder.send_eof().unwrap();
    while encoder.receive_packet(&mut packet).is_ok() {
        source.packets.push((packet.pts().unwrap(), packet.clone()));
    }
    source
}

fn fill(frame: &mut frame::Audio, wave: impl Fn(usize) -> f64) {
    let (planes, format) = (frame.planes(), frame.format());
    let each = if format.is_planar() { 1 } else { frame.channels() as usize };
    for plane in 0..planes {
        let bytes = frame.data_mut(plane);
        for (at, sample) in bytes.chunks_exact_mut(format.bytes()).enumerate() {
            let value = wave(at / each);
            match format {
                Sample::F32(_) => sample.copy_from_slice(&(value as f32).to_ne_bytes()),
                Sample::I16(_) => sample.copy_from_slice(&((value * 32_767.0) as i16).to_ne_bytes()),
                Sample::I32(_) => sample.copy_from_slice(&((value * 2_147_483_000.0) as i32).to_ne_bytes()),
                Sample::U8(_) => sample[0] = (value * 127.0 + 128.0) as u8,
                other => panic!("{other:?}"),
            }
        }
    }
}

fn job(rate: u32, channels: u8, spans: &[(i64, u32)]) -> SoundJob {
    let spans = spans.iter().zip(10..).map(|(&(start, blocks), seq)| SoundSpan { seq, start, blocks }).collect();
    SoundJob::Encode { sample_rate: rate, channels, bitrate: 128_000, spans }
}

/// Runs a job over a source's packets.
fn run(job: &SoundJob, source: &Source) -> Vec<(u64, Vec<Bytes>)> {
    let mut made = Vec::new();
    let mut out = |seq, blocks| made.push((seq, blocks));
    let mut maker = Maker::new(job, &source.params).unwrap();
    for (pts, packet) in &source.packets {
        maker.push(packet, *pts, &mut out).unwrap();
    }
    maker.finish(&mut out).unwrap();
    made
}

/// Decodes blocks, interleaved: the first block gives what lies before it and is dropped.
fn decode(rate: u32, channels: u8, blocks: &[Bytes]) -> Vec<f32> {
    let config = AudioConfig::lc(rate, channels).unwrap();
    let mut context = codec::Context::new_with_codec(codec::decoder::find(Id::AAC).unwrap());
    let asc = config.asc();
    let mut params = Parameters::new();
    params.set_medium(ffmpeg_next::media::Type::Audio);
    params.set_id(Id::AAC);
    give_extradata(&mut params, asc);
    context.set_parameters(params).unwrap();
    let mut decoder = context.decoder().audio().unwrap();
    let mut all = Vec::new();
    for block in blocks {
        decoder.send_packet(&Packet::copy(block)).unwrap();
        let mut frame = frame::Audio::empty();
        decoder.receive_frame(&mut frame).unwrap();
        assert_eq!((frame.rate(), frame.channels(), frame.samples()), (rate, channels.into(), 1024));
        for i in 0..1024 {
            all.extend((0..usize::from(channels)).map(|channel| frame.plane::<f32>(channel)[i]));
        }
    }
    all
}

#[allow(unsafe_code)]
fn give_extradata(params: &mut Parameters, bytes: &[u8]) {
    // SAFETY: live parameters without extradata; av_mallocz'd memory with padding, which they free.
    unsafe {
        let raw = params.as_mut_ptr();
        let memory = ffmpeg_next::ffi::av_mallocz(bytes.len() + 64).cast::<u8>();
        memory.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        (*raw).extradata = memory;
        (*raw).extradata_size = bytes.len() as i32;
    }
}

/// dB by which a wave stands above its difference to what was heard.
fn snr(heard: &[f32], start: i64, wave: &dyn Fn(i64) -> f64) -> f64 {
    let (mut signal, mut noise) = (1e-12, 1e-12);
    for (i, &sample) in heard.iter().enumerate() {
        let due = wave(start + i as i64);
        signal += due * due;
        noise += (f64::from(sample) - due).powi(2);
    }
    10.0 * (signal / noise).log10()
}

/// Makes three spans of a source, and holds the whole and each seam's neighbourhood against the sine; `gain` is what
/// mixing makes of it.
fn check(kind: &Kind, target: (u32, u8), spans: &[(i64, u32)], least_db: f64) {
    let hz = 440.0;
    let source = source(kind, 8, sine(kind.rate, hz));
    let made = run(&job(target.0, target.1, spans), &source);
    let counts: Vec<(u64, usize)> = made.iter().map(|(seq, blocks)| (*seq, blocks.len())).collect();
    let asked: Vec<(u64, usize)> = spans.iter().zip(10..).map(|(span, seq)| (seq, span.1 as usize)).collect();
    assert_eq!(counts, asked);
    let blocks: Vec<Bytes> = made.into_iter().flat_map(|(_, blocks)| blocks).collect();
    let heard = decode(target.0, target.1, &blocks);
    let start = spans[0].0;
    let wave = sine(target.0, hz);
    for channel in 0..usize::from(target.1) {
        let heard: Vec<f32> = heard.iter().skip(channel).step_by(target.1.into()).copied().collect();
        let name = format!("{:?} {} Hz {}ch", kind.id, kind.rate, kind.channels);
        // Without the first block, for which a decoder lacks the one before.
        let whole = snr(&heard[1024..], start + 1024, &wave);
        assert!(whole >= least_db, "{name}: {whole} dB in all");
        // A 440 Hz sine of 0.5 moves by at most this much from one sample to the next.
        let steepest = 0.5 * std::f64::consts::TAU * hz / f64::from(target.0);
        for seam in spans.iter().skip(1).map(|span| (span.0 - start) as usize) {
            let around = &heard[seam - 2048..seam + 2048];
            let near = snr(around, start + seam as i64 - 2048, &wave);
            let jump = around.windows(2).map(|pair| f64::from((pair[1] - pair[0]).abs())).fold(0.0, f64::max);
            assert!(near >= least_db, "{name}: {near} dB around {seam}");
            assert!(jump < steepest * 1.3, "{name}: a jump of {jump} around {seam}");
        }
    }
}

/// Three spans of 1.4 s from an odd place on.
const SPANS: [(i64, u32); 3] = [(48_001, 66), (48_001 + 66 * 1024, 66), (48_001 + 132 * 1024, 66)];

fn pcm(rate: u32, channels: i32) -> Kind {
    Kind { id: Id::PCM_S16LE, format: Sample::I16(PACKED), rate, channels, samples: 1024 }
}

#[test]
fn seams_between_spans_cannot_be_heard_and_nothing_is_shifted() {
    check(&pcm(48_000, 2), (48_000, 2), &SPANS, 30.0);
    check(&pcm(44_100, 2), (44_100, 2), &SPANS, 30.0);
    check(&pcm(48_000, 1), (48_000, 1), &SPANS, 30.0);
    check(&pcm(44_100, 2), (48_000, 2), &SPANS, 30.0);
}

#[test]
fn any_rate_format_and_number_of_channels_is_taken() {
    check(&pcm(8_000, 1), (48_000, 2), &SPANS, 25.0);
    check(&pcm(11_025, 1), (48_000, 1), &SPANS, 25.0);
    check(&pcm(47_999, 2), (48_000, 2), &SPANS, 25.0);
    check(&pcm(96_000, 2), (48_000, 1), &SPANS, 25.0);
    check(&Kind { id: Id::PCM_F32LE, format: Sample::F32(PACKED), ..pcm(192_000, 2) }, (48_000, 2), &SPANS, 25.0);
    check(&Kind { id: Id::PCM_S24LE, format: Sample::I32(PACKED), ..pcm(48_000, 2) }, (44_100, 2), &SPANS, 25.0);
    check(&Kind { id: Id::PCM_U8, format: Sample::U8(PACKED), ..pcm(32_000, 2) }, (48_000, 2), &SPANS, 25.0);
}

#[test]
fn usual_codecs_are_decoded_in_place() {
    let kind = |id, format, rate, channels| Kind { id, format, rate, channels, samples: 1024 };
    check(&kind(Id::FLAC, Sample::I16(PACKED), 44_100, 2), (48_000, 2), &SPANS, 25.0);
    check(&kind(Id::MP3, Sample::F32(PLANAR), 44_100, 2), (48_000, 2), &SPANS, 25.0);
    check(&kind(Id::AC3, Sample::F32(PLANAR), 48_000, 2), (48_000, 2), &SPANS, 25.0);
    check(&kind(Id::EAC3, Sample::F32(PLANAR), 48_000, 2), (48_000, 2), &SPANS, 25.0);
    check(&kind(Id::OPUS, Sample::F32(PACKED), 48_000, 2), (48_000, 2), &SPANS, 20.0);
    check(&kind(Id::VORBIS, Sample::F32(PLANAR), 44_100, 2), (48_000, 2), &SPANS, 20.0);
    check(&kind(Id::AAC, Sample::F32(PLANAR), 44_100, 2), (44_100, 2), &SPANS, 25.0);
}

/// The middle sample's level, by channel, of a source of plain levels.
fn level(channels: i32, target: u8) -> Vec<f64> {
    let source = source(
        &Kind { id: Id::PCM_F32LE, format: Sample::F32(PACKED), ..pcm(48_000, channels) },
        3,
        sine(48_000, 440.0),
    );
    let made = run(&job(48_000, target, &[(48_000, 40)]), &source);
    let heard = decode(48_000, target, &made[0].1);
    let level = |channel| {
        let samples: Vec<f64> = heard.iter().skip(channel).step_by(target.into()).map(|&value| value.into()).collect();
        let power = samples[4096..].iter().map(|value| value * value).sum::<f64>() / (samples.len() - 4096) as f64;
        (power * 2.0).sqrt()
    };
    (0..target.into()).map(level).collect()
}

#[test]
fn no_mix_of_channels_is_louder_than_they_were_and_a_single_one_is_as_loud() {
    for (channels, target) in [(1, 1), (1, 2), (2, 1), (2, 2), (3, 2), (4, 2), (6, 1), (6, 2), (7, 2), (8, 1), (8, 2)] {
        for level in level(channels, target) {
            let least = if channels <= 2 { 0.495 } else { 0.3 };
            assert!((least..0.505).contains(&level), "{channels} to {target}: {level}");
        }
    }
}

/// Something with attacks, so that encoders choose short windows here and there: two tones, and clicks.
fn clicks(rate: u32) -> impl Fn(i64) -> f64 {
    let (low, high) = (sine(rate, 330.0), sine(rate, 5_000.0));
    move |at| {
        let since = at.rem_euclid(i64::from(rate) * 3 / 10) as f64 / f64::from(rate);
        0.5 * low(at) + 0.9 * high(at) * (-since * 60.0).exp()
    }
}

#[test]
fn a_span_is_the_same_whoever_makes_it_and_wherever_reading_began() {
    let kind = |id, format, rate, channels| Kind { id, format, rate, channels, samples: 1024 };
    let kinds = [
        pcm(44_100, 2),
        kind(Id::FLAC, Sample::I16(PACKED), 48_000, 2),
        kind(Id::MP3, Sample::F32(PLANAR), 44_100, 2),
        kind(Id::AC3, Sample::F32(PLANAR), 48_000, 2),
        kind(Id::OPUS, Sample::F32(PACKED), 48_000, 2),
        kind(Id::AAC, Sample::F32(PLANAR), 44_100, 2),
    ];
    for kind in kinds {
        let mut source = source(&kind, 8, clicks(kind.rate));
        // Stamps as FLV and Matroska have them, with a hole, and a packet that comes twice.
        for (pts, _) in &mut source.packets {
            *pts = rescale(rescale(*pts, 1000, kind.rate), kind.rate, 1000)
                + i64::from(*pts > 5 * i64::from(kind.rate)) * 7000;
        }
        let again = source.packets[source.packets.len() / 2].clone();
        source.packets.push(again);
        source.packets.sort_by_key(|(pts, _)| *pts);
        let together = run(&job(48_000, 2, &SPANS), &source);
        for (i, span) in SPANS.iter().enumerate() {
            let alone = job(48_000, 2, &[*span]);
            let window = Maker::new(&alone, &source.params).unwrap().window();
            let second = i64::from(kind.rate);
            assert!(window.start >= rescale(span.0, kind.rate, 48_000) - second);
            let packets = source.packets.iter().filter(|(pts, _)| window.contains(pts)).cloned().collect();
            let late = Source { params: source.params.clone(), packets };
            assert!(late.packets.len() < source.packets.len() * 2 / 3);
            assert!(run(&alone, &late)[0].1 == together[i].1, "{:?}: span {i}", kind.id);
        }
    }
}

#[test]
fn stamps_in_milliseconds_leave_no_trace_at_seams() {
    for (id, rate) in [(Id::MP3, 44_100), (Id::FLAC, 48_000)] {
        let format = if id == Id::MP3 { Sample::F32(PLANAR) } else { Sample::I16(PACKED) };
        let mut source = source(&Kind { id, format, rate, channels: 2, samples: 1024 }, 8, sine(rate, 440.0));
        for (pts, _) in &mut source.packets {
            *pts = rescale(rescale(*pts, 1000, rate), rate, 1000);
        }
        let blocks: Vec<Bytes> =
            run(&job(48_000, 2, &SPANS), &source).into_iter().flat_map(|(_, blocks)| blocks).collect();
        let heard: Vec<f32> = decode(48_000, 2, &blocks).into_iter().step_by(2).collect();
        for seam in [66 * 1024, 132 * 1024] {
            let around = snr(&heard[seam - 2048..seam + 2048], SPANS[0].0 + seam as i64 - 2048, &sine(48_000, 440.0));
            assert!(around > 15.0, "{id:?}: {around} dB");
            // The same stretch against itself a whole number of periods (12000 samples are 110) before: no slip.
            let before = heard.clone();
            let near =
                snr(&heard[seam - 2048..seam + 2048], 0, &|i| f64::from(before[seam - 2048 - 12_000 + i as usize]));
            assert!(near > 22.0, "{id:?}: {near} dB to what was before");
        }
    }
}

#[test]
fn attacks_next_to_seams_stay_in_place() {
    let wave = clicks(48_000);
    let source = source(&pcm(48_000, 2), 8, &wave);
    // Seams from some blocks before a click (each 14 400 samples) to some after.
    for shift in (-4096..=4096).step_by(1024) {
        let spans = [(86_400 + shift - 40 * 1024, 40), (86_400 + shift, 40)];
        let made = run(&job(48_000, 2, &spans), &source);
        let blocks: Vec<Bytes> = made.into_iter().flat_map(|(_, blocks)| blocks).collect();
        let heard: Vec<f32> = decode(48_000, 2, &blocks).into_iter().step_by(2).collect();
        let whole = run(&job(48_000, 2, &[(spans[0].0, 80)]), &source);
        let unbroken: Vec<f32> = decode(48_000, 2, &whole[0].1).into_iter().step_by(2).collect();
        let at = 40 * 1024 - 2048;
        let [with, without] = [heard, unbroken].map(|heard| snr(&heard[at..at + 4096], spans[0].0 + at as i64, &wave));
        assert!(with > 15.0, "{shift}: {with} dB, {without} dB without a seam");
    }
}

#[test]
fn where_the_source_has_no_sound_there_is_silence_of_full_length() {
    let mut source = source(&pcm(48_000, 2), 3, sine(48_000, 440.0));
    let spans = [(-96_000, 20), (48_000, 40), (480_000, 30), (960_000, 0), (960_000, 1)];
    source.packets.retain(|(pts, _)| *pts < 57_344 || *pts >= 73_728);
    let made = run(&job(48_000, 2, &spans), &source);
    assert_eq!(
        made.iter().map(|(seq, blocks)| (*seq, blocks.len())).collect::<Vec<_>>(),
        [(10, 20), (11, 40), (12, 30), (13, 0), (14, 1)]
    );
    let loudest = |samples: &[f32]| samples.iter().fold(0.0_f32, |most, sample| most.max(sample.abs()));
    assert!(loudest(&decode(48_000, 2, &made[0].1)) < 1e-4);
    assert!(loudest(&decode(48_000, 2, &made[2].1)) < 1e-4);
    let heard = decode(48_000, 2, &made[1].1);
    assert!(loudest(&heard[2048..2 * 9_000]) > 0.45, "before the hole");
    assert!(loudest(&heard[2 * 12_000..2 * 23_000]) < 1e-3, "the hole");
    assert!(loudest(&heard[2 * 28_000..]) > 0.45, "after the hole");
    // A job for which nothing comes at all.
    source.packets.clear();
    for (_, blocks) in run(&job(48_000, 2, &spans), &source) {
        assert!(loudest(&decode(48_000, 2, &blocks)) < 1e-4);
    }
}

#[test]
fn a_mad_stamp_and_damage_cost_no_more_than_their_packet() {
    let kind = Kind { id: Id::MP3, format: Sample::F32(PLANAR), rate: 48_000, channels: 2, samples: 1152 };
    let clean = source(&kind, 8, sine(48_000, 440.0));
    let mut harmed = Source { params: clean.params.clone(), packets: clean.packets.clone() };
    harmed.packets.insert(60, (i64::MAX, Packet::copy(&[0xFF; 400])));
    harmed.packets.insert(70, (i64::MIN, Packet::copy(&[0xFF; 400])));
    harmed.packets.insert(80, (80 * 1152, Packet::empty()));
    harmed.packets[130].1 = Packet::copy(&[0x55; 300]);
    let (clean, harmed) = (run(&job(48_000, 2, &SPANS), &clean), run(&job(48_000, 2, &SPANS), &harmed));
    // The damaged packet lies within the second span.
    assert!(clean[0] == harmed[0]);
    assert!(clean[1] != harmed[1]);
    assert_eq!(clean[1].1.len(), harmed[1].1.len());
    assert!(clean[2] == harmed[2]);
}

#[test]
fn samples_that_are_no_numbers_are_silent() {
    let kind = Kind { id: Id::PCM_F32LE, format: Sample::F32(PACKED), ..pcm(44_100, 2) };
    let wave = sine(44_100, 440.0);
    let source = source(&kind, 4, |at| match at % 1000 {
        0 => f64::NAN,
        1 => f64::INFINITY,
        2 => 1e30,
        _ => wave(at),
    });
    assert_eq!(run(&job(48_000, 2, &[(48_000, 40)]), &source)[0].1.len(), 40);
}

#[test]
fn what_is_made_has_the_configuration_that_plans_state() {
    for (rate, channels) in [(48_000, 2), (48_000, 1), (44_100, 2), (44_100, 1), (8_000, 1), (96_000, 2)] {
        let own = Aac::open(rate, channels, 48_000).unwrap();
        let stated = AudioConfig::lc(rate, channels).unwrap();
        // libav says in more bytes that there is no SBR, which is what fewer say.
        assert!(own.config().asc().starts_with(stated.asc()), "{:02x?}", own.config().asc());
        assert_eq!(own.config().codec_string(), stated.codec_string());
        assert_eq!((own.config().sample_rate(), own.config().channels()), (rate, channels));
    }
}

#[test]
fn jobs_outside_the_limits_are_refused() {
    let source = source(&pcm(48_000, 2), 1, sine(48_000, 440.0));
    let refused = |job: &SoundJob| Maker::new(job, &source.params).is_err();
    assert!(!refused(&job(48_000, 2, &[])));
    assert!(refused(&SoundJob::None));
    assert!(refused(&job(47_999, 2, &[])));
    assert!(refused(&job(48_000, 3, &[])));
    assert!(refused(&job(48_000, 2, &[(0, SPAN_BLOCKS_MAX + 1)])));
    assert!(refused(&job(48_000, 2, &[(i64::MAX, 1)])));
    assert!(refused(&job(48_000, 2, &[(i64::MIN, 1)])));
    assert!(!refused(&job(48_000, 2, &[(0, 2), (2040, 2)])));
    assert!(refused(&job(48_000, 2, &[(2048, 2), (2047, 2)])));
    assert!(refused(&job(48_000, 2, &[(0, 2), (1, 1)])), "one within the other");
    let crowd = self::source(&pcm(48_000, 16), 1, sine(48_000, 440.0));
    assert!(Maker::new(&job(48_000, 2, &[]), &crowd.params).is_err(), "16 channels");
    let fast = self::source(&pcm(192_001, 2), 1, sine(192_001, 440.0));
    assert!(Maker::new(&job(48_000, 2, &[]), &fast.params).is_err(), "more than 192 kHz");
    assert!(Maker::new(&job(48_000, 2, &[]), &Parameters::new()).is_err(), "nobody knows the codec");
}

/// What every x86-64 has: MMX, MMXEXT, SSE, SSE2.
#[cfg(target_arch = "x86_64")]
const LEAST: i32 = 0x1B;

#[cfg(target_arch = "x86_64")]
#[test]
#[allow(unsafe_code)]
fn an_older_processor_makes_the_same() {
    let kind = |id, format, rate, channels| Kind { id, format, rate, channels, samples: 1024 };
    for kind in [
        pcm(44_100, 2),
        pcm(48_000, 6),
        kind(Id::MP3, Sample::F32(PLANAR), 44_100, 2),
        kind(Id::AC3, Sample::F32(PLANAR), 48_000, 2),
        kind(Id::OPUS, Sample::F32(PACKED), 48_000, 2),
        kind(Id::VORBIS, Sample::F32(PLANAR), 44_100, 2),
        kind(Id::AAC, Sample::F32(PLANAR), 44_100, 2),
    ] {
        let source = source(&kind, 4, clicks(kind.rate));
        let job = job(48_000, 2, &SPANS[..2]);
        let here = run(&job, &source);
        // SAFETY: a number that libav keeps; what was opened before goes on as it was.
        unsafe { ffmpeg_next::ffi::av_force_cpu_flags(LEAST) };
        let there = run(&job, &source);
        // SAFETY: as above; -1 means to look again.
        unsafe { ffmpeg_next::ffi::av_force_cpu_flags(-1) };
        assert!(here == there, "{:?}", kind.id);
    }
}
