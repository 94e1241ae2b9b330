//! A serving process's life: bind, say so, run, drain in order.
//!
//! Which tiers there are depends on the role; what they do is theirs.

use anyhow::{Context as _, anyhow, bail};
use edge::Edge;
use service::admin::{self, Admin};
use service::config::{Config, LogFormat, Role};
use service::ready::{Bound, Latch};
use service::shutdown::Signals;
use service::telemetry;
use std::collections::BTreeSet;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// From the signal to the moment when the process gives up waiting for its tiers; each has a shorter limit of its own.
const LEAVE_WITHIN: Duration = Duration::from_secs(60);

/// In which order tiers are told to leave: who is asked by another goes after it, and the admin listener watches to the
/// end.
const LEAVING_ORDER: [&str; 4] = ["edge", "transcoder", "origin", "admin"];

/// Runs a role until a signal, or until one of its tiers fails.
pub(crate) async fn run(role: Role, config: Config) -> anyhow::Result<()> {
    let mut signals = Signals::take().context("can't take over the signals")?;
    let latch = Latch::default();
    let admin = Admin::new(config.admin.token.clone(), telemetry::install_metrics()?, latch.clone());
    let mut process = Process { admin, bound: Bound::default(), tiers: Tiers::default() };
    process.bind(role, &config).await?;
    let (bound, mut tiers) = process.open(role, &config).await?;
    latch.ready();
    announce(role, &config, &bound);
    let signal = tokio::select! {
        signal = signals.next() => Ok(signal),
        ended = tiers.any_end() => Err(ended),
    };
    latch.leaving();
    match &signal {
        Ok(signal) => tracing::info!(signal, "leaving: finishing what is in flight"),
        Err(why) => tracing::error!(%why, "leaving"),
    }
    tokio::select! {
        left = tokio::time::timeout(LEAVE_WITHIN, tiers.leave()) => {
            left.map_err(|_| anyhow!("did not finish within {} s of being told to leave", LEAVE_WITHIN.as_secs()))??;
        }
        signal = signals.next() => bail!("{signal} again: left without finishing"),
    }
    signal.map(|_| ())
}

/// A process whose listeners are being bound.
struct Process {
    admin: Admin,
    bound: Bound,
    tiers: Tiers,
}

impl Process {
    async fn bind(&mut self, role: Role, config: &Config) -> anyhow::Result<()> {
        #[cfg(feature = "origin")]
        if matches!(role, Role::Origin | Role::All) {
            self.origin(config).await?;
        }
        if matches!(role, Role::Edge | Role::All) {
            self.edge(config).await?;
        }
        #[cfg(feature = "transcoder")]
        if matches!(role, Role::Transcoder | Role::All) {
            let stop = self.tiers.token("transcoder");
            let worker = transcoder::Transcoder::bind(config, stop).await?;
            self.add_stat("transcoder", worker.stat());
            self.tiers.spawn("transcoder", worker.run());
        }
        Ok(())
    }

    #[cfg(feature = "origin")]
    async fn origin(&mut self, config: &Config) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("can't find this program's own file, which ladders run")?;
        let origin = origin::Origin::bind(config, program, self.tiers.token("origin")).await?;
        (self.bound.rtmp, self.bound.origin_http) = (Some(origin.addrs().rtmp), Some(origin.addrs().http));
        let (stat, end) = (origin.handle(), origin.handle());
        self.add_stat("origin", move || stat.stat());
        self.with_admin(|admin| admin.control(crate::control::of_origin(end)));
        self.tiers.spawn("origin", origin.run());
        Ok(())
    }

    async fn edge(&mut self, config: &Config) -> anyhow::Result<()> {
        let own = self.bound.origin_http.map(|addr| vec![format!("http://{}", reachable(addr))]);
        let origins = config.edge.origins.clone().or(own).unwrap_or_else(|| config.edge_origins());
        let edge = Edge::bind(config, origins, self.tiers.token("edge")).await?;
        self.bound.edge_http = Some(edge.addr());
        self.add_stat("edge", edge.stat());
        self.tiers.spawn("edge", edge.run());
        Ok(())
    }

    /// Opens the admin listener, last of all.
    async fn open(mut self, role: Role, config: &Config) -> anyhow::Result<(Bound, Tiers)> {
        let addr = config.admin_http(role);
        let bind = admin::bind(addr, config.admin.token.as_ref());
        let listener = bind.await.with_context(|| format!("can't listen on admin.http = {addr}"))?;
        self.bound.admin_http = listener.local_addr().ok();
        let stop = self.tiers.token("admin");
        self.tiers.spawn("admin", self.admin.run(listener, stop));
        Ok((self.bound, self.tiers))
    }
}
