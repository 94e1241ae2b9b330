//! One stream's room: its keeper, its followers, its boards.
//!
//! The keeper is one task per stream: it starts and ends followers as the state machine wants them, and lets time pass in
//! it. A follower is one task per track and origin: ask, tell, hang up what is new.

use super::Shared;
use super::board::{self, Board, Listed, Notice, Trouble, Version};
use crate::failure::Failure;
use crate::follow::{Ask, Event, Look, Outcome, Source, Stream, Timing, Track};
use crate::key::{Directives, Key};
use crate::ledger::Charge;
use crate::playlist::Text;
use crate::policy::QUICK_WAIT;
use crate::trail::{Shortest, Trail};
use crate::upstream::Wait;
use http::StatusCode;
use media::name::StreamName;
use media::route::{File, Route};
use metrics::{counter, gauge};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;

/// How often the keeper looks at the clock: finer than the shortest part.
const TICK: Duration = Duration::from_millis(50);

/// How often the state machine hears that there are viewers, however many there are.
const TOUCH: Duration = Duration::from_millis(200);

/// Largest playlist that is followed.
const PLAYLIST_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// One stream.
#[derive(Debug)]
pub(super) struct Room {
    name: StreamName,
    state: Mutex<State>,
    wake: Notify,
    /// Tells followers who pause to ask now.
    again: Notify,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct State {
    stream: Stream,
    /// The shortest way by which a viewer came lately.
    ways: Shortest,
    /// What pays for what followers have seen: the playlist that came last, by track and origin.
    paid: HashMap<(Track, usize), Charge>,
    boards: HashMap<Track, Pinboard>,
    /// Whether a keeper is at work.
    kept: bool,
    /// Whether it had to make place for another.
    closed: bool,
    left: Instant,
}

#[derive(Debug)]
struct Pinboard {
    notice: watch::Sender<Notice>,
    /// When viewers last asked for parts, and for segments, of this track.
    wants: [Option<Instant>; 2],
    /// When the state machine last heard of a viewer.
    touched: Instant,
}

impl Room {
    pub(super) fn new(name: StreamName, timing: Timing, lineage: u32, trail: Trail, shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        let stream = Stream::new(shared.upstream.count(), timing, lineage, now);
        // Viewers who wait are silent for as long as that.
        let window = timing.idle.saturating_add(shared.policy.parked(timing.target));
        let ways = Shortest::new(trail, window, now);
        let (boards, paid) = (HashMap::new(), HashMap::new());
        let state = Mutex::new(State { stream, ways, paid, boards, kept: false, closed: false, left: now });
        Self { name, state, wake: Notify::new(), again: Notify::new(), shared }
    }

    /// A viewer comes. Gives the board, and whether it is for him that somebody follows the track. `None`: as many
    /// tracks are followed as may be.
    pub(super) fn ask(self: &Arc<Self>, track: Track, trail: &Trail) -> Option<(Board, bool)> {
        let now = Instant::now();
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        let shorter = state.ways.came(trail, now);
        if state.kept
            && !shorter
            && let Some(board) = state.boards.get(&track)
            && now.saturating_duration_since(board.touched) < TOUCH
        {
            return Some((Board(board.notice.subscribe()), false));
        }
        if shorter {
            self.forgive(&mut state);
        }
        for changed in state.stream.on(Event::Asked(track), now) {
            self.hang(&mut state, changed, now);
        }
        if !state.stream.has(track) {
            return None;
        }
        let new_board = || Pinboard { notice: watch::Sender::default(), wants: [None, None], touched: now };
        state.boards.entry(track).or_insert_with(new_board).touched = now;
        if state.kept {
            // What hangs there may be from before, when nobody asked.
            self.mend(&mut state, now);
        } else if !self.shared.stop.is_cancelled() {
            state.kept = true;
            for board in state.boards.values() {
                board.notice.send_modify(|notice| notice.trouble = Trouble::NotYet);
            }
            self.shared.tasks.spawn(keep(Arc::clone(self)));
        }
        let board = state.boards.get(&track)?;
        let new = board.notice.borrow().trouble == Trouble::NotYet;
        let receiver = board.notice.subscribe();
        drop(state);
        if new {
            self.wake.notify_one();
        }
        Some((Board(receiver), new))
    }

    /// Of the ways by which viewers come the shortest is told upstream: nobody makes a ring out of a straight line by
    /// what he says.
    fn forgive(&self, state: &mut State) {
        // What was refused for the longer one says nothing any more.
        let loops = |failure: &Failure| *failure == Failure::Origin(StatusCode::LOOP_DETECTED);
        state.stream.forgive(loops);
        self.again.notify_waiters();
    }

    fn trail(&self) -> Trail {
        self.lock().ways.get().clone()
    }

    /// Where a media file comes from.
    pub(super) fn place(&self, track: Track, route: &Route) -> Listed {
        let Route::Hls(_, _, file) = route else { return Listed::Gone };
        let now = Instant::now();
        let mut state = self.lock();
        let number = match file {
            File::Segment(msn) | File::Part(msn, _) => Some(*msn),
            _ => None,
        };
        let announced = state.stream.shown(track).map(|shown| shown.origin);
        let source = match number {
            Some(number) => match self.source(&state, track, number) {
                Some(source) => first(source, announced),
                None => return Listed::Gone,
            },
            // Named by its content: whoever has it.
            None => {
                let group = state.stream.group(track);
                let others = (0..self.shared.upstream.count()).filter(|other| !group.contains(other));
                let origins = group.iter().copied().chain(others).collect();
                return Listed::Now(Source { origins, number: 0, lineage: 0 });
            }
        };
        let kept = state.kept;
        let Some(board) = state.boards.get_mut(&track) else { return Listed::Unknown(source) };
        let kind = usize::from(matches!(file, File::Segment(_)));
        if let Some(wanted) = board.wants.get_mut(kind) {
            *wanted = Some(now);
        }
        let known = |notice: &Notice| notice.version.clone().filter(|_| kept && notice.trouble == Trouble::None);
        let version = known(&board.notice.borrow());
        match version {
            Some(version) => board::listed(&version, file, source, || Board(board.notice.subscribe())),
            None => Listed::Unknown(source),
        }
    }

    /// Where a number's media come from; as long as nobody leads, from anywhere.
    fn source(&self, state: &State, track: Track, number: u64) -> Option<Source> {
        let all = || (0..self.shared.upstream.count()).collect();
        if state.stream.lead().is_none() {
            // What comes of whoever answers is nobody's lineage yet.
            return Some(Source { origins: all(), number, lineage: 0 });
        }
        let mut source = state.stream.source(track, number)?;
        if source.origins.is_empty() {
            source.origins = all();
        }
        Some(source)
    }

    /// Origins that have the stream as it is, the one that leads first.
    pub(super) fn group(&self) -> Vec<usize> {
        self.lock().stream.lead().into_iter().collect()
    }

    /// Says which origin is to lead.
    pub(super) fn pin(&self, origin: Option<usize>) {
        self.turn(Event::Pinned(origin));
    }

    /// Whether nobody was here for so long. What went through a takeover is remembered as long as its numbers may be known.
    pub(super) fn is_over(&self, now: Instant, remembered: Duration) -> bool {
        let state = self.lock();
        let long = match (state.stream.lead(), state.stream.is_plain()) {
            (None, _) => Duration::ZERO,
            (_, true) => remembered,
            (_, false) => remembered.saturating_mul(60),
        };
        !state.kept && now.saturating_duration_since(state.left) >= long
    }

    /// Whose it is.
    pub(super) fn name(&self) -> &StreamName {
        &self.name
    }

    /// Whether no origin is known to have the stream.
    pub(super) fn has_no_lead(&self) -> bool {
        self.lock().stream.lead().is_none()
    }

    /// Whether all that its viewers will hear for the moment is that there is nothing, or it has no track any more.
    pub(super) fn is_in_vain(&self) -> bool {
        let state = self.lock();
        let vain = |board: &Pinboard| matches!(board.notice.borrow().trouble, Trouble::Missing | Trouble::Failed(_));
        state.boards.values().all(vain)
    }

    /// Ends it, whoever is there; gives the tracks that no origin has.
    pub(super) fn close(&self) -> Vec<Track> {
        let mut state = self.lock();
        state.closed = true;
        let boards = std::mem::take(&mut state.boards).into_iter();
        state.paid.clear();
        drop(state);
        self.wake.notify_one();
        boards.filter(|(_, board)| board.notice.borrow().trouble == Trouble::Missing).map(|(track, _)| track).collect()
    }

    /// How it is doing.
    /// How many viewers wait for pictures of it; `None` if no origin is known to have it.
    pub(super) fn viewers(&self) -> Option<(StreamName, usize)> {
        let state = self.lock();
        state.stream.lead()?;
        let pictures = state
            .boards
            .iter()
            .filter(|(track, _)| track.rendition != media::ladder::Rendition::Audio && !track.iframes);
        let waiting = pictures.map(|(_, board)| board.notice.receiver_count()).sum();
        Some((self.name.clone(), waiting))
    }

    pub(super) fn stat(&self, now: Instant) -> serde_json::Value {
        let state = self.lock();
        let name = |origin: Option<usize>| origin.and_then(|origin| self.shared.upstream.name(origin));
        let tracks = state.boards.iter().map(|(track, board)| {
            let shown = state.stream.shown(*track);
            let tip = shown.as_ref().map(|shown| shown.text.facts.tip);
            let age = shown.as_ref().map(|shown| now.saturating_duration_since(shown.at).as_millis() as u64);
            serde_json::json!({
                "rendition": track.rendition.to_string(),
                "iframes": track.iframes,
                "msn": tip.map(|tip| tip.open),
                "parts": tip.map(|tip| tip.parts),
                "age_ms": age,
                "viewers": board.notice.receiver_count(),
            })
        });
        let origins = (0..self.shared.upstream.count()).map(|origin| {
            serde_json::json!({
                "address": self.shared.upstream.name(origin),
                "agreement": format!("{:?}", state.stream.agreement(origin)).to_lowercase(),
            })
        });
        serde_json::json!({
            "name": self.name.to_string(),
            "followed": state.kept,
            "lead": name(state.stream.lead()),
            "pinned": name(state.stream.pinned()),
            "takeovers": state.stream.takeovers(),
            "origins": origins.collect::<Vec<_>>(),
            "tracks": tracks.collect::<Vec<_>>(),
        })
    }

    /// Pays for what a follower has seen; where no memory is left for it, it has seen nothing. (What is shown of it is paid
    /// for once more: mostly it is another text.)
    fn pay(&self, track: Track, origin: usize, outcome: Outcome) -> Outcome {
        let Outcome::Playlist(text, ..) = &outcome else { return outcome };
        let mut state = self.lock();
        // First back with what was paid for the one before.
        state.paid.remove(&(track, origin));
        match self.shared.ledger.charge(text.bytes()) {
            Some(charge) => {
                state.paid.insert((track, origin), charge);
                outcome
            }
            None => Outcome::Failed(Failure::NoRoom),
        }
    }

    /// Tells the state machine, and hangs up what is new.
    fn turn(&self, event: Event) {
        let now = Instant::now();
        let mut state = self.lock();
        let (lead, before) = (state.stream.lead(), state.stream.takeovers());
        let changed = state.stream.on(event, now);
        let after = state.stream.lead();
        if after != lead {
            let name = |origin: Option<usize>| origin.and_then(|origin| self.shared.upstream.name(origin));
            let (from, to) = (name(lead), name(after));
            match (from, state.stream.takeovers() > before) {
                (None, _) => tracing::debug!(stream = %self.name, to, "following"),
                (_, true) => tracing::warn!(stream = %self.name, from, to, "another origin takes over, with a break"),
                (_, false) => tracing::info!(stream = %self.name, from, to, "another origin takes over, unnoticed"),
            }
            let kind = if state.stream.takeovers() > before { "break" } else { "seamless" };
            if lead.is_some() {
                counter!("live360_edge_takeovers_total", "kind" => kind).increment(1);
            }
            self.wake.notify_one();
        }
        for track in changed {
            self.hang(&mut state, track, now);
        }
        self.mend(&mut state, now);
    }

    /// Hangs up a track's newest playlist, and sends for what it lists for the first time.
    fn hang(&self, state: &mut State, track: Track, now: Instant) {
        let Some(shown) = state.stream.shown(track) else { return };
        let version = Version::new(&shown, state.stream.lineage(), &self.shared).map(Arc::new);
        let Some(board) = state.boards.get_mut(&track) else { return };
        let Some(version) = version else {
            board.notice.send_modify(|notice| notice.trouble = Trouble::Failed(Failure::NoRoom));
            return;
        };
        let before = board.notice.borrow().version.clone();
        board.notice.send_replace(Notice { version: Some(Arc::clone(&version)), trouble: Trouble::None });
        let Some(before) = before.filter(|_| !track.iframes) else { return };
        let lately = version.facts.target.saturating_mul(3);
        let wanted = board.wants.map(|wanted| wanted.is_some_and(|at| now.saturating_duration_since(at) < lately));
        for (file, kind) in fresh(&before, &version) {
            if wanted.get(kind).copied().unwrap_or(false) {
                let number = match &file {
                    File::Segment(msn) | File::Part(msn, _) => *msn,
                    _ => continue,
                };
                let Some(source) = self.source(state, track, number) else { continue };
                let source = first(source, Some(shown.origin));
                let route = Route::Hls(self.name.clone(), track.rendition, file);
                self.shared.depot.prefetch(&route, source);
            }
        }
    }

    /// Says on every board how the followers fare, where that has changed.
    fn mend(&self, state: &mut State, now: Instant) {
        // There may be room again for what there was none for.
        let unhung = |(track, board): (&Track, &Pinboard)| {
            let full = board.notice.borrow().trouble == Trouble::Failed(Failure::NoRoom);
            full.then_some(*track)
        };
        for track in state.boards.iter().filter_map(unhung).collect::<Vec<_>>() {
            self.hang(state, track, now);
        }
        for (track, board) in &state.boards {
            let trouble = match state.stream.look(*track, now) {
                Look::Shown(false) => Trouble::None,
                Look::Shown(true) => Trouble::Stale,
                Look::Missing => Trouble::Missing,
                Look::Failed(failure) => Trouble::Failed(failure),
                Look::NotYet => Trouble::NotYet,
            };
            board.notice.send_if_modified(|notice| {
                let kept = matches!(&notice.trouble, Trouble::Failed(Failure::NoRoom)) && trouble == Trouble::None;
                let changed = notice.trouble != trouble && !kept;
                if changed {
                    notice.trouble = trouble;
                }
                changed
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same source, to be asked first where the playlist came from: it is sure to have what it lists.
fn first(mut source: Source, origin: Option<usize>) -> Source {
    source.origins.sort_by_key(|other| Some(*other) != origin);
    source
}

/// Parts (0) and segments (1) that a playlist lists and the one before it didn't.
fn fresh(before: &Version, after: &Version) -> Vec<(File, usize)> {
    let (old, new) = (before.facts.tip, after.facts.tip);
    // After a jump there is nothing that viewers wait for.
    if new.open.saturating_sub(old.open) > 2 {
        return Vec::new();
    }
    let gaps = |number: u64| after.text.segments().iter().any(|block| block.number == number && block.gap);
    let mut files = Vec::new();
    for number in old.open..=new.open {
        let first = if number == old.open { old.parts } else { 0 };
        let parts = match number {
            _ if number == new.open => new.parts,
            _ if number.checked_add(1) == Some(new.open) => new.last_parts,
            _ => 0,
        };
        if !gaps(number) {
            files.extend((first..parts).map(|part| (File::Part(number, part), 0)));
            if number < new.open {
                files.push((File::Segment(number), 1));
            }
        }
    }
    files
}

/// The keeper.
async fn keep(room: Arc<Room>) {
    let mut followers: HashMap<(Track, usize), AbortOnDropHandle<()>> = HashMap::new();
    let count = gauge!("live360_edge_followers");
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let now = Instant::now();
        let wanted = {
            let mut state = room.lock();
            let void = state.stream.is_void(now);
            for track in state.stream.prune(now) {
                state.boards.remove(&track);
                state.paid.retain(|(paid, _), _| *paid != track);
            }
            let wanted = state.stream.wanted(now);
            if void || state.closed || wanted.is_empty() || room.shared.stop.is_cancelled() {
                state.kept = false;
                state.left = now;
                break;
            }
            for (track, origin) in &wanted {
                if !followers.contains_key(&(*track, *origin)) {
                    state.stream.reset(*track, *origin);
                    state.paid.remove(&(*track, *origin));
                }
            }
            wanted
        };
        let before = followers.len();
        followers.retain(|follower, _| wanted.contains(follower));
        for (track, origin) in wanted {
            followers.entry((track, origin)).or_insert_with(|| {
                let follower = follow(Arc::clone(&room), track, origin);
                AbortOnDropHandle::new(room.shared.tasks.spawn(follower))
            });
        }
        count.increment(followers.len() as f64 - before as f64);
        tokio::select! {
            () = room.shared.stop.cancelled() => {}
            () = room.wake.notified() => {}
            _ = tick.tick() => {}
        }
        room.turn(Event::Tick);
    }
    count.decrement(followers.len() as f64);
}

/// A follower.
async fn follow(room: Arc<Room>, track: Track, origin: usize) {
    loop {
        // Before it looks, so that nothing is missed.
        let again = room.again.notified();
        let asked = room.lock().stream.ask(track, origin, Instant::now());
        let Some(Ask { wait_for, at }) = asked else { return };
        tokio::select! {
            () = tokio::time::sleep_until(at.into()) => {}
            () = again => continue,
        }
        let outcome = ask(&room, track, origin, wait_for).await;
        let outcome = room.pay(track, origin, outcome);
        let came = matches!(outcome, Outcome::Playlist(..));
        room.turn(Event::Answered(track, origin, outcome));
        if came {
            compare(&room, track, origin);
        }
    }
}

/// One question.
async fn ask(room: &Room, track: Track, origin: usize, wait_for: Option<(u64, Option<u32>)>) -> Outcome {
    let mut key = track.key(&room.name);
    key.directives = wait_for.map(|(msn, part)| Directives { msn: Some(msn), part, skip: None });
    let held = wait_for.is_some();
    let (target, trail) = {
        let state = room.lock();
        (state.stream.target_of(origin), state.ways.get().clone())
    };
    let head = if held { room.shared.policy.held_wait(target) } else { QUICK_WAIT };
    let asked = Instant::now();
    let answer = async {
        let upstream = &room.shared.upstream;
        let answer = match upstream.ask(origin, &key, Wait { head, held, past: false }, &trail).await {
            // Somebody came by a shorter way meanwhile.
            Err(failure) if failure.is_of_a_longer_way(trail.len(), room.trail().len()) => {
                upstream.ask(origin, &key, Wait { head, held, past: false }, &room.trail()).await
            }
            answer => answer,
        }?;
        let (head, length) = (answer.head, answer.feed.collect(PLAYLIST_BYTES_MAX).await?);
        if head.length.is_some_and(|announced| announced != length.len() as u64) {
            return Err(Failure::Broken);
        }
        Ok((head, length))
    };
    let wait = head;
    let (head, body) = match answer.await {
        Ok(answer) => answer,
        // One that says so at once can't serve the stream.
        Err(Failure::Origin(StatusCode::SERVICE_UNAVAILABLE)) if held && asked.elapsed() >= wait / 2 => {
            return Outcome::Held;
        }
        Err(failure) => return Outcome::Failed(failure),
    };
    match head.status {
        StatusCode::OK => {
            let text = String::from_utf8(body.into()).ok().and_then(Text::parse);
            let failed = || Outcome::Failed(Failure::Nonsense("no media playlist"));
            text.map_or_else(failed, |text| Outcome::Playlist(Arc::new(text), head.age, head.etag))
        }
        // It thinks that the number is too far: what it has will tell.
        StatusCode::BAD_REQUEST if held => Outcome::Held,
        _ => Outcome::Missing,
    }
}

/// Compares the bytes of one segment with those of the origin that leads, if it is time.
fn compare(room: &Arc<Room>, track: Track, origin: usize) {
    let due = room.lock().stream.due_comparison(track, origin, Instant::now());
    let Some(due) = due else { return };
    let room = Arc::clone(room);
    room.shared.tasks.clone().spawn(async move {
        let route = Route::Hls(room.name.clone(), track.rendition, File::Segment(due.number));
        let key = Key { route, directives: None };
        let upstream = &room.shared.upstream;
        let both = async { tokio::join!(upstream.etag(due.lead, &key), upstream.etag(due.origin, &key)) };
        let same = tokio::select! {
            (ours, theirs) = both => ours.zip(theirs).map(|(ours, theirs)| ours == theirs),
            () = room.shared.stop.cancelled() => return,
        };
        room.turn(Event::Compared(due, same));
    });
}
