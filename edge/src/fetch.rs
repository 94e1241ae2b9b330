//! Brings a media file here: the one task behind a flight.
//!
//! It belongs to the edge and not to the viewer who asked first, so it goes on when he leaves. Knows nothing of viewers.

use crate::cache::{Cache, Fetching, Ticket, Verdict};
use crate::failure::Failure;
use crate::flight::Writer;
use crate::key::Key;
use crate::policy::Rules;
use crate::upstream::{Upstream, Wait};
use http::StatusCode;
use metrics::counter;
use std::sync::Arc;
use std::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Largest media file: 10 s at 200 Mbit/s.
const OBJECT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Longest text of a 4xx.
const REFUSAL_BYTES_MAX: u64 = 16 * 1024;

/// What a fetch needs. Cloned for each.
#[derive(Debug, Clone)]
pub(crate) struct Fetcher {
    /// Whom to ask.
    pub(crate) upstream: Arc<Upstream>,
    /// Where it is kept.
    pub(crate) cache: Arc<Cache>,
    /// Who waits for the fetches when the edge ends.
    pub(crate) tasks: TaskTracker,
    /// Ends them all.
    pub(crate) stop: CancellationToken,
}

impl Fetcher {
    /// Starts a fetch.
    pub(crate) fn start(&self, key: Key, fetching: Fetching, wait: Wait, rules: Rules) {
        let fetcher = self.clone();
        self.tasks.spawn(async move { fetcher.run(&key, fetching, wait, &rules).await });
    }

    async fn run(&self, key: &Key, fetching: Fetching, wait: Wait, rules: &Rules) {
        let Fetching { mut writer, ticket } = fetching;
        let result = tokio::select! {
            () = self.stop.cancelled() => Err(Failure::Leaving),
            result = self.bring(key, &mut writer, &ticket, wait) => result,
        };
        let now = Instant::now();
        // Settled before it ends: who comes in between finds what he will be told anyway.
        let end = match result {
            Ok(StatusCode::OK) => {
                self.cache.settle(&ticket, now.checked_add(rules.fresh).map_or(Verdict::Forget, Verdict::Keep));
                writer.finish()
            }
            Ok(_) => {
                self.cache.settle(&ticket, now.checked_add(rules.missing).map_or(Verdict::Forget, Verdict::Negative));
                writer.finish()
            }
            Err(failure) => {
                let until = now.checked_add(rules.broken).filter(|_| writer.is_blank());
                self.cache.settle(&ticket, until.map_or(Verdict::Forget, Verdict::Negative));
                writer.fail(failure.clone());
                Err(failure)
            }
        };
        let outcome = end.as_ref().err().map_or("landed", Failure::label);
        counter!("live360_edge_flights_total", "outcome" => outcome).increment(1);
        if let Err(failure) = end {
            tracing::debug!(%key, %failure, "a fetch failed");
        }
    }

    async fn bring(&self, key: &Key, writer: &mut Writer, ticket: &Ticket, wait: Wait) -> Result<StatusCode, Failure> {
        let answer = self.upstream.get(key, wait).await?;
        let (status, length, mut feed) = (answer.head.status, answer.head.length, answer.feed);
        let limit = if status == StatusCode::OK { OBJECT_BYTES_MAX } else { REFUSAL_BYTES_MAX };
        let announced = length.unwrap_or(0);
        if announced > limit {
            return Err(Failure::TooLarge { limit });
        }
        if !self.cache.room(ticket, announced) || !writer.head(answer.head) {
            return Err(Failure::NoRoom);
        }
        while let Some(bytes) = feed.next().await {
            let bytes = bytes?;
            if writer.length().saturating_add(bytes.len() as u64) > limit {
                return Err(Failure::TooLarge { limit });
            }
            if length.is_none() && !self.cache.room(ticket, bytes.len() as u64) {
                return Err(Failure::NoRoom);
            }
            if !writer.push(&bytes) {
                let more = Failure::Nonsense("more bytes than announced");
                return Err(if length.is_some() { more } else { Failure::NoRoom });
            }
            counter!("live360_edge_upstream_bytes_total").increment(bytes.len() as u64);
        }
        writer.shortfall().map_or(Ok(status), Err)
    }
}
