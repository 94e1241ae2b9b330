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
use service::config::{Config, Retention};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::{Entry, Error, Objects};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// The longest and shortest time between two looks at the signs of life, and between two signs.
const EVERY_MAX: Duration = Duration::from_secs(60);
const EVERY_MIN: Duration = Duration::from_millis(500);

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
    /// Something was stored lately.
    Alive,
    /// It is finished.
    Ended,
    /// Nothing was stored for long; the last at this time.
    Lost(SystemTime),
}

/// Sessions whose sign of life is older than `lost`, without those of which we know better.
fn silent(signs: &[Entry], known: &BTreeSet<Session>, now: SystemTime, lost: Duration) -> Vec<(Session, SystemTime)> {
    let session = |entry: &Entry| {
        let (name, session) = keys::signed(&entry.key)?;
        let session = (name.to_owned(), session.to_owned());
        (is_older(entry.modified, now, lost) && !known.contains(&session)).then_some((session, entry.modified))
    };
    signs.iter().filter_map(session).collect()
}

/// Judges a session by the objects in its folder and its last sign of life.
fn judge(objects: &[Entry], sign: SystemTime, now: SystemTime, lost: Duration) -> Verdict {
    if objects.iter().any(|entry| keys::within(&entry.key).is_some_and(|(.., name)| name == "ended.json")) {
        return Verdict::Ended;
    }
    let newest = objects.iter().map(|entry| entry.modified).max().unwrap_or(sign);
    // The last thing stored says when the recording ended; the sign may have come long after, while nobody published.
    if is_older(newest, now, lost) && is_older(sign, now, lost) { Verdict::Lost(newest) } else { Verdict::Alive }
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
    retention: Retention,
    /// Sessions that are known to be finished.
    finished: BTreeSet<Session>,
}

impl Reconciler {
    pub(super) fn new(config: &Config, stores: Arc<Stores>, held: Arc<Held>) -> Self {
        let lost = Duration::from_secs(config.record_lost_s);
        Self { stores, held, lost, retention: config.retention.clone(), finished: BTreeSet::new() }
    }

    /// Until shutdown.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let work = async {
            let mut look = interval(every(self.lost));
            look.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let (mut failing, mut retained): (bool, Option<Instant>) = (false, None);
            loop {
                look.tick().await;
                let mut looked = self.look(SystemTime::now()).await;
                if looked.is_ok() && retained.is_none_or(|at| at.elapsed() >= RETENTION_EVERY) {
                    retained = Some(Instant::now());
                    looked = retention::enforce(&self.stores, &self.retention, &self.held.all(), self.lost).await;
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

    /// Finishes what is lost. One that can't be finished keeps no other from it.
    pub(super) async fn look(&mut self, now: SystemTime) -> Result<(), Error> {
        let ingest = self.stores.ingest().await?;
        let signs = ingest.list(keys::SIGNS)?.collect().await?;
        let there = |session: &Session| signs.iter().any(|entry| entry.key == keys::sign(&session.0, &session.1));
        self.finished.retain(there);
        let known = self.finished.union(&self.held.all()).cloned().collect();
        let mut result = Ok(());
        for (session, sign) in silent(&signs, &known, now, self.lost) {
            match self.take(&ingest, &session, sign, now).await {
                Ok(true) => drop(self.finished.insert(session)),
                Ok(false) => {}
                Err(error) => result = Err(error),
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

    /// Finishes a session if it is lost; says whether it is finished.
    async fn take(
        &self,
        ingest: &Objects,
        session: &Session,
        sign: SystemTime,
        now: SystemTime,
    ) -> Result<bool, Error> {
        let objects = ingest.list(&keys::session(&session.0, &session.1))?.collect().await?;
        let at = match judge(&objects, sign, now, self.lost) {
            Verdict::Alive => return Ok(false),
            Verdict::Ended => return Ok(true),
            Verdict::Lost(at) => at,
        };
        let ledger = ledger(ingest, session, &objects).await?;
        let end = ledger.end.unwrap_or(End { reason: Reason::Lost, at_ms: utc_ms(at) });
        let asset = finish(&self.stores, &ledger, Files::Unknown, end, "on").await?;
        counter!("live360_recordings_lost_total").increment(1);
        let (stream, session) = session;
        tracing::warn!(
            stream,
            session,
            playable = asset.is_some(),
            "the origin of this recording is gone: it is finished as far as it is stored"
        );
        Ok(true)
    }
}

/// UTC ms.
pub(super) fn utc_ms(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
