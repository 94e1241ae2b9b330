//! The VOD fleet's worker: makes assets with a better ladder of recordings, and of files that people drop.
//!
//! The stores are the truth, messages are hints: whoever has one looks up what is there and makes what is missing, and every
//! object is created once under its final name. So workers may come, go and freeze as they like.
//!
//! The pure part, which decides (and touches nothing): [`event`] (messages), [`source`] (what is a source, names of jobs), [`ladder`],
//! [`planning`] (`plan`, `output_time(&Run, source_pts)`, `Plan::{parse, check, to_json}`; tasks never span runs), [`facts`]
//! (`head` is put in front of each picture segment's chunks, so that `read_segment` knows a segment that is there already;
//! `hash` names inits), [`finishing`], [`thumbs`] and [`jobs`] (keys below `jobs/`, `state`, `missing`, `after_error`); also `work` (what a
//! task lacks), `packing` (units to segments), `entry` and the decision in `leaving`.
//!
//! The acting part: `worker` (messages) calls `probing`, `task` and `finisher`, which drive a child (`drive`) that reads through
//! `reader`; `reconciler` finds what no message speaks of; `stores` has the documents, `trouble` the patience; [`manage`] is what
//! operators do. `protect` says what is encrypted, and with what.
#![forbid(unsafe_code)]

mod drive;
mod entry;
pub mod event;
pub mod facts;
mod finisher;
pub mod finishing;
pub mod jobs;
pub mod ladder;
mod leaving;
pub mod manage;
mod meters;
mod packing;
pub mod plan;
pub mod planning;
mod probing;
mod protect;
mod reader;
mod reconciler;
pub mod source;
mod stores;
mod task;
pub mod thumbs;
mod trouble;
mod work;
mod worker;

use crate::leaving::Leaving;
use crate::meters::Meters;
use crate::protect::Protecting;
use crate::reconciler::Reconciler;
use crate::stores::Stores;
use crate::worker::Worker;
use codec::vod::Effort;
use service::config::{self, Config};
use service::hooks::Hooks;
use service::machine::Notice;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use store::{Limits, Objects, Queue};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A worker that is ready to run.
#[derive(Debug)]
pub struct Transcoder {
    worker: Worker,
    rescan: Duration,
    url: String,
    shutdown: CancellationToken,
}

/// Why a worker can't start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The queue can't be used.
    #[error(
        "can't open the job queue queue.url = {url:?} (a local one lies in data_dir, which must be a folder that this process may write to): {source}"
    )]
    Queue {
        /// Which.
        url: String,
        /// What went wrong.
        source: store::Error,
    },
    /// A store can't be used.
    #[error("can't open {key} = {url:?}: {source}")]
    Store {
        /// The config's key.
        key: &'static str,
        /// Which.
        url: String,
        /// What went wrong.
        source: store::Error,
    },
}

/// Where a worker finds its work, and puts what it makes of it.
#[derive(Debug, Clone)]
pub struct Places {
    /// Masters, and what is noted of jobs.
    pub ingest: Objects,
    /// What viewers get.
    pub egress: Objects,
    /// Messages.
    pub queue: Queue,
}

impl Places {
    /// Opens what the config names, making a local queue if need be. Whether a bucket is there shows when it is used.
    pub async fn open(config: &Config) -> Result<Self, Error> {
        let url = config.queue.url.clone();
        let queue = Queue::open(&url, &config.data_dir).await.map_err(|source| Error::Queue { url, source })?;
        let store = async |key: &'static str, url: String| {
            Objects::open(&url, Limits::PATIENT).await.map_err(|source| Error::Store { key, url, source })
        };
        let ingest = store("storage.ingest", config.ingest()).await?;
        let egress = store("storage.egress", config.egress()).await?;
        Ok(Self { ingest, egress, queue })
    }
}

impl Transcoder {
    /// Opens stores and queue. `program` is the binary that has the command `vod-child`; `shutdown` ends
    /// [`Transcoder::run`]; `notices` are the machine's own, if it can be asked.
    pub async fn bind(
        config: &Config,
        program: PathBuf,
        shutdown: CancellationToken,
        notices: Option<watch::Receiver<Notice>>,
    ) -> Result<Self, Error> {
        Ok(Self::over(Places::open(config).await?, config, program, shutdown, notices))
    }

    /// The same over stores that are open already.
    pub fn over(
        places: Places,
        config: &Config,
        program: PathBuf,
        shutdown: CancellationToken,
        notices: Option<watch::Receiver<Notice>>,
    ) -> Self {
        let Places { ingest, egress, queue } = places;
        let worker = Worker {
            stores: Stores { ingest, egress, queue },
            program,
            ladder: config.vod.ladder.clone(),
            effort: effort(config.vod.effort),
            recordings: config.vod.sources == config::Sources::All,
            protecting: Arc::new(Protecting::new(config)),
            leaving: Leaving::new(shutdown.clone(), notices),
            meters: Meters::default(),
            visibility: Duration::from_secs(config.transcoder.hold_s),
            plan: Arc::default(),
            hooks: Hooks::default(),
        };
        let rescan = Duration::from_secs(config.rescan_s());
        Self { worker, rescan, url: config.queue.url.clone(), shutdown }
    }

    /// Tells these what happens.
    #[must_use]
    pub fn telling(mut self, hooks: Hooks) -> Self {
        self.worker.hooks = hooks;
        self
    }

    /// What `/stat` shows of it.
    pub fn stat(&self) -> impl Fn() -> serde_json::Value + Send + Sync + 'static {
        let (queue, meters) = (self.url.clone(), self.worker.meters.clone());
        move || meters.stat(&queue)
    }

    /// Works until shutdown.
    pub async fn run(self) {
        let Self { worker, rescan, url, shutdown } = self;
        tracing::info!(queue = url, "transcoder takes jobs");
        let mut reconciler = Reconciler::new(worker.stores.clone(), worker.meters.clone(), rescan);
        reconciler.recordings = worker.recordings;
        let looking = async {
            tokio::select! {
                () = reconciler.run() => {}
                () = shutdown.cancelled() => {}
            }
        };
        tokio::join!(worker.run(), looking);
        tracing::info!("transcoder has left");
    }
}

fn effort(effort: config::Effort) -> Effort {
    match effort {
        config::Effort::Veryfast => Effort::Veryfast,
        config::Effort::Fast => Effort::Fast,
        config::Effort::Medium => Effort::Medium,
        config::Effort::Slow => Effort::Slow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(data_dir: PathBuf) -> Config {
        Config { data_dir, ..Config::default() }
    }

    async fn bind(data_dir: PathBuf, shutdown: CancellationToken) -> Result<Transcoder, Error> {
        Transcoder::bind(&config(data_dir), PathBuf::from("no-program"), shutdown, None).await
    }

    #[tokio::test]
    async fn it_makes_its_queue_and_runs_until_shutdown() {
        let folder = tempfile::tempdir().unwrap();
        let shutdown = CancellationToken::new();
        let worker = bind(folder.path().join("data"), shutdown.clone()).await.unwrap();
        assert!(folder.path().join("data/queue").is_dir());
        let running = tokio::spawn(worker.run());
        shutdown.cancel();
        running.await.unwrap();
    }

    #[tokio::test]
    async fn a_queue_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = bind(file.clone(), CancellationToken::new()).await.unwrap_err().to_string();
        assert!(error.contains("queue.url = \"local:\"") && error.contains(&file.display().to_string()), "{error}");
    }
}
