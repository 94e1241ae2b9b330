//! How a window reads as a playlist, and how far each rendition is.

use super::{Cell, Column, PartMark, Window};
use crate::hls::reload::Tip;
use crate::hls::{MediaPlaylist, PartLine, Report, Segment};
use crate::ladder::Rendition;
use crate::route::File;
use crate::unit::VIDEO_TIMESCALE;

/// Target durations from the end within which parts stay listed (§6.2.2).
const PART_TARGETS_LISTED: f64 = 3.0;

impl Window {
    /// How far a rendition is, for blocking reloads.
    pub fn tip(&self, rendition: Rendition) -> Tip {
        let Some(column) = self.column(rendition) else { return Tip { ended: true, ..Tip::default() } };
        let decided = self.decided(column);
        let parts = |cell: Option<&Cell>| cell.map_or(0, |cell| u32::try_from(cell.parts().len()).unwrap_or(u32::MAX));
        Tip {
            open: self.first + decided as u64,
            parts: parts(column.cells.get(decided)),
            last_parts: parts(decided.checked_sub(1).and_then(|last| column.cells.get(last))),
            ended: self.ended,
        }
    }

    /// The rendition's media playlist. `None` before it has an init segment and a whole segment.
    pub fn playlist(&self, rendition: Rendition) -> Option<MediaPlaylist> {
        let column = self.column(rendition)?;
        let decided = self.decided(column);
        if column.inits.is_empty() || !column.cells.iter().any(|cell| matches!(cell, Cell::Whole(..))) {
            return None;
        }
        let mut segments: Vec<Segment> = (0..decided).filter_map(|index| self.segment(column, index)).collect();
        let open = self.segment(column, decided);
        let open_seconds: f64 = open.iter().flat_map(|open| &open.parts).map(|part| part.seconds).sum();
        let listed_s = if self.ended { 0.0 } else { f64::from(self.terms.target_s) * PART_TARGETS_LISTED };
        hide_old_parts(&mut segments, open_seconds, listed_s);
        let hint = self.next_part(rendition).map(|(msn, part)| File::Part(msn, part).to_string());
        Some(MediaPlaylist {
            target_s: self.terms.target_s,
            part_ms: self.terms.part_ms,
            media_sequence: self.first,
            discontinuity_sequence: self.discontinuity_sequence,
            past: column.past(),
            segments,
            open: open.filter(|_| !self.ended),
            hint,
            reports: self.reports(rendition),
            ended: self.ended,
        })
    }

    /// The part that comes next: of the segment in progress, or of the one after it if that is a gap already.
    pub fn next_part(&self, rendition: Rendition) -> Option<(u64, u32)> {
        let column = self.column(rendition).filter(|_| !self.ended)?;
        let tip = self.tip(rendition);
        match column.cells.get(self.decided(column)) {
            Some(Cell::Gap(_)) => Some((tip.open + 1, 0)),
            _ => Some((tip.open, tip.parts)),
        }
    }

    /// How many of the oldest cells a playlist may list as segments: whole or given up, and ended.
    fn decided(&self, column: &Column) -> usize {
        let cells = column.cells.iter().zip(&self.slots);
        cells.take_while(|(cell, slot)| slot.end.is_some() && !matches!(cell, Cell::Open(_))).count()
    }

    fn reports(&self, except: Rendition) -> Vec<Report> {
        let playable = |column: &&Column| column.cells.iter().any(|cell| matches!(cell, Cell::Whole(..)));
        let others = self.columns.iter().filter(|column| column.rendition.0 != except).filter(playable);
        let report = |column: &Column| {
            let tip = self.tip(column.rendition.0);
            let (last_msn, parts) = match tip.parts {
                0 => (tip.open.checked_sub(1)?, tip.last_parts),
                parts => (tip.open, parts),
            };
            let uri = format!("../{}/{}", column.rendition.0, File::Playlist);
            Some(Report { uri, last_msn, last_part: parts.checked_sub(1) })
        };
        others.filter_map(report).collect()
    }

    pub(super) fn segment(&self, column: &Column, index: usize) -> Option<Segment> {
        let (cell, slot) = (column.cells.get(index)?, self.slots.get(index)?);
        let msn = self.first + index as u64;
        let init = column.init_for(msn);
        let timescale = init.map_or(VIDEO_TIMESCALE, |init| init.timescale).max(1);
        let seconds = |ticks: i64| ticks as f64 / f64::from(timescale);
        let slot_seconds = slot.end.map_or(0.0, |end| (end - slot.start) as f64 / f64::from(VIDEO_TIMESCALE));
        // Pictures are as long as their slot; sound is cut at whole blocks, so it has its own times.
        let own = match cell {
            Cell::Whole(closed, _) if column.rendition.0 == Rendition::Audio => Some(closed),
            _ => None,
        };
        let start_ms = own.map_or(slot.start / 90, |closed| closed.start * 1000 / i64::from(timescale));
        let part = |(number, part): (u32, &PartMark)| PartLine {
            uri: File::Part(msn, number).to_string(),
            seconds: seconds(part.ticks),
            independent: part.independent,
        };
        Some(Segment {
            uri: File::Segment(msn).to_string(),
            seconds: own.map_or(slot_seconds, |closed| seconds(closed.ticks)),
            gap: matches!(cell, Cell::Gap(_)),
            discontinuity: slot.discontinuity,
            map: init.map(|init| File::Init(init.hash.clone()).to_string()).unwrap_or_default(),
            key: self.lock.as_ref().map(|lock| lock.key_file(msn).uri()).unwrap_or_default(),
            date_ms: self.terms.anchor_ms + start_ms,
            parts: (0..).zip(cell.parts()).map(part).collect(),
            first_chunk: if let Cell::Whole(closed, _) = cell { closed.first_chunk } else { 0 },
        })
    }
}

/// Parts stay listed only near the end.
fn hide_old_parts(segments: &mut [Segment], open_seconds: f64, listed_s: f64) {
    let mut from_end = open_seconds;
    for segment in segments.iter_mut().rev() {
        if from_end >= listed_s {
            segment.parts.clear();
        }
        from_end += segment.seconds;
    }
}
