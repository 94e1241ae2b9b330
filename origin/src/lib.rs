//! RTMP in, HLS out.
//!
//! [`Origin`] binds the listeners and owns everything behind them. A publisher's connection is in `rtmp`, a stream's life
//! in `live`, what edges pull is in `serve`. Start reading at `live::core`.
#![forbid(unsafe_code)]

mod access;
pub mod ingest;
mod live;
mod record;
pub mod rtmp;
mod serve;
pub mod steer;

pub use access::Error as AccessError;

use access::Access;
use live::{Door, Registry};
use media::name::StreamName;
use record::Replay;
use service::cluster::Trust;
use service::config::{Config, Current};
use service::hooks::Hooks;
use service::telemetry::Series;
use service::tls::Tls;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use steer::{Act, Cannot};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Where an origin listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addrs {
    /// RTMP.
    pub rtmp: SocketAddr,
    /// RTMP over TLS.
    pub rtmps: Option<SocketAddr>,
    /// HTTP, for edges.
    pub http: SocketAddr,
}

/// Why an origin did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A listener.
    #[error("cannot listen on {key} = {addr}")]
    Bind {
        /// The config key.
        key: &'static str,
        /// Its value.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Who may publish can't be judged as the config says.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The folder for live windows.
    #[error("cannot write below data_dir = {dir}")]
    DataDir {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// An origin, bound and ready to run.
#[derive(Debug)]
pub struct Origin {
    rtmp: rtmp::Listeners,
    http: TcpListener,
    addrs: Addrs,
    registry: Arc<Registry>,
    access: Arc<Access>,
    replay: Replay,
    trust: Trust,
    shutdown: CancellationToken,
}

/// Looks into a running origin and steers it: what the admin listener needs.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Registry>, Arc<Access>);

impl Handle {
    /// What `/stat` says of this tier.
    pub fn stat(&self) -> serde_json::Value {
        self.0.stat()
    }

    /// What `/metrics` shows of the streams that there are.
    pub fn collect(&self, series: &mut Series) {
        self.0.collect(series);
    }

    /// Does something to a stream; says in JSON what, and when it takes effect.
    pub async fn steer(&self, name: &StreamName, act: Act) -> Result<serde_json::Value, Cannot> {
        self.0.steer(name, act).await
    }

    /// Tells every stream what the config in force says of it now.
    pub async fn reload(&self) {
        self.0.reload().await;
    }

    /// Ends a stream. `false` if there is none of that name.
    pub async fn end(&self, name: &StreamName) -> bool {
        self.0.end(name).await
    }

    /// From now on who may publish is judged by this config. Who publishes goes on. After an error all is as before.
    pub fn reload_access(&self, config: &Config) -> Result<(), AccessError> {
        self.1.reload(config)
    }
}

impl Error {
    /// Whether it is the configuration that must be mended.
    pub fn is_the_configs(&self) -> bool {
        matches!(self, Self::Access(_))
    }
}

impl Origin {
    /// Binds its listeners and takes up the streams that an earlier process left. `program` is this binary: the ladder's
    /// children run it. `hooks` are told what happens. `tls` is for `origin.rtmps`; whoever made it keeps it.
    pub async fn bind(
        current: &Current,
        program: PathBuf,
        hooks: Hooks,
        tls: Option<Arc<Tls>>,
        shutdown: CancellationToken,
    ) -> Result<Self, Error> {
        let config = &*current.get();
        let access = Arc::new(Access::new(config)?);
        let rtmp = listen("origin.rtmp", config.origin.rtmp).await?;
        let secure = match (config.origin.rtmps, tls) {
            (Some(addr), Some(tls)) => Some((listen("origin.rtmps", addr).await?, tls)),
            _ => None,
        };
        let http = listen("origin.http", config.origin.http).await?;
        let addr = |key, listener: &TcpListener, asked| {
            listener.local_addr().map_err(|source| Error::Bind { key, addr: asked, source })
        };
        let addrs = Addrs {
            rtmp: addr("origin.rtmp", &rtmp, config.origin.rtmp)?,
            rtmps: secure.as_ref().and_then(|(listener, _)| listener.local_addr().ok()),
            http: addr("origin.http", &http, config.origin.http)?,
        };
        let registry = Registry::new(current.clone(), program, hooks, shutdown.clone());
        registry.restore().map_err(|source| Error::DataDir { dir: config.data_dir.clone(), source })?;
        let replay = Replay::new(config);
        let trust = Trust::new(config.cluster.secret.clone());
        let rtmp = rtmp::Listeners { plain: rtmp, secure };
        Ok(Self { rtmp, http, addrs, registry, access, replay, trust, shutdown })
    }

    /// Where it listens.
    pub fn addrs(&self) -> Addrs {
        self.addrs
    }

    /// What the admin listener needs.
    pub fn handle(&self) -> Handle {
        Handle(self.registry.clone(), self.access.clone())
    }

    /// Runs until shutdown, and then until every stream has put down what it had.
    pub async fn run(self) {
        let Self { rtmp, http, addrs, registry, access, replay, trust, shutdown } = self;
        let reachable = [Some(addrs.rtmp), addrs.rtmps].into_iter().flatten().any(|addr| !addr.ip().is_loopback());
        if !reachable {
            tracing::info!(
                "encoders on this machine only: to let others publish, set origin.rtmp = \"0.0.0.0:{}\", and publish.key",
                addrs.rtmp.port()
            );
        }
        access.announce(reachable);
        if !trust.is_on() && !addrs.http.ip().is_loopback() {
            tracing::warn!(
                "origin.http = {} answers whoever can reach it, signed streams too: set cluster.secret, here and on the edges",
                addrs.http
            );
        }
        let server = serve::Server::new(registry.clone(), replay, trust, shutdown.clone());
        let limits = service::http::Limits::new("origin");
        let ingest = Arc::new(Door(registry.clone(), access));
        tokio::join!(
            rtmp::serve(rtmp, ingest, rtmp::Limits::default(), shutdown.clone()),
            service::http::serve(http, server, limits, shutdown.clone()),
        );
        registry.finished().await;
    }
}

/// Finishes recordings whose origins are gone for good, and removes what is older than the config keeps, until shutdown.
/// An [`Origin`] does so by itself; this is for other processes with the same stores, such as transcoders.
pub async fn reconcile(config: Current, hooks: Hooks, shutdown: CancellationToken) {
    record::reconcile(config, hooks, shutdown).await;
}

async fn listen(key: &'static str, addr: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(addr).await.map_err(|source| Error::Bind { key, addr, source })
}
