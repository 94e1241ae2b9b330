//! The live path: FFmpeg in, segments out through the edge, judged by FFmpeg and by the boxes themselves.

use bytes::Bytes;
use e2e::{Ffmpeg, Playlist, Server, Source, Viewer, make_media, tool};
use media::mp4::read::fragment_info;
use std::path::Path;
use tempfile::TempDir;
use tokio::process::Command;

const RUNGS: [&str; 3] = ["source", "960w", "480w"];

/// A rendition's whole segments, each behind its init segment, as a player would decode it alone.
struct Fetched {
    playlist: Playlist,
    init: Bytes,
    segments: Vec<Bytes>,
}

async fn fetch(viewer: &Viewer, stream: &str, rendition: &str) -> Fetched {
    let playlist = viewer.playlist(stream, rendition).await;
    let init = viewer.fetch(&playlist.init(0)).await;
    let mut segments = Vec::new();
    for segment in &playlist.media.segments {
        segments.push(viewer.fetch(&playlist.resolve(&segment.uri)).await);
    }
    Fetched { playlist, init, segments }
}

/// Hashes of a file's coded units of one kind (`v` or `a`), in decoding order, whatever its container.
async fn unit_hashes(file: &Path, kind: &str) -> Vec<String> {
    let (file, map) = (file.display().to_string(), format!("0:{kind}:0"));
    let args = ["-v", "error", "-i", &file, "-map", &map, "-c", "copy", "-f", "framehash", "-hash", "md5", "-"];
    let lines = tool("ffmpeg", &args).await;
    // Stream, times, size, hash; side data of the container may follow.
    let unit = |line: &str| line.split(',').nth(5).map(|hash| hash.trim().to_owned());
    lines.lines().filter(|line| !line.starts_with('#')).filter_map(unit).collect()
}

async fn write(file: &Path, parts: &[&Bytes]) {
    let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
    tokio::fs::write(file, bytes).await.expect("the temporary folder can be written");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ffmpeg_publishes_is_played_by_anyone() {
    let dir = TempDir::new().expect("a temporary folder");
    let media = dir.path().join("source.mp4");
    make_media(&Source { seconds: 14, ..Source::default() }, &media).await;
    let mut server = Server::all(&["origin.reconnect_s=600"]).await;
    let viewer = server.viewer();
    let encoder = Ffmpeg::publish_file(&media, &server.rtmp("foo"), &[]);
    viewer.wait_segments("foo", "480w", 5).await;
    let (ok, words) = encoder.wait().await;
    assert!(ok, "{words}");
    viewer.wait_segments("foo", "480w", 7).await;

    let mut starts = Vec::new();
    for rung in RUNGS {
        let fetched = fetch(&viewer, "foo", rung).await;
        assert_eq!(fetched.segments.len(), 7, "{rung}");
        decode_each_alone(dir.path(), rung, &fetched).await;
        starts.push(start_times_ms(&fetched));
        if rung == "source" {
            units_are_what_was_published(dir.path(), &media, &fetched).await;
        }
    }
    assert!(starts.iter().all(|rung| *rung == starts[0]), "segments start together: {starts:?}");
    let sound = fetch(&viewer, "foo", "audio").await;
    decode_each_alone(dir.path(), "audio", &sound).await;
    sound_is_what_was_published(dir.path(), &media, &sound).await;
    server.assert_well();
    assert_eq!(server.leave().await, Some(0));
}

async fn decode_each_alone(dir: &Path, rung: &str, fetched: &Fetched) {
    for (number, segment) in fetched.segments.iter().enumerate() {
        let file = dir.join(format!("{rung}-{number}.mp4"));
        write(&file, &[&fetched.init, segment]).await;
        let file = file.display().to_string();
        let args = ["-v", "error", "-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0", &file];
        let frames = tool("ffprobe", &args).await;
        let frames: u32 =
            frames.split_whitespace().next().and_then(|n| n.trim_end_matches(',').parse().ok()).expect("a number");
        let seconds = fetched.playlist.media.segments[number].duration;
        let per_second = if rung == "audio" { 48_000.0 / 1024.0 } else { 30.0 };
        // A decoder gives an AAC block less at the start of a file: its first one only primes it.
        let expected = (seconds * per_second).round() as u32;
        assert!(
            expected.abs_diff(frames) <= u32::from(rung == "audio"),
            "{rung} {number}: {frames} of {expected} frames"
        );
    }
}

fn start_times_ms(fetched: &Fetched) -> Vec<i64> {
    let start = |segment: &Bytes| {
        let info = fragment_info(segment).expect("fragments");
        assert!(info.tracks[0].first_is_sync, "a segment starts with a sync sample");
        info.tracks.iter().map(|track| track.min_pts).min().expect("a fragment") / 90
    };
    fetched.segments.iter().map(start).collect()
}

async fn units_are_what_was_published(dir: &Path, media: &Path, fetched: &Fetched) {
    let file = dir.join("source-rung.mp4");
    let parts: Vec<&Bytes> = std::iter::once(&fetched.init).chain(&fetched.segments).collect();
    write(&file, &parts).await;
    let (published, served) = (unit_hashes(media, "v").await, unit_hashes(&file, "v").await);
    assert_eq!(published.len(), 14 * 30);
    assert_eq!(first_difference(&served, &published), None);
}

/// Where two lists of hashes part: printing a thousand hashes helps nobody.
fn first_difference(a: &[String], b: &[String]) -> Option<usize> {
    let common = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    (common < a.len().max(b.len())).then_some(common)
}

async fn sound_is_what_was_published(dir: &Path, media: &Path, fetched: &Fetched) {
    let file = dir.join("sound.mp4");
    let parts: Vec<&Bytes> = std::iter::once(&fetched.init).chain(&fetched.segments).collect();
    write(&file, &parts).await;
    let (published, served) = (unit_hashes(media, "a").await, unit_hashes(&file, "a").await);
    // The block before the first picture is cut off, and the end is cut at the last picture.
    let first = published.iter().position(|hash| *hash == served[0]).expect("the first block was published");
    assert!(first <= 2, "{first} blocks are missing at the start");
    let same = served.iter().zip(&published[first..]).take_while(|(a, b)| a == b).count();
    assert!(served.len() - same <= 2, "{same} of {} blocks are what was published", served.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_access_units_give_the_same_encoded_bytes() {
    let dir = TempDir::new().expect("a temporary folder");
    let media = dir.path().join("source.mp4");
    make_media(&Source { seconds: 8, size: "640x320", ..Source::default() }, &media).await;
    let server = Server::all(&["ladder=[\"source\", \"480w 500k\", \"320w 300k\"]", "origin.reconnect_s=600"]).await;
    let viewer = server.viewer();
    let mut runs: Vec<Vec<Vec<Bytes>>> = Vec::new();
    for stream in ["one", "two"] {
        let encoder = Ffmpeg::publish_file(&media, &server.rtmp(stream), &[]);
        let (ok, words) = encoder.wait().await;
        assert!(ok, "{words}");
        let mut rungs = Vec::new();
        for rung in ["source", "480w", "320w"] {
            viewer.wait_segments(stream, rung, 4).await;
            let fetched = fetch(&viewer, stream, rung).await;
            rungs.push(std::iter::once(fetched.init).chain(fetched.segments).collect());
        }
        runs.push(rungs);
    }
    assert!(runs[0] == runs[1], "two runs over the same access units differ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_comes_back_and_a_server_that_restarts_keep_the_numbers() {
    let source = Source { size: "640x320", seconds: 120, ..Source::default() };
    let sets = ["ladder=[\"source\", \"320w 300k\"]"];
    let server = Server::all(&sets).await;
    let viewer = server.viewer();
    let encoder = Ffmpeg::publish(&source, &server.rtmp("foo"));
    let before = viewer.wait_segments("foo", "320w", 3).await;
    encoder.stop().await;
    let encoder = Ffmpeg::publish(&source, &server.rtmp("foo"));
    let after = viewer.wait_segments("foo", "320w", 7).await;
    assert_eq!(after.media.media_sequence, before.media.media_sequence);
    assert_eq!(after.media.segments.iter().filter(|segment| segment.discontinuity).count(), 1, "{}", after.text);
    let dir = server.dir();
    server.crash().await;
    encoder.stop().await;

    let server = Server::start("all", &sets, dir).await;
    let viewer = server.viewer();
    let restored = viewer.playlist("foo", "source").await;
    assert_eq!(restored.media.media_sequence, before.media.media_sequence);
    for index in (0..restored.media.segments.len()).filter(|&index| !restored.is_gap(index)) {
        let segment = viewer.fetch(&restored.resolve(&restored.media.segments[index].uri)).await;
        assert!(fragment_info(&segment).is_ok());
    }
    let _encoder = Ffmpeg::publish(&source, &server.rtmp("foo"));
    let count = restored.media.segments.len();
    let resumed = viewer.wait_segments("foo", "source", count + 2).await;
    assert!(
        resumed.text.starts_with(restored.text.split("#EXT-X-PRELOAD-HINT").next().unwrap_or_default()),
        "{}",
        resumed.text
    );
    assert!(resumed.media.segments[count].discontinuity, "{}", resumed.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_ladder_costs_encoded_rungs_a_segment_or_two_and_nothing_else() {
    let mut server = Server::all(&["ladder=[\"source\", \"320w 300k\"]"]).await;
    let viewer = server.viewer();
    let source = Source { size: "640x320", seconds: 120, ..Source::default() };
    let _encoder = Ffmpeg::publish(&source, &server.rtmp("foo"));
    viewer.wait_segments("foo", "320w", 2).await;
    let pid = server.pid();
    let child = e2e::wait_for("the ladder's process", || async {
        let mut tasks = tokio::fs::read_dir(format!("/proc/{pid}/task")).await.ok()?;
        while let Ok(Some(task)) = tasks.next_entry().await {
            let children = tokio::fs::read_to_string(task.path().join("children")).await.unwrap_or_default();
            if let Some(child) = children.split_whitespace().next() {
                return Some(child.to_owned());
            }
        }
        None
    })
    .await;
    let killed = Command::new("kill").args(["-9", &child]).status().await;
    assert!(killed.expect("kill runs").success());
    let encoded = viewer.wait_segments("foo", "320w", 7).await;
    let gaps = (0..encoded.media.segments.len()).filter(|&index| encoded.is_gap(index)).count();
    assert!((1..=2).contains(&gaps), "{gaps} gaps: {}", encoded.text);
    assert!(!encoded.is_gap(encoded.media.segments.len() - 1), "{}", encoded.text);
    let source = viewer.playlist("foo", "source").await;
    assert!((0..source.media.segments.len()).all(|index| !source.is_gap(index)), "{}", source.text);
    assert!(!source.text.contains("#EXT-X-DISCONTINUITY\n"), "{}", source.text);
    server.assert_well();
}
