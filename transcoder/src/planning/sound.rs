//! What is heard: which blocks of the source, or of silence, belong to which segment.
//!
//! AAC is copied by the same rules as live ([`AudioLine`]), which are asked here with markers in the place of packets.

use super::runs::Stretch;
use super::{LIMIT, ProbedReel, TIMESCALE};
use crate::plan::{Run, SegmentPlan, SoundPlan, Span};
use bytes::Bytes;
use codec::vod::AudioTrack;
use media::aac::AudioConfig;
use media::audio::{AudioLine, to_samples};
use media::unit::{AAC_FRAME_SAMPLES, AudioUnit};

/// What sound is encoded with, bit/s.
const BITRATE: u32 = 128_000;

/// Samples per second of encoded sound: the second only if that is the source's everywhere.
const RATES: (u32, u32) = (48_000, 44_100);

/// Most spans of one segment for which copying is worth it: what is so uneven is encoded.
const SPANS_MAX: usize = 64;

/// How much before and behind a segment encoded sound is needed: the child decodes from a second before it on, and what the
/// resampler looks ahead. Whoever begins anywhere must see the same packets. 90 kHz.
const AROUND: i64 = TIMESCALE * 5 / 4;

const BLOCK: i64 = AAC_FRAME_SAMPLES as i64;

/// A marker that is no block of silence.
const MARKER: Bytes =
    Bytes::from_static(b"a packet of the source, which is neither here nor needed to decide where it belongs");

/// What a run is, for its sound.
pub(super) struct Heard<'a> {
    pub(super) run: &'a Run,
    pub(super) packets: Vec<Packet>,
}

/// A packet of the source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet {
    /// Source time in samples.
    pts: i64,
    /// The same in 90 kHz.
    time: i64,
    reel: u32,
}

/// First and last reel that hold a segment's sound, pre-roll included.
pub(super) type Reels = Option<(u32, u32)>;

/// The packets that are heard between `origin` and `end` (source time), in the order of the files.
pub(super) fn packets(stretch: &Stretch<'_>, reels: &[ProbedReel], origin: i64, end: i64) -> Vec<Packet> {
    let Some(track) = stretch.audio.filter(|track| track.sample_rate > 0) else { return Vec::new() };
    let rate = i64::from(track.sample_rate);
    let mut out = Vec::new();
    for number in stretch.reels.0..stretch.reels.1 {
        let Some(reel) = usize::try_from(number).ok().and_then(|number| reels.get(number)) else { continue };
        let good = reel.audio.iter().filter(|stamp| (-LIMIT..=LIMIT).contains(&stamp.pts));
        let all = good.map(|stamp| Packet { pts: stamp.pts, time: ticks(stamp.pts, rate), reel: number });
        out.extend(all.filter(|packet| (origin..end).contains(&packet.time)));
    }
    out
}

/// The asset's sound, if any run has some.
pub(super) fn sound<'a>(tracks: impl Iterator<Item = &'a AudioTrack> + Clone, copy: bool) -> Option<SoundPlan> {
    let first = tracks.clone().next()?;
    if copy && let Some(config) = copied(first).filter(|_| tracks.clone().all(|track| track == first)) {
        return Some(SoundPlan {
            sample_rate: config.sample_rate(),
            channels: config.channels(),
            asc: hex(config.asc()),
            encode: None,
        });
    }
    let sample_rate = if tracks.clone().all(|track| track.sample_rate == RATES.1) { RATES.1 } else { RATES.0 };
    let channels = tracks.map(|track| track.channels.clamp(1, 2)).max().unwrap_or(2);
    let config = AudioConfig::lc(sample_rate, channels)?;
    Some(SoundPlan { sample_rate, channels, asc: hex(config.asc()), encode: Some(BITRATE) })
}

/// The configuration of sound that can be copied: AAC whose times are counted in the samples of its own blocks.
pub(super) fn copied(track: &AudioTrack) -> Option<AudioConfig> {
    let asc = track.asc.as_deref().filter(|_| track.codec == "aac").and_then(unhex)?;
    AudioConfig::from_asc(asc).ok().filter(|config| config.sample_rate() == track.sample_rate)
}

/// Lays out a run's sound over its segments, and says which reels that takes. `false` if it is too uneven to be copied.
pub(super) fn lay_out(plan: &SoundPlan, heard: &Heard<'_>, segments: &mut [SegmentPlan]) -> (Vec<Reels>, bool) {
    let reels = match plan.encode {
        None => copy(plan, heard, segments),
        Some(_) => encode(plan, heard, segments),
    };
    (reels, plan.encode.is_some() || segments.iter().all(|segment| segment.sound.len() <= SPANS_MAX))
}

/// Puts blocks into the segments of a run, one after the other.
struct Layer<'a> {
    segments: &'a mut [SegmentPlan],
    /// Where each segment's blocks begin at the earliest, in samples.
    starts: Vec<i64>,
    end: i64,
    open: usize,
    reels: Vec<Reels>,
    /// The packet that was placed last, by its place in the run.
    last: Option<usize>,
}

impl<'a> Layer<'a> {
    fn new(rate: i64, segments: &'a mut [SegmentPlan]) -> Self {
        let starts: Vec<i64> = segments.iter().map(|segment| to_samples(segment.at, rate)).collect();
        let end = segments.last().map_or(0, |last| to_samples(last.at + last.ticks, rate));
        for (segment, start) in segments.iter_mut().zip(&starts) {
            (segment.sound, segment.sound_at) = (Vec::new(), *start);
        }
        let reels = vec![None; segments.len()];
        Self { segments, starts, end, open: 0, reels, last: None }
    }

    /// Places a block at `pts`; `packet` is that of the source, and its place in the run.
    fn place(&mut self, pts: i64, packet: Option<(usize, Packet)>) {
        // Nothing spills over into the next run.
        if pts + BLOCK > self.end {
            return;
        }
        while self.starts.get(self.open + 1).is_some_and(|next| *next <= pts) {
            self.open += 1;
        }
        let Some(segment) = self.segments.get_mut(self.open) else { return };
        if segment.sound.is_empty() {
            segment.sound_at = pts;
        }
        let goes_on = packet.is_some_and(|(index, _)| self.last.is_some_and(|last| last + 1 == index));
        match (segment.sound.last_mut(), packet) {
            (Some(Span::Silence { blocks }), None) => *blocks += 1,
            (Some(Span::Source { blocks, .. }), Some(_)) if goes_on => *blocks += 1,
            (_, None) => segment.sound.push(Span::Silence { blocks: 1 }),
            (_, Some((_, packet))) => segment.sound.push(Span::Source { from: packet.pts, blocks: 1 }),
        }
        self.last = packet.map(|(index, _)| index);
        if let (Some(reels), Some((_, packet))) = (self.reels.get_mut(self.open), packet) {
            let (first, last) = reels.unwrap_or((packet.reel, packet.reel));
            *reels = Some((first.min(packet.reel), last.max(packet.reel)));
        }
    }
}

fn copy(plan: &SoundPlan, heard: &Heard<'_>, segments: &mut [SegmentPlan]) -> Vec<Reels> {
    let config = unhex(&plan.asc).and_then(|asc| AudioConfig::from_asc(asc).ok());
    let Some(config) = config else { return vec![None; segments.len()] };
    let end = segments.last().map_or(heard.run.at, |last| last.at + last.ticks);
    let mut layer = Layer::new(i64::from(plan.sample_rate), segments);
    let mut line = AudioLine::new(&config, heard.run.at, !heard.packets.is_empty());
    let mut out: Vec<AudioUnit> = Vec::new();
    for (index, packet) in heard.packets.iter().enumerate() {
        let at = heard.run.at + (packet.time - heard.run.origin);
        line.push(at, at, MARKER.clone(), &mut out);
        for unit in out.drain(..) {
            layer.place(unit.pts, (unit.data == MARKER).then_some((index, *packet)));
        }
    }
    line.finish(end, &mut out);
    out.drain(..).for_each(|unit| layer.place(unit.pts, None));
    layer.reels
}

fn encode(plan: &SoundPlan, heard: &Heard<'_>, segments: &mut [SegmentPlan]) -> Vec<Reels> {
    let rate = i64::from(plan.sample_rate);
    let first = to_samples(heard.run.at, rate);
    let origin = to_samples(heard.run.origin, rate);
    let mut layer = Layer::new(rate, segments);
    let mut pts = first;
    while pts + BLOCK <= layer.end {
        layer.place(pts, None);
        pts += BLOCK;
    }
    if !heard.packets.is_empty() {
        for segment in layer.segments.iter_mut() {
            for span in &mut segment.sound {
                if let Span::Silence { blocks } = *span {
                    *span = Span::Source { from: origin + (segment.sound_at - first), blocks };
                }
            }
        }
    }
    let spread = spread(&heard.packets);
    let taken = |segment: &SegmentPlan| {
        let (from, to) = (segment.start - AROUND, segment.end + AROUND);
        let near = spread.iter().filter(|(_, first, last)| *first < to && *last >= from);
        near.fold(None, |reels: Reels, &(reel, ..)| {
            Some(reels.map_or((reel, reel), |(a, b)| (a.min(reel), b.max(reel))))
        })
    };
    layer.segments.iter().map(taken).collect()
}

/// For each reel its first and last time.
fn spread(packets: &[Packet]) -> Vec<(u32, i64, i64)> {
    let mut out: Vec<(u32, i64, i64)> = Vec::new();
    for packet in packets {
        match out.last_mut().filter(|last| last.0 == packet.reel) {
            Some((_, first, last)) => (*first, *last) = (packet.time.min(*first), packet.time.max(*last)),
            None => out.push((packet.reel, packet.time, packet.time)),
        }
    }
    out
}

/// Samples in 90 kHz ticks, rounded down.
fn ticks(samples: i64, rate: i64) -> i64 {
    let scaled = i128::from(samples) * i128::from(TIMESCALE);
    i64::try_from(scaled.div_euclid(i128::from(rate.max(1)))).unwrap_or(LIMIT)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `None` if it is no hexadecimal, or longer than any configuration.
pub(crate) fn unhex(text: &str) -> Option<Bytes> {
    const DIGITS_MAX: usize = 256;
    if text.len() > DIGITS_MAX || !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect::<Option<Vec<u8>>>()
        .map(Bytes::from)
}
