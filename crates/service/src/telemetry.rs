//! Logs and metrics. Both are global to a process, so only the binary calls what installs them.
//!
//! Logs go to stderr: stdout is for the READY line and for what tools print.

use crate::config::{Log, LogFormat};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// Upper bounds of the buckets of every histogram, in seconds: from a cache hit to a stalled upstream.
const BUCKETS_S: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Why logs or metrics can't be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something else logs already.
    #[error("can't install the logger: {0}")]
    Log(#[from] TryInitError),
    /// The level is not one; the config's own check should have said so.
    #[error("can't read the log level: {0}")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    /// Something else counts already.
    #[error("can't install the metrics recorder: {0}")]
    Metrics(#[from] BuildError),
}

/// The process's metrics, for `/metrics`.
#[derive(Debug, Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// In the Prometheus text format.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Folds what was observed since the last time, so that memory stays bounded when nobody scrapes.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }

    /// Metrics that nothing global feeds, for tests and embedders.
    pub fn detached() -> Self {
        Self(PrometheusBuilder::new().build_recorder().handle())
    }
}

/// Sends logs to stderr. Only the binary calls this, once.
pub fn install_logger(log: &Log) -> Result<(), Error> {
    let filter = EnvFilter::builder().parse(&log.level)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Human => builder.with_ansi(std::io::stderr().is_terminal()).finish().try_init()?,
        LogFormat::Json => builder.json().finish().try_init()?,
    }
    Ok(())
}

/// Collects what the `metrics` macros report. Only the binary calls this, once.
pub fn install_metrics() -> Result<Metrics, Error> {
    Ok(Metrics(PrometheusBuilder::new().set_buckets(&BUCKETS_S)?.install_recorder()?))
}
