//! The live playlists of every stream: viewers park here, a few followers ask upstream.
//!
//! A stream's room is opened by its first viewer and goes with its last. The decisions are [`crate::follow`]'s; the
//! asking is `room`'s. Whatever viewers ask, and however many, upstream there is one question per track and origin.

mod board;
mod parking;
mod room;

pub(crate) use board::{Board, Listed, Place};
pub(crate) use parking::Parked;

use crate::depot::Depot;
use crate::document::{Document, How};
use crate::failure::Failure;
use crate::follow::{Source, Timing, Track};
use crate::key::{Key, Skip};
use crate::ledger::Ledger;
use crate::playlist::{Step, decide};
use crate::policy::Policy;
use crate::trail::Trail;
use crate::upstream::Upstream;
use media::name::StreamName;
use media::route::{File, Route};
use parking::Parking;
use room::Room;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Most streams that are followed at a time.
const ROOMS_MAX: usize = 2048;

/// Of these, most of streams that no origin is known to have: any name that somebody makes up opens one, and those of
/// real streams are that only until the first answer.
const NEWCOMERS_MAX: usize = 256;

/// How long it is remembered of a room that made place for another that no origin had its playlist.
const ABSENT: Duration = Duration::from_millis(500);

/// Most playlists of which that is remembered.
const ABSENT_MAX: usize = 1024;

/// Lineages that one room may use up.
const LINEAGES: u32 = 1 << 12;

/// How long a room without viewers is remembered, so that what it showed doesn't go back.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Playlists by stream.
#[derive(Debug)]
pub(crate) struct Hub {
    rooms: Mutex<Rooms>,
    parking: Parking,
    /// The next room's first lineage. 0 stands for media that nobody follows.
    lineages: AtomicU32,
    shared: Arc<Shared>,
}

/// The rooms.
#[derive(Debug, Default)]
struct Rooms {
    by_name: HashMap<StreamName, Arc<Room>>,
    /// Those without a lead when last looked at, oldest first.
    newcomers: VecDeque<Arc<Room>>,
    /// Playlists that no origin had at that time.
    absent: HashMap<(StreamName, Track), Instant>,
}

/// What every room needs.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Whom to ask.
    pub(crate) upstream: Arc<Upstream>,
    /// Media that are fetched before anybody asks.
    pub(crate) depot: Arc<Depot>,
    /// The table.
    pub(crate) policy: Arc<Policy>,
    /// Pays for texts.
    pub(crate) ledger: Arc<Ledger>,
    /// After how long without a viewer a track is left.
    pub(crate) idle: Duration,
    /// Who waits for the followers when the edge ends.
    pub(crate) tasks: TaskTracker,
    /// Ends them all.
    pub(crate) stop: CancellationToken,
    /// Cancelled when viewers who wait are to be sent home.
    pub(crate) leaving: CancellationToken,
}

/// A media playlist request's end.
#[derive(Debug)]
pub(crate) enum Reply {
    /// This playlist, from there. `true`: it has what the request waits for.
    Playlist(Arc<Document>, How, bool),
    /// 400, in words.
    Refused(&'static str),
    /// 404.
    Missing,
}

impl Hub {
    /// Knows nothing yet.
    pub(crate) fn new(shared: Shared) -> Self {
        Self {
            rooms: Mutex::default(),
            parking: Parking::default(),
            lineages: AtomicU32::new(1),
            shared: Arc::new(shared),
        }
    }

    /// Answers a media playlist request of a viewer at `peer`, now or when the stream has come so far.
    pub(crate) async fn get(&self, key: &Key, peer: IpAddr, trail: &Trail) -> Result<Reply, Failure> {
        let (name, track) = Track::of(&key.route).ok_or(Failure::Nonsense("no media playlist's address"))?;
        let Some(room) = self.room(&name, track, trail)? else { return Ok(Reply::Missing) };
        let (mut board, new) = room.ask(track, trail).ok_or(Failure::Busy)?;
        let (asked, skip) = (key.waits_for(), key.skip());
        let begun = Instant::now();
        let mut waited = false;
        loop {
            let notice = board.now();
            let how = match (waited, new) {
                (false, _) => How::Hit,
                (true, true) => How::Miss,
                (true, false) => How::Collapsed,
            };
            let target = match notice.place() {
                Place::Shown(version, stale) => {
                    let facts = version.facts;
                    let satisfied = asked.is_some_and(|(msn, part)| facts.satisfies(msn, part));
                    let how = if stale { How::Stale } else { how };
                    match decide(asked, &facts) {
                        Step::Give => return Ok(Reply::Playlist(version.document(skip, &self.shared), how, satisfied)),
                        Step::Refuse(words) => return Ok(Reply::Refused(words)),
                        Step::Wait if self.shared.leaving.is_cancelled() => {
                            return Ok(Reply::Playlist(version.document(skip, &self.shared), How::Stale, false));
                        }
                        Step::Wait => facts.target,
                    }
                }
                Place::Missing => return Ok(Reply::Missing),
                Place::Failed(failure) => return Err(failure),
                Place::NotYet if self.shared.leaving.is_cancelled() => return Err(Failure::Leaving),
                Place::NotYet => self.shared.policy.segment(),
            };
            waited = true;
            let limit = self.shared.policy.parked(target);
            self.wait(&mut board, peer, begun, limit).await?;
        }
    }

    /// Where the media file of an address comes from, and whether it is there.
    pub(crate) fn place(&self, route: &Route) -> Listed {
        let number = match route {
            Route::Hls(_, _, File::Segment(msn) | File::Part(msn, _)) => *msn,
            _ => 0,
        };
        let all = || (0..self.shared.upstream.count()).collect();
        let unknown = || Listed::Unknown(Source { origins: all(), number, lineage: 0 });
        let Some((name, track)) = Track::of(route) else { return unknown() };
        let room = self.lock().by_name.get(&name).cloned();
        room.map_or_else(unknown, |room| room.place(track, route))
    }

    /// Origins of a stream, those first that lead it.
    pub(crate) fn prefer(&self, route: &Route) -> Vec<usize> {
        let (Route::Multivariant(name) | Route::Hls(name, ..) | Route::Key(name, _)) = route else { return Vec::new() };
        let room = self.lock().by_name.get(name).cloned();
        room.map(|room| room.group()).unwrap_or_default()
    }

    /// Says which origin is to lead a stream, or no longer. `false`: the stream is not followed.
    pub(crate) fn pin(&self, name: &StreamName, origin: Option<usize>) -> bool {
        let room = self.lock().by_name.get(name).cloned();
        room.is_some_and(|room| {
            room.pin(origin);
            true
        })
    }

    /// Forgets rooms that nobody was in for a while.
    pub(crate) fn sweep(&self, now: Instant) {
        let over = |name: &StreamName, room: &Arc<Room>| {
            let over = room.is_over(now, REMEMBERED);
            // Who led it is asked first for what is left of it.
            if let Some(lead) = room.group().first().filter(|_| over) {
                self.shared.depot.fetcher.favourites.answered(name, *lead, now);
            }
            over
        };
        let mut rooms = self.lock();
        rooms.by_name.retain(|name, room| !over(name, room));
        rooms.tidy(now);
    }

    /// How each known stream is doing.
    pub(crate) fn stat(&self, now: Instant) -> Vec<serde_json::Value> {
        let rooms: Vec<Arc<Room>> = self.lock().by_name.values().cloned().collect();
        rooms.iter().map(|room| room.stat(now)).collect()
    }

    /// Streams that an origin has, and how many viewers wait for each: those with the most, at most so many.
    pub(crate) fn most_watched(&self, most: usize) -> Vec<(StreamName, usize)> {
        let rooms: Vec<Arc<Room>> = self.lock().by_name.values().cloned().collect();
        let mut watched: Vec<(StreamName, usize)> = rooms.iter().filter_map(|room| room.viewers()).collect();
        watched.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        watched.truncate(most);
        watched
    }

    /// Viewers who wait.
    pub(crate) fn parked(&self) -> usize {
        self.parking.count()
    }

    /// A place for a viewer at `peer` who is to wait.
    pub(crate) fn park(&self, peer: IpAddr) -> Result<Parked<'_>, Failure> {
        self.parking.park(peer)
    }

    /// Waits for the next notice of a board.
    async fn wait(&self, board: &mut Board, peer: IpAddr, begun: Instant, limit: Duration) -> Result<(), Failure> {
        let _place = self.park(peer)?;
        let still = || Failure::StandsStill(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
        let until = begun.checked_add(limit).ok_or_else(still)?;
        let change = async {
            tokio::select! {
                changed = board.changed() => changed,
                () = self.shared.leaving.cancelled() => true,
            }
        };
        match timeout_at(until.into(), change).await {
            Ok(true) => Ok(()),
            Ok(false) if self.shared.leaving.is_cancelled() => Err(Failure::Leaving),
            // His room made place for another.
            Ok(false) => Err(Failure::Busy),
            Err(_) => Err(still()),
        }
    }

    /// A stream's room. `None`: a moment ago no origin had that track of it.
    fn room(&self, name: &StreamName, track: Track, trail: &Trail) -> Result<Option<Arc<Room>>, Failure> {
        let mut rooms = self.lock();
        if let Some(room) = rooms.by_name.get(name) {
            return Ok(Some(Arc::clone(room)));
        }
        let now = Instant::now();
        if rooms.absent.get(&(name.clone(), track)).is_some_and(|at| now.saturating_duration_since(*at) < ABSENT) {
            return Ok(None);
        }
        if !rooms.make_place(now) {
            return Err(Failure::Busy);
        }
        let lineage = self.lineages.fetch_add(LINEAGES, Ordering::Relaxed);
        let timing = Timing { target: self.shared.policy.segment(), idle: self.shared.idle };
        let room = Arc::new(Room::new(name.clone(), timing, lineage, trail.clone(), Arc::clone(&self.shared)));
        rooms.by_name.insert(name.clone(), Arc::clone(&room));
        rooms.newcomers.push_back(Arc::clone(&room));
        Ok(Some(room))
    }

    fn lock(&self) -> MutexGuard<'_, Rooms> {
        // Nothing panics while it holds the lock.
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rooms {
    /// Whether there is place for one more, after some made it that nobody needs. `false`: none, for the moment.
    fn make_place(&mut self, now: Instant) -> bool {
        if self.newcomers.len() >= NEWCOMERS_MAX {
            self.tidy(now);
        }
        if self.newcomers.len() >= NEWCOMERS_MAX {
            // Never one that still waits for its first answer: where all are new, none would ever get one.
            let vain = self.newcomers.iter().position(|room| room.is_in_vain());
            let Some(room) = vain.and_then(|vain| self.newcomers.remove(vain)) else { return false };
            self.by_name.remove(room.name());
            for track in room.close() {
                if self.absent.len() < ABSENT_MAX {
                    self.absent.insert((room.name().clone(), track), now);
                }
            }
        }
        if self.by_name.len() >= ROOMS_MAX {
            // Rooms that are only remembered make place.
            self.by_name.retain(|_, room| !room.is_over(now, Duration::ZERO));
        }
        self.by_name.len() < ROOMS_MAX
    }

    /// Forgets which rooms were new and are no longer, or no longer there, and what was absent too long ago.
    fn tidy(&mut self, now: Instant) {
        let there = &self.by_name;
        self.newcomers
            .retain(|room| there.get(room.name()).is_some_and(|known| Arc::ptr_eq(known, room)) && room.has_no_lead());
        self.absent.retain(|_, at| now.saturating_duration_since(*at) < ABSENT);
    }
}
