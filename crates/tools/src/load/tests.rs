//! A run against a small server on loopback, with faults planted: what is wrong is seen, counted and judged.

use super::*;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;

/// What is wrong with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// After a second nothing new is listed.
    Frozen,
    /// Every other segment is not there.
    Missing,
}

/// Segments of half a second, a window of four seconds.
const SEGMENT_S: f64 = 0.5;
const WINDOW: u64 = 8;

/// A live stream of one rung, and a recording of it at `/vod.m3u8`. Ends with its owner.
struct Server {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let began = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64());
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let service = service_fn(move |request| async move { answer(fault, began, &request) });
                tokio::spawn(async move {
                    let builder = auto::Builder::new(TokioExecutor::new());
                    drop(builder.serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        Self { address, task }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }
}

#[allow(clippy::unnecessary_wraps, reason = "what hyper asks for")]
fn answer(
    fault: Fault,
    (began, date): (Instant, f64),
    request: &Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let passed = began.elapsed().as_secs_f64();
    let shown = if fault == Fault::Frozen { passed.min(1.0) } else { passed };
    let made = WINDOW + (shown / SEGMENT_S) as u64;
    let (status, body) = match request.uri().path().trim_start_matches('/') {
        "live.m3u8" => (200, "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=800000\nrung.m3u8\n".to_owned()),
        "rung.m3u8" => (200, playlist(made - WINDOW..made, date - WINDOW as f64 * SEGMENT_S, false)),
        "vod.m3u8" => (200, playlist(0..4, 1e9, true)),
        "init.mp4" => (200, "init".to_owned()),
        path => match path.strip_suffix(".m4s").and_then(|number| number.parse::<u64>().ok()) {
            Some(number) if number < made.max(4) && (fault != Fault::Missing || number % 2 == 0) => {
                (200, "x".repeat(20_000))
            }
            _ => (404, String::new()),
        },
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
    Ok(response)
}

fn playlist(numbers: std::ops::Range<u64>, date: f64, ended: bool) -> String {
    let mut text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:{}\n", numbers.start);
    text += "#EXT-X-MAP:URI=\"init.mp4\"\n";
    for number in numbers {
        let at = UNIX_EPOCH + Duration::from_secs_f64(date + number as f64 * SEGMENT_S);
        let date = humantime::format_rfc3339_millis(at);
        let _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{date}\n#EXTINF:{SEGMENT_S},\n{number}.m4s");
    }
    if ended { text + "#EXT-X-ENDLIST\n" } else { text }
}

fn options(url: String, objective: &str) -> Options {
    Options {
        viewers: 20,
        duration: Duration::from_secs(4),
        ramp: Duration::ZERO,
        objective: objective.parse().unwrap(),
        ..Options::new(url)
    }
}

async fn load(options: Options) -> Result<Report, CannotRun> {
    run(options, CancellationToken::new(), |_| {}).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_stream_is_watched_without_stalls_and_meets_its_objective() {
    let server = Server::start(Fault::None).await;
    for (version, threads) in [(Version::Auto, 2), (Version::Two, 1)] {
        let objective = "started>=100%, errors<=0%, stall_ratio<20%, latency_p50>1s, segment_p50<5s";
        let options = Options { version, threads, ..options(server.url("live.m3u8"), objective) };
        let report = load(options).await.unwrap();
        assert!(report.met(), "{report}");
        let connections = report.total.connections;
        assert!(version != Version::Two || connections == 20, "one each: {connections}");
        assert!(report.requests[&Kind::Segment].count > 60, "{report}");
        assert_eq!(report.requests[&Kind::Multivariant].count, 20, "{report}");
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(json["viewers"]["places"], 20);
        assert!(report.to_string().contains("met     started>=100%"), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_freezes_makes_viewers_stall_which_is_told_and_missed() {
    let server = Server::start(Fault::Frozen).await;
    let mut options = options(server.url("live.m3u8"), "errors<1%, stall_ratio<1%");
    options.duration = Duration::from_secs(7);
    let report = load(options).await.unwrap();
    assert!(!report.met() && report.viewers.stalls >= 20, "{report}");
    assert_eq!(report.objective.iter().map(|verdict| verdict.met).collect::<Vec<_>>(), [true, false], "{report}");
    assert!(report.to_string().contains("MISSED  stall_ratio<1%"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_counted_by_kind_and_cause() {
    let server = Server::start(Fault::Missing).await;
    let report = load(options(server.url("live.m3u8"), "errors<1%")).await.unwrap();
    assert!(!report.met(), "{report}");
    assert!(report.requests[&Kind::Segment].errors["404"] > 0, "{report}");
    assert!(report.requests[&Kind::Playlist].errors.is_empty(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_watched_again_and_again() {
    let server = Server::start(Fault::None).await;
    let mut options = options(server.url("vod.m3u8"), "started>=100%, errors<=0%, stall_ratio<20%");
    options.duration = Duration::from_secs(5);
    let report = load(options).await.unwrap();
    assert!(report.met() && report.viewers.ended >= 20 && report.viewers.came >= 40, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_leave_and_others_come() {
    let server = Server::start(Fault::None).await;
    let churn = Some(Duration::from_millis(800));
    let report = load(Options { churn, ..options(server.url("live.m3u8"), "errors<=0%") }).await.unwrap();
    assert!(report.met() && report.viewers.came > 25, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_can_be_asked_again_and_again() {
    let server = Server::start(Fault::None).await;
    let sources = vec!["127.0.0.2".parse().unwrap(), "127.0.0.3".parse().unwrap()];
    let mut options = options(server.url("init.mp4"), "errors<=0%, plain_p99<5s");
    (options.plain, options.sources, options.duration) = (true, sources, Duration::from_secs(1));
    let report = load(options).await.unwrap();
    assert!(report.met() && report.requests[&Kind::Plain].count > 100, "{report}");
    assert_eq!(report.total.connections, 20, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_loaded_is_said_in_words() {
    let server = Server::start(Fault::None).await;
    for (url, words) in [
        (server.url("nothing.m3u8"), "404"),
        (server.url("init.mp4"), "no playlist"),
        ("http://127.0.0.1:1/x.m3u8".to_owned(), "no connection"),
        ("rtmp://127.0.0.1/x".to_owned(), "http or https"),
        ("http://192.0.2.1/x.m3u8".to_owned(), "--i-may-load-this-host"),
    ] {
        let error = load(options(url.clone(), "stalls<1")).await.unwrap_err().to_string();
        assert!(error.contains(words), "{url}: {error}");
    }
    let crowd = Options { viewers: VIEWERS_MAX + 1, ..options(server.url("live.m3u8"), "stalls<1") };
    assert!(load(crowd).await.unwrap_err().to_string().contains("--viewers"));
    let late = Options { ramp: Duration::from_secs(4), ..options(server.url("live.m3u8"), "stalls<1") };
    assert!(load(late).await.unwrap_err().to_string().contains("--ramp"));
}
