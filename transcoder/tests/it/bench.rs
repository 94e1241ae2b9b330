//! Stores and a queue in a folder of their own, sources made by ffmpeg, and workers to let loose on them.

use serde_json::Value;
use service::config::{Config, Effort};
use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::{Limits, Objects, Queue, QueueSettings};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use transcoder::{Places, Transcoder};

/// How long a condition is waited for.
const PATIENCE: Duration = Duration::from_secs(300);

/// When uploads were written, UTC s: job names and dates are the same in each run.
const WRITTEN_S: u64 = 1_795_195_500;

/// An asset's files by their names below its folder.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// Stores, a queue and a config.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) config: Config,
    pub(crate) places: Places,
}

/// A worker that runs.
pub(crate) struct Running {
    stop: CancellationToken,
    run: JoinHandle<()>,
    stat: Arc<dyn Fn() -> Value + Send + Sync>,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(QueueSettings::default()).await
    }

    pub(crate) async fn with(settings: QueueSettings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("data");
        let mut config = Config { data_dir: data_dir.clone(), ..Config::default() };
        config.vod.effort = Effort::Veryfast;
        config.vod.ladder = media::ladder::Ladder::parse(&["source", "160w 200k"]).unwrap();
        config.transcoder.rescan_s = Some(1);
        let queue = Queue::open_with("local:", &data_dir, settings).await.unwrap();
        let store = async |url: String| Objects::open(&url, Limits::PATIENT).await.unwrap();
        let places = Places { ingest: store(config.ingest()).await, egress: store(config.egress()).await, queue };
        Self { dir, config, places }
    }

    /// Lets a worker loose.
    pub(crate) fn worker(&self) -> Running {
        self.worker_with(child(), 120)
    }

    pub(crate) fn worker_with(&self, program: PathBuf, hold_s: u64) -> Running {
        let stop = CancellationToken::new();
        let mut config = self.config.clone();
        config.transcoder.hold_s = hold_s;
        let worker = Transcoder::over(self.places.clone(), &config, program, stop.clone(), None);
        let stat = Arc::new(worker.stat());
        let run = tokio::spawn(worker.run());
        Running { stop, run, stat }
    }

    /// Drops a file into `uploads/`.
    pub(crate) fn upload(&self, file: &Path, name: &str) {
        self.ingest(&format!("uploads/{name}"), &fs::read(file).unwrap());
    }

    /// Puts an object into the ingest store, whole and with a fixed time.
    pub(crate) fn ingest(&self, key: &str, content: &[u8]) {
        let path = self.dir.path().join("data/ingest").join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let beside = self.dir.path().join("beside");
        fs::write(&beside, content).unwrap();
        let file = fs::File::options().write(true).open(&beside).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(WRITTEN_S)).unwrap();
        fs::rename(beside, path).unwrap();
    }

    /// A program that is the child, but begins to encode only when [`Bench::open_gate`] was called. It probes at once.
    pub(crate) fn gated_child(&self) -> PathBuf {
        let (dir, child) = (self.dir.path().display(), child());
        let script = format!(
            "#!/bin/sh\nif ! /bin/mkdir {dir}/probed 2>/dev/null; then\n  /bin/mkdir -p {dir}/waiting\n  \
             while [ ! -e {dir}/gate ]; do /bin/sleep 0.05; done\nfi\nexec {} \"$@\"\n",
            child.display()
        );
        let path = self.dir.path().join("gated");
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    pub(crate) fn open_gate(&self) {
        fs::write(self.dir.path().join("gate"), "").unwrap();
    }

    /// Waits until a child stands before the gate.
    pub(crate) async fn child_waits(&self) {
        until("a child that waits", || async { self.dir.path().join("waiting").exists() }).await;
    }

    /// Jobs by name.
    pub(crate) fn jobs(&self) -> Vec<String> {
        names(&self.dir.path().join("data/ingest/jobs"))
    }

    /// A document of a job.
    pub(crate) fn document(&self, job: &str, name: &str) -> Option<Value> {
        let text = fs::read(self.dir.path().join("data/ingest/jobs").join(job).join(name)).ok()?;
        Some(serde_json::from_slice(&text).unwrap())
    }

    /// Removes a document of a job.
    pub(crate) fn remove_document(&self, job: &str, name: &str) {
        fs::remove_file(self.dir.path().join("data/ingest/jobs").join(job).join(name)).unwrap();
    }

    /// Where an asset's files are.
    pub(crate) fn asset_dir(&self, asset: &str) -> PathBuf {
        self.dir.path().join("data/egress/vod").join(asset)
    }

    /// An asset's files.
    pub(crate) fn files(&self, asset: &str) -> Files {
        let root = self.asset_dir(asset);
        let mut files = Files::new();
        collect(&root, &root, &mut files);
        files
    }

    /// What an asset's entry says.
    pub(crate) fn entry(&self, asset: &str) -> Option<Value> {
        let text = fs::read(self.dir.path().join("data/egress/assets").join(format!("{asset}.json"))).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Waits until the one job there is has an entry in this state; gives its name.
    pub(crate) async fn asset_in(&self, state: &str) -> String {
        until(&format!("an asset that is {state}"), || async {
            self.jobs().iter().any(|job| self.entry(job).is_some_and(|entry| entry["state"] == state))
        })
        .await;
        let jobs = self.jobs().into_iter();
        jobs.into_iter().find(|job| self.entry(job).is_some_and(|entry| entry["state"] == state)).unwrap()
    }
}

impl Running {
    pub(crate) fn stat(&self) -> Value {
        (self.stat)()
    }

    /// What it shows, also when it has left.
    pub(crate) fn watch(&self) -> Arc<dyn Fn() -> Value + Send + Sync> {
        Arc::clone(&self.stat)
    }

    /// Tells it to leave.
    pub(crate) fn tell(&self) {
        self.stop.cancel();
    }

    /// Tells it to leave, and waits until it has.
    pub(crate) async fn leave(self) {
        self.tell();
        tokio::time::timeout(PATIENCE, self.run).await.unwrap().unwrap();
    }
}

/// The child's binary.
pub(crate) fn child() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_transcoder-vod-child"))
}

/// Waits until something is so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, so: impl Fn() -> F) {
    let begun = SystemTime::now();
    while !so().await {
        assert!(begun.elapsed().unwrap() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs ffmpeg on a test picture of 320 × 160 at 10 pictures a second, and a tone; `more` are its last arguments, file included.
pub(crate) fn ffmpeg(seconds: u32, more: &[&str]) {
    let picture = format!("testsrc2=size=320x160:rate=10:duration={seconds}");
    let tone = format!("sine=frequency=440:sample_rate=48000:duration={seconds}");
    let output = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-y", "-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &tone])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "20", "-pix_fmt", "yuv420p"])
        .args(["-c:a", "aac", "-ac", "2"])
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

impl Bench {
    /// An MP4 of so many seconds.
    pub(crate) fn mp4(&self, seconds: u32) -> PathBuf {
        let path = self.dir.path().join(format!("{seconds}.mp4"));
        ffmpeg(seconds, &[path.to_str().unwrap()]);
        path
    }
}

/// Pictures that a player would show of a playlist.
pub(crate) fn pictures(playlist: &Path) -> u32 {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-count_packets", "-select_streams", "v:0", "-show_entries", "stream=nb_read_packets"])
        .args(["-of", "csv=p=0"])
        .arg(playlist)
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().next().unwrap().trim_matches(',').parse().unwrap()
}

/// What a playlist lists, by its name below the asset's folder: segments, inits, playlists.
pub(crate) fn listed(files: &Files, playlist: &str) -> Vec<String> {
    let text = String::from_utf8(files.get(playlist).unwrap_or_else(|| panic!("no {playlist}")).clone()).unwrap();
    let folder = playlist.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let uri = |line: &str| {
        let quoted =
            line.split_once("URI=\"").and_then(|(_, rest)| rest.split_once('"')).map(|(uri, _)| uri.to_owned());
        quoted.or_else(|| (!line.is_empty() && !line.starts_with('#')).then(|| line.to_owned()))
    };
    text.lines().filter_map(uri).map(|uri| format!("{folder}{uri}")).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn collect(root: &Path, dir: &Path, files: &mut Files) {
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            collect(root, &path, files);
        } else if !name.contains("/.")
            && !name.starts_with('.')
            && let Ok(content) = fs::read(&path)
        {
            files.insert(name, content);
        }
    }
}
