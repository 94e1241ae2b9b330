//! What an origin can do wrong, one connection at a time.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const MINUTE: Wait = Wait { head: Duration::from_secs(60), held: false, past: false };
const MOMENT: Wait = Wait { head: Duration::from_millis(20), held: false, past: false };

fn upstream_of(origins: &[String]) -> Result<Upstream, BadOrigin> {
    Upstream::new(origins, "live360-me".to_owned(), &Trust::default())
}

fn key() -> Key {
    Key::read("/hls/foo/source/7.m4s", None).unwrap()
}

/// Reads one request's head.
async fn request(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    (listener, address)
}

/// An origin that answers every connection's first request with `text` and then holds its peace, or hangs up.
async fn origin(text: &'static str, hang_up: bool) -> String {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let mut kept = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            request(&mut stream).await;
            stream.write_all(text.as_bytes()).await.unwrap();
            if !hang_up {
                kept.push(stream);
            }
        }
    });
    address
}

/// An address where nobody listens.
async fn nobody() -> String {
    listen().await.1
}

async fn ask(origins: &[String], wait: Wait) -> Result<Bytes, Failure> {
    let mut upstream = upstream_of(origins).unwrap();
    upstream.stall = Duration::from_millis(20);
    upstream.get(&key(), wait, &[], &Trail::default()).await?.feed.collect(1000).await
}

#[test]
fn origins_are_plain_http_addresses() {
    for good in ["http://127.0.0.1:8080", "http://origin.internal:80/", "http://[::1]:1", "http://a"] {
        assert!(Origin::parse(good).is_ok(), "{good}");
    }
    for bad in ["", "127.0.0.1:8080", "https://a", "http://a/b", "http://a?x", "http://u:p@a", "ftp://a", "http://"] {
        assert!(Origin::parse(bad).is_err(), "{bad}");
    }
    assert_eq!(upstream_of(&[]).unwrap_err(), BadOrigin::None);
}

#[test]
fn only_strong_etags_are_kept() {
    for (text, kept) in [("\"a\"", true), ("\"\"", true), ("W/\"a\"", false), ("a", false), ("\"a\"b\"", false)] {
        assert_eq!(strong(&HeaderValue::from_static(text)), kept, "{text}");
    }
}

#[track_caller]
fn check(result: &Result<Bytes, Failure>, label: &str) {
    assert_eq!(result.as_ref().map_or_else(Failure::label, |_| "whole"), label, "{result:?}");
}

#[tokio::test]
async fn every_way_to_fail_has_its_name() {
    for (text, hang_up, label) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab", false, "whole"),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno", false, "whole"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", false, "whole"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab", true, "broken"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n", true, "broken"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab", false, "stalled"),
        ("HTTP/1.1 200 OK\r\n\r\nab", true, "nonsense"),
        ("HTTP/1.1 206 Partial Content\r\ncontent-length: 2\r\n\r\nab", false, "nonsense"),
        ("HTTP/1.1 302 Found\r\nlocation: http://elsewhere/\r\ncontent-length: 0\r\n\r\n", false, "nonsense"),
        ("HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 2\r\n\r\nab", false, "nonsense"),
        ("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n", false, "origin_error"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n", false, "stalled"),
        ("garbage\r\n\r\n", true, "broken"),
        ("", true, "broken"),
    ] {
        let result = ask(&[origin(text, hang_up).await], MINUTE).await;
        check(&result, label);
    }
    check(&ask(&[nobody().await], MINUTE).await, "unreachable");
    check(&ask(&[origin("", false).await], MOMENT).await, "silent");
}

#[tokio::test]
async fn the_next_origin_is_asked_when_one_fails() {
    let good = origin("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab", false).await;
    for bad in [
        nobody().await,
        origin("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", false).await,
        origin("garbage\r\n\r\n", true).await,
    ] {
        check(&ask(&[bad, good.clone()], MINUTE).await, "whole");
    }
}

#[test]
fn a_wait_that_the_origin_gave_up_is_not_begun_again_elsewhere() {
    let wait = |held| Wait { head: Duration::from_secs(7), held, past: false };
    let (busy, broken) = (StatusCode::SERVICE_UNAVAILABLE, StatusCode::INTERNAL_SERVER_ERROR);
    for (status, held, seconds, expected) in
        [(busy, true, 6, true), (busy, true, 1, false), (busy, false, 6, false), (broken, true, 6, false)]
    {
        let gave_up = gave_up(&Failure::Origin(status), wait(held), Duration::from_secs(seconds));
        assert_eq!(gave_up, expected, "{status}, held {held}, after {seconds} s");
    }
}

#[tokio::test]
async fn an_origin_that_refuses_to_hold_is_passed_over() {
    let busy = origin("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", false).await;
    let good = origin("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab", false).await;
    check(&ask(&[busy, good], Wait { held: true, ..MINUTE }).await, "whole");
}

#[tokio::test]
async fn who_could_not_be_reached_is_asked_last() {
    let good = origin("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab", false).await;
    let upstream = upstream_of(&[nobody().await, good]).unwrap();
    upstream.get(&key(), MINUTE, &[], &Trail::default()).await.unwrap();
    let down: Vec<bool> = upstream.stat().into_iter().map(|(_, down)| down).collect();
    assert_eq!(down, [true, false]);
}

#[tokio::test]
async fn an_origin_that_has_it_not_is_believed_only_when_no_other_has_it() {
    let missing = origin("HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno", false).await;
    let bad = origin("HTTP/1.1 400 Bad Request\r\ncontent-length: 3\r\n\r\nbad", false).await;
    let good = origin("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab", false).await;
    for (origins, body) in [
        (vec![missing.clone(), good], "ab"),
        (vec![missing.clone(), bad], "no"),
        (vec![missing.clone(), nobody().await], "no"),
        (vec![nobody().await, missing], "no"),
    ] {
        assert_eq!(ask(&origins, MINUTE).await.unwrap(), body, "{origins:?}");
    }
}

#[tokio::test]
async fn an_origin_that_holds_a_question_is_not_down_but_one_that_should_answer_at_once_is() {
    for (held, is_down) in [(true, false), (false, true)] {
        let upstream = upstream_of(&[origin("", false).await]).unwrap();
        let silent = upstream.get(&key(), Wait { held, ..MOMENT }, &[], &Trail::default()).await.unwrap_err();
        assert_eq!((silent, upstream.stat()[0].1), (Failure::Silent(20), is_down));
    }
}

#[tokio::test]
async fn an_origin_is_not_down_because_the_slots_here_were_taken() {
    let upstream = upstream_of(&[origin("", false).await]).unwrap();
    let all = Arc::clone(&upstream.origins[0].quick).acquire_many_owned(QUICK_REQUESTS_MAX as u32).await.unwrap();
    let wait = Wait { head: Duration::from_millis(1500), held: false, past: false };
    let trail = Trail::default();
    let key = key();
    let free = async {
        // Little of the wait is left then.
        tokio::time::sleep(Duration::from_millis(1300)).await;
        drop(all);
    };
    let (result, ()) = tokio::join!(upstream.get(&key, wait, &[], &trail), free);
    assert_eq!((result.unwrap_err(), upstream.stat()[0].1), (Failure::Busy, false));
}

#[tokio::test]
async fn a_kept_connection_that_the_origin_just_closed_costs_nobody_an_answer() {
    let (listener, address) = listen().await;
    let upstream = upstream_of(&[address]).unwrap();
    let script = async {
        // Answers once, takes the next request and hangs up on it, then answers on a new connection.
        for requests in [2, 1] {
            let (mut stream, _) = listener.accept().await.unwrap();
            request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab").await.unwrap();
            if requests > 1 {
                request(&mut stream).await;
            }
        }
    };
    let viewer = async {
        for _ in 0..2 {
            let answer = upstream.get(&key(), MINUTE, &[], &Trail::default()).await.unwrap();
            assert_eq!(answer.feed.collect(1000).await.unwrap(), "ab");
        }
    };
    tokio::join!(script, viewer);
}

#[tokio::test]
async fn a_full_queue_is_said_so() {
    let (listener, address) = listen().await;
    let upstream = upstream_of(&[address]).unwrap();
    let slots = Arc::clone(&upstream.origins[0].quick);
    let _all = slots.acquire_many(QUICK_REQUESTS_MAX as u32).await.unwrap();
    assert_eq!(upstream.get(&key(), MOMENT, &[], &Trail::default()).await.unwrap_err(), Failure::Busy);
    drop(listener);
}

#[tokio::test]
async fn what_goes_upstream_is_ours_alone() {
    let (listener, address) = listen().await;
    let upstream = upstream_of(std::slice::from_ref(&address)).unwrap();
    let script = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        head
    };
    let key = key();
    let trail = Trail::default();
    let (head, answer) = tokio::join!(script, upstream.get(&key, MINUTE, &[], &trail));
    answer.unwrap();
    let mut lines: Vec<&str> = head.trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), "GET /hls/foo/source/7.m4s HTTP/1.1");
    lines.sort_unstable();
    let host = format!("host: {}", address.trim_start_matches("http://"));
    let agent = concat!("user-agent: live360-edge/", env!("CARGO_PKG_VERSION"));
    assert_eq!(lines, ["accept-encoding: identity", "cdn-loop: live360-me", host.as_str(), agent]);
}

#[tokio::test]
async fn those_who_ask_for_the_past_leave_room_for_what_is_live() {
    let silent = listen().await;
    let upstream = Arc::new(upstream_of(std::slice::from_ref(&silent.1)).unwrap());
    let key = key();
    let ask = |wait| {
        let (upstream, key) = (Arc::clone(&upstream), key.clone());
        async move { upstream.ask(0, &key, wait, &Trail::default()).await.map(drop) }
    };
    let past: Vec<_> = (0..2 * PAST_REQUESTS_MAX).map(|_| tokio::spawn(ask(Wait { past: true, ..MINUTE }))).collect();
    let mut taken = Vec::new();
    for _ in 0..PAST_REQUESTS_MAX {
        let (mut stream, _) = silent.0.accept().await.unwrap();
        request(&mut stream).await;
        taken.push(stream);
    }
    assert_eq!(ask(Wait { past: true, ..MOMENT }).await, Err(Failure::Busy));
    let live = tokio::spawn(ask(MINUTE));
    let (mut stream, _) = silent.0.accept().await.unwrap();
    request(&mut stream).await;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    assert_eq!(live.await.unwrap(), Ok(()));
    past.iter().for_each(tokio::task::JoinHandle::abort);
}
