//! One viewer as a pure state machine: answers and time in, requests and what happened out.
//!
//! It does what a player does: takes a rung and the sound that goes with it, begins near the live edge (or back in the
//! window), reads ahead up to a goal, reloads playlists as they offer it, changes rungs, plays against a clock. It holds no
//! media: of every piece only the length counts.

mod abr;
mod errand;
mod media;
mod playback;
#[cfg(test)]
mod tests;
mod track;

use super::ask::{Ask, Content, Directives, Failure, Kind, Place, Reply, Resource};
use super::listing::{Ladder, Listing};
use abr::Abr;
use errand::Errand;
use playback::{Ahead, Playback, Turn};
use std::sync::Arc;
use track::Track;

/// How long an answer may take that the server doesn't hold, in seconds.
const ANSWER_S: f64 = 10.0;

/// How many target durations a server may hold a request beside that.
const HELD_TARGETS: f64 = 3.0;

/// How often times and latency are told, in seconds.
const TELL_EVERY_S: f64 = 1.0;

/// How much faster than life who is a little late plays, how late that is, and what must be ahead of it; seconds.
const CATCH_UP_RATE: f64 = 1.05;
const LATE_S: f64 = 0.2;
const CATCH_UP_AHEAD_S: f64 = 1.0;

/// Which rung to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RungChoice {
    /// By what the connection brings.
    Auto,
    /// The smallest.
    Lowest,
    /// The largest.
    Highest,
    /// This one, from 0 for the smallest; the largest if there are fewer.
    Nth(usize),
}

/// How a viewer behaves.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) rung: RungChoice,
    /// Parts and held reloads, where the stream has them.
    pub(crate) low_latency: bool,
    /// Parts that are only announced, too.
    pub(crate) hints: bool,
    /// How far back in the window it begins: 0 at the live edge, 1 at the oldest segment.
    pub(crate) back: Option<f64>,
    /// How much it reads ahead, in seconds.
    pub(crate) goal_s: f64,
    /// The moment 0 of all others, in seconds since 1970.
    pub(crate) epoch: f64,
}

/// What is to be done, and what is to be told.
#[derive(Debug)]
pub(crate) enum Output {
    Get(Box<Ask>),
    /// The answer to this request is not waited for any more.
    Drop(u32),
    Note(Note),
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Note {
    /// The first picture, seconds after coming.
    Started(f64),
    /// A stall began.
    Stalled,
    /// A stall ended that was this long.
    Resumed(f64),
    /// Seconds played and stalled since the last note.
    Times { played: f64, stalled: f64 },
    /// Seconds behind what happens, at the live edge.
    Latency(f64),
    /// Seconds of media of this rung.
    Loaded { rung: usize, seconds: f64 },
    /// To another rung.
    Switched { up: bool },
    /// Missing media were jumped over.
    Hole(f64),
    /// A piece could not be had and was passed over.
    Lost,
    /// It had fallen out of the window and went back to the edge.
    Fell,
    /// It has seen the end.
    Ended,
}

/// A viewer. Times are seconds of the caller's clock.
pub(crate) struct Viewer {
    settings: Settings,
    entry: Place,
    ladder: Option<Arc<Ladder>>,
    entering: Errand,
    rung: usize,
    /// For which segment the rung has been chosen.
    chosen: Option<u64>,
    stalled_lately: bool,
    tracks: Vec<Track>,
    /// Tracks are placed on the media time.
    seated: bool,
    /// Nothing was to be added when it came.
    recording: bool,
    playback: Playback,
    abr: Abr,
    next_id: u32,
    told: f64,
    wake: f64,
    outputs: Vec<Output>,
    turns: Vec<Turn>,
}

impl Viewer {
    pub(crate) fn new(settings: Settings, entry: Place, now: f64) -> Self {
        let mut viewer = Self {
            settings,
            entry,
            ladder: None,
            entering: Errand::default(),
            rung: 0,
            chosen: None,
            stalled_lately: false,
            tracks: Vec::new(),
            seated: false,
            recording: false,
            playback: Playback::new(now),
            abr: Abr::default(),
            next_id: 0,
            told: now,
            wake: now,
            outputs: Vec::new(),
            turns: Vec::new(),
        };
        viewer.plan(now);
        viewer
    }

    /// What is to be done and told now.
    pub(crate) fn take(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// When [`Viewer::wake`] is to be called unless an answer comes before.
    pub(crate) fn next_wake(&self) -> f64 {
        self.wake
    }

    /// It has seen everything.
    pub(crate) fn over(&self) -> bool {
        self.playback.ended()
    }

    /// Whether what it plays was complete when it came.
    pub(crate) fn of_recording(&self) -> bool {
        self.recording
    }

    /// Whether it has seen anything.
    pub(crate) fn started(&self) -> bool {
        self.playback.started()
    }

    /// Time has passed.
    pub(crate) fn wake(&mut self, now: f64) {
        self.pass(now);
        self.plan(now);
    }

    /// An answer has come.
    pub(crate) fn reply(&mut self, reply: &Reply) {
        let now = reply.done;
        self.pass(now);
        if self.entering.is(reply.id) {
            self.enter(reply);
        } else if let Some(index) = self.tracks.iter().position(|track| track.reload.is(reply.id)) {
            self.listed(index, reply);
        } else if let Some(index) = self.tracks.iter().position(|track| track.fetch.is(reply.id)) {
            self.fetched(index, reply);
        }
        self.plan(now);
    }

    /// It goes: tells what it has not told yet.
    pub(crate) fn finish(&mut self, now: f64) {
        self.pass(now);
        self.playback.finish(&mut self.turns);
        self.tell(now, true);
    }

    /// Moves the playback clock on with what was there.
    fn pass(&mut self, now: f64) {
        if self.seated {
            let ahead = self.ahead();
            self.playback.advance(now, ahead, &mut self.turns);
            self.catch_up(now);
        }
    }

    fn ahead(&self) -> Ahead {
        let position = self.playback.position;
        let last = self.tracks.iter().all(|track| track.complete);
        let open = self.tracks.iter().filter(|track| !track.complete).map(|track| track.end);
        let whole = self.tracks.iter().map(|track| track.end);
        let until = if last { whole.fold(0.0, f64::max) } else { open.fold(f64::INFINITY, f64::min) };
        let holes = self.tracks.iter().filter_map(|track| track.hole(position));
        Ahead { until, last, hole: holes.min_by(|a, b| a.0.total_cmp(&b.0)) }
    }

    fn enter(&mut self, reply: &Reply) {
        let Ok(Content::Ladder(ladder)) = &reply.result else {
            self.entering.failed(reply.done);
            return;
        };
        self.entering.done();
        self.rung = self.wanted_rung(ladder, None);
        let Some(rung) = ladder.rungs.get(self.rung) else { return };
        // The sound stays the one that goes with the first rung.
        let places = [Some(rung.place.clone()), rung.audio.clone()];
        self.tracks = places.into_iter().flatten().map(Track::new).collect();
        self.ladder = Some(Arc::clone(ladder));
    }

    fn wanted_rung(&self, ladder: &Ladder, now: Option<usize>) -> usize {
        let last = ladder.rungs.len().saturating_sub(1);
        match self.settings.rung {
            RungChoice::Lowest => 0,
            RungChoice::Highest => last,
            RungChoice::Nth(index) => index.min(last),
            RungChoice::Auto => {
                self.abr.choose(ladder.rungs.iter().map(|rung| rung.bandwidth), now, self.stalled_lately)
            }
        }
    }

    /// A playlist has come, or has not.
    fn listed(&mut self, index: usize, reply: &Reply) {
        let now = reply.done;
        let Some(track) = self.tracks.get_mut(index) else { return };
        let listing = match &reply.result {
            Ok(Content::Listing(listing)) => Arc::clone(listing),
            other => {
                track.whole = matches!(other, Err(Failure::Delta));
                track.reload.failed(now);
                return;
            }
        };
        track.reload.done();
        track.whole = false;
        let before = track.listing.as_ref().map(|before| before.progress());
        // A cache may be behind another one.
        if before.is_some_and(|before| listing.progress() <= before) {
            track.stale = track.stale.saturating_add(1);
            track.heard = now;
            return;
        }
        let turned = before.is_none() && track.cursor.is_some();
        (track.listing, track.heard, track.stale) = (Some(Arc::clone(&listing)), now, 0);
        if turned && let Some(msn) = track.end_date().and_then(|date| listing.dated(date)) {
            track.cursor = Some(track::Cursor::at(msn));
        }
        self.hint_answered(index, now);
    }

    /// Asks for all that can be asked for, and says when to come again.
    fn plan(&mut self, now: f64) {
        self.wake = now + TELL_EVERY_S;
        if self.over() {
            self.tell(now, true);
            return;
        }
        if self.ladder.is_none() && self.due(self.entering.due(), now) {
            let resource = Resource { place: self.entry.clone(), range: None };
            let id = self.ask(Kind::Multivariant, resource, None, None, ANSWER_S);
            self.entering.sent(id);
        }
        for index in 0..self.tracks.len() {
            self.plan_reload(index, now);
        }
        self.place();
        self.begin();
        for index in 0..self.tracks.len() {
            self.plan_media(index, now);
        }
        // Holes and ends are found while looking for what to fetch.
        self.begin();
        if self.seated {
            let ahead = self.ahead();
            self.wake = self.wake.min(self.playback.next(ahead).max(now));
        }
        self.tell(now, false);
    }

    /// Plays on, if there is enough.
    fn begin(&mut self) {
        if self.seated {
            let ahead = self.ahead();
            self.playback.begin(ahead, &mut self.turns);
        }
    }

    /// Whether a moment has come; if not, comes again when it has.
    fn due(&mut self, moment: f64, now: f64) -> bool {
        if moment > now {
            self.wake = self.wake.min(moment);
        }
        moment <= now
    }

    fn ask(
        &mut self,
        kind: Kind,
        resource: Resource,
        directives: Option<Directives>,
        base: Option<Arc<Listing>>,
        within_s: f64,
    ) -> u32 {
        self.next_id = self.next_id.wrapping_add(1);
        let id = self.next_id;
        self.outputs.push(Output::Get(Box::new(Ask { id, kind, resource, directives, base, within_s })));
        id
    }

    fn plan_reload(&mut self, index: usize, now: f64) {
        let Some(track) = self.tracks.get(index) else { return };
        let resource = Resource { place: track.place.clone(), range: None };
        let (mut due, mut kind, mut directives, mut base, mut within_s) =
            (track.reload.due(), Kind::Playlist, None, None, ANSWER_S);
        if let Some(listing) = &track.listing {
            if listing.ended {
                return;
            }
            if self.settings.low_latency && listing.blocks && track.stale == 0 {
                let part = listing.part_s.map(|_| listing.open.parts.len() as u64);
                let fresh = listing.skip_s.is_some_and(|until| now - track.heard < until / 2.0);
                let skip = fresh && !track.whole;
                kind = Kind::Reload;
                directives = Some(Directives { msn: listing.open_msn(), part, skip });
                base = skip.then(|| Arc::clone(listing));
                within_s += HELD_TARGETS * listing.target_s;
            } else {
                let pause = if track.stale > 0 { listing.target_s / 2.0 } else { listing.target_s };
                due = due.max(track.heard + pause);
            }
        }
        if self.due(due, now) {
            let id = self.ask(kind, resource, directives, base, within_s);
            if let Some(track) = self.tracks.get_mut(index) {
                track.reload.sent(id);
            }
        }
    }

    /// Chooses where to begin, once every track has its playlist.
    fn place(&mut self) {
        if self.seated || self.tracks.is_empty() || self.tracks.iter().any(|track| track.listing.is_none()) {
            return;
        }
        let Some(listing) = self.tracks.first().and_then(|track| track.listing.clone()) else { return };
        let edge = if listing.ended { 0.0 } else { self.hold_back(&listing) };
        let room = (listing.length() - edge).max(0.0);
        let back = match (self.settings.back, listing.ended) {
            (Some(share), _) => edge + room * share,
            (None, true) => listing.length(),
            (None, false) => edge,
        };
        let (msn, into) = listing.before_end(back);
        let date = listing.segment(msn).and_then(|segment| segment.date);
        for (index, track) in self.tracks.iter_mut().enumerate() {
            let Some(own) = track.listing.as_ref().filter(|_| index > 0) else {
                track.seat(msn, 0.0);
                continue;
            };
            let msn = date.and_then(|date| own.dated(date)).unwrap_or(msn).clamp(own.first, own.open_msn());
            let start = own.segment(msn).and_then(|segment| segment.date);
            let off = date.zip(start).map_or(0.0, |(date, start)| start - date);
            track.seat(msn, off);
        }
        self.playback.seek(into, &mut self.turns);
        self.recording = listing.ended && !self.playback.started();
        self.seated = true;
    }

    /// How far from the live edge to play, in seconds.
    fn hold_back(&self, listing: &Listing) -> f64 {
        let parts = listing.part_hold_back_s.filter(|_| self.settings.low_latency && listing.part_s.is_some());
        parts.unwrap_or(listing.hold_back_s)
    }

    /// Sets the pace from now on: a little faster for who is a little late at the live edge, as players do.
    fn catch_up(&mut self, now: f64) {
        self.playback.rate = 1.0;
        let Some(late) = self.lateness(now) else { return };
        let ahead = self.ahead().until - self.playback.position;
        let target_s =
            self.tracks.first().and_then(|track| track.listing.as_ref()).map_or(0.0, |listing| listing.target_s);
        if self.settings.low_latency && (LATE_S..target_s).contains(&late) && ahead > CATCH_UP_AHEAD_S {
            self.playback.rate = CATCH_UP_RATE;
        }
    }

    /// Seconds farther behind what happens than it need be.
    fn lateness(&mut self, now: f64) -> Option<f64> {
        let behind = self.latency(now)?;
        let listing = self.tracks.first()?.listing.as_ref()?;
        Some(behind - self.hold_back(listing))
    }

    /// Seconds behind what happens, for a viewer of what is live.
    fn latency(&mut self, now: f64) -> Option<f64> {
        let (position, epoch) = (self.playback.position, self.settings.epoch);
        let track = self.tracks.first_mut()?;
        if !self.playback.started() || self.settings.back.is_some() || track.listing.as_ref()?.ended {
            return None;
        }
        Some(epoch + now - track.date_of(position)?)
    }

    /// Tells what became of playback; times and latency only now and then.
    fn tell(&mut self, now: f64, all: bool) {
        for turn in std::mem::take(&mut self.turns) {
            let note = match turn {
                Turn::Started(seconds) => Note::Started(seconds),
                Turn::Stalled => Note::Stalled,
                Turn::Resumed(seconds) => Note::Resumed(seconds),
                Turn::Jumped(seconds) => Note::Hole(seconds),
                Turn::Ended => Note::Ended,
            };
            self.stalled_lately |= note == Note::Stalled;
            self.outputs.push(Output::Note(note));
        }
        if !all && now - self.told < TELL_EVERY_S {
            return;
        }
        self.told = now;
        let (played, stalled) = self.playback.take_times();
        if played > 0.0 || stalled > 0.0 {
            self.outputs.push(Output::Note(Note::Times { played, stalled }));
        }
        if self.playback.playing()
            && let Some(latency) = self.latency(now)
        {
            self.outputs.push(Output::Note(Note::Latency(latency)));
        }
    }
}
