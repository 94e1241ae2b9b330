//! An asset's entry, `assets/{id}.json` of the egress store: what `/api/streams` lists of it. Pure.
//!
//! Whoever writes it keeps what others wrote and sets its own part, so an instant VOD's entry stays what it is.

use crate::plan::Plan;
use media::hls::date;
use media::route::{File, Route};
use serde_json::{Map, Value, json};

/// Where entries lie in the egress store.
pub(crate) const FOLDER: &str = "assets";

/// Longest entry that is read, in bytes.
pub(crate) const BYTES_MAX: u64 = 64 << 10;

/// What is known of an asset without a plan.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asset {
    /// Its id, which is the job's name.
    pub(crate) id: String,
    /// What people call it.
    pub(crate) name: String,
    /// When its first picture was taken, or it was written; UTC ms.
    pub(crate) start_ms: i64,
    /// How long it is, once that is known.
    pub(crate) duration_s: Option<f64>,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State<'a> {
    /// Its ladder is being made, by so many tasks.
    Transcoding(usize),
    /// Its ladder is there; whether thumbnails are.
    Ready {
        /// Whether there is a contact sheet.
        thumbnails: bool,
    },
    /// It will never be; why, and whether an instant VOD can be watched instead.
    Failed {
        /// Words for the broadcaster.
        reason: &'a str,
        /// Whether there is something to watch.
        instant: bool,
    },
}

impl Asset {
    /// What a plan says of it.
    pub(crate) fn of(plan: &Plan) -> Self {
        let end = plan.segments.last().map_or(0, |last| last.at.saturating_add(last.ticks));
        let duration_s = (end as f64 / 90.0).round() / 1000.0;
        let (id, name) = (plan.job.clone(), plan.name.clone());
        Self { id, name, start_ms: plan.start_ms, duration_s: Some(duration_s) }
    }

    /// The key of its entry.
    pub(crate) fn key(&self) -> String {
        key(&self.id)
    }

    /// Its entry in this state; `before` is what lies there.
    pub(crate) fn entry(&self, before: Option<&[u8]>, state: State<'_>) -> String {
        let before = before.and_then(|text| serde_json::from_slice::<Map<String, Value>>(text).ok());
        let mut entry = before.unwrap_or_default();
        entry.insert("id".to_owned(), json!(self.id));
        entry.entry("name").or_insert(json!(self.name));
        entry.entry("url").or_insert(json!(url(&self.id)));
        entry.entry("start").or_insert(json!(date(self.start_ms)));
        let ready = matches!(state, State::Ready { .. });
        if ready || !entry.contains_key("duration_s") {
            entry.insert("duration_s".to_owned(), json!(self.duration_s.unwrap_or(0.0)));
        }
        for gone in ["tasks", "reason", "thumbnails"] {
            entry.remove(gone);
        }
        let word = match state {
            State::Transcoding(tasks) => {
                entry.insert("tasks".to_owned(), json!(tasks));
                "transcoding"
            }
            State::Ready { thumbnails } => {
                if thumbnails {
                    let sheet = Route::Vod(format!("{}/{}", self.id, crate::thumbs::VTT)).to_string();
                    entry.insert("thumbnails".to_owned(), json!(sheet));
                }
                "ready"
            }
            State::Failed { reason, instant } => {
                entry.insert("reason".to_owned(), json!(reason));
                if instant { "instant" } else { "failed" }
            }
        };
        entry.insert("state".to_owned(), json!(word));
        Value::Object(entry).to_string()
    }
}

/// The key of an asset's entry.
pub(crate) fn key(id: &str) -> String {
    format!("{FOLDER}/{id}.json")
}

/// The key in the egress store of a file of an asset, e.g. `hq/audio/0.m4s`: its address.
pub(crate) fn file_key(id: &str, file: &str) -> String {
    Route::Vod(format!("{id}/{file}")).to_string().trim_start_matches('/').to_owned()
}

/// The state that an entry says.
pub(crate) fn state_of(entry: &[u8]) -> Option<String> {
    let entry: Map<String, Value> = serde_json::from_slice(entry).ok()?;
    entry.get("state")?.as_str().map(str::to_owned)
}

/// How long an asset lasts by its entry, in seconds.
pub(crate) fn duration_of(entry: &[u8]) -> Option<f64> {
    let entry: Map<String, Value> = serde_json::from_slice(entry).ok()?;
    entry.get("duration_s")?.as_f64()
}

pub(crate) fn url(id: &str) -> String {
    Route::Vod(format!("{id}/{}", File::Playlist)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(before: Option<&str>, state: State<'_>) -> Value {
        let plan = crate::work::tests::plan();
        serde_json::from_str(&Asset::of(&plan).entry(before.map(str::as_bytes), state)).unwrap()
    }

    const INSTANT: &str = r#"{"id":"foo-1","name":"foo","url":"/vod/foo-1/index.m3u8","start":"2026-11-20T17:25:00.000Z",
        "duration_s":14.0,"state":"instant","projection":"equirect"}"#;

    #[test]
    fn an_entry_says_how_far_its_asset_is_and_keeps_what_others_wrote() {
        let new = entry(None, State::Transcoding(3));
        assert_eq!(
            new,
            json!({"id":"foo-1","name":"foo","url":"/vod/foo-1/index.m3u8","start":"1970-01-01T00:00:00.000Z",
                   "duration_s":6.0,"state":"transcoding","tasks":3})
        );
        let kept = entry(Some(INSTANT), State::Transcoding(3));
        assert_eq!((&kept["duration_s"], &kept["start"]), (&json!(14.0), &json!("2026-11-20T17:25:00.000Z")));
        assert_eq!(kept["projection"], "equirect");
        let ready = entry(Some(&kept.to_string()), State::Ready { thumbnails: true });
        assert_eq!((&ready["state"], &ready["tasks"]), (&json!("ready"), &Value::Null));
        assert_eq!((&ready["thumbnails"], &ready["duration_s"]), (&json!("/vod/foo-1/hq/thumbs.vtt"), &json!(6.0)));
        let failed = entry(Some(INSTANT), State::Failed { reason: "broken", instant: true });
        assert_eq!((&failed["state"], &failed["reason"]), (&json!("instant"), &json!("broken")));
        let failed = entry(None, State::Failed { reason: "broken", instant: false });
        assert_eq!(
            (failed["state"].as_str(), state_of(failed.to_string().as_bytes())),
            (Some("failed"), Some("failed".to_owned()))
        );
        assert_eq!(state_of(b"no JSON"), None);
    }

    #[test]
    fn an_entry_that_is_torn_is_written_anew() {
        assert_eq!(entry(Some("{\"id\":"), State::Transcoding(1))["state"], "transcoding");
    }
}
