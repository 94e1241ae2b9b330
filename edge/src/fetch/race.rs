//! The first answer of several origins that have the same.
//!
//! One is asked; the next when it fails or says that there is no such thing, when it takes unusually long, or when another
//! origin's playlist lists what this one still holds back (where there is no playlist to look at: after a moment).

use super::{Fetcher, Job};
use crate::failure::Failure;
use crate::hedge::Hedge;
use crate::upstream::{Answer, gave_up};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::StatusCode;
use metrics::counter;
use std::future::Future;
use std::pin::pin;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an origin may still hold back what another lists.
const GRACE: Duration = Duration::from_millis(100);

impl Fetcher {
    /// Asks until one has an answer: gives it, and whose it is.
    pub(super) async fn first_answer(&self, job: &mut Job) -> Result<(usize, Answer), Failure> {
        let patience = self.hedge().begin(self.hedge_after);
        // Without a board nobody will tell when another has what this one holds back: it is asked before the viewer
        // has lost more than he can make up for.
        let patience = if job.wait.held { job.rules.patience } else { patience };
        let listed = job.listed.take();
        let late = async move {
            match listed {
                Some((mut board, file, lineage)) => {
                    if !board.lists(&file, lineage).await {
                        return false;
                    }
                    tokio::time::sleep(GRACE).await;
                }
                None => tokio::time::sleep(patience).await,
            }
            true
        };
        self.race(job, late).await
    }

    /// Until `late` comes only one is asked at a time; if it comes with `false`, the file will never be.
    async fn race(&self, job: &Job, late: impl Future<Output = bool>) -> Result<(usize, Answer), Failure> {
        let mut late = pin!(late);
        let mut next = job.origins.iter().copied();
        let mut running = FuturesUnordered::new();
        let ask = |origin: usize| async move {
            let asked = Instant::now();
            (origin, asked, self.upstream.ask(origin, &job.key, job.wait, &job.trail).await)
        };
        running.extend(next.next().map(ask));
        let mut worst = Err(Failure::Unreachable("there is none".to_owned()));
        let mut hedged = false;
        loop {
            let ended = tokio::select! {
                ended = running.next() => ended,
                to_come = &mut late, if !hedged => {
                    if !to_come {
                        return Err(Failure::Overtaken);
                    }
                    hedged = true;
                    // What another lists has to be got; what is only slow is asked for twice now and then.
                    let others = next.len() > 0;
                    if others && (job.wait.held || self.hedge().spend()) {
                        counter!("live360_edge_hedges_total").increment(1);
                        running.extend(next.next().map(ask));
                    }
                    continue;
                }
            };
            match ended {
                None => return worst,
                Some((origin, asked, Ok(answer))) if answer.head.status == StatusCode::OK => {
                    if !job.wait.held {
                        self.hedge().answered(asked.elapsed());
                    }
                    return Ok((origin, answer));
                }
                // The words of one who answers are better than none.
                Some((origin, _, Ok(answer))) => worst = Ok((origin, answer)),
                Some((_, asked, Err(failure))) => {
                    if gave_up(&failure, job.wait, asked.elapsed()) && running.is_empty() {
                        return Err(failure);
                    }
                    worst = worst.or(Err(failure));
                }
            }
            if running.is_empty() {
                running.extend(next.next().map(ask));
            }
        }
    }

    fn hedge(&self) -> MutexGuard<'_, Hedge> {
        // Nothing panics while it holds the lock.
        self.hedge.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
