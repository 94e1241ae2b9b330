//! Going back further than the live window: what the recording has is listed, and is what was live.

use bytes::Bytes;
use e2e::{Ffmpeg, Playlist, Server, Source, Viewer, wait_for};
use http::{Method, StatusCode};
use std::collections::BTreeMap;
use std::path::Path;
use tokio::sync::Mutex;

const SETS: [&str; 4] =
    ["ladder=[\"source\", \"320w 300k\"]", "hls.window_s=10", "hls.dvr_s=60", "origin.reconnect_s=600"];

const RENDITIONS: [&str; 3] = ["source", "320w", "audio"];

/// Segments that are listed when it is looked at: about twice what the live window holds.
const LISTED: usize = 12;

/// Everything that was listed at some time, by path.
type Seen = BTreeMap<String, Bytes>;

/// Fetches what is listed and not yet seen.
async fn look(viewer: &Viewer, rendition: &str, seen: &mut Seen) -> Playlist {
    let playlist = viewer.playlist("foo", rendition).await;
    for index in 0..playlist.media.segments.len() {
        for path in [playlist.init(index), playlist.resolve(&playlist.media.segments[index].uri)] {
            if !playlist.is_gap(index) && !seen.contains_key(&path) {
                let body = viewer.fetch(&path).await;
                seen.insert(path, body);
            }
        }
    }
    playlist
}

/// All that a rendition lists is there and is what was live.
async fn check(viewer: &Viewer, rendition: &str, seen: &mut Seen) -> Playlist {
    let playlist = viewer.playlist("foo", rendition).await;
    for (index, segment) in playlist.media.segments.iter().enumerate() {
        if playlist.is_gap(index) {
            continue;
        }
        for path in [playlist.init(index), playlist.resolve(&segment.uri)] {
            let body = viewer.fetch(&path).await;
            let before = seen.entry(path.clone()).or_insert_with(|| body.clone());
            assert!(*before == body, "{path} is not what it was: {} bytes, then {}", before.len(), body.len());
        }
    }
    playlist
}

/// Segments of a rendition in the live window's own folder.
fn on_disk(dir: &Path, rendition: &str) -> usize {
    let folder = dir.join("data/live/foo").join(rendition);
    let files = std::fs::read_dir(folder).expect("the live window's folder").flatten();
    files.filter(|file| file.path().extension().is_some_and(|extension| extension == "m4s")).count()
}

/// The numbers of a delta update: skipped and listed.
async fn delta(viewer: &Viewer, playlist: &Playlist) -> (usize, usize) {
    let reply = viewer.fetch(&format!("{}?_HLS_skip=YES", playlist.path)).await;
    let text = String::from_utf8(reply.to_vec()).expect("UTF-8");
    let skipped = text.lines().find_map(|line| line.strip_prefix("#EXT-X-SKIP:SKIPPED-SEGMENTS="));
    (skipped.expect("a delta").parse().expect("a number"), text.matches("#EXTINF").count())
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_go_back_further_than_the_live_window_and_find_what_was_live() {
    let server = Server::all(&SETS).await;
    let origin = server.origin_viewer();
    let source = Source { size: "640x320", seconds: 120, ..Source::default() };
    let encoder = Ffmpeg::publish(&source, &server.rtmp("foo"));
    origin.wait_live("foo").await;
    let mut seen = Seen::new();
    let first = origin.playlist("foo", "source").await.media.media_sequence;
    let live = Mutex::new(&mut seen);
    wait_for("a list twice as long as the live window", || async {
        let mut seen = live.lock().await;
        let mut least = usize::MAX;
        for rendition in RENDITIONS {
            least = least.min(look(&origin, rendition, &mut seen).await.media.segments.len());
        }
        (least >= LISTED).then_some(())
    })
    .await;

    // The edge has fetched none of it so far.
    let viewer = server.viewer();
    for rendition in RENDITIONS {
        let playlist = check(&viewer, rendition, &mut seen).await;
        assert_eq!(playlist.media.media_sequence, first, "{rendition}: nothing has left the list");
        assert!(playlist.text.contains("#EXT-X-DISCONTINUITY-SEQUENCE:0\n"), "{}", playlist.text);
        let (skipped, listed) = delta(&viewer, &playlist).await;
        assert!(skipped + listed >= LISTED && listed <= 9, "{rendition}: {skipped} skipped, {listed} listed");
        wait_for("the live window to let go of what is recorded", || async {
            (on_disk(server.dir().path(), rendition) < 9).then_some(())
        })
        .await;
    }
    let iframes = origin.fetch("/hls/foo/320w/iframes.m3u8").await;
    let iframes = m3u8_rs::parse_media_playlist_res(&iframes).expect("a media playlist");
    assert!(iframes.media_sequence == first && iframes.segments.len() >= LISTED);
    let oldest = format!("/hls/foo/320w/{}", iframes.segments[0].uri);
    let bytes = iframes.segments[0].byte_range.as_ref().expect("a range").length;
    let range = format!("bytes=0-{}", bytes - 1);
    let reply = origin.request(Method::GET, &oldest, &[("range", &range)]).await.expect("an answer");
    assert_eq!((reply.status, reply.body.len() as u64), (StatusCode::PARTIAL_CONTENT, bytes), "{}", reply.text());
    assert_eq!(reply.body, seen[&oldest].slice(..reply.body.len()));
    let report = e2e::run(&["lint", &viewer.url("/hls/foo.m3u8")]).await;
    assert_eq!(report.status.code(), Some(0), "{}", String::from_utf8_lossy(&report.stdout));

    // A restart finds it again.
    encoder.stop().await;
    let before = wait_for("the last segments", || async {
        let playlist = origin.playlist("foo", "source").await;
        let other = origin.playlist("foo", "320w").await;
        (playlist.media.segments.len() == other.media.segments.len()).then_some(playlist)
    })
    .await;
    for rendition in RENDITIONS {
        look(&origin, rendition, &mut seen).await;
    }
    let dir = server.dir();
    assert_eq!(server.leave().await, Some(0));
    let mut server = Server::start("all", &SETS, dir.clone()).await;
    let (origin, viewer) = (server.origin_viewer(), server.viewer());
    for rendition in RENDITIONS {
        let playlist = check(&viewer, rendition, &mut seen).await;
        assert_eq!(playlist.media.media_sequence, before.media.media_sequence, "{rendition}");
        assert!(playlist.media.segments.len() >= before.media.segments.len(), "{rendition}: {}", playlist.text);
    }

    // A store that is away is not the end of anything.
    let (store, away) = (dir.path().join("data/egress"), dir.path().join("data/away"));
    let oldest = wait_for("the oldest segment to be stored", || async {
        let asset = std::fs::read_dir(store.join("vod")).ok()?.flatten().next()?.path();
        asset.join("source").join(format!("{first}.m4s")).is_file().then(|| format!("/hls/foo/source/{first}.m4s"))
    })
    .await;
    std::fs::rename(&store, &away).expect("it is there");
    let reply = origin.get(&oldest).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{}", reply.text());
    assert!(reply.header("retry-after").is_some() && reply.header("cache-control") == Some("no-store"));
    std::fs::remove_dir_all(&store).ok();
    std::fs::rename(&away, &store).expect("it is there");
    assert!(origin.fetch(&oldest).await == seen[&oldest]);
    assert_eq!(origin.get(&format!("/hls/foo/source/{}.m4s", first - 1)).await.status, StatusCode::NOT_FOUND);
    server.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_costs_the_list_nothing_but_the_segment_in_hand() {
    let server = Server::all(&SETS).await;
    let origin = server.origin_viewer();
    let source = Source { size: "640x320", seconds: 120, ..Source::default() };
    let encoder = Ffmpeg::publish(&source, &server.rtmp("foo"));
    let first = origin.wait_segments("foo", "320w", 1).await.media.media_sequence;
    let mut seen = Seen::new();
    let live = Mutex::new(&mut seen);
    let before = wait_for("a list longer than the live window", || async {
        let mut seen = live.lock().await;
        for rendition in RENDITIONS {
            look(&origin, rendition, &mut seen).await;
        }
        let playlist = origin.playlist("foo", "audio").await;
        (playlist.media.segments.len() >= 9).then_some(playlist)
    })
    .await;
    let dir = server.dir();
    server.crash().await;
    encoder.stop().await;

    let mut server = Server::start("all", &SETS, dir.clone()).await;
    let origin = server.origin_viewer();
    for rendition in RENDITIONS {
        let playlist = check(&origin, rendition, &mut seen).await;
        assert_eq!(playlist.media.media_sequence, first, "{rendition}");
        let whole = (0..playlist.media.segments.len()).filter(|index| !playlist.is_gap(*index)).count();
        assert!(whole + 1 >= before.media.segments.len(), "{rendition}: {}", playlist.text);
    }
    // All that was live at the crash leaves the live window: then only the recording has it.
    let _encoder = Ffmpeg::publish(&source, &server.rtmp("foo"));
    origin.wait_segments("foo", "320w", before.media.segments.len() + 9).await;
    for rendition in RENDITIONS {
        let playlist = check(&origin, rendition, &mut seen).await;
        assert_eq!(playlist.media.media_sequence, first, "{rendition}: nothing has left the list");
        let breaks = playlist.media.segments.iter().filter(|segment| segment.discontinuity).count();
        assert_eq!(breaks, 1, "{rendition}: {}", playlist.text);
    }
    server.assert_well();
}

/// Puts a file where the recording keeps a rung until it is stored, at a moment when nothing of it waits there: from then
/// on the disk refuses its segments.
async fn refuse(dir: &Path, rendition: &str) {
    let sessions = dir.join("data/recording/foo");
    wait_for("a moment when nothing waits", || async {
        let session = std::fs::read_dir(&sessions).ok()?.flatten().next()?.path();
        let asset = std::fs::read_dir(session.join("egress/vod")).ok()?.flatten().next()?.path();
        let folder = asset.join(rendition);
        // Neither step does anything if a segment has come in between.
        std::fs::remove_dir(&folder).ok()?;
        std::fs::write(&folder, b"").ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_stops_leaves_the_live_window_and_nothing_listed_is_missing() {
    let mut server = Server::all(&SETS).await;
    let origin = server.origin_viewer();
    let source = Source { size: "640x320", seconds: 120, ..Source::default() };
    let _encoder = Ffmpeg::publish(&source, &server.rtmp("foo"));
    let first = origin.wait_segments("foo", "320w", 9).await.media.media_sequence;
    refuse(server.dir().path(), "320w").await;
    let mut seen = Seen::new();
    let live = Mutex::new(&mut seen);
    let long = wait_for("the list to be the live window again", || async {
        let mut seen = live.lock().await;
        let mut least = u64::MAX;
        for rendition in RENDITIONS {
            least = least.min(check(&origin, rendition, &mut seen).await.media.media_sequence);
        }
        (least > first + 7).then_some(least)
    })
    .await;
    assert!(server.log().contains("recording stopped"), "{}", server.log());
    for rendition in RENDITIONS {
        let playlist = check(&origin, rendition, &mut seen).await;
        assert!(playlist.media.media_sequence >= long && playlist.media.segments.len() < 9, "{}", playlist.text);
    }
    // Who has an older playlist still finds what it names.
    for (path, body) in &seen {
        assert!(origin.fetch(path).await == *body, "{path}");
    }
    server.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_what_has_ended_is_not_disturbed_by_what_comes_next() {
    let mut server = Server::all(&SETS).await;
    let origin = server.origin_viewer();
    let source = Source { size: "640x320", seconds: 120, ..Source::default() };
    let encoder = Ffmpeg::publish(&source, &server.rtmp("foo"));
    let mut seen = Seen::new();
    origin.wait_segments("foo", "320w", 9).await;
    for rendition in RENDITIONS {
        check(&origin, rendition, &mut seen).await;
    }
    encoder.stop().await;
    let ended = server.admin().request(Method::POST, "/control/streams/foo/end", &[]).await.expect("an answer");
    assert_eq!(ended.status, StatusCode::OK, "{}", ended.text());
    for rendition in RENDITIONS {
        wait_for("the final playlist", || async {
            origin.playlist("foo", rendition).await.media.end_list.then_some(())
        })
        .await;
        let playlist = check(&origin, rendition, &mut seen).await;
        assert!(playlist.media.segments.len() >= 9, "{}", playlist.text);
    }
    let _encoder = Ffmpeg::publish(&source, &server.rtmp("foo"));
    wait_for("the next epoch", || async {
        let reply = origin.get("/hls/foo/source/index.m3u8").await;
        (reply.status == StatusCode::OK && !reply.text().contains("#EXT-X-ENDLIST")).then_some(())
    })
    .await;
    for (path, body) in &seen {
        assert!(origin.fetch(path).await == *body, "{path}");
    }
    server.assert_well();
}
