//! Encoders that come and go.

use super::{COPIED, publish, small};
use e2e::Source;
use e2e::flv::make_tags;
use e2e::rtmp::Rtmp;
use e2e::served::Served;
use e2e::{Server, wait_for};
use std::collections::BTreeMap;

const CYCLES: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn names_are_used_again_and_numbers_never_fall() {
    let tags = make_tags(&Source { keyint: 30, ..small(2) }).await;
    let mut server = Server::all(&[COPIED[0], COPIED[1], "hls.segment_ms=1000"]).await;
    let viewer = server.viewer();
    let mut ends: BTreeMap<&str, (u64, Vec<String>)> = BTreeMap::new();
    for cycle in 0..CYCLES {
        let stream = ["one", "two", "three"][cycle % 3];
        if cycle % 2 == 0 {
            publish(&server, stream, &tags).await;
        } else {
            // Lost in mid-stream, with no word.
            let mut rtmp = Rtmp::publish(&server, stream).await;
            rtmp.send(&tags).await;
            rtmp.end().await;
        }
        viewer.wait_live(stream).await;
        let (end, listed) = ends.entry(stream).or_default();
        let playlist = wait_for("the cycle's two segments", || async {
            let playlist = viewer.playlist(stream, "source").await;
            (playlist.media.segments.len() == listed.len() + 2).then_some(playlist)
        })
        .await;
        let names: Vec<String> = playlist.media.segments.iter().map(|segment| segment.uri.clone()).collect();
        assert!(names.starts_with(listed), "what was listed stays as it was: {names:?} after {listed:?}");
        let now = playlist.media.media_sequence + names.len() as u64;
        assert!(now >= *end + 2, "numbers go on: {now} after {end}");
        (*end, *listed) = (now, names);
    }
    for (stream, (_, listed)) in ends {
        let served = Served::fetch(&viewer, stream, "source").await;
        let breaks: Vec<usize> = (2..listed.len()).step_by(2).collect();
        served.assert_unbroken(&breaks);
    }
    server.assert_well();
}
