//! The listener with TLS as clients meet it: handshakes, certificates that change, limits, drain.
//!
//! Each test that waits for a timeout uses a short configured one and waits for what it causes, never for time itself.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests: a panic there is the report")]

mod acme;
mod http2;
mod support;

use service::config::{self, Config};
use service::http::Limits;
use service::tls::Tls;
use std::time::Duration;
use support::{Authority, Running, get, limits, rest, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const SHORT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn http2_and_http1_are_agreed_on_in_the_handshake() {
    let server = Running::start(limits()).await;
    for (offered, agreed) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let mut stream = server.connect(offered).await.unwrap();
        assert_eq!(support::agreed(&stream).as_deref(), agreed, "{offered:?}");
        if agreed == Some("h2") {
            assert_eq!(http2::file(stream).await, "abcdef");
        } else {
            stream.write_all(get("/file").as_bytes()).await.unwrap();
            assert!(rest(&mut stream).await.ends_with("\r\n\r\nabcdef"), "{offered:?}");
        }
    }
    assert!(server.connect(&["smtp"]).await.is_err());
}

#[tokio::test]
async fn a_large_answer_comes_whole_over_either_version() {
    let server = Running::start(limits()).await;
    let mut stream = server.connect(&["http/1.1"]).await.unwrap();
    stream.write_all(get("/large").as_bytes()).await.unwrap();
    assert!(rest(&mut stream).await.ends_with(&support::large()));
    assert_eq!(http2::get(server.connect(&["h2"]).await.unwrap(), "/large").await, support::large());
}

#[tokio::test]
async fn new_files_are_shown_to_new_connections_while_old_ones_go_on() {
    let mut server = Running::start(limits()).await;
    let mut old = server.connect(&["http/1.1"]).await.unwrap();
    old.write_all(get("/held").as_bytes()).await.unwrap();
    soon(server.seen.recv()).await.unwrap();
    let first = server.certificate().await;
    server.authority.write(server.folder.path(), "localhost");
    assert!(!server.tls.look(), "files that have only just changed may be half of a pair");
    assert!(server.tls.look());
    let second = server.certificate().await;
    assert_ne!(first, second);
    assert_eq!(server.tls.facts().unwrap().sha256, support::fingerprint(&second));
    server.site.release.notify_one();
    assert!(rest(&mut old).await.ends_with("released"));
}

#[tokio::test]
async fn broken_new_files_leave_the_old_certificate_in_use() {
    let server = Running::start(limits()).await;
    let first = server.certificate().await;
    for (name, text) in [("cert.pem", "half a certif"), ("key.pem", ""), ("cert.pem", "")] {
        std::fs::write(server.folder.path().join(name), text).unwrap();
        assert!(!server.tls.look() && !server.tls.look());
        assert_eq!(server.certificate().await, first);
    }
    server.authority.write(server.folder.path(), "localhost");
    assert!(!server.tls.look() && server.tls.look());
    assert_ne!(server.certificate().await, first);
}

#[tokio::test]
async fn a_session_is_resumed_and_what_was_resumed_works() {
    let server = Running::start(limits()).await;
    let client = server.client(&["http/1.1"]);
    for expected in [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed] {
        let mut stream = server.connect_as(&client).await.unwrap();
        stream.write_all(get("/file").as_bytes()).await.unwrap();
        assert!(rest(&mut stream).await.ends_with("abcdef"));
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(expected));
    }
}

#[tokio::test]
async fn plain_http_is_told_to_come_by_https() {
    let mut server = Running::start(limits()).await;
    for request in [get("/file"), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()] {
        let mut stream = server.plain().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.contains("https://"), "{answer}");
    }
    assert!(server.seen.try_recv().is_err());
}

#[tokio::test]
async fn what_is_neither_tls_nor_http_is_closed() {
    let server = Running::start(limits()).await;
    let mut stream = server.plain().await;
    stream.write_all(&[0; 64]).await.unwrap();
    rest(&mut stream).await;
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_cut_off_at_every_stage() {
    let server = Running::start(Limits { handshake: SHORT, ..limits() }).await;
    let hello = server.client_hello();
    for sent in [&[][..], &hello[..1], &hello[..hello.len() / 2], &hello, b"GET /", b"P"] {
        let mut stream = server.plain().await;
        stream.write_all(sent).await.unwrap();
        rest(&mut stream).await;
    }
}

#[tokio::test]
async fn a_trickle_does_not_prolong_a_handshake_or_a_head() {
    let server = Running::start(Limits { handshake: SHORT, ..limits() }).await;
    // A byte each twentieth of the limit: both would take far longer than it.
    let hello = server.client_hello();
    support::trickle(server.plain().await, &hello, SHORT / 20).await;
    let server = Running::start(Limits { header: SHORT, ..limits() }).await;
    let head = format!("GET /file HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(2000));
    support::trickle(server.connect(&["http/1.1"]).await.unwrap(), head.as_bytes(), SHORT / 20).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_with_a_word() {
    let server = Running::start(Limits { idle: SHORT, ..limits() }).await;
    let mut stream = server.connect(&["http/1.1"]).await.unwrap();
    // Without the word (close_notify) this would be an error.
    assert_eq!(soon(stream.read_to_end(&mut Vec::new())).await.unwrap(), 0);
}

#[tokio::test]
async fn a_reader_that_stands_still_loses_its_connection() {
    let server = Running::start(Limits { write_stall: SHORT * 2, ..limits() }).await;
    let mut stream = server.connect(&["http/1.1"]).await.unwrap();
    stream.write_all(get("/endless").as_bytes()).await.unwrap();
    soon(server.site.dropped.notified()).await;
}

#[tokio::test]
async fn connections_are_limited_also_before_the_handshake() {
    let server = Running::start(Limits { connections: 1, ..limits() }).await;
    let held = server.plain().await;
    soon(async { while server.connect(&["http/1.1"]).await.is_ok() {} }).await;
    drop(held);
    soon(async { while server.connect(&["http/1.1"]).await.is_err() {} }).await;
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_waits_for_no_handshake() {
    let mut server = Running::start(limits()).await;
    let mut held = server.connect(&["http/1.1"]).await.unwrap();
    held.write_all(get("/held").as_bytes()).await.unwrap();
    soon(server.seen.recv()).await.unwrap();
    let mut begun = server.plain().await;
    begun.write_all(&server.client_hello()[..5]).await.unwrap();
    server.shutdown.cancel();
    rest(&mut begun).await;
    assert!(!server.task.is_finished());
    server.site.release.notify_one();
    assert!(rest(&mut held).await.ends_with("released"));
    soon(server.task).await.unwrap();
}

#[tokio::test]
async fn a_certificate_of_its_own_is_the_one_that_is_shown_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { tls: config::Tls::SelfSigned, data_dir: folder.path().to_owned(), ..Config::default() };
    let tls = Tls::from_config(&config).unwrap().unwrap();
    let facts = tls.facts().unwrap();
    assert_eq!(facts.kind, "self-signed");
    for name in ["localhost", "127.0.0.1", "::1"] {
        assert!(facts.names.iter().any(|known| known == name), "{facts:?}");
    }
    assert!(!tls.look(), "it fits this machine");
    let server = Running::with(tls, Authority::new(), folder, limits()).await;
    assert_eq!(support::fingerprint(&server.certificate().await), facts.sha256);
    let again = Tls::from_config(&config).unwrap().unwrap();
    assert_eq!(again.facts().unwrap(), facts);
}

#[tokio::test]
async fn no_tls_is_asked_for_by_default() {
    assert!(Tls::from_config(&Config::default()).unwrap().is_none());
}
