//! Asks origins: connections, timeouts, caps, and what of an answer is taken over.
//!
//! A request upstream is GET, a path and query made from a [`Key`], and fixed headers: nothing of a viewer's request
//! gets through. They say that an edge asks, by the secret that the tiers share. Decides nothing about caching; whom to ask is [`Choice`]'s.

use crate::failure::Failure;
use crate::flight::Head;
use crate::key::Key;
use crate::origins::Choice;
use crate::policy::QUICK_WAIT;
use crate::trail::{CDN_LOOP, Trail};
use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body as _, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use metrics::{counter, gauge};
use service::cluster::Trust;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// From the first packet to a connection.
const CONNECT: Duration = Duration::from_secs(1);

/// How long a body may stand still.
const STALL: Duration = Duration::from_secs(5);

/// Requests at a time to one origin that it can answer at once.
const QUICK_REQUESTS_MAX: usize = 128;

/// Requests at a time to one origin for what is of the past: however many ask for old segments, all of the above is there
/// for what is live.
const PAST_REQUESTS_MAX: usize = 32;

/// Requests at a time to one origin that it may hold.
const HELD_REQUESTS_MAX: usize = 4096;

/// Idle connections kept to one origin.
const IDLE_CONNECTIONS_MAX: usize = 32;

/// Bytes read ahead on one connection, and the most an answer's headers may have.
const BUFFER_BYTES: usize = 128 * 1024;

/// Longest header value that is taken over, in bytes.
const VALUE_BYTES_MAX: usize = 128;

/// Why a list of origins was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadOrigin {
    /// Not an address this edge can pull from.
    #[error("origin {0:?} is no address to pull from: write http://host:port, without a path")]
    Address(String),
    /// None at all.
    #[error("there is no origin to pull from")]
    None,
}

/// How to wait for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wait {
    /// From the request to the answer's head.
    pub(crate) head: Duration,
    /// Whether the origin may hold it.
    pub(crate) held: bool,
    /// Whether it is for a recording or an old segment, which must not be in the way of what is live.
    pub(crate) past: bool,
}

/// A request on its way out.
#[derive(Debug)]
struct Asking<'a> {
    method: Method,
    target: PathAndQuery,
    trail: &'a Trail,
}

/// The origins.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// This edge's own name.
    own: String,
    /// What tells origins that we are a tier of theirs.
    credential: Option<(HeaderName, HeaderValue)>,
    origins: Vec<Origin>,
    choice: Arc<Mutex<Choice>>,
    client: Client<HttpConnector, Empty<Bytes>>,
    stall: Duration,
}

#[derive(Debug)]
struct Origin {
    /// For logs and metrics.
    name: String,
    authority: Authority,
    /// Whether the operator was told that it refuses this edge: once is enough.
    told: AtomicBool,
    quick: Arc<Semaphore>,
    past: Arc<Semaphore>,
    held: Arc<Semaphore>,
}

/// An answer whose body is still to come.
#[derive(Debug)]
pub(crate) struct Answer {
    /// What is known before the body.
    pub(crate) head: Head,
    /// The body.
    pub(crate) feed: Feed,
}

/// A body on its way. Dropped early, its connection is closed.
#[derive(Debug)]
pub(crate) struct Feed {
    body: Incoming,
    /// What was read and not yet given.
    ahead: Option<Bytes>,
    stall: Duration,
    origin: usize,
    choice: Arc<Mutex<Choice>>,
    _permit: OwnedSemaphorePermit,
}

impl Upstream {
    /// Reads the origins' addresses, in order of preference.
    pub(crate) fn new(origins: &[String], own: String, trust: &Trust) -> Result<Self, BadOrigin> {
        let origins = origins.iter().map(|text| Origin::parse(text)).collect::<Result<Vec<_>, _>>()?;
        if origins.is_empty() {
            return Err(BadOrigin::None);
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .pool_idle_timeout(Duration::from_secs(30))
            .http1_max_buf_size(BUFFER_BYTES)
            .build(connector);
        let choice = Arc::new(Mutex::new(Choice::new(origins.len())));
        Ok(Self { own, credential: trust.header(), origins, choice, client, stall: STALL })
    }

    /// Asks one origin after the other until one has it; first those of `prefer`. What the first says who refuses (4xx)
    /// counts only if nobody has it: one that just restarted, or that the stream is not published to, knows nothing of
    /// what others have.
    pub(crate) async fn get(&self, key: &Key, wait: Wait, prefer: &[usize], trail: &Trail) -> Result<Answer, Failure> {
        let mut failure = Failure::Unreachable("there is none".to_owned());
        let mut order = lock(&self.choice).order(Instant::now());
        order.sort_by_key(|index| prefer.iter().position(|preferred| preferred == index).unwrap_or(prefer.len()));
        let mut refusal = None;
        for index in order {
            let asked = Instant::now();
            match self.ask(index, key, wait, trail).await {
                Ok(answer) if answer.head.status == StatusCode::OK => return Ok(answer),
                Ok(answer) => {
                    refusal.get_or_insert(answer);
                }
                Err(last) => {
                    let gave_up = gave_up(&last, wait, asked.elapsed());
                    failure = last;
                    if gave_up {
                        break;
                    }
                }
            }
        }
        refusal.ok_or(failure)
    }

    /// Asks one origin.
    pub(crate) async fn ask(&self, index: usize, key: &Key, wait: Wait, trail: &Trail) -> Result<Answer, Failure> {
        let origin =
            self.origins.get(index).ok_or_else(|| Failure::Unreachable("there is no such origin".to_owned()))?;
        let request = Asking { method: Method::GET, target: target(key)?, trail };
        let result = self.answer(index, origin, request, wait).await;
        let outcome = result.as_ref().err().map_or("answered", Failure::label);
        let name = origin.name.clone();
        counter!("live360_edge_upstream_requests_total", "origin" => name, "outcome" => outcome).increment(1);
        if result.as_ref().is_err_and(|failure| *failure == Failure::Untrusted)
            && !origin.told.swap(true, Ordering::Relaxed)
        {
            tracing::error!(origin = %origin.name, "an origin refuses this edge: cluster.secret must be the same on both");
        }
        if let Err(failure) = &result {
            tracing::debug!(origin = %origin.name, %key, %failure, "an origin failed");
        }
        result
    }

    /// The strong ETag of a file that an origin has.
    pub(crate) async fn etag(&self, index: usize, key: &Key) -> Option<HeaderValue> {
        let origin = self.origins.get(index)?;
        let wait = Wait { head: QUICK_WAIT, held: false, past: false };
        let request = Asking { method: Method::HEAD, target: target(key).ok()?, trail: &Trail::default() };
        let answer = self.answer(index, origin, request, wait).await.ok()?;
        answer.head.etag.filter(|_| answer.head.status == StatusCode::OK)
    }

    /// How many origins there are.
    pub(crate) fn count(&self) -> usize {
        self.origins.len()
    }

    /// An origin's address.
    pub(crate) fn name(&self, index: usize) -> Option<&str> {
        self.origins.get(index).map(|origin| &*origin.name)
    }

    /// Each origin's address, and whether it is asked last at the moment.
    pub(crate) fn stat(&self) -> Vec<(String, bool)> {
        let (choice, now) = (lock(&self.choice), Instant::now());
        let one = |(index, origin): (usize, &Origin)| (origin.name.clone(), choice.is_down(index, now));
        self.origins.iter().enumerate().map(one).collect()
    }

    async fn answer(&self, index: usize, origin: &Origin, asking: Asking<'_>, wait: Wait) -> Result<Answer, Failure> {
        let deadline = tokio::time::Instant::now() + wait.head;
        let slots = match wait {
            Wait { held: true, .. } => &origin.held,
            Wait { past: true, .. } => &origin.past,
            _ => &origin.quick,
        };
        let acquired = tokio::time::timeout_at(deadline, Arc::clone(slots).acquire_owned()).await;
        let Ok(Ok(permit)) = acquired else { return Err(Failure::Busy) };
        let begun = tokio::time::Instant::now();
        let mut response = self.send(origin, &asking, deadline, wait).await;
        if matches!(response, Err(Failure::Broken)) {
            // Most likely a kept connection that the origin closed at this very moment: GET may be sent again.
            response = self.send(origin, &asking, deadline, wait).await;
        }
        match response {
            Ok(response) => {
                lock(&self.choice).answered(index);
                gauge!("live360_edge_origin_up", "origin" => origin.name.clone()).set(1.0);
                let (head, body) = read(response)?;
                let (stall, choice) = (self.stall, Arc::clone(&self.choice));
                let feed = Feed { body, ahead: None, stall, origin: index, choice, _permit: permit };
                Ok(Answer { head, feed })
            }
            // It had little time because the slots here were taken: that is not the origin's fault.
            Err(Failure::Silent(_)) if begun.elapsed() < wait.head / 2 => Err(Failure::Busy),
            // It may be well and only hold the question: others that it answers at once will tell.
            Err(failure @ Failure::Silent(_)) if wait.held => Err(failure),
            Err(failure) => {
                lock(&self.choice).failed(index, Instant::now());
                gauge!("live360_edge_origin_up", "origin" => origin.name.clone()).set(0.0);
                Err(failure)
            }
        }
    }

    async fn send(
        &self,
        origin: &Origin,
        asking: &Asking<'_>,
        deadline: tokio::time::Instant,
        wait: Wait,
    ) -> Result<Response<Incoming>, Failure> {
        let mut request = origin
            .request(asking, self.own.as_str())
            .ok_or(Failure::Nonsense("the request upstream can't be written"))?;
        request.headers_mut().extend(self.credential.clone());
        let silent = || Failure::Silent(millis(wait.head));
        let response = tokio::time::timeout_at(deadline, self.client.request(request)).await.map_err(|_| silent())?;
        response.map_err(|error| if error.is_connect() { unreachable(&error) } else { Failure::Broken })
    }
}

impl Feed {
    /// Takes a body for stalled after this time instead of the usual.
    pub(crate) fn impatient(&mut self, stall: Duration) {
        self.stall = self.stall.min(stall);
    }

    /// The next bytes; `None` at a clean end.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        if let Some(bytes) = self.ahead.take() {
            return Some(Ok(bytes));
        }
        loop {
            let frame = match timeout(self.stall, self.body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(None) => return None,
                Ok(Some(Err(_))) => return Some(Err(self.failed(Failure::Broken))),
                Err(_) => return Some(Err(self.failed(Failure::Stalled(millis(self.stall))))),
            };
            // Trailers are not passed on.
            if let Ok(data) = frame.into_data() {
                return Some(Ok(data));
            }
        }
    }

    /// Leaves out the first `count` bytes.
    pub(crate) async fn skip(&mut self, count: u64) -> Result<(), Failure> {
        let mut left = usize::try_from(count).unwrap_or(usize::MAX);
        while left > 0 {
            let Some(bytes) = self.next().await else { return Err(Failure::Broken) };
            let mut bytes = bytes?;
            let skipped = left.min(bytes.len());
            left = left.saturating_sub(skipped);
            bytes::Buf::advance(&mut bytes, skipped);
            self.ahead = Some(bytes).filter(|bytes| !bytes.is_empty());
        }
        Ok(())
    }

    /// The whole body, of at most `limit` bytes.
    pub(crate) async fn collect(mut self, limit: u64) -> Result<Bytes, Failure> {
        let mut all = bytes::BytesMut::new();
        while let Some(bytes) = self.next().await {
            let bytes = bytes?;
            if all.len().saturating_add(bytes.len()) as u64 > limit {
                return Err(Failure::TooLarge { limit });
            }
            all.extend_from_slice(&bytes);
        }
        Ok(Bytes::copy_from_slice(&all))
    }

    fn failed(&self, failure: Failure) -> Failure {
        lock(&self.choice).failed(self.origin, Instant::now());
        failure
    }
}

impl Origin {
    fn parse(text: &str) -> Result<Self, BadOrigin> {
        let bad = || BadOrigin::Address(text.chars().take(200).collect());
        let uri: Uri = text.parse().map_err(|_| bad())?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(bad)?;
        let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        if uri.scheme() != Some(&Scheme::HTTP) || !bare || authority.host().is_empty() {
            return Err(bad());
        }
        Ok(Self {
            name: authority.to_string(),
            authority: authority.clone(),
            told: AtomicBool::new(false),
            quick: Arc::new(Semaphore::new(QUICK_REQUESTS_MAX)),
            past: Arc::new(Semaphore::new(PAST_REQUESTS_MAX)),
            held: Arc::new(Semaphore::new(HELD_REQUESTS_MAX)),
        })
    }

    fn request(&self, asking: &Asking<'_>, own: &str) -> Option<Request<Empty<Bytes>>> {
        let authority = self.authority.clone();
        let uri = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(authority)
            .path_and_query(asking.target.clone())
            .build()
            .ok()?;
        Request::builder()
            .method(asking.method.clone())
            .uri(uri)
            .header(header::USER_AGENT, concat!("live360-edge/", env!("CARGO_PKG_VERSION")))
            // Compressed once per version here, not once per request there.
            .header(header::ACCEPT_ENCODING, "identity")
            .header(CDN_LOOP, asking.trail.header(own)?)
            .body(Empty::new())
            .ok()
    }
}

/// Takes over what may be taken over.
fn read(response: Response<Incoming>) -> Result<(Head, Incoming), Failure> {
    let (parts, body) = response.into_parts();
    match parts.status {
        StatusCode::OK => {}
        // What viewers may watch is not the origins' matter: this is about us.
        StatusCode::UNAUTHORIZED => return Err(Failure::Untrusted),
        status if status.is_client_error() => {}
        status if status.is_server_error() => return Err(Failure::Origin(status)),
        _ => return Err(Failure::Nonsense("neither 200 nor an error")),
    }
    if parts.headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(Failure::Nonsense("an encoding that nobody asked for"));
    }
    let length = body.size_hint().exact();
    // A body that ends with its connection can't be told from one that was cut off.
    let framed = parts.version == Version::HTTP_2 || parts.headers.contains_key(header::TRANSFER_ENCODING);
    if length.is_none() && !framed {
        return Err(Failure::Nonsense("a body without a length"));
    }
    let seconds = value(&parts.headers, &header::AGE).and_then(|age| age.to_str().ok()?.parse::<u32>().ok());
    let head = Head {
        status: parts.status,
        length,
        content_type: value(&parts.headers, &header::CONTENT_TYPE),
        etag: value(&parts.headers, &header::ETAG).filter(strong),
        received: Instant::now(),
        age: Duration::from_secs(seconds.unwrap_or(0).into()),
    };
    Ok((head, body))
}

fn target(key: &Key) -> Result<PathAndQuery, Failure> {
    key.to_string().parse().map_err(|_| Failure::Nonsense("the request upstream can't be written"))
}

fn value(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    headers.get(name).filter(|value| value.len() <= VALUE_BYTES_MAX && value.to_str().is_ok()).cloned()
}

/// A weak ETag says nothing about bytes, which ranges need.
pub(crate) fn strong(etag: &HeaderValue) -> bool {
    let inner = etag.as_bytes().strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    inner.is_some_and(|inner| !inner.contains(&b'"'))
}

/// Whether an origin held a request as long as it does and nothing came: another would only hold it again. One that says
/// so at once can't serve the stream, and the next is asked.
pub(crate) fn gave_up(failure: &Failure, wait: Wait, waited: Duration) -> bool {
    wait.held && *failure == Failure::Origin(StatusCode::SERVICE_UNAVAILABLE) && waited >= wait.head / 2
}

fn unreachable(error: &dyn std::error::Error) -> Failure {
    // The outer words are only "client error (Connect)": the innermost cause is what helps.
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    Failure::Unreachable(cause.to_string().chars().take(200).collect())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn lock(choice: &Mutex<Choice>) -> MutexGuard<'_, Choice> {
    // Nothing panics while it holds the lock.
    choice.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
