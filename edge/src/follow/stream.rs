//! One stream's followers: the state machine.
//!
//! An origin leads; those that agree with it count as the same, and whoever is furthest is shown. One that doesn't agree
//! is only watched, until the one that leads is silent and it is not (see [`super::takeover`]). What is shown never goes
//! back.

use super::event::{Comparison, Event, Look, Outcome, Shown, Timing};
use super::{Agreement, Ask, Check, Seen, Source, Spans, Track};
use crate::failure::Failure;
use crate::playlist::{Piece, Text, Told, compose};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the first answer of the preferred origin is waited for when another has already answered.
const PREFER: Duration = Duration::from_millis(300);

/// A playlist that stays the same is shown again after so long, so that its age is true.
const CONFIRMED: Duration = Duration::from_secs(1);

/// So many questions in a row that fail make an origin one that fails.
const FAILURES: u32 = 2;

/// For so long it is told that a playlist is nowhere before it is looked for anew.
const MISSING_TOLD: Duration = Duration::from_secs(1);

/// Most renditions of one stream that are followed.
const TRACKS_MAX: usize = 32;

/// One stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(super) timing: Timing,
    pub(super) origins: Vec<Origin>,
    pub(super) tracks: HashMap<Track, Followed>,
    pub(super) spans: Spans,
    pub(super) lead: Option<usize>,
    pub(super) pinned: Option<usize>,
    pub(super) began: Instant,
    /// The longest target duration of an origin that led before: it may not get shorter.
    pub(super) longest: Duration,
    /// When an origin that doesn't agree last took over.
    pub(super) taken_over: Option<Instant>,
}

/// What is known of an origin, as far as this stream goes.
#[derive(Debug, Clone, Default)]
pub(super) struct Origin {
    /// When it last brought the stream further.
    pub(super) progress: Option<Instant>,
    /// Since when it is known to be further than the one that leads.
    pub(super) ahead: Option<Instant>,
    /// Since when it fails.
    pub(super) failing: Option<Instant>,
    /// Since when it has been well without a break.
    pub(super) well: Option<Instant>,
}

/// One track.
#[derive(Debug)]
pub(super) struct Followed {
    asked: Instant,
    pub(super) seen: Vec<Seen>,
    /// How each origin stands to the one that leads, as far as this track goes.
    pub(super) checks: Vec<Check>,
    pub(super) shown: Option<Arc<Shown>>,
    /// What was listed before the last takeover, and how long the playlist was then.
    pub(super) past: (Vec<Piece>, Duration),
    /// Takeovers when it was last shown.
    pub(super) epoch: u32,
}

impl Stream {
    /// A stream that this many origins may have. `lineage` and the numbers after it are nobody else's.
    pub(crate) fn new(origins: usize, timing: Timing, lineage: u32, now: Instant) -> Self {
        Self {
            timing,
            origins: vec![Origin::default(); origins],
            tracks: HashMap::new(),
            spans: Spans::new(lineage),
            lead: None,
            pinned: None,
            began: now,
            longest: Duration::ZERO,
            taken_over: None,
        }
    }

    /// Takes an event; gives the tracks whose playlist is a new one.
    pub(crate) fn on(&mut self, event: Event, now: Instant) -> Vec<Track> {
        let mut changed = match event {
            Event::Asked(track) => {
                self.asked(track, now);
                Vec::new()
            }
            Event::Answered(track, origin, outcome) => self.answered(track, origin, outcome, now),
            Event::Compared(comparison, same) => {
                self.compared(comparison, same, now);
                self.show_all(now)
            }
            Event::Pinned(origin) => {
                self.pinned = origin.filter(|origin| *origin < self.origins.len());
                Vec::new()
            }
            Event::Tick => Vec::new(),
        };
        if self.choose(now) {
            changed.extend(self.show_all(now));
        }
        changed
    }

    /// Which track is to be followed at which origin: the one that leads and one more.
    ///
    /// And those that fail, each at its pace: nobody else would notice that they are back.
    pub(crate) fn wanted(&self, now: Instant) -> Vec<(Track, usize)> {
        let first = self.lead.or(self.pinned).unwrap_or(0);
        let mut followed: Vec<usize> = [Some(first), self.standby(first)].into_iter().flatten().collect();
        let failing = (0..self.origins.len()).filter(|origin| self.is_failing(*origin));
        followed.extend(failing.filter(|origin| !followed.contains(origin)).collect::<Vec<_>>());
        let tracks = self.tracks.iter().filter(|(_, track)| !self.idle(track, now)).map(|(track, _)| *track);
        tracks.flat_map(|track| followed.iter().map(move |origin| (track, *origin)).collect::<Vec<_>>()).collect()
    }

    /// What a follower asks next.
    pub(crate) fn ask(&self, track: Track, origin: usize, now: Instant) -> Option<Ask> {
        Some(self.tracks.get(&track)?.seen.get(origin)?.ask(now))
    }

    /// What there is for viewers of a track.
    pub(crate) fn look(&self, track: Track, now: Instant) -> Look {
        let Some(followed) = self.tracks.get(&track) else { return Look::NotYet };
        let trouble = self.trouble(followed);
        match (&followed.shown, trouble) {
            // One that comes back to a track that nobody followed for a while gets it as it is now.
            (Some(shown), _) if !self.is_current(followed, shown, now) => Look::NotYet,
            (Some(_), None) => Look::Shown(false),
            (Some(shown), Some((_, since))) if now.saturating_duration_since(since) < shown.text.facts.target * 3 => {
                Look::Shown(true)
            }
            (_, Some((Some(failure), _))) => Look::Failed(failure),
            (_, Some((None, _))) => Look::Missing,
            (None, None) => Look::NotYet,
        }
    }

    /// The playlist that is shown, whatever its age.
    pub(crate) fn shown(&self, track: Track) -> Option<Arc<Shown>> {
        self.tracks.get(&track)?.shown.clone()
    }

    /// Where the media of a number come from. `None`: that was too many takeovers ago.
    pub(crate) fn source(&self, track: Track, number: u64) -> Option<Source> {
        self.spans.source(number, self.group(track))
    }

    /// Origins that have the same of a track as the one that leads, this one first, failing ones last.
    pub(crate) fn group(&self, track: Track) -> Vec<usize> {
        let mut group: Vec<usize> = (0..self.origins.len()).filter(|origin| self.in_group(track, *origin)).collect();
        group.sort_by_key(|origin| (self.is_failing(*origin), Some(*origin) != self.lead, *origin));
        group
    }

    /// The origin that leads.
    pub(crate) fn lead(&self) -> Option<usize> {
        self.lead
    }

    /// The origin that was pinned.
    pub(crate) fn pinned(&self) -> Option<usize> {
        self.pinned
    }

    /// Whether viewers see what the origins say, word for word.
    pub(crate) fn is_plain(&self) -> bool {
        self.spans.is_plain()
    }

    /// The lineage that grows.
    pub(crate) fn lineage(&self) -> u32 {
        self.spans.lineage()
    }

    /// Takeovers with a break so far.
    pub(crate) fn takeovers(&self) -> u32 {
        self.spans.epoch()
    }

    /// The target duration that an origin's playlists say, if they do.
    pub(crate) fn target_of(&self, origin: usize) -> Option<Duration> {
        let mut texts = self.tracks.values().filter_map(|followed| followed.seen.get(origin)?.text.as_ref());
        texts.next().map(|text| text.facts.target)
    }

    /// How an origin stands to the one that leads, in all that viewers are shown.
    pub(crate) fn agreement(&self, origin: usize) -> Agreement {
        let shown = self.tracks.values().filter(|followed| followed.shown.is_some());
        let checks = shown.filter_map(|followed| followed.checks.get(origin)).map(|check| check.agreement);
        let worse = |one, other| match (one, other) {
            (Agreement::No, _) | (_, Agreement::No) => Agreement::No,
            (Agreement::Unknown, _) | (_, Agreement::Unknown) => Agreement::Unknown,
            _ => Agreement::Yes,
        };
        checks.reduce(worse).unwrap_or(Agreement::Unknown)
    }

    /// The segment whose ETags are to be compared, if it is time: the newest that this playlist and that of the one
    /// that leads both list.
    pub(crate) fn due_comparison(&mut self, track: Track, origin: usize, now: Instant) -> Option<Comparison> {
        let lead = self.lead.filter(|lead| *lead != origin)?;
        let epoch = self.spans.epoch();
        let followed = self.tracks.get_mut(&track)?;
        let (theirs, ours) = (followed.seen.get(lead)?.text.as_ref()?, followed.seen.get(origin)?.text.as_ref()?);
        let same = theirs.agrees_with(ours);
        let listed = |number| theirs.segments().iter().any(|block| block.number == number && !block.gap);
        let newest = ours.segments().iter().rev().find(|block| !block.gap && listed(block.number));
        let number = newest.map(|block| block.number);
        let due = followed.checks.get_mut(origin)?.playlists(same, now);
        number.filter(|_| due).map(|number| Comparison { track, lead, origin, number, epoch })
    }

    /// Whether nobody asks for anything of it any more.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        self.tracks.values().all(|track| self.idle(track, now))
    }

    /// Whether nobody has anything of it, and that was told for a while.
    pub(crate) fn is_void(&self, now: Instant) -> bool {
        !self.tracks.is_empty() && self.tracks.values().all(|followed| self.is_nowhere(followed, now))
    }

    /// Forgets tracks that are nowhere, and if need be those that nobody asks for.
    pub(crate) fn prune(&mut self, now: Instant) -> Vec<Track> {
        let full = self.tracks.len() >= TRACKS_MAX;
        let gone = |followed: &Followed| self.is_nowhere(followed, now) || full && self.idle(followed, now);
        let gone: Vec<Track> =
            self.tracks.iter().filter(|(_, followed)| gone(followed)).map(|(track, _)| *track).collect();
        gone.iter().for_each(|track| drop(self.tracks.remove(track)));
        gone
    }

    /// Whether a track is known.
    pub(crate) fn has(&self, track: Track) -> bool {
        self.tracks.contains_key(&track)
    }

    fn is_nowhere(&self, followed: &Followed, now: Instant) -> bool {
        let Some((None, since)) = self.trouble(followed) else { return false };
        followed.shown.is_none() && now.saturating_duration_since(since) >= MISSING_TOLD
    }

    /// Forgets failures that were of this edge's own making: they are found out anew.
    pub(crate) fn forgive(&mut self, which: impl Fn(&Failure) -> bool) {
        for followed in self.tracks.values_mut() {
            for (seen, state) in followed.seen.iter_mut().zip(&mut self.origins) {
                if seen.failure.as_ref().is_some_and(&which) {
                    *seen = Seen::default();
                    state.failing = None;
                }
            }
        }
    }

    /// A follower begins: what the one before it saw is old. (What is shown stays: it never goes back.)
    pub(crate) fn reset(&mut self, track: Track, origin: usize) {
        if let Some(seen) = self.tracks.get_mut(&track).and_then(|followed| followed.seen.get_mut(origin)) {
            *seen = Seen::default();
        }
    }

    fn asked(&mut self, track: Track, now: Instant) {
        let origins = self.origins.len();
        if self.is_idle(now) {
            // What nobody looked at for a while says nothing about who is slow.
            self.began = now;
            self.origins.iter_mut().for_each(|state| (state.progress, state.failing) = (None, None));
        }
        let was_idle = self.tracks.get(&track).is_some_and(|followed| self.idle(followed, now));
        if let Some(followed) = self.tracks.get_mut(&track) {
            if was_idle {
                // What its followers saw is old. What is shown stays: it never goes back.
                followed.seen.fill(Seen::default());
            }
            followed.asked = now;
        } else if self.tracks.len() < TRACKS_MAX {
            let (seen, checks) = (vec![Seen::default(); origins], vec![Check::default(); origins]);
            let past = (Vec::new(), Duration::ZERO);
            self.tracks.insert(track, Followed { asked: now, seen, checks, shown: None, past, epoch: 0 });
        }
    }

    fn answered(&mut self, track: Track, origin: usize, outcome: Outcome, now: Instant) -> Vec<Track> {
        let epoch = self.spans.epoch();
        let Some(followed) = self.tracks.get_mut(&track) else { return Vec::new() };
        let current = followed.epoch == epoch;
        let shown = followed.shown.as_ref().filter(|_| current).map(|shown| Arc::clone(&shown.source));
        let Some(seen) = followed.seen.get_mut(origin) else { return Vec::new() };
        let Some(state) = self.origins.get_mut(origin) else { return Vec::new() };
        let (playlist, age, etag) = match outcome {
            Outcome::Playlist(text, age, etag) => (text, age, etag),
            Outcome::Failed(failure) => {
                // That this edge has no more questions to ask, or no memory, is no fault of the origin's.
                let own = matches!(failure, Failure::Busy | Failure::NoRoom);
                seen.failed(failure, now);
                if seen.failures >= FAILURES && !own {
                    state.failing.get_or_insert(now);
                    state.well = None;
                }
                return Vec::new();
            }
            Outcome::Held => {
                seen.held(now);
                state.failing = None;
                return Vec::new();
            }
            Outcome::Missing => {
                seen.missed(now);
                state.failing = None;
                return Vec::new();
            }
        };
        state.failing = None;
        state.well.get_or_insert(now);
        // One that is behind what is shown of it went back: catching up is no progress.
        let agrees = followed.checks.get(origin).is_some_and(|check| check.agreement == Agreement::Yes);
        let group = self.lead == Some(origin) || agrees;
        let behind = shown.as_ref().filter(|_| group).is_some_and(|shown| shown.facts.is_ahead_of(&playlist.facts));
        if (seen.playlist(Arc::clone(&playlist), age, etag, now) && !behind) || state.progress.is_none() {
            state.progress = Some(now);
            self.stepped(track, origin, now);
        }
        // The bytes are compared by whoever drives this; playlists that differ are seen at once, and one that has nothing
        // in common with what is shown has begun anew.
        if let Some(lead) = self.lead.filter(|lead| *lead != origin)
            && let Some(followed) = self.tracks.get_mut(&track)
            && let Some(theirs) = shown.or_else(|| followed.seen.get(lead)?.text.clone())
        {
            let same = theirs.agrees_with(&playlist);
            if let Some(check) = followed.checks.get_mut(origin).filter(|_| same != Some(true)) {
                check.differs(same);
            }
        }
        if self.show(track, origin, now) { vec![track] } else { Vec::new() }
    }

    /// One of them is a step further: is it further than the one that leads?
    fn stepped(&mut self, track: Track, origin: usize, now: Instant) {
        let Some(lead) = self.lead else { return };
        let unit = i64::try_from(self.unit(lead).as_millis() / 2).unwrap_or(i64::MAX);
        let Some(followed) = self.tracks.get_mut(&track) else { return };
        if lead == origin {
            followed.seen.iter_mut().for_each(|seen| seen.steps = 0);
            self.origins.iter_mut().for_each(|state| state.ahead = None);
            return;
        }
        let end = |origin: usize| followed.seen.get(origin)?.text.as_ref()?.ends_ms();
        // By their clocks, if they are right; in any case if it is two steps further.
        let by_date = end(lead).zip(end(origin)).is_some_and(|(ours, theirs)| theirs >= ours.saturating_add(unit));
        let Some(seen) = followed.seen.get_mut(origin) else { return };
        seen.steps = seen.steps.saturating_add(1);
        if let Some(state) = self.origins.get_mut(origin).filter(|_| by_date || seen.steps > 1) {
            state.ahead.get_or_insert(now);
        }
    }

    fn compared(&mut self, comparison: Comparison, same: Option<bool>, now: Instant) {
        let Comparison { track, lead, origin, epoch, .. } = comparison;
        // What another led meanwhile says nothing about who leads now.
        if self.lead != Some(lead) || self.spans.epoch() != epoch {
            return;
        }
        if let Some(check) = self.tracks.get_mut(&track).and_then(|followed| followed.checks.get_mut(origin)) {
            check.etags(same, now);
        }
    }

    /// Shows what is at hand of every track.
    fn show_all(&mut self, now: Instant) -> Vec<Track> {
        let tracks: Vec<Track> = self.tracks.keys().copied().collect();
        let show = |track: &Track| {
            // Each of them is looked at: the furthest is shown last.
            let shown = self.group(*track).into_iter().filter(|origin| self.show(*track, *origin, now));
            shown.count() > 0
        };
        tracks.into_iter().filter(show).collect()
    }

    /// Shows the playlist that an origin gave, if it may and is a step forward.
    fn show(&mut self, track: Track, origin: usize, now: Instant) -> bool {
        if !self.in_group(track, origin) {
            return false;
        }
        let holds_back = self.holds_end_back(track, origin, now);
        let Some(followed) = self.tracks.get_mut(&track) else { return false };
        let Some(seen) = followed.seen.get(origin) else { return false };
        let (Some(text), Some(at)) = (seen.text.clone(), seen.came) else { return false };
        let (age, etag) = (seen.age, seen.etag.clone());
        let epoch = self.spans.epoch();
        let (shift, from) = (self.spans.shift(), self.spans.from());
        if text.facts.tip.ended && holds_back || text.facts.tip.open < from {
            return false;
        }
        if let Some(shown) = followed.shown.as_ref().filter(|_| followed.epoch == epoch) {
            let far = |text: &Text| (text.facts.tip.open, text.facts.tip.parts, text.facts.tip.ended);
            let (before, after) = (far(&shown.source), far(&text));
            // As far and of the same origin: what else it says may be new, or that it is still so.
            let later = at.saturating_duration_since(shown.at) >= CONFIRMED;
            let again = after == before && shown.origin == origin && (later || shown.source.all != text.all);
            if after <= before && !again {
                return false;
            }
        }
        let plain = self.spans.is_plain();
        let source = Arc::clone(&text);
        let text = if plain {
            text
        } else {
            followed.prune(&text, from);
            // The target is the same in all tracks (§6.2.4), the part's is each track's own.
            let part = followed.shown.as_ref().and_then(|shown| shown.text.facts.part);
            let told = Told { target: self.longest, part };
            let composed = compose(&followed.past.0, &text, from, shift, told);
            match Text::parse(composed) {
                Some(composed) => Arc::new(composed),
                None => return false,
            }
        };
        followed.epoch = epoch;
        followed.shown = Some(Arc::new(Shown { text, source, origin, at, age, etag: etag.filter(|_| plain) }));
        true
    }

    /// Whether the end that an origin tells of waits for what others say: one whose encoder went elsewhere must not end
    /// what another goes on with.
    fn holds_end_back(&self, track: Track, origin: usize, now: Instant) -> bool {
        let Some(followed) = self.tracks.get(&track) else { return false };
        let recent = self.target(origin) * 3 / 2;
        let goes_on = |(other, seen): (usize, &Seen)| {
            let progress = self.origins.get(other).and_then(|state| state.progress);
            let live = seen.text.as_ref().is_some_and(|text| !text.facts.tip.ended);
            other != origin && live && progress.is_some_and(|at| now.saturating_duration_since(at) < recent)
        };
        self.pinned.is_none() && followed.seen.iter().enumerate().any(goes_on)
    }

    /// Since when, and how, every origin that is followed fails this track.
    fn trouble(&self, followed: &Followed) -> Option<(Option<Failure>, Instant)> {
        let first = self.lead.or(self.pinned).unwrap_or(0);
        let mut trouble: Option<(Option<Failure>, Instant)> = None;
        for origin in [Some(first), self.standby(first)].into_iter().flatten() {
            let seen = followed.seen.get(origin)?;
            let since = seen.trouble?;
            let before = trouble.take().map_or((seen.failure.clone(), since), |(failure, at)| {
                // That it is not there is said only by those who answer.
                (failure.and_then(|_| seen.failure.clone()), at.max(since))
            });
            trouble = Some(before);
        }
        trouble
    }

    /// Whether followers have been at it since the viewer came.
    fn is_current(&self, followed: &Followed, shown: &Shown, now: Instant) -> bool {
        let answered = followed.seen.iter().any(|seen| seen.last.is_some());
        answered || now.saturating_duration_since(shown.at) < self.timing.target / 2
    }

    fn idle(&self, followed: &Followed, now: Instant) -> bool {
        let target = followed.shown.as_ref().map_or(self.timing.target, |shown| shown.text.facts.target);
        now.saturating_duration_since(followed.asked) >= self.timing.idle.saturating_add(target * 3)
    }

    /// Whether an origin has the same as the one that leads, as far as a track goes.
    pub(super) fn in_group(&self, track: Track, origin: usize) -> bool {
        let check = self.tracks.get(&track).and_then(|followed| followed.checks.get(origin));
        let agrees = check.is_some_and(|check| check.agreement == Agreement::Yes);
        self.lead == Some(origin) || self.lead.is_some() && agrees
    }

    pub(super) fn is_failing(&self, origin: usize) -> bool {
        self.origins.get(origin).is_some_and(|state| state.failing.is_some())
    }

    /// The origin to watch beside the one that leads: the next one that is well.
    fn standby(&self, lead: usize) -> Option<usize> {
        let others = || (0..self.origins.len()).filter(move |other| *other != lead);
        if let Some(pinned) = self.pinned.filter(|pinned| *pinned != lead) {
            return Some(pinned);
        }
        others().find(|other| !self.is_failing(*other)).or_else(|| others().next())
    }

    /// The target duration that an origin's playlists say.
    pub(super) fn target(&self, origin: usize) -> Duration {
        self.target_of(origin).unwrap_or(self.timing.target)
    }

    /// The unit in which an origin's stream advances: its parts, or without parts its segments.
    pub(super) fn unit(&self, origin: usize) -> Duration {
        let texts = self.tracks.values().filter_map(|followed| followed.seen.get(origin)?.text.as_ref());
        let parts = texts.filter_map(|text| text.facts.part.filter(|_| text.facts.blocking));
        parts.min().unwrap_or_else(|| self.target(origin))
    }

    /// Shows the first playlist of all: the preferred origin's, unless it is slow or fails and another is there.
    pub(super) fn adopt(&mut self, now: Instant) -> bool {
        let has = |origin: &usize| {
            self.tracks.values().any(|followed| followed.seen.get(*origin).is_some_and(|seen| seen.text.is_some()))
        };
        let out = |origin: usize| {
            let mut seen = self.tracks.values().filter_map(|followed| followed.seen.get(origin));
            seen.any(|seen| seen.missing || seen.failures > 0)
        };
        let preferred = self.pinned.unwrap_or(0);
        let late = now.saturating_duration_since(self.began) >= PREFER;
        let others_may = self.pinned.is_none() && (late || out(preferred));
        let found = Some(preferred).filter(has).or_else(|| (0..self.origins.len()).find(has).filter(|_| others_may));
        self.lead = found;
        found.is_some()
    }
}

impl Followed {
    /// Lets go of what is too old to be listed: the playlist stays as long as it was.
    fn prune(&mut self, text: &Text, from: u64) {
        let (past, window) = &mut self.past;
        if text.first() > from {
            past.clear();
        }
        // As long as it was, or as the origin's own is.
        let window = text.segments().iter().map(|block| block.length).sum::<Duration>().max(*window);
        let current = text.segments().iter().filter(|block| block.number >= from).map(|block| block.length);
        let mut total: Duration = current.chain(past.iter().map(|piece| piece.length)).sum();
        let out = past.iter().take_while(|piece| {
            total = total.saturating_sub(piece.length);
            total >= window
        });
        let out = out.count();
        past.drain(..out);
    }
}
