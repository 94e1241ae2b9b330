//! Connections: a viewer's own, kept alive as a browser does, over TCP or TLS, HTTP/1.1 or HTTP/2.
//!
//! Bodies of media are counted and thrown away where hyper hands them out. Knows nothing of playlists.

use super::ask::{Ask, Failure, Origin};
use super::shared::TEXT_BYTES_MAX;
use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HOST, HeaderValue, RANGE, USER_AGENT};
use http::uri::{Parts, Scheme};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

/// How long a connection may take, TLS included.
const CONNECT: Duration = Duration::from_secs(5);

/// Bytes that hyper may read ahead of us on an HTTP/1.1 connection.
const READ_BYTES: usize = 64 * 1024;

/// What an HTTP/2 server may send of one answer, and of all, before we have taken it: what browsers open.
const H2_STREAM_WINDOW: u32 = 1 << 20;
const H2_WINDOW: u32 = 4 << 20;

/// Which HTTP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// As browsers: what the server offers over TLS, else 1.1.
    Auto,
    /// 1.1.
    One,
    /// 2, without TLS by prior knowledge.
    Two,
}

/// What all viewers of a thread share.
pub(super) struct Net {
    pub(super) tls: Option<TlsConnector>,
    pub(super) version: Version,
    /// Own addresses that connections come from, in turn.
    pub(super) sources: Vec<IpAddr>,
    pub(super) next_source: Cell<usize>,
    /// Whether others than loopback may be asked.
    pub(super) anywhere: bool,
    pub(super) resolved: RefCell<HashMap<Arc<Origin>, SocketAddr>>,
    pub(super) began: Instant,
    /// Connections made.
    pub(super) opened: Cell<u64>,
}

/// One viewer's connections that nothing is asked on.
pub(super) struct Pool {
    net: Rc<Net>,
    idle: RefCell<Vec<(Arc<Origin>, One)>>,
    /// HTTP/2 needs one for each origin.
    shared: RefCell<Vec<(Arc<Origin>, Two)>>,
    /// Where it may turn out that one connection will do, they are made one after the other.
    making: tokio::sync::Mutex<()>,
}

type One = http1::SendRequest<Empty<Bytes>>;
type Two = http2::SendRequest<Empty<Bytes>>;

/// A connection that a request can be sent on.
enum Sender {
    One(One),
    Two(Two),
}

/// What came of a request.
pub(super) struct Fetched {
    /// Moments in seconds since the run began.
    pub(super) first: f64,
    pub(super) bytes: u64,
    pub(super) text: Bytes,
    pub(super) gzip: bool,
    pub(super) outcome: Result<(), Failure>,
}

impl Net {
    /// Seconds since the run began.
    pub(super) fn now(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    async fn resolve(&self, origin: &Arc<Origin>) -> Result<SocketAddr, Failure> {
        let known = self.resolved.borrow().get(origin).copied();
        let address = match known {
            Some(address) => address,
            None => {
                let mut found =
                    tokio::net::lookup_host((origin.host.as_str(), origin.port)).await.map_err(|_| Failure::Connect)?;
                let address = found.next().ok_or(Failure::Connect)?;
                self.resolved.borrow_mut().insert(Arc::clone(origin), address);
                address
            }
        };
        if self.anywhere || address.ip().to_canonical().is_loopback() { Ok(address) } else { Err(Failure::Elsewhere) }
    }

    async fn connect(&self, origin: &Arc<Origin>) -> Result<Sender, Failure> {
        let address = self.resolve(origin).await?;
        let made = tokio::time::timeout(CONNECT, async {
            let tcp = self.tcp(address).await.map_err(|_| Failure::Connect)?;
            self.opened.set(self.opened.get().saturating_add(1));
            let Some(tls) = self.tls.as_ref().filter(|_| origin.https) else {
                return speak(tcp, self.version == Version::Two).await;
            };
            let name = ServerName::try_from(origin.host.clone()).map_err(|_| Failure::Connect)?;
            let stream = tls.connect(name, tcp).await.map_err(|_| Failure::Connect)?;
            let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            speak(stream, two).await
        });
        made.await.unwrap_or(Err(Failure::Connect))
    }

    async fn tcp(&self, address: SocketAddr) -> std::io::Result<TcpStream> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        let turn = self.next_source.get();
        self.next_source.set(turn.wrapping_add(1));
        if let Some(source) = turn.checked_rem(self.sources.len()).and_then(|index| self.sources.get(index)) {
            socket.bind(SocketAddr::new(*source, 0))?;
        }
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

async fn speak<S>(stream: S, two: bool) -> Result<Sender, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    if two {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).initial_stream_window_size(H2_STREAM_WINDOW);
        builder.initial_connection_window_size(H2_WINDOW);
        let (sender, connection) = builder.handshake(io).await.map_err(|_| Failure::Connect)?;
        // Ends with its senders or with the socket; the thread's set of tasks owns it. Its error shows in requests.
        tokio::task::spawn_local(async move { drop(connection.await) });
        return Ok(Sender::Two(sender));
    }
    let handshake = http1::Builder::new().max_buf_size(READ_BYTES).handshake(io);
    let (sender, connection) = handshake.await.map_err(|_| Failure::Connect)?;
    tokio::task::spawn_local(async move { drop(connection.await) });
    Ok(Sender::One(sender))
}

impl Pool {
    pub(super) fn new(net: Rc<Net>) -> Self {
        let (idle, shared, making) = Default::default();
        Self { net, idle, shared, making }
    }

    /// Asks and waits for the whole answer, as long as the request may take. Dropped, it takes its connection along.
    pub(super) async fn fetch(&self, ask: &Ask) -> Fetched {
        let mut fetched = Fetched {
            first: self.net.now(),
            bytes: 0,
            text: Bytes::new(),
            gzip: false,
            outcome: Err(Failure::Timeout),
        };
        let within = Duration::try_from_secs_f64(ask.within_s).unwrap_or(CONNECT);
        let outcome = tokio::time::timeout(within, self.ask(ask, &mut fetched)).await;
        fetched.outcome = outcome.unwrap_or(Err(Failure::Timeout));
        fetched
    }

    async fn ask(&self, ask: &Ask, fetched: &mut Fetched) -> Result<(), Failure> {
        let origin = &ask.resource.place.origin;
        let (mut sender, mut used) = self.sender(origin).await?;
        let response = loop {
            match send(&mut sender, ask).await {
                Ok(response) => break response,
                // The server closed it while nothing was asked: that is no failure, browsers ask again as well.
                Err(_) if used => (sender, used) = (self.net.connect(origin).await?, false),
                Err(error) if error.is_canceled() => return Err(Failure::Connect),
                Err(_) => return Err(Failure::Broken),
            }
        };
        let status = response.status().as_u16();
        self.read(response, ask.kind.is_text() && status == 200, fetched).await?;
        match sender {
            Sender::One(sender) if !sender.is_closed() => self.idle.borrow_mut().push((Arc::clone(origin), sender)),
            Sender::One(_) | Sender::Two(_) => {}
        }
        if status == 200 || status == 206 { Ok(()) } else { Err(Failure::Status(status)) }
    }

    /// A connection, and whether it has been used before.
    async fn sender(&self, origin: &Arc<Origin>) -> Result<(Sender, bool), Failure> {
        if let Some(sender) = self.free(origin) {
            return Ok((sender, true));
        }
        let one_will_do = match self.net.version {
            Version::Two => true,
            Version::Auto => origin.https,
            Version::One => false,
        };
        if !one_will_do {
            return Ok((self.net.connect(origin).await?, false));
        }
        let _turn = self.making.lock().await;
        if let Some(sender) = self.free(origin) {
            return Ok((sender, true));
        }
        let made = self.net.connect(origin).await?;
        if let Sender::Two(sender) = &made {
            self.shared.borrow_mut().push((Arc::clone(origin), sender.clone()));
        }
        Ok((made, false))
    }

    fn free(&self, origin: &Arc<Origin>) -> Option<Sender> {
        let mut shared = self.shared.borrow_mut();
        shared.retain(|(_, sender)| !sender.is_closed());
        if let Some((_, sender)) = shared.iter().find(|(other, _)| other == origin) {
            return Some(Sender::Two(sender.clone()));
        }
        let mut idle = self.idle.borrow_mut();
        idle.retain(|(_, sender)| !sender.is_closed());
        let last = idle.iter().rposition(|(other, _)| other == origin)?;
        Some(Sender::One(idle.swap_remove(last).1))
    }

    async fn read(&self, response: Response<Incoming>, text: bool, fetched: &mut Fetched) -> Result<(), Failure> {
        fetched.gzip = response.headers().get(CONTENT_ENCODING).is_some_and(|value| value == "gzip");
        let mut body = response.into_body();
        let mut more = BytesMut::new();
        fetched.first = self.net.now();
        let mut began = false;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Failure::Broken)?.into_data() else { continue };
            if !std::mem::replace(&mut began, true) {
                fetched.first = self.net.now();
            }
            fetched.bytes = fetched.bytes.saturating_add(data.len() as u64);
            if !text {
                continue;
            }
            if fetched.text.is_empty() {
                fetched.text = data;
            } else {
                more.extend_from_slice(&data);
            }
            if more.len() > TEXT_BYTES_MAX {
                return Err(Failure::NoPlaylist);
            }
        }
        if !more.is_empty() {
            let mut whole = BytesMut::from(&fetched.text[..]);
            whole.unsplit(more);
            fetched.text = whole.freeze();
        }
        Ok(())
    }
}

async fn send(sender: &mut Sender, ask: &Ask) -> hyper::Result<Response<Incoming>> {
    match sender {
        Sender::One(sender) => {
            // The answer before may have been read a moment ago.
            sender.ready().await?;
            let mut request = request(ask, Uri::from(ask.target()));
            if let Ok(host) = HeaderValue::from_str(&ask.resource.place.origin.authority) {
                request.headers_mut().insert(HOST, host);
            }
            sender.send_request(request).await
        }
        Sender::Two(sender) => {
            let origin = &ask.resource.place.origin;
            let mut parts = Parts::default();
            parts.scheme = Some(if origin.https { Scheme::HTTPS } else { Scheme::HTTP });
            parts.authority = origin.authority.parse().ok();
            parts.path_and_query = Some(ask.target());
            let uri = Uri::from_parts(parts).unwrap_or_else(|_| Uri::from(ask.target()));
            sender.send_request(request(ask, uri)).await
        }
    }
}

fn request(ask: &Ask, uri: Uri) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("live360-load/", env!("CARGO_PKG_VERSION"))));
    if ask.kind.is_text() {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if let Some(range) = ask.resource.range.filter(|range| range.length > 0) {
        let text = format!("bytes={}-{}", range.offset, range.end().saturating_sub(1));
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(RANGE, value);
        }
    }
    request
}
