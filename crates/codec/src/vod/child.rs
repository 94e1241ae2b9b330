//! The VOD child: the parent's side.

use super::{FromVod, Job};
use crate::Error;
use bytes::Bytes;
use std::path::Path;
use std::time::Duration;

/// What a child may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory it may allocate. Beyond it allocations fail and the child ends.
    pub memory_bytes: u64,
    /// Processor time it may use, all threads together. Beyond it the kernel ends it.
    pub cpu_s: u64,
    /// How long it may say nothing while it waits for nothing.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes: 4 << 30, cpu_s: 12 * 3600, stall: Duration::from_secs(600) }
    }
}

/// A running child. Dropping it kills the process.
#[derive(Debug)]
pub struct Child {}

impl Child {
    /// Starts `exe vod-child` and gives it its job.
    pub async fn spawn(_exe: &Path, _job: Job, _limits: Limits) -> Result<Self, Error> {
        Ok(Self {})
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        0
    }

    /// What it says next. A child that dies, hangs or uses up its time says [`FromVod::Failed`] in words that name the
    /// limit. `None` after [`FromVod::Done`] or `Failed`. Safe to cancel.
    pub async fn next(&mut self) -> Option<FromVod> {
        None
    }

    /// The bytes that it asked for by [`FromVod::Read`], exactly as many.
    pub async fn supply(&mut self, _bytes: Bytes) -> Result<(), Error> {
        Ok(())
    }

    /// Ends it and waits until it is gone.
    pub async fn kill(self) {}
}
