//! Removes recordings that are too old: whole ones, and never what is still going on.
//!
//! What is to go is noted first (`gone/…`), so that whatever dies in between, the next look goes on with it; the note
//! goes last. Viewers lose the entry first, then the multivariant playlist, then the rest. Where a transcoder has made
//! the asset, or still could, `jobs/{asset}/expired.json` tells it that there is nothing to make (again); a job's folder
//! goes with its master, which waits for a job that is not done, but not for ever. Files below `uploads/` belong to those who put them there.

use super::ledger::key;
use super::reconcile::{Session, is_older};
use super::stores::Stores;
use super::{catalog, keys, log};
use bytes::Bytes;
use media::route::File;
use metrics::counter;
use serde_json::{Value, json};
use service::config::Retention;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};
use store::{Entry, Error, Objects};
use tokio::task::JoinSet;

/// Where notes of what is being removed lie, in both stores.
const GONE: &str = "gone";

/// How much longer than the others masters stay whose jobs are unfinished, at least, in days.
const UNFINISHED_DAYS_MORE: u32 = 30;

const DAY: Duration = Duration::from_secs(86_400);

/// Objects that are removed at a time.
const AT_ONCE: usize = 16;

/// Longest `ended.json` that is read, in bytes.
pub(super) const ENDED_BYTES_MAX: u64 = 4 << 20;

/// What is known of a session's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Folder {
    newest: SystemTime,
    ended: bool,
}

/// Assets whose entries were last written more than `days` ago, but none that is going on.
fn old_assets(entries: &[Entry], live: &BTreeSet<String>, now: SystemTime, days: u32) -> Vec<String> {
    let old = entries.iter().filter(|entry| is_older(entry.modified, now, DAY.saturating_mul(days)));
    old.filter_map(|entry| catalog::id(&entry.key)).filter(|id| !live.contains(*id)).map(str::to_owned).collect()
}

/// Finished sessions in whose folders nothing was written for `days`, but none that is going on.
fn old_sessions(
    folders: &BTreeMap<Session, Folder>,
    live: &BTreeSet<Session>,
    now: SystemTime,
    days: u32,
) -> Vec<Session> {
    let old = |folder: &Folder| folder.ended && is_older(folder.newest, now, DAY.saturating_mul(days));
    let old = folders.iter().filter(|(session, folder)| old(folder) && !live.contains(session));
    old.map(|(session, _)| session.clone()).collect()
}

/// Notes an object of a session's folder.
fn note(folders: &mut BTreeMap<Session, Folder>, entry: &Entry) {
    let Some((name, session, file)) = keys::within(&entry.key) else { return };
    let folder =
        folders.entry((name.to_owned(), session.to_owned())).or_insert(Folder { newest: entry.modified, ended: false });
    folder.newest = folder.newest.max(entry.modified);
    folder.ended |= file == "ended.json";
}

/// A session's job: the asset that it is, or its stream and start (`2026-11-20T17:25:00.000Z`).
pub(super) fn job(ended: &Value) -> Option<String> {
    let text = |field: &str| ended.get(field).and_then(Value::as_str);
    if let Some(asset) = text("asset") {
        return Some(asset.to_owned());
    }
    let (name, start) = (text("name")?, text("start")?);
    let seconds = start.split_once('.').map_or(start.trim_end_matches('Z'), |(seconds, _)| seconds);
    let compact: String = seconds.chars().filter(|c| !matches!(c, '-' | ':')).collect();
    Some(format!("{name}-{compact}Z"))
}

/// Removes what is too old. `held` are the sessions of this process; whose sign of life is younger than `lost` lives.
pub(super) async fn enforce(
    stores: &Stores,
    retention: &Retention,
    held: &BTreeSet<Session>,
    lost: Duration,
) -> Result<(), Error> {
    let Retention { ingest_days, egress_days } = *retention;
    if ingest_days == 0 && egress_days == 0 {
        return Ok(());
    }
    let (ingest, egress) = (stores.ingest().await?, stores.egress().await?);
    let now = SystemTime::now();
    let (mut live, mut assets) = (held.clone(), BTreeSet::new());
    for entry in ingest.list(keys::SIGNS)?.collect().await? {
        let Some((name, session)) = keys::signed(&entry.key) else { continue };
        let session = (name.to_owned(), session.to_owned());
        if !is_older(entry.modified, now, lost) || live.contains(&session) {
            live.insert(session);
            assets.extend(log::read_sign(&ingest, &entry.key).await?.and_then(|sign| sign.asset));
        }
    }
    if egress_days > 0 {
        remove_assets(&ingest, &egress, &assets, now, egress_days).await?;
    }
    if ingest_days > 0 {
        remove_masters(&ingest, &egress, &live, now, ingest_days).await?;
    }
    Ok(())
}

async fn remove_assets(
    ingest: &Objects,
    egress: &Objects,
    live: &BTreeSet<String>,
    now: SystemTime,
    days: u32,
) -> Result<(), Error> {
    let mut jobs = Jobs::default();
    let noted = egress.list(GONE)?.collect().await?;
    let noted = noted.iter().filter_map(|entry| entry.key.strip_prefix(GONE)?.strip_prefix('/')?.strip_suffix(".json"));
    for id in noted.filter(|id| !id.contains('/')) {
        remove_asset(ingest, egress, id, &mut jobs).await?;
    }
    let entries = egress.list(catalog::FOLDER)?.collect().await?;
    for id in old_assets(&entries, live, now, days) {
        let entry = log::read_object(egress, &catalog::key(&id), catalog::ENTRY_BYTES_MAX).await?;
        let entry: Option<Value> = entry.and_then(|text| serde_json::from_slice(&text).ok());
        if entry.is_some_and(|entry| entry.get("state").and_then(Value::as_str) == Some("transcoding")) {
            continue;
        }
        remove_asset(ingest, egress, &id, &mut jobs).await?;
        tracing::info!(asset = id, days, "an asset was too old and is removed");
        counter!("live360_recordings_expired_total", "what" => "asset").increment(1);
    }
    Ok(())
}

/// The jobs of the finished sessions of each stream, as far as they were asked for.
type Jobs = BTreeMap<String, BTreeSet<String>>;

/// Whether a transcoder may yet make, or make again, this asset: a finished session of it is there.
async fn has_master(ingest: &Objects, id: &str, jobs: &mut Jobs) -> Result<bool, Error> {
    // An id is a stream's name and a date without a dash.
    let Some((name, _)) = id.rsplit_once('-').filter(|(name, _)| !name.is_empty()) else { return Ok(false) };
    if let Some(jobs) = jobs.get(name) {
        return Ok(jobs.contains(id));
    }
    let mut found = BTreeSet::new();
    let mut listing = ingest.list(&format!("{}/{name}", keys::MASTERS))?;
    loop {
        let page = listing.next().await?;
        if page.is_empty() {
            break;
        }
        for entry in page.iter().filter(|entry| keys::within(&entry.key).is_some_and(|(.., file)| file == "ended.json"))
        {
            found.extend(read(ingest, &entry.key).await?.as_ref().and_then(job));
        }
    }
    let has = found.contains(id);
    jobs.insert(name.to_owned(), found);
    Ok(has)
}

async fn remove_asset(ingest: &Objects, egress: &Objects, id: &str, jobs: &mut Jobs) -> Result<(), Error> {
    let gone = format!("{GONE}/{id}.json");
    create(egress, &gone, &json!({ "id": id })).await?;
    let job = format!("{}/{id}", keys::JOBS);
    if ingest.head(&format!("{job}/plan.json")).await?.is_some() || has_master(ingest, id, jobs).await? {
        create(ingest, &format!("{job}/expired.json"), &json!({ "id": id })).await?;
    }
    egress.remove(&catalog::key(id)).await?;
    egress.remove(&key(id, &File::Playlist.to_string())).await?;
    remove_folder(egress, key(id, "").trim_end_matches('/'), "").await?;
    egress.remove(&gone).await
}

async fn remove_masters(
    ingest: &Objects,
    egress: &Objects,
    live: &BTreeSet<Session>,
    now: SystemTime,
    days: u32,
) -> Result<(), Error> {
    let mut folders = BTreeMap::new();
    let mut listing = ingest.list(keys::MASTERS)?;
    loop {
        let page = listing.next().await?;
        if page.is_empty() {
            break;
        }
        page.iter().for_each(|entry| note(&mut folders, entry));
    }
    let mut noted = BTreeSet::new();
    for entry in ingest.list(GONE)?.collect().await? {
        let session = entry.key.strip_prefix(GONE).and_then(|key| key.strip_prefix('/')?.strip_suffix(".json"));
        noted.extend(session.and_then(|session| session.split_once('/')).map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
    let at_last =
        old_sessions(&folders, live, now, days.saturating_mul(2).max(days.saturating_add(UNFINISHED_DAYS_MORE)));
    for session in old_sessions(&folders, live, now, days) {
        if at_last.contains(&session) || !is_being_made(ingest, &session).await? {
            noted.insert(session);
        }
    }
    for session in noted {
        folders.remove(&session);
        remove_master(ingest, egress, &session, &folders).await?;
        let (stream, session) = session;
        tracing::info!(stream, session, days, "a recording's master was too old and is removed");
        counter!("live360_recordings_expired_total", "what" => "master").increment(1);
    }
    Ok(())
}

/// Whether a session's job is planned and neither done nor given up.
async fn is_being_made(ingest: &Objects, (name, session): &Session) -> Result<bool, Error> {
    let ended = read(ingest, &keys::ended(name, session)).await?;
    let Some(job) = ended.as_ref().and_then(job).filter(|job| is_job(job)) else { return Ok(false) };
    let folder = format!("{}/{job}", keys::JOBS);
    for done in ["finished", "failed", "expired"] {
        if ingest.head(&format!("{folder}/{done}.json")).await?.is_some() {
            return Ok(false);
        }
    }
    Ok(ingest.head(&format!("{folder}/plan.json")).await?.is_some())
}

/// Whether this can be a job's name.
fn is_job(job: &str) -> bool {
    store::check_key(job).is_ok() && !job.contains('/')
}

/// Says of an asset that nothing better is made of it any more. Its entry is the transcoders' otherwise, but without
/// master and job none of them touches it again.
async fn give_up(egress: &Objects, id: &str) -> Result<(), Error> {
    let listing = catalog::key(id);
    let Some(text) = log::read_object(egress, &listing, catalog::ENTRY_BYTES_MAX).await? else { return Ok(()) };
    let Ok(Value::Object(mut entry)) = serde_json::from_slice(&text) else { return Ok(()) };
    if entry.get("state").and_then(Value::as_str) != Some("transcoding") {
        return Ok(());
    }
    let instant = egress.head(&key(id, &File::Playlist.to_string())).await?.is_some();
    entry.insert("state".to_owned(), json!(if instant { "instant" } else { "failed" }));
    entry.insert("reason".to_owned(), json!("its master was removed before it was transcoded"));
    entry.remove("tasks");
    egress.put(&listing, Bytes::from(Value::Object(entry).to_string()), "application/json").await
}

/// `others` are the sessions that stay.
async fn remove_master(
    ingest: &Objects,
    egress: &Objects,
    (name, session): &Session,
    others: &BTreeMap<Session, Folder>,
) -> Result<(), Error> {
    let gone = format!("{GONE}/{name}/{session}.json");
    let ended = read(ingest, &keys::ended(name, session)).await?;
    if let Some(ended) = ended {
        create(ingest, &gone, &json!({ "job": job(&ended) })).await?;
    }
    // From the note, also when the session itself is gone already.
    let note = read(ingest, &gone).await?.unwrap_or_default();
    let job = note.get("job").and_then(Value::as_str).filter(|job| is_job(job));
    remove_folder(ingest, &keys::session(name, session), "ended.json").await?;
    ingest.remove(&keys::ended(name, session)).await?;
    if let Some(job) = job
        && !has_job(ingest, job, name, others).await?
    {
        remove_folder(ingest, &format!("{}/{job}", keys::JOBS), "").await?;
        give_up(egress, job).await?;
    }
    ingest.remove(&keys::sign(name, session)).await?;
    ingest.remove(&gone).await
}

/// Whether another session of the stream has the same job: the other origin of a pair has recorded it too.
async fn has_job(
    ingest: &Objects,
    wanted: &str,
    name: &str,
    others: &BTreeMap<Session, Folder>,
) -> Result<bool, Error> {
    for ((_, session), _) in others.iter().filter(|((stream, _), folder)| stream == name && folder.ended) {
        let ended = read(ingest, &keys::ended(name, session)).await?;
        if ended.as_ref().and_then(job).as_deref() == Some(wanted) {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn read(objects: &Objects, key: &str) -> Result<Option<Value>, Error> {
    let text = log::read_object(objects, key, ENDED_BYTES_MAX).await?;
    Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
}

async fn create(objects: &Objects, key: &str, value: &Value) -> Result<(), Error> {
    objects.create(key, Bytes::from(value.to_string()), "application/json").await.map(drop)
}

/// Removes all that is in a folder, but for one name in it.
pub(super) async fn remove_folder(objects: &Objects, folder: &str, but: &str) -> Result<(), Error> {
    let spared = format!("{folder}/{but}");
    let mut listing = objects.list(folder)?;
    loop {
        let page = listing.next().await?;
        if page.is_empty() {
            return Ok(());
        }
        let mut keys = page.into_iter().map(|entry| entry.key).filter(|key| *key != spared);
        let mut running = JoinSet::new();
        loop {
            while running.len() < AT_ONCE
                && let Some(key) = keys.next()
            {
                let objects = objects.clone();
                running.spawn(async move { objects.remove(&key).await });
            }
            match running.join_next().await {
                // A panic there is no removal; the next look finds the rest.
                Some(removed) => removed.unwrap_or(Ok(()))?,
                None => break,
            }
        }
    }
}

#[cfg(test)]
mod tests;
