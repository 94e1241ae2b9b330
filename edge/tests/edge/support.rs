//! An origin that follows a script, an edge before it, and viewers.

use crate::sim::Sim;
use bytes::{Bytes, BytesMut};
use edge::Edge;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use service::config::Config;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// How long anything may take that should take a moment, on a machine that is ten times slower and busy: what hangs says
/// so before the test is ended from outside, after a minute.
const DEADLINE: Duration = Duration::from_secs(50);

/// Between two bytes of a body that drips: less than half of what an edge takes for dead, and not more than ten thousand
/// readers can follow on a busy machine.
const DRIP: Duration = Duration::from_secs(2);

/// Waits for what must come soon.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {} s for {what}", DEADLINE.as_secs()),
    }
}

/// Opens once, for everybody.
pub(crate) type Gate = CancellationToken;

/// One step of an origin's answer.
#[derive(Clone)]
pub(crate) enum Do {
    Send(Bytes),
    /// Waits until the test opens the gate.
    Wait(Gate),
    /// Sends byte by byte, just fast enough not to be taken for dead, until the test opens the gate; then the rest.
    Drip(Bytes, Gate),
    /// Hangs up.
    Cut,
}

/// What an origin answers to a path and query.
type Script = dyn Fn(&str) -> Vec<Do> + Send + Sync;

/// An origin. Dropped, it is gone: connections and all.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    count: watch::Receiver<usize>,
    _task: AbortOnDropHandle<()>,
}

impl Origin {
    pub(crate) async fn start(script: impl Fn(&str) -> Vec<Do> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (sender, count) = watch::channel(0);
        let (script, log): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&heads));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (script, log, sender) = (Arc::clone(&script), Arc::clone(&log), sender.clone());
                connections.spawn(async move {
                    connection(stream, &*script, |head| {
                        let mut log = log.lock().unwrap();
                        log.push(head);
                        sender.send_replace(log.len());
                    })
                    .await
                });
            }
        });
        Self { address, heads, count, _task: AbortOnDropHandle::new(task) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Heads of all requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    /// Paths and queries of all requests so far.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.heads().iter().map(|head| head.split(' ').nth(1).unwrap().to_owned()).collect()
    }

    /// Waits until that many requests have come.
    pub(crate) async fn asked(&self, times: usize) {
        self.count.clone().wait_for(|count| *count >= times).await.unwrap();
    }
}

async fn connection(mut stream: TcpStream, script: &Script, log: impl Fn(String)) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8(head).unwrap();
        let target = head.split(' ').nth(1).unwrap().to_owned();
        log(head);
        for step in script(&target) {
            match step {
                Do::Send(bytes) => {
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                Do::Wait(gate) => gate.cancelled().await,
                Do::Drip(bytes, gate) => {
                    if drip(&mut stream, bytes, &gate).await.is_err() {
                        return;
                    }
                }
                Do::Cut => return,
            }
        }
    }
}

async fn drip(stream: &mut TcpStream, mut bytes: Bytes, gate: &Gate) -> std::io::Result<()> {
    let mut tick = tokio::time::interval(DRIP);
    while bytes.len() > 1 && gate.run_until_cancelled(tick.tick()).await.is_some() {
        stream.write_all(&bytes.split_to(1)).await?;
    }
    stream.write_all(&bytes).await
}

/// A head that announces `length` bytes.
pub(crate) fn head(status: u16, kind: &str, etag: &str, length: usize) -> Do {
    let etag = if etag.is_empty() { String::new() } else { format!("etag: \"{etag}\"\r\n") };
    let text = format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\n{etag}content-length: {length}\r\n\r\n");
    Do::Send(text.into())
}

pub(crate) fn send(bytes: impl Into<Bytes>) -> Do {
    Do::Send(bytes.into())
}

/// A whole answer.
pub(crate) fn whole(kind: &str, etag: &str, body: impl Into<Bytes>) -> Vec<Do> {
    let body = body.into();
    vec![head(200, kind, etag, body.len()), send(body)]
}

pub(crate) fn status(status: u16, words: &'static str) -> Vec<Do> {
    vec![head(status, "text/plain", "", words.len()), send(words)]
}

/// Bytes that differ from place to place.
pub(crate) fn media(length: usize) -> Bytes {
    (0..length).map(|i| (i % 251) as u8).collect()
}

/// An origin whose segment all but stops half way until the gate opens.
pub(crate) async fn halting(body: &Bytes, gate: &Gate) -> Origin {
    let (body, gate) = (body.clone(), gate.clone());
    Origin::start(move |_| {
        let half = body.len() / 2;
        vec![
            head(200, "video/mp4", "seven", body.len()),
            send(body.slice(..half)),
            Do::Drip(body.slice(half..), gate.clone()),
        ]
    })
    .await
}

/// An edge that runs. Dropped, it is gone.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: AbortOnDropHandle<()>,
    handle: edge::Handle,
    stat: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
}

impl Running {
    pub(crate) async fn start(origins: &[&Origin]) -> Self {
        Self::with(origins.iter().map(|origin| origin.url()).collect(), 1 << 30).await
    }

    pub(crate) async fn with(origins: Vec<String>, cache_bytes: u64) -> Self {
        Self::configured(origins, |config| config.edge.cache_bytes = cache_bytes).await
    }

    /// Before simulated origins.
    pub(crate) async fn before(sims: &[&Sim]) -> Self {
        Self::configured(sims.iter().map(|sim| sim.url()).collect(), |_| {}).await
    }

    /// With a config that differs from the default.
    pub(crate) async fn configured(origins: Vec<String>, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.edge.http = "127.0.0.1:0".parse().unwrap();
        change(&mut config);
        let shutdown = CancellationToken::new();
        let edge = Edge::bind(&config, origins, None, shutdown.clone()).await.unwrap();
        let (address, handle, stat) = (edge.addr(), edge.handle(), Box::new(edge.stat()));
        let task = AbortOnDropHandle::new(tokio::spawn(edge.run()));
        Self { address, shutdown, task, handle, stat }
    }

    /// Waits until `/stat` is as `look` wants it. There is nothing to be told by, so it is looked at again and again.
    async fn until(&self, what: &str, look: impl Fn(&serde_json::Value) -> bool) {
        within(what, async {
            while !look(&(self.stat)()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// Waits until so many viewers at least are parked on a rendition's playlist.
    pub(crate) async fn parked(&self, stream: &str, rendition: &str, viewers: usize) {
        let parked = |stat: &serde_json::Value| {
            let tracks = rooms(stat, stream).flat_map(|room| room["tracks"].as_array().cloned().unwrap_or_default());
            let of_it = tracks.filter(|track| track["rendition"] == rendition && track["iframes"] == false);
            of_it.filter_map(|track| track["viewers"].as_u64()).sum::<u64>()
        };
        self.until("viewers to be parked", |stat| parked(stat) >= viewers as u64).await;
    }

    /// Waits until all origins of a stream are known to have the same, object by object and in every rendition that is
    /// followed.
    pub(crate) async fn agreed(&self, stream: &str) {
        let agreed = |room: &serde_json::Value| {
            let others = room["origins"].as_array().cloned().unwrap_or_default();
            let mut others = others.into_iter().filter(|origin| origin["address"] != room["lead"]);
            room["lead"].is_string() && others.all(|origin| origin["agreement"] == "yes")
        };
        self.until("the origins to agree", |stat| rooms(stat, stream).any(agreed)).await;
    }

    /// Waits until what is shown of a stream is so old that nobody is given it without a question.
    pub(crate) async fn outdated(&self, stream: &str, age: Duration) {
        let old =
            |track: &serde_json::Value| track["age_ms"].as_u64().is_some_and(|ms| u128::from(ms) > age.as_millis());
        let all = |room: &serde_json::Value| room["tracks"].as_array().is_some_and(|tracks| tracks.iter().all(old));
        self.until("what is shown to be old", |stat| rooms(stat, stream).all(all)).await;
    }

    /// Waits until so many viewers wait for something.
    pub(crate) async fn waiting(&self, viewers: u64) {
        self.until("viewers to wait", |stat| stat["parked"].as_u64().is_some_and(|parked| parked >= viewers)).await;
    }

    /// Says which origin is to lead a stream, or no longer; gives what there is to object.
    pub(crate) fn pin(&self, stream: &str, origin: Option<&str>) -> Result<(), String> {
        self.handle.pin(&stream.parse().unwrap(), origin).map_err(|error| error.to_string())
    }

    /// Has balancers send nobody here any more.
    pub(crate) fn close(&self) {
        self.handle.close();
    }

    /// Waits until nobody follows a stream any more.
    pub(crate) async fn left_alone(&self, stream: &str) {
        self.until("the followers to end", |stat| rooms(stat, stream).all(|room| room["followed"] == false)).await;
    }

    /// Streams that it knows of.
    pub(crate) fn streams(&self) -> usize {
        (self.stat)()["streams"].as_array().unwrap().len()
    }

    pub(crate) fn stat(&self, pointer: &str) -> u64 {
        let stat = (self.stat)();
        stat.pointer(pointer).and_then(serde_json::Value::as_u64).unwrap_or_else(|| panic!("{pointer} in {stat}"))
    }

    /// A GET.
    pub(crate) async fn get(&self, target: &str) -> Got {
        self.ask(Method::GET, target, &[]).await
    }

    pub(crate) async fn ask(&self, method: Method, target: &str, headers: &[(&str, &str)]) -> Got {
        Got::read(self.open(method, target, headers).await).await
    }

    /// That many GETs at a time.
    pub(crate) async fn crowd(&self, viewers: usize, target: &str) -> Vec<Got> {
        let all = (0..viewers).map(|_| self.get(target)).collect::<FuturesUnordered<_>>();
        all.collect().await
    }

    /// Only the head; the body is still to be read. A connection of its own.
    pub(crate) async fn open(&self, method: Method, target: &str, headers: &[(&str, &str)]) -> Response<Incoming> {
        let client: Client<HttpConnector, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let mut request = Request::builder().method(method).uri(format!("http://{}{target}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        client.request(request.body(Empty::new()).unwrap()).await.unwrap()
    }

    /// Sends these bytes and gives everything that comes back, until the edge hangs up.
    pub(crate) async fn raw(&self, text: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn rooms<'a>(stat: &'a serde_json::Value, stream: &'a str) -> impl Iterator<Item = &'a serde_json::Value> {
    stat["streams"].as_array().unwrap().iter().filter(move |room| room["name"] == stream)
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// What came of the body.
    pub(crate) body: Bytes,
    /// Whether its end was a clean one.
    pub(crate) clean: bool,
}

impl Got {
    pub(crate) async fn read(response: Response<Incoming>) -> Self {
        let (parts, mut incoming) = response.into_parts();
        let (mut body, mut clean) = (BytesMut::new(), true);
        while let Some(frame) = incoming.frame().await {
            match frame {
                Ok(frame) => body.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
                Err(_) => {
                    clean = false;
                    break;
                }
            }
        }
        Self { status: parts.status, headers: parts.headers, body: body.freeze(), clean }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// For reports of failures.
    pub(crate) fn text_or_size(&self) -> String {
        let bytes = || format!("{} bytes, {}", self.body.len(), if self.clean { "clean" } else { "broken off" });
        std::str::from_utf8(&self.body).map_or_else(|_| bytes(), str::to_owned)
    }
}
