//! Two origins of one stream, one of which fails: what viewers see of it.
//!
//! Viewers mind everything that playlists ever said (`viewer::History`): that nothing goes back, that no number and no
//! name is used again, that no two say different things of one segment.

mod pins;
mod plain;
mod strangers;

use crate::sim::stream::Terms;
use crate::sim::{Fault, Sim};
use crate::support::{Got, Running, within};
use crate::viewer::Viewer;
use http::Method;
use std::collections::BTreeSet;

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
        self.edge.agreed("foo").await;
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

// Origins that agree.

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
