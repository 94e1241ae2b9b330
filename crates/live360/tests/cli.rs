//! The binary from outside: exit codes, words, the READY line, leaving.
//!
//! Runs the edge, the one tier that every build has.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests: a panic there is the report")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

fn live360(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_live360"));
    // What whoever runs the tests has set for their own server is not meant here.
    let ours = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().to_uppercase().starts_with("LIVE360_"));
    for (name, _) in ours {
        command.env_remove(name);
    }
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs to the end; checks the exit code and that stdout and stderr hold these words.
fn check(args: &[&str], env: &[(&str, &str)], code: i32, stdout: &str, stderr: &str) {
    let Output { status, stdout: out, stderr: err } = live360(args).envs(env.iter().copied()).output().unwrap();
    let (out, err) = (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap());
    assert_eq!(status.code(), Some(code), "{args:?}\n{out}\n{err}");
    assert!(out.contains(stdout), "{args:?}: {out}");
    assert!(err.contains(stderr), "{args:?}: {err}");
}

#[test]
fn help_and_version_are_a_success() {
    for help in [&["--help"][..], &["-h"], &["help"], &["edge", "--help"]] {
        check(help, &[], 0, "Usage: live360", "");
    }
    check(&["--version"], &[], 0, env!("CARGO_PKG_VERSION"), "");
}

#[test]
fn a_wrong_command_line_is_64() {
    check(&[], &[], 64, "", "Usage: live360");
    check(&["launch"], &[], 64, "", "unrecognized subcommand 'launch'");
    check(&["edge", "--port", "1"], &[], 64, "", "unexpected argument '--port'");
    check(&["edge", "--set"], &[], 64, "", "--set <KEY=VALUE>");
}

#[test]
fn a_wrong_configuration_is_64_and_names_key_value_and_what_is_allowed() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[edge]\ncache_bytes = 5\n").unwrap();
    let path = file.path().to_str().unwrap();
    let allowed = "allowed is a whole number from 1048576 to 1099511627776 (bytes)";
    check(&["edge", "--config", path], &[], 64, "", &format!("live360: edge.cache_bytes = 5 ({path}): {allowed}\n"));
    check(&["edge", "--set", "edge.cache_bytes=6"], &[], 64, "", &format!("edge.cache_bytes = 6 (--set): {allowed}"));
    let env = [("LIVE360_EDGE__CACHE_BYTES", "7")];
    let words = format!("edge.cache_bytes = 7 (environment LIVE360_EDGE__CACHE_BYTES): {allowed}");
    check(&["edge"], &env, 64, "", &words);
    check(&["edge", "--set", "edge.cash=1"], &[], 64, "", "there is no such key");
    check(&["edge", "--set", "tls=files"], &[], 64, "", "edge.tls_cert = nothing (default): allowed is the path");
    let files = ["edge", "--set", "tls=files", "--set", "edge.tls_cert=/nonexistent", "--set", "edge.tls_key=k.pem"];
    check(&files, &[], 64, "", "live360: edge.tls_cert = /nonexistent: can't read it (No such file");
    let missing = "/nonexistent.pem: No such file or directory (os error 2)";
    let ca = ["edge", "--set", "hooks.ca=/nonexistent.pem", "--set", "hooks.url=http://127.0.0.1:1/"];
    check(&ca, &[], 64, "", &format!("live360: hooks.ca = {missing}"));
    if cfg!(feature = "origin") {
        let key = ["origin", "--set", "publish.jwt_key=/nonexistent.pem"];
        check(&key, &[], 64, "", &format!("live360: publish.jwt_key = {missing}"));
    }
    check(
        &["edge", "--set", "admin.token=file:/nonexistent"],
        &[],
        64,
        "",
        "admin.token (--set): can't read /nonexistent: ",
    );
    check(&["edge", "--log", "loud"], &[], 64, "", "log.level = \"loud\"");
    check(&["edge", "--config", "/nonexistent"], &[], 64, "", "can't read the config file /nonexistent");
}

#[test]
fn a_key_is_printed_with_its_hash_and_one_of_ones_own_only_as_its_hash() {
    check(&["key"], &[], 0, "hash  sha256:", "");
    // Nothing comes from stdin.
    check(&["key", "--own"], &[], 1, "", "live360: a key has 1 to 512 bytes");
}

#[test]
fn a_port_in_use_is_a_failure_in_words() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let (set, other) = (format!("edge.http={addr}"), "admin.http=127.0.0.1:0");
    check(&["edge", "--set", &set, "--set", other], &[], 1, "", &format!("edge.http = {addr}"));
    let (set, other) = (format!("admin.http={addr}"), "edge.http=127.0.0.1:0");
    check(&["edge", "--set", &set, "--set", other], &[], 1, "", &format!("can't listen on admin.http = {addr}"));
}

#[cfg(feature = "transcoder")]
#[test]
fn jobs_are_shown_and_tried_again_also_where_there_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let set = format!("data_dir={}", folder.path().join("data").display());
    check(&["vod", "list", "--set", &set], &[], 0, "JOB  STATE  TASKS  ERRORS  REASON\n\nQueue: 0 waiting", "");
    check(&["vod", "list", "--watch", "--set", &set], &[], 0, "Queue: 0 waiting", "");
    check(&["vod", "list", "--json", "--set", &set], &[], 0, "{\"dead\":[]", "");
    check(&["vod", "redrive", "--set", &set], &[], 0, "0 dead messages put back\n", "");
    check(
        &["vod", "retry", "foo-1", "--set", &set],
        &[],
        1,
        "",
        "live360: there is no job \"foo-1\"; `live360 vod list`",
    );
    check(&["vod", "retry"], &[], 64, "", "<JOB>");
    check(&["vod"], &[], 64, "", "Usage: live360");
    check(&["vod", "list", "--set", "queue.url=none"], &[], 64, "", "queue.url = \"none\"");
    check(&["vod", "list", "--help"], &[], 0, "--watch", "");
}

#[cfg(not(feature = "origin"))]
#[test]
fn what_was_left_out_is_named() {
    check(&["all"], &[], 64, "", "this binary was built without `all`");
    check(&["origin"], &[], 64, "", "cargo build --features origin");
}

/// An edge that runs, killed if the test fails.
struct Edge {
    child: Child,
    stdout: BufReader<ChildStdout>,
    ready: String,
}

impl Edge {
    fn start() -> Self {
        Self::with(&[])
    }

    fn with(more: &[&str]) -> Self {
        Self::among(&[], more)
    }

    /// With these variables in its environment.
    fn among(env: &[(&str, &str)], more: &[&str]) -> Self {
        let any = ["edge", "--set", "edge.http=127.0.0.1:0", "--set", "admin.http=127.0.0.1:0"];
        let mut command = live360(&[&any, more].concat());
        let mut child =
            command.envs(env.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut ready = String::new();
        stdout.read_line(&mut ready).unwrap();
        Self { child, stdout, ready }
    }

    fn address(&self, name: &str) -> String {
        let (_, rest) = self.ready.split_once(&format!("\"{name}\":\"")).unwrap_or_else(|| panic!("{}", self.ready));
        rest.split('"').next().unwrap().to_owned()
    }

    /// The whole answer to a GET.
    fn get(&self, listener: &str, path: &str) -> String {
        let address = self.address(listener);
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_ready_line_is_all_of_stdout_and_names_what_answers() {
    for signal in ["-TERM", "-INT"] {
        let mut edge = Edge::start();
        assert!(edge.ready.starts_with("READY {\"edge_http\":\"127.0.0.1:"), "{}", edge.ready);
        assert!(edge.get("admin_http", "/readyz").starts_with("HTTP/1.1 200 "));
        assert!(edge.get("admin_http", "/stat").contains("\"edge\": {"));
        assert!(edge.get("admin_http", "/metrics").contains("live360_http_connections"));
        assert!(edge.get("edge_http", "/").starts_with("HTTP/1.1 "));
        edge.signal(signal);
        assert_eq!(edge.child.wait().unwrap().code(), Some(0), "{signal}");
        let (mut more, mut log) = (String::new(), String::new());
        edge.stdout.read_to_string(&mut more).unwrap();
        edge.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert_eq!(more, "");
        assert!(log.contains("leaving"), "{log}");
    }
}

#[test]
fn systemd_is_told_that_it_is_ready_alive_and_leaving() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    // Longer than anything takes; without it a test that fails would hang.
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let wait_for = |word: &str| {
        let mut told = String::new();
        while !told.lines().any(|line| line == word) {
            let mut buffer = [0; 4096];
            let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{word}: {error}"));
            told = String::from_utf8(buffer[..length].to_vec()).unwrap();
        }
        told
    };
    let env = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "100000")];
    let mut edge = Edge::among(&env, &[]);
    let ready = wait_for("READY=1");
    assert!(ready.contains("STATUS=READY {\"edge_http\""), "{ready}");
    wait_for("WATCHDOG=1");
    wait_for("WATCHDOG=1");
    edge.signal("-TERM");
    let leaving = wait_for("STOPPING=1");
    assert!(leaving.contains("STATUS=leaving: SIGTERM"), "{leaving}");
    assert_eq!(edge.child.wait().unwrap().code(), Some(0));
}

#[test]
fn https_is_offered_beside_http() {
    let folder = tempfile::tempdir().unwrap();
    let data = format!("data_dir={}", folder.path().display());
    let edge = Edge::with(&["--set", "tls=self-signed", "--set", "edge.https=127.0.0.1:0", "--set", &data]);
    // Who comes without TLS is told so, which needs no client for it here.
    assert!(edge.get("edge_https", "/").ends_with("https:// instead of http://\n"));
    assert!(edge.get("edge_http", "/").starts_with("HTTP/1.1 "));
    assert!(edge.get("admin_http", "/stat").contains("\"kind\": \"self-signed\""));
    assert!(folder.path().join("tls/self-signed.pem").exists());
}

#[test]
fn the_admin_listener_is_not_for_pages() {
    let edge = Edge::start();
    let address = edge.address("admin_http");
    for header in ["host: evil.example", "host: 127.0.0.1\r\norigin: http://evil.example"] {
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(stream, "GET /stat HTTP/1.1\r\n{header}\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        assert!(!answer.to_lowercase().contains("access-control"), "{answer}");
    }
}

#[test]
fn links_are_made_without_a_server_and_nonsense_is_64() {
    let secret = [("LIVE360_WATCH__SECRETS", "0123456789abcdef")];
    check(&["token", "https://a.b/hls/foo.m3u8"], &secret, 0, "https://a.b/hls/~1.", "");
    check(&["token", "/hls/foo"], &secret, 64, "", "/hls/foo has no playlist in it: write");
    check(&["token", "/hls/foo.m3u8", "--expires-in", "soon"], &secret, 64, "", "allowed is a time from 1s");
    check(&["token", "/hls/foo.m3u8"], &[], 64, "", "watch.secrets = nothing: give this command");
    let words = "watch.secrets = nothing: allowed is at least one secret, since watch.mode is \"signed\"";
    check(&["edge", "--set", "watch.mode=signed"], &[], 64, "", words);
}
