//! Which origins a number's media come from, and under which number they have it.
//!
//! Numbers that viewers know only go up. From a takeover by an origin that doesn't agree on, they stand for other
//! numbers of another origin; what came before stays with those who had it.

use crate::playlist::Shift;

/// Most takeovers whose media are still told apart. Each leaves the window long before.
const SPANS_MAX: usize = 64;

/// Where the media of a number come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// Origins that have it, the one to ask first in front.
    pub(crate) origins: Vec<usize>,
    /// Its number there.
    pub(crate) number: u64,
    /// Tells media apart that have the same name at different origins.
    pub(crate) lineage: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Span {
    /// The first number of it that viewers know.
    from: u64,
    shift: Shift,
    /// Discontinuity sequence number of its first segment.
    disc: u64,
    lineage: u32,
    /// Whom to ask, once it is over.
    origins: Vec<usize>,
}

/// All of them, oldest first; the last is the one that grows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spans {
    all: Vec<Span>,
    /// The first one's lineage.
    base: u32,
}

impl Spans {
    /// One that grows; its lineage, and those that follow, are this and the next numbers.
    pub(crate) fn new(base: u32) -> Self {
        let first = Span { from: 0, shift: Shift::default(), disc: 0, lineage: base, origins: Vec::new() };
        Self { all: vec![first], base }
    }

    /// How numbers of the origin that leads become those that viewers know.
    pub(crate) fn shift(&self) -> Shift {
        self.all.last().map_or_else(Shift::default, |span| span.shift)
    }

    /// The first number, as the origin that leads knows it, that is listed.
    pub(crate) fn from(&self) -> u64 {
        self.all.last().map_or(0, |span| span.shift.back(span.from))
    }

    /// Whether viewers see what the origin says, word for word.
    pub(crate) fn is_plain(&self) -> bool {
        self.epoch() == 0
    }

    /// The lineage that grows.
    pub(crate) fn lineage(&self) -> u32 {
        self.all.last().map_or(self.base, |span| span.lineage)
    }

    /// How many lineages there were before this one.
    pub(crate) fn epoch(&self) -> u32 {
        self.lineage().wrapping_sub(self.base)
    }

    /// Whether what grows has no number yet if the next lineage begins at `from`.
    pub(crate) fn is_empty_from(&self, from: u64) -> bool {
        self.all.last().is_some_and(|span| span.from == from)
    }

    /// The least discontinuity sequence number that a number can have.
    pub(crate) fn disc(&self, number: u64) -> u64 {
        self.all.iter().rev().find(|span| span.from <= number).map_or(0, |span| span.disc)
    }

    /// From `from` on (viewers' numbers) another lineage goes on, in the discontinuity `disc`; what was before is with
    /// `origins`.
    pub(crate) fn push(&mut self, from: u64, shift: Shift, disc: u64, origins: Vec<usize>) {
        let lineage = self.lineage().wrapping_add(1);
        if self.all.len() > 1 && self.is_empty_from(from) {
            // Nothing was listed of it.
            self.all.pop();
        } else if let Some(last) = self.all.last_mut() {
            last.origins = origins;
        }
        if self.all.len() >= SPANS_MAX {
            self.all.remove(0);
        }
        self.all.push(Span { from, shift, disc, lineage, origins: Vec::new() });
    }

    /// Where a number's media come from; `now` are the origins that have what grows. `None`: it is not known any more.
    pub(crate) fn source(&self, number: u64, now: Vec<usize>) -> Option<Source> {
        let span = self.all.iter().rev().find(|span| span.from <= number)?;
        let grows = self.all.last().is_some_and(|last| last.lineage == span.lineage);
        let origins = if grows { now } else { span.origins.clone() };
        Some(Source { origins, number: span.shift.back(number), lineage: span.lineage })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_with_those_who_had_them() {
        let mut spans = Spans::new(7);
        spans.push(100, Shift { number: 60, disc: 1 }, 1, vec![0, 2]);
        spans.push(110, Shift { number: -5, disc: 2 }, 3, vec![1]);
        for (number, origins, there, lineage) in
            [(99, vec![0, 2], 99, 7), (100, vec![1], 40, 8), (109, vec![1], 49, 8), (110, vec![2, 0], 115, 9)]
        {
            let source = spans.source(number, vec![2, 0]).unwrap();
            assert_eq!(source, Source { origins, number: there, lineage }, "{number}");
        }
        assert_eq!((spans.from(), spans.is_plain()), (115, false));
        assert_eq!([99, 100, 109, 110].map(|number| spans.disc(number)), [0, 1, 1, 3]);
    }
}
