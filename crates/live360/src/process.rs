//! A serving process's life: bind, say so, run, leave in order.
//!
//! Which tiers there are depends on the role; what they do is theirs. When who leaves is planned in `leaving`.

use crate::balancer::Balancer;
use crate::control;
use crate::leaving::{self, Cause, Timeline};
use crate::manager;
use crate::steering::{self, Sources, Steering};
use crate::tiers::{EDGE, Tiers};
use anyhow::{Context as _, anyhow, bail};
use edge::Edge;
use service::admin::{self, Admin};
use service::config::{Config, Current, Loaded, LogFormat, Role};
use service::hooks::Hooks;
use service::host::Host;
use service::machine::{Machine, Notice};
use service::ready::{Bound, Latch};
use service::shutdown::{Asked, Hangups, Signals};
use service::telemetry::{self, LogLevel};
use service::tls::{Facts, Tls, lan_address};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

/// Runs a role until it is to leave, and leaves.
pub(crate) async fn run(role: Role, sources: Sources, loaded: Loaded, log: LogLevel) -> anyhow::Result<()> {
    let mut signals = Signals::take().context("can't take over the signals")?;
    let hangups = Hangups::take().context("can't take over the signals")?;
    let (current, config) = (Current::new(loaded.config.clone()), loaded.config.clone());
    if let Err(error) = memory::raise_open_files() {
        tracing::warn!(%error, "can't have more open files than the system's default: fewer viewers at a time");
    }
    let latch = Latch::default();
    let admin = Admin::new(current.clone(), telemetry::install_metrics()?, latch.clone());
    let (steering, handle) = Steering::new(sources, loaded, current.clone(), log);
    let (bound, tiers) = (Bound::default(), Tiers::default());
    let (hooks, sender) = Hooks::open(&config, role.name())?;
    // Edges tell nobody anything yet.
    #[cfg(not(any(feature = "origin", feature = "transcoder")))]
    drop(hooks);
    let mut process = Process {
        admin,
        bound,
        tiers,
        #[cfg(any(feature = "origin", feature = "transcoder"))]
        hooks,
        balancer: None,
        edge: None,
        tls: None,
        #[cfg(feature = "origin")]
        current,
        steering,
    };
    if let Some(sender) = sender {
        let stop = process.tiers.token("hooks");
        process.tiers.spawn("hooks", sender.run(stop));
    }
    process.own(&config, handle);
    let machine = process.machine(&config);
    process.bind(role, &config, machine.as_ref()).await?;
    let (tls, front) = (process.tls.clone(), process.edge.take());
    let (bound, mut tiers, balancer) = process.open(role, &config, hangups).await?;
    latch.ready();
    announce(role, &config, &bound, tls.and_then(|tls| tls.facts()).as_ref());
    manager::ready(&bound.line());
    if let Some(watchdog) = manager::watchdog() {
        tiers.spawn("watchdog", watchdog);
    }
    let cause = tokio::select! {
        asked = signals.next() => Cause::Signal(asked),
        cause = taken_away(machine) => cause,
        ended = tiers.any_end() => Cause::Failure(ended),
    };
    let start = Instant::now();
    latch.leaving();
    manager::leaving(&cause.to_string());
    if let Some(front) = front {
        // For balancers that ask where viewers do.
        front.close();
    }
    let edge = matches!(role, Role::Edge | Role::All).then_some(&config.edge);
    let plan = leaving::plan(&cause, edge);
    say_why(&cause, &plan);
    tokio::select! {
        left = leave(&plan, start, &mut tiers, balancer) => left?,
        asked = at_once(&mut signals, &cause) => bail!("{asked} again: left without finishing"),
    }
    match cause {
        Cause::Failure(error) => Err(error),
        Cause::Signal(_) | Cause::Machine(..) => Ok(()),
    }
}

/// Waits until the machine says that it is to be taken away; for ever if there is none to ask.
async fn taken_away(machine: Option<watch::Receiver<Notice>>) -> Cause {
    let Some(mut machine) = machine else { return std::future::pending().await };
    let leave = match machine.wait_for(|notice| notice.leave.is_some()).await {
        Ok(notice) => notice.leave.clone(),
        Err(_) => None,
    };
    // Without a notice the task that asks has ended, which is seen where tasks are watched.
    let Some(leave) = leave else { return std::future::pending().await };
    let left = leave.by.map(|by| by.duration_since(SystemTime::now()).unwrap_or_default());
    Cause::Machine(leave.why, left)
}

/// Waits for the signal of somebody who doesn't want to wait. What manages the process may send its own on the machine's
/// notice, so after that the first one only says what is known.
async fn at_once(signals: &mut Signals, cause: &Cause) -> Asked {
    if matches!(cause, Cause::Machine(..)) {
        let asked = signals.next().await;
        tracing::info!(%asked, "leaving already; one more signal, and nothing is waited for");
    }
    signals.next().await
}

/// Leaves step by step, each by its moment.
async fn leave(plan: &Timeline, start: Instant, tiers: &mut Tiers, balancer: Option<Balancer>) -> anyhow::Result<()> {
    // Nobody asks it, and what it has in hand takes time.
    tiers.stop("transcoder");
    let served = async {
        if let Some(balancer) = balancer {
            balancer.leave().await;
        }
        sleep_until(Instant::now() + plan.grace).await;
    };
    let failed = tokio::select! {
        // Telling the balancer took too long: it is not waited for.
        _ = timeout_at(start + plan.serve_until, served) => None,
        // With a tier gone there is nothing more to serve as before.
        ended = tiers.any_end() => Some(ended),
    };
    let edge_until = (Instant::now() + plan.drain).min(start + plan.edge_until);
    let left = timeout_at(start + plan.within, tiers.leave(edge_until)).await;
    left.map_err(|_| anyhow!("did not finish within {} s of being told to leave", plan.within.as_secs()))??;
    failed.map_or(Ok(()), Err)
}

fn say_why(cause: &Cause, plan: &Timeline) {
    let (grace_s, within_s) = (plan.grace.as_secs(), plan.within.as_secs());
    match cause {
        Cause::Failure(error) => tracing::error!(why = %error, within_s, "leaving"),
        _ => tracing::info!(why = %cause, grace_s, within_s, "leaving: finishing what is in flight"),
    }
}

/// A process whose listeners are being bound.
struct Process {
    admin: Admin,
    bound: Bound,
    tiers: Tiers,
    /// Who is told of what happens.
    #[cfg(any(feature = "origin", feature = "transcoder"))]
    hooks: Hooks,
    balancer: Option<Balancer>,
    edge: Option<edge::Handle>,
    /// What is served over TLS with.
    tls: Option<Arc<Tls>>,
    /// The config in force while it runs.
    #[cfg(feature = "origin")]
    current: Current,
    steering: Steering,
}

impl Process {
    /// Shows and steers what is the process's own.
    fn own(&mut self, config: &Config, steering: steering::Handle) {
        let (host, stat) = (Host::new(config.data_dir.clone()), steering.clone());
        let (shown, started) = (host.clone(), SystemTime::now());
        self.admin.stat("host", move || shown.stat());
        self.admin.stat("config", move || stat.stat());
        self.admin.stat("process", move || {
            let up_s = started.elapsed().unwrap_or_default().as_secs();
            serde_json::json!({ "version": env!("CARGO_PKG_VERSION"), "up_s": up_s })
        });
        self.admin.metrics().collect(move |series| host.collect(series));
        self.admin.control(control::PROCESS_ACTS, control::of_process(steering));
    }

    /// Begins to ask the machine, if it is one that can be asked.
    fn machine(&mut self, config: &Config) -> Option<watch::Receiver<Notice>> {
        let machine = Machine::find(&config.machine, self.tiers.token("machine"))?;
        let notices = machine.notices();
        self.admin.stat("machine", machine.stat());
        self.tiers.spawn("machine", machine.run());
        Some(notices)
    }

    async fn bind(
        &mut self,
        role: Role,
        config: &Config,
        machine: Option<&watch::Receiver<Notice>>,
    ) -> anyhow::Result<()> {
        self.secure(role, config)?;
        #[cfg(feature = "origin")]
        if matches!(role, Role::Origin | Role::All) {
            self.origin().await?;
        }
        if matches!(role, Role::Edge | Role::All) {
            self.edge(config).await?;
            self.balancer = Balancer::open(&config.edge, machine.cloned()).await?;
        }
        #[cfg(feature = "transcoder")]
        if matches!(role, Role::Transcoder | Role::All) {
            let program = std::env::current_exe().context("can't find this program's own file, which encodes")?;
            let stop = self.tiers.token("transcoder");
            let worker = transcoder::Transcoder::bind(config, program, stop, machine.cloned()).await?;
            let worker = worker.telling(self.hooks.clone());
            self.admin.stat("transcoder", worker.stat());
            self.tiers.spawn("transcoder", worker.run());
        }
        // An origin looks after recordings by itself.
        #[cfg(all(feature = "origin", feature = "transcoder"))]
        if matches!(role, Role::Transcoder) {
            let stop = self.tiers.token("transcoder");
            self.tiers.spawn("transcoder", origin::reconcile(self.current.clone(), self.hooks.clone(), stop));
        }
        Ok(())
    }

    /// Gets the certificate, if anything is to be served with it.
    fn secure(&mut self, role: Role, config: &Config) -> anyhow::Result<()> {
        let by_role = match role {
            Role::Edge | Role::All => true,
            Role::Origin => config.origin.rtmps.is_some(),
            Role::Transcoder => false,
        };
        if by_role || config.admin.https.is_some() {
            self.tls = Tls::from_config(config)?;
        }
        Ok(())
    }

    #[cfg(feature = "origin")]
    async fn origin(&mut self) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("can't find this program's own file, which ladders run")?;
        let stop = self.tiers.token("origin");
        let (hooks, tls) = (self.hooks.clone(), self.tls.clone());
        let origin = origin::Origin::bind(&self.current, program, hooks, tls, stop).await?;
        (self.bound.rtmp, self.bound.origin_http) = (Some(origin.addrs().rtmp), Some(origin.addrs().http));
        self.bound.rtmps = origin.addrs().rtmps;
        let (stat, series) = (origin.handle(), origin.handle());
        self.admin.stat("origin", move || stat.stat());
        self.admin.metrics().collect(move |found| series.collect(found));
        self.admin.control(control::ORIGIN_ACTS, control::of_origin(origin.handle()));
        self.steering.tell(origin.handle());
        self.tiers.spawn("origin", origin.run());
        Ok(())
    }

    async fn edge(&mut self, config: &Config) -> anyhow::Result<()> {
        let own = self.bound.origin_http.map(|addr| vec![format!("http://{}", reachable(addr))]);
        let origins = config.edge.origins.clone().or(own).unwrap_or_else(|| config.edge_origins());
        let edge = Edge::bind(config, origins, self.tls.clone(), self.tiers.token(EDGE)).await?;
        (self.bound.edge_http, self.bound.edge_https) = (Some(edge.addr()), edge.https_addr());
        self.admin.stat("edge", edge.stat());
        let series = edge.handle();
        self.admin.metrics().collect(move |found| series.collect(found));
        self.admin.control(control::EDGE_ACTS, control::of_edge(edge.handle()));
        self.edge = Some(edge.handle());
        self.tiers.spawn(EDGE, edge.run());
        Ok(())
    }

    /// Opens the admin listener, last of all, and begins to look after the certificate: an authority may have to find the
    /// listeners open.
    async fn open(
        mut self,
        role: Role,
        config: &Config,
        hangups: Hangups,
    ) -> anyhow::Result<(Bound, Tiers, Option<Balancer>)> {
        let addr = config.admin_http(role);
        let bind = admin::bind(addr, &config.admin);
        let listener = bind.await.with_context(|| format!("can't listen on admin.http = {addr}"))?;
        self.bound.admin_http = listener.local_addr().ok();
        if let Some(tls) = &self.tls {
            let keeping = Arc::clone(tls).keep(self.tiers.token("tls"));
            self.tiers.spawn("tls", keeping);
        }
        let secure = match (config.admin.https, self.tls) {
            (Some(addr), Some(tls)) => {
                let listener =
                    service::http::listen(addr).with_context(|| format!("can't listen on admin.https = {addr}"))?;
                self.bound.admin_https = listener.local_addr().ok();
                Some((listener, tls))
            }
            _ => None,
        };
        let (stop, done) = (self.tiers.token("admin"), self.tiers.token("admin"));
        self.tiers.spawn("admin", self.admin.run(listener, secure, stop));
        self.tiers.spawn("admin", self.steering.run(hangups, done));
        Ok((self.bound, self.tiers, self.balancer))
    }
}

/// Says on stdout where everything listens and, for people who run it all at once, on stderr what to do next.
fn announce(role: Role, config: &Config, bound: &Bound, tls: Option<&Facts>) {
    if let Err(error) = bound.announce(&mut std::io::stdout()) {
        tracing::warn!(%error, "can't write the READY line to stdout");
    }
    tracing::info!("{}", bound.line());
    if role == Role::All && config.log.format == LogFormat::Human {
        // A closed stderr has nobody to tell.
        let _ = std::io::stderr().write_all(welcome(bound, tls).as_bytes());
    }
}

fn welcome(bound: &Bound, tls: Option<&Facts>) -> String {
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
        "\n  Watch            http://{}/\n{elsewhere}{}  OBS              Settings, Stream, Service \"Custom\"\n      Server       \
         rtmp://{}/live\n      Stream key   any name, for example test\n  Stop             Ctrl-C\n\n",
        host(edge),
        bound.edge_https.map(|addr| secure(addr, tls)).unwrap_or_default(),
        host(rtmp),
    )
}

/// How to come by HTTPS, and what the browser will say to a certificate of this machine's own.
fn secure(addr: SocketAddr, tls: Option<&Facts>) -> String {
    let port = addr.port();
    match tls {
        Some(Facts { kind: "self-signed", sha256, .. }) => {
            let ip = lan_address().filter(|_| addr.ip().is_unspecified()).unwrap_or(reachable(addr).ip());
            format!(
                "  Phone, headset   https://{}/\n                   (on the same network; the browser warns once, since this \
                 machine certifies itself. SHA-256:\n                   {sha256})\n",
                SocketAddr::new(ip, port),
            )
        }
        tls => {
            let name = tls.and_then(|facts| facts.names.first().cloned()).unwrap_or(reachable(addr).ip().to_string());
            format!("  Securely         https://{name}:{port}/\n")
        }
    }
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
    use std::time::Duration;
    use tokio::sync::mpsc;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    const PLAN: Timeline = Timeline {
        grace: seconds(20),
        serve_until: seconds(60),
        drain: seconds(90),
        edge_until: seconds(90),
        within: seconds(100),
    };

    /// Tiers that end when they are told to; and which was told when, in seconds.
    fn tiers(names: [&'static str; 3]) -> (Tiers, mpsc::UnboundedReceiver<(&'static str, u64)>) {
        let (mut tiers, (sender, told)) = (Tiers::default(), mpsc::unbounded_channel());
        let start = Instant::now();
        for name in names {
            let (stop, sender) = (tiers.token(name), sender.clone());
            tiers.spawn(name, async move {
                stop.cancelled().await;
                let _ = sender.send((name, start.elapsed().as_secs()));
            });
        }
        (tiers, told)
    }

    async fn all<T>(mut told: mpsc::UnboundedReceiver<T>) -> Vec<T> {
        let mut order = Vec::new();
        while let Some(next) = told.recv().await {
            order.push(next);
        }
        order
    }

    #[tokio::test(start_paused = true)]
    async fn the_edge_is_told_after_the_grace_and_the_transcoder_at_once() {
        let (mut tiers, told) = tiers(["edge", "transcoder", "admin"]);
        leave(&PLAN, Instant::now(), &mut tiers, None).await.unwrap();
        assert_eq!(all(told).await, [("transcoder", 0), ("edge", 20), ("admin", 20)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_grace_ends_at_its_latest_moment() {
        let (mut tiers, told) = tiers(["edge", "origin", "admin"]);
        let plan = Timeline { serve_until: seconds(7), ..PLAN };
        leave(&plan, Instant::now(), &mut tiers, None).await.unwrap();
        assert_eq!(all(told).await, [("edge", 7), ("origin", 7), ("admin", 7)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tier_that_fails_in_the_grace_ends_it_and_is_named() {
        let (mut tiers, told) = tiers(["edge", "origin", "admin"]);
        tiers.spawn("machine", tokio::time::sleep(seconds(3)));
        let failed = leave(&PLAN, Instant::now(), &mut tiers, None).await.unwrap_err();
        assert_eq!(failed.to_string(), "machine ended by itself");
        assert_eq!(all(told).await, [("edge", 3), ("origin", 3), ("admin", 3)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tier_that_never_ends_is_given_up_in_the_end() {
        let (mut tiers, _told) = tiers(["edge", "transcoder", "admin"]);
        tiers.spawn("origin", std::future::pending());
        let start = Instant::now();
        let words = leave(&PLAN, start, &mut tiers, None).await.unwrap_err().to_string();
        assert_eq!(
            (words.as_str(), start.elapsed()),
            ("did not finish within 100 s of being told to leave", PLAN.within)
        );
    }

    #[test]
    fn the_welcome_names_addresses_that_work() {
        let bound =
            Bound { rtmp: "127.0.0.1:1935".parse().ok(), edge_http: "0.0.0.0:8088".parse().ok(), ..Bound::default() };
        let words = welcome(&bound, None);
        for part in ["http://127.0.0.1:8088/\n", "rtmp://127.0.0.1:1935/live\n", "port 8088)\n"] {
            assert!(words.contains(part), "{words}");
        }
        let bound = Bound { edge_https: "192.0.2.1:8443".parse().ok(), ..bound };
        let facts = Facts {
            kind: "self-signed",
            names: vec!["localhost".to_owned()],
            until: String::new(),
            sha256: "AB:CD".to_owned(),
        };
        let words = welcome(&bound, Some(&facts));
        assert!(words.contains("https://192.0.2.1:8443/\n") && words.contains("AB:CD"), "{words}");
        let words = welcome(&bound, Some(&Facts { kind: "files", ..facts }));
        assert!(words.contains("https://localhost:8443/\n") && !words.contains("AB:CD"), "{words}");
        assert_eq!(reachable("[::]:80".parse().unwrap()).to_string(), "[::1]:80");
    }
}
