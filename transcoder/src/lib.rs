//! The VOD fleet's worker: takes jobs from the queue and makes better ladders of recordings.
//!
//! In this version it opens its queue, on disk or SQS, and waits to be told to leave: nothing sends jobs yet. Its place in
//! every process (config, readiness, `/stat`, shutdown) is the final one, so that jobs are all that a later version adds.
#![forbid(unsafe_code)]

pub mod plan;

use service::config::Config;
use store::Queue;
use tokio_util::sync::CancellationToken;

/// A worker that is ready to run.
#[derive(Debug)]
pub struct Transcoder {
    _queue: Queue,
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
}

impl Transcoder {
    /// Opens the queue, making a local one if need be. `shutdown` ends [`Transcoder::run`].
    pub async fn bind(config: &Config, shutdown: CancellationToken) -> Result<Self, Error> {
        let url = config.queue.url.clone();
        let opened = Queue::open(&url, &config.data_dir).await;
        let queue = opened.map_err(|source| Error::Queue { url: url.clone(), source })?;
        Ok(Self { _queue: queue, url, shutdown })
    }

    /// What `/stat` shows of it.
    pub fn stat(&self) -> impl Fn() -> serde_json::Value + Send + Sync + 'static {
        let queue = self.url.clone();
        move || serde_json::json!({ "queue": queue, "jobs": null, "note": "VOD jobs come with a later version" })
    }

    /// Runs until shutdown.
    pub async fn run(self) {
        tracing::info!(queue = self.url, "transcoder is idle: VOD jobs come with a later version");
        self.shutdown.cancelled().await;
        tracing::info!("transcoder is leaving");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn config(data_dir: PathBuf) -> Config {
        Config { data_dir, ..Config::default() }
    }

    #[tokio::test]
    async fn it_makes_its_queue_and_runs_until_shutdown() {
        let folder = tempfile::tempdir().unwrap();
        let shutdown = CancellationToken::new();
        let worker = Transcoder::bind(&config(folder.path().join("data")), shutdown.clone()).await.unwrap();
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
        let error = Transcoder::bind(&config(file.clone()), CancellationToken::new()).await.unwrap_err().to_string();
        assert!(error.contains("queue.url = \"local:\"") && error.contains(&file.display().to_string()), "{error}");
    }
}
