//! HTTP listeners: bodies, handlers, limits, and the answers that every listener of ours gives the same way.
//!
//! A tier supplies a [`Handler`], [`serve`] or [`serve_tls`] does the rest: HTTP/1.1 and HTTP/2 on one port, limits, CORS,
//! refusals in words, drain. Knows no URLs and no media; the rules of caching are the caller's.

mod activity;
mod body;
mod connections;
pub(crate) mod handshake;
mod range;
mod response;
mod serve;
mod socket;
mod stream;

pub use body::Body;
pub use response::{Content, accepts_gzip, error, etag_matches, json};
pub use serve::{serve, serve_tls};

use http::request::Parts;
use http::{Method, Response};
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait to be accepted: a crowd comes at once when a stream begins.
const BACKLOG: u32 = 4096;

/// Listens on an address, with room for a crowd.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart must not wait for the connections of the process before it.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Answers requests. Cloned for each connection, so it should be a handle to shared state.
///
/// A request never has a body, its method is one of [`Handler::methods`] (OPTIONS never gets here), and its head is
/// within [`Limits::header_bytes`]. For HEAD answer as for GET: the body is dropped and its length kept.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Answers one request. What takes long must watch the shutdown token itself: a drain waits for it.
    fn handle(&self, request: Parts, peer: SocketAddr) -> impl Future<Output = Response<Body>> + Send;

    /// Which methods reach [`Handler::handle`]; others are answered 405.
    fn methods(&self) -> &'static [Method] {
        &[Method::GET, Method::HEAD]
    }

    /// Whether pages of other sites may read the answers (CORS and Timing-Allow-Origin for everyone).
    fn open_to_pages(&self) -> bool {
        true
    }
}

/// What one listener puts up with. Where a limit is passed the connection is closed, and counted by listener and cause.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The listener's name in logs and metrics.
    pub listener: &'static str,
    /// Connections in all; one more is answered 503 and closed.
    pub connections: usize,
    /// Connections from one address (an IPv6 /64 counts as one); one more is answered 503 and closed.
    pub connections_per_address: usize,
    /// Whether loopback is exempt from the limit per address: a proxy or an edge on this machine speaks for many.
    pub loopback_is_many: bool,
    /// Bytes of a request's line and headers. At least 8192, which is hyper's own floor.
    pub header_bytes: usize,
    /// From the connection to the end of its TLS handshake.
    pub handshake: Duration,
    /// From a request's first byte to its last header.
    pub header: Duration,
    /// Without any request.
    pub idle: Duration,
    /// How long a client may take none of the bytes that wait for it.
    pub write_stall: Duration,
    /// Requests at a time on one HTTP/2 connection.
    pub h2_streams: u32,
    /// From shutdown to the moment when connections are dropped whatever they do.
    pub drain: Duration,
}

impl Limits {
    /// The defaults under this name.
    pub fn new(listener: &'static str) -> Self {
        Self {
            listener,
            connections: 16_384,
            // Offices and mobile networks put many viewers behind one address.
            connections_per_address: 1024,
            loopback_is_many: true,
            header_bytes: 16 * 1024,
            handshake: Duration::from_secs(5),
            header: Duration::from_secs(5),
            idle: Duration::from_secs(75),
            write_stall: Duration::from_secs(20),
            h2_streams: 100,
            drain: Duration::from_secs(10),
        }
    }
}
