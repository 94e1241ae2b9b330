//! `live360 load` against the real server: a crowd that watches a live stream without a stall.

use e2e::{Server, binary};
use std::process::Stdio;
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn fifty_viewers_watch_a_live_stream_and_the_objective_is_met() {
    let server = Server::all(&["ladder=[\"source\", \"240w 150k\"]"]).await;
    let mut source = Command::new(binary());
    source.args(["testsource", &server.rtmp("foo"), "--size", "480x240", "--bitrate", "300k"]).stdin(Stdio::null());
    let _source = source.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().expect("it starts");
    let viewer = server.viewer();
    viewer.wait_segments("foo", "source", 5).await;
    // Loose: a busy machine may be late, but not wrong.
    let objective = "started>=100%, errors<1%, stall_ratio<20%, latency_p50<20s";
    let url = viewer.url("/hls/foo.m3u8");
    let args = ["load", &url, "--viewers", "50", "--duration", "8", "--ramp", "2", "--dvr", "0.2", "--json", "--quiet"];
    let output = e2e::run(&[&args[..], &["--objective", objective]].concat()).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_str(&text).expect("the report is JSON");
    for kind in ["multivariant", "playlist", "reload", "init", "segment", "part", "hint"] {
        assert!(report["requests"][kind]["count"].as_u64() > Some(0), "nothing of {kind}: {text}");
    }
    assert_eq!(
        (&report["viewers"]["came"], &report["rungs"][1]["name"].as_str().map(|name| name.starts_with("480x240"))),
        (&50.into(), &Some(true))
    );

    let missed =
        e2e::run(&["load", &url, "--viewers", "1", "--duration", "1", "--quiet", "--objective", "started<1%"]).await;
    assert_eq!(missed.status.code(), Some(1));
    let nobody = viewer.url("/hls/nobody.m3u8");
    assert_eq!(e2e::run(&["load", &nobody]).await.status.code(), Some(2));
    assert_eq!(e2e::run(&["load", &url, "--objective", "fast"]).await.status.code(), Some(64));
}
