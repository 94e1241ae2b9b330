//! The process's own steering: the config read again, at `/control/reload` or SIGHUP, and the log level.
//!
//! One task has it all in hand, so that two requests at a time can't get in each other's way. What a change means is
//! decided in `service::config::reload`; what reads the config in force is the tiers' own.

use anyhow::Context as _;
use metrics::{counter, gauge};
use serde_json::{Value, json};
use service::config::reload::{Change, When, changes};
use service::config::{ConfigError, Current, Loaded};
use service::shutdown::Hangups;
use service::telemetry::LogLevel;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Requests that may wait; one more waits outside.
const REQUESTS_MAX: usize = 8;

/// Where the config came from, to be asked again.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    pub(crate) file: Option<PathBuf>,
    pub(crate) sets: Vec<String>,
}

impl Sources {
    /// Reads all of them.
    pub(crate) fn read(&self) -> Result<Loaded, ConfigError> {
        service::config::read(self.file.as_deref(), crate::environment(), &self.sets)
    }
}

/// A log level, and how long it lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogWish {
    pub(crate) level: String,
    pub(crate) lasts: Option<Duration>,
}

type Answer = Result<Value, String>;

#[derive(Debug)]
enum Request {
    Reload(oneshot::Sender<Answer>),
    Log(LogWish, oneshot::Sender<Answer>),
}

/// Asks for steering. Cloning gives another handle to the same.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    requests: mpsc::Sender<Request>,
    shown: Arc<Mutex<Shown>>,
}

/// What `/stat` says.
#[derive(Debug)]
struct Shown {
    read: SystemTime,
    log_level: String,
    restart_needed: Vec<String>,
    refused: Option<String>,
}

/// The task that steers.
#[derive(Debug)]
pub(crate) struct Steering {
    sources: Sources,
    /// What the process was started with: what takes a restart is still so.
    started: Loaded,
    loaded: Loaded,
    current: Current,
    log: LogLevel,
    /// The level in force until then is only lent.
    lent: Option<Instant>,
    #[cfg(feature = "origin")]
    origin: Option<origin::Handle>,
    requests: mpsc::Receiver<Request>,
    shown: Arc<Mutex<Shown>>,
}

impl Handle {
    /// Reads the config again; says what changes when, or what is wrong with it.
    pub(crate) async fn reload(&self) -> Answer {
        self.ask(Request::Reload).await
    }

    /// Logs at another level.
    pub(crate) async fn log(&self, wish: LogWish) -> Answer {
        self.ask(|reply| Request::Log(wish, reply)).await
    }

    /// What `/stat` says of the config.
    pub(crate) fn stat(&self) -> Value {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        json!({
            "read": humantime::format_rfc3339_millis(shown.read).to_string(), "log_level": shown.log_level,
            "restart_needed": shown.restart_needed, "refused": shown.refused,
        })
    }

    async fn ask(&self, request: impl FnOnce(oneshot::Sender<Answer>) -> Request) -> Answer {
        let gone = || "the process is leaving".to_owned();
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

impl Steering {
    /// Steers a process that was started with this.
    pub(crate) fn new(sources: Sources, loaded: Loaded, current: Current, log: LogLevel) -> (Self, Handle) {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let shown = Arc::new(Mutex::new(Shown {
            read: SystemTime::now(),
            log_level: loaded.config.log.level.clone(),
            restart_needed: Vec::new(),
            refused: None,
        }));
        let handle = Handle { requests: sender, shown: shown.clone() };
        gauge!("live360_config_restart_needed").set(0.0);
        let steering = Self {
            sources,
            started: loaded.clone(),
            loaded,
            current,
            log,
            lent: None,
            #[cfg(feature = "origin")]
            origin: None,
            requests,
            shown,
        };
        (steering, handle)
    }

    /// Tells this origin of changes.
    #[cfg(feature = "origin")]
    pub(crate) fn tell(&mut self, origin: origin::Handle) {
        self.origin = Some(origin);
    }

    /// Until shutdown.
    pub(crate) async fn run(mut self, mut hangups: Hangups, shutdown: CancellationToken) {
        loop {
            let lent = self.lent;
            let over = async {
                match lent {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = hangups.next() => drop(self.reload("SIGHUP").await),
                () = over => self.give_back(),
                Some(request) = self.requests.recv() => match request {
                    // Whoever asked may have gone.
                    Request::Reload(reply) => drop(reply.send(self.reload("/control").await)),
                    Request::Log(wish, reply) => drop(reply.send(self.log(wish))),
                },
            }
        }
    }

    /// Lets the origin judge by this who may publish: that depends on files too, and all or nothing is taken over.
    #[cfg(feature = "origin")]
    fn admit(&self, loaded: Loaded) -> anyhow::Result<Loaded> {
        if let Some(origin) = &self.origin {
            origin.reload_access(&loaded.config)?;
        }
        Ok(loaded)
    }

    #[cfg(not(feature = "origin"))]
    fn admit(&self, loaded: Loaded) -> anyhow::Result<Loaded> {
        Ok(loaded)
    }

    async fn reload(&mut self, by: &str) -> Answer {
        let sources = self.sources.clone();
        let read = tokio::task::spawn_blocking(move || sources.read()).await.context("reading the config");
        let read = read.and_then(|read| Ok(read?)).and_then(|loaded| self.admit(loaded));
        let loaded = match read {
            Ok(loaded) => loaded,
            Err(error) => {
                let words = format!("{error:#}");
                tracing::error!(by, error = words, "the config was read again and refused: all stays as it was");
                counter!("live360_config_reloads_total", "outcome" => "refused").increment(1);
                self.show(|shown| shown.refused = Some(words.clone()));
                return Err(format!("{words}; nothing was changed"));
            }
        };
        let changed = changes(&self.loaded, &loaded);
        let restart: Vec<String> = changes(&self.started, &loaded)
            .into_iter()
            .filter(|change| change.when == When::Restart)
            .map(key)
            .collect();
        let outcome = if changed.is_empty() { "unchanged" } else { "applied" };
        self.loaded = loaded;
        self.current.replace(self.loaded.config.clone());
        self.apply(&changed).await;
        counter!("live360_config_reloads_total", "outcome" => outcome).increment(1);
        gauge!("live360_config_restart_needed").set(f64::from(u8::from(!restart.is_empty())));
        let keys = report(&changed);
        tracing::info!(by, outcome, changed = %keys, restart_needed = ?restart, "the config was read again");
        self.show(|shown| (shown.refused, shown.restart_needed) = (None, restart.clone()));
        Ok(json!({ "outcome": outcome, "changed": keys, "restart_needed": restart }))
    }

    /// Hands on what somebody has to be told of; all else reads the config in force.
    async fn apply(&mut self, changed: &[Change]) {
        if changed.iter().any(|change| change.key == "log.level") && self.lent.is_none() {
            self.set_level(self.loaded.config.log.level.clone());
        }
        #[cfg(feature = "origin")]
        if let Some(origin) = &self.origin {
            origin.reload().await;
        }
    }

    fn log(&mut self, wish: LogWish) -> Answer {
        let LogWish { level, lasts } = wish;
        self.log.set(&level).map_err(|error| error.to_string())?;
        self.lent = lasts.map(|lasts| Instant::now() + lasts);
        let lasts_s = lasts.map(|lasts| lasts.as_secs());
        tracing::info!(level, lasts_s, "logging at another level, by /control");
        self.show(|shown| shown.log_level = level.clone());
        let then = lasts.map(|_| self.loaded.config.log.level.clone());
        Ok(json!({ "level": level, "for_s": lasts_s, "then": then }))
    }

    fn give_back(&mut self) {
        self.lent = None;
        let level = self.loaded.config.log.level.clone();
        tracing::info!(level, "logging as the config says again");
        self.set_level(level);
    }

    fn set_level(&self, level: String) {
        match self.log.set(&level) {
            Ok(()) => self.show(|shown| shown.log_level = level.clone()),
            Err(error) => tracing::error!(%error, level, "the log level stays"),
        }
    }

    fn show(&self, change: impl FnOnce(&mut Shown)) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.read = SystemTime::now();
        change(&mut shown);
    }
}

fn key(change: Change) -> String {
    change.key
}

/// The changed keys by when they take effect.
fn report(changed: &[Change]) -> Value {
    let of = |when| changed.iter().filter(|change| change.when == when).map(|change| &change.key).collect::<Vec<_>>();
    json!({
        "now": of(When::Now), "next_publish": of(When::NextPublish), "next_epoch": of(When::NextEpoch),
        "restart": of(When::Restart),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// A steering whose file says this, with what it has in force.
    fn steering(file: &Path, text: &str) -> Steering {
        std::fs::write(file, text).unwrap();
        let sources = Sources { file: Some(file.to_owned()), sets: Vec::new() };
        let loaded = sources.read().unwrap();
        let current = Current::new(loaded.config.clone());
        Steering::new(sources, loaded, current, LogLevel::detached()).0
    }

    #[tokio::test]
    async fn a_wrong_file_changes_nothing_and_says_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("live360.toml");
        let mut steering = steering(&file, "record = \"off\"\n[log]\nlevel = \"warn\"");
        let before = steering.current.get();
        for (text, words) in
            [("record = \"of\"", "record = \"of\""), ("[log]\nlevel", "line 2"), ("recrod = 1", "did you mean")]
        {
            std::fs::write(&file, text).unwrap();
            let refusal = steering.reload("a test").await.unwrap_err();
            assert!(refusal.contains(words) && refusal.ends_with("nothing was changed"), "{refusal}");
            assert_eq!(steering.current.get(), before);
        }
        assert!(steering.shown.lock().unwrap().refused.is_some());
    }

    #[tokio::test]
    async fn what_takes_a_restart_is_remembered_until_it_is_as_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("live360.toml");
        let mut steering = steering(&file, "");
        std::fs::write(&file, "data_dir = \"/elsewhere\"\n[retention]\ningest_days = 7").unwrap();
        let answer = steering.reload("a test").await.unwrap();
        assert_eq!(answer["changed"]["now"], json!(["retention.ingest_days"]));
        assert_eq!((&answer["outcome"], &answer["restart_needed"]), (&json!("applied"), &json!(["data_dir"])));
        assert_eq!(steering.current.get().retention.ingest_days, 7);
        let answer = steering.reload("a test").await.unwrap();
        assert_eq!((&answer["outcome"], &answer["restart_needed"]), (&json!("unchanged"), &json!(["data_dir"])));
        std::fs::write(&file, "").unwrap();
        assert_eq!(steering.reload("a test").await.unwrap()["restart_needed"], json!([]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lent_log_level_goes_back_to_what_the_config_says_by_then() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("live360.toml");
        let mut steering = steering(&file, "");
        let wish = LogWish { level: "debug".to_owned(), lasts: Some(Duration::from_secs(60)) };
        assert_eq!(steering.log(wish).unwrap()["then"], "info");
        std::fs::write(&file, "[log]\nlevel = \"warn\"").unwrap();
        steering.reload("a test").await.unwrap();
        assert_eq!(steering.shown.lock().unwrap().log_level, "debug");
        steering.give_back();
        assert_eq!(steering.shown.lock().unwrap().log_level, "warn");
        let kept = LogWish { level: "trace".to_owned(), lasts: None };
        assert_eq!(steering.log(kept).unwrap()["then"], Value::Null);
        assert_eq!(steering.lent, None);
    }
}
