//! Requests that mean one thing to one server and something else to the next, and clients that only want to be in the way.

use crate::support::{Origin, Running, media, whole, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What must never be asked for.
const SMUGGLED: &str = "GET /hls/foo/source/666.m4s HTTP/1.1\r\nHost: evil\r\n\r\n";

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// 4xx or 5xx, and nothing is asked upstream.
    Refused,
    /// 200: what is asked upstream is the plain request for the address.
    Plain,
    /// The connection ends without an answer.
    Closed,
}
use End::{Closed, Plain, Refused};

async fn origin() -> Origin {
    Origin::start(|_| whole("video/mp4", "", media(10))).await
}

/// Sends each request on a connection of its own and looks at what came of it, here and upstream. `~` in a request stands
/// for an address that was not asked for before, `^` for a line's end, `§` for the request to smuggle in.
async fn check(requests: &[(&str, End)]) {
    let origin = origin().await;
    let edge = Running::start(&[&origin]).await;
    let mut plain = Vec::new();
    for (number, (shape, expected)) in requests.iter().enumerate() {
        let address = format!("/hls/foo/source/{number}.m4s");
        let request = shape.replace('^', "\r\n").replace('~', &address).replace('§', SMUGGLED);
        let answer = within(shape, edge.raw(&request)).await;
        let end = match answer.get(9..10) {
            _ if !answer.starts_with("HTTP/1.") => Closed,
            Some("2") => Plain,
            Some("4" | "5") => Refused,
            _ => panic!("{shape}: {answer}"),
        };
        assert_eq!(end, *expected, "{shape}: {answer}");
        assert!(answer.matches("HTTP/1.").count() <= 1, "{shape}: more answers than requests: {answer}");
        if end == Plain {
            assert!(answer.contains("content-length: 10\r\n"), "{shape}: {answer}");
            plain.push(address);
        }
    }
    assert_eq!(origin.targets(), plain);
    let host = format!("host: {}", origin.address);
    for head in origin.heads() {
        let lines: Vec<&str> = head.trim_end().split("\r\n").collect();
        assert!(lines[0].starts_with("GET /hls/foo/source/") && lines[0].ends_with(".m4s HTTP/1.1"), "{head}");
        assert!(lines.contains(&host.as_str()) && !head.contains("evil"), "{head}");
        assert!(!head.contains("transfer-encoding") && !head.contains("content-length"), "{head}");
    }
}

#[tokio::test]
async fn bodies_of_two_lengths_smuggle_nothing() {
    check(&[
        ("GET ~ HTTP/1.1^Host: x^Connection: close^Content-Length: 63^Transfer-Encoding: chunked^^0^^§", Refused),
        ("GET ~ HTTP/1.1^Host: x^Connection: close^Content-Length: 4^Transfer-Encoding: chunked^^3a^§^0^^", Refused),
        ("GET ~ HTTP/1.1^Host: x^Connection: close^Transfer-Encoding: chunked^Content-Length: 0^^0^^§", Refused),
        ("GET ~ HTTP/1.1^Host: x^Connection: close^Content-Length: 5^Content-Length: 58^^hello§", Refused),
        ("GET ~ HTTP/1.1^Host: x^Connection: close^Content-Length: 58^Content-Length: 5^^§", Refused),
        ("GET ~ HTTP/1.1^Host: x^Connection: close^Content-Length: 5, 58^^hello§", Refused),
        ("GET ~ HTTP/1.1^Host: x^Connection: close^Content-Length: +5^^hello§", Refused),
        ("GET ~ HTTP/1.1^Host: x^Connection: close^Content-Length: -1^^§", Refused),
        ("GET ~ HTTP/1.1^Host: x^Connection: close^Content-Length: 0x5^^hello§", Refused),
        ("GET ~ HTTP/1.1^Host: x^Connection: close^Content-Length: 99999999999999999999^^§", Refused),
        ("GET ~ HTTP/1.1^Host: x^Connection: close^Content-Length: 5^^hello§", Refused),
    ])
    .await;
}

#[tokio::test]
async fn odd_ways_to_write_chunked_smuggle_nothing() {
    check(&[
        ("GET ~ HTTP/1.1^Host: x^Connection: close^Transfer-Encoding: chunked^Transfer-Encoding: x^^0^^§", Refused),
        ("GET ~ HTTP/1.1^Host: x^Connection: close^Transfer-Encoding: x^Transfer-Encoding: chunked^^0^^§", Refused),
        ("GET ~ HTTP/1.1^Host: x^Connection: close^Transfer-Encoding: chunked, identity^^0^^§", Refused),
        ("GET ~ HTTP/1.1^Host: x^Connection: close^Transfer-Encoding: xchunked^^0^^§", Refused),
        ("GET ~ HTTP/1.1^Host: x^Connection: close^Transfer-Encoding : chunked^^0^^§", Refused),
        ("GET ~ HTTP/1.1^Host: x^Connection: close^Transfer-Encoding\t: chunked^^0^^§", Refused),
        ("GET ~ HTTP/1.1^Host: x^Connection: close^ Transfer-Encoding: chunked^^0^^§", Refused),
        ("GET ~ HTTP/1.1^Host: x^Connection: close^X: a^ Transfer-Encoding: chunked^^0^^§", Refused),
        ("GET ~ HTTP/1.1^Host: x^Connection: close^X: a\rTransfer-Encoding: chunked^^0^^§", Refused),
        ("GET ~ HTTP/1.1^Host: x^Connection: close^Transfer-Encoding: chunked^^ffffffffffffffff0^§", Refused),
        ("GET ~ HTTP/1.1^Host: x^Connection: close^Transfer-Encoding: chunked^^0;a=\"^^§\"^^", Refused),
        ("GET ~ HTTP/1.0^Connection: close^Transfer-Encoding: chunked^^0^^§", Refused),
    ])
    .await;
}

#[tokio::test]
async fn odd_lines_smuggle_nothing() {
    check(&[
        ("GET ~ HTTP/1.1^Host : evil^Connection: close^^", Refused),
        ("GET ~ HTTP/1.1^Host: x^Connection: close^Content-Length : 5^^hello§", Refused),
        ("GET ~ HTTP/1.1^Host: x^Connection: close^X: a\0b^^", Refused),
        ("GET ~ HTTP/1.1^Host: x^Connection: close^: evil^^", Refused),
        ("GET ~ HTTP/1.1^Host: x^Connection: close^evil^^", Refused),
        ("GET ~ HTTP/1.1^ Host: x^Connection: close^^", Refused),
        ("GET ~ HTTP/1.1\nHost: evil\nConnection: close\n\n", Plain),
        ("^^GET ~ HTTP/1.1^Host: evil^Connection: close^^", Plain),
        ("GET ~ HTTP/1.1 ^Host: x^Connection: close^^", Refused),
        ("GET ~ HTTP/1.1 /hls/foo/source/666.m4s HTTP/1.1^Host: x^Connection: close^^", Refused),
        ("GET ~\tHTTP/1.1^Host: x^Connection: close^^", Refused),
        ("GET\t~ HTTP/1.1^Host: x^Connection: close^^", Refused),
        ("GET ~ HTTP/1.2^Host: x^Connection: close^^", Refused),
        ("GET ~ http/1.1^Host: x^Connection: close^^", Refused),
        ("GET ~^Host: x^Connection: close^^", Refused),
        ("get ~ HTTP/1.1^Host: x^Connection: close^^", Refused),
        ("PRI * HTTP/2.0^^SM^^§", Closed),
    ])
    .await;
}

#[tokio::test]
async fn other_hosts_methods_and_protocols_are_not_passed_on() {
    check(&[
        ("GET ~ HTTP/1.1^Host: evil^X-Forwarded-Host: evil^Forwarded: host=evil^Connection: close^^", Plain),
        ("GET ~ HTTP/1.1^Host: x^X-Original-URL: /hls/foo/source/666.m4s^Connection: close^^", Plain),
        ("GET ~ HTTP/1.1^Host: x^X-HTTP-Method-Override: PURGE^Connection: close^^", Plain),
        ("GET ~ HTTP/1.1^Host: x^Connection: close, Host, X-Evil^X-Evil: evil^^", Plain),
        ("GET ~ HTTP/1.1^Host: x^Connection: Upgrade, close^Upgrade: websocket^^", Plain),
        (
            "GET ~ HTTP/1.1^Host: x^Connection: Upgrade, HTTP2-Settings, close^Upgrade: h2c^HTTP2-Settings: AAMAAABk^^",
            Plain,
        ),
        ("GET ~ HTTP/1.1^Host: x^Expect: 100-continue^Connection: close^^", Plain),
        ("GET ~#/../666.m4s HTTP/1.1^Host: x^Connection: close^^", Plain),
        ("GET ~?x=%0d%0a§ HTTP/1.1^Host: x^Connection: close^^", Refused),
        ("GET ~?x=%0d%0aHost:%20evil HTTP/1.1^Host: x^Connection: close^^", Plain),
        ("GET ~%0d%0aX:%20evil HTTP/1.1^Host: x^Connection: close^^", Refused),
        ("GET ~\\..\\666.m4s HTTP/1.1^Host: x^Connection: close^^", Refused),
        ("GET ~/../666.m4s HTTP/1.1^Host: x^Connection: close^^", Refused),
        ("GET /%2e~ HTTP/1.1^Host: x^Connection: close^^", Refused),
        ("GET /~ HTTP/1.1^Host: x^Connection: close^^", Refused),
        ("GET * HTTP/1.1^Host: x^Connection: close^^", Refused),
        ("CONNECT evil:80 HTTP/1.1^Host: evil:80^Connection: close^^§", Refused),
        ("CONNECT ~ HTTP/1.1^Host: x^Connection: close^^", Refused),
        ("TRACE ~ HTTP/1.1^Host: x^Connection: close^^", Refused),
        ("PURGE ~ HTTP/1.1^Host: x^Connection: close^^", Refused),
        ("POST ~ HTTP/1.1^Host: x^Connection: close^Content-Length: 58^^§", Refused),
    ])
    .await;
}

#[tokio::test]
async fn the_absolute_form_asks_for_the_path_alone() {
    check(&[
        ("GET http://x~ HTTP/1.1^Host: x^Connection: close^^", Plain),
        ("GET http://evil~ HTTP/1.1^Host: x^Connection: close^^", Plain),
        ("GET http://evil:1~ HTTP/1.1^Host: evil^Connection: close^^", Plain),
        ("GET https://evil~ HTTP/1.1^Host: x^Connection: close^^", Plain),
        ("GET ftp://evil~ HTTP/1.1^Host: x^Connection: close^^", Plain),
        ("GET http://evil/~ HTTP/1.1^Host: x^Connection: close^^", Refused),
        ("GET http://user:evil@evil~ HTTP/1.1^Host: x^Connection: close^^", Plain),
    ])
    .await;
}

#[tokio::test]
async fn heads_that_come_byte_by_byte_are_cut_off_and_are_in_nobodys_way() {
    const SLOW: usize = 200;
    let origin = origin().await;
    let edge = Running::start(&[&origin]).await;
    let mut slow = JoinSet::new();
    for _ in 0..SLOW {
        let stream = TcpStream::connect(edge.address).await.unwrap();
        let (mut reader, mut writer) = stream.into_split();
        slow.spawn(async move {
            let trickle = async {
                let mut tick = tokio::time::interval(std::time::Duration::from_millis(50));
                let begin = b"GET /hls/foo/source/666.m4s HTTP/1.1\r\nHost: x\r\n".iter();
                for byte in begin.chain(b"X-Slow: loris\r\n".iter().cycle()) {
                    tick.tick().await;
                    if writer.write_all(&[*byte]).await.is_err() {
                        break;
                    }
                }
                std::future::pending::<()>().await;
            };
            let mut answer = Vec::new();
            tokio::select! {
                _ = reader.read_to_end(&mut answer) => {}
                () = trickle => {}
            }
            String::from_utf8(answer).unwrap()
        });
    }
    let mut served = 0;
    while !slow.is_empty() {
        let got = edge.get(&format!("/hls/foo/source/{}.m4s", served % 10)).await;
        assert!(got.status == 200 && got.body == media(10));
        served += 1;
        while let Some(answer) = slow.try_join_next() {
            let answer = answer.unwrap();
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
        }
    }
    assert!(served > 10 && origin.targets().len() == 10, "{served}: {:?}", origin.targets());
}

#[tokio::test]
async fn an_edge_that_knows_its_names_answers_to_no_other() {
    let origin = origin().await;
    let names = vec!["tv.example".to_owned(), "192.0.2.7".to_owned()];
    let edge = Running::configured(vec![origin.url()], |config| config.edge.hosts = names).await;
    let target = "/hls/foo/source/7.m4s";
    for (form, expected) in [
        ("GET ~ HTTP/1.1^Host: tv.example^", 200),
        ("GET ~ HTTP/1.1^Host: TV.Example:8088^", 200),
        ("GET ~ HTTP/1.1^Host: 192.0.2.7:80^", 200),
        ("GET http://tv.example~ HTTP/1.1^Host: tv.example^", 200),
        ("GET ~ HTTP/1.1^Host: evil^", 421),
        ("GET ~ HTTP/1.1^Host: tv.example.evil^", 421),
        ("GET ~ HTTP/1.1^Host: evil.tv.example^", 421),
        ("GET ~ HTTP/1.1^Host: eviltv.example^", 421),
        ("GET ~ HTTP/1.1^Host: 192.0.2.70^", 421),
        ("GET ~ HTTP/1.1^Host: tv.example@evil^", 421),
        ("GET ~ HTTP/1.1^Host: [tv.example]^", 421),
        ("GET ~ HTTP/1.1^Host:^", 421),
        ("GET ~ HTTP/1.1^", 421),
        ("GET ~ HTTP/1.0^", 421),
        ("GET http://evil~ HTTP/1.1^Host: tv.example^", 421),
        ("GET ~ HTTP/1.1^Host: evil^X-Forwarded-Host: tv.example^", 421),
        ("GET / HTTP/1.1^Host: evil^", 421),
        ("GET /api/streams HTTP/1.1^Host: evil^", 421),
    ] {
        let request = format!("{form}Connection: close^^").replace('^', "\r\n").replace('~', target);
        let answer = within(form, edge.raw(&request)).await;
        let status = answer.split(' ').nth(1).unwrap_or("none");
        assert_eq!(status, expected.to_string(), "{form}: {answer}");
    }
    let twice = format!("GET {target} HTTP/1.1\r\nHost: tv.example\r\nHost: evil\r\nConnection: close\r\n\r\n");
    let answer = edge.raw(&twice).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(origin.targets(), [target]);
}
