//! Which objects of the ingest store are sources, and what their jobs are called.
//!
//! Pure. Uploads are whatever lies below `uploads/`; recordings are known by their `ended.json`, written last.

use crate::jobs;
use media::hls::compact_date;
use media::name::StreamName;
use media::projection::Layout;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::time::UNIX_EPOCH;

/// Where people drop files.
pub const UPLOADS: &str = "uploads";

/// Where recordings lie.
pub const RECORDINGS: &str = "rec";

/// A recording's last object.
const ENDED: &str = "ended.json";

/// Longest `ended.json` that is read, in bytes: [`PARTS_MAX`] lines of it, and room.
pub const ENDED_BYTES_MAX: u64 = 4 << 20;

/// Most objects of one source.
pub const PARTS_MAX: usize = 20_000;

/// Most bytes of one source.
pub const SOURCE_BYTES_MAX: u64 = 200_000_000_000;

/// Longest slug, in characters.
const SLUG_CHARS_MAX: usize = 40;

/// Longest name of a session, in bytes.
const SESSION_BYTES_MAX: usize = 128;

/// What kind of source an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file that somebody dropped.
    Upload,
    /// A recording that has ended: the object is its `ended.json`.
    Recording {
        /// The stream's name.
        name: String,
        /// Which of its sessions.
        session: String,
    },
}

/// What kind of source the object with this key is; `None` if it is none, or no key.
pub fn kind(key: &str) -> Option<Kind> {
    store::check_key(key).ok()?;
    match key.split('/').collect::<Vec<_>>()[..] {
        [UPLOADS, _, ..] => Some(Kind::Upload),
        [RECORDINGS, name, session, ENDED] if name.parse::<StreamName>().is_ok() && is_session(session) => {
            Some(Kind::Recording { name: name.to_owned(), session: session.to_owned() })
        }
        _ => None,
    }
}

fn is_session(session: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
    session.len() <= SESSION_BYTES_MAX && session.chars().all(legal)
}

/// What an upload is called: its key without folder and extension, as `[a-zA-Z0-9_-]{1,40}`.
pub fn upload_name(key: &str) -> String {
    let path = key.strip_prefix(UPLOADS).and_then(|rest| rest.strip_prefix('/')).unwrap_or(key);
    let stem = match path.rsplit_once('.') {
        Some((stem, extension)) if !extension.contains('/') && !stem.is_empty() && !stem.ends_with('/') => stem,
        _ => path,
    };
    let mut slug = String::new();
    for c in stem.chars() {
        if slug.len() >= SLUG_CHARS_MAX {
            break;
        }
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => slug.push(c),
            _ if slug.is_empty() || slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    match slug.trim_end_matches('-') {
        "" => "upload".to_owned(),
        slug => slug.to_owned(),
    }
}

/// The job's name of an upload. Files that differ in key or content (ETag) have different ones; `modified_ms` is UTC.
pub fn upload_job(key: &str, etag: Option<&str>, modified_ms: i64) -> String {
    let mut hash = Sha256::new();
    // The length keeps the two apart.
    hash.update((key.len() as u64).to_be_bytes());
    hash.update(key.as_bytes());
    hash.update(etag.unwrap_or_default().as_bytes());
    let hash: String = hash.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{hash}-{}", upload_name(key), compact_date(modified_ms))
}

/// A recording's `ended.json`, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// The stream's name.
    pub name: String,
    /// Its instant VOD, if one was made.
    pub asset: Option<String>,
    /// When the first picture was taken, UTC ms.
    pub start_ms: i64,
    /// What came in, in order.
    pub parts: Vec<Part>,
    /// How the picture lies on the sphere.
    pub layout: Layout,
    /// Whether what viewers get of it is encrypted.
    pub protect: bool,
}

/// One FLV file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Part {
    /// Its key.
    pub key: String,
    /// Its length.
    pub bytes: u64,
}

/// Why an `ended.json` is not worked off.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the recording's ended.json can't be used: {0}")]
pub struct BadEnded(&'static str);

/// As it stands in the store; what later versions add is passed over.
#[derive(Deserialize)]
struct Written {
    name: String,
    session: String,
    #[serde(default)]
    asset: Option<String>,
    start: String,
    #[serde(default)]
    parts: Vec<Part>,
    #[serde(default)]
    projection: Option<String>,
    #[serde(default)]
    stereo: Option<String>,
    /// How viewers' copies are protected, if they are. Whatever it says beside nothing means that they are.
    #[serde(default)]
    protect: Option<String>,
}

impl Ended {
    /// Reads one that lies under `key`.
    pub fn parse(key: &str, text: &[u8]) -> Result<Self, BadEnded> {
        let Some(Kind::Recording { name, session }) = kind(key) else {
            return Err(BadEnded("its key is that of no recording"));
        };
        let written: Written = serde_json::from_slice(text).map_err(|_| BadEnded("it is not in the form of one"))?;
        if (&written.name, &written.session) != (&name, &session) {
            return Err(BadEnded("it speaks of another recording than its folder's"));
        }
        if written.asset.as_deref().is_some_and(|asset| !jobs::is_name(asset)) {
            return Err(BadEnded("its asset has no name that an asset can have"));
        }
        if written.parts.is_empty() {
            return Err(BadEnded("nothing of what came in was recorded"));
        }
        if written.parts.len() > PARTS_MAX {
            return Err(BadEnded("it has more than 20000 parts"));
        }
        let folder = format!("{RECORDINGS}/{name}/{session}/");
        let own = |part: &Part| part.key.strip_prefix(&folder).is_some_and(is_part);
        if !written.parts.iter().all(own) {
            return Err(BadEnded("a part of it lies outside its folder, or is no FLV file"));
        }
        let bytes = written.parts.iter().fold(0_u64, |sum, part| sum.saturating_add(part.bytes));
        if bytes > SOURCE_BYTES_MAX {
            return Err(BadEnded("its parts are more than 200 GB"));
        }
        let layout = Layout {
            projection: written.projection.and_then(|text| text.parse().ok()).unwrap_or_default(),
            stereo: written.stereo.and_then(|text| text.parse().ok()).unwrap_or_default(),
        };
        let start_ms = utc_ms(&written.start).ok_or(BadEnded("its start is no date"))?;
        let (asset, parts, protect) = (written.asset, written.parts, written.protect.is_some());
        Ok(Self { name, asset, start_ms, parts, layout, protect })
    }

    /// The job's name, which is the asset's.
    pub fn job(&self) -> String {
        self.asset.clone().unwrap_or_else(|| format!("{}-{}", self.name, compact_date(self.start_ms)))
    }
}

/// `{n}.flv`
fn is_part(file: &str) -> bool {
    let number = file.strip_suffix(".flv").and_then(|number| number.parse::<u64>().ok());
    number.is_some_and(|number| file == format!("{number}.flv"))
}

fn utc_ms(date: &str) -> Option<i64> {
    let since = humantime::parse_rfc3339(date).ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

#[cfg(test)]
mod tests;
