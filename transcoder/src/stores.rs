//! The documents of a job and its asset, in the two stores and the queue: read, created once, patiently.
//!
//! Knows keys and formats; what is to be done when is the worker's and the reconciler's affair.

use crate::entry::{self, Asset, State};
use crate::event;
use crate::facts::{FACTS_BYTES_MAX, TaskFacts};
use crate::jobs::{self, AfterError, JobState, Part};
use crate::plan::Plan;
use crate::trouble::{Step, Trouble, fault, patiently};
use bytes::Bytes;
use media::hls::date;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::{BATCH_MESSAGES_MAX, Creation, Entry, Objects, Outgoing, Queue};

/// Longest plan, in bytes.
pub(crate) const PLAN_BYTES_MAX: u64 = 16 << 20;

/// Longest of the small documents, in bytes.
const SMALL_BYTES_MAX: u64 = 64 << 10;

/// Longest reason that is kept, in characters.
const WHY_CHARS_MAX: usize = 500;

const JSON: &str = "application/json";
const PLAYLIST: &str = "application/vnd.apple.mpegurl";

/// Both stores and the queue.
#[derive(Debug, Clone)]
pub(crate) struct Stores {
    pub(crate) ingest: Objects,
    pub(crate) egress: Objects,
    pub(crate) queue: Queue,
}

impl Stores {
    /// Folders and a local queue, for tests.
    #[cfg(test)]
    pub(crate) async fn in_folder(dir: &std::path::Path) -> Self {
        let open = async |name: &str| {
            let url = format!("file:{}", dir.join(name).display());
            Objects::open(&url, store::Limits::PATIENT).await.unwrap()
        };
        let queue = Queue::open("local:", dir).await.unwrap();
        Self { ingest: open("ingest").await, egress: open("egress").await, queue }
    }

    /// A job's plan, if there is one.
    pub(crate) async fn plan(&self, job: &str) -> Step<Option<Plan>> {
        let Some(text) = self.text(&jobs::plan_key(job), PLAN_BYTES_MAX).await? else { return Ok(None) };
        known_version(&text, crate::plan::VERSION, "the plan")?;
        Plan::parse(&text).map(Some).map_err(|bad| fault(bad.to_string()))
    }

    /// Creates a plan; gives the one that counts, which may be another worker's, and whether it is this one.
    pub(crate) async fn create_plan(&self, plan: Plan) -> Step<(Plan, bool)> {
        let text = plan.to_json();
        if text.len() as u64 > PLAN_BYTES_MAX {
            return Err(fault(format!("its plan would have more than {} MiB", PLAN_BYTES_MAX >> 20)));
        }
        match self.create(&self.ingest, &jobs::plan_key(&plan.job), text.into(), JSON).await? {
            Creation::Created => Ok((plan, true)),
            Creation::AlreadyThere => {
                let gone = || Trouble::Machine("its plan was removed as soon as it was there".to_owned());
                Ok((self.plan(&plan.job).await?.ok_or_else(gone)?, false))
            }
        }
    }

    /// How far a job is.
    pub(crate) async fn state(&self, job: &str) -> Step<JobState> {
        let entries = self.list(&format!("{}/{job}", jobs::FOLDER)).await?;
        Ok(jobs::state(job, entries.iter().map(|entry| entry.key.as_str())))
    }

    /// All objects of the ingest store below a folder.
    pub(crate) async fn list(&self, folder: &str) -> Step<Vec<Entry>> {
        patiently(|| async { self.ingest.list(folder)?.collect().await }).await
    }

    /// Sends a message for each of these tasks.
    pub(crate) async fn send_tasks(&self, job: &str, tasks: &BTreeSet<u32>) -> Step<()> {
        let bodies: Vec<String> = tasks.iter().map(|task| event::task(job, *task)).collect();
        for batch in bodies.chunks(BATCH_MESSAGES_MAX) {
            patiently(|| self.queue.send_batch(batch.iter().map(|body| outgoing(body)).collect())).await?;
        }
        Ok(())
    }

    /// Sends a message of a source.
    pub(crate) async fn send_source(&self, key: &str) -> Step<()> {
        let body = event::source(key);
        patiently(|| self.queue.send_batch(vec![outgoing(&body)])).await.map(drop)
    }

    /// A task's facts, if it is done.
    pub(crate) async fn facts(&self, job: &str, task: u32) -> Step<Option<TaskFacts>> {
        let Some(text) = self.text(&jobs::done_key(job, task), FACTS_BYTES_MAX).await? else { return Ok(None) };
        known_version(&text, crate::facts::VERSION, "a task's facts")?;
        let facts = TaskFacts::parse(&text).filter(|facts| facts.task == task);
        facts.map(Some).ok_or_else(|| fault(format!("the facts of task {task} can't be read")))
    }

    /// A task is done.
    pub(crate) async fn create_facts(&self, job: &str, facts: &TaskFacts) -> Step<()> {
        self.create(&self.ingest, &jobs::done_key(job, facts.task), facts.to_json().into(), JSON).await.map(drop)
    }

    /// Counts an error of a part of a job, under the next number that is free. What follows from it.
    pub(crate) async fn count_error(&self, job: &str, part: Part, why: &str) -> Step<AfterError> {
        let content = json!({ "why": cut(why), "at": date(now_ms()) }).to_string();
        for number in 1..=jobs::ERRORS_MAX {
            let key = jobs::error_key(job, part, number);
            if self.create(&self.ingest, &key, content.clone().into(), JSON).await? == Creation::Created {
                return Ok(jobs::after_error(number));
            }
        }
        Ok(AfterError::GiveUp)
    }

    /// A job has failed.
    pub(crate) async fn create_failed(&self, asset: &Asset, part: Part, why: &str, source: &str) -> Step<()> {
        let failed = Failed {
            why: cut(why),
            step: part.to_string(),
            at: date(now_ms()),
            source: source.to_owned(),
            name: asset.name.clone(),
            start_ms: asset.start_ms,
        };
        // Plain structs can always be written.
        let text = serde_json::to_string(&failed).unwrap_or_default();
        self.create(&self.ingest, &jobs::failed_key(&asset.id), text.into(), JSON).await.map(drop)
    }

    /// Why a job has failed, and its source, if it has.
    pub(crate) async fn failed(&self, job: &str) -> Step<Option<Failed>> {
        let text = self.text(&jobs::failed_key(job), SMALL_BYTES_MAX).await?;
        Ok(text.map(|text| serde_json::from_slice(&text).unwrap_or_default()))
    }

    /// A job is finished.
    pub(crate) async fn create_finished(&self, job: &str) -> Step<()> {
        let finished = json!({ "at": date(now_ms()) }).to_string();
        self.create(&self.ingest, &jobs::finished_key(job), finished.into(), JSON).await.map(drop)
    }

    /// Creates a file of an asset.
    pub(crate) async fn create_file(&self, asset: &str, file: &str, content: Bytes) -> Step<Creation> {
        let key = entry::file_key(asset, file);
        self.create(&self.egress, &key, content, content_type(file)).await
    }

    /// Writes a file of an asset in place of the one that may be there.
    pub(crate) async fn put_file(&self, asset: &str, file: &str, content: Bytes) -> Step<()> {
        let key = entry::file_key(asset, file);
        patiently(|| self.egress.put(&key, content.clone(), content_type(file))).await
    }

    /// What an asset's entry says.
    pub(crate) async fn entry(&self, asset: &str) -> Step<Option<Bytes>> {
        let key = entry::key(asset);
        patiently(|| self.egress.get_all(&key, entry::BYTES_MAX)).await
    }

    /// Sets the state of an asset's entry.
    pub(crate) async fn write_entry(&self, asset: &Asset, state: State<'_>) -> Step<()> {
        let before = self.entry(&asset.id).await?;
        let text = asset.entry(before.as_deref(), state);
        if before.as_deref() == Some(text.as_bytes()) {
            return Ok(());
        }
        let key = asset.key();
        patiently(|| self.egress.put(&key, text.clone().into(), JSON)).await
    }

    async fn create(&self, objects: &Objects, key: &str, content: Bytes, content_type: &str) -> Step<Creation> {
        patiently(|| objects.create(key, content.clone(), content_type)).await
    }

    async fn text(&self, key: &str, limit: u64) -> Step<Option<Bytes>> {
        patiently(|| self.ingest.get_all(key, limit)).await
    }
}

/// `failed.json`
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Failed {
    /// Words for the broadcaster.
    pub(crate) why: String,
    /// The part of the job that failed.
    pub(crate) step: String,
    /// When.
    pub(crate) at: String,
    /// The source's key.
    pub(crate) source: String,
    /// What people call the asset; nothing if nobody noted it.
    pub(crate) name: String,
    /// When it began, UTC ms.
    pub(crate) start_ms: i64,
}

impl Failed {
    /// Whether it was within so long a time.
    pub(crate) fn is_within(&self, time: Duration) -> bool {
        let at = humantime::parse_rfc3339(&self.at).ok();
        at.is_some_and(|at| at.elapsed().map_or(true, |since| since < time))
    }
}

/// Another version's document is no fault of the source: during an upgrade a machine of that version can read it.
fn known_version(text: &[u8], known: u32, what: &str) -> Step<()> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u32,
    }
    match serde_json::from_slice::<Versioned>(text) {
        Ok(Versioned { version }) if version != known => {
            Err(Trouble::Machine(format!("{what} is of version {version}, this program knows {known}")))
        }
        _ => Ok(()),
    }
}

/// The body is the word against doubles too: the same work need not wait twice.
fn outgoing(body: &str) -> Outgoing {
    Outgoing { body: body.to_owned(), dedup: Some(body.to_owned()) }
}

fn cut(why: &str) -> String {
    why.chars().take(WHY_CHARS_MAX).collect()
}

/// UTC ms, for people.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn content_type(file: &str) -> &'static str {
    match file.rsplit_once('.').map(|(_, extension)| extension) {
        Some("m3u8") => PLAYLIST,
        Some("m4s" | "mp4") if file.split('/').rev().nth(1) == Some(crate::packing::AUDIO) => "audio/mp4",
        Some("m4s" | "mp4") => "video/mp4",
        Some("jpg") => "image/jpeg",
        Some("vtt") => "text/vtt",
        _ => "application/octet-stream",
    }
}
