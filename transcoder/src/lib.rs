//! The VOD fleet's worker: takes jobs from the queue and makes better ladders of recordings.
//!
//! In this version it opens the local queue and waits to be told to leave: nothing sends jobs yet. Its place in every
//! process (config, readiness, `/stat`, shutdown) is the final one, so that jobs are all that a later version adds.
#![forbid(unsafe_code)]

use service::config::Config;
use std::path::PathBuf;
use store::Files;
use tokio_util::sync::CancellationToken;

/// The folder of the local queue, below `data_dir`.
const QUEUE_FOLDER: &str = "queue";

/// A worker that is ready to run.
#[derive(Debug)]
pub struct Transcoder {
    queue: Files,
    shutdown: CancellationToken,
}

/// Why a worker can't start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The queue's folder can't be used.
    #[error("can't open the job queue in {path}: {source}; data_dir must be a folder that this process may write to")]
    Queue {
        /// The folder.
        path: PathBuf,
        /// What went wrong.
        source: store::Error,
    },
    /// A task of ours ended badly.
    #[error("opening the job queue failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl Transcoder {
    /// Opens the queue, making it if need be. `shutdown` ends [`Transcoder::run`].
    pub async fn bind(config: &Config, shutdown: CancellationToken) -> Result<Self, Error> {
        let path = config.data_dir.join(QUEUE_FOLDER);
        let opening = path.clone();
        let opened = tokio::task::spawn_blocking(move || Files::open(opening)).await?;
        let queue = opened.map_err(|source| Error::Queue { path, source })?;
        Ok(Self { queue, shutdown })
    }

    /// What `/stat` shows of it.
    pub fn stat(&self) -> impl Fn() -> serde_json::Value + Send + Sync + 'static {
        let queue = self.queue.root().display().to_string();
        move || serde_json::json!({ "queue": queue, "jobs": null, "note": "VOD jobs come with a later version" })
    }

    /// Runs until shutdown.
    pub async fn run(self) {
        tracing::info!(queue = %self.queue.root().display(), "transcoder is idle: VOD jobs come with a later version");
        self.shutdown.cancelled().await;
        tracing::info!("transcoder is leaving");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(error.contains(&format!("{}/queue", file.display())), "{error}");
        assert!(error.ends_with("data_dir must be a folder that this process may write to"), "{error}");
    }
}
