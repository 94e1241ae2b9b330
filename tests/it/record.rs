//! Recording and instant VOD: real encoders in, assets out, whatever dies or fills up in between.

mod buckets;
mod lost;

use e2e::{Ffmpeg, Server, Source, Viewer, make_media, tool, wait_for};
use http::{Method, StatusCode};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

const LADDER: &str = "ladder=[\"source\", \"320w 300k\"]";

const RENDITIONS: [&str; 3] = ["source", "320w", "audio"];

fn source(seconds: u32) -> Source {
    Source { size: "640x320", seconds, ..Source::default() }
}

async fn end(server: &Server, stream: &str) {
    let path = format!("/control/streams/{stream}/end");
    let reply = server.admin().request(Method::POST, &path, &[]).await.expect("an answer");
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
}

/// Waits for the one asset that `/api/streams` lists.
async fn asset(viewer: &Viewer) -> Value {
    wait_for("an asset in /api/streams", || async {
        viewer.json("/api/streams").await["assets"].as_array().and_then(|assets| assets.first().cloned())
    })
    .await
}

/// Seconds of pictures and of sound that FFmpeg decodes of a playlist.
async fn played(viewer: &Viewer, path: &str) -> (f64, f64) {
    let url = viewer.url(path);
    let mut seconds = Vec::new();
    for kind in ["v:0", "a:0"] {
        let args = ["-v", "error", "-count_frames", "-select_streams", kind, "-show_entries", "stream=nb_read_frames"];
        let counted = tool("ffprobe", &[&args[..], &["-of", "default=nk=1:nw=1", &url]].concat()).await;
        // The stream stands there once for itself and once for its programme.
        let frames: f64 =
            counted.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{counted}"));
        seconds.push(frames / if kind == "v:0" { 30.0 } else { 48_000.0 / 1024.0 });
    }
    (seconds[0], seconds[1])
}

/// Every file that the asset's playlists list is there; returns the seconds that are listed and no gaps.
async fn listed(viewer: &Viewer, asset: &Value, rendition: &str) -> f64 {
    let path = format!("/vod/{}/{rendition}/index.m3u8", asset["id"].as_str().expect("an id"));
    let text = String::from_utf8(viewer.fetch(&path).await.to_vec()).expect("UTF-8");
    assert!(text.contains("#EXT-X-PLAYLIST-TYPE:VOD\n") && text.ends_with("#EXT-X-ENDLIST\n"), "{text}");
    let media = m3u8_rs::parse_media_playlist_res(text.as_bytes()).expect("a media playlist");
    let folder = path.trim_end_matches("index.m3u8");
    let mut seconds = 0.0;
    for segment in &media.segments {
        if segment.unknown_tags.iter().any(|tag| tag.tag == "X-GAP") {
            continue;
        }
        viewer.fetch(&format!("{folder}{}", segment.uri)).await;
        if let Some(map) = &segment.map {
            viewer.fetch(&format!("{folder}{}", map.uri)).await;
        }
        seconds += f64::from(segment.duration);
    }
    seconds
}

/// What was recorded of what came in: the folder with `ended.json`.
async fn ended(dir: &Path, stream: &str) -> (PathBuf, Value) {
    let folder = dir.join("data/ingest/rec").join(stream);
    wait_for("ended.json", || async {
        let session = std::fs::read_dir(&folder).ok()?.flatten().next()?.path();
        let text = std::fs::read(session.join("ended.json")).ok()?;
        Some((session, serde_json::from_slice(&text).expect("JSON")))
    })
    .await
}

/// Waits until the recording is as far as the live playlist of the sound, before that gets its next segment. Returns how many
/// there are.
async fn journal_has_what_viewers_have(dir: &Path, viewer: &Viewer) -> u32 {
    let folder = dir.join("data/recording/foo");
    wait_for("the journal to be as far as the live playlist", || async {
        let listed = viewer.playlist("foo", "audio").await.media;
        let count = listed.segments.len();
        let last = format!("\"rendition\":\"audio\",\"msn\":{},", listed.media_sequence + count as u64 - 1);
        let session = std::fs::read_dir(&folder).ok()?.flatten().next()?.path();
        let journal = std::fs::read_to_string(session.join("journal.jsonl")).ok()?;
        let same = viewer.playlist("foo", "audio").await.media.segments.len() == count;
        (same && journal.contains(&last)).then_some(count as u32)
    })
    .await
}

/// Waits until nothing waits for a store any more.
async fn nothing_waits(dir: &Path) {
    let recording = dir.join("data/recording");
    wait_for("recordings to be stored and their folders gone", || async {
        std::fs::read_dir(&recording).map_or(Some(()), |mut streams| streams.next().is_none().then_some(()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_has_ended_can_be_watched_at_once_and_what_came_in_is_kept() {
    let dir = TempDir::new().expect("a temporary folder");
    let media = dir.path().join("source.mp4");
    make_media(&source(7), &media).await;
    let mut server = Server::all(&[LADDER]).await;
    let viewer = server.viewer();
    let encoder = Ffmpeg::publish_file(&media, &server.rtmp("foo"), &[]);
    let (ok, words) = encoder.wait().await;
    assert!(ok, "{words}");
    end(&server, "foo").await;

    let asset = asset(&viewer).await;
    assert_eq!((asset["name"].as_str(), asset["state"].as_str()), (Some("foo"), Some("instant")));
    let url = asset["url"].as_str().expect("a URL").to_owned();
    assert_eq!(asset["duration_s"].as_f64(), Some(7.0));
    let (pictures, sound) = played(&viewer, &url).await;
    assert!((pictures - 7.0).abs() < 0.05 && (sound - 7.0).abs() < 0.1, "{pictures} s of pictures, {sound} s of sound");
    for rendition in RENDITIONS {
        let seconds = listed(&viewer, &asset, rendition).await;
        assert!((seconds - 7.0).abs() < 0.05, "{rendition}: {seconds} s");
    }
    let report = e2e::run(&["lint", &viewer.url(&url)]).await;
    assert_eq!(report.status.code(), Some(0), "{}", String::from_utf8_lossy(&report.stdout));

    // The live address leads to the recording, by its playlist and by the list.
    let live = server.origin_viewer().multivariant("foo").await.expect("an ended stream's playlist stays");
    assert!(live.contains(&format!("VALUE=\"{url}\"")), "{live}");
    let streams = viewer.json("/api/streams").await;
    assert_eq!(streams["streams"][0]["asset"], asset["id"], "{streams}");

    let (folder, ended) = ended(server.dir().path(), "foo").await;
    assert_eq!((ended["reason"].as_str(), &ended["asset"]), (Some("ended"), &asset["id"]), "{ended}");
    let part = folder.join("0.flv").display().to_string();
    let kept = tool(
        "ffprobe",
        &[
            "-v",
            "error",
            "-count_packets",
            "-show_entries",
            "stream=nb_read_packets",
            "-of",
            "default=nk=1:nw=1",
            &part,
        ],
    )
    .await;
    assert!(kept.split_whitespace().any(|count| count == "210"), "every picture that came in: {kept}");
    nothing_waits(server.dir().path()).await;

    // The store is the truth: a new process lists the same.
    server.assert_well();
    let dir = server.dir();
    assert_eq!(server.leave().await, Some(0));
    let server = Server::start("all", &[LADDER], dir).await;
    assert_eq!(self::asset(&server.viewer()).await, asset);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_a_crash_cut_off_plays_to_its_last_closed_segment() {
    let sets = [LADDER, "origin.reconnect_s=1"];
    let server = Server::all(&sets).await;
    let encoder = Ffmpeg::publish(&source(60), &server.rtmp("foo"));
    server.viewer().wait_segments("foo", "320w", 4).await;
    let dir = server.dir();
    let closed = journal_has_what_viewers_have(dir.path(), &server.viewer()).await;
    server.crash().await;
    encoder.stop().await;

    let mut server = Server::start("all", &sets, dir.clone()).await;
    let viewer = server.viewer();
    let asset = asset(&viewer).await;
    let (pictures, sound) = played(&viewer, asset["url"].as_str().expect("a URL")).await;
    assert!(pictures > 5.9 && (pictures - sound).abs() < 0.1, "{pictures} s of pictures, {sound} s of sound");
    for rendition in RENDITIONS {
        let seconds = listed(&viewer, &asset, rendition).await;
        assert!(seconds > f64::from(closed) * 2.0 - 0.1, "{rendition}: {seconds} s of {closed} segments");
    }
    let report = e2e::run(&["lint", &viewer.url(asset["url"].as_str().expect("a URL"))]).await;
    assert_eq!(report.status.code(), Some(0), "{}", String::from_utf8_lossy(&report.stdout));
    ended(dir.path(), "foo").await;
    nothing_waits(dir.path()).await;
    server.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_goes_on_after_a_crash_is_one_recording() {
    let server = Server::all(&[LADDER]).await;
    let encoder = Ffmpeg::publish(&source(60), &server.rtmp("foo"));
    server.viewer().wait_segments("foo", "320w", 3).await;
    let dir = server.dir();
    server.crash().await;
    encoder.stop().await;

    let mut server = Server::start("all", &[LADDER], dir.clone()).await;
    let viewer = server.viewer();
    let before = viewer.playlist("foo", "320w").await.media.segments.len();
    let encoder = Ffmpeg::publish(&source(60), &server.rtmp("foo"));
    viewer.wait_segments("foo", "320w", before + 2).await;
    encoder.stop().await;
    end(&server, "foo").await;
    let asset = asset(&viewer).await;
    let path = format!("/vod/{}/source/index.m3u8", asset["id"].as_str().expect("an id"));
    let text = String::from_utf8(viewer.fetch(&path).await.to_vec()).expect("UTF-8");
    assert_eq!(text.matches("#EXT-X-DISCONTINUITY\n").count(), 1, "{text}");
    assert!(listed(&viewer, &asset, "source").await > 7.9, "{text}");
    let (_, ended) = ended(dir.path(), "foo").await;
    assert!(ended["parts"].as_array().is_some_and(|parts| parts.len() >= 2), "{ended}");
    server.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_for_a_while_loses_nothing() {
    let dir = Arc::new(TempDir::new().expect("a temporary folder"));
    // A file where the store's folder would be: nobody can write there, whoever he is.
    let store = dir.path().join("store");
    std::fs::write(&store, b"").expect("a file");
    let egress = format!("storage.egress=\"file:{}\"", store.join("egress").display());
    let mut server = Server::start("all", &[LADDER, &egress], dir.clone()).await;
    let viewer = server.viewer();
    let encoder = Ffmpeg::publish(&source(60), &server.rtmp("foo"));
    viewer.wait_segments("foo", "320w", 4).await;
    encoder.stop().await;
    end(&server, "foo").await;
    assert!(server.log().contains("can't store a recording's file"), "{}", server.log());
    std::fs::remove_file(&store).expect("it was there");
    let asset = asset(&viewer).await;
    for rendition in RENDITIONS {
        let seconds = listed(&viewer, &asset, rendition).await;
        assert!((seconds - asset["duration_s"].as_f64().expect("a number")).abs() < 0.1, "{rendition}: {seconds} s");
    }
    nothing_waits(dir.path()).await;
    server.assert_well();
}

/// A small disk, unmounted with its owner.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where mounting isn't allowed.
    fn mount(path: PathBuf, size: &str) -> Option<Self> {
        std::fs::create_dir_all(&path).expect("a folder");
        let options = format!("size={size}");
        let mount =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path).output();
        mount.is_ok_and(|output| output.status.success()).then_some(Self(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that is being killed may still have files open.
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_the_recording_and_not_the_stream() {
    let dir = Arc::new(TempDir::new().expect("a temporary folder"));
    let Some(_disk) = SmallDisk::mount(dir.path().join("data/recording"), "400k") else {
        eprintln!("skipped: mounting a small disk takes root");
        return;
    };
    let mut server = Server::start("all", &[LADDER], dir.clone()).await;
    let viewer = server.viewer();
    let _encoder = Ffmpeg::publish(&source(60), &server.rtmp("foo"));
    viewer.wait_segments("foo", "320w", 3).await;
    let recording = wait_for("the recording to stop", || async {
        let stat = server.admin().json("/stat").await;
        let words = stat["origin"]["streams"][0]["recording"].as_str()?.to_owned();
        words.starts_with("stopped").then_some(words)
    })
    .await;
    assert_eq!(recording, "stopped: disk full");
    assert!(server.log().contains("recording stopped: disk full"), "{}", server.log());
    let metrics = String::from_utf8(server.admin().fetch("/metrics").await.to_vec()).expect("UTF-8");
    // On a slow machine it may have gone on between, and stopped again.
    let stops = metrics.lines().find_map(|line| line.strip_prefix("live360_recordings_stopped_total "));
    assert!(stops.and_then(|count| count.parse::<u64>().ok()).is_some_and(|count| count > 0), "{metrics}");
    let before = viewer.playlist("foo", "320w").await;
    let after = viewer.wait_segments("foo", "320w", before.media.segments.len() + 2).await;
    assert!((0..after.media.segments.len()).all(|index| !after.is_gap(index)), "{}", after.text);
    // What there was room for is stored like any other recording.
    end(&server, "foo").await;
    nothing_waits(dir.path()).await;
    server.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_is_the_configs_choice_for_each_stream() {
    let sets = [LADDER, "record=\"source\"", "streams.bar.record=\"off\""];
    let mut server = Server::all(&sets).await;
    let viewer = server.viewer();
    let publish = |name: &str| Ffmpeg::publish(&source(60), &server.rtmp(name));
    let (foo, bar) = (publish("foo"), publish("bar"));
    viewer.wait_segments("foo", "source", 2).await;
    viewer.wait_segments("bar", "source", 2).await;
    foo.stop().await;
    bar.stop().await;
    end(&server, "foo").await;
    end(&server, "bar").await;
    let (_, ended) = ended(server.dir().path(), "foo").await;
    assert_eq!(ended["asset"], Value::Null, "{ended}");
    nothing_waits(server.dir().path()).await;
    assert!(!server.dir().path().join("data/ingest/rec/bar").exists());
    assert!(!server.dir().path().join("data/egress").exists());
    server.assert_well();
}
