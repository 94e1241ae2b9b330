//! A rendition as a viewer gets it: its segments, taken apart into access units with their times.
//!
//! Reads only what our own packager writes (every sample says its own duration and size) and insists on that.

use crate::{Playlist, Viewer};
use bytes::{Buf, Bytes};
use media::mp4::read::{boxes, init_info};

/// An access unit; times in the rendition's timescale.
#[derive(Debug, Clone)]
pub struct Unit {
    /// When to decode it.
    pub dts: i64,
    /// When to show it.
    pub pts: i64,
    /// Until the next one.
    pub ticks: i64,
    /// As a decoder gets it.
    pub data: Bytes,
}

/// A segment; without units if it is a gap.
#[derive(Debug, Clone)]
pub struct Segment {
    /// The init segment in force.
    pub init: Bytes,
    /// Ticks per second.
    pub timescale: u32,
    /// The file.
    pub file: Bytes,
    /// What is in it.
    pub units: Vec<Unit>,
}

/// All that a rendition's playlist lists.
#[derive(Debug, Clone)]
pub struct Served {
    /// The playlist.
    pub playlist: Playlist,
    /// Its segments.
    pub segments: Vec<Segment>,
}

impl Served {
    /// Fetches all that a rendition lists now.
    pub async fn fetch(viewer: &Viewer, stream: &str, rendition: &str) -> Self {
        let playlist = viewer.playlist(stream, rendition).await;
        let mut segments = Vec::new();
        for (index, listed) in playlist.media.segments.iter().enumerate() {
            let init = viewer.fetch(&playlist.init(index)).await;
            let timescale = init_info(&init).expect("an init segment").timescale;
            let gap = playlist.is_gap(index);
            let file = if gap { Bytes::new() } else { viewer.fetch(&playlist.resolve(&listed.uri)).await };
            let units = units(&file);
            assert_eq!(units.is_empty(), gap, "{}", listed.uri);
            segments.push(Segment { init, timescale, file, units });
        }
        Self { playlist, segments }
    }

    /// All access units, in decoding order, with their segments' timescale.
    pub fn units(&self) -> impl Iterator<Item = (&Unit, u32)> {
        self.segments.iter().flat_map(|segment| segment.units.iter().map(|unit| (unit, segment.timescale)))
    }

    /// EXTINF of every segment, seconds.
    pub fn seconds(&self) -> Vec<f64> {
        self.playlist.media.segments.iter().map(|segment| f64::from(segment.duration)).collect()
    }

    /// Which segments have a discontinuity before them.
    pub fn discontinuities(&self) -> Vec<usize> {
        let segments = self.playlist.media.segments.iter().enumerate();
        segments.filter(|(_, segment)| segment.discontinuity).map(|(index, _)| index).collect()
    }

    /// Panics unless the timeline goes on without a hole: no gaps, no discontinuities but before these segments, and the
    /// units back to back.
    pub fn assert_unbroken(&self, discontinuities: &[usize]) {
        let text = &self.playlist.text;
        assert_eq!(self.discontinuities(), discontinuities, "{text}");
        assert!((0..self.segments.len()).all(|index| !self.playlist.is_gap(index)), "{text}");
        for (index, segment) in self.segments.iter().enumerate() {
            let before = index.checked_sub(1).filter(|_| !discontinuities.contains(&index));
            let mut next = before.and_then(|before| self.segments[before].units.last()).map(Unit::end);
            for unit in &segment.units {
                assert_eq!(unit.dts, next.unwrap_or(unit.dts), "a hole in segment {index}: {text}");
                next = Some(unit.end());
            }
        }
    }
}

impl Unit {
    /// When the next one is due.
    pub fn end(&self) -> i64 {
        self.dts + self.ticks
    }
}

/// The samples of a file of chunks.
fn units(file: &[u8]) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    let mut open: Vec<(Unit, usize)> = Vec::new();
    for item in boxes(file) {
        let (name, content) = item.expect("whole boxes");
        match &name {
            b"moof" => open = moof(content),
            b"mdat" => {
                let mut rest = Bytes::copy_from_slice(content);
                units.extend(open.drain(..).map(|(unit, size)| Unit { data: rest.split_to(size), ..unit }));
                assert!(rest.is_empty(), "samples fill the mdat");
            }
            _ => {}
        }
    }
    units
}

/// The samples that a `moof` announces, with their sizes.
fn moof(content: &[u8]) -> Vec<(Unit, usize)> {
    let child = |content, wanted: &[u8; 4]| {
        let mut found = boxes(content).map(|item| item.expect("whole boxes")).filter(|(name, _)| name == wanted);
        found.next().map(|(_, content)| content).unwrap_or_else(|| panic!("no {}", wanted.escape_ascii()))
    };
    let traf = child(content, b"traf");
    let mut tfdt = child(traf, b"tfdt");
    assert_eq!(tfdt.get_u32() >> 24, 1, "a tfdt of 64 bits");
    let mut dts = tfdt.get_i64();
    let mut trun = child(traf, b"trun");
    let (flags, count) = (trun.get_u32(), trun.get_u32());
    assert_eq!(flags & 0x305, 0x301, "data offset, durations and sizes, no first-sample flags");
    trun.advance(4);
    let mut samples = Vec::new();
    for _ in 0..count {
        let (ticks, size) = (i64::from(trun.get_u32()), trun.get_u32() as usize);
        trun.advance(if flags & 0x400 == 0 { 0 } else { 4 });
        let offset = if flags & 0x800 == 0 { 0 } else { i64::from(trun.get_i32()) };
        samples.push((Unit { dts, pts: dts + offset, ticks, data: Bytes::new() }, size));
        dts += ticks;
    }
    samples
}
