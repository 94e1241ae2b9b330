//! The ladder's child process, kept alive: started on demand, started again when it dies.
//!
//! Does not know what is encoded or why; the core decides, [`codec::child`] runs it.

use codec::child::{Child, Limits, SendError};
use codec::ladder::{FromLadder, Settings, ToLadder};
use std::path::PathBuf;
use std::time::Duration;
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
    program: PathBuf,
    child: Option<Child>,
    settings: Option<Settings>,
    started: Option<Instant>,
    restart_at: Option<Instant>,
    restart_after: Duration,
}

impl Ladder {
    /// No child yet; `program` is this binary.
    pub(crate) fn new(program: PathBuf) -> Self {
        Self { program, child: None, settings: None, started: None, restart_at: None, restart_after: RESTART_AFTER }
    }

    /// Starts a child with these settings; one that runs is killed. `false` if it could not be started: it is tried again.
    pub(crate) async fn start(&mut self, settings: Settings) -> bool {
        self.settings = Some(settings);
        self.child = None;
        self.spawn().await
    }

    /// Sends to the child. `false` if it is so far behind that it was not taken.
    pub(crate) fn send(&mut self, message: ToLadder) -> bool {
        let last = matches!(message, ToLadder::End);
        if last {
            // It is meant to go: no other one follows until the next start.
            self.settings = None;
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
            match self.restart_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
            self.restart_at = None;
            if self.spawn().await {
                return Event::Up;
            }
        }
    }

    async fn spawn(&mut self) -> bool {
        let Some(settings) = self.settings.clone() else { return false };
        let limits = Limits { queue_messages: QUEUE_MESSAGES, queue_bytes: QUEUE_BYTES, ..Limits::default() };
        match Child::spawn(&self.program, settings, limits).await {
            Ok(child) => {
                tracing::info!(pid = child.pid(), "ladder opened");
                (self.child, self.started) = (Some(child), Some(Instant::now()));
                true
            }
            Err(error) => {
                tracing::warn!(%error, "cannot start the ladder");
                self.plan_restart();
                false
            }
        }
    }

    fn plan_restart(&mut self) {
        let lived = self.started.take().map(|started| started.elapsed());
        tracing::info!(lived_s = lived.unwrap_or_default().as_secs(), "ladder closed");
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
