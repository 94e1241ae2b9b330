//! Who may publish, and who is told: real encoders, a real server to ask and to tell, and nothing secret in what the server says.

use e2e::called::Called;
use e2e::rtmp::{HERE, Rtmp};
use e2e::{Ffmpeg, Server, Source, Viewer, make_media, run, tool};
use std::path::Path;
use tempfile::TempDir;

/// Long, so that it can't be anything else's.
const KEY: &str = "correct-horse-battery-staple";
const HUSH: &str = "hush-hush-hush-hush-hush-hush-hush-hush";

fn small(seconds: u32) -> Source {
    Source { size: "128x64", seconds, keyint: 30, ..Source::default() }
}

async fn text(viewer: &Viewer, path: &str) -> String {
    String::from_utf8_lossy(&viewer.fetch(path).await).into_owned()
}

/// What `live360 key` prints under this name.
fn printed(output: &std::process::Output, name: &str) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_made_lets_publish_and_everybody_who_should_hears_of_it() {
    let dir = TempDir::new().expect("a temporary folder");
    let media = dir.path().join("source.flv");
    make_media(&small(4), &media).await;
    let called = Called::start().await;
    let made = run(&["key"]).await;
    let (key, hash) = (printed(&made, "key"), printed(&made, "hash"));
    let secret = dir.path().join("hooks.secret");
    std::fs::write(&secret, format!("{HUSH}\n")).expect("a file");
    let sets = [
        format!("publish.key={hash}"),
        format!("streams.own.key={KEY}"),
        format!("publish.callback={}", called.url("/ask")),
        format!("hooks.url={}", called.url("/hook")),
        format!("hooks.secret=file:{}", secret.display()),
        format!("publish.jwt_secret={HUSH}{HUSH}"),
        format!("admin.token={HUSH}token"),
        format!("watch.secrets={HUSH}watch"),
        format!("cluster.secret={HUSH}cluster"),
        format!("protect.secret={HUSH}protect"),
        "streams.own.protect=aes-128".to_owned(),
        "log.level=trace".to_owned(),
    ];
    let mut sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    sets.extend(["hls.segment_ms=1000", "origin.reconnect_s=1", "ladder=[\"source\"]"]);
    sets.extend(["vod.ladder=[\"source\"]", "vod.effort=veryfast", "transcoder.rescan_s=1"]);
    let mut server = Server::all(&sets).await;

    let said = |key: String| {
        let encoder = Ffmpeg::send_file(&media, &server.rtmp(&key), &[]);
        async move { encoder.wait().await }
    };
    let ((ok, words), (forged_ok, forged), (banned_ok, banned)) = tokio::join!(
        said("foo?key=guess-guess-guess".to_owned()),
        said("foo?token=guess.guess.guess".to_owned()),
        said(format!("banned?key={key}"))
    );
    assert!(!ok && words.contains("stream foo needs its key: put NAME?key=SECRET, or NAME?token=JWT into"), "{words}");
    assert!(!forged_ok && forged.contains("stream foo needs its key"), "{forged}");
    assert!(!banned_ok && banned.contains("your subscription has ended"), "{banned}");
    let (ok, words) = said(format!("foo?key={key}")).await;
    assert!(ok, "{words}");

    for event in ["publish", "unpublish", "recording_ready", "vod_ready"] {
        let call = called.hook(event).await;
        let body = call.json();
        assert_eq!(body["stream"], "foo", "{event}: {body}");
        assert_eq!(body["asset"].is_string(), event.ends_with("_ready"), "{event}: {body}");
    }
    receivers_can_check(&called.hook("publish").await).await;
    let asked: Vec<_> = called.calls("/ask").iter().map(|call| call.json()["name"].clone()).collect();
    assert_eq!(asked, ["banned", "foo"], "it is asked about those only who have a key");

    let own = Rtmp::try_publish(&server, &format!("own?key={KEY}"), HERE).await.expect("it has the key");
    let admin = server.admin();
    let (stat, metrics) = (text(&admin, "/stat").await, text(&admin, "/metrics").await);
    assert!(metrics.contains("live360_publish_refused_total{reason=\"wrong_key\"} 1"), "{metrics}");
    own.unpublish("own").await;
    server.assert_well();
    let (_, log) = {
        server.signal("TERM").await;
        server.exit_and_log().await
    };
    for secret in [KEY, HUSH, &key, &hash, "guess-guess", "guess.guess"] {
        for (place, text) in [("log", &log), ("/stat", &stat), ("/metrics", &metrics)] {
            assert!(!text.contains(secret), "{secret} stands in {place}");
        }
    }
}

/// Runs the receiver's code of docs/hooks.md on what came.
async fn receivers_can_check(call: &e2e::called::Call) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/hooks.md");
    let page = std::fs::read_to_string(page).expect("the page is there");
    let code = page.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).expect("code in Python");
    let program =
        format!("{code}\nimport sys\nprint(genuine(sys.argv[1].encode(), sys.argv[2], sys.argv[3].encode()))");
    for (body, expected) in [(call.text.clone(), "True\n"), (call.text.replace("foo", "bar"), "False\n")] {
        assert_eq!(tool("python3", &["-c", &program, HUSH, &call.signature, &body]).await, expected, "{body}");
    }
}
