//! Which segment a picture belongs to, and how many pictures each segment has.
//!
//! Pure: times in, numbers out.

use super::SegmentJob;
use crate::ladder::{Announced, Foreseen};

/// Packets of one segment that are counted, in bytes: a segment with more is judged by these. They wait in memory meanwhile.
const COUNTED_BYTES: usize = 64 << 20;

/// Ticks (90 kHz) in a millisecond.
const TICKS_PER_MS: i64 = 90;

/// Finds the segment of each picture.
#[derive(Debug)]
pub(super) struct Placer {
    segments: Vec<SegmentJob>,
    /// The segment in hand.
    current: usize,
    last: Option<i64>,
    past: bool,
}

impl Placer {
    pub(super) fn new(segments: &[SegmentJob]) -> Self {
        Self { segments: segments.to_vec(), current: 0, last: None, past: false }
    }

    /// The segment of the picture at `pts`, and those that end before it. `None` for pictures outside all segments, and for
    /// those that are not later than the one before: no container could hold them.
    pub(super) fn place(&mut self, pts: i64) -> (Vec<u64>, Option<SegmentJob>) {
        let mut ended = Vec::new();
        while let Some(segment) = self.segments.get(self.current).filter(|segment| segment.end <= pts) {
            ended.push(segment.seq);
            self.current += 1;
        }
        self.past = self.current >= self.segments.len();
        let segment = self.segments.get(self.current).filter(|segment| segment.start <= pts);
        let kept = segment.filter(|_| self.last.is_none_or(|last| pts > last)).copied();
        if kept.is_some() {
            self.last = Some(pts);
        }
        (ended, kept)
    }

    /// Whether a picture after the last segment was seen.
    pub(super) fn is_past_the_end(&self) -> bool {
        self.past
    }

    /// Nothing more comes: what has not ended ends.
    pub(super) fn finish(&mut self) -> Vec<u64> {
        let rest = self.segments.get(self.current..).unwrap_or_default().iter().map(|segment| segment.seq).collect();
        self.current = self.segments.len();
        rest
    }
}

/// What is known of a segment's packets.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    packets: i64,
    bytes: usize,
    first: Option<i64>,
    last: Option<i64>,
    /// All packets were counted, or enough.
    done: bool,
    enough: bool,
}

/// Counts pictures before they are decoded, so that an encoder knows how many its bits are for.
#[derive(Debug)]
pub(super) struct Counter {
    segments: Vec<(SegmentJob, Count)>,
}

impl Counter {
    pub(super) fn new(segments: &[SegmentJob]) -> Self {
        Self { segments: segments.iter().map(|segment| (*segment, Count::default())).collect() }
    }

    /// Takes a packet in decoding order.
    pub(super) fn count(&mut self, pts: i64, dts: i64, bytes: usize) {
        for (segment, count) in &mut self.segments {
            if !count.done && (segment.start..segment.end).contains(&pts) {
                count.packets += 1;
                count.bytes += bytes;
                count.first = Some(count.first.map_or(pts, |first| first.min(pts)));
                count.last = Some(count.last.map_or(pts, |last| last.max(pts)));
                count.enough = count.bytes >= COUNTED_BYTES;
            }
            count.done |= count.enough || dts >= segment.end;
        }
    }

    /// Nothing more comes.
    pub(super) fn finish(&mut self) {
        self.segments.iter_mut().for_each(|(_, count)| count.done = true);
    }

    /// Whether the segment of a packet at `pts` was counted.
    pub(super) fn knows(&self, pts: i64) -> bool {
        let segment = self.segments.iter().find(|(segment, _)| (segment.start..segment.end).contains(&pts));
        segment.is_none_or(|(_, count)| count.done)
    }

    /// What encoders are told of a segment.
    pub(super) fn foresee(&self, segment: SegmentJob) -> Announced {
        let length = segment.end.saturating_sub(segment.start).max(1);
        let count = self.segments.iter().find(|(known, _)| known.seq == segment.seq).map(|(_, count)| *count);
        let spacing = match count {
            Some(Count { enough: true, packets, first: Some(first), last: Some(last), .. }) => {
                last.saturating_sub(first) / (packets - 1).max(1)
            }
            Some(Count { packets: packets @ 1.., .. }) => length / packets,
            _ => length,
        };
        let ms = u32::try_from(length / TICKS_PER_MS).unwrap_or(u32::MAX).max(1);
        let foreseen = Some(Foreseen { ms, spacing: spacing.max(1) });
        Announced { seq: segment.seq, skip: segment.skip, foreseen }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(seq: u64, start: i64, end: i64) -> SegmentJob {
        SegmentJob { seq, start, end, skip: 0 }
    }

    /// A number is a picture. Expected: `7:` before what fell into 7, `7!` when 7 ended, `x` for one that was dropped.
    fn check(segments: &[(u64, i64, i64)], pictures: &[i64], expected: &str) {
        let segments: Vec<_> = segments.iter().map(|&(seq, start, end)| segment(seq, start, end)).collect();
        let (mut placer, mut got) = (Placer::new(&segments), Vec::new());
        for pts in pictures {
            let (ended, segment) = placer.place(*pts);
            got.extend(ended.iter().map(|seq| format!("{seq}!")));
            got.push(segment.map_or_else(|| "x".to_owned(), |segment| format!("{}:{pts}", segment.seq)));
        }
        got.extend(placer.finish().iter().map(|seq| format!("{seq}!")));
        assert_eq!(got.join(" "), expected, "{pictures:?}");
    }

    #[test]
    fn pictures_go_by_their_pts_and_every_segment_ends_once() {
        let two = [(1, 6, 12), (2, 12, 18)];
        check(&two, &[0, 3, 6, 9, 12, 15, 18], "x x 1:6 1:9 1! 2:12 2:15 2! x");
        check(&two, &[6], "1:6 1! 2!");
        check(&two, &[15], "1! 2:15 2!");
        check(&two, &[], "1! 2!");
        check(&two, &[20, 6], "1! 2! x x");
        check(&two, &[6, 9, 9, 7, 12], "1:6 1:9 x x 1! 2:12 2!");
    }

    #[test]
    fn pictures_between_segments_are_dropped() {
        check(&[(1, 0, 6), (3, 12, 18)], &[0, 6, 9, 12], "1:0 1! x x 3:12 3!");
    }

    #[test]
    fn a_segment_is_known_when_a_packet_after_it_was_seen_and_tells_its_pictures_distance() {
        let mut counter = Counter::new(&[segment(1, 0, 900), segment(2, 900, 1800)]);
        for (pts, dts) in [(0, -100), (300, 0), (100, 100), (200, 200)] {
            counter.count(pts, dts, 10);
        }
        assert!(!counter.knows(0));
        counter.count(900, 900, 10);
        assert!(counter.knows(0) && !counter.knows(900) && counter.knows(5000));
        let foreseen = counter.foresee(segment(1, 0, 900)).foreseen;
        assert_eq!(foreseen, Some(Foreseen { ms: 10, spacing: 225 }));
        counter.finish();
        assert!(counter.knows(900));
    }

    #[test]
    fn a_segment_of_very_many_bytes_is_judged_by_the_first_of_them() {
        let mut counter = Counter::new(&[segment(1, 0, 540_000)]);
        for packet in 0..10 {
            counter.count(packet * 3000, packet * 3000, COUNTED_BYTES / 4);
        }
        assert!(counter.knows(0));
        assert_eq!(counter.foresee(segment(1, 0, 540_000)).foreseen, Some(Foreseen { ms: 6000, spacing: 3000 }));
    }
}
