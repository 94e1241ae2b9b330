//! Viewers that cost little: keep-alive connections that send one request after the other and throw the answers away.

use crate::secure::Secure;
use bytes::Bytes;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::Poll;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;

/// What is read at a time; each thread has one such buffer, which stays in its processor's cache.
const READ_BYTES: usize = 256 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Viewer {
    stream: Stream,
    host: String,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// An answer that came whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Got {
    /// Bytes of the body.
    pub(crate) bytes: u64,
    /// When the body's first byte came.
    pub(crate) first: Instant,
    /// When its last one came.
    pub(crate) last: Instant,
}

/// An answer on its way.
#[derive(Debug, Default)]
struct Answer {
    head: Vec<u8>,
    length: Option<u64>,
    got: u64,
    first: Option<Instant>,
}

impl Viewer {
    /// Connects from a loopback address: `from` is its last number.
    pub(crate) async fn connect(server: SocketAddr, from: u8) -> io::Result<Self> {
        Ok(Self { stream: Stream::Plain(socket(server, from).await?), host: server.to_string() })
    }

    /// The same over TLS.
    pub(crate) async fn connect_securely(server: SocketAddr, from: u8, secure: &Secure) -> io::Result<Self> {
        let stream = secure.connect(socket(server, from).await?, server).await?;
        Ok(Self { stream: Stream::Tls(Box::new(stream)), host: server.to_string() })
    }

    /// Gets a path. With `expected`, any other body is an error.
    pub(crate) async fn get(&mut self, path: &str, expected: Option<&Bytes>) -> io::Result<Got> {
        self.send(path).await?;
        self.receive(expected).await
    }

    /// Sends the request.
    pub(crate) async fn send(&mut self, path: &str) -> io::Result<()> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n", self.host);
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(request.as_bytes()).await,
            Stream::Tls(stream) => {
                stream.write_all(request.as_bytes()).await?;
                stream.flush().await
            }
        }
    }

    /// Waits for the answer.
    pub(crate) async fn receive(&mut self, expected: Option<&Bytes>) -> io::Result<Got> {
        let mut answer = Answer::default();
        poll_fn(|context| {
            SCRATCH.with_borrow_mut(|scratch| {
                loop {
                    let mut buffer = ReadBuf::new(scratch);
                    let polled = match &mut self.stream {
                        Stream::Plain(stream) => Pin::new(stream).poll_read(context, &mut buffer),
                        Stream::Tls(stream) => Pin::new(stream).poll_read(context, &mut buffer),
                    };
                    match polled {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Pending => return Poll::Pending,
                    }
                    match answer.take(buffer.filled(), expected) {
                        Ok(None) => {}
                        Ok(Some(got)) => return Poll::Ready(Ok(got)),
                        Err(words) => return Poll::Ready(Err(io::Error::other(words))),
                    }
                }
            })
        })
        .await
    }
}

async fn socket(server: SocketAddr, from: u8) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, from)), 0))?;
    let stream = socket.connect(server).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Answer {
    fn take(&mut self, mut bytes: &[u8], expected: Option<&Bytes>) -> Result<Option<Got>, String> {
        if bytes.is_empty() {
            return Err(format!("the connection ended after {} bytes of {:?}", self.got, self.length));
        }
        if self.length.is_none() {
            let before = self.head.len();
            self.head.extend_from_slice(bytes.get(..bytes.len().min(4096)).unwrap_or(bytes));
            let Some(end) = self.head.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
            self.head.truncate(end);
            self.length = Some(length(&self.head)?);
            bytes = bytes.get(end + 4 - before..).unwrap_or_default();
        }
        let (now, length) = (Instant::now(), self.length.unwrap_or(0));
        if !bytes.is_empty() {
            self.first.get_or_insert(now);
        }
        if let Some(expected) = expected {
            let at = usize::try_from(self.got).unwrap_or(usize::MAX);
            if expected.get(at..at.saturating_add(bytes.len())) != Some(bytes) {
                return Err(format!("wrong bytes behind {at}"));
            }
        }
        self.got += bytes.len() as u64;
        match self.got {
            got if got < length => Ok(None),
            got if got > length => Err("more bytes than announced".to_owned()),
            got => Ok(Some(Got { bytes: got, first: self.first.unwrap_or(now), last: now })),
        }
    }
}

fn length(head: &[u8]) -> Result<u64, String> {
    let text = String::from_utf8_lossy(head);
    if !text.starts_with("HTTP/1.1 200 ") {
        return Err(format!("no 200:\n{text}"));
    }
    let found = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    found.ok_or_else(|| format!("no Content-Length:\n{text}"))
}
