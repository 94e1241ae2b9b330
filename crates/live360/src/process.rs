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
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::task::{Id, JoinError, JoinSet};
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
            self.admin.stat("transcoder", worker.stat());
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
        self.admin.stat("origin", move || stat.stat());
        self.admin.control(crate::control::of_origin(end));
        self.tiers.spawn("origin", origin.run());
        Ok(())
    }

    async fn edge(&mut self, config: &Config) -> anyhow::Result<()> {
        let own = self.bound.origin_http.map(|addr| vec![format!("http://{}", reachable(addr))]);
        let origins = config.edge.origins.clone().or(own).unwrap_or_else(|| config.edge_origins());
        let edge = Edge::bind(config, origins, self.tiers.token("edge")).await?;
        self.bound.edge_http = Some(edge.addr());
        self.admin.stat("edge", edge.stat());
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

/// What runs, and how to tell each to leave.
#[derive(Default)]
struct Tiers {
    running: JoinSet<()>,
    names: HashMap<Id, &'static str>,
    stops: BTreeMap<&'static str, CancellationToken>,
}

impl Tiers {
    /// The token that will tell this tier to leave.
    fn token(&mut self, name: &'static str) -> CancellationToken {
        self.stops.entry(name).or_default().clone()
    }

    fn spawn(&mut self, name: &'static str, tier: impl Future<Output = ()> + Send + 'static) {
        let task = self.running.spawn(tier);
        self.names.insert(task.id(), name);
    }

    /// Waits until a tier ends by itself, which none should; gives the words for it.
    async fn any_end(&mut self) -> anyhow::Error {
        match self.next_end().await {
            Ok(name) => anyhow!("{name} ended by itself"),
            Err(error) => error,
        }
    }

    /// Tells one after the other to leave and waits for each.
    async fn leave(&mut self) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        for name in LEAVING_ORDER {
            if let Some(stop) = self.stops.get(name) {
                stop.cancel();
            }
            while self.names.values().any(|running| *running == name) {
                let ended = self.next_end().await;
                outcome = outcome.and(ended.map(|_| ()));
            }
        }
        outcome
    }

    /// Waits for any tier; a panic is an error.
    async fn next_end(&mut self) -> anyhow::Result<&'static str> {
        let (id, panic): (Id, Option<JoinError>) = match self.running.join_next_with_id().await {
            Some(Ok((id, ()))) => (id, None),
            Some(Err(error)) => (error.id(), Some(error)),
            None => bail!("nothing is running"),
        };
        let name = self.names.remove(&id).unwrap_or("a task");
        match panic {
            None => Ok(name),
            Some(error) => Err(anyhow!(error).context(format!("{name} failed"))),
        }
    }
}

/// Says on stdout where everything listens and, for people who run it all at once, on stderr what to do next.
fn announce(role: Role, config: &Config, bound: &Bound) {
    if let Err(error) = bound.announce(&mut std::io::stdout()) {
        tracing::warn!(%error, "can't write the READY line to stdout");
    }
    tracing::info!("{}", bound.line());
    if role == Role::All && config.log.format == LogFormat::Human {
        // A closed stderr has nobody to tell.
        let _ = std::io::stderr().write_all(welcome(bound).as_bytes());
    }
}

fn welcome(bound: &Bound) -> String {
    let (Some(rtmp), Some(edge)) = (bound.rtmp, bound.edge_http) else {
        return String::new();
    };
    let host = |addr: SocketAddr| reachable(addr).to_string();
    let elsewhere = if edge.ip().is_unspecified() {
        format!("                   (from other devices: this machine's address, port {})\n", edge.port())
    } else {
        String::new()
    };
    format!(
        "\n  Watch            http://{}/\n{elsewhere}  OBS              Settings, Stream, Service \"Custom\"\n      Server       \
         rtmp://{}/live\n      Stream key   any name, for example test\n  Stop             Ctrl-C\n\n",
        host(edge),
        host(rtmp),
    )
}

/// How this machine reaches what it bound: an unspecified address is no destination.
fn reachable(addr: SocketAddr) -> SocketAddr {
    if !addr.ip().is_unspecified() {
        return addr;
    }
    let loopback = if addr.is_ipv4() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { IpAddr::V6(Ipv6Addr::LOCALHOST) };
    SocketAddr::new(loopback, addr.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tiers_leave_one_after_the_other() {
        let mut tiers = Tiers::default();
        let (sender, mut left) = tokio::sync::mpsc::unbounded_channel();
        for name in ["admin", "origin", "edge"] {
            let (stop, sender) = (tiers.token(name), sender.clone());
            tiers.spawn(name, async move {
                stop.cancelled().await;
                let _ = sender.send(name);
            });
        }
        tiers.leave().await.unwrap();
        drop((tiers, sender));
        let mut order = Vec::new();
        while let Some(name) = left.recv().await {
            order.push(name);
        }
        assert_eq!(order, ["edge", "origin", "admin"]);
    }

    #[tokio::test]
    async fn a_tier_that_ends_or_panics_is_named() {
        let mut tiers = Tiers::default();
        tiers.spawn("edge", async {});
        assert_eq!(tiers.any_end().await.to_string(), "edge ended by itself");
        tiers.spawn("origin", async { panic!("defect") });
        assert_eq!(tiers.any_end().await.to_string(), "origin failed");
        tiers.spawn("edge", async { panic!("defect") });
        assert!(tiers.leave().await.is_err());
    }

    #[test]
    fn the_welcome_names_addresses_that_work() {
        let bound =
            Bound { rtmp: "127.0.0.1:1935".parse().ok(), edge_http: "0.0.0.0:8088".parse().ok(), ..Bound::default() };
        let words = welcome(&bound);
        for part in ["http://127.0.0.1:8088/\n", "rtmp://127.0.0.1:1935/live\n", "port 8088)\n"] {
            assert!(words.contains(part), "{words}");
        }
        assert_eq!(reachable("[::]:80".parse().unwrap()).to_string(), "[::1]:80");
    }
}
