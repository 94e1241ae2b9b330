//! librtmp, the library behind OBS and many another encoder, in a program of our own.

use super::{COPIED, assert_decodable, assert_pictures, served, small, tool};
use e2e::flv::read_tags;
use e2e::{Server, Source, make_media};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;
use tokio::process::Command;

async fn compile(dir: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("librtmp/publish.c").display().to_string();
    let program = dir.join("publish");
    tool("gcc", &["-O1", "-Wall", "-o", &program.display().to_string(), &source, "-lrtmp"]).await;
    program
}

#[tokio::test(flavor = "multi_thread")]
async fn librtmp_publishes_and_is_told_when_it_may_not() {
    let dir = TempDir::new().expect("a temporary folder");
    let program = compile(dir.path()).await;
    let media = dir.path().join("source.flv");
    make_media(&Source { keyint: 30, ..small(4) }, &media).await;
    let tls = ["tls=self-signed", "edge.https=127.0.0.1:0", "origin.rtmps=127.0.0.1:0"];
    let mut server = Server::all(&[&COPIED[..], &tls, &["hls.segment_ms=1000"]].concat()).await;
    let secure = format!("rtmps://{}/live/bar", server.addr("rtmps"));
    let publish_to = |url: String| {
        let mut command = Command::new(&program);
        command.arg(url).arg(&media).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output();
        async move {
            let output = tokio::time::timeout(e2e::DEADLINE, output).await.expect("it ends in time");
            let output = output.expect("it runs");
            (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
        }
    };
    let publish = |key: &str| publish_to(server.rtmp(key));
    let viewer = server.viewer();
    let ((code, words), _) = tokio::join!(publish("foo"), viewer.wait_segments("foo", "source", 2));
    assert_eq!(code, Some(0), "{words}");
    let (pictures, _) = served(&viewer, "foo", 4).await;
    pictures.assert_unbroken(&[]);
    assert_pictures(&pictures, &read_tags(&media));
    assert_decodable(&pictures, dir.path()).await;

    let (code, words) = publish("foo.bar").await;
    assert_eq!(code, Some(1), "{words}");

    let ((code, words), _) = tokio::join!(publish_to(secure), viewer.wait_segments("bar", "source", 2));
    assert_eq!(code, Some(0), "{words}");
    server.assert_well();
}
