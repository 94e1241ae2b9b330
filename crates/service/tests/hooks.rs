//! Hooks against real receivers: what arrives, how it is signed, what is tried again, what survives.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic there is the report")]

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use service::config::{Config, HookEvent};
use service::hooks::{Event, Hooks};
use service::outbound::{Client, utc_s};
use service::secret::Secret;
use service::signature;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

const SECRET: &str = "hush";

/// A receiver, and what it has got: signature and body.
struct Receiver {
    url: String,
    got: mpsc::UnboundedReceiver<(String, Value)>,
    _task: JoinHandle<()>,
}

impl Receiver {
    /// Answers these statuses one after the other, and then always 204.
    async fn start(statuses: &'static [u16], tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}/hook", listener.local_addr().unwrap());
        let (sender, got) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let mut statuses = statuses.iter();
            while let Ok((socket, _)) = listener.accept().await {
                let status = *statuses.next().unwrap_or(&204);
                match &tls {
                    // A client that doesn't trust us says nothing more.
                    Some(tls) => match tls.accept(socket).await {
                        Ok(socket) => serve(socket, status, &sender).await,
                        Err(_) => continue,
                    },
                    None => serve(socket, status, &sender).await,
                }
            }
        });
        Self { url, got, _task: task }
    }

    async fn next(&mut self) -> (String, Value) {
        tokio::time::timeout(Duration::from_secs(30), self.got.recv()).await.expect("a message").unwrap()
    }
}

/// One request on one connection.
async fn serve(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    status: u16,
    sender: &mpsc::UnboundedSender<(String, Value)>,
) {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let field =
                |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
            if body.len() >= field("content-length: ").parse().unwrap_or(usize::MAX) {
                assert!(head.starts_with("POST /hook HTTP/1.1"), "{head}");
                assert_eq!(field("content-type: "), "application/json");
                let signature = field("x-live360-signature: ");
                let now = utc_s();
                assert!(signature::verify(&Secret::new(SECRET), &signature, body.as_bytes(), now, 60), "{signature}");
                let _ = sender.send((signature, serde_json::from_str(body).unwrap()));
                break;
            }
        }
        match socket.read(&mut buffer).await {
            Ok(count) if count > 0 => request.extend_from_slice(&buffer[..count]),
            _ => return,
        }
    }
    let _ = socket
        .write_all(format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").as_bytes())
        .await;
    let _ = socket.shutdown().await;
}

fn config(dir: &Path, urls: &[&str]) -> Config {
    let mut config = Config { data_dir: dir.to_owned(), ..Config::default() };
    config.hooks.url = urls.iter().map(|url| (*url).to_owned()).collect();
    config.hooks.secret = Some(Secret::new(SECRET));
    config
}

/// A process that tells.
struct Process {
    hooks: Hooks,
    stop: CancellationToken,
    sender: JoinHandle<()>,
}

impl Process {
    fn start(config: &Config) -> Self {
        let (hooks, sender) = Hooks::open(config, "test").unwrap();
        let stop = CancellationToken::new();
        let sender = tokio::spawn(sender.unwrap().run(stop.clone()));
        Self { hooks, stop, sender }
    }

    async fn leave(self) {
        self.stop.cancel();
        self.sender.await.unwrap();
    }
}

fn publish(name: &str) -> Event {
    Event::publish(&name.parse().unwrap(), json!({}))
}

fn ready(asset: &str) -> Event {
    Event::recording_ready("foo", asset, json!({ "url": "/vod/x/index.m3u8" }))
}

#[tokio::test]
async fn what_is_not_taken_is_told_again_under_the_same_id_and_a_stream_is_told_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start(&[500, 404], None).await;
    let process = Process::start(&config(dir.path(), &[&receiver.url]));
    process.hooks.tell(publish("foo"));
    process.hooks.tell(Event::unpublish(&"foo".parse().unwrap(), json!({ "reason": "gone" })));
    let mut ids = Vec::new();
    for _ in 0..3 {
        let (_, body) = receiver.next().await;
        assert_eq!(body["event"], "publish");
        ids.push(body["id"].clone());
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let (_, body) = receiver.next().await;
    assert_eq!((&body["event"], &body["details"]["reason"]), (&json!("unpublish"), &json!("gone")));
    process.leave().await;
}

#[tokio::test]
async fn a_receiver_that_is_down_keeps_nobody_from_being_told() {
    let dir = tempfile::tempdir().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut receiver = Receiver::start(&[], None).await;
    let process = Process::start(&config(dir.path(), &[&format!("http://{closed}/hook"), &receiver.url]));
    process.hooks.tell(publish("foo"));
    assert_eq!(receiver.next().await.1["stream"], "foo");
    process.leave().await;
}

#[tokio::test]
async fn what_waits_is_told_before_the_process_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start(&[500], None).await;
    let process = Process::start(&config(dir.path(), &[&receiver.url]));
    for name in ["a", "b", "c"] {
        process.hooks.tell(publish(name));
    }
    process.leave().await;
    let mut told = std::collections::BTreeSet::new();
    while let Ok((_, body)) = receiver.got.try_recv() {
        told.insert(body["stream"].as_str().unwrap().to_owned());
    }
    assert_eq!(told.into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[tokio::test]
async fn what_must_not_be_lost_is_told_by_the_next_process_and_then_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    // This one is never even started: it dies after it was told.
    let (hooks, _sender) = Hooks::open(&config(dir.path(), &[&format!("http://{closed}/hook")]), "test").unwrap();
    hooks.tell_surely(ready("foo-1")).await;
    hooks.tell_surely(ready("foo-1")).await;
    hooks.tell(publish("foo"));
    let mut receiver = Receiver::start(&[], None).await;
    let process = Process::start(&config(dir.path(), &[&receiver.url]));
    let (_, body) = receiver.next().await;
    assert_eq!(
        (&body["event"], &body["asset"], &body["stream"]),
        (&json!("recording_ready"), &json!("foo-1"), &json!("foo"))
    );
    process.hooks.tell_surely(ready("foo-1")).await;
    assert_eq!(receiver.next().await.1["id"], body["id"], "the same thing has the same id");
    process.leave().await;
    assert_eq!(std::fs::read_dir(dir.path().join("hooks/test")).unwrap().count(), 0);
    assert!(receiver.got.try_recv().is_err(), "nothing else was kept");
}

#[tokio::test]
async fn only_what_is_wanted_is_told_and_nobody_waits_for_a_full_queue() {
    let dir = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start(&[], None).await;
    let mut only_alarms = config(dir.path(), &[&receiver.url]);
    only_alarms.hooks.events = vec![HookEvent::Alarm];
    let process = Process::start(&only_alarms);
    process.hooks.tell(publish("foo"));
    (0..3).for_each(|_| process.hooks.tell(Event::alarm("disk", "full").of_stream("foo")));
    let (_, body) = receiver.next().await;
    assert_eq!((&body["event"], &body["details"]), (&json!("alarm"), &json!({ "alarm": "disk", "words": "full" })));
    process.leave().await;
    assert!(receiver.got.try_recv().is_err(), "the same alarm is told once");
    // Nobody takes anything out of this one.
    let (hooks, _sender) = Hooks::open(&config(dir.path(), &[&receiver.url]), "test").unwrap();
    (0..100_000).for_each(|_| hooks.tell(publish("foo")));
    assert!(Hooks::open(&config(dir.path(), &[]), "test").unwrap().1.is_none());
}

#[tokio::test]
async fn receivers_over_https_must_be_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, certificate.pem()).unwrap();
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    let mut receiver = Receiver::start(&[], Some(TlsAcceptor::from(Arc::new(server)))).await;
    let url = receiver.url.parse().unwrap();
    let stranger = Client::new(None).unwrap().ask(&url, "{}".into(), None, Duration::from_secs(10)).await;
    let words = stranger.unwrap_err().to_string();
    assert!(words.contains("invalid peer certificate"), "{words}");
    let mut trusting = config(dir.path(), &[&receiver.url]);
    trusting.hooks.ca = Some(ca);
    let process = Process::start(&trusting);
    process.hooks.tell(publish("foo"));
    assert_eq!(receiver.next().await.1["stream"], "foo");
    process.leave().await;
}
