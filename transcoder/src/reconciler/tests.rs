//! Work that no message speaks of, over folders. Knows no worker.

use super::*;
use crate::Places;
use crate::event::Message;
use serde_json::json;
use store::{Limits, Objects, Queue};

struct Fixture {
    dir: tempfile::TempDir,
    stores: Stores,
}

impl Fixture {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = async |name: &str| {
            let url = format!("file:{}", dir.path().join(name).display());
            Objects::open(&url, Limits::PATIENT).await.unwrap()
        };
        let (ingest, egress) = (store("ingest").await, store("egress").await);
        let queue = Queue::open("local:", dir.path()).await.unwrap();
        let Places { ingest, egress, queue } = Places { ingest, egress, queue };
        Self { dir, stores: Stores { ingest, egress, queue } }
    }

    fn reconciler(&self) -> Reconciler {
        Reconciler::new(self.stores.clone(), Meters::default(), Duration::from_secs(1))
    }

    async fn put(&self, key: &str, content: &str) {
        self.stores.ingest.put(key, content.to_owned().into(), "text/plain").await.unwrap();
    }

    /// A job of this name with the small plan.
    async fn job(&self, name: &str) -> String {
        let mut plan = crate::work::tests::plan();
        plan.job = name.to_owned();
        self.put(&jobs::plan_key(name), &plan.to_json()).await;
        name.to_owned()
    }

    async fn say(&self, asset: &str, state: &str) {
        let entry = json!({ "id": asset, "state": state }).to_string();
        self.stores.egress.put(&entry::key(asset), entry.into(), "application/json").await.unwrap();
    }

    async fn said(&self, asset: &str) -> String {
        entry::state_of(&self.stores.entry(asset).await.unwrap().unwrap()).unwrap()
    }

    /// All messages that wait, which are done with.
    async fn messages(&self) -> Vec<Message> {
        let queue = &self.stores.queue;
        let mut all = Vec::new();
        while let Some(message) = queue.receive(1, Duration::ZERO, Duration::from_secs(60)).await.unwrap().pop() {
            all.extend(crate::event::parse(&message.body, self.stores.ingest.place()).unwrap());
            queue.done(&message.receipt).await.unwrap();
        }
        all
    }
}

fn source(key: &str) -> Message {
    Message::Source { key: key.to_owned() }
}

#[tokio::test]
async fn the_small_plan_is_one_that_workers_take() {
    assert_eq!(crate::work::tests::plan().check(), Ok(()));
}

#[tokio::test]
async fn sources_that_nobody_has_planned_are_spoken_of_once_they_are_whole_and_once() {
    let fixture = Fixture::new().await;
    fixture.put("uploads/film.mp4", "half").await;
    fixture.put("rec/foo/s1/0.flv", "part").await;
    fixture.put("rec/foo/s1/ended.json", "what ever it is").await;
    let mut reconciler = fixture.reconciler();
    reconciler.look().await.unwrap();
    assert_eq!(fixture.messages().await, [source("rec/foo/s1/ended.json")]);
    fixture.put("uploads/film.mp4", "more of it").await;
    reconciler.look().await.unwrap();
    assert_eq!(fixture.messages().await, []);
    reconciler.look().await.unwrap();
    assert_eq!(fixture.messages().await, [source("uploads/film.mp4")]);
    reconciler.look().await.unwrap();
    assert_eq!(fixture.messages().await, []);
    drop(fixture.dir);
}

#[tokio::test]
async fn a_source_that_is_planned_or_has_failed_is_left_alone() {
    let fixture = Fixture::new().await;
    for name in ["a", "b"] {
        fixture.put(&format!("uploads/{name}.mp4"), name).await;
    }
    let job = async |name: &str| {
        let facts = fixture.stores.ingest.head(&format!("uploads/{name}.mp4")).await.unwrap().unwrap();
        let since = facts.modified.unwrap().duration_since(UNIX_EPOCH).unwrap();
        source::upload_job(&format!("uploads/{name}.mp4"), facts.etag.as_deref(), since.as_millis() as i64)
    };
    fixture.job(&job("a").await).await;
    fixture.put(&jobs::failed_key(&job("b").await), "{}").await;
    let mut reconciler = fixture.reconciler();
    reconciler.look().await.unwrap();
    reconciler.look().await.unwrap();
    // The planned one has tasks, which nobody has sent.
    assert!(fixture.messages().await.iter().all(|message| matches!(message, Message::Task { .. })));
}

#[tokio::test]
async fn tasks_of_a_job_that_nobody_works_on_are_sent_again_when_the_queue_is_empty() {
    let fixture = Fixture::new().await;
    let (job, done) = (fixture.job("foo-1").await, fixture.job("foo-2").await);
    fixture.put(&jobs::done_key(&done, 0), "{}").await;
    // A broken plan keeps nobody else from being looked at.
    fixture.put(&jobs::plan_key("broken"), "{}").await;
    let mut reconciler = fixture.reconciler();
    fixture.stores.queue.send(&crate::event::source("uploads/other"), None).await.unwrap();
    reconciler.look().await.unwrap();
    assert_eq!(fixture.messages().await, [source("uploads/other")]);
    reconciler.look().await.unwrap();
    let mut messages = fixture.messages().await;
    messages.sort_by_key(|message| format!("{message:?}"));
    let task = |job: &str, task| Message::Task { job: job.to_owned(), task };
    assert_eq!(messages, [task("broken", 0), task(&job, 0), task(&job, 1), task(&done, 1)]);
}

#[tokio::test]
async fn entries_say_in_the_end_how_their_jobs_ended() {
    let fixture = Fixture::new().await;
    for job in ["done-1", "gone-1", "failed-1", "failed-2"] {
        fixture.job(job).await;
        fixture.say(job, "transcoding").await;
    }
    for job in ["done-1", "gone-1"] {
        fixture.put(&jobs::finished_key(job), "{}").await;
    }
    for job in ["failed-1", "failed-2"] {
        fixture.put(&jobs::failed_key(job), r#"{"why":"broken"}"#).await;
    }
    // What can be watched: the finished one, and an instant one of which nothing better came. One was removed.
    for job in ["done-1", "failed-2"] {
        let key = entry::file_key(job, "index.m3u8");
        fixture.stores.egress.put(&key, "#EXTM3U".into(), "text/plain").await.unwrap();
    }
    fixture.reconciler().look().await.unwrap();
    for (job, expected) in
        [("done-1", "ready"), ("gone-1", "transcoding"), ("failed-1", "failed"), ("failed-2", "instant")]
    {
        assert_eq!(fixture.said(job).await, expected, "{job}");
    }
}
