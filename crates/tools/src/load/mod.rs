//! `live360 load URL`: many viewers that behave like players, and what they saw.
//!
//! A viewer is a pure state machine (`viewer`); `drive` carries its requests over connections of its own (`net`) and
//! counts (`tally`). What was read of playlists is shared by all viewers of a thread (`shared`, `listing`). Doesn't print,
//! exit or read the environment: the binary does.

mod ask;
mod drive;
mod listing;
mod net;
mod objective;
mod report;
mod shared;
mod tally;
#[cfg(test)]
mod tests;
mod threads;
mod viewer;

pub use ask::{Failure, Kind};
pub use net::Version;
pub use objective::{BadObjective, DEFAULT as DEFAULT_OBJECTIVE, Objective, Verdict};
pub use report::Report;
pub use viewer::RungChoice;

use crate::trust::BadCertificates;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Most viewers in one process: more sockets than a machine has.
pub const VIEWERS_MAX: usize = 100_000;

/// Most threads.
pub const THREADS_MAX: usize = 256;

/// What to load, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// A playlist; with `plain`, any address.
    pub url: String,
    /// Places for viewers.
    pub viewers: usize,
    /// How long the run is, ramp included.
    pub duration: Duration,
    /// Over which time viewers come.
    pub ramp: Duration,
    /// Share of viewers that begin back in the window.
    pub dvr: f64,
    /// How long a viewer stays on the average, before another takes its place. `None`: to the end.
    pub churn: Option<Duration>,
    /// Which rung they take.
    pub rung: RungChoice,
    /// Parts and held reloads, where the stream has them.
    pub low_latency: bool,
    /// Announced parts, too.
    pub hints: bool,
    /// How much they read ahead.
    pub buffer: Duration,
    /// Ask for the one address again and again instead.
    pub plain: bool,
    /// Which HTTP.
    pub version: Version,
    /// Requests at a time of one viewer over HTTP/1.1.
    pub connections: usize,
    /// Threads with viewers.
    pub threads: usize,
    /// Own addresses that connections come from, in turn.
    pub sources: Vec<IpAddr>,
    /// Makes runs alike: who starts where, and who leaves when.
    pub seed: u64,
    /// A PEM file of certificates to trust beside the system's.
    pub ca: Option<PathBuf>,
    /// Whether any certificate is taken.
    pub insecure: bool,
    /// Whether hosts other than this machine may be loaded.
    pub anywhere: bool,
    /// What the run must come to.
    pub objective: Objective,
}

impl Options {
    /// An address, and the defaults.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            viewers: 100,
            duration: Duration::from_secs(30),
            ramp: Duration::from_secs(5),
            dvr: 0.0,
            churn: None,
            rung: RungChoice::Auto,
            low_latency: true,
            hints: true,
            buffer: Duration::from_secs(30),
            plain: false,
            version: Version::Auto,
            connections: 6,
            threads: 1,
            sources: Vec::new(),
            seed: 1,
            ca: None,
            insecure: false,
            anywhere: false,
            objective: Objective::default(),
        }
    }
}

/// Why there was no run.
#[derive(Debug, thiserror::Error)]
pub enum CannotRun {
    /// The address is none.
    #[error("{url:?} is no address to load: give an http or https address of a playlist")]
    Url {
        /// What was given.
        url: String,
    },
    /// An option is out of bounds.
    #[error("{option}: {allowed}")]
    Option {
        /// Its name.
        option: &'static str,
        /// What is allowed.
        allowed: String,
    },
    /// Not this machine.
    #[error(
        "{url} is at {address}, which is not this machine. Load only what is yours to load: to say that it is, give \
             --i-may-load-this-host"
    )]
    NotHere {
        /// The address.
        url: String,
        /// Where it is.
        address: SocketAddr,
    },
    /// Nothing to watch there.
    #[error("{url}: {why}")]
    Nothing {
        /// The address.
        url: String,
        /// What it said.
        why: String,
    },
    /// The certificates could not be used.
    #[error(transparent)]
    Certificates(#[from] BadCertificates),
    /// The system has no threads or no sockets.
    #[error("can't begin: {0}")]
    System(#[from] std::io::Error),
}

/// How a run is going, for a line that people watch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Seconds since it began.
    pub seconds: f64,
    /// Viewers that are there.
    pub viewers: u64,
    /// Of those, how many stand still.
    pub stalled: u64,
    /// Requests so far.
    pub requests: u64,
    /// Failures so far.
    pub errors: u64,
    /// Bits a second since the last time.
    pub bits_per_s: f64,
}

/// Loads until the time is over or `stop`, and reports. `progress` is called once a second.
pub async fn run(
    options: Options,
    stop: CancellationToken,
    progress: impl FnMut(Progress),
) -> Result<Report, CannotRun> {
    check(&options)?;
    threads::run(options, stop, progress).await
}

fn check(options: &Options) -> Result<(), CannotRun> {
    let bounds =
        |option, good: bool, allowed: String| if good { Ok(()) } else { Err(CannotRun::Option { option, allowed }) };
    let (viewers, threads) = (options.viewers, options.threads);
    bounds("--viewers", (1..=VIEWERS_MAX).contains(&viewers), format!("allowed is 1 to {VIEWERS_MAX}"))?;
    bounds("--threads", (1..=THREADS_MAX).contains(&threads), format!("allowed is 1 to {THREADS_MAX}"))?;
    bounds("--connections", (1..=100).contains(&options.connections), "allowed is 1 to 100".to_owned())?;
    bounds("--dvr", (0.0..=1.0).contains(&options.dvr), "allowed is a share, 0 to 1".to_owned())?;
    bounds("--ramp", options.ramp < options.duration, "it must be shorter than --duration".to_owned())
}
