//! `make bench-load`: how many viewers `live360 load` simulates on one core, and what it costs beside wrk.
//!
//! Viewers watch a real stream of a small bit rate from `live360 all` on this machine, on one thread of the tool; the
//! crowd is doubled until that thread is full. What counts is the tool's own processor time (getrusage), since server and
//! tool share the cores. For plain fetches of one cached object the tool and wrk take turns; figures are medians.
//! Nothing here passes or fails. Arguments: `viewers`, `plain` (without any, both), `rounds=N`, `seconds=N`.

#![allow(clippy::panic, reason = "a figure that can not be measured ends the measuring, in words")]

use e2e::{Server, binary};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use serde_json::Value;
use std::process::Stdio;
use tokio::process::{Child, Command};

/// Viewers of the first round; each further one has twice as many.
const CROWD: usize = 250;

/// More than these have no sockets left at the server (16,384, four or five for each viewer).
const CROWD_MAX: usize = 3000;

/// The thread is full from this share of a core on.
const FULL: f64 = 0.9;

/// A crowd that stalls for more than this share of the time does less than it should, so its cost says nothing; from the
/// second share on there is no use in a larger one.
const STALLED: f64 = 0.01;
const HOPELESS: f64 = 0.2;

/// Connections of both tools for plain fetches.
const CONNECTIONS: &str = "32";

/// What was asked for.
struct Wanted {
    rounds: usize,
    seconds: u64,
    viewers: bool,
    plain: bool,
}

#[tokio::main]
async fn main() {
    let (mut wanted, mut named) = (Wanted { rounds: 5, seconds: 20, viewers: false, plain: false }, false);
    for argument in std::env::args().skip(1) {
        match argument.split_once('=') {
            Some(("rounds", number)) => wanted.rounds = number.parse().expect("rounds=N"),
            Some(("seconds", number)) => wanted.seconds = number.parse().expect("seconds=N"),
            _ => match &*argument {
                "viewers" => (wanted.viewers, named) = (true, true),
                "plain" => (wanted.plain, named) = (true, true),
                other => panic!("{other}: there are viewers, plain, rounds=N and seconds=N"),
            },
        }
    }
    if !named {
        (wanted.viewers, wanted.plain) = (true, true);
    }
    let server = Server::all(&["ladder=[\"source\", \"240w 150k\"]", "hls.window_s=600", "record=off"]).await;
    let mut source = publish(&server);
    server.viewer().wait_segments("foo", "source", 6).await;
    if wanted.viewers {
        viewers(&server, &wanted).await;
    }
    if wanted.plain {
        plain(&server, &wanted).await;
    }
    source.kill().await.expect("it was running");
}

fn publish(server: &Server) -> Child {
    let mut command = Command::new(binary());
    command.args(["testsource", &server.rtmp("foo"), "--size", "480x240", "--bitrate", "300k"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().expect("the binary starts")
}

/// Doubles the crowd until the tool's thread is full.
async fn viewers(server: &Server, wanted: &Wanted) {
    println!("viewers of an LL-HLS stream (parts of 0.5 s, picture and sound), one thread");
    println!(
        "  {:>7}{:>12}{:>18}{:>14}{:>16}{:>12}{:>10}",
        "viewers", "tool, core", "ms/viewer-second", "requests/s", "server, core", "stalled", "memory"
    );
    let url = server.viewer().url("/hls/foo.m3u8");
    let (seconds, mut crowd, mut each) = (wanted.seconds.to_string(), CROWD, Vec::new());
    loop {
        let before = processor_s(server.pid());
        let report = load(&["--viewers", &crowd.to_string(), "--duration", &seconds], &url).await;
        let server_s = processor_s(server.pid()) - before;
        let number = |pointer: &str| report.pointer(pointer).and_then(Value::as_f64).unwrap_or(f64::NAN);
        let (cpu, length) = (number("/cost/cpu_s"), number("/seconds"));
        let (share, per_viewer) = (cpu / length, number("/cost/cpu_s_per_viewer_s"));
        let stalled = number("/viewers/stall_ratio");
        println!(
            "  {crowd:>7}{share:>12.2}{:>18.3}{:>14.0}{:>16.2}{:>10.2} %{:>7.0} MB",
            per_viewer * 1e3,
            number("/total/requests") / length,
            server_s / length,
            stalled * 100.0,
            number("/cost/memory_bytes") / 1e6,
        );
        if stalled <= STALLED {
            each.push(per_viewer);
        }
        if share >= FULL || stalled > HOPELESS || crowd * 2 > CROWD_MAX {
            break;
        }
        crowd *= 2;
    }
    if each.is_empty() {
        println!(
            "  every crowd stalled: this machine has no core to spare for the server and the tool, so there is no figure"
        );
        return;
    }
    let middle = median(&mut each);
    println!(
        "  {:.3} ms of processor time for a viewer's second: {:.0} viewers on one core",
        middle * 1e3,
        1.0 / middle
    );
}

/// The tool and wrk by turns, on objects that the edge has in memory.
async fn plain(server: &Server, wanted: &Wanted) {
    let viewer = server.viewer();
    let playlist = viewer.playlist("foo", "source").await;
    let init = playlist.init(0);
    let newest = playlist.media.segments.last().expect("segments");
    let segment = playlist.resolve(&newest.uri);
    println!(
        "plain fetches over {CONNECTIONS} connections, one thread: requests for a second of the tool's processor time"
    );
    println!("  {:>10}{:>14}{:>14}{:>9}", "bytes", "live360 load", "wrk", "ratio");
    for path in [init, segment] {
        let bytes = viewer.fetch(&path).await.len();
        let url = viewer.url(&path);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..wanted.rounds {
            let report = load(&["--plain", "--viewers", CONNECTIONS, "--ramp", "0", "--duration", "4"], &url).await;
            ours.push(report["cost"]["requests_per_cpu_s"].as_f64().expect("requests were made"));
            theirs.push(wrk(&url).await);
        }
        let (ours, theirs) = (median(&mut ours), median(&mut theirs));
        println!("  {bytes:>10}{ours:>14.0}{theirs:>14.0}{:>9.2}", ours / theirs);
    }
}

/// Runs the tool; gives its report.
async fn load(args: &[&str], url: &str) -> Value {
    let output = Command::new(binary()).args(["load", url, "--json", "--quiet"]).args(args).output().await;
    let output = output.expect("the binary runs");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("live360 load {url}: {error}: {words}"))
}

/// Runs wrk; gives requests for each second of its processor time.
async fn wrk(url: &str) -> f64 {
    let before = children_s();
    let output = Command::new("wrk").args(["-t", "1", "-c", CONNECTIONS, "-d", "4s", url]).output().await;
    let output = output.expect("wrk is installed (scripts/bench/load.sh does)");
    let cpu = children_s() - before;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.contains(" requests in "));
    let requests = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    requests.unwrap_or_else(|| panic!("wrk says no number of requests: {text}")) / cpu
}

/// Processor time of children that have ended and were waited for, in seconds.
fn children_s() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the kernel counts");
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// Processor time of a process that runs, in seconds.
fn processor_s(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    // utime and stime are fields 14 and 15; Linux counts them in hundredths of a second.
    (ticks(11) + ticks(12)) / 100.0
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
