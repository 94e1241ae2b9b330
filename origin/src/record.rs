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
mod stores;
mod tape;
mod upload;

pub(crate) use ledger::asset_id;
pub(crate) use replay::{Failure as ReplayFailure, Reading, Replay};
pub(crate) use tape::Tape;

use catalog::Catalog;
use finish::Files;
use keep::{Item, Keeper};
use ledger::{End, Ledger, Line, Reason};
use log::Log;
use media::hls::compact_date;
use media::name::StreamName;
use metrics::{counter, gauge};
use reconcile::{Held, Reconciler};
use service::config::{Config, Record};
use shelf::Shelf;
use spool::{Place, Spool};
use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
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

/// How long leaving waits for what is on its way to the stores; the rest is stored after the next start.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

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
    backlog: Backlog,
    /// Sessions that an earlier process left, until their streams are known to go on or not.
    left: Mutex<Vec<(Spool, Ledger)>>,
    tasks: TaskTracker,
    /// From then on nothing that failed is tried again.
    shutdown: CancellationToken,
    /// From then on nothing is waited for.
    abandon: CancellationToken,
}

/// What waits on disk for the stores.
#[derive(Debug, Default)]
struct Backlog {
    bytes: AtomicU64,
}

/// How a stream's recording is, as `/stat` says it.
#[derive(Debug)]
pub(crate) struct Status {
    words: Mutex<String>,
    shelf: Shelf,
}

impl Recorder {
    /// A recorder that keeps below `data_dir/recording` what is not stored yet, and takes up what is there.
    pub(crate) fn open(config: &Config, shutdown: CancellationToken) -> Self {
        let dir = config.data_dir.join(FOLDER);
        let sessions = folders(&dir).into_iter().flat_map(|stream| folders(&stream)).map(Spool::at);
        let left: Vec<(Spool, Ledger)> = sessions.map(|spool| (spool.clone(), spool.ledger())).collect();
        let (stores, held) = (Arc::new(Stores::of(config)), Arc::new(Held::default()));
        left.iter().for_each(|(_, ledger)| held.insert((ledger.name.clone(), ledger.session.clone())));
        let recorder = Self(Arc::new(Shared {
            dir,
            stores: stores.clone(),
            held: held.clone(),
            lost: Duration::from_secs(config.record_lost_s),
            catalog: Catalog::default(),
            backlog: Backlog::default(),
            left: Mutex::new(left),
            tasks: TaskTracker::new(),
            shutdown: shutdown.clone(),
            abandon: CancellationToken::new(),
        }));
        let shared = recorder.0.clone();
        recorder.0.tasks.spawn(async move { shared.watch_catalog().await });
        recorder.0.tasks.spawn(Reconciler::new(config, stores, held).run(shutdown));
        recorder
    }

    /// A stream's tape. `since` is the anchor of the epoch that it goes on with, if it does: then its session goes on too.
    pub(crate) fn tape(&self, name: &StreamName, record: Record, since: Option<i64>) -> Tape {
        let words = if record == Record::Off { "off" } else { "on" };
        let status = Arc::new(Status::new(words));
        let open = since.filter(|_| record != Record::Off).and_then(|anchor| self.resume(name, anchor, &status));
        Tape { recorder: self.clone(), name: name.clone(), record, status, open }
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

    /// What `/api/streams` lists.
    pub(crate) fn assets(&self) -> Vec<serde_json::Value> {
        self.0.catalog.list()
    }

    /// An asset's address, once it can be played.
    pub(crate) fn asset_url(&self, id: &str) -> Option<String> {
        self.0.catalog.has(id).then(|| ledger::url(id))
    }

    /// Waits, not for long, until what the streams have left behind is stored. To be called when they have ended.
    pub(crate) async fn finished(&self) {
        self.0.tasks.close();
        if tokio::time::timeout(LEAVE_WITHIN, self.0.tasks.wait()).await.is_err() {
            self.0.abandon.cancel();
            self.0.tasks.wait().await;
        }
    }

    /// Begins a session.
    fn begin(&self, name: &StreamName, record: Record, status: &Arc<Status>, now: i64) -> Open {
        status.set("on");
        // Two origins may record the same stream into the same store at the same moment.
        let own = RandomState::new().hash_one(now) & 0xFFFF;
        let session = format!("{}-{own:04x}", compact_date(now));
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
        status.shelf.went_before(ledger.entries());
        let mut open = self.start(spool, ledger, status);
        (open.anchor, open.noted, open.sizes) = (Some(anchor), noted.into_iter().collect(), sizes);
        Some(open)
    }

    /// Starts what is behind a session.
    fn start(&self, spool: Spool, ledger: Ledger, status: &Arc<Status>) -> Open {
        self.0.held.insert((ledger.name.clone(), ledger.session.clone()));
        let (items, queue) = mpsc::channel(ITEMS_WAITING_MAX);
        let (queued, end) = (Arc::new(AtomicU64::new(0)), Arc::new(OnceLock::new()));
        let session = Session {
            shared: self.0.clone(),
            spool,
            ledger,
            status: status.clone(),
            queue,
            queued: queued.clone(),
            end: end.clone(),
        };
        self.0.tasks.spawn(session.run());
        let (sizes, noted) = Default::default();
        Open { items, queued, end, anchor: None, sizes, noted, shape: None }
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
    status: Arc<Status>,
    queue: mpsc::Receiver<Item>,
    queued: Arc<AtomicU64>,
    end: Arc<OnceLock<End>>,
}

impl Session {
    /// Until all is put down and stored, or the process ends.
    async fn run(self) {
        let Self { shared, spool, ledger, status, queue, queued, end } = self;
        let (stores, log) = (shared.stores.clone(), Log::new(&ledger, reconcile::utc_ms(SystemTime::now())));
        let held = (ledger.name.clone(), ledger.session.clone());
        let live = tokio::spawn(log::live(stores.clone(), log.clone(), reconcile::every(shared.lost)));
        let _live = AbortOnDrop(live);
        let (mut uploads, mut storing) = (BTreeMap::new(), tokio::task::JoinSet::new());
        for place in [Place::Ingest, Place::Egress] {
            let (sender, files) = mpsc::unbounded_channel();
            uploads.insert(place, sender);
            storing.spawn(upload::upload(shared.clone(), place, files));
        }
        storing.spawn(log::keep(stores, log.clone(), shared.shutdown.clone(), shared.abandon.clone()));
        let mut keeper =
            Keeper::new(shared.clone(), spool.clone(), ledger, status.clone(), uploads, log.clone(), queued);
        let kept = tokio::task::spawn_blocking(move || {
            keeper.take_up();
            keeper.record(queue);
            keeper.end(end.get().copied())
        });
        let kept = kept.await;
        // Also after a panic there: nothing more comes.
        log.close();
        let stored = storing.join_all().await.into_iter().all(|stored| stored);
        if let Ok(ledger) = kept
            && let Some(end) = ledger.end
            && stored
            && shared.finish(&ledger, end, &status).await
        {
            // Gone together with its last file in the stores.
            let _ = tokio::task::spawn_blocking(move || spool.remove()).await;
            shared.held.remove(&held);
        }
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
    async fn finish(&self, ledger: &Ledger, end: End, status: &Status) -> bool {
        let mut failures: u32 = 0;
        loop {
            let words = status.words();
            let finished = tokio::select! {
                finished = finish::finish(&self.stores, ledger, Files::Stored, end, &words) => finished,
                () = self.abandon.cancelled() => return false,
            };
            match finished {
                Ok(entry) => {
                    entry.inspect(|entry| self.catalog.add(entry));
                    return true;
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    counter!("live360_recording_store_failures_total").increment(1);
                    tracing::error!(stream = ledger.name, %error, failures, "can't finish a recording yet");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(upload::pause(failures)) => {}
                () = self.shutdown.cancelled() => return false,
            }
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
pub(crate) async fn reconcile(config: &Config, shutdown: CancellationToken) {
    Reconciler::new(config, Arc::new(Stores::of(config)), Arc::default()).run(shutdown).await;
}

impl Backlog {
    /// So many bytes more wait. With too many, why recording stops.
    fn add(&self, bytes: u64) -> Option<&'static str> {
        let all = self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        gauge!("live360_recording_backlog_bytes").set(all as f64);
        (all > BACKLOG_BYTES_MAX).then_some("too much waits for the store")
    }

    fn remove(&self, bytes: u64) {
        let all = self.bytes.fetch_sub(bytes, Ordering::Relaxed).saturating_sub(bytes);
        gauge!("live360_recording_backlog_bytes").set(all as f64);
    }
}

impl Status {
    fn new(words: &str) -> Self {
        Self { words: Mutex::new(words.to_owned()), shelf: Shelf::default() }
    }

    /// What has been recorded.
    pub(crate) fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// Whether what comes will be recorded.
    pub(crate) fn goes_on(&self) -> bool {
        *self.lock() == "on"
    }

    /// In words: `on`, `off` or `stopped: …`.
    pub(crate) fn words(&self) -> String {
        self.lock().clone()
    }

    fn stopped(&self) -> bool {
        self.lock().starts_with("stopped")
    }

    fn set(&self, words: &str) {
        words.clone_into(&mut self.lock());
    }

    /// The recording stops, with an alarm the first time.
    fn stop(&self, name: &str, why: &str) {
        let mut words = self.lock();
        if !words.starts_with("stopped") {
            *words = format!("stopped: {why}");
            tracing::error!(stream = name, "recording stopped: {why}; the live stream goes on");
            counter!("live360_recordings_stopped_total").increment(1);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, String> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The folders in a folder; none if there is none.
fn folders(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}
