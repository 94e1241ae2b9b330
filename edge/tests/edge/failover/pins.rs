//! An operator says which origin is to lead.

use super::{RENDITIONS, Show};
use crate::sim::Sim;
use crate::sim::stream::Terms;
use crate::support::Running;
use crate::viewer::Viewer;
use std::time::Duration;

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
