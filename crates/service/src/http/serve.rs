//! The accept loop: one task per connection, watched, limited, drained.
//!
//! Decides nothing about URLs. Everything that every answer of ours has (CORS, lengths) is put on here, once.

use super::activity::{Activity, Cause, Socket, Watched};
use super::connections::{Connections, Full, Permit};
use super::handshake::{self, Agreed};
use super::response::error;
use super::stream::Stream;
use super::{Body, Handler, Limits};
use crate::tls::Tls;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use metrics::{Counter, Gauge, counter, gauge};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long to wait after an accept that failed for want of something (file descriptors, memory) before trying again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(250);

/// What a client without a place is told, if its socket takes it at once.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\n\
access-control-allow-origin: *\r\nretry-after: 5\r\nconnection: close\r\ncontent-length: 38\r\n\r\n\
too many connections: try again later\n";

/// Headers that pages of other sites may read beside the few that they always may.
const EXPOSED: &str = "Age, Cache-Control, Cache-Status, Content-Encoding, Content-Length, Content-Range, Date, ETag, \
Accept-Ranges, Retry-After, Server-Timing";

/// Lets pages of other sites measure how long an answer took.
const TIMING_ALLOW_ORIGIN: header::HeaderName = header::HeaderName::from_static("timing-allow-origin");

/// Resets that an HTTP/2 client may send for requests that were not yet looked at, and errors of streams that it may
/// cause, before its connection is closed: more is a flood (CVE-2023-44487, CVE-2025-8671).
const H2_RESETS: usize = 20;
const H2_STREAM_ERRORS: usize = 64;

/// What an HTTP/2 client may send unasked, in bytes: requests have no bodies here. Our own sending is as wide as the
/// client opens it.
const H2_WINDOW: u32 = 64 * 1024;

/// Bytes of one answer that HTTP/2 takes from its body before the client does.
const H2_SEND_BUFFER: usize = 256 * 1024;

/// How often it is asked whether an HTTP/2 client is still there, and how long it may take to say so.
const H2_PING: Duration = Duration::from_secs(20);
const H2_PONG: Duration = Duration::from_secs(10);

/// Serves until `shutdown`, then finishes what is in flight, for at most [`Limits::drain`].
pub async fn serve(listener: TcpListener, handler: impl Handler, limits: Limits, shutdown: CancellationToken) {
    run(listener, None, handler, limits, shutdown).await;
}

/// The same over TLS. Whoever calls it also runs [`Tls::keep`].
pub async fn serve_tls(
    listener: TcpListener,
    tls: Arc<Tls>,
    handler: impl Handler,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let secured = Secured { tls, meters: handshake::Meters::new(limits.listener) };
    run(listener, Some(secured), handler, limits, shutdown).await;
}

async fn run(
    listener: TcpListener,
    secured: Option<Secured>,
    handler: impl Handler,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let server = Arc::new(Server { meters: Meters::new(limits.listener), secured, limits, shutdown });
    let connections = Connections::default();
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = server.shutdown.cancelled() => break,
            Some(ended) = tasks.join_next() => {
                report(ended);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => match connections.admit(peer.ip(), &server.limits) {
                Ok(permit) => {
                    tasks.spawn(connection(server.clone(), stream, peer, handler.clone(), permit));
                }
                Err(full) => server.turn_away(&stream, peer, full),
            },
            Err(error) => server.accept_failed(&error).await,
        }
    }
    drop(listener);
    let drained = async {
        while tasks.join_next().await.is_some_and(|ended| {
            report(ended);
            true
        }) {}
    };
    if tokio::time::timeout(server.limits.drain, drained).await.is_err() {
        tracing::warn!(
            listener = server.limits.listener,
            left = tasks.len(),
            "drain time is over: dropping connections"
        );
    }
    tasks.shutdown().await;
}

/// What all connections of a listener share.
struct Server {
    limits: Limits,
    secured: Option<Secured>,
    shutdown: CancellationToken,
    meters: Meters,
}

/// What a listener with TLS has.
struct Secured {
    tls: Arc<Tls>,
    meters: handshake::Meters,
}

/// The listener's metrics, looked up once.
struct Meters {
    connections: Gauge,
    refused_in_all: Counter,
    refused_per_address: Counter,
    /// By class of status, 1xx to 5xx.
    responses: [Counter; 5],
}

impl Meters {
    fn new(listener: &'static str) -> Self {
        let refused = |why| counter!("live360_http_connections_refused_total", "listener" => listener, "cause" => why);
        let class = |class| counter!("live360_http_responses_total", "listener" => listener, "class" => class);
        Self {
            connections: gauge!("live360_http_connections", "listener" => listener),
            refused_in_all: refused("in_all"),
            refused_per_address: refused("per_address"),
            responses: ["1xx", "2xx", "3xx", "4xx", "5xx"].map(class),
        }
    }

    fn response(&self, status: StatusCode) {
        if let Some(counter) = self.responses.get(usize::from(status.as_u16() / 100).saturating_sub(1)) {
            counter.increment(1);
        }
    }
}

impl Server {
    fn turn_away(&self, stream: &TcpStream, peer: SocketAddr, full: Full) {
        let counter = match full {
            Full::InAll => &self.meters.refused_in_all,
            Full::PerAddress => &self.meters.refused_per_address,
        };
        counter.increment(1);
        tracing::debug!(listener = self.limits.listener, %peer, ?full, "no place for a connection");
        // Only a courtesy: a socket that doesn't take it at once gets nothing, nor does one that must shake hands first.
        if self.secured.is_none() {
            let _ = stream.try_write(FULL);
        }
    }

    /// Some failures are one connection's; others last, and trying at once would only burn the processor.
    async fn accept_failed(&self, error: &std::io::Error) {
        use std::io::ErrorKind as Kind;
        if matches!(error.kind(), Kind::ConnectionAborted | Kind::ConnectionReset | Kind::Interrupted) {
            return;
        }
        tracing::warn!(listener = self.limits.listener, %error, "can't accept connections; trying again");
        tokio::select! {
            () = tokio::time::sleep(ACCEPT_PAUSE) => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    /// What is spoken on a connection, if that was agreed on; else its first bytes tell.
    fn protocol(&self, agreed: Option<Agreed>) -> auto::Builder<TokioExecutor> {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        // Timeouts are the watch's (see `activity`).
        builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(self.limits.header_bytes);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.h2_streams)
            .max_header_list_size(u32::try_from(self.limits.header_bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(H2_RESETS)
            .max_local_error_reset_streams(H2_STREAM_ERRORS)
            .initial_connection_window_size(H2_WINDOW)
            .initial_stream_window_size(H2_WINDOW)
            .max_send_buf_size(H2_SEND_BUFFER)
            .keep_alive_interval(H2_PING)
            .keep_alive_timeout(H2_PONG);
        match agreed {
            None => builder,
            Some(Agreed::Http1) => builder.http1_only(),
            Some(Agreed::Http2) => builder.http2_only(),
        }
    }
}

/// One connection's life.
async fn connection(server: Arc<Server>, stream: TcpStream, peer: SocketAddr, handler: impl Handler, permit: Permit) {
    let _open = Open::new(&server.meters.connections, permit);
    // Answers are whole or flushed in parts on purpose: waiting to fill a packet only adds delay. A socket that
    // refuses the option is about to fail anyway.
    let _ = stream.set_nodelay(true);
    let Some((stream, agreed)) = server.open(stream, peer).await else { return };
    let activity = Activity::new(Instant::now());
    if agreed == Some(Agreed::Http2) {
        activity.multiplexed();
    }
    let service = service_fn(|request| answer(server.clone(), activity.clone(), handler.clone(), request, peer));
    let builder = server.protocol(agreed);
    let io = TokioIo::new(Socket::new(stream, activity.clone()));
    let mut served = pin!(builder.serve_connection(io, service));
    let mut draining = false;
    loop {
        tokio::select! {
            result = served.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(listener = server.limits.listener, %peer, %error, "connection broke");
                }
                return;
            }
            cause = activity.watch(&server.limits) => {
                server.close(peer, cause);
                if cause == Cause::Idle {
                    // A client of HTTP/2 is told first, and a request that was on its way is answered.
                    served.as_mut().graceful_shutdown();
                    let _ = tokio::time::timeout(server.limits.header, served).await;
                }
                return;
            }
            () = server.shutdown.cancelled(), if !draining => {
                draining = true;
                served.as_mut().graceful_shutdown();
            }
        }
    }
}

impl Server {
    /// Gets a connection ready for HTTP.
    async fn open(&self, stream: TcpStream, peer: SocketAddr) -> Option<(Stream, Option<Agreed>)> {
        let Some(Secured { tls, meters }) = &self.secured else { return Some((Stream::Plain(stream), None)) };
        let shaken = tokio::select! {
            shaken = handshake::shake(stream, tls, &self.limits) => shaken,
            // Nothing was asked for yet.
            () = self.shutdown.cancelled() => return None,
        };
        meters.count(shaken.as_ref().map(|(_, agreed)| *agreed).map_err(|failure| *failure));
        match shaken {
            Ok((stream, agreed)) => Some((stream, Some(agreed))),
            Err(failure) => {
                let (listener, cause) = (self.limits.listener, failure.as_str());
                tracing::debug!(listener, %peer, cause, "no TLS handshake");
                None
            }
        }
    }

    fn close(&self, peer: SocketAddr, cause: Cause) {
        let (listener, cause) = (self.limits.listener, cause.as_str());
        counter!("live360_http_connections_closed_total", "listener" => listener, "cause" => cause).increment(1);
        tracing::debug!(listener, %peer, cause, "closing a connection");
    }
}

/// A connection that is counted among the open ones.
struct Open {
    gauge: Gauge,
    _permit: Permit,
}

impl Open {
    fn new(gauge: &Gauge, permit: Permit) -> Self {
        gauge.increment(1.0);
        Self { gauge: gauge.clone(), _permit: permit }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauge.decrement(1.0);
    }
}

/// One request's life.
async fn answer(
    server: Arc<Server>,
    activity: Activity,
    handler: impl Handler,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Result<Response<Watched>, Infallible> {
    let in_flight = activity.request(request.version() == Version::HTTP_2);
    let (head, open) = (request.method() == Method::HEAD, handler.open_to_pages());
    let response = match refuse(&request, handler.methods(), open) {
        Some(refusal) => refusal,
        None => handler.handle(request.into_parts().0, peer).await,
    };
    server.meters.response(response.status());
    let (parts, body) = finish(response, head, open).into_parts();
    Ok(Response::from_parts(parts, Watched::new(body, in_flight)))
}

/// What never gets to the handler.
fn refuse(request: &Request<Incoming>, methods: &[Method], open: bool) -> Option<Response<Body>> {
    let allowed = || {
        let names = methods.iter().chain([&Method::OPTIONS]).map(Method::as_str).collect::<Vec<_>>();
        names.join(", ")
    };
    // RFC 9112 section 3.2: two names are nobody's; whoever stands before us may have gone by the other one.
    if request.headers().get_all(header::HOST).iter().nth(1).is_some() {
        let mut response = error(StatusCode::BAD_REQUEST, "a request has one Host");
        if request.version() < Version::HTTP_2 {
            insert(&mut response, header::CONNECTION, "close");
        }
        return Some(response);
    }
    if request.method() == Method::OPTIONS {
        return Some(preflight(&allowed(), open));
    }
    if !methods.contains(request.method()) {
        let words = format!("method {} is not allowed here: use {}", request.method(), allowed());
        let mut response = error(StatusCode::METHOD_NOT_ALLOWED, words);
        insert(&mut response, header::ALLOW, &allowed());
        return Some(response);
    }
    if !request.body().is_end_stream() {
        let mut response = error(StatusCode::PAYLOAD_TOO_LARGE, "requests to this server have no body");
        // The body is not read, so an HTTP/1.1 connection has no next request; HTTP/2 has no such header.
        if request.version() < Version::HTTP_2 {
            insert(&mut response, header::CONNECTION, "close");
        }
        return Some(response);
    }
    None
}

fn preflight(allowed: &str, open: bool) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    insert(&mut response, header::ALLOW, allowed);
    if open {
        insert(&mut response, header::ACCESS_CONTROL_ALLOW_METHODS, allowed);
        insert(&mut response, header::ACCESS_CONTROL_ALLOW_HEADERS, "*");
        insert(&mut response, header::ACCESS_CONTROL_MAX_AGE, "86400");
    }
    response
}

/// Puts on what every answer has.
fn finish(mut response: Response<Body>, head: bool, open: bool) -> Response<Body> {
    let status = response.status();
    let bodiless = status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let length = response.body().length();
    if let (Some(length), false) = (length, bodiless) {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    let headers = response.headers_mut();
    if open {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, const { HeaderValue::from_static("*") });
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, const { HeaderValue::from_static(EXPOSED) });
        headers.insert(TIMING_ALLOW_ORIGIN, const { HeaderValue::from_static("*") });
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, const { HeaderValue::from_static("nosniff") });
    if head { response.map(|_| Body::empty()) } else { response }
}

fn insert(response: &mut Response<Body>, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// A connection's task only ends badly by a defect of ours: say so, and go on.
fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection's task panicked");
    }
}
