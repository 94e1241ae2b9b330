//! What has been recorded of one session, line by line, and the playlists that follow from it.
//!
//! Pure. A line is written to the session's journal after what it speaks of is safe on disk, so what a crash left reads
//! like what was there a moment before it. Does not number segments: numbers come from the live window.

pub(crate) mod merge;

use crate::steer::{MARKS_MAX, Mark, WORDS_BYTES_MAX};
use media::hls::{AudioGroup, MediaPlaylist, Multivariant, Segment, Variant, compact_date, iframes_vod};
use media::ladder::Rendition;
use media::projection::Layout;
use media::route::{File, KeyFile, Route};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Most numbers that a recording's playlists span: three weeks of 2 s. A log that speaks of more is wrong.
const SPAN_MAX: u64 = 1_000_000;

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Line {
    /// The first: whose session it is, and when it began (UTC ms).
    Session { name: String, session: String, began_ms: i64, rungs: bool },
    /// Publishing began: the epoch's anchor (UTC ms) and target duration.
    Epoch {
        anchor_ms: i64,
        target_s: u32,
        /// Segments are encrypted.
        #[serde(default, skip_serializing_if = "is_false")]
        protect: bool,
    },
    /// How the picture lies on the sphere.
    Layout(Layout),
    /// What the multivariant playlist needs besides segments; may come again.
    Shape(Shape),
    /// A rendition's next segment, or the lack of it.
    Segment(Entry),
    /// A moment that the operator named.
    Mark(Mark),
    /// A file of what came in.
    Part { number: u64, bytes: u64 },
    /// The last: nothing more comes.
    End(End),
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) reason: Reason,
    /// UTC ms.
    pub(crate) at_ms: i64,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Reason {
    /// The stream did.
    Ended,
    /// Its origin died or left.
    Lost,
}

/// What renditions are like.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Shape {
    pub(crate) fps: f64,
    pub(crate) video: Vec<Video>,
    /// Codec and channels.
    pub(crate) audio: Option<(String, u8)>,
}

/// A rung.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Video {
    pub(crate) rendition: String,
    pub(crate) codec: String,
    pub(crate) size: (u32, u32),
}

/// A segment of a rendition. The durations are in seconds, the date in UTC ms, the rest in bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) rendition: String,
    pub(crate) msn: u64,
    pub(crate) seconds: f64,
    pub(crate) date_ms: i64,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) gap: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) discontinuity: bool,
    /// URI of its init segment, beside it.
    pub(crate) map: String,
    /// URI of the key that it is encrypted with; empty if it is not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) key: String,
    pub(crate) bytes: u64,
    pub(crate) first_chunk: u64,
}

/// All lines of a journal.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Ledger {
    pub(crate) name: String,
    pub(crate) session: String,
    pub(crate) began_ms: i64,
    /// Whether rungs are recorded, not only what came in.
    pub(crate) rungs: bool,
    /// Anchor (UTC ms) and target duration.
    pub(crate) epoch: Option<(i64, u32)>,
    pub(crate) layout: Option<Layout>,
    /// Whether segments are encrypted: then no part of one can be decrypted by itself, and there are no I-frame playlists.
    pub(crate) protect: bool,
    shape: Shape,
    renditions: BTreeMap<Rendition, BTreeMap<u64, Entry>>,
    /// In order of time.
    pub(crate) marks: BTreeSet<Mark>,
    /// Bytes of each file of what came in.
    pub(crate) parts: BTreeMap<u64, u64>,
    pub(crate) end: Option<End>,
}

/// A recording that can be played.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Vod {
    /// Media and I-frame playlists by their names below the asset's folder.
    pub(crate) playlists: Vec<(String, String)>,
    pub(crate) multivariant: String,
    pub(crate) renditions: Vec<String>,
    /// UTC ms of the first picture.
    pub(crate) start_ms: i64,
    pub(crate) duration_s: f64,
}

/// An asset's id.
pub(crate) fn asset_id(name: &str, anchor_ms: i64) -> String {
    format!("{name}-{}", compact_date(anchor_ms))
}

/// The address of an asset's multivariant playlist.
pub(crate) fn url(id: &str) -> String {
    Route::Vod(format!("{id}/{}", File::Playlist)).to_string()
}

/// The key that a file of an asset has in the egress store: its address.
pub(crate) fn key(id: &str, file: &str) -> String {
    let address = Route::Vod(format!("{id}/{file}")).to_string();
    address.trim_start_matches('/').to_owned()
}

impl Shape {
    /// What a live multivariant playlist says, whose URIs are `{name}/{rendition}/…`.
    pub(crate) fn of(playlist: &Multivariant) -> Self {
        let video = |variant: &Variant| {
            let rendition = variant.uri.split('/').nth(1)?.to_owned();
            Some(Video { rendition, codec: variant.codec.clone(), size: variant.size })
        };
        Self {
            fps: playlist.variants.first().map_or(0.0, |variant| variant.fps),
            video: playlist.variants.iter().filter_map(video).collect(),
            audio: playlist.audio.as_ref().map(|audio| (audio.codec.clone(), audio.channels)),
        }
    }

    /// Takes what is new; a rung that paused long enough to be missing from `newer` stays.
    fn merge(&mut self, newer: Self) {
        if newer.fps > 0.0 {
            self.fps = newer.fps;
        }
        self.audio = newer.audio.or(self.audio.take());
        for video in newer.video {
            match self.video.iter_mut().find(|known| known.rendition == video.rendition) {
                Some(known) => *known = video,
                None => self.video.push(video),
            }
        }
        self.video.sort_by_key(|video| std::cmp::Reverse(video.size.0));
    }
}

impl Ledger {
    /// Reads a journal; a last line that a crash cut off is none.
    pub(crate) fn read(text: &str) -> Self {
        let mut ledger = Self::default();
        ledger.read_on(text);
        ledger
    }

    /// Takes more of a journal.
    pub(crate) fn read_on(&mut self, text: &str) {
        lines(text).for_each(|line| self.enter(line));
    }

    /// Takes the next line.
    pub(crate) fn enter(&mut self, line: Line) {
        match line {
            Line::Session { name, session, began_ms, rungs } => {
                (self.name, self.session, self.began_ms, self.rungs) = (name, session, began_ms, rungs);
            }
            Line::Epoch { anchor_ms, target_s, protect } => {
                (self.epoch, self.protect) = (Some((anchor_ms, target_s)), protect);
            }
            Line::Layout(layout) => self.layout = Some(layout),
            Line::Shape(shape) => self.shape.merge(shape),
            Line::Segment(mut entry) => {
                // It stands in playlists as it stands here; and what has no init segment, or no key, can't be played.
                let playable = matches!(File::parse(&entry.map), Some(File::Init(_)));
                if !playable || !(entry.key.is_empty() || KeyFile::parse_uri(&entry.key).is_some()) {
                    (entry.map, entry.key) = Default::default();
                    (entry.gap, entry.bytes, entry.first_chunk) = (true, 0, 0);
                }
                if let Ok(rendition) = entry.rendition.parse() {
                    self.renditions.entry(rendition).or_default().insert(entry.msn, entry);
                }
            }
            Line::Mark(mark) => {
                if self.marks.len() < MARKS_MAX && mark.name.len() <= WORDS_BYTES_MAX {
                    self.marks.insert(mark);
                }
            }
            Line::Part { number, bytes } => {
                self.parts.insert(number, bytes);
            }
            Line::End(end) => self.end = Some(end),
        }
    }

    /// Lines that say the same.
    pub(crate) fn lines(&self) -> Vec<Line> {
        if self.name.is_empty() {
            return Vec::new();
        }
        let Self { name, session, began_ms, rungs, .. } = self;
        let mut lines =
            vec![Line::Session { name: name.clone(), session: session.clone(), began_ms: *began_ms, rungs: *rungs }];
        let protect = self.protect;
        lines.extend(self.epoch.map(|(anchor_ms, target_s)| Line::Epoch { anchor_ms, target_s, protect }));
        lines.extend(self.layout.map(Line::Layout));
        if self.shape != Shape::default() {
            lines.push(Line::Shape(self.shape.clone()));
        }
        lines.extend(self.renditions.values().flat_map(BTreeMap::values).cloned().map(Line::Segment));
        lines.extend(self.marks.iter().cloned().map(Line::Mark));
        lines.extend(self.parts.iter().map(|(number, bytes)| Line::Part { number: *number, bytes: *bytes }));
        lines.extend(self.end.map(Line::End));
        lines
    }

    /// The asset's id, once there is one.
    pub(crate) fn asset(&self) -> Option<String> {
        self.epoch.filter(|_| self.rungs).map(|(anchor_ms, _)| asset_id(&self.name, anchor_ms))
    }

    /// All segments and gaps.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.renditions.values().flat_map(BTreeMap::values)
    }

    /// The newest number of each rendition.
    pub(crate) fn newest(&self) -> impl Iterator<Item = (Rendition, u64)> + '_ {
        self.renditions.iter().filter_map(|(rendition, entries)| Some((*rendition, *entries.keys().next_back()?)))
    }

    /// The playlists over what is there; `None` if nothing can be played.
    pub(crate) fn vod(&self) -> Option<Vod> {
        let (_, target_s) = self.epoch?;
        let numbers = self.span()?;
        let all: BTreeMap<Rendition, Vec<Segment>> = self
            .renditions
            .iter()
            .filter(|(_, entries)| numbers.clone().any(|msn| whole(entries, msn)))
            .map(|(rendition, entries)| (*rendition, self.segments(entries, numbers.clone())))
            .collect();
        let multivariant = self.multivariant(&all, target_s);
        // Every segment rounds to the target or less; after a crash the last one may be anything.
        let longest = all.values().flatten().map(|segment| segment.seconds.round() as u32).max().unwrap_or(0);
        let (mut playlists, mut duration_s, mut start_ms) = (Vec::new(), 0.0, 0);
        for (rendition, segments) in &all {
            if *rendition != Rendition::Audio {
                duration_s = segments.iter().map(|segment| segment.seconds).sum();
                start_ms = segments.first().map_or(0, |segment| segment.date_ms);
            }
            let playlist = MediaPlaylist {
                target_s: target_s.max(longest),
                media_sequence: *numbers.start(),
                segments: segments.clone(),
                ended: true,
                ..MediaPlaylist::default()
            };
            playlists.push((format!("{rendition}/{}", File::Playlist), playlist.render_vod()));
            if *rendition != Rendition::Audio && !self.protect {
                playlists.push((format!("{rendition}/{}", File::IFrames), iframes_vod(&playlist)));
            }
        }
        let renditions = all.keys().map(Rendition::to_string).collect();
        Some(Vod { playlists, multivariant: multivariant.render(), renditions, start_ms, duration_s })
    }

    /// From the first number that can be played, with sound if there is any, to the last.
    fn span(&self) -> Option<std::ops::RangeInclusive<u64>> {
        let audio = self.renditions.get(&Rendition::Audio).filter(|entries| entries.keys().any(|n| whole(entries, *n)));
        let videos = || self.renditions.iter().filter(|(rendition, _)| **rendition != Rendition::Audio);
        let playable = |msn: &u64| {
            videos().any(|(_, entries)| whole(entries, *msn)) && audio.is_none_or(|entries| whole(entries, *msn))
        };
        let numbers = || videos().flat_map(|(_, entries)| entries.keys().copied()).filter(playable);
        let first = numbers().min()?;
        Some(first..=numbers().filter(|msn| msn.saturating_sub(first) < SPAN_MAX).max()?)
    }

    /// A rendition's segments under all of these numbers: what it lacks is a gap.
    fn segments(&self, entries: &BTreeMap<u64, Entry>, numbers: std::ops::RangeInclusive<u64>) -> Vec<Segment> {
        let first = *numbers.start();
        let mut segments: Vec<Segment> = Vec::new();
        for msn in numbers {
            let own = entries.get(&msn);
            let other = || self.renditions.values().find_map(|entries| entries.get(&msn));
            let last = segments.last();
            let segment = match own.or_else(other) {
                Some(entry) => Segment {
                    seconds: entry.seconds,
                    gap: own.is_none_or(|own| own.gap),
                    discontinuity: entry.discontinuity && msn != first,
                    map: match own {
                        Some(own) => own.map.clone(),
                        None => last.map(|last| last.map.clone()).unwrap_or_default(),
                    },
                    // The same in all renditions.
                    key: entry.key.clone(),
                    date_ms: entry.date_ms,
                    first_chunk: own.map_or(0, |own| own.first_chunk),
                    ..Segment::default()
                },
                // Nobody knows anything of it: its number is taken all the same.
                None => Segment {
                    seconds: f64::from(self.epoch.map_or(1, |(_, target_s)| target_s)),
                    gap: true,
                    map: last.map(|last| last.map.clone()).unwrap_or_default(),
                    date_ms: last.map_or(0, |last| last.date_ms.saturating_add((last.seconds * 1000.0) as i64)),
                    ..Segment::default()
                },
            };
            segments.push(Segment { uri: File::Segment(msn).to_string(), ..segment });
        }
        segments
    }

    fn multivariant(&self, all: &BTreeMap<Rendition, Vec<Segment>>, target_s: u32) -> Multivariant {
        let uri = |rendition: Rendition, file: File| format!("{rendition}/{file}");
        let rates = |rendition: Rendition| {
            let entries = self.renditions.get(&rendition).into_iter().flat_map(BTreeMap::values);
            Rates::of(&entries.filter(|entry| !entry.gap).collect::<Vec<_>>(), target_s)
        };
        let audio = self.shape.audio.as_ref().filter(|_| all.contains_key(&Rendition::Audio));
        let audio = audio.map(|(codec, channels)| {
            let Rates { peak, average, .. } = rates(Rendition::Audio);
            let uri = uri(Rendition::Audio, File::Playlist);
            AudioGroup { uri, channels: *channels, codec: codec.clone(), peak, average }
        });
        let variant = |video: &Video| {
            let rendition: Rendition = video.rendition.parse().ok()?;
            all.get(&rendition)?;
            let Rates { peak, average, iframes_peak } = rates(rendition);
            Some(Variant {
                uri: uri(rendition, File::Playlist),
                iframes_uri: if self.protect { String::new() } else { uri(rendition, File::IFrames) },
                codec: video.codec.clone(),
                size: video.size,
                fps: self.shape.fps,
                peak,
                average,
                iframes_peak,
            })
        };
        Multivariant { audio, variants: self.shape.video.iter().filter_map(variant).collect() }
    }
}

/// The lines of a journal; what is none is passed over.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = Line> + '_ {
    text.lines().filter_map(|line| serde_json::from_str(line).ok())
}

/// Bit rates of a recorded rendition, bit/s.
#[derive(Debug, Clone, Copy, Default)]
struct Rates {
    peak: u64,
    average: u64,
    iframes_peak: u64,
}

impl Rates {
    fn of(entries: &[&Entry], target_s: u32) -> Self {
        // A segment of a few pictures is nearly all key frame: its rate says nothing of what a player must fetch.
        let long = |entry: &&&Entry| entry.seconds * 2.0 >= f64::from(target_s);
        let counted: Vec<&Entry> = entries.iter().filter(long).copied().collect();
        let counted = if counted.is_empty() { entries.to_vec() } else { counted };
        let rate = |bytes: u64, seconds: f64| (bytes as f64 * 8.0 / seconds.max(0.001)).ceil() as u64;
        let (bytes, seconds) = entries
            .iter()
            .fold((0_u64, 0.0), |(bytes, seconds), entry| (bytes.saturating_add(entry.bytes), seconds + entry.seconds));
        Self {
            peak: counted.iter().map(|entry| rate(entry.bytes, entry.seconds)).max().unwrap_or(0),
            average: if entries.is_empty() { 0 } else { rate(bytes, seconds) },
            iframes_peak: counted.iter().map(|entry| rate(entry.first_chunk, entry.seconds)).max().unwrap_or(0),
        }
    }
}

fn whole(entries: &BTreeMap<u64, Entry>, msn: u64) -> bool {
    entries.get(&msn).is_some_and(|entry| !entry.gap)
}

fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests;
