//! Origins without LL-HLS.

use crate::sim::Sim;
use crate::sim::stream::Terms;
use crate::support::{Running, within};
use crate::viewer::Viewer;

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
