//! The good live stream served over real HTTP, and looked at from outside.
//!
//! The server makes a part whenever somebody waits for one, so that nothing depends on how fast the machine is.

use crate::lint::fixture::{
    AUDIO, FIRST, FIRST_MS, FOLDERS, IFRAMES, Kind, WINDOW, delta, first_chunk, init, media_playlist, multivariant,
    parts_at, segment,
};
use crate::lint::{CannotLook, Options, Report, Status, run};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use media::projection::Layout;
use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// How long the encoder takes for a part: a fortieth of real time.
const PART_TAKES: Duration = Duration::from_millis(25);

/// The server; it ends when dropped.
struct Server {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let moment = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (moment, tls) = (Arc::clone(&moment), tls.clone());
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(request, Arc::clone(&moment)));
                    let server = auto::Builder::new(TokioExecutor::new());
                    // A client that hangs up is no failure.
                    let _ = match tls {
                        None => server.serve_connection(TokioIo::new(stream), service).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => server.serve_connection(TokioIo::new(stream), service).await,
                            Err(_) => Ok(()),
                        },
                    };
                });
            }
        });
        Self { address, _tasks: tasks }
    }
}

type Reply = Response<Full<Bytes>>;

async fn answer(request: Request<Incoming>, moment: Arc<AtomicU64>) -> Result<Reply, Infallible> {
    let path = request.uri().path().to_owned();
    let query: HashMap<String, u64> = url::form_urlencoded::parse(request.uri().query().unwrap_or("").as_bytes())
        .filter_map(|(name, value)| Some((name.into_owned(), value.parse().ok()?)))
        .collect();
    let skip = request.uri().query().is_some_and(|query| query.contains("_HLS_skip=YES"));
    let Some(rest) = path.strip_prefix("/hls/") else { return Ok(refused(StatusCode::NOT_FOUND)) };
    if rest == "foo.m3u8" {
        return Ok(playlist(&multivariant(), 0));
    }
    let Some((folder, name)) = rest.strip_prefix("foo/").and_then(|rest| rest.split_once('/')) else {
        return Ok(refused(StatusCode::NOT_FOUND));
    };
    let Some(folder) = FOLDERS.iter().position(|known| *known == folder) else {
        return Ok(refused(StatusCode::NOT_FOUND));
    };
    let index = match name {
        "index.m3u8" => folder,
        "iframes.m3u8" if folder != AUDIO => folder + IFRAMES,
        _ => return Ok(file(folder, name, request.headers().get("range").is_some(), &moment).await),
    };
    let scale = if index >= IFRAMES { 2 } else { 1 };
    if let Err(status) =
        hold(query.get("_HLS_msn").map(|msn| msn / scale), query.get("_HLS_part").copied(), &moment).await
    {
        return Ok(refused(status));
    }
    let now = moment.load(Ordering::SeqCst);
    let text = if skip && index < IFRAMES { delta(index, now) } else { media_playlist(Kind::Live, index, now) };
    Ok(playlist(&text, now))
}

/// Holds a request until its part is there.
async fn hold(msn: Option<u64>, part: Option<u64>, moment: &AtomicU64) -> Result<(), StatusCode> {
    let open = FIRST + parts_at(moment.load(Ordering::SeqCst)) / 2;
    let wanted = match (msn, part) {
        (None, None) => return Ok(()),
        (None, Some(_)) => return Err(StatusCode::BAD_REQUEST),
        (Some(msn), _) if msn > open + 1 => return Err(StatusCode::BAD_REQUEST),
        (Some(_), Some(part)) if part > 5 => return Err(StatusCode::BAD_REQUEST),
        (Some(msn), None) => msn.saturating_sub(FIRST) * 2 + 2,
        // Segments have two parts, so a third one is the first of the next segment: just where it is counted.
        (Some(msn), Some(part)) => msn.saturating_sub(FIRST) * 2 + part + 1,
    };
    make(wanted, moment).await;
    Ok(())
}

/// Makes parts until there are as many.
async fn make(parts: u64, moment: &AtomicU64) {
    loop {
        let now = moment.load(Ordering::SeqCst);
        if parts_at(now) >= parts {
            return;
        }
        tokio::time::sleep(PART_TAKES).await;
        // Of several that wait for the same part, one makes it.
        let _ = moment.compare_exchange(now, now + 1, Ordering::SeqCst, Ordering::SeqCst);
    }
}

async fn file(folder: usize, name: &str, ranged: bool, moment: &AtomicU64) -> Reply {
    if let Some(new) = name.strip_prefix("init-").and_then(|rest| rest.strip_suffix(".mp4")) {
        let kind = if folder == AUDIO { "audio/mp4" } else { "video/mp4" };
        return reply(kind, "max-age=3600", init(folder, new == "1", Layout::default()));
    }
    let numbers: Vec<&str> = name.strip_suffix(".m4s").unwrap_or("").split('.').collect();
    let there = |msn: u64| (FIRST..FIRST + parts_at(moment.load(Ordering::SeqCst)) / 2).contains(&msn);
    match numbers.as_slice() {
        [msn] if msn.parse().is_ok_and(there) => {
            reply("video/iso.segment", "max-age=3600", segment(folder, msn.parse().unwrap()))
        }
        [msn, "i"] if ranged && msn.parse().is_ok_and(there) => {
            let msn = msn.parse().unwrap();
            let picture = segment(folder, msn).slice(..first_chunk(folder, msn) as usize);
            let mut reply = reply("video/iso.segment", "max-age=3600", picture);
            *reply.status_mut() = StatusCode::PARTIAL_CONTENT;
            reply
        }
        [msn, part] => match (msn.parse::<u64>(), part.parse::<u64>()) {
            (Ok(msn), Ok(part)) if part < 2 && (FIRST..FIRST + 10 * WINDOW).contains(&msn) => {
                make((msn - FIRST) * 2 + part + 1, moment).await;
                reply("video/iso.segment", "max-age=3600", segment(folder, msn))
            }
            _ => refused(StatusCode::NOT_FOUND),
        },
        _ => refused(StatusCode::NOT_FOUND),
    }
}

fn reply(kind: &str, cache: &str, body: Bytes) -> Reply {
    Response::builder().header("content-type", kind).header("cache-control", cache).body(Full::new(body)).unwrap()
}

fn refused(status: StatusCode) -> Reply {
    let mut reply = reply("text/plain", "no-store", Bytes::from_static(b"no"));
    *reply.status_mut() = status;
    reply
}

fn playlist(text: &str, moment: u64) -> Reply {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    let mut reply = reply("application/vnd.apple.mpegurl", "max-age=1", gzip.finish().unwrap().into());
    let now = UNIX_EPOCH + Duration::from_millis(FIRST_MS + parts_at(moment) * 1000);
    reply.headers_mut().insert("date", httpdate::fmt_http_date(now).parse().unwrap());
    reply.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    reply
}

/// Looks for a short while.
fn options(url: String) -> Options {
    Options { watch: Some(Duration::from_millis(500)), ..Options::new(url) }
}

fn ids(report: &Report, is: impl Fn(&Status) -> bool) -> BTreeSet<&'static str> {
    report.rules.iter().filter(|finding| is(&finding.status)).map(|finding| finding.id).collect()
}

/// What a live stream without encryption has nothing of.
const NOT_LIVE: [&str; 12] = [
    "V7.duration",
    "V13.ended",
    "V13.hint",
    "V13.same",
    "V13.spelling",
    "V13.type",
    "V18.decrypts",
    "V18.fairplay",
    "V18.fetched",
    "V18.kept",
    "V18.key",
    "V18.map-iv",
];

fn assert_clean(report: &Report, skipped: &[&'static str]) {
    assert_eq!(ids(report, |status| matches!(status, Status::Broken { .. })), BTreeSet::new(), "{report}");
    let expected: BTreeSet<&str> = skipped.iter().copied().collect();
    // Nobody sent Last-Modified here.
    let seen = ids(report, |status| matches!(status, Status::Skipped { .. }));
    assert_eq!(seen, expected.union(&BTreeSet::from(["V16.stale"])).copied().collect(), "{report}");
}

#[tokio::test]
async fn a_good_live_stream_over_plain_http_is_clean_but_for_transport() {
    let server = Server::start(None).await;
    let report = run(options(format!("http://{}/hls/foo.m3u8", server.address))).await.unwrap();
    assert_clean(&report, &[&NOT_LIVE[..], &["V15.tls", "L6.http2"]].concat());
    assert!(report.notes.iter().any(|note| note.contains("plain http")), "{:?}", report.notes);
}

#[tokio::test]
async fn a_good_live_stream_over_tls_is_clean_with_its_own_certificate() {
    let signed = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key.into())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let server = Server::start(Some(TlsAcceptor::from(Arc::new(config)))).await;
    let url = format!("https://{}/hls/foo.m3u8", server.address);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), signed.cert.pem()).unwrap();

    let error = run(options(url.clone())).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    let trusting = Options { ca: Some(file.path().to_owned()), ..options(url.clone()) };
    assert_clean(&run(trusting).await.unwrap(), &NOT_LIVE);
    let careless = Options { insecure: true, ..options(url) };
    assert_clean(&run(careless).await.unwrap(), &NOT_LIVE);
}

#[tokio::test]
async fn a_media_playlist_can_be_looked_at_alone() {
    let server = Server::start(None).await;
    let report = run(options(format!("http://{}/hls/foo/high/index.m3u8", server.address))).await.unwrap();
    assert_eq!(ids(&report, |status| matches!(status, Status::Broken { .. })), BTreeSet::new(), "{report}");
    let kept = ids(&report, |status| *status == Status::Kept);
    for id in ["V2.sum", "V3.idr", "V10.append", "L4.blocks", "L5.held"] {
        assert!(kept.contains(id), "{id}\n{report}");
    }
}

#[tokio::test]
async fn what_cannot_be_looked_at_is_said_in_words() {
    let server = Server::start(None).await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for (url, words) in [
        (format!("http://{}/hls/bar.m3u8", server.address), "answered 404"),
        (format!("http://{}/hls/foo/high/{FIRST}.m4s", server.address), "no HLS playlist"),
        (format!("http://{free}/x.m3u8"), "did not answer"),
        ("rtmp://127.0.0.1/live".to_owned(), "http or https"),
        ("foo".to_owned(), "no address"),
    ] {
        let error = run(options(url.clone())).await.unwrap_err();
        assert!(error.to_string().contains(words), "{url}: {error}");
    }
    let missing = Options { ca: Some("/nowhere.pem".into()), ..options(format!("https://{}/", server.address)) };
    assert!(matches!(run(missing).await.unwrap_err(), CannotLook::Certificates(_)));
}

#[tokio::test]
async fn the_limit_on_requests_is_kept_and_told() {
    let server = Server::start(None).await;
    let url = format!("http://{}/hls/foo.m3u8", server.address);
    let report = run(Options { fetches_max: 7, ..options(url) }).await.unwrap();
    assert!(report.notes.iter().any(|note| note.contains("limit on requests")), "{:?}", report.notes);
}
