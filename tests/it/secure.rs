//! What is served over TLS beside viewers: encoders over RTMPS, and the private listener from another machine.

use super::encoders::{COPIED, small};
use e2e::{Ffmpeg, Server, Source};
use tokio::process::Command;

const TLS: [&str; 5] = [
    "tls=self-signed",
    "edge.https=127.0.0.1:0",
    "origin.rtmps=127.0.0.1:0",
    "admin.https=127.0.0.1:0",
    "admin.token=hunter2",
];

/// What curl says: the status, and the body.
async fn curl(args: &[&str]) -> (String, String) {
    let output =
        Command::new("curl").args(["-sS", "-w", "\n%{http_code}"]).args(args).output().await.expect("curl runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap_or_default();
    (status.to_owned(), format!("{body}{}", String::from_utf8_lossy(&output.stderr)))
}

#[tokio::test(flavor = "multi_thread")]
async fn ffmpeg_publishes_over_rtmps() {
    let sets = [&COPIED[..], &TLS[..], &["hls.segment_ms=1000"]].concat();
    let mut server = Server::all(&sets).await;
    let url = format!("rtmps://{}/live/foo", server.addr("rtmps"));
    let source = Source { keyint: 30, ..small(30) };
    let _encoder = Ffmpeg::publish(&source, &url);
    server.viewer().wait_segments("foo", "source", 2).await;
    // Who speaks without TLS there is not served, and harms nobody.
    let plain = Ffmpeg::publish(&source, &url.replace("rtmps:", "rtmp:"));
    let (ok, _) = plain.wait().await;
    assert!(!ok);
    let metrics = server.admin().get("/metrics").await.text();
    let counted = "live360_tls_handshakes_total{listener=\"rtmps\",version=\"rtmp\"} 1";
    assert!(
        metrics.contains(counted) && metrics.contains("live360_tls_handshakes_failed_total{listener=\"rtmps\""),
        "{metrics}"
    );
    server.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_private_listener_is_opened_by_its_token_over_tls_and_by_nothing_else() {
    let mut server = Server::all(&[&TLS[..], &["admin.http=0.0.0.0:0", "admin.https=0.0.0.0:0"]].concat()).await;
    let port = |name| server.addr(name).rsplit_once(':').map(|(_, port)| port.to_owned()).unwrap_or_default();
    let token = ["-H", "Authorization: Bearer hunter2"];
    let local = format!("https://127.0.0.1:{}/stat", port("admin_https"));
    let (status, body) = curl(&["-k", &local]).await;
    assert_eq!(status, "200", "{body}");
    let (status, body) = curl(&[&local]).await;
    assert_eq!(status, "000", "nobody has certified it: {body}");
    // From its own network's address a machine looks like another one to itself.
    let Some(own) = service::tls::lan_address() else { return };
    let (plain, secure) =
        (format!("http://{own}:{}/stat", port("admin_http")), format!("https://{own}:{}/stat", port("admin_https")));
    for (args, expected) in [
        (vec![&*plain], "403"),
        (vec![&*plain, token[0], token[1]], "403"),
        (vec!["-k", &*secure], "401"),
        (vec!["-k", &*secure, "-H", "Authorization: Bearer hunter3"], "401"),
        (vec!["-k", &*secure, token[0], token[1]], "200"),
    ] {
        let (status, body) = curl(&args).await;
        assert_eq!(status, expected, "{args:?}: {body}");
    }
    server.assert_well();
    assert!(!server.log().contains("hunter2"));
}
