//! Streams that are encrypted, judged by FFmpeg: joined late, across changes of the key, and as recordings.

use bytes::Bytes;
use e2e::vod::decoded;
use e2e::{Ffmpeg, JOB_DEADLINE, Playlist, Server, Source, Viewer, tool, wait_for, wait_within};
use http::{Method, StatusCode};
use media::mp4::read::fragment_info;
use media::protect;
use media::route::{File, KeyFile};
use std::collections::BTreeSet;
use std::sync::Arc;
use tempfile::TempDir;

pub(crate) const SECRET: &str = "protect.secret=0123456789abcdef0123456789abcdef";

/// A key for two segments of 2 s; and little work for the better ladder.
const SETS: [&str; 7] = [
    "ladder=[\"source\", \"160w 100k\"]",
    "protect.method=aes-128",
    "protect.rotate_s=4",
    SECRET,
    "vod.ladder=[\"source\", \"160w 100k\"]",
    "vod.effort=veryfast",
    "transcoder.rescan_s=1",
];

/// Ends a stream; gives the address of its recording.
pub(crate) async fn recorded(server: &Server, stream: &str) -> String {
    let end = format!("/control/streams/{stream}/end");
    let ended = server.admin().request(Method::POST, &end, &[]).await.expect("an answer");
    assert!(ended.status.is_success(), "{}", ended.text());
    wait_for("the recording to be there", || async {
        let streams = server.viewer().json("/api/streams").await;
        Some(streams["assets"].as_array()?.first()?["url"].as_str()?.to_owned())
    })
    .await
}

/// Addresses of the keys that a playlist names.
fn keys(playlist: &str) -> Vec<KeyFile> {
    let uris = playlist.lines().filter_map(|line| line.strip_prefix("#EXT-X-KEY:METHOD=AES-128,URI="));
    uris.map(|uri| KeyFile::parse_uri(uri.trim_matches('"')).expect("our own name")).collect()
}

async fn key(viewer: &Viewer, file: KeyFile) -> [u8; 16] {
    let reply = viewer.get(&format!("/hls/foo/keys/{file}")).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    for (name, value) in [
        ("content-type", "application/octet-stream"),
        ("cache-control", "private, no-store"),
        ("access-control-allow-origin", "*"),
    ] {
        assert_eq!(reply.header(name), Some(value), "{name}");
    }
    reply.body.as_ref().try_into().expect("16 bytes")
}

/// Each of the newest parts is encrypted by itself, with its segment's key and number.
async fn parts_can_be_decrypted(viewer: &Viewer, playlist: &Playlist) {
    let (mut current, mut seen) = (None, 0);
    for line in playlist.text.lines() {
        current = keys(line).pop().or(current);
        let Some(rest) = line.strip_prefix("#EXT-X-PART:") else { continue };
        let name = rest.split('"').nth(1).expect("an address");
        let Some(File::Part(msn, _)) = File::parse(name) else { panic!("{line}") };
        let sealed: Bytes = viewer.fetch(&playlist.resolve(name)).await;
        let key = key(viewer, current.expect("a key before the first part")).await;
        let plain = protect::open(&key, &protect::iv(msn), &sealed).expect("it can be decrypted");
        assert!(fragment_info(&plain).is_ok_and(|info| !info.tracks.is_empty()), "{name}");
        seen += 1;
    }
    assert!(seen > 4, "{}", playlist.text);
}

async fn lint(url: &str) {
    let report = e2e::run(&["lint", url]).await;
    let text = String::from_utf8_lossy(&report.stdout);
    assert_eq!(report.status.code(), Some(0), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_encrypted_is_played_by_ffmpeg_live_and_recorded() {
    let mut server = Server::all(&SETS).await;
    let viewer = server.viewer();
    let source = Source { size: "320x160", seconds: 120, ..Source::default() };
    let _encoder = Ffmpeg::publish(&source, &server.rtmp("foo"));
    let playlist = viewer.wait_segments("foo", "source", 5).await;
    let named: BTreeSet<String> = keys(&playlist.text).iter().map(KeyFile::to_string).collect();
    assert!(named.len() >= 3, "{}", playlist.text);
    let first = viewer.fetch(&playlist.resolve(&playlist.media.segments[0].uri)).await;
    assert!(fragment_info(&first).map_or(true, |info| info.tracks.is_empty()), "a segment is in clear");
    parts_can_be_decrypted(&viewer, &playlist).await;

    // An edge that has no secret asks.
    let origins = format!("edge.origins=[\"http://{}\"]", server.addr("origin_http"));
    let dir = Arc::new(TempDir::new().expect("a temporary folder"));
    let keyless = Server::start("edge", &[&origins], dir).await;
    let newest = keys(&playlist.text).pop().expect("a key");
    assert_eq!(key(&keyless.viewer(), newest).await, key(&viewer, newest).await);

    // Nobody has tomorrow's key today, whatever today's is called.
    for index in [newest.index + 1, newest.index + 43_200] {
        let guessed = format!("/hls/foo/keys/{}", KeyFile { index, ..newest });
        for asked in [&viewer, &server.origin_viewer(), &keyless.viewer()] {
            assert_eq!(asked.get(&guessed).await.status, StatusCode::NOT_FOUND, "{guessed}");
        }
    }

    // Late, and for longer than a key holds.
    let url = viewer.url("/hls/foo/source/index.m3u8");
    let args =
        ["-v", "error", "-xerror", "-live_start_index", "-3", "-i", &url, "-frames:v", "210", "-f", "framehash", "-"];
    let frames = tool("ffmpeg", &args).await;
    assert_eq!(frames.lines().filter(|line| !line.starts_with('#')).count(), 7 * 30);
    lint(&viewer.url("/hls/foo.m3u8")).await;

    let url = recorded(&server, "foo").await;
    let (pictures, _) = decoded(&server, &url).await;
    assert!(pictures >= 5 * 60, "{pictures} pictures");
    lint(&viewer.url(&url)).await;
    wait_within(JOB_DEADLINE, "the better ladder", || async {
        viewer.get(&url).await.text().contains("hq/160w").then_some(())
    })
    .await;
    let (better, blocks) = decoded(&server, &url).await;
    assert!(better >= pictures && blocks > 0, "{better} pictures and {blocks} blocks of sound, before {pictures}");
    let folder = url.rsplit_once('/').expect("a folder").0;
    let playlist = viewer.get(&format!("{folder}/hq/160w/index.m3u8")).await.text();
    assert!(!keys(&playlist).is_empty(), "{playlist}");
    assert_eq!(viewer.get(&format!("{folder}/hq/thumbs.vtt")).await.status, StatusCode::NOT_FOUND);
    lint(&viewer.url(&url)).await;
    assert!(!server.log().contains(SECRET.split('=').nth(1).expect("a secret")));
    server.assert_well();
}
