//! `make bench-edge`: what our edge costs and how soon it answers, beside nginx and Varnish in the same run.
//!
//! All servers stand in front of one simulated origin, on loopback. Offered load is the same for each and below what any
//! could serve; what is compared is the servers' own processor time, since the viewers share the cores with them. Rounds
//! are interleaved, figures are medians. Nothing here passes or fails: the table says what must be reached beside what
//! was. Arguments choose figures (`playlist small large cold parked tls`; without any, all), how many rounds (`rounds=N`) and a
//! single server (`only=NAME`), which is for profilers.

#![allow(clippy::panic, reason = "a figure that can not be measured ends the measuring, in words")]

mod client;
mod cold;
mod origin;
mod parked;
mod report;
mod rivals;
mod secure;
mod steady;
mod usage;

use origin::{CLOCK, LARGE, Origin, SMALL};
use report::{Figure, Goal};
use rivals::Rival;
use secure::Secure;
use std::collections::BTreeSet;
use std::sync::Arc;
use steady::{Load, Round};
use tokio::signal::unix::{SignalKind, signal};

/// Rounds of each figure, unless said otherwise.
const ROUNDS: usize = 5;

#[tokio::main]
async fn main() {
    let mut terminate = signal(SignalKind::terminate()).expect("signals");
    let mut interrupt = signal(SignalKind::interrupt()).expect("signals");
    // Whatever ends it, the servers it has started end with it.
    tokio::select! {
        () = bench() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

async fn bench() {
    let (mut rounds, mut only, mut wanted) = (ROUNDS, None, BTreeSet::new());
    for argument in std::env::args().skip(1) {
        match argument.split_once('=') {
            Some(("rounds", number)) => rounds = number.parse().expect("rounds=N"),
            Some(("only", name)) => only = Some(name.to_owned()),
            _ => drop(wanted.insert(argument)),
        }
    }
    let on = |name: &str| wanted.is_empty() || wanted.contains(name);
    let origin = Origin::start();
    let secure = Arc::new(Secure::new());
    let ours = Rival::live360(origin.address(), &secure).await;
    let nginx = Rival::nginx(origin.address(), &secure).await;
    let varnish = Rival::varnish(origin.address()).await;
    let chosen = |rival: &&Rival| only.as_ref().is_none_or(|name| name.split(',').any(|name| name == rival.name));
    let all: Vec<&Rival> = [&ours, &nginx, &varnish].into_iter().filter(chosen).collect();

    let mut figures = Vec::new();
    if on("playlist") {
        let paths = vec![format!("/hls/{CLOCK}/source/index.m3u8")];
        let load = Load { paths, rate: 8000, seconds: 3, connections: 200, secure: None };
        let costs = steady::compare("playlist", &all, &origin, &load, rounds, Round::per_requests).await;
        let words = "cached playlist: server CPU s per 100,000 requests";
        figures.push(steady_figure("playlist_cpu_s_per_100k", words, &costs, vec![Goal::Nginx(0.5)]));
    }
    if on("small") {
        let paths = (1..=20).map(|msn| format!("/hls/{SMALL}/source/{msn}.m4s")).collect();
        let load = Load { paths, rate: 1500, seconds: 4, connections: 100, secure: None };
        let costs = steady::compare("400 KB", &all, &origin, &load, rounds, Round::per_gigabyte).await;
        let words = "cached 400 KB segments: server CPU s per GB";
        figures.push(steady_figure("small_cpu_s_per_gb", words, &costs, vec![Goal::Nginx(0.8)]));
    }
    if on("large") {
        let paths = (1..=10).map(|msn| format!("/hls/{LARGE}/source/{msn}.m4s")).collect();
        let load = Load { paths, rate: 160, seconds: 5, connections: 32, secure: None };
        let costs = steady::compare("4 MB", &all, &origin, &load, rounds, Round::per_gigabyte).await;
        let words = "cached 4 MB segments: server CPU s per GB";
        let goals = vec![Goal::Nginx(1.0), Goal::Varnish(0.5)];
        figures.push(steady_figure("large_cpu_s_per_gb", words, &costs, goals));
    }
    if on("cold") {
        let seen = cold::compare(&all, &origin, rounds).await;
        let figure = |name, words, part: fn(&cold::Seen) -> f64, goals| {
            let parts: Vec<f64> = seen.iter().map(part).collect();
            steady_figure(name, words, &parts, goals)
        };
        figures.extend([
            figure(
                "cold_origin_requests",
                "cold 4 MB segment, 200 viewers: origin requests",
                |s| s.requests,
                vec![Goal::Most(1.0)],
            ),
            figure(
                "cold_first_ms",
                "the same: median time to first byte, ms",
                |s| s.first_ms,
                vec![Goal::Varnish(0.6)],
            ),
            figure("cold_first_p99_ms", "the same: p99 to first byte, ms", |s| s.first_p99_ms, vec![]),
            figure("cold_last_ms", "the same: median time to last byte, ms", |s| s.last_ms, vec![Goal::Better(0.7)]),
            figure("cold_cpu_s", "the same: server CPU s", |s| s.cpu_s, vec![]),
        ]);
    }
    if on("parked") {
        let seen = parked::look(&ours, &origin, rounds.min(3)).await;
        let own = |name, words, live360, goals| Figure { name, words, live360, nginx: None, varnish: None, goals };
        figures.extend([
            own(
                "parked_bytes",
                "10,000 parked viewers: bytes of one above its idle connection",
                seen.parked_bytes,
                vec![Goal::Most(1024.0)],
            ),
            own("idle_bytes", "the idle connection itself, bytes", seen.idle_bytes, vec![]),
            own("parked_p99_ms", "part published to answered, p99, ms", seen.p99_ms, vec![]),
            own("parked_median_ms", "part published to answered, median, ms", seen.median_ms, vec![]),
        ]);
    }
    if on("tls") {
        let paths = (1..=20).map(|msn| format!("/hls/{SMALL}/source/{msn}.m4s")).collect();
        let load = Load { paths, rate: 1000, seconds: 3, connections: 100, secure: Some(secure) };
        let able: Vec<&Rival> = all.iter().copied().filter(|rival| rival.tls.is_some()).collect();
        let costs = steady::compare("TLS", &able, &origin, &load, rounds, Round::per_gigabyte).await;
        let words = "400 KB segments over TLS 1.3 (AES-128-GCM): server CPU s per GB";
        figures.push(steady_figure("tls_small_cpu_s_per_gb", words, &costs, vec![Goal::Nginx(1.0)]));
    }
    report::print(&figures);
}

fn steady_figure(name: &'static str, words: &'static str, costs: &[f64], goals: Vec<Goal>) -> Figure {
    let cost = |index: usize| costs.get(index).copied();
    Figure { name, words, live360: cost(0).unwrap_or(f64::NAN), nginx: cost(1), varnish: cost(2), goals }
}
