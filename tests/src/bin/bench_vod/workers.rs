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
    Measured { plan_s_per_s, ..measured }
}

/// What the files of a job of one worker tell.
fn parts(job: &Job) -> Measured {
    let (mut segments, mut lasted) = (Vec::new(), Vec::new());
    let mut task_s = Vec::new();
    let mut before = job.at("plan.json");
    let mut firsts = Vec::new();
    for (number, (first, after)) in job.tasks().into_iter().enumerate() {
        let at: Vec<f64> = (first..after).map(|segment| job.segment_at(segment)).collect();
        lasted.extend(at.windows(2).map(|pair| pair[1] - pair[0]));
        let cpu_s = job.segments_cpu_s.get(first..after).unwrap_or_default();
        segments.extend(cpu_s.windows(2).map(|pair| pair[1] - pair[0]));
        let done = job.at(&format!("done/{number:05}.json"));
        firsts.push((at[0] - before, done - at[at.len() - 1]));
        before = done;
    }
    // A task's first segment comes late by what starting it takes.
    let usual = median(lasted.clone());
    task_s.extend(firsts.iter().map(|(first, end)| (first - usual).max(0.0) + end));
    let finish_s = job.at("finished.json") - before;
    let all = lasted.len() + firsts.len();
    let pixels = job.rungs().iter().map(|rung| f64::from(rung.width) * f64::from(rung.height)).sum();
    let overheads = Overheads { plan_s: job.at("plan.json"), task_s: median(task_s), finish_s };
    eprintln!(
        "segments took {segments:.2?} s of CPU in {lasted:.2?} s; tasks' first segments and ends: {firsts:.2?} s"
    );
    Measured { segments, pixels, overheads, plan_s_per_s: f64::NAN, finish_s_per_segment: finish_s / all as f64 }
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
