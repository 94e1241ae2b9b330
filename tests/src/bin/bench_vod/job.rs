//! One job from the upload to the finished asset, with workers of one's choice, and what its files tell about it.

use crate::usage;
use e2e::Server;
use e2e::vod::Stores;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;
use tokio::process::Command;
use transcoder::plan::TaskPlan;

/// How long a job may take.
const DEADLINE: Duration = Duration::from_secs(600);

/// How often is looked whether it is finished.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// When uploads say that they were changed: UTC s.
pub(crate) const MODIFIED_S: u64 = 1_790_000_000;

/// The ladder of the figures about cost: four rungs of 1920×960.
pub(crate) const LADDER: &str = "vod.ladder=[\"source\", \"1280w 3200k\", \"960w 2000k\", \"480w 600k\"]";

/// A job that is finished.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) stores: Stores,
    pub(crate) name: String,
    /// When the source was there.
    uploaded: SystemTime,
    /// From then until the asset was ready.
    pub(crate) seconds: f64,
    /// Of all workers and their children meanwhile.
    pub(crate) cpu_s: f64,
    /// The same at the moment when each segment was there on all rungs, by its number, as long as they come in order.
    pub(crate) segments_cpu_s: Vec<f64>,
    _dir: Arc<TempDir>,
}

/// Starts a worker. With a core, it and its children run on no other.
pub(crate) async fn worker(sets: &[&str], dir: &Arc<TempDir>, core: Option<usize>) -> Server {
    let worker = Server::start("transcoder", sets, dir.clone()).await;
    if let Some(core) = core {
        let pid = worker.pid().to_string();
        let mut command = Command::new("taskset");
        command.args(["-a", "-c", "-p", &core.to_string(), &pid]).stdin(Stdio::null()).stdout(Stdio::null());
        assert!(command.status().await.expect("taskset is installed").success(), "worker {pid} on core {core}");
    }
    worker
}

/// Lets a worker for each of `cores` make an asset of a file.
pub(crate) async fn run(media: &Path, sets: &[&str], cores: &[Option<usize>]) -> Job {
    let dir = Arc::new(TempDir::new().expect("a temporary folder"));
    let stores = Stores::of(dir.clone());
    let mut workers = Vec::new();
    for core in cores {
        workers.push(worker(sets, &dir, *core).await);
    }
    let used = || workers.iter().map(|worker| usage::cpu_s(worker.pid())).sum::<f64>();
    let before = used();
    stores.upload(media, "bench.mp4", MODIFIED_S);
    let (uploaded, began) = (SystemTime::now(), Instant::now());
    let finished = || stores.jobs().into_iter().find(|job| stores.has(job, "finished.json"));
    let mut segments_cpu_s = Vec::new();
    let name = loop {
        if stores.jobs().iter().any(|job| whole(&stores, job, segments_cpu_s.len())) {
            segments_cpu_s.push(used() - before);
        }
        if let Some(job) = finished() {
            break job;
        }
        let failed = stores.jobs().iter().find_map(|job| stores.document(job, "failed.json"));
        assert!(failed.is_none(), "the job has failed: {failed:?}");
        assert!(began.elapsed() < DEADLINE, "no asset after {} s", DEADLINE.as_secs());
        tokio::time::sleep(LOOK_EVERY).await;
    };
    let seconds = began.elapsed().as_secs_f64();
    while workers.iter().any(|worker| usage::has_children(worker.pid())) && began.elapsed() < DEADLINE {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let cpu_s = used() - before;
    workers.iter_mut().for_each(Server::assert_well);
    Job { stores, name, uploaded, seconds, cpu_s, segments_cpu_s, _dir: dir }
}

/// Whether a segment is there on all rungs.
fn whole(stores: &Stores, job: &str, number: usize) -> bool {
    let plan = stores.document(job, "plan.json").unwrap_or_default();
    let Some(rungs) = plan["rungs"].as_array() else { return false };
    let folder = stores.egress().join("vod").join(job).join("hq");
    let there = |rung: &Value| {
        rung["rendition"].as_str().is_some_and(|name| folder.join(name).join(format!("{number}.m4s")).is_file())
    };
    rungs.iter().all(there)
}

impl Job {
    /// Its plan.
    pub(crate) fn plan(&self) -> Value {
        self.stores.document(&self.name, "plan.json").expect("a plan")
    }

    /// Its rungs: folder's name, width, height and cap in bit/s.
    pub(crate) fn rungs(&self) -> Vec<Rung> {
        let plan = self.plan();
        let number = |rung: &Value, key: &str| u32::try_from(rung[key].as_u64().expect("a number")).expect("small");
        let rung = |rung: &Value| Rung {
            rendition: rung["rendition"].as_str().expect("a name").to_owned(),
            width: number(rung, "width"),
            height: number(rung, "height"),
            bitrate: number(rung, "bitrate"),
            crf: number(rung, "crf"),
        };
        plan["rungs"].as_array().expect("rungs").iter().map(rung).collect()
    }

    /// Its tasks.
    pub(crate) fn tasks(&self) -> Vec<TaskPlan> {
        serde_json::from_value(self.plan()["tasks"].clone()).expect("tasks")
    }

    /// Seconds from the upload to when a document was written.
    pub(crate) fn at(&self, document: &str) -> f64 {
        self.written(&self.stores.ingest().join("jobs").join(&self.name).join(document))
    }

    /// Seconds from the upload to when a segment was there on all rungs.
    pub(crate) fn segment_at(&self, number: usize) -> f64 {
        let file = |rung: &Rung| self.folder(&rung.rendition).join(format!("{number}.m4s"));
        self.rungs().iter().map(|rung| self.written(&file(rung))).fold(0.0, f64::max)
    }

    /// A rendition's folder.
    pub(crate) fn folder(&self, rendition: &str) -> PathBuf {
        self.stores.egress().join("vod").join(&self.name).join("hq").join(rendition)
    }

    fn written(&self, file: &Path) -> f64 {
        let modified = std::fs::metadata(file).and_then(|data| data.modified());
        let modified = modified.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        modified.duration_since(self.uploaded).map_or(0.0, |time| time.as_secs_f64())
    }
}

/// A rung of a job.
#[derive(Debug, Clone)]
pub(crate) struct Rung {
    pub(crate) rendition: String,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) bitrate: u32,
    pub(crate) crf: u32,
}
