//! Signals that ask a process to leave, and how long leaving may take.
//!
//! What leaving means is decided by who waits for the signal; nothing here ends the process.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// From the moment when a process is asked to leave to its end. A spot instance has two minutes; what manages the process
/// (systemd, an orchestrator) must wait at least as long before it kills.
pub const LEAVE_WITHIN: Duration = Duration::from_secs(100);

/// How long a tier that viewers pull from finishes what is in flight: of [`LEAVE_WITHIN`], all but what the tiers behind it
/// need.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(90);

/// SIGTERM and SIGINT. From the moment it exists neither ends the process by itself.
#[derive(Debug)]
pub struct Signals {
    term: Signal,
    int: Signal,
}

/// SIGHUP, which asks a process that nobody sits at to read its config again. At a terminal it is left to end the process,
/// since that is what closing the window should do.
#[derive(Debug)]
pub struct Hangups(Option<Signal>);

impl Hangups {
    /// Takes the signal over, unless standard input is a terminal; needs a tokio runtime.
    pub fn take() -> io::Result<Self> {
        let attended = io::stdin().is_terminal();
        Ok(Self(if attended { None } else { Some(signal(SignalKind::hangup())?) }))
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        if let Some(signal) = &mut self.0
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}

/// A signal that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// SIGTERM: whoever manages the process.
    Terminate,
    /// SIGINT: somebody at a desk, by Ctrl-C.
    Interrupt,
}

impl Signals {
    /// Takes the signals over; needs a tokio runtime.
    pub fn take() -> io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.term.recv() => Asked::Terminate,
            _ = self.int.recv() => Asked::Interrupt,
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
        })
    }
}
