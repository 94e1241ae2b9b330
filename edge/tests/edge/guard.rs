//! What viewers send and must not matter, and what is said to those who ask for nothing we have.

use crate::support::{Do, Gate, Origin, Running, media, status, whole};
use futures_util::future::join_all;
use http::Method;
use media::route::Route;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const SEGMENT: &str = "/hls/foo/source/7.m4s";

#[tokio::test]
async fn junk_in_queries_busts_no_cache() {
    let origin = Origin::start(|_| whole("video/mp4", "", media(1000))).await;
    let edge = Running::start(&[&origin]).await;
    for i in 0..50 {
        let got = edge.get(&format!("{SEGMENT}?token={i}&CMCD=bl%3D{i}&_HLS_msn={i}")).await;
        assert_eq!(got.body, media(1000));
    }
    assert_eq!(origin.targets(), [SEGMENT]);
}

#[tokio::test]
async fn nothing_a_viewer_sends_gets_through() {
    let origin = Origin::start(|_| whole("video/mp4", "", media(10))).await;
    let edge = Running::start(&[&origin]).await;
    for (i, extra) in [
        "X-Evil: 1\r\nCookie: a=b\r\nAuthorization: c\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=x\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 0\r\nContent-Length: 0\r\n",
        "Connection: close, X-Other\r\nX-Other: 2\r\nUpgrade: h2c\r\nTE: trailers\r\n",
        "Range: bytes=0-1\r\nIf-None-Match: \"x\"\r\nAccept-Encoding: br\r\nCache-Control: no-cache\r\n",
        "Transfer-Encoding : chunked\r\n",
        " Folded: 1\r\n",
    ]
    .iter()
    .enumerate()
    {
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: y\r\nConnection: close\r\n\r\n";
        let request = format!(
            "GET /hls/foo/source/{i}.m4s HTTP/1.1\r\nHost: x\r\n{extra}Connection: close\r\n\r\n0\r\n\r\n{smuggled}"
        );
        edge.raw(&request).await;
    }
    edge.raw(
        "GET http://evil.example/hls/foo/source/99.m4s HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(origin.heads().len() >= 3, "{:?}", origin.heads());
    let host = format!("host: {}", origin.address);
    let agent = concat!("user-agent: live360-edge/", env!("CARGO_PKG_VERSION"));
    for head in origin.heads() {
        let mut lines: Vec<&str> = head.trim_end().split("\r\n").collect();
        let first = lines.remove(0);
        assert!(first.starts_with("GET /hls/foo/source/") && first.ends_with(".m4s HTTP/1.1"), "{first}");
        lines.sort_unstable();
        let trail = lines.remove(1);
        assert!(trail.starts_with("cdn-loop: live360-") && !trail.contains(','), "{trail}");
        assert_eq!(lines, ["accept-encoding: identity", host.as_str(), agent]);
    }
}

#[tokio::test]
async fn what_the_origin_says_of_itself_stays_here() {
    let origin = Origin::start(|_| {
        vec![Do::Send(
            "HTTP/1.1 200 OK\r\ncontent-type: video/mp4\r\netag: \"e\"\r\nset-cookie: a=b\r\nserver: x\r\n\
             access-control-allow-origin: http://only.example\r\ncache-control: private\r\nage: 7\r\ncontent-length: 2\r\n\r\nab"
                .into(),
        )]
    })
    .await;
    let edge = Running::start(&[&origin]).await;
    let got = edge.get(SEGMENT).await;
    assert_eq!((got.text(), got.header("content-type"), got.header("etag")), ("ab", "video/mp4", "\"e\""));
    assert_eq!(got.headers.get_all("access-control-allow-origin").iter().count(), 1);
    assert_eq!(got.header("access-control-allow-origin"), "*");
    assert_eq!(got.header("cache-control"), "public, max-age=86400, immutable");
    assert!(got.header("age").parse::<u64>().unwrap() >= 7, "an upstream cache's age counts");
    assert!(!got.headers.contains_key("set-cookie") && !got.headers.contains_key("server"));
}

#[tokio::test]
async fn other_addresses_and_methods_are_refused_without_asking() {
    let origin = Origin::start(|_| status(200, "no")).await;
    let edge = Running::start(&[&origin]).await;
    for target in ["/x", "/hls/../etc/passwd", "/hls/foo%2fbar.m3u8", "//hls/foo.m3u8", "/control/x", "/assets/none.js"]
    {
        let got = edge.get(target).await;
        assert_eq!((got.status.as_u16(), got.header("cache-control")), (404, "no-store"), "{target}");
    }
    assert_eq!(edge.get("/x").await.text(), "there is nothing at this address\n");
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        assert_eq!(edge.ask(method, SEGMENT, &[]).await.status, 405);
    }
    assert_eq!(origin.targets().len(), 0);
}

#[tokio::test]
async fn the_page_is_here_whatever_the_origin_does() {
    let edge = Running::with(vec!["http://127.0.0.1:1".into()], 1 << 20).await;
    let page = edge.get("/?url=/hls/foo.m3u8").await;
    assert!(page.status == 200 && page.header("content-type").starts_with("text/html"));
    assert_eq!(page.header("cache-control"), "no-cache");
    let again = edge.ask(Method::GET, "/", &[("if-none-match", page.header("etag"))]).await;
    assert_eq!(again.status, 304);
}

#[tokio::test]
async fn balancers_hear_in_a_line_whether_to_send_viewers_here() {
    assert!(Route::parse("/healthz").is_none(), "no address of a stream");
    let origins = vec!["http://127.0.0.1:1".into()];
    let edge = Running::configured(origins, |config| config.edge.hosts = vec!["tv.example".to_owned()]).await;
    let said = async |status: u16, words: &str| {
        for (method, target) in [(Method::GET, "/healthz"), (Method::GET, "/healthz?x"), (Method::HEAD, "/healthz")] {
            let body = if method == Method::GET { words } else { "" };
            let got = edge.ask(method, target, &[("cdn-loop", "live360-a,live360-b,live360-c,live360-d")]).await;
            assert_eq!((got.status.as_u16(), got.text(), got.header("cache-control")), (status, body, "no-store"));
        }
    };
    said(200, "serving\n").await;
    assert_eq!(edge.ask(Method::POST, "/healthz", &[]).await.status, 405);
    edge.close();
    said(503, "leaving\n").await;
    let page = edge.ask(Method::GET, "/", &[("host", "tv.example")]).await;
    assert_eq!(page.status, 200, "all else goes on");
}

#[tokio::test]
async fn recordings_are_the_origins_to_answer() {
    let origin = Origin::start(|_| status(404, "there is no recording yet")).await;
    let edge = Running::start(&[&origin]).await;
    for target in ["/vod/foo-20261120T172500Z/index.m3u8", "/vod/foo-20261120T172500Z/source/1.m4s"] {
        let got = edge.get(target).await;
        assert_eq!((got.status.as_u16(), got.text()), (404, "there is no recording yet"));
    }
    assert_eq!(origin.targets().len(), 2);
}

#[tokio::test]
async fn streams_that_nobody_has_are_in_no_ones_way() {
    let playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXT-X-MEDIA-SEQUENCE:3\n#EXTINF:6,\n3.m4s\n";
    let origin = Origin::start(move |head| match head.contains("/hls/foo/") {
        true => whole("application/vnd.apple.mpegurl", "", playlist),
        false => status(404, "no such stream"),
    })
    .await;
    let edge = Running::start(&[&origin]).await;
    for hundred in 0..6 {
        let names = (0..100).map(|i| format!("/hls/made-up-{hundred}-{i}/source/index.m3u8")).collect::<Vec<_>>();
        for got in join_all(names.iter().map(|name| edge.get(name))).await {
            assert!([404, 503].contains(&got.status.as_u16()), "{}", got.status);
        }
        assert!(edge.streams() <= 256, "{}", edge.streams());
    }
    assert_eq!(edge.get("/hls/foo/source/index.m3u8").await.text(), playlist);
}

#[tokio::test]
async fn the_list_of_streams_is_asked_for_once_and_outlives_its_origin_for_a_while() {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |_| {
            [vec![Do::Wait(gate.clone())], whole("application/json", "", "{\"streams\":[]}")].concat()
        })
        .await
    };
    let edge = Running::start(&[&origin]).await;
    let opened = async {
        origin.asked(1).await;
        gate.cancel();
    };
    let (answers, ()) = tokio::join!(edge.crowd(50, "/api/streams?x"), opened);
    for got in answers {
        assert_eq!((got.text(), got.header("content-type")), ("{\"streams\":[]}", "application/json"));
        assert_eq!(got.header("cache-control"), "public, max-age=1");
    }
    assert_eq!(origin.targets(), ["/api/streams"]);
    drop(origin);
    loop {
        let got = edge.get("/api/streams").await;
        assert_eq!(got.text(), "{\"streams\":[]}");
        if got.header("cache-status") == "live360; fwd=stale; detail=origin_failed" {
            break;
        }
    }
}

#[tokio::test]
async fn the_list_of_streams_does_not_wait_for_a_slow_origin_when_an_older_one_is_at_hand() {
    let (gate, asked) = (Gate::new(), AtomicUsize::new(0));
    let origin = {
        let gate = gate.clone();
        Origin::start(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
            0 => whole("application/json", "", "{\"streams\":[]}"),
            _ => [vec![Do::Wait(gate.clone())], whole("application/json", "", "{\"assets\":[]}")].concat(),
        })
        .await
    };
    let edge = Running::start(&[&origin]).await;
    while !edge.get("/api/streams").await.header("cache-status").contains("origin_slow") {}
    assert_eq!(origin.targets().len(), 2);
    gate.cancel();
    while edge.get("/api/streams").await.text() != "{\"assets\":[]}" {}
}

#[tokio::test]
async fn a_text_that_the_first_origin_has_not_comes_from_the_next() {
    let first = Origin::start(|_| status(404, "no such stream")).await;
    let second = Origin::start(|_| whole("application/vnd.apple.mpegurl", "", "#EXTM3U\n")).await;
    let edge = Running::start(&[&first, &second]).await;
    for target in ["/hls/foo.m3u8", "/api/streams"] {
        assert_eq!(edge.get(target).await.text(), "#EXTM3U\n", "{target}");
    }
    drop(second);
    let got = edge.get("/hls/bar.m3u8").await;
    assert_eq!(
        (got.status.as_u16(), got.text()),
        (404, "no such stream"),
        "nobody has it: in the words of who answers"
    );
}

#[tokio::test]
async fn a_text_stands_in_for_a_moment_in_which_its_origin_knows_nothing_of_it() {
    let lost = Arc::new(AtomicBool::new(false));
    let origin = {
        let lost = Arc::clone(&lost);
        Origin::start(move |_| match lost.load(Ordering::Relaxed) {
            false => whole("application/vnd.apple.mpegurl", "", "#EXTM3U\n"),
            true => status(404, "no such stream"),
        })
        .await
    };
    let edge = Running::start(&[&origin]).await;
    assert_eq!(edge.get("/hls/foo.m3u8").await.status, 200);
    lost.store(true, Ordering::Relaxed);
    loop {
        let got = edge.get("/hls/foo.m3u8").await;
        assert_eq!((got.status.as_u16(), got.text()), (200, "#EXTM3U\n"));
        if got.header("cache-status").starts_with("live360; fwd=stale") {
            break;
        }
    }
    assert_eq!(edge.get("/hls/bar.m3u8").await.status, 404);
}

#[tokio::test]
async fn origins_that_are_none_are_refused_in_words() {
    let mut config = service::config::Config::default();
    config.edge.http = "127.0.0.1:0".parse().unwrap();
    let bind = |origins: &[&str]| {
        let origins = origins.iter().map(ToString::to_string).collect();
        edge::Edge::bind(&config, origins, None, tokio_util::sync::CancellationToken::new())
    };
    let words = bind(&["ftp://x"]).await.unwrap_err().to_string();
    assert_eq!(
        words,
        "edge.origins: origin \"ftp://x\" is no address to pull from: write http://host:port, without a path"
    );
    assert_eq!(bind(&[]).await.unwrap_err().to_string(), "edge.origins: there is no origin to pull from");
}
