//! Which segment a picture belongs to.
//!
//! Pure: numbers and times in, numbers out.

use std::collections::VecDeque;

/// Segments announced ahead of the first picture of theirs that could be decoded. Beyond this, the oldest ends empty.
const PENDING_MAX: usize = 64;

/// A segment's number, which rungs leave it out, as a bit for each, and what is known of it before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) seq: u64,
    pub(crate) skip: u8,
    pub(crate) foreseen: Option<Foreseen>,
}

/// What is known of a segment that was all there before it was encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Foreseen {
    /// Its length in ms.
    pub(crate) ms: u32,
    /// How far apart its pictures are on average, in ticks (90 kHz).
    pub(crate) spacing: i64,
}

/// The segment in hand and those announced.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    current: Option<Announced>,
    pending: VecDeque<(Announced, i64)>,
    last_pts: Option<i64>,
}

impl Segments {
    /// A segment begins at `start_pts`. Gives segments that have thereby ended.
    pub(crate) fn announce(&mut self, segment: Announced, start_pts: i64) -> Vec<u64> {
        self.pending.push_back((segment, start_pts));
        match self.pending.len() > PENDING_MAX {
            true => self.begin_next().into_iter().collect(),
            false => Vec::new(),
        }
    }

    /// The segment of the picture at `pts`, and the segments that end before it. `None` for pictures before the
    /// first segment, and for those that are not later than the one before: no container could hold them.
    pub(crate) fn place(&mut self, pts: i64) -> (Vec<u64>, Option<Announced>) {
        let mut ended = Vec::new();
        while self.pending.front().is_some_and(|&(_, start)| start <= pts) {
            ended.extend(self.begin_next());
        }
        let kept = self.last_pts.is_none_or(|last| pts > last) && self.current.is_some();
        if kept {
            self.last_pts = Some(pts);
        }
        (ended, self.current.filter(|_| kept))
    }

    /// Nothing more comes: every segment ends.
    pub(crate) fn finish(&mut self) -> Vec<u64> {
        let pending = self.pending.drain(..).map(|(segment, _)| segment);
        self.current.take().into_iter().chain(pending).map(|segment| segment.seq).collect()
    }

    /// Moves on to the next announced segment; gives the one that ends.
    fn begin_next(&mut self) -> Option<u64> {
        let (segment, _) = self.pending.pop_front()?;
        self.last_pts = None;
        self.current.replace(segment).map(|ended| ended.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(seq: u64) -> Announced {
        Announced { seq, skip: 0, foreseen: None }
    }

    /// `|7@300` announces segment 7 at 300; a number is a picture. Expected: `7:` before what fell into 7, `7!` when 7
    /// ended, `x` for a picture that was dropped.
    fn check(input: &str, expected: &str) {
        let mut segments = Segments::default();
        let mut got = Vec::new();
        for word in input.split_whitespace() {
            if let Some((seq, start)) = word.strip_prefix('|').and_then(|cut| cut.split_once('@')) {
                let ended = segments.announce(announced(seq.parse().unwrap()), start.parse().unwrap());
                got.extend(ended.iter().map(|seq| format!("{seq}!")));
            } else {
                let (ended, seq) = segments.place(word.parse().unwrap());
                got.extend(ended.iter().map(|seq| format!("{seq}!")));
                got.push(seq.map_or_else(|| "x".to_owned(), |segment| format!("{}:{word}", segment.seq)));
            }
        }
        got.extend(segments.finish().iter().map(|seq| format!("{seq}!")));
        assert_eq!(got.join(" "), expected, "{input}");
    }

    #[test]
    fn pictures_go_by_their_pts_however_early_a_segment_was_announced() {
        check("|1@0 0 3 |2@9 6 9 12", "1:0 1:3 1:6 1! 2:9 2:12 2!");
    }

    #[test]
    fn pictures_before_the_first_segment_are_dropped() {
        check("0 3 |1@6 3 6", "x x x 1:6 1!");
    }

    #[test]
    fn a_segment_without_pictures_still_ends() {
        check("|1@0 0 |2@3 |3@6 6", "1:0 1! 2! 3:6 3!");
        check("|1@0 0 |2@3", "1:0 1! 2!");
    }

    #[test]
    fn a_picture_not_later_than_the_one_before_is_dropped() {
        check("|1@0 0 3 3 2 6", "1:0 1:3 x x 1:6 1!");
    }

    #[test]
    fn time_may_restart_at_a_segment() {
        check("|1@900 900 903 |2@0 0 3", "1:900 1:903 1! 2:0 2:3 2!");
    }

    #[test]
    fn segments_that_never_get_a_picture_do_not_pile_up() {
        let mut segments = Segments::default();
        let ended: Vec<u64> = (0..1000).flat_map(|seq| segments.announce(announced(seq), 9999)).collect();
        assert_eq!(ended, (0..935).collect::<Vec<u64>>());
        assert_eq!(segments.finish().len(), PENDING_MAX + 1);
    }
}
