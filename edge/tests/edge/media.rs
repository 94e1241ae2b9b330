//! Media files: one fetch, whatever viewers and origins do.

use crate::sim::Sim;
use crate::sim::stream::Terms;
use crate::support::{Do, Gate, Got, Origin, Running, halting, head, media, send, status, whole, within};
use crate::viewer::Viewer;
use http::Method;
use http_body_util::BodyExt;
use std::sync::atomic::{AtomicUsize, Ordering};

const SEGMENT: &str = "/hls/foo/source/7.m4s";

#[tokio::test]
async fn however_many_ask_for_old_segments_the_newest_comes() {
    let gate = Gate::new();
    let segments: String = (0..300).map(|number| format!("#EXTINF:2,\n{number}.m4s\n")).collect();
    let playlist = format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n{segments}");
    let origin = {
        let gate = gate.clone();
        Origin::start(move |head| match head {
            head if head.contains("m3u8") => whole("application/vnd.apple.mpegurl", "", playlist.clone()),
            head if head.contains("/299.m4s") => whole("video/mp4", "", media(1000)),
            _ => [vec![Do::Wait(gate.clone())], whole("video/mp4", "", media(10))].concat(),
        })
        .await
    };
    let edge = Running::start(&[&origin]).await;
    assert_eq!(edge.get("/hls/foo/source/index.m3u8").await.status, 200);
    let names: Vec<String> = (0..200).map(|number| format!("/hls/foo/source/{number}.m4s")).collect();
    let old = futures_util::future::join_all(names.iter().map(|name| edge.get(name)));
    let newest = async {
        origin.asked(33).await;
        let got = edge.get("/hls/foo/source/299.m4s").await;
        gate.cancel();
        got
    };
    let (old, newest) = tokio::join!(old, newest);
    assert_eq!((newest.status.as_u16(), newest.body), (200, media(1000)));
    for got in old {
        assert!([200, 503, 504].contains(&got.status.as_u16()), "{}", got.status);
    }
}

#[tokio::test]
async fn two_hundred_viewers_of_a_cold_segment_make_one_request() {
    let (body, gate) = (media(400_000), Gate::new());
    let origin = halting(&body, &gate).await;
    let edge = Running::start(&[&origin]).await;
    let mut responses = Vec::new();
    for _ in 0..200 {
        responses.push(edge.open(Method::GET, SEGMENT, &[]).await);
    }
    // Everybody has the first half before the origin sends the second.
    let mut read = Vec::new();
    for response in &mut responses {
        assert_eq!(response.headers()["content-length"], "400000");
        assert_eq!(response.headers()["etag"], "\"seven\"");
        let mut got = 0;
        while got < body.len() / 2 {
            let frame = response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(frame, body.slice(got..got + frame.len()));
            got += frame.len();
        }
        read.push(got);
    }
    gate.cancel();
    for (response, read) in responses.into_iter().zip(read) {
        assert!(read < body.len());
        let got = Got::read(response).await;
        assert!(got.clean && got.body == body.slice(read..));
    }
    let late = edge.get(SEGMENT).await;
    assert!(late.body == body && late.header("cache-status").starts_with("live360; hit; ttl="));
    assert_eq!(origin.targets(), [SEGMENT]);
}

#[tokio::test]
async fn the_fetch_goes_on_when_the_viewer_who_began_it_leaves() {
    let (body, gate) = (media(100_000), Gate::new());
    let origin = halting(&body, &gate).await;
    let edge = Running::start(&[&origin]).await;
    let first = edge.open(Method::GET, SEGMENT, &[]).await;
    let second = edge.open(Method::GET, SEGMENT, &[]).await;
    drop(first);
    gate.cancel();
    let second = Got::read(second).await;
    assert!(second.clean && second.body == body);
    assert_eq!(second.header("cache-status"), "live360; fwd=miss; collapsed");
    assert_eq!(origin.targets().len(), 1);
}

#[tokio::test]
async fn a_fetch_that_breaks_off_breaks_its_readers_and_is_not_kept() {
    let body = media(100_000);
    let (gate, tries) = (Gate::new(), AtomicUsize::new(0));
    let origin = {
        let (body, gate) = (body.clone(), gate.clone());
        Origin::start(move |_| match tries.fetch_add(1, Ordering::Relaxed) {
            0 => vec![head(200, "video/mp4", "", 100_000), send(body.slice(..60_000)), Do::Wait(gate.clone()), Do::Cut],
            _ => whole("video/mp4", "", body.clone()),
        })
        .await
    };
    let edge = Running::start(&[&origin]).await;
    let mut responses = Vec::new();
    for _ in 0..20 {
        responses.push(edge.open(Method::GET, SEGMENT, &[]).await);
    }
    gate.cancel();
    for response in responses {
        let got = Got::read(response).await;
        assert!(!got.clean, "{} bytes and a clean end", got.body.len());
        assert!(got.body.len() <= 60_000 && got.body == body.slice(..got.body.len()));
    }
    let again = edge.get(SEGMENT).await;
    assert!(again.clean && again.body == body);
    assert_eq!(origin.targets().len(), 2);
}

#[tokio::test]
async fn a_body_in_chunks_without_its_end_is_no_clean_end_either() {
    let origin =
        Origin::start(|_| vec![send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"), Do::Cut])
            .await;
    let edge = Running::start(&[&origin]).await;
    assert!(!edge.get(SEGMENT).await.clean);
    // HTTP/1.0 knows no chunks: there the end of the connection would pass for the end of the body.
    let old = edge.raw(&format!("GET {SEGMENT} HTTP/1.0\r\n\r\n")).await;
    assert!(old.starts_with("HTTP/1.0 502"), "{old}");
}

#[tokio::test]
async fn what_is_missing_is_asked_for_once_and_told_in_the_origins_words() {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |_| [vec![Do::Wait(gate.clone())], status(404, "there is no segment 7")].concat()).await
    };
    let edge = Running::start(&[&origin]).await;
    let viewers = edge.crowd(50, SEGMENT);
    let opened = async {
        origin.asked(1).await;
        gate.cancel();
    };
    let (answers, ()) = tokio::join!(viewers, opened);
    for got in answers {
        assert_eq!((got.status.as_u16(), got.text()), (404, "there is no segment 7"));
        assert_eq!(got.header("cache-control"), "no-store");
    }
    assert_eq!(origin.targets().len(), 1);
}

#[tokio::test]
async fn what_is_past_its_time_is_thrown_out_without_anybody_asking() {
    let origin = Origin::start(|_| status(404, "no")).await;
    let edge = Running::start(&[&origin]).await;
    assert_eq!(edge.get(SEGMENT).await.status, 404);
    while edge.stat("/cache/entries") > 0 {
        edge.get("/").await;
    }
    assert_eq!((edge.stat("/memory/bytes"), origin.targets().len()), (0, 1));
}

#[tokio::test]
async fn ranges_heads_and_conditions_are_answered_from_memory() {
    let body = media(1000);
    let origin = {
        let body = body.clone();
        Origin::start(move |_| whole("video/mp4", "seven", body.clone())).await
    };
    let edge = Running::start(&[&origin]).await;
    // The first one is a range of a cold object.
    for (headers, code, from, to) in [
        (&[("range", "bytes=10-19")][..], 206, 10, 20),
        (&[("range", "bytes=-5")], 206, 995, 1000),
        (&[("range", "bytes=990-")], 206, 990, 1000),
        (&[("range", "bytes=0-1,5-6")], 200, 0, 1000),
        (&[("range", "bytes=10-19"), ("if-range", "\"other\"")], 200, 0, 1000),
        (&[("if-none-match", "\"seven\"")], 304, 0, 0),
        (&[("if-none-match", "\"other\"")], 200, 0, 1000),
    ] {
        let got = edge.ask(Method::GET, SEGMENT, headers).await;
        assert_eq!(got.status, code, "{headers:?}");
        assert_eq!(got.body, body.slice(from..to), "{headers:?}");
        assert_eq!(got.header("etag"), "\"seven\"");
        assert_eq!(got.header("cache-control"), "public, max-age=86400, immutable");
    }
    let got = edge.ask(Method::GET, SEGMENT, &[("range", "bytes=1000-")]).await;
    assert_eq!((got.status.as_u16(), got.header("content-range")), (416, "bytes */1000"));
    let got = edge.ask(Method::HEAD, SEGMENT, &[]).await;
    assert_eq!((got.status.as_u16(), got.header("content-length"), got.body.len()), (200, "1000", 0));
    assert_eq!(origin.targets(), [SEGMENT]);
    assert!(origin.heads().iter().all(|head| !head.contains("range") && !head.contains("if-")));
}

#[tokio::test]
async fn a_head_and_a_condition_are_answered_before_the_body_is_here() {
    let (body, gate) = (media(1000), Gate::new());
    let origin = halting(&body, &gate).await;
    let edge = Running::start(&[&origin]).await;
    let got = edge.ask(Method::HEAD, SEGMENT, &[]).await;
    assert_eq!((got.header("content-length"), got.header("accept-ranges")), ("1000", "bytes"));
    let got = edge.ask(Method::GET, SEGMENT, &[("if-none-match", "\"seven\"")]).await;
    assert_eq!((got.status.as_u16(), got.body.len()), (304, 0));
    let range = edge.ask(Method::GET, SEGMENT, &[("range", "bytes=0-9")]);
    let opened = async {
        // Others are answered meanwhile: the range is not.
        for _ in 0..20 {
            edge.ask(Method::HEAD, SEGMENT, &[]).await;
        }
        gate.cancel();
    };
    let (range, ()) = tokio::join!(range, opened);
    assert_eq!((range.status.as_u16(), &range.body), (206, &body.slice(..10)));
    assert_eq!(origin.targets().len(), 1);
}

#[tokio::test]
async fn memory_stays_within_its_bounds_and_the_oldest_goes() {
    let origin = Origin::start(|_| whole("video/mp4", "", media(200_000))).await;
    let budget = 1_000_000;
    let edge = Running::with(vec![origin.url()], budget).await;
    for msn in 0..30 {
        let got = edge.get(&format!("/hls/foo/source/{msn}.m4s")).await;
        assert!(got.clean && got.body == media(200_000));
        assert!(edge.stat("/memory/bytes") <= budget + budget / 10);
        assert!(edge.stat("/cache/bytes") <= budget);
    }
    assert_eq!(edge.stat("/cache/entries"), 4);
    edge.get("/hls/foo/source/29.m4s").await;
    edge.get("/hls/foo/source/0.m4s").await;
    assert_eq!(origin.targets().len(), 31);
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_hurts_nobody() {
    let origin =
        Origin::start(|target| whole("video/mp4", "", media(if target.contains("/1.m4s") { 2_000_000 } else { 1000 })))
            .await;
    let edge = Running::with(vec![origin.url()], 1_000_000).await;
    let got = edge.get("/hls/foo/source/1.m4s").await;
    assert_eq!((got.status.as_u16(), got.header("retry-after")), (503, "1"));
    assert_eq!(got.text(), "the edge has no memory left for this\n");
    assert_eq!(edge.get("/hls/foo/source/2.m4s").await.body, media(1000));
}

#[tokio::test]
async fn an_object_beyond_all_measure_is_not_begun() {
    let origin = Origin::start(|_| vec![head(200, "video/mp4", "", 300_000_000), Do::Wait(Gate::new())]).await;
    let edge = Running::start(&[&origin]).await;
    let got = edge.get(SEGMENT).await;
    assert_eq!((got.status.as_u16(), got.text()), (502, "the object is larger than 268435456 bytes\n"));
}

#[tokio::test]
async fn the_next_origin_stands_in_for_one_that_is_gone() {
    let first = Origin::start(|_| status(200, "first")).await;
    let second = Origin::start(|_| status(200, "second")).await;
    let edge = Running::start(&[&first, &second]).await;
    assert_eq!(edge.get("/hls/foo/source/1.m4s").await.text(), "first");
    drop(first);
    for msn in 2..5 {
        assert_eq!(edge.get(&format!("/hls/foo/source/{msn}.m4s")).await.text(), "second");
    }
    drop(second);
    let got = edge.get("/hls/foo/source/9.m4s").await;
    assert_eq!((got.status.as_u16(), got.header("cache-control")), (502, "no-store"));
    assert!(got.text().starts_with("no origin can be reached (Connection refused"), "{}", got.text());
    assert_eq!(edge.get("/hls/foo/source/1.m4s").await.text(), "first", "what is in memory needs no origin");
}

#[tokio::test]
async fn a_drain_loses_no_download() {
    let (body, gate) = (media(300_000), Gate::new());
    let origin = halting(&body, &gate).await;
    let edge = Running::start(&[&origin]).await;
    let mut responses = Vec::new();
    for _ in 0..10 {
        responses.push(edge.open(Method::GET, SEGMENT, &[]).await);
    }
    edge.shutdown.cancel();
    gate.cancel();
    for response in responses {
        let got = Got::read(response).await;
        assert!(got.clean && got.body == body);
    }
    edge.task.await.unwrap();
}

#[tokio::test]
async fn a_range_from_the_first_byte_on_follows_the_fetch() {
    let (body, gate) = (media(1000), Gate::new());
    let origin = halting(&body, &gate).await;
    let edge = Running::start(&[&origin]).await;
    let open = edge.open(Method::GET, SEGMENT, &[("range", "bytes=0-")]);
    let response = within("an answer while the body is on its way", open).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-range"]),
        (206, &"bytes 0-999/1000".parse().unwrap())
    );
    gate.cancel();
    let got = Got::read(response).await;
    assert!(got.clean && got.body == body);
    assert_eq!(origin.targets().len(), 1);
}

#[tokio::test]
async fn what_a_slow_viewer_is_still_being_sent_counts_though_it_was_thrown_out() {
    let bytes = 20_000_000;
    let body = media(bytes);
    let origin = {
        let body = body.clone();
        Origin::start(move |_| whole("video/mp4", "", body.clone())).await
    };
    // Room for one of them.
    let edge = Running::with(vec![origin.url()], bytes as u64 + 1_000_000).await;
    assert!(edge.get("/hls/foo/source/1.m4s").await.body == body);
    let slow = edge.open(Method::GET, "/hls/foo/source/1.m4s", &[]).await;
    assert!(slow.headers()["cache-status"].to_str().unwrap().contains("hit"));
    let refused = edge.get("/hls/foo/source/2.m4s").await;
    assert_eq!(refused.text_or_size(), "the edge has no memory left for this\n");
    assert_eq!(edge.stat("/cache/entries"), 1, "the first is thrown out, the second is remembered as refused");
    assert!(edge.stat("/memory/bytes") >= bytes as u64, "and still there");
    let slow = Got::read(slow).await;
    assert!(slow.clean && slow.body == body);
    within("room for the second", async { while edge.get("/hls/foo/source/2.m4s").await.status != 200 {} }).await;
}

#[tokio::test]
async fn a_file_that_an_origin_holds_back_is_asked_of_the_next_where_nobody_follows_the_stream() {
    let gate = Gate::new();
    let first = {
        let gate = gate.clone();
        Origin::start(move |_| vec![Do::Wait(gate.clone()), Do::Cut]).await
    };
    let second = Origin::start(|_| whole("video/mp4", "", media(1000))).await;
    // By the config the first may hold it for longer than any test lasts.
    let edge = Running::configured(vec![first.url(), second.url()], |config| config.hls.segment_ms = 60_000).await;
    assert_eq!(within("the second origin's answer", edge.get(SEGMENT)).await.body, media(1000));
    assert_eq!((first.targets().len(), second.targets().len()), (1, 1));
    gate.cancel();
}

#[tokio::test]
async fn a_file_is_held_for_three_targets_of_its_own_stream_whatever_the_config_says() {
    let sim = Sim::start(Terms::default()).await;
    // Three of these are over long before the origin gives up.
    let edge = Running::configured(vec![sim.url()], |config| config.hls.segment_ms = 100).await;
    Viewer::join(edge.address, "foo", "source").await;
    sim.holds("/source/index.m3u8").await;
    let got = edge.get("/hls/foo/source/110.m4s").await;
    assert_eq!((got.status.as_u16(), got.text()), (503, "the origin answered 503 Service Unavailable\n"));
    assert_eq!(sim.gets("/hls/foo/source/110.m4s"), 1);
}

#[tokio::test]
async fn media_of_a_stream_that_nobody_follows_stay_with_the_origin_that_last_had_some() {
    // Same numbers, other bytes: as two origins would be that restarted at the same time.
    let terms = Terms::default();
    let (a, b) = (Sim::start(terms.clone()).await, Sim::start(Terms { seed: 2, ..terms }).await);
    let edge = Running::before(&[&a, &b]).await;
    let get =
        async |piece: &str| crate::sim::stream::Origin::of(&edge.get(&format!("/hls/foo/{piece}.m4s")).await.body).seed;
    assert_eq!((get("source/103").await, get("audio/103").await), (1, 1));
    a.die().await;
    assert_eq!(get("source/104").await, 2);
    a.come_back().await;
    assert_eq!((get("source/105").await, get("audio/105").await, get("source/109.0").await), (2, 2, 2));
    b.die().await;
    assert_eq!((get("source/106").await, get("source/107").await), (1, 1));
}

#[tokio::test]
async fn playlists_of_all_followers_are_paid_for() {
    let [a, b] = Sim::twins(Terms::patient()).await;
    let edge = Running::before(&[&a, &b]).await;
    assert_eq!(edge.stat("/memory/bytes"), 0);
    Viewer::join(edge.address, "foo", "source").await;
    for sim in [&a, &b] {
        sim.asked("/source/index.m3u8?_HLS", 1).await;
    }
    // One of each follower, and what is shown.
    assert!(edge.stat("/memory/bytes") >= 3 * a.playlist("source").len() as u64);
}
