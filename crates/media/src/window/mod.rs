//! A stream's live window: which segments there are, under which numbers, in every rendition.
//!
//! The only place that numbers segments. One table of slots for all renditions keeps them in step; a rendition that
//! lacks a segment has a gap under its number. Knows durations and sizes, holds no media, reads no clock. How the table
//! reads as a playlist is in `playlist`.

use crate::hls::Past;
use crate::ladder::Rendition;
use crate::package::Closed;
use crate::protect::{self, Lock};
use crate::route::File;
use crate::unit::VIDEO_TIMESCALE;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};

mod archive;
mod playlist;
#[cfg(test)]
mod tests;

use archive::Archive;
pub use archive::{PAST_SEGMENTS_MAX, Recall};

/// Fewest segments that stay listed, whatever the window's length (HLS authoring rules, 8.11).
const SEGMENTS_MIN: usize = 6;

/// How many target durations after a slot's end an encoded rung may still come with its segment; then it is a gap.
const LAG_TARGETS_MAX: i64 = 2;

/// One segment's place in time, the same in every rendition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Media time of its first picture, 90 kHz.
    pub start: i64,
    /// Media time of its end; `None` while it is in progress.
    pub end: Option<i64>,
    /// When it ended, UTC ms; 0 while it is in progress.
    pub ended_ms: i64,
    /// The timeline breaks before it.
    pub discontinuity: bool,
}

/// What one rendition has of a slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Cell {
    /// Parts so far.
    Open(Vec<PartMark>),
    /// A whole segment.
    Whole(Closed, Vec<PartMark>),
    /// Missing; the parts that were published before that was known stay listed.
    Gap(Vec<PartMark>),
}

/// A listed part: duration in the rendition's timescale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct PartMark {
    ticks: i64,
    independent: bool,
}

/// One rendition's column of the table.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Column {
    rendition: SerdeRendition,
    /// One cell a slot, oldest first; slots without one are still ahead of this rendition.
    cells: VecDeque<Cell>,
    /// Init segments, oldest first.
    inits: VecDeque<Init>,
    rates: Rates,
    /// Which of the live window's segments the recording has.
    #[serde(skip)]
    recorded: BTreeSet<u64>,
    /// What left the live window and is still listed.
    #[serde(skip)]
    past: Past,
}

/// An init segment and from where on it is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Init {
    from: u64,
    hash: String,
    timescale: u32,
}

/// Measured bit rates of a rendition, in bit/s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rates {
    /// Of the highest segment.
    pub peak: u64,
    /// Of the first chunks alone, the highest.
    pub iframes_peak: u64,
    bits: u64,
    micros: u64,
}

impl Rates {
    /// Average over everything so far, bit/s.
    pub fn average(&self) -> u64 {
        self.bits.saturating_mul(1_000_000).checked_div(self.micros).unwrap_or(0)
    }

    fn add(&mut self, closed: &Closed, timescale: u32, target_s: u32) {
        let ticks = u64::try_from(closed.ticks).unwrap_or(0).max(1);
        let rate = |bytes: u64| bytes.saturating_mul(8).saturating_mul(u64::from(timescale)) / ticks;
        // A segment of a few pictures is nearly all key frame: its rate says nothing of what a player must fetch.
        let long_enough = ticks * 2 >= u64::from(target_s) * u64::from(timescale);
        if long_enough || self.micros == 0 {
            self.peak = self.peak.max(rate(closed.size));
            self.iframes_peak = self.iframes_peak.max(rate(closed.first_chunk));
        }
        self.bits = self.bits.saturating_add(closed.size.saturating_mul(8));
        self.micros = self.micros.saturating_add(ticks.saturating_mul(1_000_000) / u64::from(timescale.max(1)));
    }
}

/// What an epoch fixes: it never changes while the stream lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// UTC ms of media time 0.
    pub anchor_ms: i64,
    /// EXT-X-TARGETDURATION.
    pub target_s: u32,
    /// PART-TARGET, ms.
    pub part_ms: u32,
    /// How much stays in the live window, seconds.
    pub window_s: u32,
    /// How much stays listed if the recording has it, seconds; no more than the live window if it is not longer.
    #[serde(default)]
    pub dvr_s: u32,
    /// How segments are encrypted, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protect: Option<protect::Terms>,
}

/// The table of one epoch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Window {
    terms: Terms,
    /// Number of the first slot.
    first: u64,
    slots: VecDeque<Slot>,
    columns: Vec<Column>,
    discontinuity_sequence: u64,
    ended: bool,
    /// Numbers below are not listed any more, and never again.
    #[serde(default)]
    forgotten: u64,
    #[serde(skip)]
    archive: Archive,
    /// What segments are encrypted with. Not kept: who restores a protected window brings it.
    #[serde(skip)]
    lock: Option<Lock>,
}

/// The first number of an epoch: after the last one used, and at least the count of segments since 1970, so that numbers
/// rise even where the last one was forgotten.
pub fn first_number(last: Option<u64>, utc_ms: i64, segment_ms: u32) -> u64 {
    let by_clock = u64::try_from(utc_ms).unwrap_or(0) / u64::from(segment_ms.max(1));
    last.map_or(by_clock, |last| by_clock.max(last.saturating_add(1)))
}

impl Window {
    /// An empty table.
    pub fn new(terms: Terms, first: u64, renditions: &[Rendition]) -> Self {
        let column = |&rendition: &Rendition| Column {
            rendition: SerdeRendition(rendition),
            cells: VecDeque::new(),
            inits: VecDeque::new(),
            rates: Rates::default(),
            recorded: BTreeSet::new(),
            past: Past::default(),
        };
        let columns = renditions.iter().map(column).collect();
        let (slots, archive) = (VecDeque::new(), Archive::default());
        let (discontinuity_sequence, ended, forgotten, lock) = (0, false, 0, None);
        Self { terms, first, slots, columns, discontinuity_sequence, ended, forgotten, archive, lock }
    }

    /// All segments are encrypted with this. To be called before there are any, and after a protected one is read back.
    pub fn protect(&mut self, lock: Lock) {
        self.terms.protect = Some(lock.terms());
        self.lock = Some(lock);
    }

    /// What segments are encrypted with, if they are.
    pub fn lock(&self) -> Option<&Lock> {
        self.lock.as_ref()
    }

    /// What the epoch fixed.
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// The renditions, in ladder order.
    pub fn renditions(&self) -> impl Iterator<Item = Rendition> + '_ {
        self.columns.iter().map(|column| column.rendition.0)
    }

    /// The numbers in the live window.
    pub fn numbers(&self) -> std::ops::Range<u64> {
        self.first..self.next_number()
    }

    /// The number that the next slot gets.
    pub fn next_number(&self) -> u64 {
        self.first.saturating_add(self.slots.len() as u64)
    }

    /// The newest slot and its number.
    pub fn newest(&self) -> Option<(u64, Slot)> {
        self.slots.back().map(|slot| (self.next_number() - 1, *slot))
    }

    /// The slot of a number, if it is in the window.
    pub fn slot(&self, msn: u64) -> Option<Slot> {
        self.slots.get(self.index(msn)?).copied()
    }

    /// Where published media ends, in media time.
    pub fn end(&self) -> i64 {
        self.slots.back().map_or(0, |slot| slot.end.unwrap_or(slot.start))
    }

    /// Ends the newest slot (unless it has ended) and begins the next one at `start`. `now` is UTC ms.
    pub fn begin(&mut self, start: i64, discontinuity: bool, now: i64) -> u64 {
        self.close(start, now);
        let discontinuity = discontinuity && !self.slots.is_empty();
        self.slots.push_back(Slot { start, end: None, ended_ms: 0, discontinuity });
        self.next_number() - 1
    }

    /// Ends the newest slot at `end`, unless it has ended. `now` is UTC ms.
    pub fn close(&mut self, end: i64, now: i64) {
        if let Some(slot) = self.slots.back_mut().filter(|slot| slot.end.is_none()) {
            (slot.end, slot.ended_ms) = (Some(end), now);
        }
    }

    /// What is too late at `now` (UTC ms) becomes a gap. `true` if anything did.
    pub fn give_up_late(&mut self, now: i64) -> bool {
        let patience_ms = LAG_TARGETS_MAX * i64::from(self.terms.target_s) * 1000;
        let late = |slot: &Slot| slot.end.is_some() && now - slot.ended_ms > patience_ms;
        let count = self.slots.iter().take_while(|slot| late(slot)).count();
        count.checked_sub(1).is_some_and(|index| self.give_up(self.first + index as u64))
    }

    /// Nothing will follow: what is missing is missing for good.
    pub fn end_epoch(&mut self) {
        if let Some((newest, _)) = self.newest() {
            self.give_up(newest);
        }
        self.ended = true;
    }

    /// Whether the epoch has ended.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// From segment `msn` on, the rendition's init segment is the one with this hash, and its ticks are of this timescale.
    pub fn set_init(&mut self, rendition: Rendition, msn: u64, hash: &str, timescale: u32) {
        let Some(column) = self.column_mut(rendition) else { return };
        if column.inits.back().is_none_or(|last| last.hash != hash) {
            column.inits.push_back(Init { from: msn, hash: hash.to_owned(), timescale });
        }
    }

    /// A part is there.
    pub fn add_part(&mut self, rendition: Rendition, msn: u64, ticks: i64, independent: bool) {
        if let Some(Cell::Open(parts)) = self.open_cell(rendition, msn) {
            parts.push(PartMark { ticks, independent });
        }
    }

    /// A segment is whole. `false` if its number was given up before (it must not be served).
    pub fn complete(&mut self, rendition: Rendition, msn: u64, closed: Closed) -> bool {
        let Some(cell) = self.open_cell(rendition, msn) else { return false };
        let Cell::Open(parts) = cell else { return false };
        *cell = Cell::Whole(closed, std::mem::take(parts));
        let target_s = self.terms.target_s;
        if let Some(column) = self.column_mut(rendition) {
            let timescale = column.init_for(msn).map_or(VIDEO_TIMESCALE, |init| init.timescale);
            column.rates.add(&closed, timescale, target_s);
        }
        true
    }

    /// The rendition will never have this segment.
    pub fn gap(&mut self, rendition: Rendition, msn: u64) {
        if let Some(cell) = self.open_cell(rendition, msn)
            && let Cell::Open(parts) = cell
        {
            *cell = Cell::Gap(std::mem::take(parts));
        }
    }

    /// The rendition will have nothing of what it lacks so far.
    pub fn gap_all(&mut self, rendition: Rendition) {
        self.numbers().for_each(|msn| self.gap(rendition, msn));
    }

    /// From this number on, parts can still be asked for: they stay listed for three target durations, and must stay to
    /// be had for three more (§6.2.2).
    pub fn parts_from(&self) -> u64 {
        let kept = 2 * 3 * i64::from(self.terms.target_s) * i64::from(VIDEO_TIMESCALE);
        let newest = self.slots.back().map_or(0, |slot| slot.end.unwrap_or(slot.start));
        let old = |slot: &&Slot| slot.end.is_some_and(|end| newest - end > kept);
        self.first + self.slots.iter().take_while(old).count() as u64
    }

    /// Drops the oldest slots from the live window; returns their numbers. From [`Window::listed_from`] on they are still
    /// listed, and the recording has them.
    pub fn expire(&mut self) -> Vec<u64> {
        let mut dropped = Vec::new();
        let length = i64::from(self.terms.window_s) * i64::from(VIDEO_TIMESCALE);
        while self.slots.len() > SEGMENTS_MIN
            && let Some(second) = self.slots.get(1).copied()
            && self.end() - second.start >= length
        {
            self.give_up(self.first);
            if !self.archive_first() {
                break;
            }
            dropped.push(self.first);
            if self.slots.pop_front().is_some_and(|slot| slot.discontinuity) {
                self.discontinuity_sequence += 1;
            }
            self.first += 1;
            for column in &mut self.columns {
                column.cells.pop_front();
                column.forget_recorded(self.first);
                while column.inits.get(1).is_some_and(|init| init.from <= self.first) {
                    column.inits.pop_front();
                }
            }
        }
        self.trim();
        dropped
    }

    /// Measured bit rates of a rendition.
    pub fn rates(&self, rendition: Rendition) -> Rates {
        self.column(rendition).map(|column| column.rates).unwrap_or_default()
    }

    /// Bit rate of a rendition's newest whole segments, at most so many, in bit/s; `None` without any.
    pub fn recent_rate(&self, rendition: Rendition, count: usize) -> Option<u64> {
        let column = self.column(rendition)?;
        let timescale = column.inits.back().map_or(VIDEO_TIMESCALE, |init| init.timescale);
        let whole = column.cells.iter().rev().filter_map(|cell| match cell {
            Cell::Whole(closed, _) => Some((closed.size, u64::try_from(closed.ticks).unwrap_or(0))),
            _ => None,
        });
        let (bytes, ticks) = whole.take(count).fold((0_u64, 0_u64), |(bytes, ticks), (size, length)| {
            (bytes.saturating_add(size), ticks.saturating_add(length))
        });
        bytes.saturating_mul(8).saturating_mul(u64::from(timescale)).checked_div(ticks)
    }

    /// Whole segments of a rendition in the window.
    pub fn whole(&self, rendition: Rendition) -> usize {
        let cells = self.column(rendition).map(|column| &column.cells);
        cells.map_or(0, |cells| cells.iter().filter(|cell| matches!(cell, Cell::Whole(..))).count())
    }

    /// The newest init hash of a rendition.
    pub fn init(&self, rendition: Rendition) -> Option<&str> {
        self.column(rendition)?.inits.back().map(|init| init.hash.as_str())
    }

    /// Every file that the live window lists, with its rendition, and all inits that are listed: what must be kept.
    pub fn files(&self) -> Vec<(Rendition, File)> {
        let mut files = Vec::new();
        for column in &self.columns {
            files.extend(column.inits.iter().map(|init| (column.rendition.0, File::Init(init.hash.clone()))));
            let past = column.past.maps().into_iter().filter_map(File::parse);
            files.extend(past.map(|init| (column.rendition.0, init)));
            let whole = column.cells.iter().zip(self.first..).filter(|(cell, _)| matches!(cell, Cell::Whole(..)));
            files.extend(whole.map(|(_, msn)| (column.rendition.0, File::Segment(msn))));
        }
        files
    }

    /// Turns what was in progress and what `missing` says into gaps: after a restart, only files that are there count.
    pub fn restore(&mut self, present: impl Fn(Rendition, &File) -> bool) {
        // Its number stays taken: parts of it may have been seen.
        let target = i64::from(self.terms.target_s) * i64::from(VIDEO_TIMESCALE);
        if let Some(slot) = self.slots.back().copied() {
            self.close(slot.start + target, 0);
        }
        if let Some((newest, _)) = self.newest() {
            self.give_up(newest);
        }
        let first = self.first;
        for column in &mut self.columns {
            let rendition = column.rendition.0;
            for (cell, msn) in column.cells.iter_mut().zip(first..) {
                match cell {
                    Cell::Whole(_, parts) if present(rendition, &File::Segment(msn)) => parts.clear(),
                    _ => *cell = Cell::Gap(Vec::new()),
                }
            }
        }
    }

    /// Every cell up to and including `msn` that is not whole becomes a gap. `true` if any did.
    fn give_up(&mut self, msn: u64) -> bool {
        let Some(index) = self.index(msn) else { return false };
        let mut any = false;
        for column in &mut self.columns {
            while column.cells.len() <= index {
                column.cells.push_back(Cell::Open(Vec::new()));
            }
            for cell in column.cells.iter_mut().take(index + 1) {
                if let Cell::Open(parts) = cell {
                    *cell = Cell::Gap(std::mem::take(parts));
                    any = true;
                }
            }
        }
        any
    }

    /// The cell of a number, created with those before it; `None` outside the window.
    fn open_cell(&mut self, rendition: Rendition, msn: u64) -> Option<&mut Cell> {
        let index = self.index(msn)?;
        let cells = &mut self.column_mut(rendition)?.cells;
        while cells.len() <= index {
            cells.push_back(Cell::Open(Vec::new()));
        }
        cells.get_mut(index)
    }

    fn index(&self, msn: u64) -> Option<usize> {
        let index = usize::try_from(msn.checked_sub(self.first)?).ok()?;
        (index < self.slots.len()).then_some(index)
    }

    fn column(&self, rendition: Rendition) -> Option<&Column> {
        self.columns.iter().find(|column| column.rendition.0 == rendition)
    }

    fn column_mut(&mut self, rendition: Rendition) -> Option<&mut Column> {
        self.columns.iter_mut().find(|column| column.rendition.0 == rendition)
    }
}

impl Column {
    /// The init segment in force at a number.
    fn init_for(&self, msn: u64) -> Option<&Init> {
        self.inits.iter().rev().find(|init| init.from <= msn).or(self.inits.front())
    }
}

impl Cell {
    fn parts(&self) -> &[PartMark] {
        match self {
            Self::Open(parts) | Self::Whole(_, parts) | Self::Gap(parts) => parts,
        }
    }
}

/// A rendition in a state file: its name.
#[derive(Debug, Clone, Copy)]
struct SerdeRendition(Rendition);

impl Serialize for SerdeRendition {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SerdeRendition {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|()| serde::de::Error::custom(format!("{text:?} is no rendition")))
    }
}
