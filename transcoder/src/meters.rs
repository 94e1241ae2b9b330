//! What a worker is doing and has done: for `/stat`, `/metrics` and the log.

use metrics::{counter, gauge};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use store::Depth;

/// How much the newest segment counts in the speed that is shown.
const NEWEST: f64 = 0.3;

const TICKS_PER_S: f64 = 90_000.0;

/// Shared by who works and who is asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meters {
    now: Arc<Mutex<Now>>,
}

#[derive(Debug, Default)]
struct Now {
    /// What it works on.
    doing: Option<Doing>,
    /// Why it takes nothing, if it doesn't.
    idle: Option<&'static str>,
    jobs: JobCounts,
    depth: Option<Depth>,
    /// Seconds that a second of an asset takes, lately.
    seconds_per_second: Option<f64>,
    segments: u64,
    content: Duration,
    encode: Duration,
    tasks: u64,
    errors: u64,
    finished: u64,
}

#[derive(Debug, Clone)]
struct Doing {
    what: &'static str,
    job: String,
    task: Option<u32>,
    /// Segments that are whole, of all that the task has.
    segments: Option<(usize, usize)>,
}

/// Jobs by how far they are, as the newest look through the store found them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct JobCounts {
    /// Planned, and neither finished nor failed.
    pub(crate) running: u64,
    /// Failed.
    pub(crate) failed: u64,
    /// Finished.
    pub(crate) finished: u64,
}

impl Meters {
    /// Begins to plan or finish a job.
    pub(crate) fn doing(&self, what: &'static str, job: &str) {
        self.now().doing = Some(Doing { what, job: job.to_owned(), task: None, segments: None });
        gauge!("live360_vod_busy").set(1.0);
    }

    /// Begins a task that lacks so many of all its segments.
    pub(crate) fn begin(&self, job: &str, task: u32, lacking: usize, all: usize) {
        let segments = Some((all.saturating_sub(lacking), all));
        self.now().doing = Some(Doing { what: "encoding", job: job.to_owned(), task: Some(task), segments });
        gauge!("live360_vod_busy").set(1.0);
    }

    /// A segment became whole.
    pub(crate) fn segment(&self, took: Duration, ticks: i64) {
        let content = ticks.max(1) as f64 / TICKS_PER_S;
        let speed = took.as_secs_f64() / content;
        let mut now = self.now();
        now.segments = now.segments.saturating_add(1);
        now.content = now.content.saturating_add(Duration::from_millis(u64::try_from(ticks.max(0) / 90).unwrap_or(0)));
        now.encode = now.encode.saturating_add(took);
        // Counters are whole numbers, segments are not whole seconds.
        counter!("live360_vod_content_seconds_total").absolute(now.content.as_secs());
        counter!("live360_vod_encode_seconds_total").absolute(now.encode.as_secs());
        let before = now.seconds_per_second.unwrap_or(speed);
        let speed = before.mul_add(1.0 - NEWEST, speed * NEWEST);
        now.seconds_per_second = Some(speed);
        if let Some((whole, all)) = now.doing.as_mut().and_then(|doing| doing.segments.as_mut()) {
            *whole = whole.saturating_add(1).min(*all);
        }
        drop(now);
        counter!("live360_vod_segments_total").increment(1);
        gauge!("live360_vod_seconds_per_content_second").set(speed);
    }

    /// A task's facts are stored.
    pub(crate) fn task_done(&self) {
        let mut now = self.now();
        now.tasks = now.tasks.saturating_add(1);
        counter!("live360_vod_tasks_total").increment(1);
    }

    /// An asset's playlists are stored.
    pub(crate) fn job_finished(&self) {
        let mut now = self.now();
        now.finished = now.finished.saturating_add(1);
        counter!("live360_vod_jobs_finished_total").increment(1);
    }

    /// An error was counted.
    pub(crate) fn error(&self) {
        let mut now = self.now();
        now.errors = now.errors.saturating_add(1);
        counter!("live360_vod_errors_total").increment(1);
    }

    /// It works on nothing; why, if it takes nothing.
    pub(crate) fn idle(&self, why: Option<&'static str>) {
        let mut now = self.now();
        (now.doing, now.idle) = (None, why);
        gauge!("live360_vod_busy").set(0.0);
    }

    /// What a look through the store and the queue found.
    pub(crate) fn looked(&self, jobs: JobCounts, depth: Depth) {
        let mut now = self.now();
        (now.jobs, now.depth) = (jobs, Some(depth));
        gauge!("live360_vod_jobs", "state" => "running").set(jobs.running as f64);
        gauge!("live360_vod_jobs", "state" => "failed").set(jobs.failed as f64);
        gauge!("live360_vod_jobs", "state" => "finished").set(jobs.finished as f64);
        gauge!("live360_vod_queue_messages", "state" => "visible").set(depth.visible as f64);
        gauge!("live360_vod_queue_messages", "state" => "in_flight").set(depth.in_flight as f64);
    }

    /// What a look at the queue for dead messages found.
    pub(crate) fn dead(&self, count: u64) {
        gauge!("live360_vod_dead_messages").set(count as f64);
    }

    /// What `/stat` shows.
    pub(crate) fn stat(&self, queue: &str) -> Value {
        let now = self.now();
        let doing = now.doing.as_ref().map(|doing| {
            let (done, all) = doing.segments.unzip();
            json!({ "what": doing.what, "job": doing.job, "task": doing.task, "segments_done": done, "segments": all })
        });
        let depth = now.depth.map(|depth| json!({ "visible": depth.visible, "in_flight": depth.in_flight }));
        json!({
            "queue": queue, "depth": depth, "doing": doing, "takes_nothing": now.idle,
            "jobs": { "running": now.jobs.running, "failed": now.jobs.failed, "finished": now.jobs.finished },
            "seconds_per_content_second": now.seconds_per_second.map(|speed| (speed * 1000.0).round() / 1000.0),
            "segments": now.segments, "tasks": now.tasks, "jobs_finished_here": now.finished, "errors": now.errors,
        })
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        // Each field is whole by itself: a panic elsewhere leaves nothing half done.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_shows_what_is_being_done_and_how_fast() {
        let meters = Meters::default();
        meters.begin("foo-1", 3, 2, 5);
        meters.segment(Duration::from_secs(9), 540_000);
        let stat = meters.stat("local:");
        assert_eq!(stat["doing"], json!({"what":"encoding","job":"foo-1","task":3,"segments_done":4,"segments":5}));
        assert_eq!((&stat["seconds_per_content_second"], &stat["segments"]), (&json!(1.5), &json!(1)));
        meters.idle(Some("leaving"));
        assert_eq!(meters.stat("local:")["takes_nothing"], "leaving");
    }
}
