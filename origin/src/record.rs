//! Recording: what came in goes to the ingest store, every rung to the egress store, and when a stream has ended its
//! playlists are written over what is there.
//!
//! A stream holds a [`Tape`], which never makes it wait. Behind it a session has one thread that puts everything down on
//! this machine's disk first (`keep`, `spool`), and one task for each store (`upload`). What has been recorded stands in
//! a journal, and what follows from it is pure (`ledger`, `flv`). When all is stored, `finish` writes what lists it. What a
//! crash left is taken up at the next start; where there is none, another process goes by the copy of the journal that
//! grows in the store (`log`, `reconcile`). What is too old is removed (`retention`).

mod catalog;
mod finish;
mod flv;
mod keep;
mod keys;
mod ledger;
mod log;
mod reconcile;
mod replay;
mod retention;
mod shelf;
mod spool;
mod status;
mod stores;
mod tape;
mod upload;

pub(crate) use ledger::asset_id;
pub(crate) use replay::{Failure as ReplayFailure, Reading, Replay};
pub(crate) use status::Status;
pub(crate) use tape::{Recording, Tape};

use catalog::Catalog;
use finish::Files;
use keep::{Item, Keeper};
use ledger::{End, Ledger, Line, Reason};
use log::Log;
use media::hls::compact_date;
use media::name::StreamName;
use metrics::{counter, gauge};
use reconcile::{Held, Reconciler};
use service::config::{Current, Record};
use service::hooks::{Event, Hooks};
use spool::{Place, Spool};
use status::Going;
use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, VecDeque};
use std::hash::BuildHasher as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};
use stores::Stores;
use tape::{ITEMS_WAITING_MAX, Open};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Bytes of all streams that may wait on disk for their stores: a day of 20 Mb/s.
const BACKLOG_BYTES_MAX: u64 = 200 << 30;

/// Where below `data_dir` is kept what is not stored yet.
const FOLDER: &str = "recording";

/// Above this part of it, in percent, a recording that has stopped doesn't go on.
const BACKLOG_PERCENT: u64 = 90;

/// How long leaving waits for what is on its way to folders; the rest is stored after the next start.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// The same with a bucket: who has one may run on a machine whose disk goes with it. The process has 100 s in all.
const LEAVE_WITHIN_BUCKET: Duration = Duration::from_secs(60);

/// Longest pause after a failure while the process leaves.
const LEAVING_PAUSE_MAX: Duration = Duration::from_secs(2);

/// Records streams. Cloning gives another handle to the same.
#[derive(Debug, Clone)]
pub(crate) struct Recorder(Arc<Shared>);

/// What sessions share.
#[derive(Debug)]
pub(crate) struct Shared {
    dir: PathBuf,
    stores: Arc<Stores>,
    /// Sessions that nobody else in this process may finish.
    held: Arc<Held>,
    /// After how long without a sign of life others take a session for lost.
    lost: Duration,
    catalog: Catalog,
    hooks: Hooks,
    backlog: Backlog,
    /// Sessions that an earlier process left, until their streams are known to go on or not.
    left: Mutex<Vec<(Spool, Ledger)>>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    /// From then on nothing that failed is tried again: with folders from shutdown, with a bucket until nothing is waited
    /// for.
    give_up: CancellationToken,
    leave_within: Duration,
    /// From then on nothing is waited for.
    abandon: CancellationToken,
}

/// What waits on disk for the stores.
#[derive(Debug, Default)]
struct Backlog {
    bytes: AtomicU64,
}

impl Recorder {
    /// A recorder that keeps below `data_dir/recording` what is not stored yet, and takes up what is there.
    pub(crate) fn open(current: &Current, hooks: Hooks, shutdown: CancellationToken) -> Self {
        let config = &current.get();
        let dir = config.data_dir.join(FOLDER);
        let sessions = folders(&dir).into_iter().flat_map(|stream| folders(&stream)).map(Spool::at);
        let left: Vec<(Spool, Ledger)> = sessions.map(|spool| (spool.clone(), spool.ledger())).collect();
        let (stores, held) = (Arc::new(Stores::of(config)), Arc::new(Held::default()));
        left.iter().for_each(|(_, ledger)| held.insert((ledger.name.clone(), ledger.session.clone())));
        let abandon = CancellationToken::new();
        let bucket = [config.ingest(), config.egress()].iter().any(|url| !url.starts_with("file:"));
        let (give_up, leave_within) =
            if bucket { (abandon.clone(), LEAVE_WITHIN_BUCKET) } else { (shutdown.clone(), LEAVE_WITHIN) };
        let recorder = Self(Arc::new(Shared {
            dir,
            stores: stores.clone(),
            held: held.clone(),
            lost: Duration::from_secs(config.record_lost_s),
            catalog: Catalog::default(),
            hooks: hooks.clone(),
            backlog: Backlog::default(),
            left: Mutex::new(left),
            tasks: TaskTracker::new(),
            shutdown: shutdown.clone(),
            give_up,
            leave_within,
            abandon,
        }));
        let shared = recorder.0.clone();
        recorder.0.tasks.spawn(async move { shared.watch_catalog().await });
        recorder.0.tasks.spawn(Reconciler::new(current.clone(), stores, held, hooks).run(shutdown));
        recorder
    }

    /// A stream's tape. `since` is the anchor of the epoch that it goes on with, if it does: then its session goes on too.
    pub(crate) fn tape(&self, name: &StreamName, record: Record, since: Option<i64>) -> Tape {
        let words = if record == Record::Off { "off" } else { "on" };
        let status = Arc::new(Status::new(words));
        let open = since.filter(|_| record != Record::Off).and_then(|anchor| self.resume(name, anchor, &status));
        Tape::new(self.clone(), name.clone(), record, status, open)
    }

    /// Finishes the sessions that no stream goes on with. To be called when all streams that go on have their tapes.
    pub(crate) fn finish_left(&self) {
        for (spool, ledger) in std::mem::take(&mut *self.left()) {
            let at_ms = spool.touched_ms();
            let status = Arc::new(Status::new("on"));
            if ledger.name.is_empty() {
                // Not even its first line is there: nothing was recorded, or it is none of ours.
                match spool.waiting() {
                    Ok(waiting) if waiting.is_empty() && spool.open_parts().is_empty() => spool.remove(),
                    _ => tracing::warn!(folder = %spool.root().display(), "this is no recording; nobody takes it up"),
                }
                continue;
            }
            tracing::info!(stream = ledger.name, session = ledger.session, "finishing a recording that was cut off");
            let open = self.start(spool, ledger, &status);
            let _ = open.end.set(End { reason: Reason::Lost, at_ms });
        }
    }

    /// Bytes on disk that wait for their stores.
    pub(crate) fn backlog(&self) -> u64 {
        self.0.backlog.bytes.load(Ordering::Relaxed)
    }

    /// What `/api/streams` lists.
    pub(crate) fn assets(
        &self,
        show: impl Fn(&str, serde_json::Value) -> Option<serde_json::Value>,
    ) -> Vec<serde_json::Value> {
        self.0.catalog.list(show)
    }

    /// An asset's address, once it can be played.
    pub(crate) fn asset_url(&self, id: &str) -> Option<String> {
        self.0.catalog.has(id).then(|| ledger::url(id))
    }

    /// Waits, no longer than leaving may take, until what the streams have left behind is stored. To be called when they
    /// have ended.
    pub(crate) async fn finished(&self) {
        self.0.tasks.close();
        let (bytes, within_s) = (self.0.backlog.bytes.load(Ordering::Relaxed), self.0.leave_within.as_secs());
        if bytes > 0 {
            tracing::info!(bytes, within_s, "leaving: storing what is recorded");
        }
        if tokio::time::timeout(self.0.leave_within, self.0.tasks.wait()).await.is_err() {
            self.0.abandon.cancel();
            self.0.tasks.wait().await;
        }
    }

    /// Begins a session.
    fn begin(&self, name: &StreamName, record: Record, status: &Arc<Status>, now: i64) -> Open {
        // Two origins may record the same stream into the same store at the same moment.
        let own = RandomState::new().hash_one(now) & 0xFFFF;
        let session = format!("{}-{own:04x}", compact_date(now));
        tracing::info!(stream = %name, session, what = ?record, "recording begins");
        let spool = Spool::at(self.0.dir.join(name.as_str()).join(&session));
        let rungs = record == Record::All;
        let line = Line::Session { name: name.to_string(), session, began_ms: now, rungs };
        let mut ledger = Ledger::default();
        ledger.enter(line.clone());
        let open = self.start(spool, ledger, status);
        // The queue is empty: there is room.
        let _ = open.items.try_send(Item::Lines(vec![line]));
        open
    }

    /// Goes on with a session that an earlier process left.
    fn resume(&self, name: &StreamName, anchor: i64, status: &Arc<Status>) -> Option<Open> {
        let mut left = self.left();
        let same = |(_, ledger): &(Spool, Ledger)| {
            ledger.name == name.as_str() && ledger.epoch.is_some_and(|(anchor_ms, _)| anchor_ms == anchor)
        };
        let index = left.iter().position(same)?;
        let (spool, ledger) = left.swap_remove(index);
        drop(left);
        tracing::info!(stream = %name, session = ledger.session, "going on with a recording");
        let noted: Vec<_> = ledger.newest().collect();
        let sizes = spool.segments();
        status.shelf().went_before(ledger.entries());
        let mut open = self.start(spool, ledger, status);
        (open.anchor, open.noted, open.sizes) = (Some(anchor), noted.into_iter().collect(), sizes);
        Some(open)
    }

    /// Starts what is behind a session.
    fn start(&self, spool: Spool, ledger: Ledger, status: &Arc<Status>) -> Open {
        self.0.held.insert((ledger.name.clone(), ledger.session.clone()));
        let (items, queue) = mpsc::channel(ITEMS_WAITING_MAX);
        let (queued, end) = (Arc::new(AtomicU64::new(0)), Arc::new(OnceLock::new()));
        let going = Going::begin(status, &ledger.name);
        status.count_in(queued.clone());
        let name = ledger.session.clone();
        let session = Session {
            shared: self.0.clone(),
            spool,
            ledger,
            going: going.clone(),
            queue,
            queued: queued.clone(),
            end: end.clone(),
        };
        self.0.tasks.spawn(session.run());
        let (sizes, noted) = Default::default();
        let (owed, look_at) = (VecDeque::new(), None);
        Open {
            session: name,
            items,
            queued,
            going,
            end,
            anchor: None,
            sizes,
            noted,
            shape: None,
            layout: None,
            owed,
            look_at,
        }
    }

    fn left(&self) -> std::sync::MutexGuard<'_, Vec<(Spool, Ledger)>> {
        self.0.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is behind a session.
struct Session {
    shared: Arc<Shared>,
    spool: Spool,
    ledger: Ledger,
    going: Arc<Going>,
    queue: mpsc::Receiver<Item>,
    queued: Arc<AtomicU64>,
    end: Arc<OnceLock<End>>,
}

impl Session {
    /// Until all is put down and stored, or the process ends.
    async fn run(mut self) {
        let (shared, spool) = (self.shared.clone(), self.spool.clone());
        let held = (self.ledger.name.clone(), self.ledger.session.clone());
        let mut log = Log::new(&self.ledger, reconcile::utc_ms(SystemTime::now()));
        let live = tokio::spawn(log::live(shared.stores.clone(), log.clone(), reconcile::every(shared.lost)));
        let _live = AbortOnDrop(live);
        let mut failures = 0;
        loop {
            let Some(end) = self.store(&log).await else { return };
            let looked = spool.clone();
            let left = tokio::task::spawn_blocking(move || looked.is_empty()).await;
            match left {
                Ok(Ok(true)) => {
                    if shared.finish(&self.ledger, end, &self.going).await {
                        // Gone together with its last file in the stores.
                        let _ = tokio::task::spawn_blocking(move || spool.remove()).await;
                        shared.held.remove(&held);
                    }
                    return;
                }
                Ok(Ok(false)) => tracing::warn!(stream = held.0, "not all of a recording could be put down: once more"),
                Ok(Err(error)) => tracing::error!(stream = held.0, %error, "can't look what is left of a recording"),
                Err(_) => return,
            }
            if !shared.pause(&mut failures).await {
                return;
            }
            // As after a restart: told from its beginning.
            log = Log::new(&self.ledger, reconcile::utc_ms(SystemTime::now()));
            (_, self.queue) = mpsc::channel(1);
        }
    }

    /// Puts down what comes until nothing more does, and stores it. `None` if not all is stored, or the stream goes on.
    async fn store(&mut self, log: &Arc<Log>) -> Option<End> {
        let Self { shared, spool, ledger, going, queue, queued, end } = self;
        let (mut uploads, mut storing) = (BTreeMap::new(), tokio::task::JoinSet::new());
        for place in [Place::Ingest, Place::Egress] {
            let (sender, files) = mpsc::unbounded_channel();
            uploads.insert(place, sender);
            storing.spawn(upload::upload(shared.clone(), place, files));
        }
        storing.spawn(log::keep(shared.stores.clone(), log.clone(), shared.give_up.clone(), shared.abandon.clone()));
        let (known, (_, closed)) = (std::mem::take(ledger), mpsc::channel(1));
        let (queue, end) = (std::mem::replace(queue, closed), end.clone());
        let mut keeper =
            Keeper::new(shared.clone(), spool.clone(), known, going.clone(), uploads, log.clone(), queued.clone());
        let kept = tokio::task::spawn_blocking(move || {
            keeper.take_up();
            keeper.record(queue);
            keeper.end(end.get().copied())
        });
        let kept = kept.await;
        // Also after a panic there: nothing more comes.
        log.close();
        let stored = storing.join_all().await.into_iter().all(|stored| stored);
        *ledger = kept.ok()?;
        ledger.end.filter(|_| stored)
    }
}

/// A task that ends with its owner.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Shared {
    /// Makes a session whole whose files are stored, however often that takes. `false` if the process ends before.
    async fn finish(&self, ledger: &Ledger, end: End, going: &Going) -> bool {
        let mut failures: u32 = 0;
        loop {
            let words = going.words();
            let finished = tokio::select! {
                finished = finish::finish(&self.stores, ledger, Files::Stored, end, &words) => finished,
                () = self.abandon.cancelled() => return false,
            };
            match finished {
                Ok(entry) => {
                    if let Some(entry) = entry {
                        self.catalog.add(&entry);
                        self.hooks.tell_surely(ready(&ledger.name, &entry)).await;
                    }
                    return true;
                }
                Err(error) => {
                    counter!("live360_recording_store_failures_total").increment(1);
                    tracing::error!(stream = ledger.name, %error, failures, "can't finish a recording yet");
                }
            }
            if !self.pause(&mut failures).await {
                return false;
            }
        }
    }

    /// Waits after one more failure until it is time to try again. `false` if that is left to the next start.
    async fn pause(&self, failures: &mut u32) -> bool {
        *failures = failures.saturating_add(1);
        let leaving = self.shutdown.is_cancelled();
        let pause = upload::pause(*failures).min(if leaving { LEAVING_PAUSE_MAX } else { Duration::MAX });
        tokio::select! {
            biased;
            () = self.give_up.cancelled() => false,
            // There is no time for a long pause any more.
            () = self.shutdown.cancelled(), if !leaving => true,
            () = tokio::time::sleep(pause) => true,
        }
    }

    /// Learns what others finish, and at the start what there is.
    async fn watch_catalog(&self) {
        let mut failing = false;
        loop {
            let look = async {
                self.catalog.refresh(&self.stores.egress().await?).await?;
                self.catalog.count(&self.stores.ingest().await?).await
            };
            let looked = tokio::select! {
                looked = look => looked,
                () = self.shutdown.cancelled() => return,
            };
            if let Err(error) = &looked
                && !failing
            {
                tracing::warn!(%error, "can't list recordings");
            }
            failing = looked.is_err();
            tokio::select! {
                () = tokio::time::sleep(self.catalog.every()) => {}
                () = self.shutdown.cancelled() => return,
            }
        }
    }
}

/// Finishes recordings whose origins are gone, and removes what is too old, until shutdown. Every origin does this by
/// itself; this is for processes beside them, so that it is done also when the last origin is gone.
pub(crate) async fn reconcile(config: Current, hooks: Hooks, shutdown: CancellationToken) {
    let stores = Arc::new(Stores::of(&config.get()));
    Reconciler::new(config, stores, Arc::default(), hooks).run(shutdown).await;
}

/// What is told of a recording that can be watched, by the entry of its asset.
fn ready(stream: &str, entry: &[u8]) -> Event {
    let entry: serde_json::Value = serde_json::from_slice(entry).unwrap_or_default();
    let of = |field: &str| entry.get(field).cloned().unwrap_or_default();
    let details = serde_json::json!({ "url": of("url"), "start": of("start"), "duration_s": of("duration_s") });
    Event::recording_ready(stream, of("id").as_str().unwrap_or_default(), details)
}

impl Backlog {
    /// So many bytes more wait. With too many, why recording stops.
    fn add(&self, bytes: u64) -> Option<&'static str> {
        let all = self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        gauge!("live360_recording_backlog_bytes").set(all as f64);
        (all > BACKLOG_BYTES_MAX).then_some("too much waits for the store")
    }

    /// Whether there is so little of it that a recording may go on.
    fn has_room(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) <= BACKLOG_BYTES_MAX / 100 * BACKLOG_PERCENT
    }

    fn remove(&self, bytes: u64) {
        let all = self.bytes.fetch_sub(bytes, Ordering::Relaxed).saturating_sub(bytes);
        gauge!("live360_recording_backlog_bytes").set(all as f64);
    }
}

/// The folders in a folder; none if there is none.
fn folders(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}
