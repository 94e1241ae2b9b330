//! Two origins of one stream, one of which fails: what viewers see of it.
//!
//! Viewers mind everything that playlists ever said (`viewer::History`): that nothing goes back, that no number and no
//! name is used again, that no two say different things of one segment.

use crate::sim::stream::Terms;
use crate::sim::{Fault, Sim};
use crate::support::{Got, Running, within};
use crate::viewer::Viewer;
use http::Method;
use std::collections::BTreeSet;
use std::time::Duration;

const RENDITIONS: [&str; 2] = ["source", "audio"];

/// An edge before two origins, and one viewer of each rendition who has begun to play.
struct Show {
    edge: Running,
    viewers: [Viewer; 2],
}

impl Show {
    /// Begins, and plays so many parts.
    async fn begin(sims: &[&Sim], parts: u32) -> Self {
        let edge = Running::before(sims).await;
        let viewers = [
            Viewer::join(edge.address, "foo", RENDITIONS[0]).await,
            Viewer::join(edge.address, "foo", RENDITIONS[1]).await,
        ];
        let mut show = Self { edge, viewers };
        show.viewers.iter_mut().for_each(Viewer::begin_here);
        for sim in sims {
            for rendition in RENDITIONS {
                sim.holds(&format!("/{rendition}/index.m3u8?_HLS_")).await;
            }
        }
        for _ in 0..parts {
            sims.iter().for_each(|sim| sim.part());
            show.next().await;
        }
        show
    }

    /// Everybody gets something new and fetches it all.
    async fn next(&mut self) {
        for viewer in &mut self.viewers {
            viewer.next().await;
            viewer.fetch().await;
        }
    }

    /// Everybody comes as far as this and fetches it all.
    async fn reach(&mut self, tip: (u64, u32)) {
        for viewer in &mut self.viewers {
            while viewer.playlist.tip() < tip {
                viewer.next().await;
                viewer.fetch().await;
            }
        }
    }

    /// Waits until both origins were compared, object by object.
    async fn compared(&self, sims: &[&Sim]) {
        for sim in sims {
            sim.asked("HEAD /hls/foo/", 1).await;
        }
    }

    /// Nobody saw a break, and all media is what both origins have.
    fn assert_seamless(&self, terms: &Terms) {
        for viewer in &self.viewers {
            assert!(viewer.playlist.discontinuities().is_empty(), "{}", viewer.playlist.text);
            assert!(viewer.playlist.gaps().is_empty(), "{}", viewer.playlist.text);
            for ((msn, part), bytes) in &viewer.media {
                let rendition = viewer.rendition();
                let whole = || terms.segment(rendition, *msn);
                let expected = part.map_or_else(whole, |part| terms.part(rendition, *msn, part));
                assert_eq!(bytes, &expected, "{rendition} {msn} {part:?}");
            }
        }
    }

    /// There was one break, at one number in all renditions; what is before it is of the lineage `from`, what is behind
    /// it of `to`. Gives the number.
    fn assert_one_break(&self, from: &Terms, to: &Terms) -> u64 {
        let breaks: BTreeSet<_> = self.viewers.iter().map(|viewer| viewer.history.discontinuities()).collect();
        let [at] = breaks.first().expect("two viewers")[..] else { panic!("not one break: {breaks:?}") };
        assert_eq!(breaks.len(), 1, "renditions break at different numbers: {breaks:?}");
        for viewer in &self.viewers {
            for (number, seed) in viewer.lineages() {
                assert_eq!(seed, if number < at { from.seed } else { to.seed }, "segment {number}, break at {at}");
            }
            let (before, after) = (viewer.history.segment(at - 1), viewer.history.segment(at));
            assert_eq!(after.map, to.init_name(viewer.rendition()));
            assert!(before.gap || before.map == from.init_name(viewer.rendition()), "{before:?}");
            assert_eq!(after.breaks, before.breaks + 1);
            assert!(before.date <= after.date, "{} then {}", before.date, after.date);
        }
        at
    }
}

// An agreeing pair.

/// Two parts after it froze or died, everybody has what both origins published.
async fn the_leader_falls_silent(die: bool, parts_before: u32) {
    let [a, b] = Sim::twins(Terms::default()).await;
    let mut show = Show::begin(&[&a, &b], parts_before).await;
    show.compared(&[&a, &b]).await;
    if die {
        a.die().await;
    } else {
        a.freeze();
    }
    for _ in 0..12 {
        b.part();
        b.part();
        // No third one is needed.
        show.reach(b.tip()).await;
        for viewer in &show.viewers {
            assert_eq!(viewer.playlist.text, b.playlist(viewer.rendition()));
        }
    }
    show.assert_seamless(&b.terms);
}

#[tokio::test]
async fn nobody_notices_that_an_agreeing_origin_freezes() {
    the_leader_falls_silent(false, 4).await;
}

#[tokio::test]
async fn nobody_notices_that_an_agreeing_origin_freezes_in_mid_segment() {
    the_leader_falls_silent(false, 6).await;
}

#[tokio::test]
async fn nobody_notices_that_an_agreeing_origin_dies() {
    the_leader_falls_silent(true, 4).await;
}

#[tokio::test]
async fn nobody_notices_that_an_agreeing_origin_dies_in_mid_segment() {
    the_leader_falls_silent(true, 7).await;
}

/// What is broken at one origin is read to the end from the other, also by those who had begun to read.
async fn media_breaks(fault: Fault) {
    let [a, b] = Sim::twins(Terms::default()).await;
    let mut show = Show::begin(&[&a, &b], 5).await;
    show.compared(&[&a, &b]).await;
    a.fault("m4s", fault);
    for _ in 0..6 {
        a.part();
        b.part();
        show.reach(b.tip()).await;
    }
    show.assert_seamless(&b.terms);
    // A cold one, read by many.
    for got in show.edge.crowd(50, "/hls/foo/source/105.m4s").await {
        assert!(got.status == 200 && got.clean && got.body == b.terms.segment("source", 105), "{}", got.text_or_size());
    }
    let asked = [&a, &b].map(|sim| sim.gets("/hls/foo/source/105.m4s"));
    assert!(asked[0] <= 2 && asked[1] == 1, "{asked:?}");
}

#[tokio::test]
async fn a_body_cut_short_goes_on_from_an_agreeing_origin() {
    media_breaks(Fault::Truncate).await;
}

#[tokio::test]
async fn a_body_that_stalls_goes_on_from_an_agreeing_origin() {
    media_breaks(Fault::Stall).await;
}

#[tokio::test]
async fn an_object_that_an_agreeing_origin_does_not_answer_for_comes_from_the_other() {
    media_breaks(Fault::Hang).await;
}

#[tokio::test]
async fn an_object_that_an_agreeing_origin_lost_comes_from_the_other() {
    media_breaks(Fault::Status(404)).await;
}

#[tokio::test]
async fn an_object_that_an_agreeing_origin_fails_to_read_comes_from_the_other() {
    media_breaks(Fault::Status(500)).await;
}

#[tokio::test]
async fn an_agreeing_origin_that_dies_in_the_middle_of_a_body_breaks_no_reader() {
    let [a, b] = Sim::twins(Terms { part_bytes: 100_000, ..Terms::default() }).await;
    let show = Show::begin(&[&a, &b], 2).await;
    show.compared(&[&a, &b]).await;
    a.fault("107.m4s", Fault::Stall);
    let mut readers = Vec::new();
    for _ in 0..20 {
        readers.push(show.edge.open(Method::GET, "/hls/foo/source/107.m4s", &[]).await);
    }
    a.die().await;
    for reader in readers {
        let got = within("the whole segment", Got::read(reader)).await;
        assert!(got.clean && got.body == b.terms.segment("source", 107), "{}", got.text_or_size());
    }
}

#[tokio::test]
async fn a_segment_that_was_being_made_when_an_agreeing_origin_died_is_got_whole() {
    let [a, b] = Sim::twins(Terms::default()).await;
    let mut show = Show::begin(&[&a, &b], 6).await;
    show.compared(&[&a, &b]).await;
    let target = "/hls/foo/source/111.m4s";
    let died = async {
        a.holds(target).await;
        a.die().await;
        b.part();
        b.part();
    };
    let (got, ()) = tokio::join!(show.viewers[0].get(target), died);
    assert!(got.status == 200 && got.clean && got.body == b.terms.segment("source", 111), "{}", got.text_or_size());
    show.reach(b.tip()).await;
    show.assert_seamless(&b.terms);
}

#[tokio::test]
async fn an_agreeing_origin_may_come_and_go() {
    let [a, b] = Sim::twins(Terms::default()).await;
    let mut show = Show::begin(&[&a, &b], 3).await;
    show.compared(&[&a, &b]).await;
    for round in 0..6 {
        let (up, down) = if round % 2 == 0 { (&b, &a) } else { (&a, &b) };
        down.freeze();
        for _ in 0..3 {
            a.part();
            b.part();
            show.reach(up.tip()).await;
        }
        down.thaw();
        for rendition in RENDITIONS {
            down.holds(&format!("/{rendition}/index.m3u8?_HLS_")).await;
        }
    }
    show.assert_seamless(&a.terms);
}

// Origins that don't agree.

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

// Pins.

#[tokio::test]
async fn a_pinned_origin_leads_with_a_break_if_there_must_be_one_and_keeps_the_lead_whatever_it_does() {
    let [a, b] = Sim::strangers(Terms::default()).await;
    let mut show = Show::begin(&[&a, &b], 6).await;
    show.edge.pin("foo", Some(&b.url())).unwrap();
    for _ in 0..8 {
        a.part();
        b.part();
        show.next().await;
    }
    let at = show.assert_one_break(&a.terms, &b.terms);
    let (open, parts) = b.tip();
    let mut tips = Vec::new();
    for (rendition, viewer) in RENDITIONS.iter().zip(&mut show.viewers) {
        b.holds(&format!("/{rendition}/index.m3u8?_HLS_msn={open}&_HLS_part={parts}")).await;
        tips.push(viewer.reload("").await.tip());
    }
    b.freeze();
    for _ in 0..6 {
        // It goes on at its pace, and is heard of.
        let asked = a.count("/source/index.m3u8");
        a.part();
        a.asked("/source/index.m3u8", asked + 1).await;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    for (viewer, tip) in show.viewers.iter_mut().zip(tips) {
        assert_eq!(viewer.reload("").await.tip(), tip, "the pin counts");
    }
    b.thaw();
    b.part();
    show.next().await;
    assert_eq!(show.assert_one_break(&a.terms, &b.terms), at);
}

#[tokio::test]
async fn a_pin_between_origins_that_agree_is_not_seen() {
    let [a, b] = Sim::twins(Terms::default()).await;
    let mut show = Show::begin(&[&a, &b], 3).await;
    show.compared(&[&a, &b]).await;
    for origin in [Some(b.url()), Some(a.url()), Some(b.url()), None] {
        show.edge.pin("foo", origin.as_deref()).unwrap();
        for _ in 0..5 {
            a.part();
            b.part();
            show.reach(b.tip()).await;
        }
    }
    show.assert_seamless(&a.terms);
}

#[tokio::test]
async fn what_cannot_be_pinned_is_refused_in_words() {
    let sim = Sim::start(Terms::default()).await;
    let edge = Running::before(&[&sim]).await;
    assert!(edge.pin("foo", Some(&sim.url())).unwrap_err().contains("nobody watches foo"));
    Viewer::join(edge.address, "foo", "source").await;
    edge.pin("foo", Some(&sim.url())).unwrap();
    let words = edge.pin("foo", Some("http://192.0.2.1:80")).unwrap_err();
    assert!(words.contains("192.0.2.1") && words.contains(&sim.address.to_string()), "{words}");
}

// Plain HLS.

/// Reloads until there is something new, and fetches it.
async fn poll(viewer: &mut Viewer) {
    let before = viewer.playlist.tip();
    within("a new segment", async { while viewer.reload("").await.tip() <= before {} }).await;
    viewer.fetch().await;
}

async fn plain_pair([a, b]: [Sim; 2]) -> (Running, Viewer) {
    let edge = Running::before(&[&a, &b]).await;
    let mut viewer = Viewer::join(edge.address, "foo", "source").await;
    for _ in 0..2 {
        a.segment();
        b.segment();
        poll(&mut viewer).await;
    }
    a.freeze();
    for _ in 0..3 {
        b.segment();
        poll(&mut viewer).await;
    }
    (edge, viewer)
}

#[tokio::test]
async fn a_frozen_plain_playlist_loses_to_one_that_goes_on() {
    let terms = Terms { low_latency: false, ..Terms::default() };
    let (_edge, viewer) = plain_pair(Sim::twins(terms.clone()).await).await;
    assert_eq!(viewer.playlist.tip(), (115, 0));
    assert!(viewer.playlist.discontinuities().is_empty());
    assert_eq!(viewer.media[&(114, None)], terms.segment("source", 114));
}

#[tokio::test]
async fn a_frozen_plain_playlist_loses_to_another_encoders_with_a_break() {
    let terms = Terms { low_latency: false, ..Terms::default() };
    let (_edge, viewer) = plain_pair(Sim::strangers(terms).await).await;
    assert_eq!(viewer.history.discontinuities().len(), 1, "{}", viewer.playlist.text);
    let at = viewer.history.discontinuities()[0];
    assert!(viewer.lineages().into_iter().all(|(number, seed)| seed == if number < at { 1 } else { 2 }));
    assert!(viewer.playlist.gaps().is_empty(), "{}", viewer.playlist.text);
}
