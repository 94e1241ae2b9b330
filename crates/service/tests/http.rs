//! The listener as clients meet it: real sockets, good and bad manners.
//!
//! Each test that waits for a timeout uses a short configured one and waits for what it causes, never for time itself.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests: a panic there is the report")]

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use service::http::{Body, Content, Handler, Limits, error, serve};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a test waits for something that must happen.
const SOON: Duration = Duration::from_secs(20);

/// A server with one page of each kind.
#[derive(Clone)]
struct Site {
    /// Gets the path of each request that reached the handler.
    seen: mpsc::UnboundedSender<String>,
    /// `/held` answers once this is notified.
    release: Arc<Notify>,
    /// Told when a body of `/endless` is dropped.
    dropped: Arc<Notify>,
}

impl Handler for Site {
    async fn handle(&self, request: Parts, _: SocketAddr) -> Response<Body> {
        let _ = self.seen.send(request.uri.path().to_owned());
        match request.uri.path() {
            "/file" => {
                Content::new("text/plain", "no-cache", vec!["abc".into(), "def".into()]).etag("1").answer(&request)
            }
            "/held" => {
                self.release.notified().await;
                Response::new(Body::full("released"))
            }
            "/endless" => {
                let guard = Dropped(self.dropped.clone());
                Response::new(Body::unfold(guard, |guard| async { Some((Ok(Bytes::from(vec![7; 65536])), guard)) }))
            }
            "/broken" => {
                let release = self.release.clone();
                Response::new(Body::unfold(0, move |n| {
                    let release = release.clone();
                    async move {
                        if n == 0 {
                            return Some((Ok(Bytes::from("half of it")), 1));
                        }
                        release.notified().await;
                        Some((Err(std::io::Error::other("upstream is gone")), 2))
                    }
                }))
            }
            _ => error(StatusCode::NOT_FOUND, "there is nothing here"),
        }
    }
}

/// Notifies when it is dropped.
struct Dropped(Arc<Notify>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

struct Running {
    addr: SocketAddr,
    site: Site,
    seen: mpsc::UnboundedReceiver<String>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

async fn start(limits: Limits) -> Running {
    let (seen_by, seen) = mpsc::unbounded_channel();
    let site = Site { seen: seen_by, release: Arc::default(), dropped: Arc::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(serve(listener, site.clone(), limits, shutdown.clone()));
    Running { addr, site, seen, shutdown, task }
}

fn limits() -> Limits {
    Limits::new("test")
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("it should have happened by now")
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// Sends `request` and reads until the server closes.
    async fn ask(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        rest(&mut stream).await
    }
}

/// What comes until the end; a connection that is reset ends too.
async fn rest(stream: &mut TcpStream) -> String {
    let mut out = Vec::new();
    let _ = soon(stream.read_to_end(&mut out)).await;
    String::from_utf8_lossy(&out).into_owned()
}

fn get(path: &str) -> String {
    request("GET", path, "connection: close\r\n")
}

fn request(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n")
}

/// Status line, headers in lower case, body.
fn parts(answer: &str) -> (&str, String, &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let (status, headers) = head.split_once("\r\n").unwrap();
    (status, headers.to_lowercase(), body)
}

#[tokio::test]
async fn a_file_is_answered_and_the_connection_kept() {
    let server = start(limits()).await;
    let two = request("GET", "/file", "") + &get("/file");
    let answer = server.ask(&two).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2);
    assert_eq!(answer.matches("abcdef").count(), 2);
}

#[tokio::test]
async fn head_has_the_length_and_no_body() {
    let server = start(limits()).await;
    let answer = server.ask(&request("HEAD", "/file", "connection: close\r\n")).await;
    let (status, headers, body) = parts(&answer);
    assert_eq!((status, body), ("HTTP/1.1 200 OK", ""));
    assert!(headers.contains("content-length: 6"), "{headers}");
}

#[tokio::test]
async fn ranges_and_conditions_pass_through() {
    let server = start(limits()).await;
    for (header, status, body) in [
        ("range: bytes=2-3", "HTTP/1.1 206 Partial Content", "cd"),
        ("range: bytes=-2", "HTTP/1.1 206 Partial Content", "ef"),
        ("range: bytes=4-", "HTTP/1.1 206 Partial Content", "ef"),
        ("range: bytes=0-1,4-5", "HTTP/1.1 200 OK", "abcdef"),
        ("if-none-match: \"1\"", "HTTP/1.1 304 Not Modified", ""),
    ] {
        let answer = server.ask(&request("GET", "/file", &format!("{header}\r\nconnection: close\r\n"))).await;
        assert_eq!((parts(&answer).0, parts(&answer).2), (status, body), "{header}");
    }
    let answer = server.ask(&request("GET", "/file", "range: bytes=6-\r\nconnection: close\r\n")).await;
    let (status, headers, _) = parts(&answer);
    assert_eq!(status, "HTTP/1.1 416 Range Not Satisfiable");
    assert!(headers.contains("content-range: bytes */6"), "{headers}");
}

#[tokio::test]
async fn every_answer_has_cors_exactly_once() {
    let server = start(limits()).await;
    for (line, status) in [
        (get("/file"), "200"),
        (get("/nothing"), "404"),
        (request("DELETE", "/file", "connection: close\r\n"), "405"),
        (request("GET", "/file", "content-length: 1\r\n"), "413"),
        (request("OPTIONS", "/file", "connection: close\r\n"), "204"),
        (request("GET", "/file", "if-none-match: *\r\nconnection: close\r\n"), "304"),
    ] {
        let answer = server.ask(&line).await;
        let (got, headers, _) = parts(&answer);
        assert!(got.contains(status), "{got}");
        for header in ["access-control-allow-origin: *", "timing-allow-origin: *", "access-control-expose-headers: "] {
            assert_eq!(headers.matches(header).count(), 1, "{status} {header}");
        }
    }
}

#[tokio::test]
async fn preflights_are_answered_without_the_handler() {
    let mut server = start(limits()).await;
    let answer = server.ask(&request("OPTIONS", "/held", "connection: close\r\n")).await;
    let (status, headers, body) = parts(&answer);
    assert_eq!((status, body), ("HTTP/1.1 204 No Content", ""));
    assert!(headers.contains("access-control-allow-methods: get, head, options"), "{headers}");
    assert!(server.seen.try_recv().is_err());
}

#[tokio::test]
async fn other_methods_are_405_in_words() {
    let mut server = start(limits()).await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW"] {
        let answer = server.ask(&request(method, "/file", "connection: close\r\n")).await;
        let (status, headers, body) = parts(&answer);
        assert_eq!(status, "HTTP/1.1 405 Method Not Allowed");
        assert!(headers.contains("allow: get, head, options"), "{headers}");
        assert_eq!(body, format!("method {method} is not allowed here: use GET, HEAD, OPTIONS\n"));
    }
    assert!(server.seen.try_recv().is_err());
}

#[tokio::test]
async fn request_bodies_are_refused_and_never_taken_for_a_request() {
    let mut server = start(limits()).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    let length = format!("content-length: {}\r\n", smuggled.len());
    for headers in [length.as_str(), "transfer-encoding: chunked\r\n"] {
        let answer = server.ask(&(request("GET", "/file", headers) + smuggled)).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    }
    assert!(server.seen.try_recv().is_err());
    assert!(
        server.ask(&request("GET", "/file", "content-length: 0\r\nconnection: close\r\n")).await.contains("abcdef")
    );
}

#[tokio::test]
async fn large_heads_are_refused() {
    let mut server = start(limits()).await;
    let long = format!("x-long: {}\r\n", "y".repeat(64 * 1024));
    let answer = server.ask(&request("GET", "/file", &long)).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert!(server.seen.try_recv().is_err());
}

#[tokio::test]
async fn a_slow_head_is_cut_off_at_every_stage() {
    let server = start(Limits { header: Duration::from_millis(100), ..limits() }).await;
    // "PRI " may still become HTTP/2; "GET" is HTTP/1.1; the last one has had a whole request before.
    for beginning in ["P", "PRI ", "GET /file HTTP/1.1\r\nhost: x\r\n"] {
        assert_eq!(server.ask(beginning).await, "", "{beginning:?}");
    }
    let mut stream = server.connect().await;
    stream.write_all(request("GET", "/file", "").as_bytes()).await.unwrap();
    let mut first = [0; 1024];
    assert!(soon(stream.read(&mut first)).await.unwrap() > 0);
    stream.write_all(b"GET /fi").await.unwrap();
    assert!(!rest(&mut stream).await.contains("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = start(Limits { idle: Duration::from_millis(100), ..limits() }).await;
    assert_eq!(server.ask("").await, "");
    assert!(server.ask(&request("GET", "/file", "")).await.contains("abcdef"));
}

#[tokio::test]
async fn a_handler_may_take_longer_than_any_timeout() {
    let short = Duration::from_millis(20);
    let mut server = start(Limits { idle: short, header: short, write_stall: short, ..limits() }).await;
    let mut stream = server.connect().await;
    stream.write_all(get("/held").as_bytes()).await.unwrap();
    soon(server.seen.recv()).await.unwrap();
    // Time enough for a watch that counts wrongly to strike; being late changes nothing.
    tokio::time::sleep(short * 10).await;
    server.site.release.notify_one();
    assert!(rest(&mut stream).await.ends_with("released"));
}

#[tokio::test]
async fn a_reader_that_stands_still_loses_its_connection() {
    let server = start(Limits { write_stall: Duration::from_millis(200), ..limits() }).await;
    let mut stream = server.connect().await;
    stream.write_all(get("/endless").as_bytes()).await.unwrap();
    soon(server.site.dropped.notified()).await;
}

#[tokio::test]
async fn a_stream_that_stands_still_loses_its_http2_connection() {
    let server = start(Limits { write_stall: Duration::from_millis(200), ..limits() }).await;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(server.connect().await))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::get("http://x/endless").body(Empty::<Bytes>::new()).unwrap();
    let response = soon(sender.send_request(request)).await.unwrap();
    soon(server.site.dropped.notified()).await;
    drop(response);
    let _ = soon(connection).await.unwrap();
}

#[tokio::test]
async fn http2_without_tls_is_spoken_on_the_same_port() {
    let server = start(limits()).await;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(server.connect().await))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    for (method, status, length) in [("GET", 200, 6), ("HEAD", 200, 0), ("POST", 405, 56)] {
        let request = http::Request::builder().method(method).uri("http://x/file").body(Empty::<Bytes>::new()).unwrap();
        let response = soon(sender.send_request(request)).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{method}");
        assert_eq!(response.headers().get_all("access-control-allow-origin").iter().count(), 1);
        let body = soon(response.into_body().collect()).await.unwrap().to_bytes();
        assert_eq!(body.len(), length, "{method}");
    }
    drop(sender);
    soon(connection).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_body_that_fails_is_no_clean_end() {
    let server = start(limits()).await;
    let mut stream = server.connect().await;
    stream.write_all(request("GET", "/broken", "").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"half of it\r\n") {
        assert!(soon(stream.read_buf(&mut answer)).await.unwrap() > 0);
    }
    assert!(String::from_utf8_lossy(&answer).contains("transfer-encoding: chunked"));
    server.site.release.notify_one();
    assert_eq!(rest(&mut stream).await, "", "a last chunk would have been a clean end");
}

#[tokio::test]
async fn connections_are_limited_in_all_and_places_come_back() {
    let mut server = start(Limits { connections: 1, ..limits() }).await;
    let mut first = server.connect().await;
    first.write_all(request("GET", "/file", "").as_bytes()).await.unwrap();
    soon(server.seen.recv()).await.unwrap();
    let answer = server.ask("").await;
    let (status, headers, body) = parts(&answer);
    assert_eq!((status, body), ("HTTP/1.1 503 Service Unavailable", "too many connections: try again later\n"));
    assert!(headers.contains(&format!("content-length: {}", body.len())), "{headers}");
    drop(first);
    soon(async { while !server.ask(&get("/file")).await.contains("abcdef") {} }).await;
}

#[tokio::test]
async fn connections_are_limited_per_address() {
    let mut server = start(Limits { connections_per_address: 1, loopback_is_many: false, ..limits() }).await;
    let mut first = server.connect().await;
    first.write_all(request("GET", "/file", "").as_bytes()).await.unwrap();
    soon(server.seen.recv()).await.unwrap();
    assert!(server.ask("").await.starts_with("HTTP/1.1 503 "));
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_takes_nothing_new() {
    let mut server = start(limits()).await;
    let mut held = server.connect().await;
    held.write_all(request("GET", "/held", "").as_bytes()).await.unwrap();
    soon(server.seen.recv()).await.unwrap();
    let mut idle = server.connect().await;
    idle.write_all(request("GET", "/file", "").as_bytes()).await.unwrap();
    soon(server.seen.recv()).await.unwrap();
    server.shutdown.cancel();
    assert!(rest(&mut idle).await.ends_with("abcdef"));
    soon(async { while TcpStream::connect(server.addr).await.is_ok() {} }).await;
    assert!(!server.task.is_finished());
    server.site.release.notify_one();
    assert!(rest(&mut held).await.ends_with("released"));
    soon(server.task).await.unwrap();
}

#[tokio::test]
async fn a_drain_has_an_end() {
    let mut server = start(Limits { drain: Duration::from_millis(100), ..limits() }).await;
    let mut held = server.connect().await;
    held.write_all(request("GET", "/held", "").as_bytes()).await.unwrap();
    soon(server.seen.recv()).await.unwrap();
    server.shutdown.cancel();
    assert_eq!(rest(&mut held).await, "");
    soon(server.task).await.unwrap();
}
