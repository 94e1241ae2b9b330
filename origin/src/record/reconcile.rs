//! Finishes recordings whose origins are gone for good, from what they left in the stores; and removes what is too old.
//!
//! Runs in every origin, and beside transcoders. Who looks first finishes; that several do does no harm. Whose origin has
//! given no sign of life for long, and of which nothing has been stored meanwhile, counts as lost. What the log lists is
//! looked for: a segment that never came to the store is a gap.

use super::finish::{Files, finish};
use super::ledger::{End, Ledger, Line, Reason};
use super::stores::Stores;
use super::{keys, log, retention};
use metrics::counter;
use service::config::{Current, Retention};
use service::hooks::Hooks;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::{Entry, Error, Objects};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// The longest and shortest time between two looks at the signs of life, and between two signs.
const EVERY_MAX: Duration = Duration::from_secs(60);
const EVERY_MIN: Duration = Duration::from_millis(500);

/// Longest time between two looks, if it is more than half of what makes a session lost: after a longer one nobody knows
/// what came and went between them.
const UNSEEN_MAX: Duration = Duration::from_secs(5);

/// How long signs of finished sessions stay: so long the recordings of a pair find each other.
const SIGNS_KEPT: Duration = Duration::from_secs(7 * 86_400);

/// How often something too old is looked for. With recordings of years in the store, that takes some hundred requests.
const RETENTION_EVERY: Duration = Duration::from_secs(3600);

/// How often signs of life come, and are looked at.
pub(super) fn every(lost: Duration) -> Duration {
    (lost / 5).clamp(EVERY_MIN, EVERY_MAX)
}

/// A stream and its session.
pub(super) type Session = (String, String);

/// Sessions that this process records or finishes itself.
#[derive(Debug, Default)]
pub(crate) struct Held(Mutex<BTreeSet<Session>>);

impl Held {
    pub(super) fn insert(&self, session: Session) {
        self.lock().insert(session);
    }

    pub(super) fn remove(&self, session: &Session) {
        self.lock().remove(session);
    }

    pub(super) fn all(&self) -> BTreeSet<Session> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a session turns out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Something was stored lately; how its folder is now.
    Alive(Folder),
    /// It is finished.
    Ended,
    /// Nothing was stored for long; the last at this time.
    Lost(SystemTime),
}

/// What changes when something is stored in a session's folder: how many objects it has, and the date of the newest.
type Folder = (usize, SystemTime);

/// A sign of life as it is, and since when.
#[derive(Debug)]
struct Seen {
    etag: Option<String>,
    modified: SystemTime,
    /// When it, or something in its session's folder, was first seen to be as it is.
    since: Instant,
    /// How the folder was then, if it was looked at.
    folder: Option<Folder>,
}

/// What is known of signs of life. How long one stays the same is measured here, with our own clock: the store's may
/// differ, and while the store is away nobody can give a sign.
#[derive(Debug, Default)]
struct Watch {
    signs: BTreeMap<Session, Seen>,
    looked: Option<Instant>,
}

impl Watch {
    /// Takes a listing of all signs, asked for and answered at these times. Returns the sessions whose signs have been
    /// the same for more than `lost`, with their dates, without those of which we know better.
    fn look(
        &mut self,
        signs: &[Entry],
        known: &BTreeSet<Session>,
        (asked, answered): (Instant, Instant),
        lost: Duration,
    ) -> Vec<(Session, SystemTime)> {
        let unseen = self.looked.map(|last| asked.saturating_duration_since(last));
        if unseen.is_none_or(|unseen| unseen > UNSEEN_MAX.max(lost / 2)) {
            self.restart();
        }
        self.looked = Some(answered);
        let (mut before, mut silent) = (std::mem::take(&mut self.signs), Vec::new());
        for entry in signs {
            let Some((name, session)) = keys::signed(&entry.key) else { continue };
            let session = (name.to_owned(), session.to_owned());
            if known.contains(&session) {
                continue;
            }
            let same = |seen: &Seen| seen.etag == entry.etag && seen.modified == entry.modified;
            let seen = before.remove(&session).filter(same).unwrap_or_else(|| Seen {
                etag: entry.etag.clone(),
                modified: entry.modified,
                since: answered,
                folder: None,
            });
            if asked.saturating_duration_since(seen.since) > lost {
                silent.push((session.clone(), entry.modified));
            }
            self.signs.insert(session, seen);
        }
        silent
    }

    /// A silent session's folder had something new in it.
    fn stirred(&mut self, session: &Session, folder: Folder, now: Instant) {
        if let Some(seen) = self.signs.get_mut(session) {
            (seen.since, seen.folder) = (now, Some(folder));
        }
    }

    /// Nobody could be seen: everybody has all the time again.
    fn restart(&mut self) {
        (self.signs, self.looked) = Default::default();
    }
}

/// Judges a session whose sign of life has long been the same by the objects in its folder, and by how that was when the
/// waiting began. Where nobody has looked then, the objects' dates must do, for this once.
fn judge(objects: &[Entry], sign: SystemTime, before: Option<Folder>, now: SystemTime, lost: Duration) -> Verdict {
    if objects.iter().any(|entry| keys::within(&entry.key).is_some_and(|(.., name)| name == "ended.json")) {
        return Verdict::Ended;
    }
    // The last thing stored says when the recording ended; the sign may have come long after, while nobody published.
    let newest = objects.iter().map(|entry| entry.modified).max().unwrap_or(sign);
    let folder = (objects.len(), newest);
    let still = before.map_or_else(|| is_older(newest, now, lost), |before| before == folder);
    if still { Verdict::Lost(newest) } else { Verdict::Alive(folder) }
}

/// `false` also for what is dated after now: clocks differ.
pub(super) fn is_older(at: SystemTime, now: SystemTime, than: Duration) -> bool {
    now.duration_since(at).is_ok_and(|age| age > than)
}

/// What a lost session has recorded: its log, and the files of what came in.
async fn ledger(ingest: &Objects, (name, session): &Session, objects: &[Entry]) -> Result<Ledger, Error> {
    let mut ledger = log::read(ingest, name, session).await?;
    if ledger.name.is_empty() {
        (ledger.name, ledger.session) = (name.clone(), session.clone());
        let oldest = objects.iter().map(|entry| entry.modified).min().unwrap_or(UNIX_EPOCH);
        ledger.began_ms = utc_ms(oldest);
    }
    for entry in objects {
        if let Some(number) = keys::within(&entry.key).and_then(|(.., name)| keys::part_number(name)) {
            ledger.enter(Line::Part { number, bytes: entry.bytes });
        }
    }
    // What the log lists and the store lacks died with its disk.
    let stored: BTreeSet<u64> =
        objects.iter().filter_map(|entry| keys::part_number(keys::within(&entry.key)?.2)).collect();
    ledger.parts.retain(|number, _| stored.contains(number));
    Ok(ledger)
}

/// One that looks.
pub(super) struct Reconciler {
    pub(super) stores: Arc<Stores>,
    pub(super) held: Arc<Held>,
    lost: Duration,
    hooks: Hooks,
    /// Says how long recordings are kept, each time that it is looked.
    config: Current,
    /// Sessions that are known to be finished.
    finished: BTreeSet<Session>,
    watch: Watch,
}

impl Reconciler {
    pub(super) fn new(config: Current, stores: Arc<Stores>, held: Arc<Held>, hooks: Hooks) -> Self {
        let lost = Duration::from_secs(config.get().record_lost_s);
        let (finished, watch) = Default::default();
        Self { stores, held, lost, config, hooks, finished, watch }
    }

    /// Until shutdown.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let work = async {
            let mut look = interval(every(self.lost));
            look.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let (mut failing, mut retained): (bool, Option<(Instant, Retention)>) = (false, None);
            loop {
                look.tick().await;
                let mut looked = self.look(SystemTime::now(), Instant::now()).await;
                let retention = self.config.get().retention.clone();
                let done = |(at, by): &(Instant, Retention)| at.elapsed() < RETENTION_EVERY && *by == retention;
                if !retained.as_ref().is_some_and(done) {
                    let enforced = retention::enforce(&self.stores, &retention, &self.held.all(), self.lost).await;
                    // Where nothing works, the store is away, and the next look tries both again.
                    if looked.is_ok() || enforced.is_ok() {
                        retained = Some((Instant::now(), retention));
                    }
                    looked = looked.and(enforced);
                }
                match &looked {
                    Err(error) if !failing => tracing::warn!(%error, "can't look after recordings"),
                    Err(error) => tracing::debug!(%error, "can't look after recordings either"),
                    Ok(()) => {}
                }
                failing = looked.is_err();
            }
        };
        tokio::select! {
            () = work => {}
            () = shutdown.cancelled() => {}
        }
    }

    /// Finishes what is lost. One that can't be finished keeps no other from it. `asked` is now by our own clock.
    pub(super) async fn look(&mut self, now: SystemTime, asked: Instant) -> Result<(), Error> {
        let began = Instant::now();
        let looked = async {
            let ingest = self.stores.ingest().await?;
            Ok((ingest.list(keys::SIGNS)?.collect().await?, ingest))
        };
        let (signs, ingest) = match looked.await {
            Ok(looked) => looked,
            Err(error) => {
                self.watch.restart();
                return Err(error);
            }
        };
        let answered = asked.checked_add(began.elapsed()).unwrap_or(asked);
        let there = |session: &Session| signs.iter().any(|entry| entry.key == keys::sign(&session.0, &session.1));
        self.finished.retain(there);
        let known = self.finished.union(&self.held.all()).cloned().collect();
        let mut result = Ok(());
        for (session, sign) in self.watch.look(&signs, &known, (asked, answered), self.lost) {
            match self.take(&ingest, &session, sign, now).await {
                Ok(None) => drop(self.finished.insert(session)),
                Ok(Some(folder)) => self.watch.stirred(&session, folder, answered),
                Err(error) if error.is_away() || error.is_full() => {
                    // Neither can the others give signs.
                    self.watch.restart();
                    return Err(error);
                }
                Err(error) => {
                    self.watch.signs.remove(&session);
                    let (stream, session) = &session;
                    tracing::warn!(stream, session, %error, "can't finish a lost recording");
                    result = Err(error);
                }
            }
        }
        for entry in signs.iter().filter(|entry| is_older(entry.modified, now, SIGNS_KEPT)) {
            let session = keys::signed(&entry.key).map(|(name, session)| (name.to_owned(), session.to_owned()));
            if session.is_some_and(|session| self.finished.contains(&session)) {
                ingest.remove(&entry.key).await?;
            }
        }
        result
    }

    /// Finishes a session if it is lost; if it lives, says how its folder is.
    async fn take(
        &self,
        ingest: &Objects,
        session: &Session,
        sign: SystemTime,
        now: SystemTime,
    ) -> Result<Option<Folder>, Error> {
        let before = self.watch.signs.get(session).and_then(|seen| seen.folder);
        let objects = ingest.list(&keys::session(&session.0, &session.1))?.collect().await?;
        let at = match judge(&objects, sign, before, now, self.lost) {
            Verdict::Alive(folder) => return Ok(Some(folder)),
            Verdict::Ended => return Ok(None),
            Verdict::Lost(at) => at,
        };
        let ledger = ledger(ingest, session, &objects).await?;
        let end = ledger.end.unwrap_or(End { reason: Reason::Lost, at_ms: utc_ms(at) });
        let asset = finish(&self.stores, &ledger, Files::Unknown, end, "on").await?;
        counter!("live360_recordings_lost_total").increment(1);
        let (stream, session) = session;
        if let Some(entry) = &asset {
            self.hooks.tell_surely(super::ready(stream, entry)).await;
        }
        tracing::warn!(
            stream,
            session,
            playable = asset.is_some(),
            "the origin of this recording is gone: it is finished as far as it is stored"
        );
        Ok(None)
    }
}

/// UTC ms.
pub(super) fn utc_ms(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
