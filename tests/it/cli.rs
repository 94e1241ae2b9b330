//! The binary's contracts: exit codes, the READY line, configuration errors in words.

use e2e::Server;

/// Runs the binary and compares its exit code; every fragment must stand in what it said.
async fn check(args: &[&str], code: i32, fragments: &[&str]) {
    let output = e2e::run(args).await;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    for fragment in fragments {
        assert!(said.contains(fragment), "{args:?} does not say {fragment:?}: {said}");
    }
}

#[tokio::test]
async fn a_wrong_command_line_or_config_exits_64_and_says_what_is_allowed() {
    check(&[], 64, &["Usage"]).await;
    check(&["fly"], 64, &["fly"]).await;
    check(&["all", "--set", "hls.segment_millis=1"], 64, &["hls.segment_millis"]).await;
    check(&["all", "--set", "hls.segment_ms=0"], 64, &["hls.segment_ms", "0"]).await;
    check(&["origin", "--set", "origin.rtmp=here"], 64, &["origin.rtmp", "here"]).await;
    check(&["edge", "--set", "ladder=[\"960\"]"], 64, &["ladder", "960"]).await;
    check(&["all", "--config", "/nowhere/live360.toml"], 64, &["/nowhere/live360.toml"]).await;
}

#[tokio::test]
async fn help_and_version_exit_0() {
    check(&["--help"], 0, &["testsource", "lint", "OBS"]).await;
    check(&["all", "--help"], 0, &["LIVE360_", "READY"]).await;
    check(&["--version"], 0, &["live360 "]).await;
}

#[tokio::test]
async fn an_address_in_use_exits_1_and_says_which() {
    let server = Server::all(&[]).await;
    let taken = format!("origin.rtmp={}", server.addr("rtmp"));
    let free =
        ["--set", "origin.http=127.0.0.1:0", "--set", "edge.http=127.0.0.1:0", "--set", "admin.http=127.0.0.1:0"];
    let dir = server.dir();
    let data = format!("data_dir={}", dir.path().join("other").display());
    let args = [&["all", "--set", &taken, "--set", &data], &free[..]].concat();
    check(&args, 1, &["origin.rtmp", &server.addr("rtmp")]).await;
}

#[tokio::test]
async fn each_tier_says_ready_and_leaves_at_a_signal() {
    let tiers: [(&str, &[&str]); 4] = [
        ("all", &["rtmp", "origin_http", "edge_http", "admin_http"]),
        ("origin", &["rtmp", "origin_http", "admin_http"]),
        ("edge", &["edge_http", "admin_http"]),
        ("transcoder", &["admin_http"]),
    ];
    for (role, addrs) in tiers {
        let dir = std::sync::Arc::new(tempfile::TempDir::new().expect("a temporary folder"));
        let server = Server::start(role, &[], dir).await;
        for addr in addrs {
            assert!(server.addr(addr).starts_with("127.0.0.1:"), "{role} {addr}");
        }
        let health = server.admin().get("/healthz").await;
        assert!(health.status.is_success(), "{role}");
        assert!(server.admin().get("/readyz").await.status.is_success(), "{role}");
        assert_eq!(server.leave().await, Some(0), "{role}");
    }
}

#[tokio::test]
async fn errors_over_http_are_in_words() {
    let server = Server::all(&[]).await;
    for viewer in [server.viewer(), server.origin_viewer()] {
        for (path, status, word) in [
            ("/hls/nobody.m3u8", 404, "nobody"),
            ("/hls/nobody/source/index.m3u8", 404, "nobody"),
            ("/hls/../etc/passwd", 404, ""),
            ("/nothing", 404, "address"),
        ] {
            let reply = viewer.get(path).await;
            assert_eq!(reply.status.as_u16(), status, "{path}");
            assert!(reply.text().contains(word), "{path}: {}", reply.text());
            assert_eq!(reply.header("access-control-allow-origin"), Some("*"), "{path}");
        }
        let streams = viewer.json("/api/streams").await;
        assert_eq!(streams, serde_json::json!({ "streams": [], "assets": [] }));
    }
}
