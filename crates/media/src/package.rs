//! Units in, parts and segments out, for one rendition: CMAF chunks muxed in memory.
//!
//! The caller says which media sequence number each unit belongs to; nothing here decides cuts or numbers. One unit is
//! always held back, since its duration is known only when the next one comes. That also makes preload hints true: a
//! part closes only when a unit of the same segment is at hand for the next part.

use crate::mp4::{self, Sample, Track};
use crate::unit::{AAC_FRAME_SAMPLES, VIDEO_TIMESCALE};
use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

/// A unit of either track, in the track's own timescale.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Decoding time.
    pub dts: i64,
    /// Presentation time.
    pub pts: i64,
    /// Whether decoding can start here.
    pub sync: bool,
    /// The sample as it stands in `mdat`.
    pub data: Bytes,
}

/// A finished part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its number within the segment.
    pub index: u32,
    /// Duration in the track's timescale.
    pub ticks: i64,
    /// Whether decoding can start at its first sample.
    pub independent: bool,
    /// One or two chunks (moof and mdat).
    pub bytes: Bytes,
}

/// What a finished segment is, besides its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// Earliest presentation time, in the track's timescale.
    pub start: i64,
    /// Duration in the track's timescale.
    pub ticks: i64,
    /// Size in bytes.
    pub size: u64,
    /// Size of the first chunk, which holds just the first unit; what I-frame playlists point at.
    pub first_chunk: u64,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packaged {
    /// A part of a segment that is still open, or its last one.
    Part(u64, Part),
    /// A segment is whole.
    Segment(u64, Closed),
}

/// Packages one rendition.
#[derive(Debug, Clone)]
pub struct Packager {
    track: Track,
    part_ticks: i64,
    held: Option<(u64, Unit)>,
    open: Option<Open>,
    usual: i64,
}

/// The segment in progress.
#[derive(Debug, Clone)]
struct Open {
    msn: u64,
    start: i64,
    ticks: i64,
    size: u64,
    first_chunk: u64,
    chunks: u32,
    parts: u32,
    part: PartInProgress,
}

#[derive(Debug, Clone, Default)]
struct PartInProgress {
    ticks: i64,
    independent: bool,
    written: BytesMut,
    base: i64,
    samples: Vec<Sample>,
}

impl Packager {
    /// A packager that makes parts of at most `part_ticks`; `usual` is a unit's duration where no next unit tells it.
    pub fn new(track: Track, part_ticks: i64, usual: i64) -> Self {
        Self { track, part_ticks, held: None, open: None, usual: usual.max(1) }
    }

    /// Takes the next unit of segment `msn`; numbers never fall.
    pub fn push(&mut self, msn: u64, unit: Unit, out: &mut Vec<Packaged>) {
        if let Some((held_msn, held)) = self.held.take() {
            let duration = (unit.dts - held.dts).max(1);
            self.add(held_msn, held, duration, held_msn == msn, out);
            if held_msn != msn {
                self.close(out);
            }
        }
        self.held = Some((msn, unit));
    }

    /// Ends the open segment: nothing follows it, or not without a break. `end` is the decoding time at which the last
    /// unit ends, if that is known.
    pub fn finish(&mut self, end: Option<i64>, out: &mut Vec<Packaged>) {
        if let Some((msn, held)) = self.held.take() {
            let duration = end.map(|end| end - held.dts).filter(|ticks| *ticks > 0).unwrap_or(self.usual);
            self.add(msn, held, duration, false, out);
        }
        self.close(out);
    }

    /// Forgets the open segment (it will never be whole).
    pub fn abandon(&mut self) {
        self.held = None;
        self.open = None;
    }

    fn add(&mut self, msn: u64, unit: Unit, duration: i64, more_follow: bool, out: &mut Vec<Packaged>) {
        let track = self.track;
        let open = self.open.get_or_insert_with(|| Open::new(msn, unit.pts));
        let first = open.size == 0 && open.part.written.is_empty() && open.part.samples.is_empty();
        // Where units are unevenly long the next one's length was only guessed: this one may be too much.
        if open.part.ticks > 0 && open.part.ticks + duration > self.part_ticks {
            open.write_part(track, out);
        }
        open.part.take(unit, duration);
        if first {
            // I-frame playlists point at a chunk that holds just this one.
            open.write_chunk(track);
            open.first_chunk = open.part.written.len() as u64;
        }
        if more_follow && open.part.ticks + duration > self.part_ticks {
            open.write_part(track, out);
        }
    }

    fn close(&mut self, out: &mut Vec<Packaged>) {
        let Some(mut open) = self.open.take() else { return };
        open.write_part(self.track, out);
        let Open { msn, start, ticks, size, first_chunk, .. } = open;
        out.push(Packaged::Segment(msn, Closed { start, ticks, size, first_chunk }));
    }
}

impl Open {
    fn new(msn: u64, start: i64) -> Self {
        let part = PartInProgress::default();
        Self { msn, start, ticks: 0, size: 0, first_chunk: 0, chunks: 0, parts: 0, part }
    }

    fn write_chunk(&mut self, track: Track) {
        if self.part.samples.is_empty() {
            return;
        }
        self.chunks += 1;
        let base = u64::try_from(self.part.base).unwrap_or(0);
        // Numbered from 1 in each segment: a segment's bytes must not depend on what came before it.
        let chunk = mp4::chunk(track, self.chunks, base, &self.part.samples);
        self.part.samples.clear();
        self.part.written.extend_from_slice(&chunk);
    }

    fn write_part(&mut self, track: Track, out: &mut Vec<Packaged>) {
        self.write_chunk(track);
        let part = std::mem::take(&mut self.part);
        if part.written.is_empty() {
            return;
        }
        let (ticks, independent, bytes) = (part.ticks, part.independent, part.written.freeze());
        self.ticks += ticks;
        self.size += bytes.len() as u64;
        out.push(Packaged::Part(self.msn, Part { index: self.parts, ticks, independent, bytes }));
        self.parts += 1;
    }
}

impl PartInProgress {
    fn take(&mut self, unit: Unit, duration: i64) {
        if self.samples.is_empty() {
            self.base = unit.dts;
        }
        if self.ticks == 0 {
            self.independent = unit.sync;
        }
        self.ticks += duration;
        self.samples.push(Sample {
            duration: u32::try_from(duration).unwrap_or(u32::MAX),
            composition_offset: i32::try_from(unit.pts - unit.dts).unwrap_or(0),
            sync: unit.sync,
            data: unit.data,
        });
    }
}

/// What a stream's parts are made of: what [`part_target_ms`] goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grain {
    /// How long segments will be, as far as is known: 90 kHz ticks.
    pub segment: i64,
    /// One picture, 90 kHz ticks.
    pub frame: i64,
    /// Samples per second, if there is sound.
    pub audio_rate: Option<u32>,
}

/// The part target in ms: near the configured one, so that a segment is a whole number of parts of about the same length.
/// A short last part is legal (draft-pantos-hls-rfc8216bis §4.4.4.9), but hls.js up to 1.7 passes over parts below 0.2 s
/// and stalls.
pub fn part_target_ms(part_ms: u32, grain: Grain) -> u32 {
    let part = i64::from(part_ms).max(1) * TICKS_PER_MS;
    let parts = ((grain.segment + part / 2) / part).max(1);
    let share = |unit: i64, timescale: i64| {
        let unit = unit.max(1);
        let units = (grain.segment * timescale / i64::from(VIDEO_TIMESCALE) + unit - 1) / unit;
        let ticks = (units + parts - 1) / parts * unit;
        (ticks * 1000 + timescale - 1) / timescale
    };
    let video = share(grain.frame, i64::from(VIDEO_TIMESCALE));
    let audio = grain.audio_rate.map_or(0, |rate| share(i64::from(AAC_FRAME_SAMPLES), i64::from(rate.max(1))));
    u32::try_from(video.max(audio)).unwrap_or(part_ms)
}

const TICKS_PER_MS: i64 = VIDEO_TIMESCALE as i64 / 1000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Packages pictures of 3000 ticks; `segments` are their counts of pictures. Prints parts as frames, `|` between
    /// segments, `*` for independent ones.
    fn check(segments: &[usize], part_ticks: i64, expected: &str) {
        let mut packager = Packager::new(Track::Video, part_ticks, 3000);
        let (mut out, mut dts) = (Vec::new(), 0);
        for (msn, &count) in segments.iter().enumerate() {
            for frame in 0..count {
                let unit = Unit { dts, pts: dts, sync: frame == 0, data: Bytes::from_static(b"unit") };
                packager.push(msn as u64, unit, &mut out);
                dts += 3000;
            }
        }
        packager.finish(None, &mut out);
        let text: Vec<String> = out
            .iter()
            .map(|item| match item {
                Packaged::Part(_, part) => {
                    format!("{}{}", part.ticks / 3000, if part.independent { "*" } else { "" })
                }
                Packaged::Segment(..) => "|".to_owned(),
            })
            .collect();
        assert_eq!(text.join(" "), expected);
    }

    #[test]
    fn parts_fill_the_target_and_segments_end_where_numbers_change() {
        check(&[60, 60], 45_000, "15* 15 15 15 | 15* 15 15 15 |");
        check(&[60, 10], 46_000, "15* 15 15 15 | 10* |");
        check(&[20], 45_000, "15* 5 |");
        check(&[1, 1], 45_000, "1* | 1* |");
    }

    #[test]
    fn uneven_units_make_no_part_too_long() {
        let mut packager = Packager::new(Track::Video, 45_000, 3000);
        let (mut out, mut dts) = (Vec::new(), 0);
        for duration in [3000, 3000, 3000, 3000, 40_000, 3000, 3000] {
            let unit = Unit { dts, pts: dts, sync: dts == 0, data: Bytes::from_static(b"unit") };
            packager.push(1, unit, &mut out);
            dts += duration;
        }
        packager.finish(None, &mut out);
        let ticks = out.iter().filter_map(|p| if let Packaged::Part(_, part) = p { Some(part.ticks) } else { None });
        assert_eq!(ticks.collect::<Vec<_>>(), [12_000, 40_000, 6000]);
    }

    #[test]
    fn a_part_longer_than_the_target_is_one_unit() {
        check(&[3], 1000, "1* 1 1 |");
    }

    #[test]
    fn the_first_chunk_holds_the_first_unit_and_sizes_add_up() {
        let mut packager = Packager::new(Track::Video, 9000, 3000);
        let mut out = Vec::new();
        for i in 0..5 {
            let data = Bytes::from(vec![i as u8; 10 + i]);
            let unit = Unit { dts: i as i64 * 3000, pts: i as i64 * 3000 + 6000, sync: i == 0, data };
            packager.push(7, unit, &mut out);
        }
        packager.finish(None, &mut out);
        let parts: Vec<&Part> =
            out.iter().filter_map(|p| if let Packaged::Part(7, part) = p { Some(part) } else { None }).collect();
        let Some(Packaged::Segment(7, closed)) = out.last() else { panic!("no segment") };
        assert_eq!(closed.size, parts.iter().map(|part| part.bytes.len() as u64).sum::<u64>());
        assert_eq!((closed.start, closed.ticks), (6000, 15_000));
        let first = &parts[0].bytes[..closed.first_chunk as usize];
        assert!(first.ends_with(&[0u8; 10]), "the chunk ends with the first unit's data");
    }

    #[test]
    fn part_targets_make_a_segment_a_whole_number_of_like_parts() {
        for (segment, frame, audio_rate, expected) in [
            (180_000, 3000, None, 500),
            (180_000, 3000, Some(48_000), 512),
            (180_000, 3000, Some(44_100), 511),
            (180_180, 3003, Some(48_000), 512),
            (180_000, 3600, Some(48_000), 520),
            (180_000, 1500, Some(48_000), 512),
            (180_000, 18_000, None, 600),
            (750_000, 3000, Some(48_000), 500),
        ] {
            assert_eq!(part_target_ms(500, Grain { segment, frame, audio_rate }), expected, "{segment} {frame}");
        }
    }
}
