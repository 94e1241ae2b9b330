//! Playlists that are followed: what viewers cost the origins, and what the rules of LL-HLS promise viewers.

use crate::sim::stream::Terms;
use crate::sim::{Fault, Sim};
use crate::support::{Running, within};
use crate::viewer::{Playlist, Viewer};
use flate2::read::GzDecoder;
use http::Method;
use media::hls::reload::{Answer, Ask, Tip, judge};
use std::io::Read;
use std::time::Duration;

const PLAYLIST: &str = "/hls/foo/source/index.m3u8";

/// How far the default stream is.
const TIP: Tip = Tip { open: 110, parts: 0, last_parts: 4, ended: false };

/// Half a target duration by config: a playlist that is younger is given to who comes back to a stream.
const FRESH: Duration = Duration::from_secs(1);

fn directives(msn: u64, part: Option<u32>) -> String {
    let part = part.map(|part| format!("&_HLS_part={part}")).unwrap_or_default();
    format!("?_HLS_msn={msn}{part}")
}

/// Everything that may be asked around the tip.
fn asks() -> impl Iterator<Item = (u64, Option<u32>)> {
    let parts = || (0..20).map(Some).chain([None]);
    (TIP.open - 3..TIP.open + 5).flat_map(move |msn| parts().map(move |part| (msn, part)))
}

fn judged(msn: u64, part: Option<u32>) -> Answer {
    judge(TIP, Ask { msn: Some(msn), part }, 250)
}

#[tokio::test]
async fn five_hundred_viewers_who_wait_for_different_things_cost_two_origins_one_follower_each() {
    let [a, b] = Sim::twins(Terms::patient()).await;
    let edge = Running::before(&[&a, &b]).await;
    Viewer::join(edge.address, "foo", "source").await;
    for sim in [&a, &b] {
        sim.holds("/source/index.m3u8?_HLS_msn=110").await;
        assert_eq!(sim.count("/audio/"), 0, "nobody asked for sound");
    }
    let asked = [&a, &b].map(|sim| sim.count("index.m3u8"));
    let legal: Vec<_> = asks().filter(|(msn, part)| judged(*msn, *part) == Answer::Wait).collect();
    let targets = (0..500).map(|viewer| {
        let (msn, part) = legal[viewer % legal.len()];
        format!("{PLAYLIST}{}&token={viewer}", directives(msn, part))
    });
    let waiting = targets.map(|target| {
        let viewer = Viewer::new(edge.address, "foo", "source");
        async move { (viewer.get(&target).await, target) }
    });
    let all = futures_util::future::join_all(waiting);
    let published = async {
        edge.parked("foo", "source", legal.len()).await;
        // Whatever they ask for is there then.
        for sim in [&a, &b] {
            (0..3).for_each(|_| sim.segment());
        }
    };
    let (answers, ()) = tokio::join!(all, published);
    for (got, target) in answers {
        assert_eq!((got.status.as_u16(), got.text()), (200, a.playlist("source").as_str()), "{target}");
    }
    for (sim, asked) in [&a, &b].into_iter().zip(asked) {
        sim.holds("/source/index.m3u8?_HLS_msn=113").await;
        assert_eq!(sim.count("index.m3u8"), asked + 1, "{:?}", sim.requests());
    }
}

#[tokio::test]
async fn each_rendition_that_somebody_watches_is_followed_by_itself() {
    let [a, b] = Sim::twins(Terms::default()).await;
    let edge = Running::before(&[&a, &b]).await;
    for rendition in ["source", "audio"] {
        Viewer::join(edge.address, "foo", rendition).await;
        for sim in [&a, &b] {
            sim.holds(&format!("/{rendition}/index.m3u8?_HLS_msn=110")).await;
        }
    }
    for sim in [&a, &b] {
        sim.part();
        sim.holds("/audio/index.m3u8?_HLS_msn=110&_HLS_part=1").await;
        sim.holds("/source/index.m3u8?_HLS_msn=110&_HLS_part=1").await;
    }
}

#[tokio::test]
async fn a_stream_that_nobody_watches_is_not_asked_for() {
    let sim = Sim::start(Terms::default()).await;
    let edge = Running::configured(vec![sim.url()], |config| config.edge.idle_s = 1).await;
    Viewer::join(edge.address, "foo", "source").await;
    edge.left_alone("foo").await;
    edge.outdated("foo", FRESH).await;
    // What the followers had sent before they ended is in the sim's book before this is.
    assert_eq!(edge.get("/hls/foo/audio/109.m4s").await.status, 200);
    let asked = sim.count(PLAYLIST);
    for _ in 0..8 {
        sim.part();
    }
    // Whatever else goes on, nobody asks for this playlist.
    assert_eq!(edge.get("/hls/foo.m3u8").await.status, 200);
    assert_eq!(sim.count(PLAYLIST), asked);
    // Who comes back gets it as it is now, and it is followed again.
    let back = Viewer::join(edge.address, "foo", "source").await;
    assert_eq!(back.playlist.tip(), sim.tip());
    sim.asked(&format!("{PLAYLIST}?_HLS_msn=112"), 1).await;
}

#[tokio::test]
async fn every_directive_gets_what_the_origin_would_say() {
    let sim = Sim::start(Terms::patient()).await;
    let edge = Running::before(&[&sim]).await;
    Viewer::join(edge.address, "foo", "source").await;
    sim.holds(PLAYLIST).await;
    let asked = sim.requests().len();
    let viewer = Viewer::new(edge.address, "foo", "source");
    for skip in ["", "&_HLS_skip=YES", "&_HLS_skip=v2"] {
        for (msn, part) in asks() {
            let target = format!("{PLAYLIST}{}{skip}", directives(msn, part));
            match judged(msn, part) {
                Answer::Now => {
                    let got = viewer.get(&target).await;
                    let expected = if skip.is_empty() { sim.playlist("source") } else { sim.delta("source") };
                    assert_eq!((got.status.as_u16(), got.text()), (200, expected.as_str()), "{target}");
                }
                Answer::Bad(words) => {
                    let got = viewer.get(&target).await;
                    assert_eq!((got.status.as_u16(), got.text().trim_end()), (400, words), "{target}");
                }
                Answer::Wait => {}
            }
        }
    }
    assert_eq!(sim.requests().len(), asked);
}

#[tokio::test]
async fn deltas_and_gzip_are_the_same_playlist() {
    let sim = Sim::start(Terms::patient()).await;
    let edge = Running::before(&[&sim]).await;
    Viewer::join(edge.address, "foo", "source").await;
    sim.holds(PLAYLIST).await;
    for _ in 0..6 {
        let (msn, part) = sim.tip();
        sim.part();
        let target = format!("{PLAYLIST}{}", directives(msn, Some(part)));
        for (skip, expected) in [("", sim.playlist("source")), ("&_HLS_skip=YES", sim.delta("source"))] {
            let target = format!("{target}{skip}");
            let plain = edge.get(&target).await;
            assert_eq!((plain.text(), plain.header("vary")), (expected.as_str(), "Accept-Encoding"), "{target}");
            let zipped = edge.ask(Method::GET, &target, &[("accept-encoding", "gzip")]).await;
            assert_eq!(zipped.header("content-encoding"), "gzip");
            let mut text = String::new();
            GzDecoder::new(zipped.body.as_ref()).read_to_string(&mut text).unwrap();
            assert_eq!(text, expected);
            assert!(!plain.header("etag").is_empty() && plain.header("etag") != zipped.header("etag"));
            let again = edge.ask(Method::GET, &target, &[("if-none-match", plain.header("etag"))]).await;
            assert_eq!(again.status, 304);
        }
        assert!(sim.delta("source").contains("#EXT-X-SKIP:"));
    }
    assert!(sim.heads().iter().all(|head| !head.contains("_HLS_skip")), "deltas are made here");
}

#[tokio::test]
async fn a_wait_that_nothing_comes_of_is_503_after_three_targets_and_the_playlist_is_still_there() {
    let [a, b] = Sim::twins(Terms::default()).await;
    let edge = Running::before(&[&a, &b]).await;
    Viewer::join(edge.address, "foo", "source").await;
    let next = format!("{PLAYLIST}{}", directives(110, Some(0)));
    for got in edge.crowd(50, &next).await {
        assert_eq!((got.status.as_u16(), got.header("cache-control")), (503, "no-store"), "{}", got.text());
        assert!(!got.header("retry-after").is_empty());
    }
    // The stream waits for its publisher: what there is stays.
    let got = edge.get(PLAYLIST).await;
    assert_eq!((got.status.as_u16(), got.text()), (200, a.playlist("source").as_str()));
    // And it goes on where it was.
    let published = async {
        edge.parked("foo", "source", 1).await;
        a.part();
        b.part();
    };
    let (got, ()) = tokio::join!(edge.get(&next), published);
    assert_eq!((got.status.as_u16(), got.text()), (200, a.playlist("source").as_str()));
}

#[tokio::test]
async fn what_viewers_want_is_fetched_before_they_ask() {
    let sim = Sim::start(Terms::patient()).await;
    let edge = Running::before(&[&sim]).await;
    let mut video = Viewer::join(edge.address, "foo", "source").await;
    let sound = Viewer::join(edge.address, "foo", "audio").await;
    sim.holds("/source/index.m3u8").await;
    sim.holds("/audio/index.m3u8").await;
    // One viewer plays parts, the other segments.
    sim.part();
    video.next().await;
    video.file("110.0.m4s").await;
    sound.file("109.m4s").await;
    for part in 1..4 {
        sim.part();
        let target = format!("/hls/foo/source/110.{part}.m4s");
        // Nobody has asked for it yet.
        sim.asked(&target, 1).await;
        let got = video.get(&target).await;
        let status = got.header("cache-status");
        assert!(status.contains("hit") || status.contains("collapsed"), "{status}");
        assert_eq!(got.body, sim.terms.part("source", 110, part));
        assert_eq!(sim.gets(&target), 1);
    }
    sim.asked("/hls/foo/audio/110.m4s", 1).await;
    let got = sound.get("/hls/foo/audio/110.m4s").await;
    assert!(got.body == sim.terms.segment("audio", 110) && !got.header("cache-status").contains("stored"));
    assert_eq!((sim.gets("/hls/foo/audio/110.m4s"), sim.count("/audio/110.")), (1, 1), "{:?}", sim.requests());
}

/// None of these files is there, and it doesn't take an origin to know.
async fn check_missing(files: &[&str]) {
    let sim = Sim::start(Terms { first: 1000, begun: 10, ..Terms::patient() }).await;
    let edge = Running::before(&[&sim]).await;
    Viewer::join(edge.address, "foo", "source").await;
    sim.holds(PLAYLIST).await;
    let asked = sim.requests().len();
    for file in files {
        let got = edge.get(&format!("/hls/foo/source/{file}.m4s")).await;
        assert_eq!((got.status.as_u16(), got.header("cache-control")), (404, "no-store"), "{file}");
    }
    assert_eq!(sim.requests().len(), asked, "{:?}", sim.requests());
}

#[tokio::test]
async fn what_is_far_ahead_is_404_without_a_question() {
    check_missing(&[
        "1011",
        "1011.0",
        "1012",
        "99999",
        "18446744073709551615",
        "1010.1",
        "1010.7",
        "1011.1",
        "99999.0",
    ])
    .await;
}

#[tokio::test]
async fn what_is_long_gone_is_404_without_a_question() {
    check_missing(&["0", "0.0", "5", "5.0", "5.1"]).await;
}

#[tokio::test]
async fn the_hinted_part_and_the_next_segment_are_held_until_they_come() {
    let sim = Sim::start(Terms::patient()).await;
    let edge = Running::before(&[&sim]).await;
    Viewer::join(edge.address, "foo", "source").await;
    sim.holds(PLAYLIST).await;
    let (part, segment) = ("/hls/foo/source/110.0.m4s", "/hls/foo/source/110.m4s");
    let published = async {
        sim.holds(part).await;
        sim.holds(segment).await;
        (0..4).for_each(|_| sim.part());
    };
    let (parts, segments, ()) = tokio::join!(edge.crowd(30, part), edge.crowd(30, segment), published);
    assert!(parts.iter().all(|got| got.status == 200 && got.body == sim.terms.part("source", 110, 0)));
    assert!(segments.iter().all(|got| got.status == 200 && got.body == sim.terms.segment("source", 110)));
    assert_eq!((sim.gets(part), sim.gets(segment)), (1, 1));
}

#[tokio::test]
async fn the_end_is_passed_on_and_then_nobody_waits() {
    let [a, b] = Sim::twins(Terms::default()).await;
    let edge = Running::before(&[&a, &b]).await;
    let viewer = Viewer::join(edge.address, "foo", "source").await;
    a.holds(PLAYLIST).await;
    let ended = async {
        edge.parked("foo", "source", 20).await;
        a.end();
        b.end();
    };
    let next = format!("{PLAYLIST}{}", directives(110, Some(0)));
    let (answers, ()) = tokio::join!(edge.crowd(20, &next), ended);
    for got in answers {
        assert_eq!((got.status.as_u16(), got.text()), (200, a.playlist("source").as_str()));
    }
    assert!(Playlist::parse(&a.playlist("source")).ended);
    for query in ["", "?_HLS_msn=110", "?_HLS_msn=999&_HLS_part=3", "?_HLS_msn=110&_HLS_skip=YES"] {
        let got = viewer.get(&format!("{PLAYLIST}{query}")).await;
        assert_eq!((got.status.as_u16(), got.text()), (200, a.playlist("source").as_str()), "{query}");
    }
}

#[tokio::test]
async fn a_playlist_stays_where_it_is_when_its_origin_goes_back() {
    let sim = Sim::start(Terms::default()).await;
    let edge = Running::before(&[&sim]).await;
    let mut viewer = Viewer::join(edge.address, "foo", "source").await;
    sim.holds(PLAYLIST).await;
    sim.part();
    let before = viewer.next().await.clone();
    sim.holds("_HLS_part=1").await;
    sim.fall_back(3);
    // It hears nothing from the hold that hangs; the connection is cut, and then it hears of the past.
    sim.die().await;
    sim.come_back().await;
    sim.asked("index.m3u8", 5).await;
    for _ in 0..20 {
        assert_eq!(viewer.reload("").await, &before);
    }
    sim.part();
    sim.thaw();
    viewer.reach(sim.tip()).await;
}

#[tokio::test]
async fn a_plain_origin_is_followed_too_and_directives_mean_nothing() {
    let sim = Sim::start(Terms { low_latency: false, ..Terms::default() }).await;
    let edge = Running::before(&[&sim]).await;
    let mut viewer = Viewer::join(edge.address, "foo", "source").await;
    for query in ["", "?_HLS_msn=110", "?_HLS_msn=999&_HLS_part=3", "?_HLS_skip=YES"] {
        assert_eq!(viewer.reload(query).await.text, sim.playlist("source"), "{query}");
    }
    for _ in 0..3 {
        sim.segment();
        let tip = sim.tip();
        within("the next segment", async { while viewer.reload("").await.tip() < tip {} }).await;
        viewer.fetch().await;
    }
    assert_eq!(viewer.media[&(112, None)], sim.terms.segment("source", 112));
    assert_eq!(sim.count("_HLS_"), 0);
    // However many ask, it is polled at its own pace.
    let asked = sim.count(PLAYLIST);
    edge.crowd(300, PLAYLIST).await;
    assert!(sim.count(PLAYLIST) <= asked + 3, "{} after {asked}", sim.count(PLAYLIST));
}

#[tokio::test]
async fn a_stream_that_nobody_has_is_404_and_one_that_comes_is_found() {
    let [a, b] = Sim::twins(Terms::default()).await;
    for sim in [&a, &b] {
        sim.fault("", Fault::Status(404));
    }
    let edge = Running::before(&[&a, &b]).await;
    for target in ["/hls/foo.m3u8", PLAYLIST, "/hls/foo/source/109.m4s"] {
        let got = edge.get(target).await;
        assert_eq!(got.status, 404, "{target}: {}", got.text());
    }
    let next = format!("{PLAYLIST}{}", directives(110, Some(0)));
    assert_eq!(edge.get(&next).await.status, 404);
    a.mend();
    within("the stream", async { while edge.get(PLAYLIST).await.status != 200 {} }).await;
    let got = edge.get("/hls/foo/source/109.m4s").await;
    assert_eq!((got.status.as_u16(), got.body), (200, a.terms.segment("source", 109)));
}

#[tokio::test]
async fn viewers_play_on_when_the_only_origin_says_404_for_a_moment() {
    let sim = Sim::start(Terms::default()).await;
    let edge = Running::before(&[&sim]).await;
    let mut viewer = Viewer::join(edge.address, "foo", "source").await;
    sim.holds(PLAYLIST).await;
    sim.part();
    viewer.next().await;
    sim.fault("", Fault::Status(404));
    let asked = sim.count(PLAYLIST);
    sim.die().await;
    sim.come_back().await;
    sim.asked(PLAYLIST, asked + 2).await;
    assert_eq!(viewer.reload("").await.text, sim.playlist("source"));
    sim.mend();
    for _ in 0..8 {
        sim.part();
        viewer.next().await;
        viewer.fetch().await;
    }
    assert!(viewer.playlist.discontinuities().is_empty());
}
