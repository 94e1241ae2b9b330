//! Our own streams under our own linter: no MUST broken, and of the SHOULDs only those named here with reasons.

use e2e::{Ffmpeg, Server, Source};

/// SHOULDs that our streams break on purpose.
const ACCEPTED: [(&str, &str); 5] = [
    ("V8.dense", "I-frames are the source's key frames, which come every 2 s: a denser rung would be one more encode"),
    ("V11.quarter-hour", "the live window is 2 minutes by design; who wants more sets hls.window_s"),
    ("V17.failover", "one server lists no second one; failing over is the edge's work, which players do not see"),
    (
        "V19.layout",
        "clients that know REQ-VIDEO-LAYOUT and not PROJ-EQUI must drop the variant, and Apple's devices play projected \
         video in HEVC only: on H.264 it would hide the stream and help nobody",
    ),
    ("L2.recommended", "parts of 500 ms are the design's choice for latency; hls.part_ms = 1000 gives the recommended"),
];

async fn check(sets: &[&str], source: &Source) {
    let server = Server::all(sets).await;
    let _encoder = Ffmpeg::publish(source, &server.rtmp("foo"));
    let viewer = server.viewer();
    viewer.wait_segments("foo", "source", 8).await;
    let url = viewer.url("/hls/foo.m3u8");
    let accept: Vec<String> = ACCEPTED.iter().map(|(rule, reason)| format!("{rule}={reason}")).collect();
    let mut args = vec!["lint", &url, "--strict"];
    args.extend(accept.iter().flat_map(|rule| ["--accept", rule]));
    let output = e2e::run(&args).await;
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{report}\n{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_stream_breaks_no_rule() {
    check(&["ladder=[\"source\", \"320w 300k\"]"], &Source { size: "640x320", seconds: 120, ..Source::default() })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_stream_at_29_97_without_sound_breaks_no_rule() {
    let source =
        Source { size: "640x320", fps: "30000/1001", keyint: 30, audio: false, seconds: 120, ..Source::default() };
    check(&["ladder=[\"source\", \"320w 300k\"]", "hls.window_s=20"], &source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lint_says_2_when_it_cannot_look() {
    let server = Server::all(&[]).await;
    let url = server.viewer().url("/hls/nobody.m3u8");
    let output = e2e::run(&["lint", &url]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("404"), "{}", String::from_utf8_lossy(&output.stderr));
}
