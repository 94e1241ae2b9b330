//! The media playlists of every rendition: who gets what is at hand, who waits, who is refused.
//!
//! In this form each wait that no playlist at hand satisfies is passed on to the origin, once per number and part. (The
//! place where a follower per rendition can take over: viewers only ever call [`Hub::get`].) A playlist never goes back
//! in time: what one origin gives that is behind what was given before is held back for a while.

use crate::document::{Document, Documents, How};
use crate::failure::Failure;
use crate::key::{Key, Skip};
use crate::playlist::{self, Facts, Freshness, Step};
use crate::policy::{Class, Policy, QUICK_WAIT, Rules};
use crate::upstream::Wait;
use media::ladder::Rendition;
use media::name::StreamName;
use media::route::{File, Route};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most renditions that are known at a time.
const ROOMS_MAX: usize = 4096;

/// What is remembered of a rendition that nobody asks for.
const IDLE: Duration = Duration::from_secs(60);

/// Playlists by rendition.
#[derive(Debug)]
pub(crate) struct Hub {
    rooms: Mutex<HashMap<RoomKey, Room>>,
    documents: Documents,
    policy: Arc<Policy>,
}

type RoomKey = (StreamName, Rendition);

/// The newest playlist of each kind: whole, delta, delta with date ranges, I-frames.
#[derive(Debug, Default)]
struct Room([Option<Arc<Document>>; 4]);

/// A media playlist request's end.
#[derive(Debug)]
pub(crate) enum Reply {
    /// This playlist (or a 4xx of the origin's), from there. `true`: it has what the request waits for.
    Playlist(Arc<Document>, How, bool),
    /// 400, in words.
    Refused(&'static str),
}

impl Hub {
    /// Knows nothing yet.
    pub(crate) fn new(documents: Documents, policy: Arc<Policy>) -> Self {
        Self { rooms: Mutex::default(), documents, policy }
    }

    /// Answers a media playlist request, now or when the stream has come so far.
    pub(crate) async fn get(&self, key: &Key) -> Result<Reply, Failure> {
        let room = room_of(&key.route).ok_or(Failure::Nonsense("no media playlist's address"))?;
        let asked = key.waits_for();
        let seen = self.newest(&room, key);
        let reply = |document: Arc<Document>, how| {
            let satisfied = asked.zip(document.facts).is_some_and(|((msn, part), facts)| facts.satisfies(msn, part));
            Reply::Playlist(document, how, satisfied)
        };
        let document = match self.decide(asked, seen.as_deref(), false) {
            Step::Give => match seen {
                Some(document) => return Ok(reply(document, How::Hit)),
                None => return Err(Failure::Abandoned),
            },
            Step::Refuse(words) => return Ok(Reply::Refused(words)),
            Step::Hold => return self.hold(key, &room, seen).await.map(|(document, how)| reply(document, how)),
            Step::Refresh => self.refresh(key, &room, seen.as_deref()).await?,
        };
        let (document, how) = document;
        match self.decide(asked, Some(&*document), true) {
            Step::Give | Step::Refresh => Ok(reply(document, how)),
            Step::Refuse(words) => Ok(Reply::Refused(words)),
            Step::Hold => self.hold(key, &room, Some(document)).await.map(|(document, how)| reply(document, how)),
        }
    }

    /// How to wait for a media file: what the playlists list is there, what they don't may be held until it is.
    pub(crate) fn wait_for(&self, route: &Route) -> Wait {
        let quick = Wait { head: QUICK_WAIT, held: false };
        let facts = room_of(route).and_then(|room| self.newest_facts(&room));
        if listed(route, facts.as_ref()) { quick } else { self.held_wait(facts.as_ref()) }
    }

    /// Forgets renditions that nobody asks for.
    pub(crate) fn sweep(&self, now: Instant) {
        self.lock().retain(|_, room| room.0.iter().flatten().any(|document| document.kept(now) < IDLE));
    }

    /// How far each known rendition is: stream, rendition, next segment's number, parts of it, age of the playlist.
    pub(crate) fn stat(&self, now: Instant) -> Vec<(String, String, u64, u32, Duration)> {
        let rooms = self.lock();
        let newest = rooms.iter().filter_map(|(key, room)| Some((key, room.newest()?)));
        let row = |((name, rendition), document): (&RoomKey, &Document)| {
            let tip = document.facts?.tip;
            Some((name.to_string(), rendition.to_string(), tip.open, tip.parts, document.kept(now)))
        };
        newest.filter_map(row).collect()
    }

    /// Decides with this playlist at hand; one that just came is the newest there is, however old.
    fn decide(&self, asked: Option<(u64, Option<u32>)>, seen: Option<&Document>, just_came: bool) -> Step {
        let facts = seen.and_then(|document| document.facts);
        let seen = facts
            .as_ref()
            .zip(seen)
            .map(|(facts, document)| (facts, if just_came { Duration::ZERO } else { document.kept(Instant::now()) }));
        playlist::decide(asked, seen, self.freshness(facts.as_ref()))
    }

    fn freshness(&self, facts: Option<&Facts>) -> Freshness {
        let newest = self.policy.fresh_playlist(facts.map(|facts| facts.target), facts.and_then(|facts| facts.part));
        Freshness { newest, satisfied: self.policy.fresh_reload() }
    }

    /// The playlist as it is now.
    async fn refresh(
        &self,
        key: &Key,
        room: &RoomKey,
        seen: Option<&Document>,
    ) -> Result<(Arc<Document>, How), Failure> {
        let facts = seen.and_then(|document| document.facts);
        let mut rules = self.policy.rules(Class::Playlist);
        rules.fresh = self.freshness(facts.as_ref()).newest;
        rules.stale = facts.map_or(rules.stale, |facts| facts.target);
        let wait = Wait { head: QUICK_WAIT, held: false };
        let (document, how) = self.documents.get(&key.without_waiting(), &rules, wait).await?;
        Ok((self.offer(room, key, document), how))
    }

    /// Passes a wait on. When this edge leaves, whoever waits gets what there is.
    async fn hold(
        &self,
        key: &Key,
        room: &RoomKey,
        seen: Option<Arc<Document>>,
    ) -> Result<(Arc<Document>, How), Failure> {
        let facts = seen.as_ref().and_then(|document| document.facts);
        let rules =
            Rules { fresh: self.policy.fresh_reload(), stale: Duration::ZERO, ..self.policy.rules(Class::Playlist) };
        match self.documents.get(key, &rules, self.held_wait(facts.as_ref())).await {
            Ok((document, how)) => Ok((self.offer(room, key, document), how)),
            Err(Failure::Leaving) => {
                self.newest(room, key).or(seen).map(|document| (document, How::Stale)).ok_or(Failure::Leaving)
            }
            Err(failure) => Err(failure),
        }
    }

    fn held_wait(&self, facts: Option<&Facts>) -> Wait {
        Wait { head: self.policy.held_wait(facts.map(|facts| facts.target)), held: true }
    }

    /// Takes a playlist that came, and gives back the one to go by: this one, or for a while the one that is ahead of it.
    fn offer(&self, room: &RoomKey, key: &Key, document: Arc<Document>) -> Arc<Document> {
        let Some(facts) = document.facts else { return document };
        let now = Instant::now();
        let mut rooms = self.lock();
        if rooms.len() >= ROOMS_MAX && !rooms.contains_key(room) {
            return document;
        }
        let Some(slot) = rooms.entry(room.clone()).or_default().0.get_mut(slot_of(key)) else { return document };
        match slot {
            Some(known)
                if known.facts.is_some_and(|before| {
                    stays((&before, known.head.received), (&facts, document.head.received), now)
                }) =>
            {
                Arc::clone(known)
            }
            _ => {
                *slot = Some(Arc::clone(&document));
                document
            }
        }
    }

    fn newest(&self, room: &RoomKey, key: &Key) -> Option<Arc<Document>> {
        self.lock().get(room)?.0.get(slot_of(key))?.clone()
    }

    fn newest_facts(&self, room: &RoomKey) -> Option<Facts> {
        self.lock().get(room)?.newest()?.facts
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RoomKey, Room>> {
        // Nothing panics while it holds the lock.
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// The one that is furthest, of any kind.
    fn newest(&self) -> Option<&Document> {
        let far = |document: &&Arc<Document>| document.facts.map(|facts| (facts.tip.open, facts.tip.parts));
        self.0.iter().flatten().max_by_key(far).map(|document| &**document)
    }
}

/// Whether the playlist known so far is the one to go by, though another came: it is ahead of it, which an origin that
/// lost its memory may not undo at once; or it is as far and younger, answers to different waits coming in any order.
/// Each is given by what it says and when it came.
fn stays(known: (&Facts, Instant), other: (&Facts, Instant), now: Instant) -> bool {
    let ((known, known_came), (other, other_came)) = (known, other);
    if known.is_ahead_of(other) {
        return now.saturating_duration_since(known_came) < other.target.saturating_mul(3) / 2;
    }
    !other.is_ahead_of(known) && known_came > other_came
}

/// Whether a file is there for sure: the playlists list it, or it is of a kind that is never waited for.
fn listed(route: &Route, facts: Option<&Facts>) -> bool {
    match (route, facts) {
        (Route::Hls(_, _, File::Segment(msn)), Some(facts)) => *msn < facts.tip.open,
        (Route::Hls(_, _, File::Part(msn, part)), Some(facts)) => (*msn, *part) < (facts.tip.open, facts.tip.parts),
        (Route::Hls(_, _, File::Segment(_) | File::Part(..)), None) => false,
        _ => true,
    }
}

fn slot_of(key: &Key) -> usize {
    match key.skip() {
        _ if matches!(key.route, Route::Hls(_, _, File::IFrames)) => 3,
        None => 0,
        Some(Skip::Segments) => 1,
        Some(Skip::SegmentsAndDateRanges) => 2,
    }
}

fn room_of(route: &Route) -> Option<RoomKey> {
    match route {
        Route::Hls(name, rendition, _) => Some((name.clone(), *rendition)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use media::hls::reload::Tip;

    fn facts(open: u64, parts: u32) -> Facts {
        let tip = Tip { open, parts, last_parts: 4, ended: false };
        let (target, part) = (Duration::from_secs(2), Some(Duration::from_millis(500)));
        Facts { tip, target, part, blocking: true }
    }

    /// Each playlist by segment, part, and the millisecond when it came.
    #[track_caller]
    fn check(known: (u64, u32, u64), other: (u64, u32, u64), now: u64, expected: bool) {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let (before, after) = (facts(known.0, known.1), facts(other.0, other.1));
        let stays = stays((&before, at(known.2)), (&after, at(other.2)), at(now));
        assert_eq!(stays, expected, "{known:?} then {other:?} at {now} ms");
    }

    #[test]
    fn a_playlist_gives_way_to_one_that_is_ahead_and_for_a_while_to_none_that_is_behind() {
        check((9, 1, 0), (9, 2, 1000), 1000, false);
        check((9, 1, 0), (10, 0, 1000), 1000, false);
        check((9, 1, 0), (9, 0, 2999), 2999, true);
        check((9, 1, 0), (8, 3, 3000), 3000, false);
    }

    #[test]
    fn of_two_that_are_as_far_the_younger_counts() {
        check((9, 1, 0), (9, 1, 100), 100, false);
        check((9, 1, 100), (9, 1, 0), 100, true);
        check((9, 1, 100), (9, 2, 0), 100, false);
    }

    #[test]
    fn what_the_playlist_lists_is_there_and_the_rest_may_be_waited_for() {
        let facts = facts(9, 2);
        for (file, known, unknown) in [
            ("8.m4s", true, false),
            ("9.m4s", false, false),
            ("8.3.m4s", true, false),
            ("9.1.m4s", true, false),
            ("9.2.m4s", false, false),
            ("init-0123456789abcdef.mp4", true, true),
        ] {
            let route = Route::parse(&format!("/hls/foo/source/{file}")).unwrap();
            assert_eq!((listed(&route, Some(&facts)), listed(&route, None)), (known, unknown), "{file}");
        }
    }
}
