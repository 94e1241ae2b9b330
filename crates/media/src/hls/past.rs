//! The old part of a long playlist: segments that change no more, written down once.
//!
//! A playlist of six hours has ten thousand segments, and it is asked for with every part. So what left the live window
//! is kept as text, in blocks that snapshots share; only its ends move. Knows no windows and no files.

use super::Segment;
use super::media::{InForce, Said, line, write_key, write_map};
use std::collections::VecDeque;
use std::sync::Arc;

/// Segments in a block: what a push may have to copy while a snapshot is being rendered.
const BLOCK_SEGMENTS: usize = 128;

/// Whole segments and gaps in text, oldest first. Cloning shares the text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Past {
    blocks: VecDeque<Arc<Block>>,
    /// Segments of the first block that have left.
    left: usize,
    discontinuities: u64,
}

/// Some segments' text, and where each ends in it.
#[derive(Debug, Clone, Default, PartialEq)]
struct Block {
    text: String,
    marks: Vec<Mark>,
}

#[derive(Debug, Clone, PartialEq)]
struct Mark {
    /// Where its text ends.
    end: usize,
    /// Bytes of the last line, the URI with its newline.
    uri: usize,
    seconds: f64,
    first_chunk: u64,
    gap: bool,
    discontinuity: bool,
    /// What its text says of what is in force.
    says: Said,
    /// The init segment in force; empty if there never was one.
    map: Arc<str>,
    /// The key in force; empty if there is none.
    key: Arc<str>,
}

impl Past {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.blocks.iter().map(|block| block.marks.len()).sum::<usize>().saturating_sub(self.left)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// How many of them begin with a discontinuity.
    pub fn discontinuities(&self) -> u64 {
        self.discontinuities
    }

    /// Adds the one behind the newest. Its parts are not listed any more.
    pub fn push(&mut self, segment: &Segment) {
        let last = self.last().map(|last| (Arc::clone(&last.map), Arc::clone(&last.key)));
        let (map, key) = last.unwrap_or_default();
        let mut in_force = InForce { map: &map, key: &key };
        if self.blocks.back().is_none_or(|block| block.marks.len() >= BLOCK_SEGMENTS) {
            self.blocks.push_back(Arc::default());
        }
        let Some(block) = self.blocks.back_mut().map(Arc::make_mut) else { return };
        let says = segment.write_head(&mut block.text, &mut in_force);
        if segment.gap {
            line(&mut block.text, format_args!("#EXT-X-GAP"));
        }
        line(&mut block.text, format_args!("#EXTINF:{:.6},\n{}", segment.seconds, segment.uri));
        let shared = |text: &str, before: &Arc<str>| if *text == **before { Arc::clone(before) } else { text.into() };
        let (map, key) = (shared(in_force.map, &map), shared(in_force.key, &key));
        block.marks.push(Mark {
            end: block.text.len(),
            uri: segment.uri.len() + 1,
            seconds: segment.seconds,
            first_chunk: segment.first_chunk,
            gap: segment.gap,
            discontinuity: segment.discontinuity,
            says,
            map,
            key,
        });
        self.discontinuities += u64::from(segment.discontinuity);
    }

    /// The oldest leaves.
    pub fn pop_front(&mut self) {
        let Some((block, mark)) = self.blocks.front().and_then(|block| Some((block, block.marks.get(self.left)?)))
        else {
            return;
        };
        self.discontinuities -= u64::from(mark.discontinuity);
        self.left += 1;
        if self.left >= block.marks.len() {
            self.blocks.pop_front();
            self.left = 0;
        }
    }

    /// Whether the one at `index` is there, and no gap.
    pub fn is_whole(&self, index: usize) -> bool {
        // All blocks but the last are full.
        let at = self.left.saturating_add(index);
        let block = self.blocks.get(at / BLOCK_SEGMENTS);
        block.and_then(|block| block.marks.get(at % BLOCK_SEGMENTS)).is_some_and(|mark| !mark.gap)
    }

    /// URIs of all init segments that are named, each once for every time that it comes into force.
    pub fn maps(&self) -> Vec<&str> {
        let mut maps: Vec<&str> = self.marks().map(|(_, mark)| &*mark.map).filter(|map| !map.is_empty()).collect();
        maps.dedup();
        maps
    }

    /// The init segment in force behind the newest; empty if there is none.
    pub(super) fn map(&self) -> &str {
        self.last().map_or("", |last| &last.map)
    }

    /// The key in force behind the newest; empty if there is none.
    pub(super) fn key(&self) -> &str {
        self.last().map_or("", |last| &last.key)
    }

    /// How many of the newest begin less than `seconds` before the end.
    pub(super) fn newest_within(&self, seconds: f64) -> usize {
        let mut from_end = 0.0;
        let newest = self.blocks.iter().rev().flat_map(|block| block.marks.iter().rev()).take(self.len());
        let within = newest.take_while(|mark| {
            let within = from_end < seconds;
            from_end += mark.seconds;
            within
        });
        within.count()
    }

    /// Writes all but the oldest `skipped`. Which init segment is in force before the first one is said only if it is the
    /// oldest; which key always.
    pub(super) fn write(&self, out: &mut String, skipped: usize) {
        out.reserve(self.blocks.iter().map(|block| block.text.len()).sum());
        self.write_first(out, skipped);
        let mut skip = self.left.saturating_add(skipped);
        for block in &self.blocks {
            let from = skip.checked_sub(1).map(|last| block.marks.get(last).map(|mark| mark.end));
            match from {
                None => out.push_str(&block.text),
                Some(Some(start)) => out.push_str(block.text.get(start..).unwrap_or_default()),
                Some(None) => {}
            }
            skip = skip.saturating_sub(block.marks.len());
        }
    }

    /// Writes all as an I-frame playlist has them: the first chunk of each.
    pub(super) fn write_iframes(&self, out: &mut String) {
        out.reserve(self.blocks.iter().map(|block| block.text.len() + 32 * block.marks.len()).sum());
        self.write_first(out, 0);
        for (text, mark) in self.marks() {
            let (head, uri) = text.split_at_checked(text.len().saturating_sub(mark.uri)).unwrap_or((text, ""));
            out.push_str(head);
            line(out, format_args!("#EXT-X-BYTERANGE:{}@0", mark.first_chunk));
            out.push_str(uri);
        }
    }

    fn write_first(&self, out: &mut String, skipped: usize) {
        // All blocks but the last are full.
        let at = self.left.saturating_add(skipped);
        let block = self.blocks.get(at / BLOCK_SEGMENTS);
        let Some(first) = block.and_then(|block| block.marks.get(at % BLOCK_SEGMENTS)) else { return };
        if skipped == 0 && !first.says.map && !first.map.is_empty() {
            write_map(out, &first.map, !first.key.is_empty());
        }
        if !first.says.key && !first.key.is_empty() {
            write_key(out, &first.key);
        }
    }

    /// All with their texts.
    fn marks(&self) -> impl Iterator<Item = (&str, &Mark)> {
        let all = self.blocks.iter().flat_map(|block| {
            let starts = std::iter::once(0).chain(block.marks.iter().map(|mark| mark.end));
            let text = |(start, mark): (usize, &Mark)| block.text.get(start..mark.end).unwrap_or_default();
            starts.zip(&block.marks).map(move |(start, mark)| (text((start, mark)), mark))
        });
        all.skip(self.left)
    }

    fn last(&self) -> Option<&Mark> {
        self.blocks.back()?.marks.last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hls::{MediaPlaylist, PartLine, iframes};

    /// Segments with a break, gaps and changes of the init segment at odd places.
    fn segments(count: u64) -> Vec<Segment> {
        let segment = |n: u64| Segment {
            uri: format!("{n}.m4s"),
            seconds: if n.is_multiple_of(5) { 1.966_667 } else { 2.0 },
            gap: n % 11 == 4,
            discontinuity: n % 97 == 13,
            map: if n < 3 { String::new() } else { format!("init-{}.mp4", n / 150) },
            key: String::new(),
            date_ms: 1_795_195_500_000 + n as i64 * 2000,
            parts: Vec::new(),
            first_chunk: 1000 + n,
        };
        (0..count).map(segment).collect()
    }

    fn playlist(past: Past, segments: Vec<Segment>, media_sequence: u64, discontinuities: u64) -> MediaPlaylist {
        MediaPlaylist {
            target_s: 2,
            part_ms: 500,
            media_sequence,
            discontinuity_sequence: discontinuities,
            past,
            segments,
            ..MediaPlaylist::default()
        }
    }

    /// The same list, all live or mostly past, reads the same; also if each key is for `every` segments.
    fn check(left: usize, live: usize, every: Option<u64>) {
        let mut all = segments(400);
        for (segment, n) in all.iter_mut().zip(0u64..) {
            segment.key = every.map(|every| format!("../keys/{}-00.key", n / every)).unwrap_or_default();
        }
        let before = all[..left].iter().filter(|segment| segment.discontinuity).count() as u64;
        let plain = playlist(Past::default(), all[left..].to_vec(), left as u64, before);
        let mut past = Past::default();
        let (old, new) = all.split_at(all.len() - live);
        old.iter().for_each(|segment| past.push(segment));
        (0..left).for_each(|_| past.pop_front());
        assert_eq!(past.len(), old.len() - left);
        let gone = before + past.discontinuities();
        let long = playlist(past, new.to_vec(), old.len() as u64, gone);
        assert_eq!(long.render(), plain.render(), "{left} gone, {live} live");
        assert_eq!(long.render_delta(), plain.render_delta(), "{left} gone, {live} live");
        assert_eq!(iframes(&long), iframes(&plain), "{left} gone, {live} live");
    }

    #[test]
    fn what_is_past_reads_as_if_it_were_not() {
        for left in [0, 1, 12, 13, 14, 127, 128, 129, 150, 200, 300] {
            for live in [1, 2, 5, 6, 7, 60] {
                for every in [None, Some(1), Some(5), Some(1000)] {
                    check(left, live, every);
                }
            }
        }
    }

    #[test]
    fn it_can_be_emptied_and_goes_on() {
        let mut past = Past::default();
        let all = segments(300);
        for segment in &all[..200] {
            past.push(segment);
        }
        (0..500).for_each(|_| past.pop_front());
        assert!(past.is_empty() && past.discontinuities() == 0);
        all[200..].iter().for_each(|segment| past.push(segment));
        assert_eq!((past.len(), past.is_whole(0), past.maps()), (100, true, vec!["init-1.mp4"]));
    }

    #[test]
    fn gaps_are_known_by_their_place() {
        let mut past = Past::default();
        segments(300).iter().for_each(|segment| past.push(segment));
        (0..130).for_each(|_| past.pop_front());
        for index in [0, 5, 6, 7, 125, 126, 169] {
            assert_eq!(past.is_whole(index), (index + 130) % 11 != 4, "{index}");
        }
        assert!(!past.is_whole(170));
    }

    #[test]
    fn a_snapshot_stays_as_it_was() {
        let mut past = Past::default();
        let all = segments(10);
        all[..5].iter().for_each(|segment| past.push(segment));
        let snapshot = past.clone();
        all[5..].iter().for_each(|segment| past.push(segment));
        past.pop_front();
        assert_eq!((snapshot.len(), past.len()), (5, 9));
    }

    #[test]
    #[ignore = "a measurement, not a test: cargo nextest run --run-ignored all --no-capture -p media six_hours"]
    fn six_hours_are_rendered_in() {
        let mut past = Past::default();
        let old: Vec<Segment> = segments(10_800);
        let part = |n: u32| PartLine { uri: format!("10860.{n}.m4s"), seconds: 0.5, independent: n == 0 };
        old.iter().for_each(|segment| past.push(segment));
        let live = segments(60).into_iter().map(|s| Segment { parts: (0..4).map(part).collect(), ..s }).collect();
        let long = playlist(past, live, 10_800, 200);
        let all = MediaPlaylist { past: Past::default(), segments: old, ..long.clone() };
        let time = |what: &str, render: &dyn Fn() -> usize| {
            let start = std::time::Instant::now();
            let bytes = (0..20).map(|_| render()).max().unwrap_or_default();
            eprintln!("{what}: {bytes} bytes in {:?}", start.elapsed() / 20);
        };
        time("snapshot", &|| long.clone().past.len());
        time("whole, from text", &|| long.render().len());
        time("whole, line by line", &|| all.render().len());
        time("delta", &|| long.render_delta().len());
        time("I-frames", &|| iframes(&long).len());
    }
}
