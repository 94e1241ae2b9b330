//! From a source to its plan: what it is called, what lies in it, and how it is cut up.
//!
//! Asks the store and a child; decides nothing that [`crate::planning`] doesn't.

use crate::drive::{Driver, Reels};
use crate::entry::Asset;
use crate::plan::{Plan, ReelPlan};
use crate::planning::{self, Input, ProbedReel};
use crate::reader::Reader;
use crate::source::{self, Ended, Kind};
use crate::stores::Stores;
use crate::trouble::{Step, Trouble, fault, of_source, patiently};
use codec::vod::{Effort, FromVod, Job, Reel, Tracks};
use media::ladder::Ladder;
use media::projection::Layout;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// Most packets of one source that are looked at: twelve hours of 240 pictures a second, and sound.
const STAMPS_MAX: usize = 16_000_000;

/// Where the recorders' signs of life are, `{name}/{session}.json`.
const SIGNS: &str = "sessions";

/// Longest sign of life that is read, in bytes.
const SIGN_BYTES_MAX: u64 = 64 << 10;

/// By how much clocks of stores and origins may differ.
const CLOCKS_APART: Duration = Duration::from_secs(600);

/// A recorder that gave no sign for so long is gone. Others finish what it recorded long before.
const SILENT: Duration = Duration::from_secs(900);

/// A source that is there.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    /// Its key.
    pub(crate) key: String,
    /// The asset that is made of it; its id is the job's name.
    pub(crate) asset: Asset,
    /// How the picture lies, if something beside the file says so.
    layout: Option<Layout>,
    /// Whether what was recorded of it is encrypted.
    pub(crate) protect: bool,
    /// Objects and their lengths, still without ETags where they aren't known; or why there are none.
    reels: Step<Vec<ReelPlan>>,
}

/// Looks at a source; `None` if it is not there any more, or none.
pub(crate) async fn find(stores: &Stores, key: &str) -> Step<Option<Found>> {
    let Some(kind) = source::kind(key) else { return Ok(None) };
    let Some(facts) = patiently(|| stores.ingest.head(key)).await? else { return Ok(None) };
    let written = facts.modified.and_then(|modified| modified.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let modified_ms = i64::try_from(written.as_millis()).unwrap_or(0);
    match kind {
        Kind::Upload => {
            let id = source::upload_job(key, facts.etag.as_deref(), modified_ms);
            let asset = Asset { id, name: source::upload_name(key), start_ms: modified_ms, duration_s: None };
            let reel = ReelPlan { key: key.to_owned(), bytes: facts.bytes, etag: facts.etag };
            let (key, layout, protect, reels) = (key.to_owned(), None, false, Ok(vec![reel]));
            Ok(Some(Found { key, asset, layout, protect, reels }))
        }
        Kind::Recording { name, session } => {
            let ended = match of_source(|| stores.ingest.get_all(key, source::ENDED_BYTES_MAX)).await {
                Ok(None) => return Ok(None),
                Ok(Some(text)) => Ended::parse(key, &text).map_err(|bad| fault(bad.to_string())),
                Err(trouble) => Err(trouble),
            };
            let ended = match ended {
                Ok(ended) => ended,
                Err(bad) => {
                    let id = nameless(&name, &session);
                    let asset = Asset { id, name, start_ms: modified_ms, duration_s: None };
                    let (key, layout, protect, reels) = (key.to_owned(), None, false, Err(bad));
                    return Ok(Some(Found { key, asset, layout, protect, reels }));
                }
            };
            let (id, name, start_ms) = (ended.job(), ended.name.clone(), ended.start_ms);
            let reels = ended.parts.into_iter().map(|part| ReelPlan { key: part.key, bytes: part.bytes, etag: None });
            let (asset, reels) = (Asset { id, name, start_ms, duration_s: None }, Ok(reels.collect()));
            let (key, layout, protect) = (key.to_owned(), Some(ended.layout), ended.protect);
            Ok(Some(Found { key, asset, layout, protect, reels }))
        }
    }
}

/// The source that counts among the recordings of one broadcast: several origins may have received it, and all of them name
/// the same asset. `None` while one of them is still recording: its own `ended.json` brings all of this up again.
pub(crate) async fn best(stores: &Stores, found: Found) -> Step<Option<Found>> {
    let Some(Kind::Recording { name, session }) = source::kind(&found.key) else { return Ok(Some(found)) };
    if found.reels.is_err() {
        return Ok(Some(found));
    }
    let entries = stores.list(&format!("{}/{name}", source::RECORDINGS)).await?;
    // What ended before this began has no part in it, and need not be read.
    let began = u64::try_from(found.asset.start_ms).unwrap_or_default();
    let began = UNIX_EPOCH + Duration::from_millis(began).saturating_sub(CLOCKS_APART);
    let others = entries.iter().filter(|entry| entry.key != found.key && entry.modified >= began);
    let others = others.filter(|entry| matches!(source::kind(&entry.key), Some(Kind::Recording { .. })));
    let (mut all, mut ended) = (Vec::new(), HashSet::from([session]));
    for entry in others {
        let Some(Kind::Recording { session, .. }) = source::kind(&entry.key) else { continue };
        ended.insert(session);
        all.extend(find(stores, &entry.key).await?.filter(|other| other.asset.id == found.asset.id));
    }
    for entry in stores.list(&format!("{SIGNS}/{name}")).await? {
        let file = entry.key.rsplit_once('/').map_or("", |(_, file)| file);
        let session = file.strip_suffix(".json").unwrap_or_default();
        let silent = entry.modified.elapsed().is_ok_and(|since| since > SILENT);
        if session.is_empty() || ended.contains(session) || silent {
            continue;
        }
        let sign = patiently(|| stores.ingest.get_all(&entry.key, SIGN_BYTES_MAX)).await?;
        let sign = sign.and_then(|text| serde_json::from_slice::<Sign>(&text).ok());
        if sign.and_then(|sign| sign.asset).as_deref() == Some(found.asset.id.as_str()) {
            tracing::info!(job = found.asset.id, session, "another origin still records the same: waiting for it");
            return Ok(None);
        }
    }
    all.push(found);
    Ok(longest(all))
}

/// Of equal length the one whose key comes last.
fn longest(all: Vec<Found>) -> Option<Found> {
    let bytes = |found: &Found| {
        let reels = found.reels.as_deref().unwrap_or_default();
        reels.iter().fold(0_u64, |sum, reel| sum.saturating_add(reel.bytes))
    };
    all.into_iter().max_by(|a, b| (bytes(a), &a.key).cmp(&(bytes(b), &b.key)))
}

/// What is read of a session's sign of life.
#[derive(serde::Deserialize)]
struct Sign {
    #[serde(default)]
    asset: Option<String>,
}

/// The job of a recording whose `ended.json` can't be read: by its folder.
pub(crate) fn nameless(name: &str, session: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    format!("{name}-{}", session.chars().map(legal).take(48).collect::<String>())
}

/// Makes a plan of it.
pub(crate) async fn plan(
    stores: &Stores,
    program: &Path,
    found: &Found,
    ladder: &Ladder,
    effort: Effort,
) -> Step<Plan> {
    let reels = with_etags(stores, found).await?;
    if reels.iter().fold(0_u64, |sum, reel| sum.saturating_add(reel.bytes)) > source::SOURCE_BYTES_MAX {
        return Err(fault(format!("it is longer than {} GB", source::SOURCE_BYTES_MAX / 1_000_000_000)));
    }
    let probed = probe(stores, program, reels).await?;
    let (job, name, source) = (found.asset.id.clone(), found.asset.name.clone(), found.key.clone());
    let (start_ms, layout, ladder) = (found.asset.start_ms, found.layout, ladder.clone());
    // Hours of packets take a while.
    let planned = tokio::task::spawn_blocking(move || {
        let input = Input {
            job: &job,
            name: &name,
            start_ms,
            source: &source,
            reels: &probed,
            layout,
            ladder: &ladder,
            effort,
        };
        planning::plan(&input)
    });
    let planned = planned.await.map_err(|lost| match lost.is_panic() {
        true => fault(format!("planning failed: {lost}")),
        // The process ends.
        false => Trouble::Machine(format!("planning was broken off: {lost}")),
    })?;
    planned.map_err(|error| fault(error.to_string()))
}

/// A recording's parts as the store has them now; what is missing of them is a fault.
async fn with_etags(stores: &Stores, found: &Found) -> Step<Vec<ReelPlan>> {
    let reels = found.reels.clone()?;
    if reels.iter().all(|reel| reel.etag.is_some()) {
        return Ok(reels);
    }
    let folder = found.key.rsplit_once('/').map_or("", |(folder, _)| folder);
    let entries = stores.list(folder).await?;
    let known: HashMap<&str, &store::Entry> = entries.iter().map(|entry| (entry.key.as_str(), entry)).collect();
    let with_etag = |reel: &ReelPlan| {
        let entry = known.get(reel.key.as_str());
        let entry = entry.ok_or_else(|| fault(format!("{} is missing", reel.key)))?;
        if entry.bytes != reel.bytes {
            return Err(fault(format!("{} is not what was recorded: its length is another", reel.key)));
        }
        Ok(ReelPlan { etag: entry.etag.clone(), ..reel.clone() })
    };
    reels.iter().map(with_etag).collect()
}

async fn probe(stores: &Stores, program: &Path, reels: Vec<ReelPlan>) -> Step<Vec<ProbedReel>> {
    let job = Job::Probe { reels: reels.iter().map(|reel| Reel { bytes: reel.bytes }).collect() };
    let reader = Reader::new(stores.ingest.clone(), reels.clone());
    let mut driver = Driver::start(program, job, Reels::Stored(Box::new(reader))).await?;
    let nothing = || Tracks { format: String::new(), video: None, audio: None };
    let empty = |reel: ReelPlan| {
        let ReelPlan { key, bytes, etag } = reel;
        ProbedReel { key, bytes, etag, tracks: nothing(), video: Vec::new(), audio: Vec::new() }
    };
    let mut probed: Vec<ProbedReel> = reels.into_iter().map(empty).collect();
    let mut stamps: usize = 0;
    while let Some(said) = driver.next().await? {
        let place = |reel: u32| usize::try_from(reel).unwrap_or(usize::MAX);
        match said {
            FromVod::Tracks { reel, tracks } => {
                if let Some(probed) = probed.get_mut(place(reel)) {
                    probed.tracks = tracks;
                }
            }
            FromVod::Stamps { reel, video, audio } => {
                stamps = stamps.saturating_add(video.len()).saturating_add(audio.len());
                if stamps > STAMPS_MAX {
                    return Err(fault("it has more pictures and sound than twelve hours can have"));
                }
                if let Some(probed) = probed.get_mut(place(reel)) {
                    probed.video.extend(video);
                    probed.audio.extend(audio);
                }
            }
            _ => {}
        }
    }
    Ok(probed)
}
