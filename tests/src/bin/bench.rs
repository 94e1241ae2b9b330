//! `make bench`: the live path's figures, measured against the reference's FFmpeg command in the same run.
//!
//! Prints a table; nothing here passes or fails. Machines are shared and noisy: what counts are ratios and medians.

use e2e::{Ffmpeg, Server, Source, make_media};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::process::Command;

/// Rounds of the start-up figure.
const START_ROUNDS: usize = 3;

/// How long the stream whose CPU and memory are measured runs, in seconds; the first ones are left out.
const STREAM_S: u64 = 60;
const WARM_UP_S: u64 = 10;

/// Publish/stop cycles, and after how many memory is first looked at.
const CYCLES: usize = 200;
const CYCLES_BEFORE: usize = 20;

#[tokio::main]
async fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let on = |name: &str| wanted.is_empty() || wanted.iter().any(|given| given == name);
    let dir = TempDir::new().expect("a temporary folder");
    println!("| figure | value |\n| --- | --- |");
    if on("start") {
        start(dir.path()).await;
    }
    if on("load") {
        load(dir.path()).await;
    }
    if on("cycles") {
        cycles(dir.path()).await;
    }
    if on("glass") {
        glass().await;
    }
}

fn row(figure: &str, value: &str) {
    println!("| {figure} | {value} |");
}

async fn media(dir: &Path, name: &str, source: &Source) -> PathBuf {
    let file = dir.join(name);
    make_media(source, &file).await;
    file
}

/// From the encoder's start to a playlist at the edge whose first segment can be fetched.
async fn start(dir: &Path) {
    for (name, keyint, seconds) in [("2 s", 60, 8), ("8.33 s (OBS's default)", 250, 24)] {
        let source = Source { size: "1920x960", keyint, seconds, ..Source::default() };
        let file = media(dir, &format!("start-{keyint}.mp4"), &source).await;
        let mut times = Vec::new();
        for round in 0..START_ROUNDS {
            let server = Server::all(&[]).await;
            let stream = format!("start{round}");
            let began = Instant::now();
            let _encoder = Ffmpeg::publish_file(&file, &server.rtmp(&stream), &[]);
            let viewer = server.viewer();
            let playlist = viewer.wait_segments(&stream, "source", 1).await;
            viewer.fetch(&playlist.resolve(&playlist.media.segments[0].uri)).await;
            times.push(began.elapsed());
        }
        times.sort();
        let figure =
            format!("encoder's start to first playable playlist and segment at the edge, key frames every {name}");
        row(&figure, &format!("{:.2} s (median of {START_ROUNDS})", times[START_ROUNDS / 2].as_secs_f64()));
    }
}

/// Memory and CPU of one 1920×960@30 stream with its ladder, beside the reference's command.
async fn load(dir: &Path) {
    let seconds = u32::try_from(STREAM_S).expect("a short time") + 5;
    let source = Source { size: "1920x960", seconds, ..Source::default() };
    let file = real_or_made(dir, &source).await;
    let server = Server::all(&[]).await;
    let viewer = server.viewer();
    let encoder = Ffmpeg::publish_file(&file, &server.rtmp("load"), &[]);
    viewer.wait_segments("load", "480w", 1).await;
    tokio::time::sleep(Duration::from_secs(WARM_UP_S)).await;
    let (before, began) = (family(server.pid()), Instant::now());
    tokio::time::sleep(Duration::from_secs(STREAM_S - 2 * WARM_UP_S)).await;
    let (after, took) = (family(server.pid()), began.elapsed().as_secs_f64());
    let ours = (after.cpu_s - before.cpu_s) / took;
    row("CPU seconds per stream second, live360 (server and ladder)", &format!("{ours:.3}"));
    row("memory, server and ladder", &format!("{:.0} MB + {:.0} MB", after.own_mb, after.children_mb));
    let playlist = viewer.playlist("load", "480w").await;
    let gaps = (0..playlist.media.segments.len()).filter(|&index| playlist.is_gap(index)).count();
    row("gaps meanwhile", &gaps.to_string());
    drop(encoder);
    drop(server);
    let theirs = reference(&file).await;
    row("CPU seconds per stream second, the reference's ffmpeg settings on the same rungs", &format!("{theirs:.3}"));
    row("ratio", &format!("{:.2} ×", ours / theirs));
}

/// A real clip, looped, where there is one; else a made one.
async fn real_or_made(dir: &Path, source: &Source) -> PathBuf {
    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/media/valiant_overpass.mp4");
    if !clip.is_file() {
        row("source of the following", "testsrc2, 1920x960, 30/s");
        return media(dir, "load.mp4", source).await;
    }
    row(
        "source of the following",
        "valiant_overpass.mp4 scaled to 1920x960, 30/s, 6 Mb/s, key frames every 2 s, looped",
    );
    let file = dir.join("load.mp4");
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-stream_loop", "-1", "-i"])
        .arg(&clip)
        .args([
            "-t",
            &source.seconds.to_string(),
            "-vf",
            "scale=1920:960,fps=30",
            "-c:v",
            "libx264",
            "-preset",
            "veryfast",
        ])
        .args([
            "-b:v",
            "6M",
            "-maxrate",
            "6M",
            "-bufsize",
            "6M",
            "-g",
            "60",
            "-sc_threshold",
            "0",
            "-bf",
            "2",
            "-c:a",
            "aac",
        ])
        .arg(&file)
        .status()
        .await;
    assert!(status.expect("ffmpeg is installed").success());
    file
}

/// The reference's ladder command (veryfast, zerolatency, CRF 23 beside a bit rate, audio encoded for each rung), with
/// the rungs that our default ladder has for this source.
async fn reference(file: &Path) -> f64 {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-re", "-t", "40", "-i"]).arg(file);
    for (width, rate) in [(480, "500k"), (960, "2300k")] {
        let filter = format!("format=yuv420p,scale={width}:trunc(ow/a/2)*2");
        command.args(["-c:v", "libx264", "-c:a", "aac", "-b:v", rate, "-b:a", "96k", "-vf", &filter]);
        command.args(["-tune", "zerolatency", "-preset", "veryfast", "-crf", "23", "-f", "flv", "-y", "/dev/null"]);
    }
    command.args(["-c:v", "copy", "-c:a", "aac", "-b:a", "96k", "-f", "flv", "-y", "/dev/null"]);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().expect("ffmpeg");
    let pid = child.id().expect("it runs");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (before, began) = (process(pid), Instant::now());
    tokio::time::sleep(Duration::from_secs(30)).await;
    let cpu = (process(pid).cpu_s - before.cpu_s) / began.elapsed().as_secs_f64();
    child.kill().await.expect("it was running");
    cpu
}

/// Memory of the server over many short publishes.
async fn cycles(dir: &Path) {
    let source = Source { size: "640x320", keyint: 15, seconds: 3, ..Source::default() };
    let file = media(dir, "cycle.mp4", &source).await;
    let server = Server::all(&["hls.window_s=10", "ladder=[\"source\", \"320w 300k\"]"]).await;
    let mut early = 0.0;
    for cycle in 1..=CYCLES {
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-nostdin", "-i"]).arg(&file).args(["-c", "copy", "-f", "flv"]);
        let status = command.arg(server.rtmp("cycle")).stdin(Stdio::null()).status().await;
        assert!(status.expect("ffmpeg is installed").success(), "cycle {cycle}");
        if cycle == CYCLES_BEFORE {
            early = family(server.pid()).own_mb;
        }
    }
    let late = family(server.pid()).own_mb;
    row(&format!("server memory after {CYCLES_BEFORE} publish/stop cycles"), &format!("{early:.1} MB"));
    let change = (late / early - 1.0) * 100.0;
    row(&format!("server memory after {CYCLES} publish/stop cycles"), &format!("{late:.1} MB ({change:+.1} %)"));
}

/// Test source to hls.js on this machine, by the timecode in the picture.
async fn glass() {
    let server = Server::all(&[]).await;
    let mut source = Command::new(e2e::binary())
        .args(["testsource", &server.rtmp("glass"), "--size", "1280x640"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts");
    server.viewer().wait_segments("glass", "480w", 3).await;
    let page = format!("http://{}/?url=/hls/glass.m3u8", server.addr("edge_http"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../player/e2e/watch.mjs");
    let shots = TempDir::new().expect("a temporary folder");
    let mut command = Command::new("node");
    command.arg(script).args(["--url", &page, "--measure", "30", "--shots"]).arg(shots.path());
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.expect("node is installed");
    source.kill().await.expect("it was running");
    let said = String::from_utf8_lossy(&output.stdout);
    let seen: serde_json::Value = serde_json::from_str(said.lines().last().unwrap_or_default()).unwrap_or_default();
    let ms =
        |name: &str| seen["glass_to_glass"][name].as_f64().map_or("?".to_owned(), |ms| format!("{:.2} s", ms / 1000.0));
    let value = format!("median {}, p95 {}, {} stalls", ms("median_ms"), ms("p95_ms"), seen["stalls"]);
    row("glass to glass, hls.js in Chromium on this machine", &value);
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// CPU time and memory of a process, or of a process and its children.
#[derive(Debug, Clone, Copy, Default)]
struct Usage {
    cpu_s: f64,
    own_mb: f64,
    children_mb: f64,
}

fn process(pid: u32) -> Usage {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kilobytes: f64 = rss.split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    // utime and stime are fields 14 and 15; Linux counts them in hundredths of a second.
    Usage { cpu_s: (ticks(11) + ticks(12)) / 100.0, own_mb: kilobytes / 1024.0, children_mb: 0.0 }
}

fn family(pid: u32) -> Usage {
    let mut usage = process(pid);
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    for task in tasks {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|text| text.parse().ok()) {
            let child = process(child);
            usage.cpu_s += child.cpu_s;
            usage.children_mb += child.own_mb;
        }
    }
    usage
}
