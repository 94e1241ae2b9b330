//! One of a viewer's tracks (picture, sound): its playlist, what comes next of it, and what is there to play.
//!
//! Pure. Which rung it is of, and when it may fetch, is the viewer's decision.

use super::super::ask::{Kind, Place, Resource};
use super::super::listing::{Listing, Segment};
use super::errand::Errand;
use std::collections::VecDeque;
use std::sync::Arc;

/// Two dates that are nearer to each other than this, in seconds, follow each other without a break.
const SAME_S: f64 = 0.05;

/// Less than this of a segment, in seconds, is nothing.
const NOTHING_S: f64 = 0.01;

/// Stretches that are remembered behind the playback clock and before it. More only come of very many breaks.
const RUNS_MAX: usize = 64;

/// A place in a playlist: a segment, and how many of its parts are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cursor {
    pub(super) msn: u64,
    pub(super) part: usize,
}

impl Cursor {
    pub(super) const fn at(msn: u64) -> Self {
        Self { msn, part: 0 }
    }

    fn next_segment(self) -> Self {
        Self::at(self.msn.saturating_add(1))
    }

    fn next_part(self) -> Self {
        Self { part: self.part.saturating_add(1), ..self }
    }
}

/// What to do about the next piece.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Nothing yet.
    Wait,
    /// It has left the playlist.
    Lost,
    /// Nothing follows.
    End,
    /// This segment is done.
    Pass(Cursor),
    /// It is announced as missing.
    Hole(f64, Cursor),
    /// The part that came early is listed by now.
    Came(f64, Cursor),
    /// Fetch it.
    Load(Piece),
}

/// A piece to fetch.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Piece {
    pub(super) kind: Kind,
    pub(super) resource: Resource,
    /// What it needs first.
    pub(super) needs: [Option<Arc<Resource>>; 2],
    /// Seconds of media; 0 where nobody knows yet.
    pub(super) seconds: f64,
    /// Where to go on.
    pub(super) after: Cursor,
}

/// A stretch of media time that is there, or that is not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Run {
    pub(super) start: f64,
    pub(super) end: f64,
    date: Option<f64>,
    hole: bool,
}

/// A request for media that is under way.
#[derive(Debug)]
pub(super) struct Loading {
    pub(super) piece: Piece,
    /// When a playlist listed it: only from then on the connection is to blame for what is not there yet.
    pub(super) listed: f64,
}

/// A track.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) place: Place,
    pub(super) listing: Option<Arc<Listing>>,
    /// When that came.
    pub(super) heard: f64,
    pub(super) reload: Errand,
    /// Reloads in a row that brought nothing new.
    pub(super) stale: u32,
    /// The next reload must not be a delta update.
    pub(super) whole: bool,
    pub(super) cursor: Option<Cursor>,
    pub(super) fetch: Errand,
    pub(super) loading: Option<Loading>,
    /// An announced part that came before it was listed.
    pub(super) early: Option<Place>,
    /// An announced part that was not to be had.
    pub(super) refused: Option<Place>,
    /// The init segment and the key that are there.
    pub(super) has: [Option<Arc<Resource>>; 2],
    /// Seconds of the cursor's segment that are there as parts.
    begun: f64,
    /// Media time up to which it is there.
    pub(super) end: f64,
    runs: VecDeque<Run>,
    /// All of it is there.
    pub(super) complete: bool,
}

impl Track {
    pub(super) fn new(place: Place) -> Self {
        Self {
            place,
            listing: None,
            heard: 0.0,
            reload: Errand::default(),
            stale: 0,
            whole: false,
            cursor: None,
            fetch: Errand::default(),
            loading: None,
            early: None,
            refused: None,
            has: [None, None],
            begun: 0.0,
            end: 0.0,
            runs: VecDeque::new(),
            complete: false,
        }
    }

    /// Begins (again) at a segment, which plays at this media time.
    pub(super) fn seat(&mut self, msn: u64, media_time: f64) {
        self.runs.clear();
        (self.cursor, self.end, self.begun, self.complete) = (Some(Cursor::at(msn)), media_time, 0.0, false);
        self.early = None;
    }

    /// Goes over to another rung's playlist, from the cursor's segment on.
    pub(super) fn turn_to(&mut self, place: Place) {
        (self.place, self.listing, self.stale, self.early) = (place, None, 0, None);
        (self.reload, self.fetch, self.loading) = (Errand::default(), Errand::default(), None);
    }

    /// What comes next. `parts`: whether parts are wanted; `hints`: also those that are only announced.
    pub(super) fn step(&self, parts: bool, hints: bool) -> Step {
        let (Some(listing), Some(cursor)) = (&self.listing, self.cursor) else { return Step::Wait };
        let Some(segment) = listing.segment(cursor.msn) else {
            return match (cursor.msn < listing.first, listing.ended) {
                (true, _) => Step::Lost,
                (false, true) => Step::End,
                (false, false) => Step::Wait,
            };
        };
        let by_parts = parts && (cursor.part > 0 || segment.whole.is_none());
        if let Some(part) = segment.parts.get(cursor.part).filter(|_| by_parts) {
            let last = segment.whole.is_some() && cursor.part.saturating_add(1) == segment.parts.len();
            let after = if last { cursor.next_segment() } else { cursor.next_part() };
            if part.gap {
                return Step::Hole(part.duration, after);
            }
            if self.early.as_ref() == Some(&part.resource.place) {
                return Step::Came(part.duration, after);
            }
            return Step::Load(piece(Kind::Part, &part.resource, segment, part.duration, after));
        }
        let Some(whole) = &segment.whole else { return self.announced(listing, segment, cursor, parts && hints) };
        let rest = segment.duration - self.begun;
        if cursor.part > 0 && (!segment.parts.is_empty() || rest < NOTHING_S) {
            return Step::Pass(cursor.next_segment());
        }
        if segment.gap {
            return Step::Hole(rest, cursor.next_segment());
        }
        Step::Load(piece(Kind::Segment, whole, segment, rest, cursor.next_segment()))
    }

    fn announced(&self, listing: &Listing, segment: &Segment, cursor: Cursor, wanted: bool) -> Step {
        if listing.ended {
            return Step::End;
        }
        let known = |place: &Place| [&self.early, &self.refused].into_iter().any(|other| other.as_ref() == Some(place));
        match &listing.hint {
            Some(hint) if wanted && !known(&hint.place) => {
                Step::Load(piece(Kind::Hint, hint, segment, 0.0, cursor.next_part()))
            }
            _ => Step::Wait,
        }
    }

    /// Takes a piece in, or notes that it is missing.
    pub(super) fn append(&mut self, seconds: f64, after: Cursor, hole: bool) {
        let date = self.date_at_cursor();
        let (start, end) = (self.end, self.end + seconds);
        match self.runs.back_mut() {
            Some(last) if last.hole == hole && follows(last, date) => last.end = end,
            _ => self.runs.push_back(Run { start, end, date, hole }),
        }
        if self.runs.len() > RUNS_MAX {
            self.runs.pop_front();
        }
        self.end = end;
        self.move_to(after, seconds);
    }

    /// Moves the cursor past what brought so many seconds.
    pub(super) fn move_to(&mut self, after: Cursor, seconds: f64) {
        let same = self.cursor.is_some_and(|cursor| cursor.msn == after.msn);
        self.begun = if same { self.begun + seconds } else { 0.0 };
        self.cursor = Some(after);
        self.early = None;
    }

    /// When what is at the cursor happened.
    pub(super) fn date_at_cursor(&self) -> Option<f64> {
        let listed = self.listing.as_ref()?.segment(self.cursor?.msn)?;
        Some(listed.date? + self.begun)
    }

    /// When what is there last happened, or will: the end in the calendar's time.
    pub(super) fn end_date(&self) -> Option<f64> {
        let last = self.runs.back()?;
        Some(last.date? + last.end - last.start)
    }

    /// When what plays at a media time happened; forgets what lies before it.
    pub(super) fn date_of(&mut self, position: f64) -> Option<f64> {
        while self.runs.len() > 1 && self.runs.front().is_some_and(|run| run.end <= position) {
            self.runs.pop_front();
        }
        let run = self.runs.front()?;
        Some(run.date? + position - run.start)
    }

    /// The next stretch that is missing.
    pub(super) fn hole(&self, position: f64) -> Option<(f64, f64)> {
        let run = self.runs.iter().find(|run| run.hole && run.end > position + SAME_S)?;
        Some((run.start, run.end))
    }
}

fn follows(last: &Run, date: Option<f64>) -> bool {
    match (last.date, date) {
        (None, None) => true,
        (Some(begin), Some(date)) => (begin + last.end - last.start - date).abs() < SAME_S,
        _ => false,
    }
}

fn piece(kind: Kind, resource: &Resource, segment: &Segment, seconds: f64, after: Cursor) -> Piece {
    Piece { kind, resource: resource.clone(), needs: [segment.init.clone(), segment.key.clone()], seconds, after }
}
