//! Messages that must not be lost, one file each, from before they are first sent until everybody has them.
//!
//! A disk that fails costs the certainty, not the message: it is sent all the same.

use super::Message;
use crate::config::HookEvent;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Files that are there at a time; beyond that messages are only in memory.
const KEPT_MAX: usize = 1000;

/// Longest file that is read again, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The folder they are in.
#[derive(Debug, Clone)]
pub(super) struct Kept(PathBuf);

#[derive(Serialize, Deserialize)]
struct Written {
    kind: HookEvent,
    subject: String,
    body: String,
}

impl Kept {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Whether messages of this kind are kept.
    pub(super) fn wants(kind: HookEvent) -> bool {
        matches!(kind, HookEvent::RecordingReady | HookEvent::VodReady)
    }

    /// Writes a message down.
    pub(super) async fn put(&self, message: &Message) {
        let (folder, message) = (self.0.clone(), message.clone());
        let written = tokio::task::spawn_blocking(move || write(&folder, &message)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(folder = %self.0.display(), %error, "can't keep a hook's message on disk: a crash would lose it");
        }
    }

    /// Everybody has it.
    pub(super) async fn remove(&self, id: &str) {
        let path = self.0.join(name(id));
        let removed = tokio::task::spawn_blocking(move || fs::remove_file(path)).await;
        if let Ok(Err(error)) = removed
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(folder = %self.0.display(), %error, "can't remove a hook's message: it will be told again");
        }
    }

    /// What an earlier process left, the oldest first.
    pub(super) async fn left(&self) -> Vec<Message> {
        let folder = self.0.clone();
        tokio::task::spawn_blocking(move || read_all(&folder)).await.unwrap_or_default()
    }
}

fn name(id: &str) -> String {
    // Ids are hexadecimal; whatever else came would not lead out of the folder either.
    let plain: String = id.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
    format!("{plain}.json")
}

fn write(folder: &Path, message: &Message) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    if fs::read_dir(folder)?.count() >= KEPT_MAX {
        return Err(io::Error::other(format!("there are {KEPT_MAX} already")));
    }
    let body = String::from_utf8_lossy(&message.body).into_owned();
    let written = Written { kind: message.kind, subject: message.subject.clone(), body };
    // Whole or not there, also after a power cut.
    let (path, draft) = (folder.join(name(&message.id)), folder.join(format!("{}.new", name(&message.id))));
    let mut file = File::create(&draft)?;
    file.write_all(&serde_json::to_vec(&written)?)?;
    file.sync_all()?;
    fs::rename(&draft, &path)?;
    File::open(folder)?.sync_all()
}

fn read_all(folder: &Path) -> Vec<Message> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let (path, facts) = (entry.path(), entry.metadata().ok()?);
            let whole = path.extension()? == "json" && facts.len() <= FILE_BYTES_MAX;
            whole.then_some((facts.modified().ok()?, path))
        })
        .collect();
    found.sort();
    found.into_iter().filter_map(|(_, path)| read(&path)).collect()
}

fn read(path: &Path) -> Option<Message> {
    let id = path.file_stem()?.to_str()?.to_owned();
    let written: Written = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    Some(Message { id, kind: written.kind, subject: written.subject, body: Bytes::from(written.body) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str) -> Message {
        let body = Bytes::from(format!("{{\"id\":\"{id}\"}}"));
        Message { id: id.to_owned(), kind: HookEvent::VodReady, subject: "foo".to_owned(), body }
    }

    #[tokio::test]
    async fn what_is_kept_is_there_for_the_next_process_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::new(folder.path().join("hooks/origin"));
        assert_eq!(kept.left().await, []);
        kept.put(&message("a1")).await;
        kept.put(&message("b2")).await;
        kept.put(&message("a1")).await;
        let mut left = Kept::new(folder.path().join("hooks/origin")).left().await;
        left.sort_by(|a, b| a.id.cmp(&b.id));
        assert_eq!(left, [message("a1"), message("b2")]);
        kept.remove("a1").await;
        kept.remove("a1").await;
        assert_eq!(kept.left().await, [message("b2")]);
    }

    #[tokio::test]
    async fn files_that_are_no_messages_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("a.json", "{"), ("b.json.new", "{}"), ("c", "{}")] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        assert_eq!(Kept::new(folder.path().to_owned()).left().await, []);
        assert_eq!(name("../../etc/passwd"), "etcpasswd.json");
    }
}
