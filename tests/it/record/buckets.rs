//! Recordings that go to S3, however it behaves.

use super::*;
use e2e::bucket::{Buckets, Mood};
use std::collections::BTreeSet;
use std::time::Duration;

const SETS: [&str; 5] = [
    "ladder=[\"source\", \"160w 100k\"]",
    "hls.segment_ms=1000",
    "hls.part_ms=250",
    "storage.ingest=\"s3://masters/live\"",
    "storage.egress=\"s3://derivatives\"",
];

const RENDITIONS: [&str; 3] = ["source", "160w", "audio"];

fn small(seconds: u32) -> Source {
    Source { size: "320x160", seconds, keyint: 15, ..Source::default() }
}

async fn start(role: &str, more: &[&str], buckets: &Buckets) -> Server {
    let env = buckets.env();
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let dir = Arc::new(TempDir::new().expect("a temporary folder"));
    Server::start_with(role, &[&SETS[..], more].concat(), &env, dir).await
}

/// An edge before an origin.
async fn edge(origin: &Server, buckets: &Buckets) -> Server {
    let origins = format!("edge.origins=[\"http://{}\"]", origin.addr("origin_http"));
    start("edge", &[&origins], buckets).await
}

/// Names of segments that a playlist lists and that are no gaps.
fn names(playlist: &m3u8_rs::MediaPlaylist) -> BTreeSet<String> {
    let whole = playlist.segments.iter().filter(|segment| !segment.unknown_tags.iter().any(|tag| tag.tag == "X-GAP"));
    whole.map(|segment| segment.uri.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_refuses_dawdles_and_goes_away_loses_nothing() {
    let buckets = Buckets::start(&["masters", "derivatives"]).await;
    let mut server = start("origin", &[], &buckets).await;
    let edge = edge(&server, &buckets).await;
    let encoder = Ffmpeg::publish(&small(180), &server.rtmp("foo"));
    let viewer = server.origin_viewer();
    let mut count = viewer.wait_segments("foo", "audio", 2).await.media.segments.len();
    for mood in [Mood::Refusing(503), Mood::Open, Mood::Refusing(500), Mood::Slow(Duration::from_secs(2)), Mood::Shut] {
        buckets.mood(mood);
        count = viewer.wait_segments("foo", "audio", count + 4).await.media.segments.len();
    }
    wait_for("the operator to hear of it", || async {
        server.log().contains("can't store a recording's file").then_some(())
    })
    .await;
    buckets.mood(Mood::Open);
    encoder.stop().await;
    end(&server, "foo").await;

    let asset = asset(&edge.viewer()).await;
    let duration_s = asset["duration_s"].as_f64().expect("a number");
    for rendition in RENDITIONS {
        let seconds = listed(&edge.viewer(), &asset, rendition).await;
        assert!((seconds - duration_s).abs() < 0.1, "{rendition}: {seconds} s of {duration_s} s without gaps");
        let path = format!("/vod/{}/{rendition}/index.m3u8", asset["id"].as_str().expect("an id"));
        let vod = m3u8_rs::parse_media_playlist_res(&edge.viewer().fetch(&path).await).expect("a media playlist");
        let live = viewer.playlist("foo", rendition).await.media;
        assert!(names(&live).is_subset(&names(&vod)), "{rendition}: {:?} of {:?}", names(&vod), names(&live));
    }
    nothing_waits(server.dir().path()).await;
    let masters = buckets.keys("masters", "live/rec/foo/").await;
    let ended = masters.iter().find(|key| key.ends_with("/ended.json")).expect("ended.json");
    let ended: Value = serde_json::from_str(&buckets.object("masters", ended).await).expect("JSON");
    for part in ended["parts"].as_array().expect("parts") {
        let key = format!("live/{}", part["key"].as_str().expect("a key"));
        assert!(masters.contains(&key), "{key} in {masters:?}");
    }
    server.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transcoder_finishes_what_an_origin_left_in_a_bucket_when_it_died() {
    let buckets = Buckets::start(&["masters", "derivatives"]).await;
    let server = start("origin", &[], &buckets).await;
    let encoder = Ffmpeg::publish(&small(60), &server.rtmp("foo"));
    server.origin_viewer().wait_segments("foo", "audio", 4).await;
    wait_for("the log to tell of three segments", || async {
        let logs = buckets.keys("masters", "live/rec/foo/").await;
        let log = logs.iter().find(|key| key.contains("/log/"))?;
        let text = buckets.object("masters", log).await;
        (text.matches("\"rendition\":\"audio\"").count() >= 3).then_some(())
    })
    .await;
    server.crash().await;
    encoder.stop().await;
    assert!(!buckets.keys("masters", "live/rec/foo/").await.iter().any(|key| key.ends_with("/ended.json")));

    let mut worker = start("transcoder", &["record_lost_s=2"], &buckets).await;
    let ended = wait_for("the recording to be finished", || async {
        let keys = buckets.keys("masters", "live/rec/foo/").await;
        let key = keys.into_iter().find(|key| key.ends_with("/ended.json"))?;
        serde_json::from_str::<Value>(&buckets.object("masters", &key).await).ok()
    })
    .await;
    assert_eq!(ended["reason"], "lost", "{ended}");
    let asset = ended["asset"].as_str().expect("an asset");
    for rendition in RENDITIONS {
        let text = buckets.object("derivatives", &format!("vod/{asset}/{rendition}/index.m3u8")).await;
        let playlist = m3u8_rs::parse_media_playlist_res(text.as_bytes()).expect("a media playlist");
        let there = buckets.keys("derivatives", &format!("vod/{asset}/{rendition}/")).await;
        let names = names(&playlist);
        assert!(names.len() >= 3, "{rendition}: {text}");
        for name in names {
            assert!(there.iter().any(|key| key.ends_with(&format!("/{name}"))), "{rendition} lacks {name}");
        }
    }
    worker.assert_well();
}
