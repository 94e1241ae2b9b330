//! Brings a media file here: the one task behind a flight.
//!
//! It belongs to the edge and not to the viewer who asked first, so it goes on when he leaves. Where several origins have
//! the same bytes, a slow, broken or silent one is helped out by the next, also in the middle of a body; viewers see
//! nothing of it. Knows nothing of viewers.

mod race;

use crate::cache::{Cache, Fetching, Ticket, Verdict};
use crate::failure::Failure;
use crate::favourites::Favourites;
use crate::flight::{Head, Writer};
use crate::hedge::Hedge;
use crate::hub::Board;
use crate::key::Key;
use crate::policy::Rules;
use crate::trail::Trail;
use crate::upstream::{Answer, Feed, Upstream, Wait};
use crate::vod::Vod;
use http::StatusCode;
use media::name::StreamName;
use media::route::{File, Route};
use metrics::{counter, histogram};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Largest media file: 10 s at 200 Mbit/s.
pub(crate) const OBJECT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Longest text of a 4xx.
const REFUSAL_BYTES_MAX: u64 = 16 * 1024;

/// How long a body may stand still where another origin has the same.
const IMPATIENT_STALL: Duration = Duration::from_millis(500);

/// What a fetch needs. Cloned for each.
#[derive(Debug, Clone)]
pub(crate) struct Fetcher {
    /// Whom to ask.
    pub(crate) upstream: Arc<Upstream>,
    /// Where recordings are read from.
    pub(crate) vod: Vod,
    /// Where it is kept.
    pub(crate) cache: Arc<Cache>,
    /// When to ask a second one.
    pub(crate) hedge: Arc<Mutex<Hedge>>,
    /// The longest wait for that.
    pub(crate) hedge_after: Duration,
    /// Who has the streams that nobody follows.
    pub(crate) favourites: Arc<Favourites>,
    /// Who waits for the fetches when the edge ends.
    pub(crate) tasks: TaskTracker,
    /// Ends them all.
    pub(crate) stop: CancellationToken,
}

/// What to fetch.
#[derive(Debug)]
pub(crate) struct Job {
    /// The address, as the origins know it.
    pub(crate) key: Key,
    /// Origins to be asked, the best first.
    pub(crate) origins: Vec<usize>,
    /// The stream of which it is, if nobody follows that: then these origins may differ.
    pub(crate) unfollowed: Option<StreamName>,
    /// How to wait for the answer.
    pub(crate) wait: Wait,
    /// The board that will list it, under which name, and of which lineage it is.
    pub(crate) listed: Option<(Board, File, u32)>,
    /// How it is kept.
    pub(crate) rules: Rules,
    /// Through whom the viewer came who asked first.
    pub(crate) trail: Trail,
}

impl Fetcher {
    /// Starts a fetch.
    pub(crate) fn start(&self, job: Job, fetching: Fetching) {
        let fetcher = self.clone();
        self.tasks.spawn(async move { fetcher.run(job, fetching).await });
    }

    async fn run(&self, mut job: Job, fetching: Fetching) {
        let Fetching { mut writer, ticket } = fetching;
        let begun = Instant::now();
        let result = tokio::select! {
            () = self.stop.cancelled() => Err(Failure::Leaving),
            result = self.bring(&mut job, &mut writer, &ticket) => result,
        };
        let (now, rules) = (Instant::now(), &job.rules);
        let kind = if job.wait.held { "held" } else { "at_once" };
        histogram!("live360_edge_fetch_seconds", "kind" => kind).record(now.saturating_duration_since(begun));
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
                // What was refused for the way by which one viewer came is no news for others.
                let common = writer.is_blank() && !failure.is_of_a_longer_way(job.trail.len(), 0);
                let until = now.checked_add(rules.broken).filter(|_| common);
                self.cache.settle(&ticket, until.map_or(Verdict::Forget, Verdict::Negative));
                writer.fail(failure.clone());
                Err(failure)
            }
        };
        let outcome = end.as_ref().err().map_or("landed", Failure::label);
        counter!("live360_edge_flights_total", "outcome" => outcome).increment(1);
        if let Err(failure) = end {
            tracing::debug!(key = %job.key, %failure, "a fetch failed");
        }
    }

    async fn bring(&self, job: &mut Job, writer: &mut Writer, ticket: &Ticket) -> Result<StatusCode, Failure> {
        if let Route::Vod(_) = &job.key.route
            && let Some(status) = self.vod.bring(&job.key, writer, |bytes| self.cache.room(ticket, bytes)).await?
        {
            return Ok(status);
        }
        let (origin, Answer { head, mut feed }) = self.first_answer(job).await?;
        let (status, length) = (head.status, head.length);
        if let Some(name) = job.unfollowed.as_ref().filter(|_| status == StatusCode::OK) {
            self.favourites.answered(name, origin, Instant::now());
        }
        let limit = if status == StatusCode::OK { OBJECT_BYTES_MAX } else { REFUSAL_BYTES_MAX };
        let announced = length.unwrap_or(0);
        if announced > limit {
            return Err(Failure::TooLarge { limit });
        }
        if !self.cache.room(ticket, announced) || !writer.head(head.clone()) {
            return Err(Failure::NoRoom);
        }
        let mut others: Vec<usize> = job.origins.iter().copied().filter(|other| *other != origin).collect();
        // Only bytes that are known to be the same can be gone on with.
        others.retain(|_| status == StatusCode::OK && length.is_some() && head.etag.is_some());
        loop {
            if !others.is_empty() {
                feed.impatient(IMPATIENT_STALL);
            }
            let failure = match self.pour(&mut feed, writer, ticket, length, limit).await {
                Ok(()) => match writer.shortfall() {
                    None => return Ok(status),
                    Some(short) => short,
                },
                Err(failure) => failure,
            };
            feed = loop {
                let may_help = matches!(failure, Failure::Broken | Failure::Stalled(_) | Failure::Short { .. });
                let Some(next) = others.first().copied().filter(|_| may_help) else { return Err(failure) };
                others.remove(0);
                if let Some(feed) = self.go_on(job, next, &head, writer.length()).await {
                    counter!("live360_edge_flights_helped_total").increment(1);
                    break feed;
                }
            };
        }
    }

    /// Pours a body into the flight until it ends.
    async fn pour(
        &self,
        feed: &mut Feed,
        writer: &mut Writer,
        ticket: &Ticket,
        length: Option<u64>,
        limit: u64,
    ) -> Result<(), Failure> {
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
        Ok(())
    }

    /// Another origin's body from `at` on, if it is the same object.
    async fn go_on(&self, job: &Job, origin: usize, head: &Head, at: u64) -> Option<Feed> {
        let answer = self.upstream.ask(origin, &job.key, job.wait, &job.trail).await.ok()?;
        let Answer { head: other, mut feed } = answer;
        if (other.status, other.length, &other.etag) != (head.status, head.length, &head.etag) {
            return None;
        }
        feed.skip(at).await.ok()?;
        Some(feed)
    }
}
