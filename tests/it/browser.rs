//! The page in a real Chromium: what a viewer sees.
//!
//! The looking is done by `player/e2e/watch.mjs`; screenshots are kept in `target/screenshots`.

use e2e::Server;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

fn player() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../player")
}

pub(crate) fn testsource(server: &Server, stream: &str) -> Child {
    Command::new(e2e::binary())
        .args(["testsource", &server.rtmp(stream), "--size", "960x480", "--bitrate", "1500k"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts")
}

/// Opens the player's page on a stream in Chromium; `start` is called when the page says that it waits for its stream.
async fn watch(server: &Server, stream: &str, options: &[&str], start: impl FnMut()) -> Value {
    let page = format!("http://{}/?url=/hls/{stream}.m3u8", server.addr("edge_http"));
    open(server, &page, stream, options, start).await
}

/// Opens a page of the server's in Chromium; its screenshots are kept under this name.
pub(crate) async fn look(server: &Server, page: &str, shots: &str, options: &[&str]) -> Value {
    open(server, page, shots, options, || {}).await
}

async fn open(server: &Server, page: &str, shots: &str, options: &[&str], mut start: impl FnMut()) -> Value {
    let shots = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/screenshots").join(shots);
    let mut child = Command::new("node")
        .arg(player().join("e2e/watch.mjs"))
        .args(["--url", page, "--timeout", "120", "--shots"])
        .arg(&shots)
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("node is installed (make setup)");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut last = String::new();
    while let Ok(Some(line)) = lines.next_line().await {
        if line == "WAITING" {
            start();
        } else {
            last = line;
        }
    }
    let status = child.wait().await.expect("it ends");
    assert!(status.success(), "{last}\n{}", server.log());
    serde_json::from_str(&last).expect("one line of JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_plays_a_sphere_that_turns_as_one_drags() {
    let mut server = Server::all(&["ladder=[\"source\", \"480w 500k\"]"]).await;
    let _source = testsource(&server, "sphere");
    server.viewer().wait_segments("sphere", "480w", 2).await;
    let seen = watch(&server, "sphere", &[], || {}).await;
    assert_eq!(seen["playing"], true, "{seen}");
    server.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_waits_for_a_stream_that_starts_after_it() {
    let server = Server::all(&["ladder=[\"source\"]"]).await;
    let mut source = None;
    let seen = watch(&server, "later", &["--wait-for-stream"], || source = Some(testsource(&server, "later"))).await;
    assert_eq!(seen["playing"], true, "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_plays_what_is_encrypted_while_its_key_changes_live_and_recorded() {
    let sets = ["ladder=[\"source\"]", "protect.method=aes-128", "protect.rotate_s=2", crate::protect::SECRET];
    let mut server = Server::all(&sets).await;
    let mut source = testsource(&server, "locked");
    // Some keys are past when the page is opened.
    let listed = server.viewer().wait_segments("locked", "source", 4).await;
    assert!(listed.text.matches("METHOD=AES-128").count() >= 4, "{}", listed.text);
    let seen = watch(&server, "locked", &["--play", "6"], || {}).await;
    let played = &seen["played"];
    assert!(played["media_s"].as_f64().is_some_and(|seconds| seconds > 4.0), "{seen}");
    assert_eq!(played["errors"], serde_json::json!({}), "{seen}");
    source.kill().await.expect("it runs");
    let url = crate::protect::recorded(&server, "locked").await;
    let page = format!("http://{}/?url={url}", server.addr("edge_http"));
    let seen = look(&server, &page, "locked", &["--play", "4"]).await;
    assert!(seen["played"]["media_s"].as_f64().is_some_and(|seconds| seconds > 3.0), "{seen}");
    assert_eq!(seen["played"]["errors"], serde_json::json!({}), "{seen}");
    server.assert_well();
}
