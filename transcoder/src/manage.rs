//! What operators do with jobs: look, try again, take dead messages back.
//!
//! Works on the stores and the queue alone: no transcoder need run, and any number may.

use crate::entry::{self, Asset};
use crate::finisher;
use crate::jobs::{self, JobState};
use crate::plan::Plan;
use crate::source;
use crate::stores::{Failed, Stores};
use crate::trouble::Trouble;
use crate::worker::missing;
use crate::{Places, probing};
use std::collections::BTreeMap;
pub use store::{Dead, Depth};

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A store or the queue says no, or a document is broken.
    #[error("{0}")]
    Store(String),
    /// There is no such job.
    #[error("there is no job {0:?}; `live360 vod list` shows those that there are")]
    NoSuchJob(String),
    /// The job is finished.
    #[error("job {0} is finished: there is nothing to try again")]
    Finished(String),
    /// What is too old is not made any more.
    #[error("job {0} is older than recordings are kept (retention.*)")]
    Expired(String),
    /// It has no plan, and nothing says any more what it was to be made of.
    #[error("the source of job {0} is not there any more: drop the file again")]
    NoSource(String),
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Its source could not be planned yet.
    Planning,
    /// Its tasks are being made.
    Running,
    /// All tasks are done, playlists aren't there yet.
    Finishing,
    /// It is finished.
    Finished,
    /// It has failed.
    Failed,
}

/// A job.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its name, which is the asset's.
    pub name: String,
    /// How far it is.
    pub progress: Progress,
    /// Tasks that are done.
    pub done: usize,
    /// Tasks in all; 0 without a plan.
    pub tasks: usize,
    /// Counted errors of all its steps.
    pub errors: u32,
    /// Why it has failed.
    pub reason: Option<String>,
}

/// All that there is.
#[derive(Debug, Clone, PartialEq)]
pub struct Overview {
    /// Jobs by name.
    pub jobs: Vec<Job>,
    /// The queue.
    pub depth: Depth,
    /// Messages that were given out too often; or why they can't be listed.
    pub dead: Result<Vec<Dead>, String>,
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        Self::Store(trouble.to_string())
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Store(error.to_string())
    }
}

impl Progress {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Planning => "planning",
            Self::Running => "running",
            Self::Finishing => "finishing",
            Self::Finished => "finished",
            Self::Failed => "failed",
        }
    }

    /// Whether something is still to come.
    pub fn is_open(self) -> bool {
        !matches!(self, Self::Finished | Self::Failed)
    }
}

/// Shows all jobs. Plans of running jobs alone are read.
pub async fn overview(places: &Places) -> Result<Overview, Error> {
    let stores = stores(places);
    // Once, with the store's own patience: somebody waits at a desk.
    let entries = places.ingest.list(jobs::FOLDER)?.collect().await?;
    let mut keys: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for entry in &entries {
        if let Some(job) = entry.key.split('/').nth(1).filter(|job| jobs::is_name(job)) {
            keys.entry(job).or_default().push(&entry.key);
        }
    }
    let mut all = Vec::new();
    for (name, keys) in keys {
        let state = jobs::state(name, keys);
        all.push(job(&stores, name, &state).await?);
    }
    let depth = places.queue.depth().await?;
    let dead = places.queue.dead_letters().await.map_err(|error| error.to_string());
    Ok(Overview { jobs: all, depth, dead })
}

async fn job(stores: &Stores, name: &str, state: &JobState) -> Result<Job, Error> {
    let done = state.done.len();
    let mut reason = None;
    let tasks = if state.finished {
        done
    } else if state.planned {
        match stores.plan(name).await {
            Ok(plan) => plan.map_or(0, |plan| plan.tasks.len()),
            // One job must not keep all others from being shown.
            Err(Trouble::Fault(why) | Trouble::Machine(why)) => {
                reason = Some(why);
                0
            }
        }
    } else {
        0
    };
    let progress = match (state.finished, state.failed, state.planned) {
        (true, ..) => Progress::Finished,
        (_, true, _) => Progress::Failed,
        (.., false) => Progress::Planning,
        _ if done >= tasks && reason.is_none() => Progress::Finishing,
        _ => Progress::Running,
    };
    if progress == Progress::Failed {
        reason = stores.failed(name).await?.map(|failed| failed.why);
    }
    let errors = state.errors.values().fold(0_u32, |sum, count| sum.saturating_add(*count));
    Ok(Job { name: name.to_owned(), progress, done, tasks, errors, reason })
}

/// Tries a job again: forgets its errors and sends what is missing. Gives how many messages were sent.
pub async fn retry(places: &Places, job: &str) -> Result<usize, Error> {
    let no_such_job = || Error::NoSuchJob(job.to_owned());
    if !jobs::is_name(job) {
        return Err(no_such_job());
    }
    let stores = stores(places);
    let folder = format!("{}/{job}", jobs::FOLDER);
    let entries = places.ingest.list(&folder)?.collect().await?;
    if entries.is_empty() {
        return Err(no_such_job());
    }
    let state = jobs::state(job, entries.iter().map(|entry| entry.key.as_str()));
    if state.finished {
        return Err(Error::Finished(job.to_owned()));
    }
    if entries.iter().any(|entry| entry.key == format!("{folder}/expired.json")) {
        return Err(Error::Expired(job.to_owned()));
    }
    let plan = stores.plan(job).await?;
    let source = match &plan {
        Some(_) => None,
        None => Some(source_of(places, &stores, job).await?),
    };
    // Errors first: if this ends between, the job is still failed and can be tried again.
    let errors = format!("{folder}/errors/");
    for entry in entries.iter().filter(|entry| entry.key.starts_with(&errors)) {
        places.ingest.remove(&entry.key).await?;
    }
    places.ingest.remove(&jobs::failed_key(job)).await?;
    match (plan, source) {
        (Some(plan), _) => send(&stores, &plan, &state).await,
        (None, Some(key)) => {
            stores.send_source(&key).await?;
            Ok(1)
        }
        (None, None) => Ok(0),
    }
}

async fn send(stores: &Stores, plan: &Plan, state: &JobState) -> Result<usize, Error> {
    let mut tasks = missing(state, plan);
    if tasks.is_empty() {
        // Any of them finishes it.
        tasks.insert(0);
    }
    let transcoding = entry::State::Transcoding(plan.tasks.len());
    stores.write_entry(&Asset::of(plan), transcoding).await?;
    // Whoever worked on it may have finished it meanwhile.
    if stores.state(&plan.job).await?.finished {
        finisher::ready(stores, &Asset::of(plan)).await?;
        return Ok(0);
    }
    stores.send_tasks(&plan.job, &tasks).await?;
    Ok(tasks.len())
}

/// The key of the source that a job without a plan was to be made of.
async fn source_of(places: &Places, stores: &Stores, job: &str) -> Result<String, Error> {
    if let Some(Failed { source, .. }) = stores.failed(job).await?
        && source::kind(&source).is_some()
        && probing::find(stores, &source).await?.is_some_and(|found| found.asset.id == job)
    {
        return Ok(source);
    }
    // Errors alone don't say it.
    for folder in [source::UPLOADS, source::RECORDINGS] {
        for entry in places.ingest.list(folder)?.collect().await? {
            if source::kind(&entry.key).is_some()
                && probing::find(stores, &entry.key).await?.is_some_and(|found| found.asset.id == job)
            {
                return Ok(entry.key);
            }
        }
    }
    Err(Error::NoSource(job.to_owned()))
}

/// Puts dead messages back into the queue. Gives how many.
pub async fn redrive(places: &Places) -> Result<usize, Error> {
    let mut all: usize = 0;
    loop {
        let some = places.queue.redrive().await?;
        all = all.saturating_add(some);
        if some < store::DEAD_MAX {
            return Ok(all);
        }
    }
}

fn stores(places: &Places) -> Stores {
    let Places { ingest, egress, queue } = places.clone();
    Stores { ingest, egress, queue }
}
