//! What comes before HTTP on a listener with TLS: the handshake, within its limit, and a word to those who begin none.

use super::Limits;
use super::stream::Stream;
use crate::tls::{ACME_ALPN, Tls};
use metrics::{Counter, counter};
use std::io::{self, ErrorKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::rustls;

/// Bytes of a plain request that are read before it is answered. What is left unread would break the connection before
/// the answer is seen.
const PLAIN_BYTES: usize = 16 * 1024;

/// What a client that speaks plain HTTP is told.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
connection: close\r\ncontent-length: 75\r\n\r\n\
this port speaks HTTPS: begin the address with https:// instead of http://\n";

/// What was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agreed {
    /// HTTP/2.
    Http2,
    /// HTTP/1.1, also where the client named none.
    Http1,
}

/// Why there is no connection for HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It took too long.
    Slow,
    /// The client spoke plain HTTP.
    PlainHttp,
    /// The client went away.
    Gone,
    /// The client sent an alert: most often it does not trust the certificate.
    Refused,
    /// There is no certificate yet, no common version, or what came was no handshake.
    Broken,
    /// It was an authority, which has seen its answer. Not a failure at all.
    Challenge,
}

/// Shakes hands on a connection that was just accepted.
pub(super) async fn shake(mut stream: TcpStream, tls: &Tls, limits: &Limits) -> Result<(Stream, Agreed), Failure> {
    let mut otherwise = Failure::Slow;
    let shaken = async {
        let mut first = [0; 1];
        if stream.peek(&mut first).await.map_err(|error| failure(&error))? == 0 {
            return Err(Failure::Gone);
        }
        // A handshake begins with a byte of 22; a method is written in capitals.
        if first.iter().all(u8::is_ascii_uppercase) {
            otherwise = Failure::PlainHttp;
            // Only a courtesy: whoever doesn't take it gets nothing.
            let _ = explain(&mut stream).await;
            return Err(Failure::PlainHttp);
        }
        let mut stream = tls.acceptor().accept(stream).await.map_err(|error| failure(&error))?;
        let agreed = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Agreed::Http2,
            Some(ACME_ALPN) => {
                let _ = stream.shutdown().await;
                return Err(Failure::Challenge);
            }
            _ => Agreed::Http1,
        };
        Ok((Stream::Tls(Box::new(stream)), agreed))
    };
    tokio::time::timeout(limits.handshake, shaken).await.unwrap_or(Err(otherwise))
}

/// Answers a plain request and waits until its client has gone, so that it sees the answer.
async fn explain(stream: &mut TcpStream) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < PLAIN_BYTES {
        if stream.read_buf(&mut request).await? == 0 {
            break;
        }
    }
    stream.write_all(PLAIN).await?;
    stream.shutdown().await?;
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// What an error of a handshake means.
pub(crate) fn failure(error: &io::Error) -> Failure {
    use rustls::Error as Tls;
    match (error.kind(), error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>())) {
        (_, Some(Tls::AlertReceived(_))) => Failure::Refused,
        (_, Some(_)) => Failure::Broken,
        (ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe, None) => Failure::Gone,
        (_, None) => Failure::Broken,
    }
}

/// The metrics of handshakes, looked up once.
pub(super) struct Meters {
    listener: &'static str,
    http1: Counter,
    http2: Counter,
}

impl Meters {
    /// For a listener of this name.
    pub(super) fn new(listener: &'static str) -> Self {
        let done = |version| counter!("live360_tls_handshakes_total", "listener" => listener, "version" => version);
        Self { listener, http1: done("http1"), http2: done("http2") }
    }

    /// Counts one.
    pub(super) fn count(&self, outcome: Result<Agreed, Failure>) {
        match outcome {
            Ok(Agreed::Http1) => self.http1.increment(1),
            Ok(Agreed::Http2) => self.http2.increment(1),
            Err(failure) => count_failure(self.listener, failure),
        }
    }
}

/// Counts a handshake that came to nothing.
pub(crate) fn count_failure(listener: &'static str, failure: Failure) {
    let cause = failure.as_str();
    counter!("live360_tls_handshakes_failed_total", "listener" => listener, "cause" => cause).increment(1);
}

impl Failure {
    /// The word for logs and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::PlainHttp => "plain_http",
            Self::Gone => "gone",
            Self::Refused => "refused",
            Self::Broken => "broken",
            Self::Challenge => "challenge",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_plain_http_has_the_length_it_says() {
        let text = std::str::from_utf8(PLAIN).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
    }
}
