//! Makes a session whole: playlists over what is there, the asset's entry, and last of all `ended.json`.
//!
//! The origin that recorded it does this when all its files are stored; a process that found its origin gone does the
//! same from the log ([`super::reconcile`]). Both may, at the same moment: each object is created by whoever comes first,
//! and what has more segments in it takes the place of what has fewer. Nothing here touches what transcoders wrote.

use super::ledger::merge::supersedes;
use super::ledger::{End, Ledger, Vod, key, url};
use super::stores::Stores;
use super::{catalog, keys, log, retention};
use crate::steer::Mark;
use bytes::Bytes;
use media::hls::date;
use media::route::File;
use metrics::counter;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};
use store::{Creation, Error, Objects};

/// Longest playlist, in bytes: weeks.
const PLAYLIST_BYTES_MAX: u64 = 64 << 20;

/// How often a playlist or entry is written again because somebody wrote one with less in it at the same moment.
const ROUNDS: usize = 8;

/// How far apart the clocks of an origin and a store may be.
const CLOCKS_APART: Duration = Duration::from_secs(3600);

const PLAYLIST: &str = "application/vnd.apple.mpegurl";
const JSON: &str = "application/json";

/// How much is known of a session's own files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    /// All that its ledger lists is stored.
    Stored,
    /// Nobody can say without looking.
    Unknown,
}

/// Finishes a session; may be done again, by anybody. `words` is how its recording went. Returns the asset's entry as it
/// is stored, if there is an asset.
pub(super) async fn finish(
    stores: &Stores,
    mine: &Ledger,
    files: Files,
    end: End,
    words: &str,
) -> Result<Option<Bytes>, Error> {
    let (ingest, egress) = (stores.ingest().await?, stores.egress().await?);
    let id = mine.asset();
    let merged = match &id {
        Some(id) => merged(&ingest, &egress, mine, id, files).await?,
        None => mine.clone(),
    };
    let vod = merged.vod().filter(|_| mine.rungs);
    let asset = id.filter(|_| vod.is_some());
    let mut entry = None;
    if let (Some(id), Some(vod)) = (&asset, &vod) {
        write_vod(&ingest, &egress, &listed(&merged, id, vod), id, vod).await?;
        entry = log::read_object(&egress, &catalog::key(id), catalog::ENTRY_BYTES_MAX).await?;
    }
    if mine.parts.is_empty() && asset.is_none() {
        // Nothing came in: there is nothing that anybody could look for. Who may not remove leaves names behind, no more.
        // The sign goes last: whoever finds it finds the rest.
        let removed = match retention::remove_folder(&ingest, &keys::log(&mine.name, &mine.session), "").await {
            Ok(()) => ingest.remove(&keys::sign(&mine.name, &mine.session)).await,
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            tracing::debug!(stream = mine.name, %error, "can't remove the sign and log of an empty recording");
        }
        return Ok(None);
    }
    let ended = ended(mine, vod.as_ref(), asset.as_deref(), end, words);
    // Who comes second has found that somebody took this one for dead, or was that somebody: both said what there was.
    let key = keys::ended(&mine.name, &mine.session);
    if ingest.create(&key, ended.to_string().into(), JSON).await? == Creation::AlreadyThere {
        complete(&ingest, mine, ended).await?;
    }
    Ok(entry)
}

/// Puts into an `ended.json` what this session has besides, if there is any and no transcoder has planned without it.
async fn complete(ingest: &Objects, mine: &Ledger, mut ended: Value) -> Result<(), Error> {
    let key = keys::ended(&mine.name, &mine.session);
    let parts =
        |ended: &Value| -> Vec<Value> { ended.get("parts").and_then(Value::as_array).cloned().unwrap_or_default() };
    let number = |part: &Value| {
        let (.., file) = keys::within(part.get("key")?.as_str()?)?;
        keys::part_number(file)
    };
    for _ in 0..ROUNDS {
        let old = log::read_object(ingest, &key, retention::ENDED_BYTES_MAX).await?;
        let Some(old) = old.and_then(|text| serde_json::from_slice::<Value>(&text).ok()) else { return Ok(()) };
        let there: BTreeSet<u64> = parts(&old).iter().filter_map(number).collect();
        let missing: Vec<u64> = mine.parts.keys().copied().filter(|number| !there.contains(number)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        if let Some(job) = retention::job(&old)
            && is_planned(ingest, &job).await?
        {
            counter!("live360_recording_parts_missed_total").increment(missing.len() as u64);
            tracing::error!(
                stream = mine.name,
                session = mine.session,
                job,
                parts = ?missing,
                "this recording was taken for lost and planned as it was then: no transcoder will see these parts of it"
            );
            return Ok(());
        }
        // In order, with what only the other one has found.
        let mut all = parts(&ended);
        let own: BTreeSet<u64> = all.iter().filter_map(number).collect();
        all.extend(parts(&old).into_iter().filter(|part| number(part).is_some_and(|number| !own.contains(&number))));
        all.sort_by_key(|part| number(part));
        ended.as_object_mut().map(|fields| fields.insert("parts".to_owned(), Value::Array(all)));
        ingest.put(&key, ended.to_string().into(), JSON).await?;
    }
    Ok(())
}

/// The operator's marks; with the asset's beginning (UTC ms) also how many seconds into it each is.
fn marks(ledger: &Ledger, start_ms: Option<i64>) -> Value {
    let mark = |mark: &Mark| match start_ms {
        Some(start_ms) => {
            let at_s = mark.at_ms.saturating_sub(start_ms) as f64 / 1000.0;
            json!({ "name": mark.name, "time": date(mark.at_ms), "at_s": at_s })
        }
        None => json!({ "name": mark.name, "time": date(mark.at_ms) }),
    };
    ledger.marks.iter().map(mark).collect()
}

/// From the moment a transcoder has planned, the asset is the transcoders'.
async fn is_planned(ingest: &Objects, job: &str) -> Result<bool, Error> {
    Ok(ingest.head(&format!("{}/{job}/plan.json", keys::JOBS)).await?.is_some())
}

/// What `ended.json` says.
fn ended(mine: &Ledger, vod: Option<&Vod>, asset: Option<&str>, end: End, words: &str) -> Value {
    let part = |(number, bytes): (&u64, &u64)| json!({ "key": keys::part(&mine.name, &mine.session, *number), "bytes": bytes });
    let layout = mine.layout.unwrap_or_default();
    let mut ended = json!({
        "name": mine.name, "session": mine.session, "asset": asset,
        "start": date(mine.epoch.map_or(mine.began_ms, |(anchor_ms, _)| anchor_ms)),
        "end": date(end.at_ms), "reason": end.reason,
        "parts": mine.parts.iter().map(part).collect::<Vec<_>>(),
        "renditions": vod.map(|vod| vod.renditions.clone()).unwrap_or_default(), "recording": words,
        "projection": layout.projection, "stereo": layout.stereo, "marks": marks(mine, None),
    });
    // Whoever makes something better of it must protect that as well.
    if mine.protect
        && let Some(fields) = ended.as_object_mut()
    {
        fields.insert("protect".to_owned(), json!("aes-128"));
    }
    ended
}

/// What this session and all others of the same asset have stored.
async fn merged(ingest: &Objects, egress: &Objects, mine: &Ledger, id: &str, files: Files) -> Result<Ledger, Error> {
    let siblings = siblings(ingest, mine).await?;
    let mut merged = mine.clone();
    siblings.iter().for_each(|sibling| merged.merge(sibling));
    if files == Files::Stored && siblings.is_empty() {
        return Ok(merged);
    }
    let folder = key(id, "");
    let folder = folder.trim_end_matches('/');
    let mut present = BTreeSet::new();
    let mut listing = egress.list(folder)?;
    loop {
        let page = listing.next().await?;
        if page.is_empty() {
            break;
        }
        let name = |key: &str| Some(key.strip_prefix(folder)?.strip_prefix('/')?.to_owned());
        present.extend(page.iter().filter_map(|entry| name(&entry.key)));
    }
    merged.retain(|rendition, file| present.contains(&format!("{rendition}/{file}")));
    Ok(merged)
}

/// What other origins have recorded of the same epoch, as far as their logs say.
async fn siblings(ingest: &Objects, mine: &Ledger) -> Result<Vec<Ledger>, Error> {
    let Some((anchor_ms, _)) = mine.epoch.filter(|_| mine.rungs) else { return Ok(Vec::new()) };
    let since = UNIX_EPOCH + Duration::from_millis(u64::try_from(anchor_ms).unwrap_or(0));
    let mut siblings = Vec::new();
    for found in ingest.list(&format!("{}/{}", keys::SIGNS, mine.name))?.collect().await? {
        // Who gave his last sign before this epoch began has no part in it.
        let recent = found.modified + CLOCKS_APART >= since;
        let Some((name, session)) = keys::signed(&found.key).filter(|(_, session)| recent && *session != mine.session)
        else {
            continue;
        };
        let sign = log::read_sign(ingest, &found.key).await?;
        if sign.is_some_and(|sign| sign.anchor_ms == Some(anchor_ms)) {
            let ledger = log::read(ingest, name, session).await?;
            siblings.extend(Some(ledger).filter(|ledger| mine.is_sibling(ledger)));
        }
    }
    Ok(siblings)
}

/// Nobody sees a playlist before what it lists, nor an asset before its playlists. Each object is decided by what is in
/// it: whoever wrote the others may have died since.
async fn write_vod(ingest: &Objects, egress: &Objects, entry: &Value, id: &str, vod: &Vod) -> Result<(), Error> {
    let mut ours = true;
    for (name, text) in &vod.playlists {
        ours &= write_playlist(egress, &key(id, name), text).await?;
    }
    let (index, listing) = (key(id, &File::Playlist.to_string()), catalog::key(id));
    let text = Bytes::from(vod.multivariant.clone());
    for _ in 0..ROUNDS {
        let first_index = egress.create(&index, text.clone(), PLAYLIST).await? == Creation::Created;
        let first_entry = egress.create(&listing, entry.to_string().into(), JSON).await? == Creation::Created;
        let (mut new_index, mut new_entry) = (false, None);
        if !first_index {
            let old = log::read_object(egress, &index, PLAYLIST_BYTES_MAX).await?.unwrap_or_default();
            new_index = lists_more(&vod.multivariant, &String::from_utf8_lossy(&old), ours);
        }
        if !first_entry {
            let old = log::read_object(egress, &listing, catalog::ENTRY_BYTES_MAX).await?.unwrap_or_default();
            new_entry = updated(&old, entry, ours);
        }
        // Somebody was here before, with less, unless it was a transcoder.
        if (!new_index && new_entry.is_none()) || is_planned(ingest, id).await? {
            return Ok(());
        }
        if new_index {
            egress.put(&index, text.clone(), PLAYLIST).await?;
        }
        if let Some(new) = new_entry {
            egress.put(&listing, new, JSON).await?;
        }
    }
    Ok(())
}

/// Whether a multivariant playlist may take the place of the `old` one: it lists all that is listed there, and more; or
/// the same, and tells of the media playlists that are there (`ours`).
fn lists_more(new: &str, old: &str, ours: bool) -> bool {
    let uris = |text: &str| -> BTreeSet<String> {
        text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
    };
    let (new_uris, old_uris) = (uris(new), uris(old));
    new != old && new_uris.is_superset(&old_uris) && (ours || new_uris.len() > old_uris.len())
}

/// An entry with the length of a newer one that is longer or tells of the media playlists that are there (`ours`), unless
/// it is the same or transcoders have it in hand.
fn updated(old: &[u8], new: &Value, ours: bool) -> Option<Bytes> {
    let Ok(Value::Object(old)) = serde_json::from_slice(old) else { return None };
    if old.get("state").and_then(Value::as_str) != Some("instant") {
        return None;
    }
    let seconds = |entry: Option<&Value>| entry.and_then(Value::as_f64).unwrap_or(0.0);
    if !ours && seconds(new.get("duration_s")) <= seconds(old.get("duration_s")) {
        return None;
    }
    let mut entry = old.clone();
    for field in ["start", "duration_s", "marks"] {
        entry.extend(new.get(field).map(|value| (field.to_owned(), value.clone())));
    }
    (entry != old).then(|| Value::Object(entry).to_string().into())
}

/// Writes a media playlist unless there is one with as much in it, and looks whether it stays. Says whether the one that
/// is there is the same.
async fn write_playlist(egress: &Objects, key: &str, text: &str) -> Result<bool, Error> {
    let content = Bytes::from(text.to_owned());
    for _ in 0..ROUNDS {
        if egress.create(key, content.clone(), PLAYLIST).await? == Creation::Created {
            return Ok(true);
        }
        let old = egress.get_all(key, PLAYLIST_BYTES_MAX).await?.unwrap_or_default();
        if !supersedes(text, &String::from_utf8_lossy(&old)) {
            return Ok(old == content);
        }
        egress.put(key, content.clone(), PLAYLIST).await?;
    }
    Ok(false)
}

/// An asset as `/api/streams` lists it.
fn listed(ledger: &Ledger, id: &str, vod: &Vod) -> Value {
    let duration_s = (vod.duration_s * 1000.0).round() / 1000.0;
    let mut entry = json!({
        "id": id, "name": ledger.name, "url": url(id), "start": date(vod.start_ms),
        "duration_s": duration_s, "state": "instant",
    });
    if let (false, Some(fields)) = (ledger.marks.is_empty(), entry.as_object_mut()) {
        fields.insert("marks".to_owned(), marks(ledger, Some(vod.start_ms)));
    }
    entry
}
