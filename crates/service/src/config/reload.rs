//! What a configuration that is read again changes, and when each change takes effect.
//!
//! Pure. Whoever adds a key adds a line to `WHEN`: a test names the keys that have none. Who applies a change is not known
//! here; a key that says [`When::Now`] must be read from [`super::Current`] each time it is needed.

use super::keys;
use super::load::Loaded;
use super::{Config, Stream};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// When a changed key takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// At once.
    Now,
    /// When the next encoder publishes.
    NextPublish,
    /// When the stream begins anew, after it has ended: what its playlists have promised can't change before.
    NextEpoch,
    /// When the process is started again.
    Restart,
}

/// A key whose value is another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The whole key.
    pub key: String,
    /// When it takes effect.
    pub when: When,
}

/// When each key takes effect; `*` stands for a name.
pub(super) const WHEN: &[(&str, When)] = &[
    ("data_dir", When::Restart),
    ("ladder", When::NextEpoch),
    ("record", When::NextEpoch),
    ("record_lost_s", When::Restart),
    ("tls", When::Restart),
    ("log.level", When::Now),
    ("log.format", When::Restart),
    ("origin.rtmp", When::Restart),
    ("origin.rtmps", When::Restart),
    ("origin.http", When::Restart),
    ("origin.peer", When::Restart),
    ("origin.reconnect_s", When::Now),
    ("publish.key", When::NextPublish),
    ("publish.open", When::NextPublish),
    ("publish.callback", When::NextPublish),
    ("publish.callback_secret", When::NextPublish),
    ("publish.callback_s", When::NextPublish),
    ("publish.callback_down", When::NextPublish),
    ("publish.jwt_secret", When::NextPublish),
    ("publish.jwt_key", When::NextPublish),
    ("publish.jwt_audience", When::NextPublish),
    ("publish.jwt_skew_s", When::NextPublish),
    ("hooks.url", When::Restart),
    ("hooks.secret", When::Restart),
    ("hooks.events", When::Restart),
    ("hooks.ca", When::Restart),
    ("edge.http", When::Restart),
    ("edge.https", When::Restart),
    ("edge.tls_cert", When::Restart),
    ("edge.tls_key", When::Restart),
    ("edge.origins", When::Restart),
    ("edge.cache_bytes", When::Restart),
    ("edge.idle_s", When::Restart),
    ("edge.hosts", When::Restart),
    ("edge.target_group", When::Restart),
    ("edge.target_id", When::Restart),
    ("edge.leave_s", When::Restart),
    ("acme.domains", When::Restart),
    ("acme.contact", When::Restart),
    ("acme.directory", When::Restart),
    ("acme.ca", When::Restart),
    ("admin.http", When::Restart),
    ("admin.https", When::Restart),
    ("admin.token_over_http", When::Now),
    ("admin.token", When::Now),
    ("machine.metadata", When::Restart),
    ("hls.segment_ms", When::NextEpoch),
    ("hls.part_ms", When::NextEpoch),
    ("hls.window_s", When::NextEpoch),
    ("hls.dvr_s", When::NextEpoch),
    ("storage.ingest", When::Restart),
    ("storage.egress", When::Restart),
    ("retention.ingest_days", When::Now),
    ("retention.egress_days", When::Now),
    ("queue.url", When::Restart),
    ("vod.sources", When::Restart),
    ("vod.ladder", When::Restart),
    ("vod.effort", When::Restart),
    ("transcoder.hold_s", When::Restart),
    ("transcoder.rescan_s", When::Restart),
    ("watch.mode", When::Restart),
    ("watch.secrets", When::Restart),
    ("cluster.secret", When::Restart),
    ("protect.method", When::NextEpoch),
    ("protect.secret", When::Restart),
    ("protect.old_secrets", When::Restart),
    ("protect.rotate_s", When::NextEpoch),
    ("streams.*.key", When::NextPublish),
    ("streams.*.record", When::NextEpoch),
    ("streams.*.ladder", When::NextEpoch),
    ("streams.*.projection", When::NextEpoch),
    ("streams.*.stereo", When::NextEpoch),
    ("streams.*.watch", When::Restart),
    ("streams.*.listed", When::Now),
    ("streams.*.protect", When::NextEpoch),
    ("streams.*.audio", When::NextEpoch),
];

/// Which keys differ, in order.
pub fn changes(before: &Loaded, after: &Loaded) -> Vec<Change> {
    let (old, new) = (flat(&before.config), flat(&after.config));
    let fresh = flat(&Config { streams: BTreeMap::new(), ..Config::default() });
    let values: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differs = |key: &&String| {
        let value = |of: &BTreeMap<String, Value>| of.get(*key).cloned().or_else(|| usual(&fresh, key));
        value(&old) != value(&new)
    };
    let mut keys: BTreeSet<String> = values.into_iter().filter(differs).cloned().collect();
    // Secrets serialise alike, whatever they are.
    let secrets = before.secrets.keys().chain(after.secrets.keys());
    keys.extend(secrets.filter(|key| before.secrets.get(*key) != after.secrets.get(*key)).cloned());
    keys.into_iter().map(|key| Change { when: when(&key), key }).collect()
}

/// When a key takes effect. One without a line in the table is believed to need a restart.
fn when(key: &str) -> When {
    let parts: Vec<String> = key.split('.').map(str::to_owned).collect();
    WHEN.iter().find(|(pattern, _)| keys::matches(pattern, &parts)).map_or(When::Restart, |(_, when)| *when)
}

/// What stands for a key that isn't there.
fn usual(fresh: &BTreeMap<String, Value>, key: &str) -> Option<Value> {
    let of_a_stream = key.strip_prefix("streams.").and_then(|rest| rest.split_once('.'));
    match of_a_stream {
        Some((_, field)) => serde_json::to_value(Stream::default()).ok()?.get(field).cloned(),
        None => fresh.get(key).cloned(),
    }
    .filter(|value| !value.is_null())
}

/// Every value under its whole key; what has none is left out.
fn flat(config: &Config) -> BTreeMap<String, Value> {
    fn walk(key: &str, value: Value, out: &mut BTreeMap<String, Value>) {
        match value {
            Value::Null => {}
            Value::Object(fields) => {
                for (name, inner) in fields {
                    let key = if key.is_empty() { name } else { format!("{key}.{name}") };
                    walk(&key, inner, out);
                }
            }
            value => drop(out.insert(key.to_owned(), value)),
        }
    }
    let mut out = BTreeMap::new();
    // A configuration came from TOML, so it has only texts for keys and always serialises.
    walk("", serde_json::to_value(config).unwrap_or_default(), &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::read_text;

    fn loaded(sets: &[&str]) -> Loaded {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        read_text(None, std::iter::empty(), &sets).unwrap()
    }

    fn check(before: &[&str], after: &[&str], expected: &[(&str, When)]) {
        for (before, after) in [(before, after), (after, before)] {
            let found = changes(&loaded(before), &loaded(after));
            let found: Vec<(&str, When)> = found.iter().map(|change| (change.key.as_str(), change.when)).collect();
            assert_eq!(found, expected, "{before:?} to {after:?}");
        }
    }

    #[test]
    fn every_key_says_when_it_takes_effect() {
        let known = |list: &[&str], key: &str| list.contains(&key);
        let (keys, when): (Vec<&str>, Vec<&str>) =
            (keys::KEYS.iter().map(|(key, _)| *key).collect(), WHEN.iter().map(|(key, _)| *key).collect());
        let missing: Vec<&&str> = keys.iter().filter(|key| !known(&when, key)).collect();
        let unknown: Vec<&&str> = when.iter().filter(|key| !known(&keys, key)).collect();
        assert!(missing.is_empty(), "add to WHEN in config/reload.rs: {missing:?}");
        assert!(unknown.is_empty(), "take out of WHEN in config/reload.rs, there are no such keys: {unknown:?}");
        let twice = when.iter().filter(|key| when.iter().filter(|other| other == key).count() > 1);
        assert_eq!(twice.count(), 0, "a key stands twice in WHEN");
    }

    #[test]
    fn only_what_differs_is_a_change() {
        check(&[], &[], &[]);
        check(&[], &["hls.part_ms=500", "record=all", "log.level=info"], &[]);
        check(&["hls.part_ms=200"], &["hls.part_ms=200"], &[]);
        check(&[], &["log.level=debug"], &[("log.level", When::Now)]);
        check(&[], &["edge.origins=[\"http://a:1\"]"], &[("edge.origins", When::Restart)]);
        check(
            &["hls.dvr_s=600"],
            &["hls.window_s=60", "record=off"],
            &[("hls.dvr_s", When::NextEpoch), ("hls.window_s", When::NextEpoch), ("record", When::NextEpoch)],
        );
    }

    #[test]
    fn secrets_are_told_apart_though_they_never_print() {
        check(&["admin.token=a"], &["admin.token=b"], &[("admin.token", When::Now)]);
        check(&["admin.token=a"], &["admin.token=a"], &[]);
        check(&[], &["streams.foo.key=s"], &[("streams.foo.key", When::NextPublish)]);
    }

    #[test]
    fn a_stream_that_comes_or_goes_changes_what_is_not_as_for_every_stream() {
        check(&[], &["streams.foo.audio=auto"], &[]);
        check(&[], &["streams.foo.listed=false"], &[("streams.foo.listed", When::Now)]);
        check(&[], &["streams.foo.stereo=tb"], &[("streams.foo.stereo", When::NextEpoch)]);
    }
}
