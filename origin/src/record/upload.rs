//! Brings a session's files to a store for as long as it takes.
//!
//! Several go at a time. A file is removed locally when the store has it and not before. A store that fails is asked
//! again, ever more slowly; nobody waits for it but the disk. What lists these files is written when all are stored
//! ([`super::finish`]).

use super::Shared;
use super::spool::{Place, Waiting};
use metrics::counter;
use std::sync::Arc;
use std::time::Duration;
use store::{Creation, Error, Objects};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Files of a session that are on their way to a store at a time.
const AT_ONCE: usize = 8;

/// Pause after a store's first failure; it doubles up to the longest one.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How long pauses grow: after a failure they double up to [`PAUSE_MAX`].
pub(super) fn pause(failures: u32) -> Duration {
    PAUSE.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX)).min(PAUSE_MAX)
}

/// Stores what comes; `true` when all of it is stored and nothing will follow, `false` if the process ends before that.
pub(super) async fn upload(shared: Arc<Shared>, place: Place, mut queue: mpsc::UnboundedReceiver<Waiting>) -> bool {
    let mut running = JoinSet::new();
    let mut all = true;
    while all {
        let room = running.len() < AT_ONCE;
        tokio::select! {
            Some(done) = running.join_next() => all &= done.unwrap_or(false),
            next = queue.recv(), if room => match next {
                Some(file) => drop(running.spawn(bring(shared.clone(), file))),
                None => break,
            },
        }
    }
    all &= running.join_all().await.into_iter().all(|stored| stored);
    if !all {
        tracing::info!(?place, "leaving: what is not stored yet is stored after the next start");
    }
    all
}

/// Stores one file, however often that takes. `false` if the process ends before it is stored.
async fn bring(shared: Arc<Shared>, file: Waiting) -> bool {
    let mut failures: u32 = 0;
    loop {
        let tried = tokio::select! {
            tried = store(&shared, &file) => tried,
            () = shared.abandon.cancelled() => return false,
        };
        match tried {
            Ok(creation) => {
                done(&shared, &file, creation).await;
                return true;
            }
            // Only what is stored is removed: it was in the queue twice.
            Err(_) if !file.path.exists() => {
                shared.backlog.remove(file.bytes);
                return true;
            }
            Err(error) => {
                counter!("live360_recording_store_failures_total").increment(1);
                if shared.stores.failed(file.place) {
                    tracing::error!(
                        key = file.key, %error,
                        "can't store a recording's file; it and those that follow wait on disk"
                    );
                } else {
                    tracing::debug!(key = file.key, %error, failures, "can't store a recording's file either");
                }
            }
        }
        if !shared.pause(&mut failures).await {
            return false;
        }
    }
}

async fn store(shared: &Shared, file: &Waiting) -> Result<Creation, Error> {
    let objects: Objects = shared.stores.objects(file.place).await?;
    objects.create_file(&file.key, &file.path, content_type(&file.key)).await
}

async fn done(shared: &Shared, file: &Waiting, creation: Creation) {
    shared.stores.answered(file.place);
    counter!("live360_recording_stored_files_total").increment(1);
    match creation {
        Creation::Created => counter!("live360_recording_stored_bytes_total").increment(file.bytes),
        Creation::AlreadyThere => compare(shared, file).await,
    }
    shared.backlog.remove(file.bytes);
    if let Err(error) = tokio::fs::remove_file(&file.path).await {
        tracing::warn!(path = %file.path.display(), %error, "can't remove a file that is stored");
    }
}

/// Something is there already: what a crash kept us from noting, or what the other origin of a pair has recorded of the same
/// stream. Media of both must be the same.
async fn compare(shared: &Shared, file: &Waiting) {
    let Ok(objects) = shared.stores.objects(file.place).await else { return };
    if let Ok(Some(facts)) = objects.head(&file.key).await
        && facts.bytes != file.bytes
    {
        counter!("live360_recording_conflicts_total").increment(1);
        tracing::error!(key = file.key, "somebody else has stored something else under this key; it stays");
    }
}

fn content_type(key: &str) -> &'static str {
    match key.rsplit_once('.').map(|(_, extension)| extension) {
        Some("m4s" | "mp4") if key.split('/').rev().nth(1) == Some("audio") => "audio/mp4",
        Some("m4s" | "mp4") => "video/mp4",
        Some("flv") => "video/x-flv",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_half_a_minute() {
        let pauses: Vec<u128> = [1, 2, 3, 7, 8, 1000].map(|failures| pause(failures).as_millis()).into();
        assert_eq!(pauses, [500, 1000, 2000, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn types_follow_names() {
        for (key, expected) in
            [("vod/a/audio/1.m4s", "audio/mp4"), ("vod/a/960w/1.m4s", "video/mp4"), ("rec/a/b/0.flv", "video/x-flv")]
        {
            assert_eq!(content_type(key), expected, "{key}");
        }
    }
}
