//! Origins that do not agree: who takes over goes on under new numbers behind one break, and nothing is ever mixed.

use super::Show;
use crate::sim::stream::Terms;
use crate::sim::{Fault, Sim};
use crate::support::within;
use crate::viewer::Viewer;
use std::collections::BTreeSet;

/// Freezes or kills the leader of two that do not agree, when so many parts were played.
async fn a_stranger_takes_over(die: bool, parts_before: u32) {
    let [a, b] = Sim::strangers(Terms { window: 12, ..Terms::default() }).await;
    let mut show = Show::begin(&[&a, &b], parts_before).await;
    let (open, parts) = a.tip();
    if die {
        a.die().await;
    } else {
        a.freeze();
    }
    // Two parts are enough for something new at every viewer's.
    b.part();
    b.part();
    show.next().await;
    for _ in 0..10 {
        b.part();
        show.next().await;
    }
    let at = show.assert_one_break(&a.terms, &b.terms);
    for viewer in &show.viewers {
        // A segment of which there were parts never comes, and its number never means anything else.
        assert_eq!(viewer.history.segment(open).gap, parts > 0, "{}", viewer.playlist.text);
        assert_eq!(at, if parts > 0 { open + 1 } else { open });
        assert!(viewer.playlist.text.contains("#EXT-X-DISCONTINUITY-SEQUENCE:0\n"), "{}", viewer.playlist.text);
    }
    // Until the break has left the window.
    while show.viewers.iter().any(|viewer| viewer.playlist.first <= at) {
        b.part();
        show.next().await;
    }
    for viewer in &show.viewers {
        assert!(viewer.playlist.text.contains("#EXT-X-DISCONTINUITY-SEQUENCE:1\n"), "{}", viewer.playlist.text);
        assert!(viewer.playlist.discontinuities().is_empty());
    }
    show.assert_one_break(&a.terms, &b.terms);
}

#[tokio::test]
async fn another_encoders_origin_takes_over_from_one_that_froze() {
    a_stranger_takes_over(false, 4).await;
}

#[tokio::test]
async fn another_encoders_origin_takes_over_from_one_that_froze_in_mid_segment() {
    a_stranger_takes_over(false, 6).await;
}

#[tokio::test]
async fn another_encoders_origin_takes_over_from_one_that_died() {
    a_stranger_takes_over(true, 4).await;
}

#[tokio::test]
async fn another_encoders_origin_takes_over_from_one_that_died_in_mid_segment() {
    a_stranger_takes_over(true, 7).await;
}

#[tokio::test]
async fn whose_numbers_are_lower_may_take_over_too() {
    let terms = Terms { first: 9000, ..Terms::default() };
    let a = Sim::start(terms.clone()).await;
    let b = Sim::start(Terms { seed: 2, first: 8995, ..terms }).await;
    let mut show = Show::begin(&[&a, &b], 6).await;
    a.freeze();
    for _ in 0..12 {
        b.part();
    }
    // The numbers overlap with those of the first: names must not.
    show.next().await;
    for _ in 0..12 {
        b.part();
        show.next().await;
    }
    show.assert_one_break(&a.terms, &b.terms);
}

#[tokio::test]
async fn parked_viewers_are_answered_by_the_one_that_takes_over() {
    let [a, b] = Sim::strangers(Terms::default()).await;
    let show = Show::begin(&[&a, &b], 6).await;
    let (open, parts) = a.tip();
    let target = format!("/hls/foo/source/index.m3u8?_HLS_msn={open}&_HLS_part={parts}");
    let died = async {
        show.edge.parked("foo", "source", 200).await;
        a.die().await;
        b.part();
        b.part();
    };
    let (answers, ()) = tokio::join!(show.edge.crowd(200, &target), died);
    for got in answers {
        assert_eq!(got.status, 200, "{}", got.text());
        let mut viewer = Viewer::new(show.edge.address, "foo", "source");
        viewer.see(got.text());
        assert!(viewer.playlist.tip() > (open, parts), "{}", got.text());
    }
}

#[tokio::test]
async fn who_comes_back_does_not_get_its_place_back() {
    let [a, b] = Sim::strangers(Terms::default()).await;
    let mut show = Show::begin(&[&a, &b], 6).await;
    a.freeze();
    for _ in 0..6 {
        a.part();
        b.part();
    }
    show.next().await;
    a.thaw();
    for _ in 0..16 {
        a.part();
        b.part();
        show.next().await;
    }
    let at = show.assert_one_break(&a.terms, &b.terms);
    // It is preferred, and further; it stays on the bench all the same.
    a.segment();
    for _ in 0..6 {
        a.part();
        b.part();
        show.next().await;
    }
    assert_eq!(show.assert_one_break(&a.terms, &b.terms), at);
}

#[tokio::test]
async fn numbers_go_on_when_the_second_origin_is_lost_too() {
    let [a, b] = Sim::strangers(Terms::default()).await;
    let mut show = Show::begin(&[&a, &b], 6).await;
    a.freeze();
    for _ in 0..6 {
        a.part();
        b.part();
    }
    show.next().await;
    a.thaw();
    for _ in 0..5 {
        a.part();
        b.part();
        show.next().await;
    }
    b.die().await;
    for _ in 0..12 {
        a.part();
    }
    within("the first one's new media", async {
        while show.viewers.iter().any(|viewer| viewer.history.discontinuities().len() < 2) {
            a.part();
            show.next().await;
        }
    })
    .await;
    let breaks: BTreeSet<_> = show.viewers.iter().map(|viewer| viewer.history.discontinuities()).collect();
    assert!(breaks.len() == 1 && breaks.first().unwrap().len() == 2, "{breaks:?}");
    for viewer in &show.viewers {
        let seeds: Vec<u64> = viewer.lineages().into_values().collect();
        let mut spans = seeds.clone();
        spans.dedup();
        assert_eq!(spans, [1, 2, 1]);
    }
}

#[tokio::test]
async fn breaks_of_the_sources_own_count_on_behind_a_takeover() {
    let [a, b] = Sim::strangers(Terms { window: 12, ..Terms::default() }).await;
    let mut show = Show::begin(&[&a, &b], 2).await;
    for sim in [&a, &b] {
        sim.break_off();
        sim.part();
    }
    show.next().await;
    a.freeze();
    for _ in 0..8 {
        b.part();
    }
    show.next().await;
    b.break_off();
    for _ in 0..60 {
        b.part();
        show.next().await;
    }
    let all: BTreeSet<_> = show.viewers.iter().map(|viewer| viewer.history.discontinuities()).collect();
    assert!(all.len() == 1 && all.first().unwrap().len() == 3, "{all:?}");
    for viewer in &show.viewers {
        assert!(viewer.playlist.text.contains("#EXT-X-DISCONTINUITY-SEQUENCE:3\n"), "{}", viewer.playlist.text);
    }
}

#[tokio::test]
async fn who_is_not_ahead_of_one_that_stands_still_does_not_take_over() {
    let [a, b] = Sim::strangers(Terms::default()).await;
    let mut show = Show::begin(&[&a, &b], 3).await;
    // The encoder is gone: both wait. Each gives up the wait at least once.
    let holds = [&a, &b].map(|sim| sim.count("/source/index.m3u8"));
    for (sim, before) in [&a, &b].into_iter().zip(holds) {
        sim.asked("/source/index.m3u8", before + 2).await;
    }
    let text = show.viewers[0].reload("").await.text.clone();
    assert_eq!(text, a.playlist("source"));
    for _ in 0..5 {
        a.part();
        b.part();
        show.next().await;
    }
    show.assert_seamless(&a.terms);
}

#[tokio::test]
async fn media_is_never_mixed_from_origins_that_do_not_agree() {
    // Same numbers, other bytes: as two origins would be that restarted at the same time.
    let terms = Terms::default();
    let (a, b) = (Sim::start(terms.clone()).await, Sim::start(Terms { seed: 2, ..terms }).await);
    let show = Show::begin(&[&a, &b], 5).await;
    a.fault("m4s", Fault::Truncate);
    for got in show.edge.crowd(20, "/hls/foo/source/105.m4s").await {
        assert!(
            !got.clean && a.terms.segment("source", 105).starts_with(&got.body),
            "{} {:?}",
            got.text_or_size(),
            a.requests()
        );
    }
    assert_eq!(b.gets("/hls/foo/source/105.m4s"), 0);
    a.mend();
    a.fault("m4s", Fault::Status(404));
    assert_eq!(show.edge.get("/hls/foo/source/104.m4s").await.status, 404);
    assert_eq!(b.gets("/hls/foo/source/104.m4s"), 0);
}

#[tokio::test]
async fn the_same_numbers_with_other_bytes_are_a_break_too() {
    let terms = Terms::default();
    let (a, b) = (Sim::start(terms.clone()).await, Sim::start(Terms { seed: 2, ..terms }).await);
    let mut show = Show::begin(&[&a, &b], 6).await;
    a.freeze();
    for _ in 0..4 {
        b.part();
    }
    show.next().await;
    for _ in 0..8 {
        b.part();
        show.next().await;
    }
    show.assert_one_break(&a.terms, &b.terms);
}

#[tokio::test]
async fn target_durations_stay_when_one_with_shorter_parts_takes_over() {
    let terms = Terms::default();
    let b = Terms { part_ms: 200, parts: 5, ..terms.foreign() };
    let (a, b) = (Sim::start(terms).await, Sim::start(b).await);
    let mut show = Show::begin(&[&a, &b], 4).await;
    assert!(show.viewers[0].playlist.text.contains("PART-TARGET=0.25"), "{}", show.viewers[0].playlist.text);
    a.freeze();
    for _ in 0..8 {
        b.part();
    }
    // Viewers mind that they don't change.
    show.next().await;
    for _ in 0..8 {
        b.part();
        show.next().await;
    }
    show.assert_one_break(&a.terms, &b.terms);
    let text = &show.viewers[0].playlist.text;
    assert!(text.contains("PART-TARGET=0.25") && text.contains("PART-HOLD-BACK=0.75"), "{text}");
}
