//! Recordings come from the store, once per object, and are kept like any media.

use crate::support::{Got, Origin, Running, media, status, within};
use http::Method;
use servers::Server;
use std::path::Path;
use std::time::Duration;
use store::{Limits, Objects};

#[path = "../../../crates/store/tests/store/again.rs"]
mod again;
#[path = "../../../crates/store/tests/store/servers.rs"]
#[allow(dead_code, reason = "the store's tests need more of it")]
mod servers;

const PLAYLIST: &str = "/vod/foo-20261120T172500Z/source/index.m3u8";
const SEGMENT: &str = "/vod/foo-20261120T172500Z/source/1.m4s";

async fn edge(store: &str, origins: &[&Origin]) -> Running {
    let origins = match origins {
        [] => vec!["http://127.0.0.1:1".to_owned()],
        origins => origins.iter().map(|origin| origin.url()).collect(),
    };
    let store = store.to_owned();
    Running::configured(origins, |config| config.storage.egress = Some(store)).await
}

fn url(folder: &Path) -> String {
    format!("file:{}", folder.display())
}

/// Puts an object where an address leads to.
async fn put(store: &str, address: &str, content: impl Into<bytes::Bytes>) {
    let objects = Objects::open(store, Limits::PATIENT).await.unwrap();
    objects.put(address.trim_start_matches('/'), content.into(), "text/html").await.unwrap();
}

fn cached(got: &Got) -> &str {
    got.header("cache-status").split("; ").nth(1).unwrap()
}

#[tokio::test]
async fn recordings_come_from_the_store_and_no_origin_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let store = url(folder.path());
    put(&store, PLAYLIST, "#EXTM3U\n".repeat(100)).await;
    put(&store, SEGMENT, media(3_000_000)).await;
    let origin = Origin::start(|_| status(500, "not asked")).await;
    let edge = edge(&store, &[&origin]).await;

    let playlist = edge.get(PLAYLIST).await;
    assert_eq!((playlist.status.as_u16(), playlist.text()), (200, "#EXTM3U\n".repeat(100).as_str()));
    assert_eq!(playlist.header("content-type"), "application/vnd.apple.mpegurl");
    assert_eq!(playlist.header("cache-control"), "public, max-age=1");
    let zipped = edge.ask(Method::GET, PLAYLIST, &[("accept-encoding", "gzip")]).await;
    assert!(zipped.header("content-encoding") == "gzip" && zipped.body.len() < 100);

    let segment = edge.get(SEGMENT).await;
    assert!(segment.status == 200 && segment.clean && segment.body == media(3_000_000));
    assert_eq!((segment.header("content-type"), cached(&segment)), ("video/mp4", "fwd=miss"));
    assert_eq!(segment.header("cache-control"), "public, max-age=86400, immutable");
    assert!(origin.targets().is_empty(), "{:?}", origin.targets());
}

#[tokio::test]
async fn a_segment_is_read_once_and_then_comes_from_memory_in_pieces_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = url(folder.path());
    let content = media(2_000_000);
    put(&store, SEGMENT, content.clone()).await;
    let edge = edge(&store, &[]).await;
    let all = edge.crowd(50, &format!("{SEGMENT}?token=x")).await;
    assert!(all.iter().all(|got| got.status == 200 && got.clean && got.body == content));
    assert_eq!(all.iter().filter(|got| got.header("cache-status").ends_with("stored")).count(), 1);

    std::fs::remove_dir_all(folder.path()).unwrap();
    let etag = all[0].header("etag");
    let part = edge.ask(Method::GET, SEGMENT, &[("range", "bytes=1000000-1000009"), ("if-range", etag)]).await;
    assert_eq!((part.status.as_u16(), &part.body), (206, &content.slice(1_000_000..1_000_010)));
    assert_eq!(part.header("content-range"), "bytes 1000000-1000009/2000000");
    assert_eq!(edge.ask(Method::GET, SEGMENT, &[("if-none-match", etag)]).await.status, 304);
    assert_eq!(cached(&edge.get(SEGMENT).await), "hit");
}

#[tokio::test]
async fn a_playlist_that_was_replaced_is_seen_soon() {
    let folder = tempfile::tempdir().unwrap();
    let store = url(folder.path());
    put(&store, PLAYLIST, "one").await;
    let edge = edge(&store, &[]).await;
    assert_eq!(edge.get(PLAYLIST).await.text(), "one");
    put(&store, PLAYLIST, "two").await;
    within("the new playlist", async {
        while edge.get(PLAYLIST).await.text() != "two" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_missing_or_no_address_is_404_and_nothing_beside_recordings_is_reached() {
    let folder = tempfile::tempdir().unwrap();
    let store = url(&folder.path().join("store"));
    put(&store, SEGMENT, "x").await;
    put(&store, "/secret/x", "secret").await;
    std::fs::write(folder.path().join("secret"), "secret").unwrap();
    let edge = edge(&store, &[]).await;
    for target in ["/vod/bar-1/index.m3u8", "/vod/foo-20261120T172500Z/source", "/vod/vod/secret/x"] {
        let got = edge.get(target).await;
        assert_eq!(got.status, 404, "{target}");
        assert!(got.text().contains("no such recording"), "{target}: {}", got.text());
        assert_eq!(got.header("cache-control"), "no-store", "{target}");
    }
    for target in [
        "/vod/../secret/x",
        "/vod/%2e%2e/secret/x",
        "/vod/..%2fsecret/x",
        "/vod/x/../../secret/x",
        "/vod//secret/x",
        "/vod/x/%2e%2e/%2e%2e/%2e%2e/secret",
        "/secret/x",
    ] {
        let answer = edge.raw(&format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 404") && !answer.ends_with("secret"), "{target}: {answer}");
    }
}

#[tokio::test]
async fn an_object_that_is_larger_than_an_edge_takes_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let store = url(folder.path());
    put(&store, SEGMENT, "x").await;
    let huge = std::fs::File::create(folder.path().join(SEGMENT.trim_start_matches('/'))).unwrap();
    huge.set_len(256 * 1024 * 1024 + 1).unwrap();
    let got = edge(&store, &[]).await.get(SEGMENT).await;
    assert_eq!((got.status.as_u16(), got.text()), (502, "the object is larger than 268435456 bytes\n"));
}

#[tokio::test]
async fn a_recording_comes_from_a_bucket_and_is_503_while_that_is_away() {
    const TEST: &str = "vod::a_recording_comes_from_a_bucket_and_is_503_while_that_is_away";
    let store = "s3://abc/egress";
    match again::role().as_deref() {
        None => {}
        Some("there") => {
            put(store, PLAYLIST, "#EXTM3U\n").await;
            put(store, SEGMENT, media(3_000_000)).await;
            let edge = edge(store, &[]).await;
            // The store may be slower than an edge waits: it says so, and to come again.
            let get = async |target| {
                let answered = async {
                    loop {
                        let got = edge.get(target).await;
                        if got.status != 503 {
                            return got;
                        }
                    }
                };
                within("the store's answer", answered).await
            };
            let playlist = get(PLAYLIST).await;
            assert_eq!(
                (playlist.text(), playlist.header("content-type")),
                ("#EXTM3U\n", "application/vnd.apple.mpegurl")
            );
            let segment = get(SEGMENT).await;
            assert!(segment.clean && segment.body == media(3_000_000) && !segment.header("etag").is_empty());
            return assert_eq!(get("/vod/bar-1/index.m3u8").await.status, 404);
        }
        Some(_) => {
            let edge = edge(store, &[]).await;
            for target in [PLAYLIST, SEGMENT] {
                let got = edge.get(target).await;
                assert_eq!((got.status.as_u16(), got.text()), (503, "the store of recordings does not answer\n"));
                assert_eq!(got.header("retry-after"), "1");
            }
            return;
        }
    }
    let server = Server::ministack();
    server.make_bucket("abc");
    let endpoint = server.url().to_owned();
    let run = |role: &str| {
        let env = [
            ("AWS_ENDPOINT_URL_S3", endpoint.as_str()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_CONFIG_FILE", "/nonexistent"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent"),
        ];
        assert!(again::command(TEST, role).env_remove("AWS_PROFILE").envs(env).status().unwrap().success(), "{role}");
    };
    run("there");
    drop(server);
    run("away");
}
