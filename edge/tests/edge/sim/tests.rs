//! The simulated origin does what tests rely on.

use super::*;
use crate::viewer::Viewer;
use stream::Origin;

fn viewer(sim: &Sim, rendition: &str) -> Viewer {
    Viewer::new(sim.address, "foo", rendition)
}

#[tokio::test]
async fn a_viewer_can_follow_it_part_by_part() {
    let sim = Sim::start(Terms::default()).await;
    for rendition in ["source", "audio"] {
        let mut viewer = viewer(&sim, rendition);
        assert_eq!(viewer.reload("").await.tip(), sim.tip());
        for _ in 0..9 {
            let (next, ()) = tokio::join!(viewer.next(), async {
                sim.holds(rendition).await;
                sim.part();
            });
            assert_eq!(next.tip(), sim.tip());
            viewer.fetch().await;
        }
        for ((msn, part), bytes) in &viewer.media {
            let expected =
                part.map_or_else(|| sim.terms.segment(rendition, *msn), |part| sim.terms.part(rendition, *msn, part));
            assert_eq!(bytes, &expected, "{rendition} {msn} {part:?}");
        }
        assert!(viewer.lineages().values().all(|seed| *seed == 1));
    }
    assert_eq!(viewer(&sim, "source").get("/hls/foo.m3u8").await.status, 200);
    sim.end();
    assert!(viewer(&sim, "source").reload("?_HLS_msn=999").await.ended);
}

#[tokio::test]
async fn twins_agree_and_strangers_do_not() {
    let [a, b] = Sim::twins(Terms::default()).await;
    let [_, c] = Sim::strangers(Terms::default()).await;
    let tags = async |sim: &Sim, msn: u64| {
        let init = format!("/hls/foo/source/{}", sim.terms.init_name("source"));
        let mut tags = Vec::new();
        for target in [format!("/hls/foo/source/{msn}.m4s"), format!("/hls/foo/source/{msn}.0.m4s"), init] {
            let got = viewer(sim, "source").get(&target).await;
            assert_eq!(got.status, 200, "{target}");
            tags.push(got.header("etag").to_owned());
        }
        tags
    };
    for sim in [&a, &b, &c] {
        sim.segment();
    }
    assert_eq!(a.playlist("source"), b.playlist("source"));
    assert_ne!(a.playlist("source"), c.playlist("source"));
    let (of_a, of_b, of_c) = (tags(&a, 110).await, tags(&b, 110).await, tags(&c, 5110).await);
    assert_eq!(of_a, of_b);
    assert!(of_a.iter().all(|tag| !of_c.contains(tag)), "{of_a:?} {of_c:?}");
}

#[tokio::test]
async fn what_is_next_is_held_and_what_is_not_is_404() {
    let sim = Sim::start(Terms::default()).await;
    let viewer = viewer(&sim, "source");
    for (target, status) in [
        ("/hls/foo/source/111.m4s", 404),
        ("/hls/foo/source/110.1.m4s", 404),
        ("/hls/foo/source/99.m4s", 404),
        ("/hls/foo/source/index.m3u8?_HLS_msn=112", 400),
        ("/hls/foo/960w/index.m3u8", 404),
        ("/hls/bar.m3u8", 404),
        ("/hls/foo/source/109.m4s", 200),
        ("/hls/foo/source/109.3.m4s", 200),
    ] {
        assert_eq!(viewer.get(target).await.status, status, "{target}");
    }
    let opened = async {
        sim.holds("110.0.m4s").await;
        sim.holds("110.m4s").await;
        sim.segment();
    };
    let (part, segment, ()) = tokio::join!(viewer.file("110.0.m4s"), viewer.file("110.m4s"), opened);
    assert!(segment.starts_with(&part) && segment == sim.terms.segment("source", 110));
    assert_eq!(Origin::of(&part), Origin { seed: 1, rendition: "source".into(), piece: "110.0".into() });
}

#[tokio::test]
async fn it_gives_up_after_three_targets() {
    let sim = Sim::start(Terms::default()).await;
    assert_eq!(viewer(&sim, "source").get("/hls/foo/source/index.m3u8?_HLS_msn=110").await.status, 503);
}

#[tokio::test]
async fn without_low_latency_it_is_plain_hls() {
    let sim = Sim::start(Terms { low_latency: false, ..Terms::default() }).await;
    sim.part();
    let mut viewer = viewer(&sim, "source");
    let playlist = viewer.reload("?_HLS_msn=200&_HLS_part=7").await.clone();
    assert!(playlist.tip() == (110, 0) && playlist.open.map == playlist.segment(109).map);
    for tag in ["PART", "CONTROL", "HINT", "REPORT"] {
        assert!(!playlist.text.contains(tag), "{}", playlist.text);
    }
    assert_eq!(viewer.get("/hls/foo/source/109.0.m4s").await.status, 404);
}

#[tokio::test]
async fn it_fails_as_told() {
    let sim = Sim::start(Terms::default()).await;
    let viewer = viewer(&sim, "source");
    let segment = "/hls/foo/source/109.m4s";
    sim.fault("m4s", Fault::Truncate);
    let got = viewer.get(segment).await;
    assert!(!got.clean && got.body.len() == sim.terms.segment("source", 109).len() / 2);
    sim.fault("m4s", Fault::Status(404));
    assert_eq!(viewer.get(segment).await.status, 404);
    sim.mend();

    for fault in [Fault::Stall, Fault::Hang] {
        sim.fault("109.m4s", fault);
        let mended = async {
            sim.asked(segment, 3 + usize::from(fault == Fault::Hang)).await;
            sim.mend();
        };
        assert_eq!(tokio::join!(viewer.file("109.m4s"), mended).0, sim.terms.segment("source", 109));
    }
    for fault in [Fault::Slow(1_000_000), Fault::Jitter(5)] {
        sim.fault("109.m4s", fault);
        assert_eq!(viewer.file("109.m4s").await, sim.terms.segment("source", 109));
        sim.mend();
    }
}

#[tokio::test]
async fn a_frozen_one_answers_200_and_does_not_go_on() {
    let sim = Sim::start(Terms::default()).await;
    let mut viewer = viewer(&sim, "source");
    let before = sim.playlist("source");
    sim.freeze();
    sim.segment();
    assert_eq!(viewer.reload("").await.text, before);
    let thawed = async {
        sim.holds("_HLS_msn=110").await;
        sim.thaw();
    };
    assert_eq!(tokio::join!(viewer.next(), thawed).0.tip(), (111, 0));
    sim.fall_back(3);
    assert_eq!((sim.tip(), viewer.get("/hls/foo/source/110.m4s").await.status.as_u16()), ((108, 0), 404));
}

#[tokio::test]
async fn a_dead_one_breaks_off_and_refuses_until_it_comes_back() {
    let sim = Sim::start(Terms::default()).await;
    let one = viewer(&sim, "source");
    sim.fault("109.m4s", Fault::Stall);
    let died = async {
        sim.asked("109.m4s", 1).await;
        sim.die().await;
    };
    let (got, ()) = tokio::join!(one.get("/hls/foo/source/109.m4s"), died);
    assert!(!got.clean);
    assert!(tokio::net::TcpStream::connect(sim.address).await.is_err());
    sim.mend();
    sim.come_back().await;
    assert_eq!(viewer(&sim, "source").file("109.m4s").await, sim.terms.segment("source", 109));
}
