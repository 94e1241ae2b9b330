//! Steering a server that runs: its config is read again under load, publishers are kicked, recordings stopped and started;
//! and what it says of itself can be read by Prometheus.

use crate::tidy::metrics;
use e2e::{Ffmpeg, Server, Source, Viewer, wait_for};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const LADDER: &str = "ladder=[\"source\", \"320w 300k\"]";

fn source() -> Source {
    Source { size: "640x320", seconds: 120, ..Source::default() }
}

/// POST; the status and the JSON that came.
async fn post(server: &Server, path: &str) -> (StatusCode, Value) {
    let reply = server.admin().request(Method::POST, path, &[]).await.expect("an answer");
    (reply.status, serde_json::from_slice(&reply.body).unwrap_or_else(|_| panic!("{path}: {}", reply.text())))
}

/// POST that must succeed.
async fn done(server: &Server, path: &str) -> Value {
    let (status, answer) = post(server, path).await;
    assert_eq!(status, StatusCode::OK, "{path}: {answer}");
    answer
}

/// The stream's entry in `/stat`.
async fn stat(server: &Server) -> Value {
    server.admin().json("/stat").await["origin"]["streams"][0].clone()
}

/// Watches a rendition as a player would, until it is told to stop: every playlist goes on where the one before was, and
/// every new segment is there. Returns how many there were.
async fn watch(viewer: Viewer, rendition: &'static str, stop: CancellationToken) -> u64 {
    let (mut next, mut seen) = (0, 0);
    while !stop.is_cancelled() {
        let playlist = viewer.playlist("foo", rendition).await;
        let first = playlist.media.media_sequence;
        let end = first + playlist.media.segments.len() as u64;
        assert!(end >= next && (next == 0 || first <= next), "{rendition}: {first} to {end} after {next}");
        let new = (first..end).zip(&playlist.media.segments).enumerate().filter(|(_, (msn, _))| *msn >= next);
        for (index, (msn, segment)) in new {
            if playlist.is_gap(index) {
                // A machine that is too small for the ladder leaves it out; the source and the sound are never missing.
                assert_eq!(rendition, "320w", "{msn} is a gap");
                continue;
            }
            viewer.fetch(&playlist.resolve(&segment.uri)).await;
            seen += 1;
        }
        next = end;
        // The next part at the latest.
        let wait = format!("/hls/foo/{rendition}/index.m3u8?_HLS_msn={end}&_HLS_part=0");
        viewer.get(&wait).await;
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn the_config_is_read_again_while_streams_run_and_a_wrong_one_changes_nothing() {
    let dir = Arc::new(TempDir::new().expect("a temporary folder"));
    let file = dir.path().join("live360.toml");
    let write = |text: &str| std::fs::write(&file, text).expect("the folder can be written");
    write("[streams.foo]\nkey = \"first-secret\"");
    let mut server = Server::configured("all", &file, &[LADDER, "origin.reconnect_s=600"], &[], dir.clone()).await;
    let encoder = Ffmpeg::publish(&source(), &server.rtmp("foo?key=first-secret"));
    let viewer = server.viewer();
    viewer.wait_segments("foo", "320w", 1).await;
    let stop = CancellationToken::new();
    let watched = ["source", "320w", "audio"].map(|rung| tokio::spawn(watch(viewer.clone(), rung, stop.clone())));

    let before = server.admin().json("/stat").await["config"].clone();
    write("[streams.foo]\nkey = 7");
    let (status, answer) = post(&server, "/control/reload").await;
    let words = answer["error"].as_str().expect("words").to_owned();
    assert!(status == StatusCode::BAD_REQUEST && words.contains("streams.foo.key = (hidden)"), "{status} {words}");
    assert_eq!(server.admin().json("/stat").await["config"]["log_level"], before["log_level"]);
    assert_eq!(viewer.json("/api/streams").await["streams"][0]["listed"], true);

    write(
        "record = \"off\"\n[edge]\nidle_s = 20\n[log]\nlevel = \"warn,live360=info\"\n[hls]\nwindow_s = 60\n\
         [streams.foo]\nkey = \"second-secret\"\nlisted = false",
    );
    let answer = done(&server, "/control/reload").await;
    let changed = &answer["changed"];
    assert_eq!(changed["now"], json!(["log.level", "streams.foo.listed"]));
    assert_eq!(changed["next_publish"], json!(["streams.foo.key"]));
    assert_eq!(changed["next_epoch"], json!(["hls.window_s", "record"]));
    assert_eq!((&changed["restart"], &answer["restart_needed"]), (&json!(["edge.idle_s"]), &json!(["edge.idle_s"])));
    wait_for("the stream not to be listed", || async {
        (viewer.json("/api/streams").await["streams"][0]["listed"] == false).then_some(())
    })
    .await;
    server.signal("HUP").await;
    wait_for("SIGHUP to be heard", || async {
        server.log().contains("by=\"SIGHUP\" outcome=\"unchanged\"").then_some(())
    })
    .await;
    assert_eq!(stat(&server).await["state"], "live");
    let now = viewer.playlist("foo", "320w").await.media;
    let count = now.segments.len() + now.media_sequence as usize;
    wait_for("two more segments", || async {
        let later = viewer.playlist("foo", "320w").await.media;
        (later.segments.len() + later.media_sequence as usize >= count + 2).then_some(())
    })
    .await;
    stop.cancel();
    for watched in watched {
        assert!(watched.await.expect("nothing broke off") >= 2);
    }

    // A kicked encoder learns why, and comes back only with the key that holds now.
    done(&server, "/control/streams/foo/kick?reason=wrong+camera").await;
    let (ok, _) = encoder.wait().await;
    assert!(!ok, "the encoder's connection ended");
    assert_eq!(post(&server, "/control/streams/foo/kick").await.0, StatusCode::CONFLICT);
    let (ok, _) = Ffmpeg::publish(&source(), &server.rtmp("foo?key=first-secret")).wait().await;
    assert!(!ok, "the old key opens nothing any more");
    let _encoder = Ffmpeg::publish(&source(), &server.rtmp("foo?key=second-secret"));
    wait_for("the stream to be live again", || async { (stat(&server).await["state"] == "live").then_some(()) }).await;
    let said = server.log() + &server.admin().json("/stat").await.to_string() + &words + &answer.to_string();
    for secret in ["first-secret", "second-secret"] {
        assert!(!said.contains(secret), "{secret} was said:\n{said}");
    }
    server.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_stopped_started_and_marked_and_its_layout_changes_and_it_is_one_asset() {
    let mut server = Server::all(&[LADDER, "record=off", "origin.reconnect_s=600", "vod.ladder=[\"320w 300k\"]"]).await;
    let _encoder = Ffmpeg::publish(&source(), &server.rtmp("foo"));
    let viewer = server.viewer();
    let whole = |count| viewer.wait_segments("foo", "320w", count);
    whole(1).await;
    assert_eq!(stat(&server).await["recording"], "off");
    assert_eq!(post(&server, "/control/streams/foo/record/stop").await.0, StatusCode::CONFLICT);
    done(&server, "/control/streams/foo/record/start").await;
    assert_eq!(stat(&server).await["recording"], "on");
    let begun = whole(1).await.media.segments.len();
    whole(begun + 2).await;
    assert_eq!(done(&server, "/control/streams/foo/mark?name=Goal%21").await["recorded"], true);
    let answer = done(&server, "/control/streams/foo/record/stop").await;
    assert_eq!(answer["recording"], "stopped: by the operator");
    let stopped = whole(1).await.media.segments.len();
    whole(stopped + 2).await;
    done(&server, "/control/streams/foo/record/start").await;
    wait_for("the recording to go on", || async { (stat(&server).await["recording"] == "on").then_some(()) }).await;
    let answer = done(&server, "/control/streams/foo/layout?stereo=tb").await;
    assert!(answer["takes_effect"].as_str().is_some_and(|words| words.contains("EXT-X-DISCONTINUITY")), "{answer}");
    for rung in ["source", "320w"] {
        wait_for("a segment behind the change", || async {
            let playlist = viewer.playlist("foo", rung).await;
            let at = playlist.media.segments.iter().position(|segment| segment.discontinuity)?;
            assert_ne!(playlist.init(at - 1), playlist.init(at), "{rung}");
            viewer.fetch(&playlist.init(at)).await;
            (playlist.media.segments.len() > at + 1).then_some(())
        })
        .await;
    }
    let entry = viewer.json("/api/streams").await["streams"][0].clone();
    assert_eq!((&entry["stereo"], &entry["marks"][0]["name"]), (&json!("tb"), &json!("Goal!")));
    check_metrics(&server).await;

    done(&server, "/control/streams/foo/end").await;
    let asset = wait_for("an asset", || async {
        viewer.json("/api/streams").await["assets"].as_array().and_then(|assets| assets.first().cloned())
    })
    .await;
    assert_eq!(asset["marks"][0]["name"], "Goal!");
    let path = format!("/vod/{}/source/index.m3u8", asset["id"].as_str().expect("an id"));
    let text = String::from_utf8(viewer.fetch(&path).await.to_vec()).expect("UTF-8");
    let media = m3u8_rs::parse_media_playlist_res(text.as_bytes()).expect("a media playlist");
    let gaps: Vec<bool> =
        media.segments.iter().map(|segment| segment.unknown_tags.iter().any(|tag| tag.tag == "X-GAP")).collect();
    let (first, last) = (gaps.first(), gaps.last());
    assert!(first == Some(&false) && last == Some(&false) && gaps.contains(&true), "{gaps:?}");
    let mut bytes = 0;
    for (segment, _) in media.segments.iter().zip(&gaps).filter(|(_, gap)| !**gap) {
        bytes += viewer.fetch(&format!("{}{}", path.trim_end_matches("index.m3u8"), segment.uri)).await.len();
    }
    assert!(bytes > 10_000, "{bytes} bytes");
    let masters = server.dir().path().join("data/ingest/rec/foo");
    wait_for("what came in to be kept", || async { holds_flv(&masters).then_some(()) }).await;
    server.assert_well();
}

/// Whether a session's folder has a file of what came in.
fn holds_flv(folder: &Path) -> bool {
    let sessions = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = sessions.flat_map(|session| std::fs::read_dir(session.path()).into_iter().flatten().flatten());
    files.into_iter().any(|file| file.path().extension().is_some_and(|kind| kind == "flv"))
}

/// What Prometheus's own linter would look at, and that every series is in the table with its labels.
async fn check_metrics(server: &Server) {
    let text = String::from_utf8(server.admin().fetch("/metrics").await.to_vec()).expect("UTF-8");
    let table = metrics::table();
    let (mut kinds, mut helped): (BTreeMap<&str, &str>, BTreeSet<&str>) = Default::default();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, words) = rest.split_once(' ').expect("a name and words");
            assert!(words.len() > 10 && helped.insert(name), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            assert!(kinds.insert(name, kind).is_none(), "{name} has two types");
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a series and a value");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let stem = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let family = if kinds.contains_key(name) { name } else { stem.unwrap_or(name) };
            let (kind, known) = table.get(family).unwrap_or_else(|| panic!("{family} is not in docs/metrics.md"));
            assert_eq!(kinds.get(family), Some(&kind.as_str()), "{line}");
            let found: BTreeSet<String> =
                labels.split("\",").filter_map(|pair| Some(pair.split_once("=\"")?.0.to_owned())).collect();
            assert!(found.iter().all(|label| known.contains(label) || label == "le"), "{line}");
            *counts.entry(family.to_owned()).or_default() += 1;
        }
    }
    assert!(kinds.keys().all(|name| helped.contains(name)), "every family has words");
    // A histogram has a series for each bucket and label.
    assert!(counts.values().all(|count| *count <= 128), "{counts:?}");
    for name in [
        "live360_build_info",
        "process_resident_memory_bytes",
        "live360_stream_input_bytes_per_second",
        "live360_stream_key_frame_interval_seconds",
        "live360_stream_encode_headroom_ratio",
        "live360_stream_audio_drift_seconds",
        "live360_segment_delay_seconds",
        "live360_edge_fetch_seconds",
        "live360_edge_stream_viewers",
    ] {
        assert!(counts.contains_key(name), "{name} is missing:\n{text}");
    }
}
