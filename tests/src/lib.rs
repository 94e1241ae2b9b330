//! The harness of the end-to-end tests: the real binary, real encoders, a plain viewer.
//!
//! Everything listens on loopback at port 0, lives in a folder of its own and is ended with its owner. Waiting is for a
//! condition with a deadline, never for a time.
#![allow(clippy::panic, reason = "a harness's panic is a test's report")]

pub mod balancer;
pub mod bucket;
pub mod called;
pub mod flv;
pub mod metadata;
pub mod origin;
pub mod pair;
mod publisher;
pub mod rtmp;
pub mod served;
mod server;
pub mod simulation;
mod viewer;
pub mod vod;
pub mod witness;

pub use publisher::{Ffmpeg, Source, make_media, tool};
pub use server::{Server, binary, run};
pub use viewer::{Playlist, Reply, Viewer};

use std::future::Future;
use std::time::Duration;

/// How long anything in these tests may take that should take a moment. Generous: CI machines are shared and noisy.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long a whole VOD job may take: its encoders give way to everything else on the machine.
pub const JOB_DEADLINE: Duration = Duration::from_secs(150);

/// Waits until `look` gives something; panics with `what` after [`DEADLINE`].
pub async fn wait_for<T, F: Future<Output = Option<T>>>(what: &str, look: impl FnMut() -> F) -> T {
    wait_within(DEADLINE, what, look).await
}

/// Waits until `look` gives something; panics with `what` after `deadline`.
pub async fn wait_within<T, F: Future<Output = Option<T>>>(
    deadline: Duration,
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let waited = tokio::time::timeout(deadline, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    match waited.await {
        Ok(found) => found,
        Err(_) => panic!("waited {} s for: {what}", deadline.as_secs()),
    }
}
