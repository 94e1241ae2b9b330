//! The tasks that a process runs, by name, and how they leave one after the other.
//!
//! Knows no tier; when they leave is decided elsewhere.

use anyhow::{anyhow, bail};
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The tier that viewers pull from.
pub(crate) const EDGE: &str = "edge";

/// In which order tiers are told to leave: who is asked by another goes after it, and who watches stays to the end.
const LEAVING_ORDER: [&str; 7] = [EDGE, "transcoder", "origin", "machine", "hooks", "admin", "tls"];

/// What runs, and how to tell each to leave.
#[derive(Default)]
pub(crate) struct Tiers {
    running: JoinSet<()>,
    tasks: HashMap<Id, (&'static str, AbortHandle)>,
    stops: BTreeMap<&'static str, CancellationToken>,
    /// The first that ended badly while others were waited for.
    failure: Option<anyhow::Error>,
}

impl Tiers {
    /// The token that will tell this tier to leave.
    pub(crate) fn token(&mut self, name: &'static str) -> CancellationToken {
        self.stops.entry(name).or_default().clone()
    }

    pub(crate) fn spawn(&mut self, name: &'static str, tier: impl Future<Output = ()> + Send + 'static) {
        let task = self.running.spawn(tier);
        self.tasks.insert(task.id(), (name, task));
    }

    /// Tells a tier to leave, if there is one, without waiting for it.
    pub(crate) fn stop(&self, name: &str) {
        if let Some(stop) = self.stops.get(name) {
            stop.cancel();
        }
    }

    /// Waits until a tier ends by itself, which none should; gives the words for it.
    pub(crate) async fn any_end(&mut self) -> anyhow::Error {
        loop {
            match self.next_end().await {
                Ok(name) if self.stops.get(name).is_some_and(CancellationToken::is_cancelled) => {}
                Ok(name) => return anyhow!("{name} ended by itself"),
                Err(error) => return error,
            }
        }
    }

    /// Tells one after the other to leave and waits for each; the edge is waited for until then, and then cut off.
    pub(crate) async fn leave(&mut self, edge_until: Instant) -> anyhow::Result<()> {
        for name in LEAVING_ORDER {
            self.stop(name);
            if name == EDGE && tokio::time::timeout_at(edge_until, self.gone(name)).await.is_err() {
                tracing::warn!("the time for what is in flight is over: cutting it off");
                self.tasks.values().filter(|(running, _)| *running == name).for_each(|(_, task)| task.abort());
            }
            self.gone(name).await;
        }
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Waits until no task has this name any more.
    async fn gone(&mut self, name: &str) {
        while self.tasks.values().any(|(running, _)| *running == name) {
            if let Err(error) = self.next_end().await {
                self.failure.get_or_insert(error);
            }
        }
    }

    /// Waits for any tier; a panic is an error.
    async fn next_end(&mut self) -> anyhow::Result<&'static str> {
        let (id, error): (Id, Option<JoinError>) = match self.running.join_next_with_id().await {
            Some(Ok((id, ()))) => (id, None),
            Some(Err(error)) => (error.id(), Some(error)),
            None => bail!("nothing is running"),
        };
        let name = self.tasks.remove(&id).map_or("a task", |(name, _)| name);
        match error {
            Some(error) if error.is_panic() => Err(anyhow!(error).context(format!("{name} failed"))),
            // Cut off by us, or ended.
            _ => Ok(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::time::Duration;
    use tokio::sync::mpsc;

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(90)
    }

    #[tokio::test]
    async fn tiers_leave_one_after_the_other() {
        let mut tiers = Tiers::default();
        let (sender, mut left) = mpsc::unbounded_channel();
        for name in ["admin", "origin", "machine", "edge"] {
            let (stop, sender) = (tiers.token(name), sender.clone());
            tiers.spawn(name, async move {
                stop.cancelled().await;
                let _ = sender.send(name);
            });
        }
        tiers.leave(later()).await.unwrap();
        drop((tiers, sender));
        let mut order = Vec::new();
        while let Some(name) = left.recv().await {
            order.push(name);
        }
        assert_eq!(order, ["edge", "origin", "machine", "admin"]);
    }

    #[tokio::test]
    async fn a_tier_that_ends_or_panics_is_named() {
        let mut tiers = Tiers::default();
        tiers.spawn("edge", async {});
        assert_eq!(tiers.any_end().await.to_string(), "edge ended by itself");
        tiers.spawn("origin", async { panic!("defect") });
        assert_eq!(tiers.any_end().await.to_string(), "origin failed");
        tiers.spawn("edge", async { panic!("defect") });
        assert!(tiers.leave(later()).await.is_err());
    }

    #[tokio::test]
    async fn a_tier_that_was_told_to_leave_may_end() {
        let mut tiers = Tiers::default();
        let (told, gate) = (tiers.token("transcoder"), CancellationToken::new());
        let opener = gate.clone();
        tiers.spawn("transcoder", async move {
            told.cancelled().await;
            opener.cancel();
        });
        tiers.spawn("edge", async move { gate.cancelled().await });
        tiers.stop("transcoder");
        assert_eq!(tiers.any_end().await.to_string(), "edge ended by itself");
    }

    #[tokio::test(start_paused = true)]
    async fn an_edge_that_does_not_end_in_time_is_cut_off_and_the_others_still_leave() {
        let mut tiers = Tiers::default();
        let (sender, mut left) = mpsc::unbounded_channel();
        tiers.spawn("edge", pending());
        let stop = tiers.token("origin");
        tiers.spawn("origin", async move {
            stop.cancelled().await;
            let _ = sender.send(Instant::now());
        });
        let until = later();
        tiers.leave(until).await.unwrap();
        assert_eq!(left.recv().await, Some(until));
    }
}
