//! Brings a session's files to a store, in order, for as long as it takes.
//!
//! Files of one rank go several at a time, the next rank only when they are stored. A file is removed locally when the
//! store has it and not before. A store that fails is asked again, ever more slowly; nobody waits for it but the disk.

use super::Shared;
use super::keep::{LISTING, MEDIA, Upload};
use super::spool::{Place, Waiting};
use metrics::counter;
use std::sync::Arc;
use std::sync::atomic::Ordering;
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
pub(super) async fn upload(shared: Arc<Shared>, place: Place, mut queue: mpsc::UnboundedReceiver<Upload>) -> bool {
    let mut held: Option<Upload> = None;
    loop {
        let first = match held.take() {
            Some(first) => first,
            None => match queue.recv().await {
                Some(first) => first,
                None => return true,
            },
        };
        let rank = first.rank;
        let mut running = JoinSet::new();
        running.spawn(bring(shared.clone(), first));
        while running.len() < AT_ONCE
            && let Ok(next) = queue.try_recv()
        {
            if next.rank == rank {
                running.spawn(bring(shared.clone(), next));
            } else {
                held = Some(next);
                break;
            }
        }
        let stored = running.join_all().await;
        if !stored.into_iter().all(|stored| stored) {
            tracing::info!(?place, "leaving: what is not stored yet is stored after the next start");
            return false;
        }
    }
}

/// Stores one file, however often that takes. `false` if the process ends before it is stored.
async fn bring(shared: Arc<Shared>, upload: Upload) -> bool {
    let Upload { rank, file } = upload;
    let mut failures: u32 = 0;
    loop {
        let tried = tokio::select! {
            tried = store(&shared, &file) => tried,
            () = shared.abandon.cancelled() => return false,
        };
        match tried {
            Ok(creation) => {
                done(&shared, rank, &file, creation).await;
                return true;
            }
            // Only what is stored is removed: it was in the queue twice.
            Err(_) if !file.path.exists() => {
                shared.backlog.remove(file.bytes);
                return true;
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                counter!("live360_recording_store_failures_total").increment(1);
                if shared.door(file.place).failing.swap(true, Ordering::Relaxed) {
                    tracing::debug!(key = file.key, %error, failures, "can't store a recording's file either");
                } else {
                    tracing::error!(
                        key = file.key, %error,
                        "can't store a recording's file; it and those that follow wait on disk"
                    );
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause(failures)) => {}
            // Whatever is stored in the next moment is tried once; who fails then waits for the next start.
            () = shared.shutdown.cancelled() => return false,
        }
    }
}

async fn store(shared: &Shared, file: &Waiting) -> Result<Creation, Error> {
    let objects: Objects = shared.objects(file.place).await?;
    objects.create_file(&file.key, &file.path, content_type(&file.key)).await
}

async fn done(shared: &Shared, rank: u8, file: &Waiting, creation: Creation) {
    if shared.door(file.place).failing.swap(false, Ordering::Relaxed) {
        tracing::info!(place = ?file.place, "the store of recordings answers again");
    }
    if rank == LISTING
        && let Ok(text) = tokio::fs::read(&file.path).await
    {
        shared.catalog.add(&text);
    }
    counter!("live360_recording_stored_files_total").increment(1);
    match creation {
        Creation::Created => counter!("live360_recording_stored_bytes_total").increment(file.bytes),
        Creation::AlreadyThere => compare(shared, rank, file).await,
    }
    shared.backlog.remove(file.bytes);
    if let Err(error) = tokio::fs::remove_file(&file.path).await {
        tracing::warn!(path = %file.path.display(), %error, "can't remove a file that is stored");
    }
}

/// Something is there already: what a crash kept us from noting, or what the other origin of a pair has recorded of the same
/// stream. Media of both must be the same.
async fn compare(shared: &Shared, rank: u8, file: &Waiting) {
    let Ok(objects) = shared.objects(file.place).await else { return };
    if rank == MEDIA
        && let Ok(Some(facts)) = objects.head(&file.key).await
        && facts.bytes != file.bytes
    {
        counter!("live360_recording_conflicts_total").increment(1);
        tracing::error!(key = file.key, "somebody else has stored something else under this key; it stays");
    }
}

fn content_type(key: &str) -> &'static str {
    match key.rsplit_once('.').map(|(_, extension)| extension) {
        Some("m3u8") => "application/vnd.apple.mpegurl",
        Some("m4s" | "mp4") if key.split('/').rev().nth(1) == Some("audio") => "audio/mp4",
        Some("m4s" | "mp4") => "video/mp4",
        Some("json") => "application/json",
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
        for (key, expected) in [
            ("vod/a/audio/1.m4s", "audio/mp4"),
            ("vod/a/960w/1.m4s", "video/mp4"),
            ("vod/a/index.m3u8", "application/vnd.apple.mpegurl"),
            ("rec/a/b/0.flv", "video/x-flv"),
            ("rec/a/b/ended.json", "application/json"),
        ] {
            assert_eq!(content_type(key), expected, "{key}");
        }
    }
}
