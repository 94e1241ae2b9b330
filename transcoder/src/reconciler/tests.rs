//! Work that no message speaks of, over folders. Knows no worker.

use super::*;
use crate::event::Message;
use serde_json::json;

struct Fixture {
    dir: tempfile::TempDir,
    stores: Stores,
}

impl Fixture {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let stores = Stores::in_folder(dir.path()).await;
        Self { dir, stores }
    }

    fn reconciler(&self) -> Reconciler {
        Reconciler::new(self.stores.clone(), Meters::default(), Duration::from_secs(1))
    }

    async fn put(&self, key: &str, content: &str) {
        self.stores.ingest.put(key, content.to_owned().into(), "text/plain").await.unwrap();
    }

    /// An upload that was written long ago.
    async fn put_old(&self, key: &str, content: &str) {
        self.put(key, content).await;
        let file = std::fs::File::options().write(true).open(self.dir.path().join("ingest").join(key)).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(60)).unwrap();
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

    /// All messages that wait, which are done with; tasks by number, since what is sent within a millisecond comes in any
    /// order.
    async fn messages(&self) -> Vec<Message> {
        let queue = &self.stores.queue;
        let mut all = Vec::new();
        while let Some(message) = queue.receive(1, Duration::ZERO, Duration::from_secs(60)).await.unwrap().pop() {
            all.extend(crate::event::parse(&message.body, self.stores.ingest.place()).unwrap());
            queue.done(&message.receipt).await.unwrap();
        }
        all.sort_by_key(|message| match message {
            Message::Task { task, .. } => *task,
            Message::Source { .. } => 0,
        });
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
    fixture.put_old("uploads/film.mp4", "half").await;
    // Still being written, as far as one can know.
    fixture.put("uploads/new.mp4", "half").await;
    fixture.put("rec/foo/s1/0.flv", "part").await;
    fixture.put("rec/foo/s1/ended.json", "what ever it is").await;
    let mut reconciler = fixture.reconciler();
    reconciler.look().await.unwrap();
    assert_eq!(fixture.messages().await, [source("rec/foo/s1/ended.json")]);
    fixture.put_old("uploads/film.mp4", "more of it").await;
    reconciler.look().await.unwrap();
    assert_eq!(fixture.messages().await, []);
    reconciler.look().await.unwrap();
    assert_eq!(fixture.messages().await, [source("uploads/film.mp4")]);
    reconciler.look().await.unwrap();
    assert_eq!(fixture.messages().await, []);
    drop(fixture.dir);
}

#[tokio::test]
async fn while_a_queue_that_takes_doubles_is_busy_only_what_waits_for_long_is_spoken_of_and_once() {
    let fixture = Fixture::new().await;
    fixture.put("rec/foo/s1/ended.json", "new").await;
    fixture.put("rec/foo/s2/ended.json", "old").await;
    let path = fixture.dir.path().join("ingest/rec/foo/s2/ended.json");
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(std::time::SystemTime::now() - FORGOTTEN * 2).unwrap();
    let mut reconciler = fixture.reconciler();
    let jobs = BTreeMap::new();
    reconciler.sources(&jobs, false).await.unwrap();
    assert_eq!(fixture.messages().await, [source("rec/foo/s2/ended.json")]);
    reconciler.sources(&jobs, false).await.unwrap();
    assert_eq!(fixture.messages().await, []);
    reconciler.sources(&jobs, true).await.unwrap();
    assert_eq!(fixture.messages().await, [source("rec/foo/s1/ended.json")]);
}

#[tokio::test]
async fn a_job_that_failed_before_it_had_a_plan_gets_its_entry_and_one_that_was_removed_does_not() {
    let fixture = Fixture::new().await;
    let asset = |id: &str| Asset { id: id.to_owned(), name: "film".to_owned(), start_ms: 0, duration_s: None };
    for id in ["film-1", "film-2"] {
        fixture.stores.create_failed(&asset(id), jobs::Part::Plan, "no pictures", "uploads/film.mp4").await.unwrap();
    }
    fixture.put("jobs/film-2/expired.json", "{}").await;
    fixture.put(&jobs::failed_key("film-3"), r#"{"why":"broken","name":"film","at":"2020-01-01T00:00:00Z"}"#).await;
    fixture.reconciler().look().await.unwrap();
    let entry = fixture.stores.entry("film-1").await.unwrap().unwrap();
    let entry: serde_json::Value = serde_json::from_slice(&entry).unwrap();
    assert_eq!(
        (&entry["state"], &entry["reason"], &entry["name"]),
        (&json!("failed"), &json!("no pictures"), &json!("film"))
    );
    for removed in ["film-2", "film-3"] {
        assert_eq!(fixture.stores.entry(removed).await.unwrap(), None, "{removed}");
    }
}

#[tokio::test]
async fn another_versions_documents_are_left_to_machines_that_know_them() {
    let fixture = Fixture::new().await;
    let mut plan: serde_json::Value = serde_json::from_str(&crate::work::tests::plan().to_json()).unwrap();
    plan["version"] = json!(crate::plan::VERSION + 1);
    plan["later"] = json!("a field");
    fixture.put(&jobs::plan_key("foo-1"), &plan.to_string()).await;
    assert!(matches!(fixture.stores.plan("foo-1").await, Err(Trouble::Machine(_))));
    fixture.put(&jobs::done_key("foo-1", 0), r#"{"version":2}"#).await;
    assert!(matches!(fixture.stores.facts("foo-1", 0).await, Err(Trouble::Machine(_))));
    // And nobody else is kept from being looked at.
    let other = fixture.job("foo-2").await;
    fixture.reconciler().look().await.unwrap();
    let tasks = fixture.messages().await;
    assert_eq!(tasks, [Message::Task { job: other.clone(), task: 0 }, Message::Task { job: other, task: 1 }]);
}

/// What origins wrote of sessions of `foo` that name this asset: `ended.json` with so many bytes.
async fn ended(fixture: &Fixture, session: &str, asset: &str, bytes: u64) -> String {
    let key = format!("rec/foo/{session}/ended.json");
    let text = json!({"name": "foo", "session": session, "asset": asset, "start": "2026-11-20T17:25:00.000Z",
        "parts": [{ "key": format!("rec/foo/{session}/0.flv"), "bytes": bytes }]});
    fixture.put(&key, &text.to_string()).await;
    key
}

#[tokio::test]
async fn of_origins_that_recorded_the_same_the_longest_is_taken_and_none_before_all_have_ended() {
    let fixture = Fixture::new().await;
    let sign = async |session: &str, asset: &str| {
        fixture.put(&format!("sessions/foo/{session}.json"), &json!({ "asset": asset }).to_string()).await;
    };
    let best = async |key: &str| {
        let found = crate::probing::find(&fixture.stores, key).await.unwrap().unwrap();
        crate::probing::best(&fixture.stores, found).await.unwrap().map(|found| found.key)
    };
    let short = ended(&fixture, "a", "foo-1", 10).await;
    ended(&fixture, "other", "foo-2", 100).await;
    for (session, asset) in [("a", "foo-1"), ("b", "foo-1"), ("c", "foo-2")] {
        sign(session, asset).await;
    }
    assert_eq!(best(&short).await, None);
    let long = ended(&fixture, "b", "foo-1", 20).await;
    assert_eq!((best(&short).await, best(&long).await), (Some(long.clone()), Some(long.clone())));
    // Equally long, both take the same.
    let last = ended(&fixture, "d", "foo-1", 20).await;
    assert_eq!((best(&long).await, best(&last).await), (Some(last.clone()), Some(last)));
    // Whose recorder is gone for good is not waited for.
    sign("lost", "foo-1").await;
    assert_eq!(best(&short).await, None);
    let path = fixture.dir.path().join("ingest/sessions/foo/lost.json");
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(std::time::SystemTime::now() - Duration::from_secs(3600)).unwrap();
    assert!(best(&short).await.is_some());
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
