//! Messages on the job queue: our own, S3's events and EventBridge's, read and written.
//!
//! Pure. Knows shapes and keys; what a source is, is [`crate::source`]'s affair, and what to do about a message the worker's.

use crate::jobs;
use crate::source;
use serde::Deserialize;
use serde_json::json;
use store::Place;

/// Most records of one event that are looked at; S3 sends one.
const RECORDS_MAX: usize = 1000;

/// Longest body that is looked at, in bytes: SQS's own limit.
const BODY_BYTES_MAX: usize = 1 << 20;

/// What a message asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Make a task's segments.
    Task {
        /// Whose.
        job: String,
        /// Its number in the plan.
        task: u32,
    },
    /// Look at a source, and make a job of it.
    Source {
        /// Its key below the ingest store's prefix.
        key: String,
    },
}

/// Why a body can't be worked off: it is left for the dead letters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a message that no worker understands: {0}")]
pub struct NotOurs(&'static str);

/// Our own two shapes.
#[derive(Deserialize)]
#[serde(tag = "live360", rename_all = "lowercase")]
enum Own {
    Task { job: String, task: u32 },
    Source { key: String },
}

/// `Records` of S3's own notification (event message structure 2.x).
#[derive(Deserialize)]
struct Record {
    #[serde(rename = "eventName")]
    name: String,
    s3: Stored,
}

/// An object in a bucket; also EventBridge's `detail`.
#[derive(Deserialize)]
struct Stored {
    bucket: Bucket,
    object: Object,
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Deserialize)]
struct Object {
    key: String,
}

/// What a body asks for, in its order. Empty: there is nothing to do about it (a test event, another bucket, a key that is no
/// source). `place` is the ingest store.
pub fn parse(body: &str, place: &Place) -> Result<Vec<Message>, NotOurs> {
    if body.len() > BODY_BYTES_MAX {
        return Err(NotOurs("it is longer than 1 MiB"));
    }
    let value: serde_json::Value = serde_json::from_str(body).map_err(|_| NotOurs("it is no JSON"))?;
    let text = |name: &str| value.get(name).and_then(serde_json::Value::as_str);
    if value.get("live360").is_some() {
        let own = Own::deserialize(&value).map_err(|_| NotOurs("it is neither a task nor a source of live360"))?;
        return of_own(own);
    }
    if text("Event") == Some("s3:TestEvent") {
        return Ok(Vec::new());
    }
    if let Some(records) = value.get("Records") {
        return of_records(records, place);
    }
    if text("source") == Some("aws.s3") {
        if text("detail-type") != Some("Object Created") {
            return Ok(Vec::new());
        }
        let detail = value.get("detail").ok_or(NotOurs("an event of EventBridge without detail"))?;
        let stored =
            Stored::deserialize(detail).map_err(|_| NotOurs("an event of EventBridge without bucket or key"))?;
        // EventBridge gives keys as they are.
        return Ok(of_stored(&stored.bucket.name, &stored.object.key, place).into_iter().collect());
    }
    Err(NotOurs("it is JSON of another kind"))
}

/// The body of a task's message.
pub fn task(job: &str, task: u32) -> String {
    json!({ "live360": "task", "job": job, "task": task }).to_string()
}

/// The body of a source's message.
pub fn source(key: &str) -> String {
    json!({ "live360": "source", "key": key }).to_string()
}

fn of_own(own: Own) -> Result<Vec<Message>, NotOurs> {
    match own {
        Own::Task { job, task } if jobs::is_name(&job) => Ok(vec![Message::Task { job, task }]),
        Own::Task { .. } => Err(NotOurs("a task whose job has no name that a job can have")),
        Own::Source { key } => {
            Ok(source::kind(&key).is_some().then_some(Message::Source { key }).into_iter().collect())
        }
    }
}

fn of_records(records: &serde_json::Value, place: &Place) -> Result<Vec<Message>, NotOurs> {
    let records = records.as_array().ok_or(NotOurs("its Records are no list"))?;
    if records.len() > RECORDS_MAX {
        return Err(NotOurs("it has more than 1000 records"));
    }
    let mut messages = Vec::new();
    for record in records {
        let record = Record::deserialize(record).map_err(|_| NotOurs("a record without event, bucket or key"))?;
        if !record.name.trim_start_matches("s3:").starts_with("ObjectCreated:") {
            continue;
        }
        let key = decode(&record.s3.object.key).ok_or(NotOurs("a key that is no UTF-8"))?;
        messages.extend(of_stored(&record.s3.bucket.name, &key, place));
    }
    Ok(messages)
}

/// The source that a key of a bucket is, if the bucket is ours and it is one.
fn of_stored(bucket: &str, key: &str, place: &Place) -> Option<Message> {
    let Place::Bucket { bucket: ours, prefix } = place else { return None };
    if bucket != ours {
        return None;
    }
    let key = if prefix.is_empty() { key } else { key.strip_prefix(prefix.as_str())?.strip_prefix('/')? };
    source::kind(key)?;
    Some(Message::Source { key: key.to_owned() })
}

/// As S3 writes keys in events: `+` is a space, `%XX` a byte. What is no escape stays.
fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        if let (b'%', [a, b, after @ ..]) = (first, tail)
            && let (Some(high), Some(low)) = (hex(*a), hex(*b))
        {
            out.push(high << 4 | low);
            rest = after;
            continue;
        }
        out.push(if first == b'+' { b' ' } else { first });
        rest = tail;
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests;
