//! One job's wall time with one worker and with two, each on a core of its own, and what segments and the rest took.

use crate::job::{self, Job};
use crate::media;
use crate::report::{Goal, Table, median};
use e2e::simulation::Overheads;
use e2e::vod::Stores;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long the job's content is.
const SECONDS: u32 = 60;
const WIDTH: u32 = 1920;

/// The content of which planning is timed is so many times as long.
const LONGER: u32 = 10;

/// A ladder that costs next to nothing to encode.
const BARE: &str = "vod.ladder=[\"160w 50k\"]";

/// Pictures of which finishing is timed: as wide as thumbnails' rung is, since that is all that finishing looks at.
const SMALL: u32 = 480;

/// What a job cost, by its parts.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    /// Of each segment but each task's first, all rungs: processor time, which on a core of its own is what it lasts, and which
    /// others on this machine disturb least; s.
    pub(crate) segments: Vec<f64>,
    /// Pixels of all rungs of a picture.
    pub(crate) pixels: f64,
    /// Of the measured job, and planning per second of content.
    pub(crate) overheads: Overheads,
    pub(crate) plan_s_per_s: f64,
    pub(crate) finish_s_per_segment: f64,
    /// What of a segment's time isn't encoding: two tasks that share its rungs spend it twice.
    pub(crate) decoding: f64,
}

/// Measures both.
pub(crate) async fn measure(dir: &Path, effort: &str, table: &mut Table) -> Measured {
    let source = media::source(dir, WIDTH, SECONDS).await;
    let effort = format!("vod.effort={effort}");
    let sets = [job::LADDER, &effort, "transcoder.rescan_s=1"];
    let alone = job::run(&source, &sets, &[Some(0)]).await;
    let measured = parts(&alone);
    let plan_s_per_s =
        planning(&media::longer(dir, &source, SECONDS * LONGER).await, &sets).await / f64::from(SECONDS * LONGER);
    // Nearly nothing is encoded: what is left is decoding, and scaling from the source's size.
    let bare = job::run(&source, &[BARE, &effort, "transcoder.rescan_s=1"], &[Some(0)]).await;
    let decoding = bare.cpu_s / alone.cpu_s;
    let both = job::run(&source, &sets, &[Some(0), Some(1)]).await;
    let what = format!("{SECONDS} s of {WIDTH} wide, {} rungs", alone.rungs().len());
    table.state("wall_1_s", format!("{what}: upload to asset, 1 worker on one core, s"), alone.seconds);
    table.state("wall_2_s", "the same, 2 workers on a core each, s", both.seconds);
    table.judge("speed_up", "speed-up of the second worker", alone.seconds / both.seconds, Goal::Least(1.6));
    table.state("segment_s", "of it, a segment of 6 s, all rungs: median, s of CPU", median(measured.segments.clone()));
    table.state("task_overhead_s", "of it, a task besides its segments, s", measured.overheads.task_s);
    table.state(
        "plan_s_per_hour",
        "planning, per hour of content (from a tenfold longer file), s",
        plan_s_per_s * 3600.0,
    );
    table.state("finish_s", "of it, from the last task to the asset, s", measured.overheads.finish_s);
    table.state("decoding", "of it, what is not encoding: share of all CPU", decoding);
    let (count, finish_s) = finishing(dir).await;
    table.state("finish_long_s", format!("from the last task of {count} segments to the asset, s"), finish_s);
    Measured { plan_s_per_s, decoding, finish_s_per_segment: finish_s / count as f64, ..measured }
}

/// How long a worker with a core finishes an asset of many segments, from the last task on; and how many.
async fn finishing(dir: &Path) -> (usize, f64) {
    let source = media::source(dir, SMALL, SECONDS).await;
    let long = media::longer(dir, &source, SECONDS * LONGER).await;
    let sets = ["vod.ladder=[\"source\"]", "vod.effort=veryfast", "transcoder.rescan_s=1"];
    let job = job::run(&long, &sets, &[Some(0)]).await;
    let tasks = job.tasks();
    let last = tasks.len().checked_sub(1).expect("tasks");
    let count = tasks.last().map_or(0, |task| task.after as usize);
    (count, job.at("finished.json") - job.at(&format!("done/{last:05}.json")))
}

/// What the files of a job of one worker tell.
fn parts(job: &Job) -> Measured {
    let (mut segments, mut lasted) = (Vec::new(), Vec::new());
    let mut task_s = Vec::new();
    let mut before = job.at("plan.json");
    let mut firsts = Vec::new();
    for (number, task) in job.tasks().into_iter().enumerate() {
        let own = task.first as usize..task.after as usize;
        let at: Vec<f64> = own.clone().map(|segment| job.segment_at(segment)).collect();
        lasted.extend(at.windows(2).map(|pair| pair[1] - pair[0]));
        let cpu_s = job.segments_cpu_s.get(own).unwrap_or_default();
        segments.extend(cpu_s.windows(2).map(|pair| pair[1] - pair[0]));
        let done = job.at(&format!("done/{number:05}.json"));
        firsts.push((at[0] - before, done - at[at.len() - 1]));
        before = done;
    }
    // A task's first segment comes late by what starting it takes.
    let usual = median(lasted.clone());
    task_s.extend(firsts.iter().map(|(first, end)| (first - usual).max(0.0) + end));
    let finish_s = job.at("finished.json") - before;
    let pixels = job.rungs().iter().map(|rung| f64::from(rung.width) * f64::from(rung.height)).sum();
    let overheads = Overheads { plan_s: job.at("plan.json"), task_s: median(task_s), finish_s };
    eprintln!(
        "segments took {segments:.2?} s of CPU in {lasted:.2?} s; tasks' first segments and ends: {firsts:.2?} s"
    );
    Measured { segments, pixels, overheads, plan_s_per_s: f64::NAN, finish_s_per_segment: f64::NAN, decoding: f64::NAN }
}

/// How long a worker with a core plans a file, from finding it.
async fn planning(file: &Path, sets: &[&str]) -> f64 {
    let dir = Arc::new(TempDir::new().expect("a temporary folder"));
    let stores = Stores::of(dir.clone());
    stores.upload(file, "long.mp4", job::MODIFIED_S);
    let worker = job::worker(sets, &dir, Some(0)).await;
    let began = Instant::now();
    while !stores.jobs().iter().any(|job| stores.has(job, "plan.json")) {
        assert!(began.elapsed() < Duration::from_secs(120), "no plan");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = began.elapsed().as_secs_f64();
    worker.crash().await;
    took
}
