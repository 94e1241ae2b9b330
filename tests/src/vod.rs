//! VOD from outside: the two stores as folders or buckets, uploads, jobs and what came of them.

use crate::{JOB_DEADLINE, Server, tool, wait_within};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// Jobs' and assets' folders, where both stores are folders.
#[derive(Debug, Clone)]
pub struct Stores {
    dir: Arc<TempDir>,
}

/// An asset's files by their names below its folder.
pub type Files = BTreeMap<String, Vec<u8>>;

impl Stores {
    /// The stores of a server that runs in this folder.
    pub fn of(dir: Arc<TempDir>) -> Self {
        Self { dir }
    }

    /// The ingest store.
    pub fn ingest(&self) -> PathBuf {
        self.dir.path().join("data/ingest")
    }

    /// The egress store.
    pub fn egress(&self) -> PathBuf {
        self.dir.path().join("data/egress")
    }

    /// Drops a file into `uploads/` at once, as a rename does, with a time of its own choice (UTC s).
    pub fn upload(&self, file: &Path, name: &str, modified_s: u64) {
        let target = self.ingest().join("uploads").join(name);
        std::fs::create_dir_all(target.parent().expect("a folder")).expect("a folder");
        let beside = self.dir.path().join("upload.tmp");
        std::fs::copy(file, &beside).expect("a copy");
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(modified_s);
        std::fs::File::options().write(true).open(&beside).and_then(|copy| copy.set_modified(time)).expect("a time");
        std::fs::rename(&beside, &target).expect("a name");
    }

    /// Jobs by name.
    pub fn jobs(&self) -> Vec<String> {
        names(&self.ingest().join("jobs"))
    }

    /// Whether a job has this document.
    pub fn has(&self, job: &str, document: &str) -> bool {
        self.ingest().join("jobs").join(job).join(document).is_file()
    }

    /// A document of a job's.
    pub fn document(&self, job: &str, document: &str) -> Option<Value> {
        let text = std::fs::read(self.ingest().join("jobs").join(job).join(document)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Waits until there are so many finished jobs; gives their names.
    pub async fn finished(&self, count: usize) -> Vec<String> {
        wait_within(JOB_DEADLINE, "jobs to be finished", || async {
            let jobs: Vec<String> = self.jobs().into_iter().filter(|job| self.has(job, "finished.json")).collect();
            (jobs.len() >= count).then_some(jobs)
        })
        .await
    }

    /// An asset's files.
    pub fn asset(&self, id: &str) -> Files {
        let root = self.egress().join("vod").join(id);
        let mut files = Files::new();
        collect(&root, &root, &mut files);
        files
    }

    /// Segments of all rungs and of sound that are there.
    pub fn segments(&self) -> usize {
        let assets = names(&self.egress().join("vod"));
        let of = |id: &String| self.asset(id).keys().filter(|name| name.ends_with(".m4s")).count();
        assets.iter().map(of).sum()
    }
}

/// Names in a folder, in order; none if there is none.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn collect(root: &Path, folder: &Path, files: &mut Files) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // What a killed writer leaves is no object, and is swept away by age.
        if entry.file_name().to_string_lossy().starts_with(".tmp-") {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, files);
        } else if let (Ok(name), Ok(bytes)) = (path.strip_prefix(root), std::fs::read(&path)) {
            files.insert(name.display().to_string(), bytes);
        }
    }
}

/// Panics with the names of files that differ.
pub fn assert_same(one: &Files, other: &Files) {
    let only = |a: &Files, b: &Files| a.keys().filter(|name| !b.contains_key(*name)).cloned().collect::<Vec<_>>();
    assert_eq!((only(one, other), only(other, one)), (vec![], vec![]), "files that only one of them has");
    let differ: Vec<&String> =
        one.iter().filter(|(name, bytes)| other.get(*name) != Some(bytes)).map(|(n, _)| n).collect();
    assert!(differ.is_empty(), "these differ: {differ:?}");
}

/// Pictures and blocks of sound that FFmpeg decodes of a playlist.
pub async fn decoded(server: &Server, path: &str) -> (u64, u64) {
    let url = server.viewer().url(path);
    let mut counts = Vec::new();
    for kind in ["v:0", "a:0"] {
        let args = ["-v", "error", "-count_frames", "-select_streams", kind, "-show_entries", "stream=nb_read_frames"];
        let counted = tool("ffprobe", &[&args[..], &["-of", "default=nk=1:nw=1", &url]].concat()).await;
        counts.push(counted.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or_default());
    }
    (counts[0], counts[1])
}
