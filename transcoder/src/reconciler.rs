//! Looks through the stores for work that no message speaks of: the store is the truth, messages are hints.
//!
//! It only sends messages, and writes entries that a crash kept from being written; the work is done by who receives them.
//! Every worker looks, at different moments.

use crate::entry::{self, Asset};
use crate::finisher;
use crate::jobs::{self, JobState};
use crate::meters::{JobCounts, Meters};
use crate::source::{self, Ended, Kind};
use crate::stores::{Failed, Stores};
use crate::trouble::{Step, Trouble, patiently};
use crate::worker::{fail, missing};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, UNIX_EPOCH};
use store::{Depth, Entry, Place, QueueAddress};
use tokio::time::Instant;

/// How long a source that was spoken of is not spoken of again: planning a long one takes minutes.
const SPEAK_AGAIN: Duration = Duration::from_secs(900);

/// How long an upload in a folder must not have been written to. Beside it must look the same twice.
const COPYING: Duration = Duration::from_secs(10);

/// A source that waits this long may have no message, however full the queue is.
const FORGOTTEN: Duration = Duration::from_secs(1800);

/// How long it is taken for granted that an entry stays right.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

/// How long after a job has failed its entry, if there is none, is written.
const UNSAID: Duration = Duration::from_secs(24 * 3600);

/// It looks for one part in so many of the time at most: large stores are looked through less often.
const BUSY_ONE_IN: u32 = 20;

/// Sources that are remembered.
const REMEMBERED_MAX: usize = 100_000;

/// Looks again and again.
#[derive(Debug)]
pub(crate) struct Reconciler {
    stores: Stores,
    meters: Meters,
    every: Duration,
    /// Whether recordings are sources, too, and not only uploads.
    pub(crate) recordings: bool,
    /// Sources by key, as they were seen last.
    seen: HashMap<String, Seen>,
    /// Jobs whose entries are right, as of then.
    settled: BTreeMap<String, Instant>,
    /// Looks in a row that found the queue empty.
    quiet: u32,
}

#[derive(Debug, Clone)]
struct Seen {
    bytes: u64,
    etag: Option<String>,
    /// The job's name, once it is known.
    job: Option<String>,
    spoken: Option<Instant>,
}

impl Reconciler {
    pub(crate) fn new(stores: Stores, meters: Meters, every: Duration) -> Self {
        Self { stores, meters, every, recordings: true, seen: HashMap::new(), settled: BTreeMap::new(), quiet: 0 }
    }

    /// Looks until it is dropped, which it may be at any moment.
    pub(crate) async fn run(mut self) {
        loop {
            let begun = Instant::now();
            if let Err(trouble) = self.look().await {
                tracing::warn!(%trouble, "looking for work failed; looking again later");
            }
            let every = self.every.max(begun.elapsed().saturating_mul(BUSY_ONE_IN));
            // Not all workers at once.
            tokio::time::sleep(every.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
        }
    }

    /// Looks once.
    pub(crate) async fn look(&mut self) -> Step<()> {
        let jobs = self.jobs().await?;
        let depth = patiently(|| self.stores.queue.depth()).await?;
        self.meters.looked(counts(&jobs), depth);
        match self.stores.queue.dead_count().await {
            Ok(count) => self.meters.dead(count),
            // Not every worker may ask there, and no work depends on it.
            Err(error) => tracing::debug!(%error, "can't count the dead messages"),
        }
        self.quiet = if depth == Depth::default() { self.quiet.saturating_add(1) } else { 0 };
        let local = matches!(self.stores.queue.address(), QueueAddress::Local);
        // SQS counts about, and late.
        let enough = if local { 1 } else { 2 };
        // A local queue takes no doubles.
        self.sources(&jobs, local || self.quiet >= enough).await?;
        self.settled.retain(|_, since| since.elapsed() < LOOK_AGAIN);
        for (job, state) in &jobs {
            let seen_to = if state.finished || state.failed {
                self.settle(job, state).await
            } else if state.planned && self.quiet >= enough {
                self.resume(job, state).await
            } else {
                Ok(())
            };
            passed_over(job, seen_to);
        }
        Ok(())
    }

    async fn jobs(&self) -> Step<BTreeMap<String, JobState>> {
        let entries = self.stores.list(jobs::FOLDER).await?;
        let mut keys: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for entry in &entries {
            let job = entry.key.split('/').nth(1).filter(|job| jobs::is_name(job));
            keys.entry(job.unwrap_or_default()).or_default().push(&entry.key);
        }
        keys.remove("");
        Ok(keys.into_iter().map(|(job, keys)| (job.to_owned(), jobs::state(job, keys))).collect())
    }

    /// Speaks of sources that nobody has planned: of all if it `may`, else of those that have waited long, once.
    async fn sources(&mut self, jobs: &BTreeMap<String, JobState>, may: bool) -> Step<()> {
        let mut found = self.stores.list(source::UPLOADS).await?;
        if self.recordings {
            found.extend(self.stores.list(source::RECORDINGS).await?);
        }
        found.retain(|entry| source::kind(&entry.key).is_some());
        let folder = matches!(self.stores.ingest.place(), Place::Folder(_));
        let mut seen = HashMap::new();
        for entry in found.into_iter().take(REMEMBERED_MAX) {
            let before =
                self.seen.remove(&entry.key).filter(|seen| (seen.bytes, &seen.etag) == (entry.bytes, &entry.etag));
            let known = before.is_some();
            let new = || Seen { bytes: entry.bytes, etag: entry.etag.clone(), job: None, spoken: None };
            let mut now = before.unwrap_or_else(new);
            if now.job.is_none() {
                now.job = match self.job_of(&entry).await {
                    Ok(job) => job,
                    Err(trouble) => {
                        passed_over(&entry.key, Err(trouble));
                        None
                    }
                };
            }
            let state = now.job.as_ref().and_then(|job| jobs.get(job));
            let open = !state.is_some_and(|state| state.planned || state.failed || state.finished);
            // In a folder a file may be half copied; whoever writes `ended.json` writes it at once.
            let copied = known && is_older(&entry, COPYING);
            let whole = copied || !folder || !matches!(source::kind(&entry.key), Some(Kind::Upload));
            let due = match now.spoken {
                Some(spoken) => may && spoken.elapsed() >= SPEAK_AGAIN,
                None => may || is_older(&entry, FORGOTTEN),
            };
            if open && whole && due {
                tracing::info!(key = entry.key, "a source that nobody has planned yet");
                self.stores.send_source(&entry.key).await?;
                now.spoken = Some(Instant::now());
            }
            seen.insert(entry.key, now);
        }
        self.seen = seen;
        Ok(())
    }

    /// The job of a source; none: it says nothing that can be read, which planning finds out in words.
    async fn job_of(&self, entry: &Entry) -> Step<Option<String>> {
        match source::kind(&entry.key) {
            Some(Kind::Upload) => {
                let since = entry.modified.duration_since(UNIX_EPOCH).unwrap_or_default();
                let modified_ms = i64::try_from(since.as_millis()).unwrap_or(0);
                Ok(Some(source::upload_job(&entry.key, entry.etag.as_deref(), modified_ms)))
            }
            Some(Kind::Recording { name, session }) => {
                let text = patiently(|| self.stores.ingest.get_all(&entry.key, source::ENDED_BYTES_MAX)).await?;
                let ended = text.map(|text| Ended::parse(&entry.key, &text));
                Ok(ended.map(|ended| match ended {
                    Ok(ended) => ended.job(),
                    Err(_) => crate::probing::nameless(&name, &session),
                }))
            }
            None => Ok(None),
        }
    }

    /// Sends what is missing of a job.
    async fn resume(&self, job: &str, state: &JobState) -> Step<()> {
        let mut tasks = match self.stores.plan(job).await {
            Ok(Some(plan)) => missing(state, &plan),
            Ok(None) => return Ok(()),
            // Who works on a task says so, and counts it.
            Err(Trouble::Fault(_)) => BTreeSet::new(),
            Err(trouble) => return Err(trouble),
        };
        if tasks.is_empty() {
            // Any of them finishes the job.
            tasks.insert(0);
        }
        tracing::info!(job, tasks = tasks.len(), "a job that nobody works on: its tasks are sent again");
        self.stores.send_tasks(job, &tasks).await
    }

    /// Why a job has failed. If it has no `entry` that was removed with it, or never written, which shows by the time.
    async fn failed(&self, job: &str, entry: bool) -> Step<Option<Failed>> {
        let failed = self.stores.failed(job).await?;
        Ok(if entry { Some(failed.unwrap_or_default()) } else { failed.filter(|failed| failed.is_within(UNSAID)) })
    }

    /// Sees to it that an entry says how its job ended.
    async fn settle(&mut self, job: &str, state: &JobState) -> Step<()> {
        if self.settled.contains_key(job) {
            return Ok(());
        }
        let said = self.stores.entry(job).await?.as_deref().and_then(entry::state_of);
        let index = entry::file_key(job, &media::route::File::Playlist.to_string());
        if state.finished && said.as_deref() != Some("ready") {
            // An asset that was removed on purpose stays so.
            if patiently(|| self.stores.egress.head(&index)).await?.is_some()
                && let Some(plan) = self.stores.plan(job).await?
            {
                finisher::ready(&self.stores, &Asset::of(&plan)).await?;
            }
        } else if !state.finished
            && (said.as_deref() == Some("transcoding") || (said.is_none() && !state.expired))
            && let Some(failed) = self.failed(job, said.is_some()).await?
        {
            let planned = if state.planned { self.stores.plan(job).await? } else { None };
            let known =
                || Asset { id: job.to_owned(), name: failed.name.clone(), start_ms: failed.start_ms, duration_s: None };
            let asset = planned.as_ref().map(Asset::of).or_else(|| (!failed.name.is_empty()).then(known));
            if let Some(asset) = asset {
                fail(&self.stores, &asset, &failed.why).await?;
            }
        }
        // What has failed may be tried again.
        if state.finished {
            self.settled.insert(job.to_owned(), Instant::now());
        }
        Ok(())
    }
}

/// What is wrong with one job or source must not keep others from being looked at.
fn passed_over(what: &str, seen_to: Step<()>) {
    // Stores that are away were waited for: this is about that one thing.
    if let Err(trouble) = seen_to {
        tracing::warn!(what, why = %trouble, "passed over");
    }
}

/// `true` also for what is dated after now: a camera's clock, which a copy has kept.
fn is_older(entry: &Entry, than: Duration) -> bool {
    entry.modified.elapsed().map_or(true, |age| age >= than)
}

fn counts(jobs: &BTreeMap<String, JobState>) -> JobCounts {
    let mut counts = JobCounts::default();
    for state in jobs.values() {
        let count = match (state.finished, state.failed) {
            (true, _) => &mut counts.finished,
            (false, true) => &mut counts.failed,
            (false, false) => &mut counts.running,
        };
        *count = count.saturating_add(1);
    }
    counts
}

#[cfg(test)]
mod tests;
