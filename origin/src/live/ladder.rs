//! The ladder's child process, kept alive: started on demand, started again when it dies.
//!
//! Does not know what is encoded or why; the core decides, [`codec::child`] runs it.

use codec::child::{Child, Limits, SendError};
use codec::ladder::{FromLadder, Settings, ToLadder};
use media::name::StreamName;
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long after a child's death the next one is started: at first, and at most. Doubled each time in a row.
const RESTART_AFTER: Duration = Duration::from_millis(250);
const RESTART_AFTER_MAX: Duration = Duration::from_secs(30);

/// A child that lived this long counts as healthy.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// What may wait for a child: publishing begins with what came before the second key frame, all at once.
const QUEUE_MESSAGES: usize = 4096;
const QUEUE_BYTES: u32 = 128 << 20;

/// What happened to the ladder.
#[derive(Debug)]
pub(crate) enum Event {
    /// A child runs again and knows nothing yet.
    Up,
    /// It sent this.
    Sent(FromLadder),
    /// It is gone.
    Gone,
}

/// Owns the child, if there is one.
#[derive(Debug)]
pub(crate) struct Ladder {
    /// Whose it is, for the log.
    stream: StreamName,
    program: PathBuf,
    child: Option<Child>,
    settings: Option<Settings>,
    started: Option<Instant>,
    restart_at: Option<Instant>,
    restart_after: Duration,
    /// A child being started again, in a task of its own: waiting for it may be interrupted, starting it may not.
    starting: Option<JoinHandle<Result<Child, codec::Error>>>,
}

impl Ladder {
    /// No child yet; `program` is this binary.
    pub(crate) fn new(stream: StreamName, program: PathBuf) -> Self {
        Self {
            stream,
            program,
            child: None,
            settings: None,
            started: None,
            restart_at: None,
            restart_after: RESTART_AFTER,
            starting: None,
        }
    }

    /// Starts a child with these settings; one that runs is killed. If it cannot be started it is tried again.
    pub(crate) async fn start(&mut self, settings: Settings) {
        (self.child, self.restart_at) = (None, None);
        self.closed("another publish begins");
        if let Some(starting) = self.starting.take() {
            starting.abort();
        }
        let started = spawn(self.program.clone(), settings.clone()).await;
        self.settings = Some(settings);
        self.settle(started);
    }

    /// Sends to the child. `false` if it is so far behind that it was not taken.
    pub(crate) fn send(&mut self, message: ToLadder) -> bool {
        let last = matches!(message, ToLadder::End);
        if last {
            // It is meant to go: no other one follows until the next start.
            self.settings = None;
            if let Some(starting) = self.starting.take() {
                starting.abort();
            }
        }
        let full = self.child.as_ref().is_some_and(|child| child.try_send(message) == Err(SendError::Full));
        if full && last {
            self.child = None;
        }
        !full
    }

    /// Waits for what happens next; forever if there is no child and none is to come.
    pub(crate) async fn event(&mut self) -> Event {
        loop {
            if let Some(child) = &mut self.child {
                if let Some(message) = child.recv().await {
                    return Event::Sent(message);
                }
                self.child = None;
                self.plan_restart();
                return Event::Gone;
            }
            if let Some(starting) = &mut self.starting {
                let started = starting.await;
                self.starting = None;
                // A task that was aborted or that panicked started nothing.
                if started.is_ok_and(|started| self.settle(started)) {
                    return Event::Up;
                }
                continue;
            }
            match (self.restart_at, self.settings.clone()) {
                (Some(at), Some(settings)) => {
                    tokio::time::sleep_until(at).await;
                    self.restart_at = None;
                    self.starting = Some(tokio::spawn(spawn(self.program.clone(), settings)));
                }
                _ => std::future::pending().await,
            }
        }
    }

    /// Takes a started child over, or plans the next try.
    fn settle(&mut self, started: Result<Child, codec::Error>) -> bool {
        match started {
            Ok(child) => {
                tracing::info!(stream = %self.stream, pid = child.pid(), "ladder opened");
                (self.child, self.started) = (Some(child), Some(Instant::now()));
                true
            }
            Err(error) => {
                tracing::warn!(stream = %self.stream, %error, "cannot start the ladder");
                self.plan_restart();
                false
            }
        }
    }

    /// A child is gone: the other half of "ladder opened". Says for how long it lived, if there was one.
    fn closed(&mut self, why: &'static str) -> Option<Duration> {
        let lived = self.started.take().map(|started| started.elapsed())?;
        tracing::info!(stream = %self.stream, lived_s = lived.as_secs(), why, "ladder closed");
        Some(lived)
    }

    fn plan_restart(&mut self) {
        let why = if self.settings.is_none() { "its publish ended" } else { "it died" };
        let lived = self.closed(why);
        if self.settings.is_none() {
            return;
        }
        if lived.is_some_and(|lived| lived >= HEALTHY_AFTER) {
            self.restart_after = RESTART_AFTER;
        }
        self.restart_at = Some(Instant::now() + self.restart_after);
        self.restart_after = (self.restart_after * 2).min(RESTART_AFTER_MAX);
    }
}

impl Drop for Ladder {
    fn drop(&mut self) {
        self.closed("its stream left");
    }
}

async fn spawn(program: PathBuf, settings: Settings) -> Result<Child, codec::Error> {
    let limits = Limits { queue_messages: QUEUE_MESSAGES, queue_bytes: QUEUE_BYTES, ..Limits::default() };
    Child::spawn(&program, settings, limits).await
}
