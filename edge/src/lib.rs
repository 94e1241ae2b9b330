//! What viewers pull from: a caching tier in front of origins.
//!
//! Start reading with `serve`, which is a request's life. Below it: `key` (what is asked for), `gate` (who may have it),
//! `policy` (the table), `hub` (live playlists: viewers park, followers ask) over `follow` (the state machine: who leads,
//! what is shown) and `playlist` (their text), `document` (other small texts), `depot` over `cache`, `flight` and `fetch`
//! (media files, one fetch each), `upstream` over `origins` and `favourites` (whom to ask), `vod` (recordings, from a
//! store). `key`, `policy`, `playlist`, `follow`, `hedge`, `trail` and `origins` are pure; `flight` and `cache` are driven
//! by whoever calls them.
//!
//! Knows nothing of how streams are made: what it needs of a playlist it reads from its text.
#![forbid(unsafe_code)]

mod answer;
mod cache;
mod depot;
mod document;
mod failure;
mod favourites;
mod fetch;
mod flight;
mod follow;
mod gate;
mod hedge;
mod hub;
mod key;
mod ledger;
mod meters;
mod origins;
mod playlist;
mod policy;
mod serve;
mod trail;
mod upstream;
mod vod;

pub use upstream::BadOrigin;

use cache::Cache;
use depot::Depot;
use document::Documents;
use favourites::Favourites;
use fetch::Fetcher;
use gate::Gate;
use hedge::Hedge;
use hub::{Hub, Shared};
use ledger::Ledger;
use media::name::StreamName;
use meters::Meters;
use metrics::gauge;
use policy::Policy;
use serve::{Front, FrontParts};
use service::cluster::Trust;
use service::config::Config;
use service::http::{self, Limits};
use service::shutdown::DRAIN_WITHIN;
use service::telemetry::Series;
use service::tls::Tls;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use upstream::Upstream;
use vod::Vod;

/// Streams whose viewers are shown, those with the most: as many as an origin has.
const STREAMS_SHOWN_MAX: usize = 64;

/// How often what is past its time is thrown out.
const SWEEP: Duration = Duration::from_secs(1);

/// Why an edge did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address can't be listened on.
    #[error("can't listen on {key} = {address}: {source}")]
    Bind {
        /// The key that names it.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The store of recordings can't be opened.
    #[error("storage.egress: {0}")]
    Store(#[from] store::Error),
    /// The origins are not ones to pull from.
    #[error("edge.origins: {0}")]
    Origins(#[from] BadOrigin),
    /// There are signed streams, and nothing to check links with.
    #[error("watch.secrets = nothing: allowed is at least one secret, since {0} is \"signed\"")]
    NoSecrets(
        /// The key that says so.
        String,
    ),
}

impl Error {
    /// Whether the config must be mended, and not the machine.
    pub fn is_the_configs(&self) -> bool {
        matches!(self, Self::NoSecrets(_))
    }
}

/// An edge that listens.
#[derive(Debug)]
pub struct Edge {
    listener: TcpListener,
    address: SocketAddr,
    /// For TLS, and where that is.
    secure: Option<(TcpListener, SocketAddr)>,
    state: State,
    tasks: TaskTracker,
    stop: CancellationToken,
    shutdown: CancellationToken,
}

/// What is looked at from outside.
#[derive(Debug, Clone)]
struct State {
    front: Front,
    /// Of media and of texts.
    ledgers: [Arc<Ledger>; 2],
    upstream: Arc<Upstream>,
    tls: Option<Arc<Tls>>,
}

impl Edge {
    /// Listens on `edge.http`, and with TLS also on `edge.https`; pulls from `origins`, in order of preference, and
    /// recordings from `storage.egress`; if that is not given, what is not in its default place is asked of the origins,
    /// which may be edges themselves. From `shutdown` on it finishes what is in flight and lets waiting viewers go.
    /// Whoever made `tls` keeps it.
    pub async fn bind(
        config: &Config,
        origins: Vec<String>,
        tls: Option<Arc<Tls>>,
        shutdown: CancellationToken,
    ) -> Result<Self, Error> {
        // Nobody has to guess it, it only has to be another's than any other's.
        let own = trail::own_name(RandomState::new().hash_one(std::process::id()));
        let gate = Gate::new(config).map_err(Error::NoSecrets)?;
        let trust = Trust::new(config.cluster.secret.clone());
        let upstream = Arc::new(Upstream::new(&origins, own.clone(), &trust)?);
        // Nobody who configured a store means that recordings are elsewhere.
        let vod = Vod::open(&config.egress(), config.storage.egress.is_none()).await?;
        let (listener, address) = listen("edge.http", config.edge.http)?;
        let secure = match tls {
            Some(_) => Some(listen("edge.https", config.edge.https)?),
            None => None,
        };

        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let millis = |ms: u32| Duration::from_millis(ms.into());
        let window = Duration::from_secs(config.hls.window_s.into());
        let policy = Arc::new(Policy::new(millis(config.hls.segment_ms), millis(config.hls.part_ms), window));
        // A tenth above the budget: half of it for what slow viewers still read of what was thrown out, half for texts,
        // so that media can't starve playlists.
        let budget = config.edge.cache_bytes;
        let media_ledger = Ledger::new(budget.saturating_add(budget / 20));
        let texts = Ledger::new(budget / 20);
        let cache = Arc::new(Cache::new(budget, Arc::clone(&media_ledger)));
        let fetcher = Fetcher {
            upstream: Arc::clone(&upstream),
            vod: vod.clone(),
            cache: Arc::clone(&cache),
            hedge: Arc::new(Mutex::new(Hedge::default())),
            hedge_after: policy.part() / 2,
            favourites: Arc::new(Favourites::default()),
            tasks: tasks.clone(),
            stop: stop.clone(),
        };
        let depot = Arc::new(Depot { cache: Arc::clone(&cache), fetcher, policy: Arc::clone(&policy) });
        let documents = Documents::new(Arc::clone(&upstream), vod, Arc::clone(&texts), tasks.clone(), stop.clone());
        let hub = Hub::new(Shared {
            upstream: Arc::clone(&upstream),
            depot: Arc::clone(&depot),
            policy: Arc::clone(&policy),
            ledger: Arc::clone(&texts),
            idle: Duration::from_secs(config.edge.idle_s),
            tasks: tasks.clone(),
            stop: stop.clone(),
            leaving: shutdown.clone(),
        });
        let hosts = config.edge.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        let (meters, closing) = (Meters::default(), shutdown.child_token());
        let keyring = config.protect.keyring();
        let parts = FrontParts { own, hosts, gate, policy, depot, documents, hub, keyring, meters, closing };
        let front = Front { parts: Arc::new(parts) };
        let ledgers = [media_ledger, texts];
        let state = State { front, ledgers, upstream, tls };
        Ok(Self { listener, address, secure, state, tasks, stop, shutdown })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for TLS, if it does.
    pub fn https_addr(&self) -> Option<SocketAddr> {
        self.secure.as_ref().map(|(_, address)| *address)
    }

    /// Gives a function that tells how the edge is doing, for `/stat`.
    pub fn stat(&self) -> impl Fn() -> serde_json::Value + Clone + Send + Sync + 'static {
        let state = self.state.clone();
        move || state.stat()
    }

    /// Gives what steers it while it runs.
    pub fn handle(&self) -> Handle {
        Handle(self.state.clone())
    }

    /// Serves until the shutdown, then finishes what is in flight.
    pub async fn run(self) {
        let Self { listener, secure, state, tasks, stop, shutdown, .. } = self;
        let (handler, tls) = (state.front.clone(), state.tls.clone());
        tasks.spawn(keep_house(state, stop.clone()));
        let limits = |listener| Limits { drain: DRAIN_WITHIN, ..Limits::new(listener) };
        let plain = http::serve(listener, handler.clone(), limits("edge"), shutdown.clone());
        let secure = async {
            if let (Some((listener, _)), Some(tls)) = (secure, tls) {
                http::serve_tls(listener, tls, handler, limits("edge_https"), shutdown).await;
            }
        };
        tokio::join!(plain, secure);
        stop.cancel();
        tasks.close();
        tasks.wait().await;
    }
}

/// Listens on what a key of the config says.
fn listen(key: &'static str, wanted: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let bind = |source| Error::Bind { key, address: wanted, source };
    let listener = http::listen(wanted).map_err(bind)?;
    let address = listener.local_addr().map_err(bind)?;
    Ok((listener, address))
}

/// Steers an edge that runs. Cloning gives another handle to the same.
#[derive(Debug, Clone)]
pub struct Handle(State);

/// Why an origin was not pinned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// No such origin.
    #[error("{0:?} is none of this edge's origins, which are {1}")]
    Origin(String, String),
    /// Nobody watches it here.
    #[error("nobody watches {0} here: a stream is followed, and can be pinned, while it has viewers")]
    Stream(StreamName),
}

impl Handle {
    /// Makes an origin (`http://HOST:PORT`) lead a stream whatever happens; `None`: the edge chooses again.
    pub fn pin(&self, name: &StreamName, origin: Option<&str>) -> Result<(), PinError> {
        let index = match origin {
            None => None,
            Some(given) => Some(self.index(given)?),
        };
        let known = self.0.front.parts.hub.pin(name, index);
        known.then_some(()).ok_or_else(|| PinError::Stream(name.clone()))
    }

    /// What `/metrics` shows of the streams that are watched.
    pub fn collect(&self, series: &mut Series) {
        for (stream, viewers) in self.0.front.parts.hub.most_watched(STREAMS_SHOWN_MAX) {
            series.gauge("live360_edge_stream_viewers", &[("stream", stream.as_str())], viewers as f64);
        }
    }

    /// Tells balancers, who ask at `/healthz`, to send nobody here any more. All else goes on until the shutdown.
    pub fn close(&self) {
        self.0.front.parts.closing.cancel();
    }

    fn index(&self, given: &str) -> Result<usize, PinError> {
        let bare = given.strip_prefix("http://").unwrap_or(given).trim_end_matches('/');
        let all: Vec<String> = self.0.upstream.stat().into_iter().map(|(name, _)| name).collect();
        let found = all.iter().position(|name| name == bare);
        found.ok_or_else(|| PinError::Origin(given.chars().take(200).collect(), all.join(", ")))
    }
}

/// Throws out what is past its time, and says how much is left.
async fn keep_house(state: State, stop: CancellationToken) {
    let mut tick = tokio::time::interval(SWEEP);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let (parts, now) = (&state.front.parts, Instant::now());
        parts.depot.cache.sweep(now);
        parts.depot.fetcher.favourites.sweep(now);
        parts.documents.sweep(now);
        parts.hub.sweep(now);
        let stat = parts.depot.cache.stat();
        gauge!("live360_edge_memory_bytes").set(state.memory().0 as f64);
        gauge!("live360_edge_cache_bytes").set(stat.bytes as f64);
        gauge!("live360_edge_cache_entries").set(stat.entries as f64);
        gauge!("live360_edge_flights_running").set(stat.running as f64);
        gauge!("live360_edge_documents").set(parts.documents.count() as f64);
        gauge!("live360_edge_parked_viewers").set(parts.hub.parked() as f64);
    }
}

impl State {
    /// Bytes kept, and the most there may be.
    fn memory(&self) -> (u64, u64) {
        let [media, texts] = &self.ledgers;
        (media.used().saturating_add(texts.used()), media.limit().saturating_add(texts.limit()))
    }

    fn stat(&self) -> serde_json::Value {
        let parts = &self.front.parts;
        let origin = |(address, down)| serde_json::json!({ "address": address, "asked_last": down });
        let (used, limit) = self.memory();
        serde_json::json!({
            "origins": self.upstream.stat().into_iter().map(origin).collect::<Vec<_>>(),
            "memory": { "bytes": used, "limit_bytes": limit },
            "cache": parts.depot.cache.stat(),
            "documents": parts.documents.count(),
            "requests": parts.meters.stat(),
            "parked": parts.hub.parked(),
            "tls": self.tls.as_ref().map(|tls| tls.facts()),
            "streams": parts.hub.stat(Instant::now()),
        })
    }
}
