//! Logs and metrics. Both are global to a process, so only the binary calls what installs them.
//!
//! Logs go to stderr: stdout is for the READY line and for what tools print. What each metric means stands in
//! `docs/metrics.md`, which is where `/metrics` has its words from (`described`).

mod described;
mod process;
mod series;

pub use series::Series;

use crate::config::{Log, LogFormat};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use std::fmt;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// Upper bounds of the buckets of every histogram, in seconds: from a cache hit to a stalled upstream, or an encoder that is
/// far behind.
const BUCKETS_S: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Why logs or metrics can't be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something else logs already.
    #[error("can't install the logger: {0}")]
    Log(#[from] TryInitError),
    /// The level is not one; the config's own check should have said so.
    #[error("can't read the log level: {0}")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    /// The level can't be changed any more.
    #[error("can't change the log level: {0}")]
    Reload(#[from] tracing_subscriber::reload::Error),
    /// Something else counts already.
    #[error("can't install the metrics recorder: {0}")]
    Metrics(#[from] BuildError),
}

/// Adds series whose number changes, at the moment when somebody looks.
type Collector = Box<dyn Fn(&mut Series) + Send + Sync>;

/// The process's metrics, for `/metrics`.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    collectors: Arc<Mutex<Vec<Collector>>>,
}

impl Metrics {
    fn new(handle: PrometheusHandle) -> Self {
        Self { handle, collectors: Arc::default() }
    }

    /// Asks this for series at every look: what comes and goes, as streams do, has no series when it is gone.
    pub fn collect(&self, collector: impl Fn(&mut Series) + Send + Sync + 'static) {
        self.collectors.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(collector));
    }

    /// In the Prometheus text format.
    pub fn render(&self) -> String {
        let mut series = Series::default();
        process::collect(&mut series);
        for collector in self.collectors.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            collector(&mut series);
        }
        let mut text = self.handle.render();
        series.render(&mut text);
        text
    }

    /// Folds what was observed since the last time, so that memory stays bounded when nobody scrapes.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// Metrics that nothing global feeds, for tests and embedders.
    pub fn detached() -> Self {
        Self::new(PrometheusBuilder::new().build_recorder().handle())
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// Changes what is logged while the process runs. Cloning gives another handle to the same logger.
#[derive(Clone)]
pub struct LogLevel(Arc<dyn Fn(EnvFilter) -> Result<(), tracing_subscriber::reload::Error> + Send + Sync>);

impl LogLevel {
    /// Logs at this level from now on; what it may be says [`crate::config::is_log_level`].
    pub fn set(&self, level: &str) -> Result<(), Error> {
        Ok((self.0)(EnvFilter::builder().parse(level)?)?)
    }

    /// One that changes nothing, for tests and embedders.
    pub fn detached() -> Self {
        Self(Arc::new(|_| Ok(())))
    }
}

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogLevel")
    }
}

/// Sends logs to stderr. Only the binary calls this, once.
pub fn install_logger(log: &Log) -> Result<LogLevel, Error> {
    let filter = EnvFilter::builder().parse(&log.level)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    Ok(match log.format {
        LogFormat::Human => {
            let builder = builder.with_ansi(std::io::stderr().is_terminal()).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.finish().try_init()?;
            LogLevel(Arc::new(move |filter| handle.reload(filter)))
        }
        LogFormat::Json => {
            let builder = builder.json().with_filter_reloading();
            let handle = builder.reload_handle();
            builder.finish().try_init()?;
            LogLevel(Arc::new(move |filter| handle.reload(filter)))
        }
    })
}

/// Collects what the `metrics` macros report. Only the binary calls this, once.
pub fn install_metrics() -> Result<Metrics, Error> {
    let metrics = Metrics::new(PrometheusBuilder::new().set_buckets(&BUCKETS_S)?.install_recorder()?);
    described::describe();
    Ok(metrics)
}
