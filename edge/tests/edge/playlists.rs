//! Playlists: one wait upstream for everybody who waits for the same, and never back in time.

use crate::support::{Do, Gate, Got, Origin, Running, status, whole};
use http::Method;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const PLAIN: &str = "/hls/foo/source/index.m3u8";
const NEXT: &str = "/hls/foo/source/index.m3u8?_HLS_msn=9&_HLS_part=1";
const KIND: &str = "application/vnd.apple.mpegurl";

/// A playlist up to part `parts` of segment `open`.
fn playlist(open: u64, parts: u64) -> String {
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:2\n#EXT-X-PART-INF:PART-TARGET=0.5\n\
         #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5\n#EXT-X-MEDIA-SEQUENCE:{}\n",
        open - 5
    );
    for msn in open - 5..open {
        text += &format!("#EXTINF:2.0,\n{msn}.m4s\n");
    }
    for part in 0..parts {
        text += &format!("#EXT-X-PART:DURATION=0.5,URI=\"{open}.{part}.m4s\"\n");
    }
    text
}

/// An origin at segment 9, part 0, that holds the wait for part 1 until the gate opens.
async fn live(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |target| match target {
        PLAIN => whole(KIND, "one", playlist(9, 1)),
        NEXT => [vec![Do::Wait(gate.clone())], whole(KIND, "two", playlist(9, 2))].concat(),
        // What comes behind that never comes.
        target if target.starts_with(PLAIN) => vec![Do::Wait(Gate::new())],
        _ => status(404, "what?"),
    })
    .await
}

#[tokio::test]
async fn a_hundred_viewers_who_wait_for_one_part_make_one_wait() {
    let gate = Gate::new();
    let origin = live(&gate).await;
    let edge = Running::start(&[&origin]).await;
    let opened = async {
        origin.asked(2).await;
        gate.cancel();
    };
    // Each has a parameter of his own.
    let waits = format!("{NEXT}&token=x");
    let (answers, ()) = tokio::join!(edge.crowd(100, &waits), opened);
    for got in &answers {
        assert_eq!((got.status.as_u16(), got.text()), (200, playlist(9, 2).as_str()));
        assert_eq!((got.header("cache-control"), got.header("age")), ("public, max-age=12", "0"));
        assert_eq!((got.header("content-type"), got.header("etag")), (KIND, "\"two\""));
    }
    assert_eq!(origin.targets(), [PLAIN, NEXT]);
    // Whoever asks for what is in it gets it from memory, also without directives.
    for target in [NEXT, "/hls/foo/source/index.m3u8?_HLS_msn=8&_HLS_part=0"] {
        let got = edge.get(target).await;
        assert!(got.text() == playlist(9, 2) && got.header("cache-status").starts_with("live360; hit"));
    }
}

#[tokio::test]
async fn asking_too_far_ahead_is_refused_and_holds_nothing_upstream() {
    let gate = Gate::new();
    let origin = live(&gate).await;
    let edge = Running::start(&[&origin]).await;
    for query in ["_HLS_msn=11", "_HLS_msn=99999&_HLS_part=3", "_HLS_msn=9&_HLS_part=900"] {
        let got = edge.get(&format!("{PLAIN}?{query}")).await;
        assert_eq!(got.status.as_u16(), 400, "{query}: {}", got.text());
        assert!(got.text().starts_with("_HLS_"), "{}", got.text());
    }
    for query in ["_HLS_msn=x", "_HLS_part=1", "_HLS_skip=maybe"] {
        assert_eq!(edge.get(&format!("{PLAIN}?{query}")).await.status, 400, "{query}");
    }
    assert!(origin.targets().iter().all(|target| [PLAIN, NEXT].contains(&target.as_str())), "one follower");
}

#[tokio::test]
async fn any_number_that_is_there_is_one_key() {
    let gate = Gate::new();
    let origin = live(&gate).await;
    let edge = Running::start(&[&origin]).await;
    let all = (0..=8).flat_map(|msn| (0..20).map(move |part| format!("{PLAIN}?_HLS_msn={msn}&_HLS_part={part}")));
    // The last part numbers of segment 8 mean part 0 of segment 9, which is there too.
    for target in all {
        assert_eq!(edge.get(&target).await.text(), playlist(9, 1));
    }
    assert!(origin.targets().iter().all(|target| [PLAIN, NEXT].contains(&target.as_str())), "one follower");
}

#[tokio::test]
async fn versions_are_compressed_here_and_tagged_apart() {
    let gate = Gate::new();
    let origin = live(&gate).await;
    let edge = Running::start(&[&origin]).await;
    let zipped = edge.ask(Method::GET, PLAIN, &[("accept-encoding", "gzip, br")]).await;
    assert_eq!((zipped.header("content-encoding"), zipped.header("vary")), ("gzip", "Accept-Encoding"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(zipped.body.as_ref()).read_to_string(&mut text).unwrap();
    assert_eq!(text, playlist(9, 1));
    let plain = edge.get(PLAIN).await;
    assert_eq!((plain.text(), plain.header("content-encoding")), (playlist(9, 1).as_str(), ""));
    assert_eq!((plain.header("etag"), zipped.header("etag")), ("\"one\"", "\"one-gz\""));
    assert_eq!(plain.header("cache-control"), "public, max-age=1");
    let headers = [("accept-encoding", "gzip"), ("if-none-match", "\"one-gz\"")];
    assert_eq!(edge.ask(Method::GET, PLAIN, &headers).await.status, 304);
    assert!(origin.heads().iter().all(|head| head.contains("accept-encoding: identity")));
}

#[tokio::test]
async fn an_origin_that_gives_up_a_wait_is_believed() {
    let origin = Origin::start(|target| match target {
        PLAIN => whole(KIND, "", playlist(9, 1)),
        _ => status(503, "nothing came"),
    })
    .await;
    let edge = Running::start(&[&origin]).await;
    let got = edge.get(NEXT).await;
    assert_eq!((got.status.as_u16(), got.header("retry-after"), got.header("cache-control")), (503, "1", "no-store"));
    // It says so at once each time, and is asked again at a pace that it can bear.
    assert!(origin.targets().len() < 60, "{} questions in six seconds", origin.targets().len());
}

#[tokio::test]
async fn a_file_that_the_playlist_lists_is_not_waited_for_as_if_it_were_to_come() {
    let origin = Origin::start(|target| match target {
        PLAIN => whole(KIND, "", playlist(9, 1)),
        _ => vec![Do::Wait(Gate::new())],
    })
    .await;
    let edge = Running::start(&[&origin]).await;
    edge.get(PLAIN).await;
    let got = edge.get("/hls/foo/source/8.m4s").await;
    assert_eq!((got.status.as_u16(), got.text()), (504, "the origin sent no answer within 2000 ms\n"));
}

#[tokio::test]
async fn a_playlist_never_goes_back_in_time() {
    let version = Arc::new(AtomicU64::new(9));
    let origin = {
        let version = Arc::clone(&version);
        Origin::start(move |_| whole(KIND, "", playlist(version.load(Ordering::Relaxed), 1))).await
    };
    let edge = Running::start(&[&origin]).await;
    assert_eq!(edge.get(PLAIN).await.text(), playlist(9, 1));
    version.store(7, Ordering::Relaxed);
    // Until the edge has asked again twice, and got the older one twice.
    while origin.targets().len() < 3 {
        assert_eq!(edge.get(PLAIN).await.text(), playlist(9, 1));
    }
    version.store(10, Ordering::Relaxed);
    while edge.get(PLAIN).await.text() != playlist(10, 1) {}
}

#[tokio::test]
async fn a_playlist_stands_in_for_a_moment_when_the_origin_is_gone_and_then_says_so() {
    let gate = Gate::new();
    let origin = live(&gate).await;
    let edge = Running::start(&[&origin]).await;
    assert_eq!(edge.get(PLAIN).await.status, 200);
    drop(origin);
    let mut stood_in = false;
    loop {
        let got = edge.get(PLAIN).await;
        stood_in |= got.header("cache-status").contains("stale");
        if got.status != 200 {
            assert_eq!((got.status.as_u16(), got.header("cache-control")), (502, "no-store"));
            break;
        }
        assert_eq!(got.text(), playlist(9, 1));
    }
    assert!(stood_in);
}

#[tokio::test]
async fn an_answer_that_is_no_playlist_is_not_passed_off_as_one() {
    let origin = Origin::start(|_| whole("text/html", "", "<html>not here</html>")).await;
    let edge = Running::start(&[&origin]).await;
    let got = edge.get(PLAIN).await;
    assert_eq!((got.status.as_u16(), got.text()), (502, "the origin's answer makes no sense: no media playlist\n"));
    assert_eq!(edge.get("/hls/foo.m3u8").await.status, 200, "the edge reads media playlists only");
}

#[tokio::test]
async fn an_origin_without_blocking_reload_is_served_all_the_same() {
    let text = "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXT-X-MEDIA-SEQUENCE:3\n#EXTINF:6,\n3.m4s\n";
    let origin = Origin::start(move |_| whole(KIND, "", text)).await;
    let edge = Running::start(&[&origin]).await;
    let got = edge.get(NEXT).await;
    assert_eq!((got.text(), got.header("cache-control")), (text, "public, max-age=1"));
    assert_eq!(origin.targets(), [PLAIN]);
}

#[tokio::test]
async fn a_cold_edge_asks_once_for_a_herd_and_the_next_origin_when_one_has_errors() {
    let first = Origin::start(|_| status(500, "oops")).await;
    let second = Origin::start(|_| whole(KIND, "", playlist(9, 1))).await;
    let edge = Running::start(&[&first, &second]).await;
    let multivariant = edge.get("/hls/foo.m3u8").await;
    assert_eq!(multivariant.status, 200);
    for got in edge.crowd(100, PLAIN).await {
        assert_eq!(got.text(), playlist(9, 1));
    }
    let asked = second.targets().iter().filter(|target| *target == PLAIN).count();
    assert_eq!(first.targets().iter().filter(|target| *target == PLAIN).count(), asked);
}

#[tokio::test]
async fn viewers_who_wait_are_let_go_when_the_edge_leaves() {
    let gate = Gate::new();
    let origin = live(&gate).await;
    let edge = Running::start(&[&origin]).await;
    let leave = async {
        origin.asked(2).await;
        edge.shutdown.cancel();
    };
    let (got, ()): (Got, ()) = tokio::join!(edge.get(NEXT), leave);
    assert_eq!((got.status.as_u16(), got.text()), (200, playlist(9, 1).as_str()));
    assert_eq!(got.header("cache-control"), "public, max-age=1");
    edge.task.await.unwrap();
}

#[tokio::test]
async fn the_part_that_the_playlist_hints_at_is_held_also_behind_a_segment_that_is_not_yet_whole() {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |target| match target {
            PLAIN => whole(KIND, "", playlist(9, 4) + "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"10.0.m4s\"\n"),
            "/hls/foo/source/10.0.m4s" => [vec![Do::Wait(gate.clone())], whole("video/mp4", "", "ten")].concat(),
            _ => vec![Do::Wait(Gate::new())],
        })
        .await
    };
    let edge = Running::start(&[&origin]).await;
    assert_eq!(edge.get(PLAIN).await.status, 200);
    for missing in ["9.4", "10.1", "11.0"] {
        assert_eq!(edge.get(&format!("/hls/foo/source/{missing}.m4s")).await.status, 404, "{missing}");
    }
    let opened = async {
        origin.asked(3).await;
        gate.cancel();
    };
    let (got, ()) = tokio::join!(edge.get("/hls/foo/source/10.0.m4s"), opened);
    assert_eq!((got.status.as_u16(), got.text()), (200, "ten"));
    assert!(origin.targets().iter().all(|target| target.starts_with(PLAIN) || target.ends_with("/10.0.m4s")));
}
