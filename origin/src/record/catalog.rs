//! Which assets there are: what `/api/streams` lists.
//!
//! The egress store is the truth. Beside an asset's own folder it holds one small object for each asset, `assets/{id}.json`,
//! written last, so that listing assets needs no walk over their segments. Recorders write it first and transcoders write
//! it anew; how far those are is counted in the ingest store.

use super::keys;
use super::log::read_object;
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use store::{Error, Objects};
use tokio::task::JoinSet;

/// Assets that are listed, the newest ones.
const ASSETS_LISTED_MAX: usize = 500;

/// Longest entry, in bytes.
pub(super) const ENTRY_BYTES_MAX: u64 = 16 << 10;

/// Assets being made whose progress is counted: that takes a request for each.
const ASSETS_COUNTED_MAX: usize = 20;

/// Entries that are read at a time.
const READ_AT_ONCE: usize = 16;

/// How often the store is asked for what others have finished.
const EVERY: Duration = Duration::from_secs(30);

/// The same while something is being made.
const EVERY_MAKING: Duration = Duration::from_secs(10);

pub(super) const FOLDER: &str = "assets";

/// The assets that are known.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    assets: Mutex<BTreeMap<String, Asset>>,
    /// The ETags of entries that can't be read, by id: they are not asked for again before they are written anew.
    unreadable: Mutex<BTreeMap<String, Option<String>>>,
}

#[derive(Debug, Clone)]
struct Asset {
    entry: Value,
    /// The ETag under which it was read from the store.
    etag: Option<String>,
    /// How much of it is made, 0 to 1.
    progress: Option<f64>,
}

/// The key of an asset's entry.
pub(super) fn key(id: &str) -> String {
    format!("{FOLDER}/{id}.json")
}

/// The asset whose entry has this key.
pub(super) fn id(key: &str) -> Option<&str> {
    key.strip_prefix(FOLDER)?.strip_prefix('/')?.strip_suffix(".json").filter(|id| !id.contains('/'))
}

impl Asset {
    fn read(text: &[u8], etag: Option<String>) -> Option<(String, Self)> {
        let entry: Value = serde_json::from_slice(text).ok()?;
        let id = entry.get("id")?.as_str()?.to_owned();
        Some((id, Self { entry, etag, progress: None }))
    }

    fn is_being_made(&self) -> bool {
        self.entry.get("state").and_then(Value::as_str) == Some("transcoding")
    }

    fn start(&self) -> String {
        self.entry.get("start").and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    fn listed(&self) -> Value {
        let mut entry = self.entry.clone();
        if let (Some(fields), Some(progress)) = (entry.as_object_mut(), self.progress) {
            fields.insert("progress".to_owned(), json!(progress));
        }
        entry
    }
}

/// Which part of a job's tasks is done, with two decimals: 1 only when all are.
fn progress(done: usize, tasks: u64) -> Option<f64> {
    (tasks > 0).then(|| ((done as f64 / tasks as f64).min(1.0) * 100.0).floor() / 100.0)
}

impl Catalog {
    /// Takes an entry as it is stored; what is none is passed over.
    pub(crate) fn add(&self, text: &[u8]) {
        self.assets().extend(Asset::read(text, None));
    }

    /// Whether an asset is there.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.assets().contains_key(id)
    }

    /// The newest assets, newest first, as `show` makes them of their ids and entries; those of which it makes nothing are
    /// left out.
    pub(crate) fn list(&self, show: impl Fn(&str, Value) -> Option<Value>) -> Vec<Value> {
        let assets = self.assets();
        let mut all: Vec<(&String, &Asset)> = assets.iter().collect();
        all.sort_by_cached_key(|(_, asset)| std::cmp::Reverse(asset.start()));
        all.into_iter().filter_map(|(id, asset)| show(id, asset.listed())).take(ASSETS_LISTED_MAX).collect()
    }

    /// When to look again.
    pub(crate) fn every(&self) -> Duration {
        if self.assets().values().any(Asset::is_being_made) { EVERY_MAKING } else { EVERY }
    }

    /// Reads what is in the store and not known yet or written anew, and forgets what is no longer there.
    pub(crate) async fn refresh(&self, objects: &Objects) -> Result<(), Error> {
        // What is added from here on need not be in the listing.
        let before: BTreeMap<String, Option<String>> =
            self.assets().iter().map(|(id, asset)| (id.clone(), asset.etag.clone())).collect();
        let entries = objects.list(FOLDER)?.collect().await?;
        let stored: BTreeSet<&str> = entries.iter().filter_map(|entry| id(&entry.key)).collect();
        for gone in before.keys().filter(|known| !stored.contains(known.as_str())) {
            self.assets().remove(gone);
        }
        let unreadable = {
            let mut unreadable = self.unreadable();
            unreadable.retain(|id, _| stored.contains(id.as_str()));
            unreadable.clone()
        };
        let mut due = entries.iter().filter_map(|found| {
            let id = id(&found.key)?;
            let known = |known: &BTreeMap<String, Option<String>>| known.get(id) == Some(&found.etag);
            let same = found.etag.is_some() && (known(&before) || known(&unreadable));
            (!same).then(|| (id.to_owned(), found.etag.clone()))
        });
        let mut reading = JoinSet::new();
        loop {
            while reading.len() < READ_AT_ONCE
                && let Some((id, etag)) = due.next()
            {
                let objects = objects.clone();
                reading.spawn(async move { (read_object(&objects, &key(&id), ENTRY_BYTES_MAX).await, id, etag) });
            }
            match reading.join_next().await {
                Some(Ok((text, id, etag))) => self.take(&id, text?, etag),
                // A panic there: it is read the next time.
                Some(Err(_)) => {}
                None => return Ok(()),
            }
        }
    }

    /// Takes what was read in an asset's place. It may have been written once more since it was listed: then it is read
    /// again the next time.
    fn take(&self, id: &str, text: Option<Bytes>, etag: Option<String>) {
        match text.and_then(|text| Asset::read(&text, etag.clone())).filter(|(own, _)| own == id) {
            Some((id, asset)) => {
                self.unreadable().remove(&id);
                self.assets().insert(id, asset);
            }
            None => {
                self.assets().remove(id);
                self.unreadable().insert(id.to_owned(), etag);
            }
        }
    }

    /// Counts what is done of the assets that are being made.
    pub(crate) async fn count(&self, ingest: &Objects) -> Result<(), Error> {
        let mut making: Vec<(String, String, u64)> = Vec::new();
        for (id, asset) in self.assets().iter_mut() {
            asset.progress = asset.progress.filter(|_| asset.is_being_made());
            let tasks = asset.entry.get("tasks").and_then(Value::as_u64);
            making.extend(tasks.filter(|_| asset.is_being_made()).map(|tasks| (asset.start(), id.clone(), tasks)));
        }
        making.sort_by(|a, b| b.cmp(a));
        for (_, id, tasks) in making.into_iter().take(ASSETS_COUNTED_MAX) {
            let done = ingest.list(&format!("{}/{id}/done", keys::JOBS))?.collect().await?.len();
            if let Some(asset) = self.assets().get_mut(&id) {
                asset.progress = progress(done, tasks);
            }
        }
        Ok(())
    }

    fn unreadable(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Option<String>>> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn assets(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Asset>> {
        // Whole entries go in and out: a panic elsewhere leaves nothing half done.
        self.assets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(_: &str, entry: Value) -> Option<Value> {
        Some(entry)
    }

    #[test]
    fn keys_and_ids_go_both_ways_and_other_keys_are_none() {
        assert_eq!(id(&key("foo-20261120T172500Z")), Some("foo-20261120T172500Z"));
        for other in ["assets/", "assets/a/b.json", "assets/a.txt", "vod/a.json", "assetsa.json"] {
            assert_eq!(id(other).filter(|id| !id.is_empty()), None, "{other}");
        }
    }

    #[test]
    fn the_newest_asset_comes_first_and_nonsense_is_passed_over() {
        let catalog = Catalog::default();
        for text in [
            r#"{"id":"a-1","start":"2026-11-20T17:25:00.000Z"}"#,
            r#"{"id":"a-2","start":"2026-11-21T17:25:00.000Z"}"#,
            r#"{"start":"2026"}"#,
            "no JSON",
        ] {
            catalog.add(text.as_bytes());
        }
        let ids = |hidden: &str| -> Vec<Value> {
            let shown = catalog.list(|id, entry| (id != hidden).then_some(entry));
            shown.into_iter().map(|entry| entry["id"].clone()).collect()
        };
        assert_eq!(ids(""), ["a-2", "a-1"]);
        assert_eq!(ids("a-2"), ["a-1"]);
    }

    #[tokio::test]
    async fn the_store_says_what_there_is() {
        let dir = tempfile::tempdir().unwrap();
        let objects = Objects::open(&format!("file:{}", dir.path().display()), store::Limits::PATIENT).await.unwrap();
        let entry = |id: &str| bytes::Bytes::from(format!(r#"{{"id":"{id}","start":"2026"}}"#));
        objects.create(&key("a-1"), entry("a-1"), "application/json").await.unwrap();
        let catalog = Catalog::default();
        catalog.add(br#"{"id":"gone-1","start":"2026"}"#);
        catalog.refresh(&objects).await.unwrap();
        assert!(catalog.has("a-1") && !catalog.has("gone-1"));
    }

    #[tokio::test]
    async fn entries_that_can_not_be_read_keep_no_other_from_being_listed() {
        let dir = tempfile::tempdir().unwrap();
        let objects = Objects::open(&format!("file:{}", dir.path().display()), store::Limits::PATIENT).await.unwrap();
        let write = async |id: &str, text: String| {
            objects.put(&key(id), text.into(), "application/json").await.unwrap();
        };
        write("a-long", " ".repeat(ENTRY_BYTES_MAX as usize + 1)).await;
        write("b-other", r#"{"id":"c-00"}"#.to_owned()).await;
        for number in 0..40 {
            write(&format!("c-{number:02}"), format!(r#"{{"id":"c-{number:02}","start":"2026"}}"#)).await;
        }
        let catalog = Catalog::default();
        catalog.refresh(&objects).await.unwrap();
        assert_eq!(catalog.list(all).len(), 40);
        let unreadable: Vec<String> = catalog.unreadable().keys().cloned().collect();
        assert_eq!(unreadable, ["a-long", "b-other"]);
        write("a-long", r#"{"id":"a-long","start":"2026"}"#.to_owned()).await;
        catalog.refresh(&objects).await.unwrap();
        assert!(catalog.has("a-long") && !catalog.has("b-other"));
        assert_eq!(catalog.unreadable().len(), 1);
    }

    #[test]
    fn progress_is_one_only_when_all_is_done() {
        for (done, tasks, expected) in [
            (0, 3, Some(0.0)),
            (1, 3, Some(0.33)),
            (2, 3, Some(0.66)),
            (3, 3, Some(1.0)),
            (7, 3, Some(1.0)),
            (0, 0, None),
        ] {
            assert_eq!(progress(done, tasks), expected, "{done} of {tasks}");
        }
        assert_eq!(progress(999, 1000), Some(0.99));
    }

    #[tokio::test]
    async fn what_transcoders_write_is_listed_with_how_far_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let objects = Objects::open(&format!("file:{}", dir.path().display()), store::Limits::PATIENT).await.unwrap();
        let write = async |state: &str| {
            let text = format!(r#"{{"id":"a-1","start":"2026","state":"{state}","tasks":4}}"#);
            objects.put(&key("a-1"), text.into(), "application/json").await.unwrap();
        };
        let catalog = Catalog::default();
        let look = async || {
            catalog.refresh(&objects).await.unwrap();
            catalog.count(&objects).await.unwrap();
            let entry = catalog.list(all).remove(0);
            (entry["state"].as_str().unwrap().to_owned(), entry["progress"].as_f64(), catalog.every())
        };
        write("instant").await;
        assert_eq!(look().await, ("instant".to_owned(), None, EVERY));
        write("transcoding").await;
        assert_eq!(look().await, ("transcoding".to_owned(), Some(0.0), EVERY_MAKING));
        for task in ["jobs/a-1/done/00000.json", "jobs/a-1/done/00001.json", "jobs/a-12/done/00000.json"] {
            objects.create(task, "{}".into(), "application/json").await.unwrap();
        }
        assert_eq!(look().await, ("transcoding".to_owned(), Some(0.5), EVERY_MAKING));
        write("ready").await;
        assert_eq!(look().await, ("ready".to_owned(), None, EVERY));
    }
}
