//! One HTTP request at a time, with limits on everything, as an observation.
//!
//! Knows no HLS. Redirects are followed for playlists only.

use super::tls::{Connector, TlsVersion, connector};
use crate::lint::observe::{Answer, Fetch};
use crate::lint::parse::ByteRange;
use crate::lint::{CannotLook, Options};
use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT_ENCODING, LOCATION, RANGE, USER_AGENT};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use url::Url;

/// Most redirects that are followed for one playlist.
const REDIRECTS_MAX: usize = 5;

/// Longest playlist, in bytes: all moments of all playlists are kept.
const PLAYLIST_BYTES_MAX: usize = 4 << 20;

/// Most requests under way at once, held ones included.
const AT_ONCE_MAX: usize = 128;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Want {
    /// A playlist: compressed if possible, redirects followed.
    playlist: bool,
    range: Option<ByteRange>,
    /// How much longer than usual the server may take.
    held: Duration,
}

impl Want {
    pub(super) fn playlist() -> Self {
        Self { playlist: true, ..Self::default() }
    }

    pub(super) fn media(range: Option<ByteRange>) -> Self {
        Self { range, ..Self::default() }
    }

    /// The server may hold the request this long.
    pub(super) fn held(mut self, seconds: f64) -> Self {
        self.held = Duration::try_from_secs_f64(seconds.clamp(0.0, 120.0)).unwrap_or_default();
        self
    }
}

pub(super) struct Client {
    http: legacy::Client<Connector, Empty<Bytes>>,
    began: Instant,
    timeout: Duration,
    body_bytes_max: usize,
    left: AtomicUsize,
    at_once: Semaphore,
    notes: Mutex<Vec<String>>,
}

impl Client {
    pub(super) fn new(options: &Options) -> Result<Self, CannotLook> {
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector(options)?);
        Ok(Self {
            http,
            began: Instant::now(),
            timeout: options.fetch_timeout,
            body_bytes_max: options.body_bytes_max,
            left: AtomicUsize::new(options.fetches_max),
            at_once: Semaphore::new(AT_ONCE_MAX),
            notes: Mutex::new(Vec::new()),
        })
    }

    /// Limits that were met.
    pub(super) fn notes(&self) -> Vec<String> {
        self.notes.lock().map(|notes| notes.clone()).unwrap_or_default()
    }

    /// Seconds since the look began.
    pub(super) fn now(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Asks, and waits for the whole answer.
    pub(super) async fn fetch(&self, url: &Url, want: &Want) -> Fetch {
        // The semaphore is never closed.
        let _turn = self.at_once.acquire().await;
        let sent_s = self.now();
        let mut fetch = Fetch {
            url: url.clone(),
            range: want.range,
            sent_s,
            first_byte_s: sent_s,
            done_s: sent_s,
            outcome: Err("nothing came".to_owned()),
        };
        let limit = self.timeout + want.held;
        let outcome = tokio::time::timeout(limit, self.follow(&mut fetch, want)).await;
        let late = || Err(format!("no whole answer within {} s", limit.as_secs()));
        fetch.done_s = self.now();
        fetch.outcome = outcome.unwrap_or_else(|_| late());
        fetch
    }

    async fn follow(&self, fetch: &mut Fetch, want: &Want) -> Result<Answer, String> {
        for _ in 0..=REDIRECTS_MAX {
            let answer = self.ask(fetch, want).await?;
            let location = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
            match location.filter(|_| want.playlist && (300..400).contains(&answer.status)) {
                None => return Ok(answer),
                Some(location) => {
                    fetch.url = fetch.url.join(location).map_err(|why| format!("redirected to {location:?}: {why}"))?;
                }
            }
        }
        Err(format!("more than {REDIRECTS_MAX} redirects"))
    }

    async fn ask(&self, fetch: &mut Fetch, want: &Want) -> Result<Answer, String> {
        let took = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if took.is_err() {
            self.note("the limit on requests was met: not everything was looked at");
            return Err("the limit on requests was met".to_owned());
        }
        let mut request = http::Request::get(fetch.url.as_str())
            .header(USER_AGENT, concat!("live360-lint/", env!("CARGO_PKG_VERSION")));
        if want.playlist {
            request = request.header(ACCEPT_ENCODING, "gzip");
        }
        if let Some(range) = want.range.filter(|range| range.length > 0) {
            request = request.header(RANGE, format!("bytes={}-{}", range.offset, range.end().saturating_sub(1)));
        }
        let request = request.body(Empty::new()).map_err(|why| why.to_string())?;
        let response = self.http.request(request).await.map_err(|why| chain(&why))?;
        let limit = if want.playlist { PLAYLIST_BYTES_MAX } else { usize::MAX }.min(self.body_bytes_max);
        read(fetch, response, limit, || self.now()).await
    }

    fn note(&self, text: &str) {
        if let Ok(mut notes) = self.notes.lock()
            && !notes.iter().any(|known| known == text)
        {
            notes.push(text.to_owned());
        }
    }
}

async fn read(
    fetch: &mut Fetch,
    response: http::Response<Incoming>,
    limit: usize,
    now: impl Fn() -> f64,
) -> Result<Answer, String> {
    let tls = response.extensions().get::<TlsVersion>().map(|version| version.0.clone());
    let (head, mut incoming) = response.into_parts();
    let mut body = BytesMut::new();
    fetch.first_byte_s = now();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|why| format!("the answer broke off: {}", chain(&why)))?;
        let Ok(data) = frame.into_data() else { continue };
        if body.is_empty() {
            fetch.first_byte_s = now();
        }
        if body.len().saturating_add(data.len()) > limit {
            return Err(format!("the answer is longer than {limit} bytes"));
        }
        body.extend_from_slice(&data);
    }
    let body = body.freeze();
    let gzip = head.headers.get("content-encoding").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"gzip"));
    let body = if gzip { inflate(&body, limit)? } else { body };
    Ok(Answer { status: head.status.as_u16(), version: head.version, tls, headers: head.headers, body })
}

fn inflate(body: &[u8], limit: usize) -> Result<Bytes, String> {
    let mut out = Vec::new();
    let more_than_limit = (limit as u64).saturating_add(1);
    let mut reader = flate2::read::MultiGzDecoder::new(body).take(more_than_limit);
    reader.read_to_end(&mut out).map_err(|why| format!("the gzip of the answer is broken: {why}"))?;
    if out.len() > limit { Err(format!("the answer is longer than {limit} bytes")) } else { Ok(out.into()) }
}

/// An error with its causes, which say more than "client error (Connect)".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
