//! When another origin takes the lead, and how numbers go on if it doesn't agree with the one before.
//!
//! The one that leads loses only to one that does better: where nobody advances the encoder is to blame. One that agrees
//! takes over without a trace. One that doesn't is a break in every playlist, under one number in all of them.

use super::event::Shown;
use super::stream::Stream;
use super::{Agreement, Check};
use crate::playlist::{Piece, Shift, Text, pieces};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two takeovers with a break, unless the one that leads is gone altogether.
const HOLD_DOWN: Duration = Duration::from_secs(10);

/// An origin that agrees and is preferred gets the lead back after so long without a failure.
const BACK_AFTER: Duration = Duration::from_secs(30);

/// What the network may add to a part's coming before it counts as late.
const SLACK_MAX: Duration = Duration::from_millis(100);

/// A track that is further behind the others than this begins anew behind the break.
const GAPS_MAX: u64 = 16;

/// A duration may not be nothing.
const GAP_MIN: Duration = Duration::from_millis(1);

impl Stream {
    /// Decides who leads. `true`: playlists may have changed.
    pub(super) fn choose(&mut self, now: Instant) -> bool {
        let Some(lead) = self.lead else { return self.adopt(now) };
        if let Some(pinned) = self.pinned.filter(|pinned| *pinned != lead) {
            return self.hand_over(lead, pinned, now);
        }
        if self.pinned.is_some() {
            return false;
        }
        if let Some(better) = self.better(lead, now) {
            return self.hand_over(lead, better, now);
        }
        if self.began_anew(lead, now) {
            return self.take_over(lead, lead, now);
        }
        match self.preferred(lead, now) {
            Some(preferred) => self.hand_over(lead, preferred, now),
            None => false,
        }
    }

    /// Another one that advances while the one that leads doesn't.
    fn better(&self, lead: usize, now: Instant) -> Option<usize> {
        let state = self.origins.get(lead)?;
        let unit = self.unit(lead);
        let silent = now.saturating_duration_since(state.progress.unwrap_or(self.began));
        let patience = unit.saturating_mul(3) / 2;
        let failing = state.failing.is_some();
        let others = (0..self.origins.len()).filter(|other| *other != lead && !self.is_failing(*other));
        let mut better = others.filter(|other| {
            let Some(progress) = self.origins.get(*other).and_then(|other| other.progress) else { return false };
            let agrees = self.agreement(*other) == Agreement::Yes;
            // Two whose parts come at other moments may both be well.
            let slack = if agrees { Duration::ZERO } else { SLACK_MAX.min(unit / 4) };
            let lately = self.taken_over.is_some_and(|at| now.saturating_duration_since(at) < HOLD_DOWN);
            let held_down = lately && !agrees && !(failing && silent >= unit.saturating_mul(2));
            // One that is gone has missed a part by now.
            let gone = failing && (agrees || silent >= unit);
            let advances = state.progress.is_none_or(|ours| progress > ours)
                && now.saturating_duration_since(progress) < unit.saturating_mul(3);
            // After a pause of the encoder's one of them is always the first by a moment.
            let ahead = self.origins.get(*other).and_then(|other| other.ahead);
            let for_long = ahead.is_some_and(|since| now.saturating_duration_since(since) >= unit / 2);
            advances && !held_down && (gone || for_long && silent >= patience.saturating_add(slack))
        });
        let first = better.next()?;
        if self.agreement(first) == Agreement::Yes {
            return Some(first);
        }
        Some(better.find(|other| self.agreement(*other) == Agreement::Yes).unwrap_or(first))
    }

    /// Whether the one that leads has gone back and stays there, with other content: it lost its memory.
    fn began_anew(&self, lead: usize, now: Instant) -> bool {
        let anew = |shown: &Shown, text: &Text| {
            let behind = shown.source.facts.is_ahead_of(&text.facts);
            let long = now.saturating_duration_since(shown.at) >= text.facts.target * 3 / 2;
            behind && long && shown.source.agrees_with(text) != Some(true)
        };
        self.tracks.values().any(|followed| {
            let text = followed.seen.get(lead).and_then(|seen| seen.text.as_ref());
            followed.shown.as_ref().zip(text).is_some_and(|(shown, text)| anew(shown, text))
        })
    }

    /// One that agrees, comes before the one that leads, and has been well for long.
    fn preferred(&self, lead: usize, now: Instant) -> Option<usize> {
        let long = |since: Instant| now.saturating_duration_since(since) >= BACK_AFTER;
        let well = |other: &usize| self.origins.get(*other).is_some_and(|state| state.well.is_some_and(long));
        (0..lead).filter(well).find(|other| self.agreement(*other) == Agreement::Yes)
    }

    /// Origins that have all that is shown as the one that leads has it.
    fn group_of_all(&self) -> Vec<usize> {
        let agrees = |origin: &usize| self.lead == Some(*origin) || self.agreement(*origin) == Agreement::Yes;
        (0..self.origins.len()).filter(agrees).collect()
    }

    fn hand_over(&mut self, lead: usize, to: usize, now: Instant) -> bool {
        if self.agreement(to) == Agreement::Yes {
            self.lead = Some(to);
            self.origins.iter_mut().for_each(|state| state.ahead = None);
            for followed in self.tracks.values_mut() {
                if let Some(check) = followed.checks.get_mut(lead) {
                    *check = Check::yes(now);
                }
            }
            return true;
        }
        self.take_over(lead, to, now)
    }

    /// Goes on with an origin that doesn't agree. `false`: nothing is known of it that could be gone on with.
    fn take_over(&mut self, lead: usize, to: usize, now: Instant) -> bool {
        let seen = |followed: &super::stream::Followed| followed.seen.get(to).and_then(|seen| seen.text.clone());
        let both = self.tracks.values().find_map(|followed| Some((followed.shown.clone()?, seen(followed)?)));
        if self.tracks.values().all(|followed| followed.shown.is_none()) {
            self.lead = Some(to);
            return true;
        }
        let Some((shown, text)) = both else { return false };
        let begins = begin(&shown.text, &text);
        let all: Vec<Arc<Shown>> = self.tracks.values().filter_map(|followed| followed.shown.clone()).collect();
        // Behind all that was listed, so that no name comes back with other content.
        let next = |shown: &Arc<Shown>| {
            let tip = shown.text.facts.tip;
            tip.open.saturating_add(u64::from(tip.parts > 0))
        };
        let Some(from) = all.iter().map(next).max() else { return false };
        let last = all.iter().map(|shown| shown.text.in_progress().disc).max().unwrap_or(0).max(self.spans.disc(from));
        // A lineage of which nothing was listed leaves no break behind.
        let disc = if self.spans.is_empty_from(from) { self.spans.disc(from) } else { last.saturating_add(1) };
        let shift = Shift { number: difference(from, begins.number), disc: difference(disc, begins.disc) };
        let group = self.group_of_all();
        let mut known: HashMap<u64, u64> = HashMap::new();
        for (number, disc) in all.iter().flat_map(|shown| discs(&shown.text)) {
            // A track that lags behind does not know yet that what comes next for it is behind a break.
            let known = known.entry(number).or_default();
            *known = disc.max(*known);
        }
        for followed in self.tracks.values_mut() {
            let Some(shown) = &followed.shown else { continue };
            let disc = |number| known.get(&number).copied().unwrap_or(0).max(self.spans.disc(number));
            let past = go_on_to(from, &shown.text, begins.starts_ms, disc);
            let window = past.iter().map(|piece| piece.length).sum();
            followed.past = (past, window);
        }
        self.spans.push(from, shift, disc, group);
        self.lead = Some(to);
        self.origins.iter_mut().for_each(|state| state.ahead = None);
        for followed in self.tracks.values_mut() {
            followed.checks.fill(Check::default());
            if let Some(check) = followed.checks.get_mut(lead) {
                *check = Check::no(now);
            }
        }
        self.longest = all.iter().map(|shown| shown.text.facts.target).max().unwrap_or(self.longest);
        self.taken_over = Some(now);
        true
    }
}

/// The discontinuity sequence number of everything that a playlist lists, and of what it is about to.
fn discs(shown: &Text) -> impl Iterator<Item = (u64, u64)> {
    shown.segments().iter().chain([shown.in_progress()]).map(|block| (block.number, block.disc))
}

/// What is listed before the break: all that was shown, and gaps up to its number, in the discontinuities that other
/// tracks have there. Together they last until the new origin's first segment begins, so that dates go on and all tracks
/// are as long.
fn go_on_to(from: u64, shown: &Text, begins_ms: Option<i64>, known: impl Fn(u64) -> u64) -> Vec<Piece> {
    let open = shown.in_progress();
    let gaps = from.saturating_sub(open.number);
    if gaps > GAPS_MAX {
        return Vec::new();
    }
    let until = begins_ms.zip(open.starts_ms).map(|(begins, ends)| begins.saturating_sub(ends).max(0));
    let all = until.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
    let share = all.and_then(|all| all.checked_div(u32::try_from(gaps).ok()?)).map(|share| share.max(GAP_MIN));
    let mut past = pieces(shown, 0, Shift::default());
    let mut disc = open.disc;
    for number in open.number..from {
        let begun = number == open.number && !open.length.is_zero();
        let length = if begun { open.length } else { shown.facts.target };
        disc = known(number).max(disc);
        past.push(Piece::gap(number, disc, share.unwrap_or(length).min(shown.facts.target)));
    }
    past
}

/// Where to begin in the new origin's playlist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Begin {
    number: u64,
    disc: u64,
    starts_ms: Option<i64>,
}

/// The segment that goes on where the one before ended, by date: so that nothing is left out, and as little as can be is
/// seen twice. Without dates the one in progress.
fn begin(shown: &Text, text: &Text) -> Begin {
    let open = text.in_progress();
    let all = || text.segments().iter().chain([open]);
    let half = i64::try_from(text.facts.target.as_millis() / 2).unwrap_or(0);
    let parts = i64::try_from(shown.in_progress().length.as_millis()).unwrap_or(0);
    let by_date = shown.in_progress().starts_ms.and_then(|end| {
        let latest = end.saturating_add(parts).saturating_add(if parts == 0 { half } else { 0 });
        let fits = |at: i64| at >= end.saturating_sub(half) && at <= latest;
        let last = all().rev().find(|block| block.starts_ms.is_some_and(fits));
        last.or_else(|| all().find(|block| block.starts_ms.is_some_and(|at| at > latest)))
    });
    let block = by_date.unwrap_or(open);
    Begin { number: block.number, disc: block.disc, starts_ms: block.starts_ms }
}

fn difference(to: u64, from: u64) -> i64 {
    i64::try_from(i128::from(to).saturating_sub(i128::from(from))).unwrap_or(0)
}
