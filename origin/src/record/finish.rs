//! Makes a session whole: playlists over what is there, the asset's entry, and last of all `ended.json`.
//!
//! The origin that recorded it does this when all its files are stored; a process that found its origin gone does the
//! same from the log ([`super::reconcile`]). Both may, at the same moment: each object is created by whoever comes first,
//! and what has more segments in it takes the place of what has fewer. Nothing here touches what transcoders wrote.

use super::ledger::merge::supersedes;
use super::ledger::{End, Ledger, Vod, key, url};
use super::stores::Stores;
use super::{catalog, keys, log};
use bytes::Bytes;
use media::hls::date;
use media::route::File;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};
use store::{Creation, Error, Objects};

/// Longest playlist, in bytes: weeks.
const PLAYLIST_BYTES_MAX: u64 = 64 << 20;

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
        write_vod(&ingest, &egress, mine, id, vod).await?;
        entry = egress.get_all(&catalog::key(id), catalog::ENTRY_BYTES_MAX).await?;
    }
    if mine.parts.is_empty() && asset.is_none() {
        // Nothing came in: there is nothing that anybody could look for. Who may not remove leaves a name behind, no more.
        if let Err(error) = ingest.remove(&keys::sign(&mine.name, &mine.session)).await {
            tracing::debug!(stream = mine.name, %error, "can't remove the sign of an empty recording");
        }
        return Ok(None);
    }
    let ended = ended(mine, vod.as_ref(), asset.as_deref(), end, words);
    // Who comes second has found that somebody took this one for dead, or was that somebody: both said what there is.
    ingest.create(&keys::ended(&mine.name, &mine.session), ended.to_string().into(), JSON).await?;
    Ok(entry)
}

/// What `ended.json` says.
fn ended(mine: &Ledger, vod: Option<&Vod>, asset: Option<&str>, end: End, words: &str) -> Value {
    let part = |(number, bytes): (&u64, &u64)| json!({ "key": keys::part(&mine.name, &mine.session, *number), "bytes": bytes });
    let layout = mine.layout.unwrap_or_default();
    json!({
        "name": mine.name, "session": mine.session, "asset": asset,
        "start": date(mine.epoch.map_or(mine.began_ms, |(anchor_ms, _)| anchor_ms)),
        "end": date(end.at_ms), "reason": end.reason,
        "parts": mine.parts.iter().map(part).collect::<Vec<_>>(),
        "renditions": vod.map(|vod| vod.renditions.clone()).unwrap_or_default(), "recording": words,
        "projection": layout.projection, "stereo": layout.stereo,
    })
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

/// Nobody sees a playlist before what it lists, nor an asset before its playlists.
async fn write_vod(ingest: &Objects, egress: &Objects, mine: &Ledger, id: &str, vod: &Vod) -> Result<(), Error> {
    let mut wrote = false;
    for (name, text) in &vod.playlists {
        wrote |= write_playlist(egress, &key(id, name), text).await?;
    }
    let (index, listing) = (key(id, &File::Playlist.to_string()), catalog::key(id));
    let (text, entry) = (Bytes::from(vod.multivariant.clone()), asset(&mine.name, id, vod));
    let first_index = egress.create(&index, text.clone(), PLAYLIST).await? == Creation::Created;
    let first_entry = egress.create(&listing, entry.to_string().into(), JSON).await? == Creation::Created;
    if (first_index && first_entry) || !wrote {
        return Ok(());
    }
    // Somebody was here before, with less. From the moment a transcoder has planned, both objects are the transcoders'.
    if ingest.head(&format!("{}/{id}/plan.json", keys::JOBS)).await?.is_some() {
        return Ok(());
    }
    if !first_index {
        egress.put(&index, text, PLAYLIST).await?;
    }
    if !first_entry
        && let Some(old) = egress.get_all(&listing, catalog::ENTRY_BYTES_MAX).await?
        && let Some(new) = updated(&old, &entry)
    {
        egress.put(&listing, new, JSON).await?;
    }
    Ok(())
}

/// An entry with the length of a newer one, unless transcoders have it in hand.
fn updated(old: &[u8], new: &Value) -> Option<Bytes> {
    let Ok(Value::Object(mut old)) = serde_json::from_slice(old) else { return None };
    if old.get("state").and_then(Value::as_str) != Some("instant") {
        return None;
    }
    for field in ["start", "duration_s"] {
        old.extend(new.get(field).map(|value| (field.to_owned(), value.clone())));
    }
    Some(Value::Object(old).to_string().into())
}

/// Writes a media playlist unless there is one with as much in it. Says whether it did.
async fn write_playlist(egress: &Objects, key: &str, text: &str) -> Result<bool, Error> {
    let content = Bytes::from(text.to_owned());
    if egress.create(key, content.clone(), PLAYLIST).await? == Creation::Created {
        return Ok(true);
    }
    let old = egress.get_all(key, PLAYLIST_BYTES_MAX).await?.unwrap_or_default();
    if !supersedes(text, &String::from_utf8_lossy(&old)) {
        return Ok(false);
    }
    egress.put(key, content, PLAYLIST).await?;
    Ok(true)
}

/// An asset as `/api/streams` lists it.
fn asset(name: &str, id: &str, vod: &Vod) -> Value {
    let duration_s = (vod.duration_s * 1000.0).round() / 1000.0;
    json!({
        "id": id, "name": name, "url": url(id), "start": date(vod.start_ms),
        "duration_s": duration_s, "state": "instant",
    })
}
