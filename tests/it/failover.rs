//! hls.js in Chromium while an origin dies: what a viewer sees of it.

use e2e::pair::{Proxy, origins};
use e2e::{Ffmpeg, Server, Source, wait_for};
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// How long a picture may stand still without anybody calling it a stall, in seconds: the machine also draws and encodes.
const STILL_S: f64 = 0.5;

/// How long it is watched, in seconds: long enough for buffers to run dry.
const WATCHED_S: &str = "25";

async fn role(role: &str, sets: &[&str]) -> Server {
    let dir = Arc::new(TempDir::new().expect("a temporary folder"));
    Server::start(role, sets, dir).await
}

/// A page that plays.
struct Page {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Page {
    /// Opens the player's page at an edge; returns when it plays.
    async fn open(edge: &Server, stream: &str) -> Self {
        let page = format!("http://{}/?url=/hls/{stream}.m3u8", edge.addr("edge_http"));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../player/e2e/watch.mjs");
        let mut child = Command::new("node")
            .arg(script)
            .args(["--url", &page, "--timeout", "60", "--play", WATCHED_S])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node is installed (make setup)");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let first = lines.next_line().await.expect("UTF-8").unwrap_or_default();
        assert_eq!(first, "PLAYING", "{}", edge.log());
        Self { child, lines }
    }

    /// Watches to the end; returns how it went on.
    async fn watched(mut self, edge: &Server) -> Value {
        let last = self.lines.next_line().await.expect("UTF-8").unwrap_or_default();
        let status = self.child.wait().await.expect("it ends");
        assert!(status.success(), "{last}\n{}", edge.log());
        let seen: Value = serde_json::from_str(&last).expect("one line of JSON");
        println!("{seen}");
        seen["played"].clone()
    }
}

/// What an edge says of a stream.
async fn stat(edge: &Server, stream: &str) -> Option<Value> {
    let stat = edge.admin().json("/stat").await;
    let streams = stat.pointer("/edge/streams").or_else(|| stat.get("streams"))?.as_array()?.clone();
    streams.into_iter().find(|room| room["name"] == stream)
}

/// Whether an edge knows that its origins agree on a stream.
async fn agreeing(edge: &Server, stream: &str) -> Option<()> {
    let room = stat(edge, stream).await?;
    room["origins"].as_array()?.iter().any(|origin| origin["agreement"] == "yes").then_some(())
}

fn seconds(played: &Value, name: &str) -> f64 {
    played[name].as_f64().unwrap_or_else(|| panic!("no {name} in {played}"))
}

/// A stream behind two origins that agree; one of them fails while the page plays.
async fn one_of_two_that_agree_fails(fail: impl FnOnce(Proxy) -> Option<Proxy>) {
    let origin = role("origin", &["ladder=[\"source\"]"]).await;
    let _encoder = Ffmpeg::publish(&Source { size: "640x320", ..Source::default() }, &origin.rtmp("pair"));
    let [first, second] = Proxy::pair(&origin.addr("origin_http")).await;
    let mut edge = role("edge", &[&origins(&[first.url(), second.url()])]).await;
    edge.viewer().wait_segments("pair", "source", 3).await;
    let page = Page::open(&edge, "pair").await;
    wait_for("the edge to see that its origins agree", || agreeing(&edge, "pair")).await;
    let _frozen = fail(first);
    let played = page.watched(&edge).await;
    assert!(played["stalls"] == 0 && played["recoveries"] == 0, "{played}\n{}", edge.log());
    assert!(seconds(&played, "still_s") < STILL_S && seconds(&played, "jumped_s") < STILL_S, "{played}");
    let playlist = edge.viewer().playlist("pair", "source").await;
    assert!(!playlist.text.contains("#EXT-X-DISCONTINUITY\n") && !playlist.text.contains("#EXT-X-GAP"));
    edge.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_does_not_notice_that_one_of_two_agreeing_origins_dies() {
    one_of_two_that_agree_fails(|first| {
        first.kill();
        None
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_does_not_notice_that_one_of_two_agreeing_origins_falls_silent() {
    one_of_two_that_agree_fails(|first| {
        first.freeze();
        Some(first)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_plays_on_when_the_origin_dies_and_another_has_the_same_encoder() {
    /// Two segments, and what the machine may add, in seconds.
    const MOST_S: f64 = 4.0 + 1.0;
    let sets = ["ladder=[\"source\"]"];
    let (mut first, mut second) = (role("origin", &sets).await, role("origin", &sets).await);
    let source = Source { size: "640x320", ..Source::default() };
    let _encoder = Ffmpeg::publish_to_all(&source, &[first.rtmp("tee"), second.rtmp("tee")]);
    let urls = [&first, &second].map(|origin| format!("http://{}", origin.addr("origin_http")));
    let mut edge = role("edge", &[&origins(&urls)]).await;
    for origin in [&first, &second] {
        origin.origin_viewer().wait_segments("tee", "source", 3).await;
    }
    let page = Page::open(&edge, "tee").await;
    let leads = async |origin: &str| stat(&edge, "tee").await.is_some_and(|room| room["lead"] == origin);
    // The first is preferred, unless it is slower with its first answer.
    if leads(&second.addr("origin_http")).await {
        std::mem::swap(&mut first, &mut second);
    }
    assert!(leads(&first.addr("origin_http")).await, "one of them leads");
    first.crash().await;
    let played = page.watched(&edge).await;
    assert!(
        seconds(&played, "still_s") <= MOST_S && seconds(&played, "jumped_s") <= MOST_S,
        "{played}\n{}",
        edge.log()
    );
    // It went on to the end, in the same page and with the same player.
    assert!(seconds(&played, "media_s") > seconds(&played, "wall_s") - 2.0 * MOST_S, "{played}");
    assert!(leads(&second.addr("origin_http")).await, "{}", edge.log());
    edge.assert_well();
    second.assert_well();
}
