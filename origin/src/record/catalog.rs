//! Which assets there are: what `/api/streams` lists.
//!
//! The egress store is the truth. Beside an asset's own folder it holds one small object for each asset, `assets/{id}.json`,
//! written last, so that listing assets needs no walk over their segments.

use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use store::{Error, Objects};

/// Assets that are listed, the newest ones.
const ASSETS_LISTED_MAX: usize = 500;

/// Longest entry, in bytes.
const ENTRY_BYTES_MAX: u64 = 16 << 10;

/// How often the store is asked for what others have finished.
pub(super) const EVERY: Duration = Duration::from_secs(30);

const FOLDER: &str = "assets";

/// The assets that are known.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    assets: Mutex<BTreeMap<String, Value>>,
}

/// The key of an asset's entry.
pub(super) fn key(id: &str) -> String {
    format!("{FOLDER}/{id}.json")
}

/// The asset whose entry has this key.
pub(super) fn id(key: &str) -> Option<&str> {
    key.strip_prefix(FOLDER)?.strip_prefix('/')?.strip_suffix(".json").filter(|id| !id.contains('/'))
}

impl Catalog {
    /// Takes an entry as it is stored; what is none is passed over.
    pub(crate) fn add(&self, text: &[u8]) {
        let Ok(entry) = serde_json::from_slice::<Value>(text) else { return };
        let Some(id) = entry.get("id").and_then(Value::as_str).map(str::to_owned) else { return };
        self.assets().insert(id, entry);
    }

    /// Whether an asset is there.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.assets().contains_key(id)
    }

    /// The newest assets, newest first.
    pub(crate) fn list(&self) -> Vec<Value> {
        let mut all: Vec<Value> = self.assets().values().cloned().collect();
        let start = |entry: &Value| entry.get("start").and_then(Value::as_str).unwrap_or_default().to_owned();
        all.sort_by_cached_key(|entry| std::cmp::Reverse(start(entry)));
        all.truncate(ASSETS_LISTED_MAX);
        all
    }

    /// Reads what is in the store and not known yet, and forgets what is no longer there.
    pub(crate) async fn refresh(&self, objects: &Objects) -> Result<(), Error> {
        let before: Vec<String> = self.assets().keys().cloned().collect();
        let entries = objects.list(FOLDER)?.collect().await?;
        let stored: Vec<&str> = entries.iter().filter_map(|entry| id(&entry.key)).collect();
        for gone in before.iter().filter(|known| !stored.contains(&known.as_str())) {
            self.assets().remove(gone);
        }
        for new in stored.into_iter().filter(|id| !before.iter().any(|known| known == id)) {
            if let Some(text) = objects.get_all(&key(new), ENTRY_BYTES_MAX).await? {
                self.add(&text);
            }
        }
        Ok(())
    }

    fn assets(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Value>> {
        // Whole entries go in and out: a panic elsewhere leaves nothing half done.
        self.assets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let ids: Vec<Value> = catalog.list().iter().map(|entry| entry["id"].clone()).collect();
        assert_eq!(ids, ["a-2", "a-1"]);
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
}
