//! A stream that is not for everybody, from the encoder to the page: who has a link sees it, nobody else does, and a link
//! that is no longer good stops it.

use crate::browser::{self, testsource};
use e2e::Server;
use media::pass::Keys;
use serde_json::Value;

const SECRET: &str = "what signs links here";
const SHARED: &str = "what the tiers share";

/// What `live360 token` makes of an address.
async fn link(address: &str, options: &[&str]) -> String {
    let secret = format!("watch.secrets={SECRET}");
    let args = [&["token", address, "--set", &secret, "--set", "watch.mode=signed"], options].concat();
    let output = e2e::run(&args).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("an address").trim_end().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_stream_plays_by_its_link_until_that_is_over_and_never_without() {
    let mut server = Server::all(&[
        "ladder=[\"source\"]",
        "streams.shut.watch=signed",
        "streams.quiet.watch=unlisted",
        &format!("watch.secrets={SECRET}"),
        &format!("cluster.secret={SHARED}"),
    ])
    .await;
    let _sources = (testsource(&server, "shut"), testsource(&server, "quiet"));
    let path = link("/hls/shut.m3u8", &[]).await;
    let viewer = server.viewer();
    e2e::wait_for("the signed stream", || async { (viewer.get(&path).await.status == 200).then_some(()) }).await;
    viewer.wait_live("quiet").await;

    // What is listed is what may be known of, with a sign where a link is needed.
    let listed = viewer.json("/api/streams").await;
    let entries: Vec<(&Value, &Value)> =
        listed["streams"].as_array().expect("a list").iter().map(|entry| (&entry["name"], &entry["watch"])).collect();
    assert_eq!(entries, [(&Value::from("shut"), &Value::from("signed"))], "{listed}");

    // The origin answers its edge and nobody else.
    let origin = server.origin_viewer();
    for path in ["/hls/shut.m3u8", "/hls/quiet.m3u8", "/api/streams", "/", &path] {
        let reply = origin.get(path).await;
        assert!(
            reply.status == 401 && reply.text().contains("cluster.secret"),
            "{path}: {} {}",
            reply.status,
            reply.text()
        );
    }

    let page = |url: &str| format!("http://{}/?url={url}", server.addr("edge_http"));
    let over = Keys::new([SECRET]).sign(1_700_000_000, "/hls/shut").expect("a token");
    let words = "This link has expired: it was good until 2023-11-14T22:13:20Z. Ask for a new one.";
    let options = ["--refused", words, "--then-token", &over];
    let seen =
        browser::look(&server, &link(&page("/hls/shut.m3u8"), &["--expires-in", "10m"]).await, "shut", &options).await;
    assert_eq!((&seen["playing"], &seen["errors"]), (&Value::from(true), &serde_json::json!([])), "{seen}");
    let words = "This can be watched by a signed link only";
    browser::look(&server, &page("/hls/shut.m3u8"), "shut-without", &["--refused", words]).await;

    server.assert_well();
    let log = server.log();
    assert!(!log.contains(SECRET) && !log.contains(SHARED), "a secret is in the log:\n{log}");
}
