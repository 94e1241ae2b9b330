//! HTTP/2 over TLS: what a client may do, and what no client of ours would.
//!
//! The bad ones write frames by hand: a library would not.

use crate::support::{Running, limits, soon};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2::{Connection, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use service::http::Limits;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

type Stream = TlsStream<TcpStream>;
type Requests = SendRequest<Empty<Bytes>>;

async fn client(stream: Stream) -> (Requests, Connection<TokioIo<Stream>, Empty<Bytes>, TokioExecutor>) {
    hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap()
}

fn request(path: &str) -> http::Request<Empty<Bytes>> {
    http::Request::get(format!("https://localhost{path}")).body(Empty::new()).unwrap()
}

/// The body of one answer.
pub(crate) async fn get(stream: Stream, path: &str) -> String {
    let (mut requests, connection) = client(stream).await;
    let connection = tokio::spawn(connection);
    let answer = soon(requests.send_request(request(path))).await.unwrap();
    let body = soon(answer.into_body().collect()).await.unwrap().to_bytes();
    drop(requests);
    soon(connection).await.unwrap().unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

pub(crate) async fn file(stream: Stream) -> String {
    get(stream, "/file").await
}

#[tokio::test]
async fn an_idle_client_is_told_before_it_is_left() {
    let server = Running::start(Limits { idle: Duration::from_millis(500), ..limits() }).await;
    let (mut requests, connection) = client(server.connect(&["h2"]).await.unwrap()).await;
    let connection = tokio::spawn(connection);
    assert!(soon(requests.send_request(request("/file"))).await.is_ok());
    soon(connection).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stream_that_stands_still_loses_its_connection() {
    let server = Running::start(Limits { write_stall: Duration::from_millis(200), ..limits() }).await;
    let (mut requests, connection) = client(server.connect(&["h2"]).await.unwrap()).await;
    let connection = tokio::spawn(connection);
    let answer = soon(requests.send_request(request("/endless"))).await.unwrap();
    soon(server.site.dropped.notified()).await;
    drop(answer);
    let _ = soon(connection).await.unwrap();
}

/// Types of frames (RFC 9113 section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

/// Flags.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// Errors (RFC 9113 section 7).
const NO_ERROR: u32 = 0;
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

/// `:method: GET`, `:scheme: https`, `:authority: x`, then `:path: /held` (RFC 7541).
const HELD: &[u8] = b"\x82\x87\x01\x01x\x04\x05/held";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn opening() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat()
}

/// Streams that a client opens, as many as are asked for.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|n| 2 * n + 1)
}

/// What a server has sent.
#[derive(Debug, Default)]
struct Heard {
    /// The errors of streams that it reset, and how often.
    resets: BTreeMap<u32, u32>,
    /// The error that it left with, if it did.
    goodbye: Option<u32>,
}

/// A frame: type, flags, payload.
type Frame = (u8, u8, Vec<u8>);

/// What comes from a server, frame by frame.
struct Frames<R> {
    read: R,
    input: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    fn new(read: R) -> Self {
        Self { read, input: Vec::new() }
    }

    /// The next one; nothing once the server has closed.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some([_, high, low, kind, flags, ..]) = self.input.first_chunk::<9>() {
                let end = 9 + usize::from(u16::from_be_bytes([*high, *low]));
                let (kind, flags) = (*kind, *flags);
                if self.input.len() >= end {
                    return Some((kind, flags, self.input.drain(..end).skip(9).collect()));
                }
            }
            if !soon(self.read.read_buf(&mut self.input)).await.is_ok_and(|n| n > 0) {
                return None;
            }
        }
    }
}

fn code(payload: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(payload[at..at + 4].try_into().unwrap())
}

/// Sends all of it and listens until the server has closed, which it must.
async fn say(server: &Running, bytes: Vec<u8>) -> Heard {
    let (read, mut write) = tokio::io::split(server.connect(&["h2"]).await.unwrap());
    // A server that has had enough takes no more.
    let sender = tokio::spawn(async move {
        let _ = write.write_all(&bytes).await;
        let _ = write.flush().await;
        write
    });
    let (mut frames, mut heard) = (Frames::new(read), Heard::default());
    while let Some((kind, _, payload)) = frames.next().await {
        match kind {
            RST_STREAM => *heard.resets.entry(code(&payload, 0)).or_default() += 1,
            GOAWAY => heard.goodbye = Some(code(&payload, 4)),
            _ => {}
        }
    }
    drop(soon(sender).await);
    heard
}

/// How many requests reached the handler.
fn handled(server: &mut Running) -> usize {
    std::iter::from_fn(|| server.seen.try_recv().ok()).count()
}

#[tokio::test]
async fn a_drain_says_goodbye_and_finishes_what_is_in_flight() {
    let mut server = Running::start(limits()).await;
    let (read, mut write) = tokio::io::split(server.connect(&["h2"]).await.unwrap());
    let request = frame(HEADERS, END_STREAM | END_HEADERS, 1, HELD);
    write.write_all(&[opening(), request].concat()).await.unwrap();
    write.flush().await.unwrap();
    soon(server.seen.recv()).await.unwrap();
    server.shutdown.cancel();
    let (mut frames, mut body) = (Frames::new(read), Vec::new());
    while let Some((kind, flags, payload)) = frames.next().await {
        match kind {
            // The answer is not there yet, and the client knows already.
            GOAWAY if code(&payload, 4) == NO_ERROR => server.site.release.notify_one(),
            PING if flags & ACK == 0 => {
                write.write_all(&frame(PING, ACK, 0, &payload)).await.unwrap();
                write.flush().await.unwrap();
            }
            DATA => body.extend(payload),
            _ => {}
        }
    }
    assert_eq!(body, b"released");
    soon(server.task).await.unwrap();
}

#[tokio::test]
async fn a_flood_of_requests_that_are_taken_back_ends_the_connection() {
    let mut server = Running::start(limits()).await;
    let taken_back = |stream| {
        [frame(HEADERS, END_STREAM | END_HEADERS, stream, HELD), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())]
            .concat()
    };
    let heard = say(&server, [opening(), streams(20_000).flat_map(taken_back).collect()].concat()).await;
    assert_eq!(heard.goodbye, Some(ENHANCE_YOUR_CALM), "{heard:?}");
    assert!(handled(&mut server) < 2000);
    assert_eq!(file(server.connect(&["h2"]).await.unwrap()).await, "abcdef");
}

#[tokio::test]
async fn of_thousands_of_streams_only_as_many_as_allowed_are_looked_at() {
    let mut server = Running::start(Limits { h2_streams: 50, ..limits() }).await;
    let requests = streams(5000).flat_map(|stream| frame(HEADERS, END_STREAM | END_HEADERS, stream, HELD)).collect();
    let heard = say(&server, [opening(), requests].concat()).await;
    assert!(heard.resets.get(&REFUSED_STREAM).is_some_and(|refused| *refused < 1000), "{heard:?}");
    assert_eq!(heard.goodbye, Some(ENHANCE_YOUR_CALM), "{heard:?}");
    assert!(handled(&mut server) <= 50);
}

#[tokio::test]
async fn headers_without_end_end_the_connection() {
    let mut server = Running::start(limits()).await;
    // A literal field of 16,000 bytes in each, none of them the last.
    let field = [b"\x00\x01x\x7f\x81\x7c".as_slice(), &vec![b'y'; 16_000]].concat();
    let more = (0..2000).flat_map(|_| frame(CONTINUATION, 0, 1, &field)).collect();
    let heard = say(&server, [opening(), frame(HEADERS, END_STREAM, 1, HELD), more].concat()).await;
    assert!(heard.goodbye.is_some(), "{heard:?}");
    assert_eq!(handled(&mut server), 0);
}

#[tokio::test]
async fn a_head_that_never_ends_is_closed_as_idle() {
    let short = Duration::from_millis(200);
    let mut server = Running::start(Limits { idle: short, header: short, ..limits() }).await;
    say(&server, [opening(), frame(HEADERS, END_STREAM, 1, HELD)].concat()).await;
    assert_eq!(handled(&mut server), 0);
}
