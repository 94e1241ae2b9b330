//! HTTP hooks: tells the operator's own servers what happens, without anybody having to wait for them.
//!
//! Tiers say what happened through [`Hooks`]; one [`Sender`] a process delivers it: `outbox` decides what is sent when, `post`
//! sends, `kept` holds on disk what must not be lost. Knows nothing of streams but their names. docs/hooks.md is the
//! receivers' side of it.

mod kept;
mod outbox;
mod repeats;
mod sender;

pub use sender::Sender;

use crate::config::{Config, HookEvent};
use crate::hashed;
use crate::outbound::BadRoots;
use bytes::Bytes;
use kept::Kept;
use media::hls::date;
use media::name::StreamName;
use metrics::counter;
use repeats::Repeats;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// What may wait to be taken over by the sender; one more is dropped.
const HANDED_OVER_MAX: usize = 256;

/// Longest words of an alarm, in characters; the rest is cut off.
const WORDS_CHARS_MAX: usize = 1000;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    kind: HookEvent,
    stream: Option<String>,
    asset: Option<String>,
    details: Value,
}

/// What is sent, once for each receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// The same whenever the same is told again.
    pub(crate) id: String,
    pub(crate) kind: HookEvent,
    /// What is told in order: a stream, or an asset whose stream nobody knows.
    pub(crate) subject: String,
    pub(crate) body: Bytes,
}

/// Where tiers say what happened. Cheap to clone; never waits.
#[derive(Debug, Clone, Default)]
pub struct Hooks(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    events: Vec<HookEvent>,
    outbox: mpsc::Sender<Message>,
    kept: Kept,
    repeats: Mutex<Repeats>,
}

impl Event {
    /// Somebody began to publish a stream.
    pub fn publish(stream: &StreamName, details: Value) -> Self {
        Self { kind: HookEvent::Publish, stream: Some(stream.to_string()), asset: None, details }
    }

    /// Nobody publishes it any more.
    pub fn unpublish(stream: &StreamName, details: Value) -> Self {
        Self { kind: HookEvent::Unpublish, stream: Some(stream.to_string()), asset: None, details }
    }

    /// A recording can be watched.
    pub fn recording_ready(stream: &str, asset: &str, details: Value) -> Self {
        let (stream, asset) = (Some(stream.to_owned()), Some(asset.to_owned()));
        Self { kind: HookEvent::RecordingReady, stream, asset, details }
    }

    /// The better ladder of an asset can be watched.
    pub fn vod_ready(stream: Option<&str>, asset: &str, details: Value) -> Self {
        let (stream, asset) = (stream.map(str::to_owned), Some(asset.to_owned()));
        Self { kind: HookEvent::VodReady, stream, asset, details }
    }

    /// An operator should look. `what` is one of a few words, for machines; `words` are for people.
    pub fn alarm(what: &'static str, words: &str) -> Self {
        let words: String = words.chars().take(WORDS_CHARS_MAX).collect();
        let details = json!({ "alarm": what, "words": words });
        Self { kind: HookEvent::Alarm, stream: None, asset: None, details }
    }

    /// Whose alarm it is.
    #[must_use]
    pub fn of_stream(mut self, stream: &str) -> Self {
        self.stream = Some(stream.to_owned());
        self
    }

    /// Which asset it is about.
    #[must_use]
    pub fn of_asset(mut self, asset: &str) -> Self {
        self.asset = Some(asset.to_owned());
        self
    }

    /// Told again after a crash, by whoever finds out: at least once, under one id.
    fn is_kept(&self) -> bool {
        matches!(self.kind, HookEvent::RecordingReady | HookEvent::VodReady)
    }

    /// What makes an alarm the same as another.
    fn sameness(&self) -> String {
        format!("{:?} {:?} {}", self.stream, self.asset, self.details)
    }

    fn message(self, now: SystemTime) -> Message {
        let id = match (&self.asset, self.is_kept()) {
            (Some(asset), true) => {
                let digest = Sha256::digest(format!("{} {asset}", self.kind.name()));
                hashed::hex(digest.get(..16).unwrap_or_default())
            }
            // Without randomness the time must do.
            _ => hashed::random::<16>().map_or_else(|_| format!("{:?}", now), |bytes| hashed::hex(&bytes)),
        };
        let subject = self.stream.clone().or_else(|| self.asset.clone()).unwrap_or_default();
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let body = json!({
            "id": id,
            "event": self.kind.name(),
            "time": date(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
            "stream": self.stream,
            "asset": self.asset,
            "details": self.details,
        });
        Message { id, kind: self.kind, subject, body: body.to_string().into() }
    }
}

impl Hooks {
    /// What the config asks for, and the task that delivers it. Without receivers there is no task. `process` is this
    /// process's own name among those that share a `data_dir`.
    pub fn open(config: &Config, process: &str) -> Result<(Self, Option<Sender>), BadRoots> {
        if config.hooks.url.is_empty() || config.hooks.events.is_empty() {
            return Ok((Self::default(), None));
        }
        let kept = Kept::new(config.data_dir.join("hooks").join(process));
        let (outbox, inbox) = mpsc::channel(HANDED_OVER_MAX);
        let sender = Sender::new(&config.hooks, kept.clone(), inbox)?;
        let shared = Shared { events: config.hooks.events.clone(), outbox, kept, repeats: Mutex::default() };
        Ok((Self(Some(Arc::new(shared))), Some(sender)))
    }

    /// Tells, unless nobody wants to know. What there is no room for is dropped and counted.
    pub fn tell(&self, event: Event) {
        if let Some((shared, message)) = self.wanted(event) {
            shared.hand_over(message);
        }
    }

    /// Tells what must not be lost: it is on disk when this returns, and told again by the next process if this one dies.
    pub async fn tell_surely(&self, event: Event) {
        let Some((shared, message)) = self.wanted(event) else { return };
        shared.kept.put(&message).await;
        shared.hand_over(message);
    }

    fn wanted(&self, event: Event) -> Option<(&Shared, Message)> {
        let shared = self.0.as_deref().filter(|shared| shared.events.contains(&event.kind))?;
        if event.kind == HookEvent::Alarm {
            let mut repeats = shared.repeats.lock().unwrap_or_else(PoisonError::into_inner);
            if !repeats.is_news(event.sameness(), Instant::now()) {
                count(event.kind, "repeated");
                return None;
            }
        }
        Some((shared, event.message(SystemTime::now())))
    }
}

impl Shared {
    fn hand_over(&self, message: Message) {
        let kind = message.kind;
        if self.outbox.try_send(message).is_err() {
            count(kind, "dropped");
        }
    }
}

fn count(kind: HookEvent, outcome: &'static str) {
    counter!("live360_hooks_total", "event" => kind.name(), "outcome" => outcome).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn body(event: Event) -> Value {
        let at = UNIX_EPOCH + Duration::from_millis(1_795_195_500_123);
        serde_json::from_slice(&event.message(at).body).unwrap()
    }

    #[test]
    fn a_message_says_what_when_and_of_which_stream() {
        let name: StreamName = "foo".parse().unwrap();
        let mut body = body(Event::publish(&name, json!({ "peer": "10.0.0.1" })));
        let id = body.as_object_mut().unwrap().remove("id").unwrap();
        assert_eq!(id.as_str().unwrap().len(), 32);
        let expected = json!({
            "event": "publish", "time": "2026-11-20T17:25:00.123Z", "stream": "foo", "asset": null,
            "details": { "peer": "10.0.0.1" },
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn what_is_told_at_least_once_has_the_same_id_whoever_tells_it() {
        let id = |event| body(event)["id"].as_str().unwrap().to_owned();
        let ready = |asset| id(Event::recording_ready("foo", asset, json!({})));
        assert_eq!(ready("foo-1"), ready("foo-1"));
        assert_ne!(ready("foo-1"), ready("foo-2"));
        assert_ne!(ready("foo-1"), id(Event::vod_ready(None, "foo-1", json!({}))));
        assert_ne!(id(Event::alarm("a", "b")), id(Event::alarm("a", "b")));
    }

    #[test]
    fn words_of_an_alarm_are_bounded() {
        let body = body(Event::alarm("disk", &"é".repeat(2000)).of_stream("foo").of_asset("foo-1"));
        assert_eq!(body["details"]["words"].as_str().unwrap().chars().count(), WORDS_CHARS_MAX);
        assert_eq!((body["stream"].as_str(), body["asset"].as_str()), (Some("foo"), Some("foo-1")));
    }
}
