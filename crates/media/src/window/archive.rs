//! What left the live window and stays listed, because viewers may go further back and the recording has it.
//!
//! A slot goes over when everything that is whole in it has been recorded. What was not recorded ends the list there: a
//! playlist may lose its oldest segments at any time, but a segment that was listed must not become a gap (§6.2.1). Not
//! part of the state that a restart finds: it is recovered from the recording's own journal.

use super::{Cell, Column, Window};
use crate::hls::{Past, Segment};
use crate::ladder::Rendition;
use crate::route::File;
use crate::unit::VIDEO_TIMESCALE;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

/// Most segments that are listed behind the live window, in a rendition. A playlist of them has some 4 MiB.
pub const PAST_SEGMENTS_MAX: usize = 43_200;

/// How much longer than the live window may be a segment that the recorder has not confirmed is waited for: as long again.
const PATIENCE_WINDOWS: i64 = 2;

/// What is behind the live window, in all renditions.
#[derive(Debug, Clone, Default)]
pub(super) struct Archive {
    /// Media times of the slots, oldest first; the last one ends where the live window begins.
    starts: VecDeque<i64>,
    /// Whether what is whole will be recorded, if it is not yet.
    recording: bool,
    /// Numbers that are no longer listed and may still be asked for.
    left: Range<u64>,
}

/// Whether the recording is asked for a file that the live window does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recall {
    /// No.
    No,
    /// It was listed not long ago: if the recording has it.
    Perhaps,
    /// It is listed: the recording has it.
    Listed,
}

impl Window {
    /// Whether viewers may go further back than the live window.
    pub fn goes_back(&self) -> bool {
        self.terms.dvr_s > self.terms.window_s
    }

    /// The first number that playlists list.
    pub fn listed_from(&self) -> u64 {
        self.first.saturating_sub(self.archive.starts.len() as u64)
    }

    /// The recording has this segment, and the init segment in force.
    pub fn recorded(&mut self, rendition: Rendition, msn: u64) {
        let first = self.first;
        if let Some(column) = self.column_mut(rendition).filter(|_| msn >= first) {
            column.recorded.insert(msn);
        }
    }

    /// Whether the recording has a segment of the live window.
    pub fn is_recorded(&self, rendition: Rendition, msn: u64) -> bool {
        self.column(rendition).is_some_and(|column| column.recorded.contains(&msn))
    }

    /// Whether the recording goes on: only then it makes sense to wait for it.
    pub fn set_recording(&mut self, on: bool) {
        self.archive.recording = on;
    }

    /// Whether the recording is to be asked for a file that the live window does not have.
    pub fn recall(&self, rendition: Rendition, file: &File) -> Recall {
        let Some(column) = self.column(rendition) else { return Recall::No };
        match file {
            File::Segment(msn) if (self.listed_from()..self.first).contains(msn) => {
                let index = usize::try_from(msn - self.listed_from()).unwrap_or(usize::MAX);
                if column.past.is_whole(index) { Recall::Listed } else { Recall::No }
            }
            File::Segment(msn) if self.archive.left.contains(msn) => Recall::Perhaps,
            File::Init(_) if column.past.maps().contains(&file.to_string().as_str()) => Recall::Listed,
            File::Init(_) if !self.archive.left.is_empty() => Recall::Perhaps,
            _ => Recall::No,
        }
    }

    /// Takes over from a recording's journal what ended where this window begins. To be called before anything expires.
    pub fn recover(&mut self, segments: Vec<(Rendition, u64, Segment)>) {
        if !self.goes_back() || !self.archive.starts.is_empty() {
            return;
        }
        let mut rows: BTreeMap<u64, BTreeMap<Rendition, Segment>> = BTreeMap::new();
        for (rendition, msn, segment) in segments {
            if msn < self.first {
                rows.entry(msn).or_default().insert(rendition, segment);
            } else if !segment.gap {
                self.recorded(rendition, msn);
            }
        }
        // Without a hole, nothing that viewers saw leave, and only what has pictures: they say where a slot begins.
        let picture = |row: &BTreeMap<Rendition, Segment>| {
            row.iter().find(|(rendition, _)| **rendition != Rendition::Audio).map(|(_, segment)| segment.clone())
        };
        let (mut known, mut msn) = (Vec::new(), self.first);
        while let Some(before) = msn.checked_sub(1).filter(|before| *before >= self.forgotten)
            && let Some(row) = rows.remove(&before)
            && let Some(shown) = picture(&row)
        {
            known.push((row, shown));
            msn = before;
        }
        for (mut row, shown) in known.into_iter().rev() {
            let ms = shown.date_ms - self.terms.anchor_ms;
            self.archive.starts.push_back(ms * i64::from(VIDEO_TIMESCALE) / 1000);
            for column in &mut self.columns {
                let own = row.remove(&column.rendition.0);
                let missing = || Segment { gap: true, map: String::new(), first_chunk: 0, ..shown.clone() };
                column.past.push(&own.unwrap_or_else(missing));
            }
        }
        self.trim();
    }

    /// The oldest slot leaves the live window: it goes over if the recording has it. `false`: the recorder is still at it.
    pub(super) fn archive_first(&mut self) -> bool {
        if !self.goes_back() {
            return true;
        }
        let msn = self.first;
        if self.columns.iter().all(|column| column.has_recorded(msn)) {
            let lines: Vec<Option<Segment>> = self.columns.iter().map(|column| self.segment(column, 0)).collect();
            let start = self.slots.front().map_or(0, |slot| slot.start);
            self.archive.starts.push_back(start);
            for (column, line) in self.columns.iter_mut().zip(lines) {
                if let Some(line) = line {
                    column.past.push(&line);
                }
            }
            return true;
        }
        let window = i64::from(self.terms.window_s) * i64::from(VIDEO_TIMESCALE);
        let length = self.slots.front().map_or(0, |slot| self.end() - slot.start);
        if self.archive.recording && length < window * PATIENCE_WINDOWS {
            return false;
        }
        while !self.archive.starts.is_empty() {
            self.forget_oldest();
        }
        self.forgotten = msn.saturating_add(1);
        true
    }

    /// Drops what is further back than viewers may go.
    pub(super) fn trim(&mut self) {
        let length = i64::from(self.terms.dvr_s) * i64::from(VIDEO_TIMESCALE);
        let live = self.slots.front().map_or(0, |slot| slot.start);
        while !self.archive.starts.is_empty()
            && (self.archive.starts.len() > PAST_SEGMENTS_MAX
                || self.end() - self.archive.starts.get(1).copied().unwrap_or(live) >= length)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let msn = self.listed_from();
        self.archive.starts.pop_front();
        self.forgotten = msn.saturating_add(1);
        self.columns.iter_mut().for_each(|column| column.past.pop_front());
        let left = &mut self.archive.left;
        let start = if left.end == msn { left.start } else { msn };
        // At least as long as the longest playlist that named it may be about (§6.2.2).
        let oldest = msn.saturating_sub(PAST_SEGMENTS_MAX as u64);
        *left = start.max(oldest)..msn.saturating_add(1);
    }
}

impl Column {
    /// Whether nothing of a slot would be missing if the live window forgot it.
    fn has_recorded(&self, msn: u64) -> bool {
        !matches!(self.cells.front(), Some(Cell::Whole(..))) || self.recorded.contains(&msn)
    }

    /// What a playlist lists before the live window.
    pub(super) fn past(&self) -> Past {
        self.past.clone()
    }

    /// The oldest slot has left the live window.
    pub(super) fn forget_recorded(&mut self, before: u64) {
        self.recorded = self.recorded.split_off(&before);
    }
}
