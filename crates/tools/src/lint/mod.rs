//! `live360 lint URL`: looks at an HLS stream from outside and says which rules it breaks, where, and how to mend it.
//!
//! Three steps that know nothing of each other: `probe` fetches, [`observe`] holds what came, [`rules`] judges it.
//! Works on any server's streams: live and VOD, low-latency and plain, fMP4 and (as far as playlists go) MPEG-TS.
//! Doesn't print, exit or read the environment: the binary does.

mod look;
pub mod observe;
pub mod parse;
mod probe;
mod report;
pub mod rules;
mod sealed;
mod watcher;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

pub use report::{Finding, Outcome, Report, Status, judge};

pub use watcher::{Change, Event, Watcher};

use std::path::PathBuf;
use std::time::Duration;

/// What to look at, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address of a multivariant or a media playlist.
    pub url: String,
    /// How long a live stream is watched. `None` is three target durations, at most 30 s.
    pub watch: Option<Duration>,
    /// A PEM file of certificates to trust beside the system's.
    pub ca: Option<PathBuf>,
    /// Whether any certificate is taken.
    pub insecure: bool,
    /// Whether a broken SHOULD counts as a breach, unless it is accepted.
    pub strict: bool,
    /// SHOULDs that are broken on purpose: rule id and reason.
    pub accept: Vec<(String, String)>,
    /// Longest time for one answer, in all. Requests that the server may hold get as long as it may hold them more.
    pub fetch_timeout: Duration,
    /// Most requests in all.
    pub fetches_max: usize,
    /// Longest body of an answer, in bytes, its content encoding undone.
    pub body_bytes_max: usize,
}

impl Options {
    /// An address, and the defaults.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            watch: None,
            ca: None,
            insecure: false,
            strict: false,
            accept: Vec::new(),
            fetch_timeout: Duration::from_secs(10),
            fetches_max: 2000,
            body_bytes_max: 64 << 20,
        }
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum CannotLook {
    /// The address is none.
    #[error("{url:?} is no address to look at: give an http or https address of a playlist ({why})")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The first request failed.
    #[error("{url} {said}")]
    Fetch {
        /// The address.
        url: String,
        /// What it said.
        said: String,
    },
    /// The address leads to something else.
    #[error("{url}: {why}")]
    NoPlaylist {
        /// The address.
        url: String,
        /// What is there.
        why: String,
    },
    /// The certificates could not be used.
    #[error(transparent)]
    Certificates(#[from] crate::trust::BadCertificates),
    /// A rule that can't be accepted.
    #[error("{id:?} cannot be accepted: {why}")]
    Accept {
        /// What was named.
        id: String,
        /// Why not.
        why: &'static str,
    },
}

/// Looks at a stream and judges it. Takes as long as it watches: dropping the future ends it.
pub async fn run(options: Options) -> Result<Report, CannotLook> {
    for (id, _) in &options.accept {
        let rule = rules::all().into_iter().find(|rule| rule.id == id);
        let why = match rule {
            None => "there is no such rule",
            Some(rule) if rule.level == rules::Level::Must => "it is a MUST",
            Some(_) => continue,
        };
        return Err(CannotLook::Accept { id: id.clone(), why });
    }
    let (observed, notes) = probe::look_at(&options).await?;
    let mut report = judge(&observed, &options.accept);
    report.strict = options.strict;
    report.notes = notes;
    Ok(report)
}
