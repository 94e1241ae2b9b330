//! `make bench-vod`: what VOD costs, what is lost when workers die, and how soon there is something to watch.
//!
//! Everything runs on this machine, in temporary folders, and ends with it. What is compared takes turns; figures are
//! medians. Nothing here passes or fails: the table says what must be reached beside what was. Arguments choose figures
//! (`instant lost workers simulate cost`; without any, all), how many rounds (`rounds=N`), kills (`kills=N`) and simulated
//! workers (`simulate=N`), and x264's preset (`effort=fast`).

#![allow(clippy::panic, reason = "a figure that can not be measured ends the measuring, in words")]

mod call;
mod cost;
mod instant;
mod job;
mod lost;
mod media;
mod report;
mod simulate;
mod usage;
mod workers;

use report::Table;
use std::collections::BTreeSet;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

/// Rounds of what is compared, kills of one job, and workers that are simulated, unless said otherwise.
const ROUNDS: usize = 3;
const KILLS: usize = 20;
const FLEET: usize = 64;

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
    let (mut rounds, mut kills, mut fleet) = (ROUNDS, KILLS, FLEET);
    let (mut effort, mut wanted) = ("veryfast".to_owned(), BTreeSet::new());
    for argument in std::env::args().skip(1) {
        match argument.split_once('=') {
            Some(("rounds", number)) => rounds = number.parse().expect("rounds=N"),
            Some(("kills", number)) => kills = number.parse().expect("kills=N"),
            Some(("simulate", number)) => {
                fleet = number.parse().expect("simulate=N");
                wanted.insert("simulate".to_owned());
            }
            Some(("effort", name)) => effort = name.to_owned(),
            _ => drop(wanted.insert(argument)),
        }
    }
    let on = |name: &str| wanted.is_empty() || wanted.contains(name);
    let dir = TempDir::new().expect("a temporary folder");
    let mut table = Table::default();
    eprintln!("content: {}; load average: {}", media::words_for_it(), load());
    if on("instant") {
        instant::measure(rounds, &mut table).await;
    }
    if on("lost") {
        lost::measure(dir.path(), kills, &mut table).await;
    }
    if on("workers") || on("simulate") {
        // Simulated workers take as long as measured ones.
        let measured = workers::measure(dir.path(), &effort, &mut table).await;
        if on("simulate") {
            simulate::measure(fleet, &measured, &mut table);
        }
    }
    if on("cost") {
        cost::measure(dir.path(), &effort, rounds, &mut table).await;
    }
    table.print();
    println!("\ncontent: {}; load average at the end: {}", media::words_for_it(), load());
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}
