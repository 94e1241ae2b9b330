//! The end of a job: thumbnails, playlists, and then the multivariant playlist, which makes all of it visible.
//!
//! Everything is a function of the plan and the tasks' facts and is created once, so a worker that dies here, or two that
//! finish at once, change nothing. Until the last step viewers have what they had before.

use crate::drive::{Driver, Reels};
use crate::entry::{self, Asset, State};
use crate::facts::{RungFacts, TaskFacts};
use crate::finishing;
use crate::plan::Plan;
use crate::stores::Stores;
use crate::task::{Bench, name};
use crate::thumbs;
use crate::trouble::{Step, Trouble, fault, patiently};
use bytes::{Bytes, BytesMut};
use codec::vod::{FromVod, Job, Reel, SheetJob};
use media::hls::date;
use media::route::File;
use service::hooks::Event;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use tokio::task::JoinSet;

/// Pieces of segments that are read at a time.
const AT_ONCE: usize = 8;

/// Longest init segment or first picture that is read, in bytes.
const PIECE_BYTES_MAX: u64 = 16 << 20;

/// Most bytes of pictures of one sheet that are held at a time. What is beyond stays black.
const SHEET_BYTES_MAX: usize = 512 << 20;

/// By how much the ladder may be shorter than what was recorded, in seconds.
const SHORTER_S_MAX: f64 = 10.0;

/// Finishes a job of which all tasks are done.
pub(crate) async fn run(bench: Bench<'_>, plan: &Plan) -> Step<()> {
    let (stores, job) = (bench.stores, plan.job.as_str());
    let mut facts = Vec::new();
    for task in 0..u32::try_from(plan.tasks.len()).unwrap_or(u32::MAX) {
        let missing = || fault(format!("the facts of task {task} are missing"));
        facts.push(stores.facts(job, task).await?.ok_or_else(missing)?);
    }
    let lock = bench.protecting.lock(plan)?;
    let finished = finishing::playlists(plan, &facts, lock.as_ref()).map_err(|error| fault(error.to_string()))?;
    let missing = |number: u32| {
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        finished.missing.get(at).copied().unwrap_or(true)
    };
    // Pictures in clear would show what is protected.
    let thumbnails = lock.is_none() && sheets(stores, bench.program, plan, &facts, None).await?;
    if thumbnails {
        stores.create_file(job, thumbs::VTT, thumbs::vtt(plan, missing).into()).await.map(drop)?;
    }
    for (file, text) in &finished.media {
        stores.create_file(job, file, text.clone().into()).await.map(drop)?;
    }
    keeps_all(stores, job, finished.duration_s).await?;
    let multivariant = if thumbnails { finished.multivariant.clone() } else { finished.without_thumbnails() };
    stores.put_file(job, &File::Playlist.to_string(), multivariant.into()).await?;
    let asset = Asset { duration_s: Some(rounded(finished.duration_s)), ..Asset::of(plan) };
    // Before it is noted that nothing is left to do: whoever dies here is followed by somebody who tells it again.
    bench.hooks.tell_surely(told(&asset)).await;
    stores.create_finished(job).await?;
    ready(stores, &asset).await
}

/// What viewers have already must not become shorter: a fault if it is longer than what would take its place.
async fn keeps_all(stores: &Stores, asset: &str, duration_s: f64) -> Step<()> {
    let index = entry::file_key(asset, &File::Playlist.to_string());
    if patiently(|| stores.egress.head(&index)).await?.is_none() {
        return Ok(());
    }
    let there_s = stores.entry(asset).await?.as_deref().and_then(entry::duration_of).unwrap_or_default();
    if there_s <= duration_s + SHORTER_S_MAX {
        return Ok(());
    }
    Err(fault(format!(
        "the recording lasts {there_s:.0} s, what was made of it only {duration_s:.0} s: it stays as it is"
    )))
}

/// Says that an asset is ready.
pub(crate) async fn ready(stores: &Stores, asset: &Asset) -> Step<()> {
    let vtt = entry::file_key(&asset.id, thumbs::VTT);
    let thumbnails = patiently(|| stores.egress.head(&vtt)).await?.is_some();
    stores.write_entry(asset, State::Ready { thumbnails }).await
}

fn told(asset: &Asset) -> Event {
    let details = serde_json::json!({
        "url": entry::url(&asset.id), "start": date(asset.start_ms), "duration_s": asset.duration_s,
    });
    Event::vod_ready(Some(&asset.name), &asset.id, details)
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// Makes the contact sheets to which this task was the last to add, so that there is less left to do when the job is done, while
/// all others wait. `done` are the tasks that are.
pub(crate) async fn ahead(bench: Bench<'_>, plan: &Plan, task: u32, done: &BTreeSet<u32>) -> Step<()> {
    if plan.protect.is_some() {
        return Ok(());
    }
    for (sheet, tasks) in thumbs::complete(plan, task, done) {
        let mut facts = Vec::new();
        for task in tasks {
            facts.extend(bench.stores.facts(&plan.job, task).await?);
        }
        sheets(bench.stores, bench.program, plan, &facts, Some(sheet)).await?;
    }
    Ok(())
}

/// Makes the contact sheets that are not there yet; `only` this one, if it says so. `false` if none can be made: an asset
/// without them is better than none.
async fn sheets(stores: &Stores, program: &Path, plan: &Plan, facts: &[TaskFacts], only: Option<usize>) -> Step<bool> {
    let rung = thumbs::rung(plan);
    let Some(rendition) = plan.rungs.get(rung).map(|rung| rung.rendition.as_str()) else { return Ok(false) };
    let segments = facts.iter().flat_map(|task| &task.segments);
    let pictures: BTreeMap<u32, &RungFacts> =
        segments.filter_map(|segment| Some((segment.number, segment.rungs.get(rung)?.as_ref()?))).collect();
    let mut inits = HashMap::new();
    let count = u32::try_from(plan.segments.len()).unwrap_or(u32::MAX);
    let all = thumbs::layout(count).into_iter().enumerate();
    for (sheet, numbers) in all.filter(|(sheet, _)| only.is_none_or(|only| only == *sheet)) {
        let file = thumbs::sheet_name(sheet);
        let key = entry::file_key(&plan.job, &file);
        if patiently(|| stores.egress.head(&key)).await?.is_some() {
            continue;
        }
        let place = Place { stores, job: &plan.job, rendition };
        let reels = place.reels(numbers, &pictures, &mut inits).await?;
        let (width, height) = thumbs::tile(plan);
        match draw(program, reels, (width, height)).await {
            Ok(jpeg) => stores.create_file(&plan.job, &file, jpeg).await.map(drop)?,
            Err(Trouble::Fault(why)) => {
                tracing::warn!(job = plan.job, sheet, why, "thumbnails can't be made: the asset goes without");
                return Ok(false);
            }
            Err(machine) => return Err(machine),
        }
    }
    Ok(true)
}

/// Lets a child draw a sheet.
async fn draw(program: &Path, reels: Vec<Bytes>, (width, height): (u32, u32)) -> Step<Bytes> {
    let sizes = reels.iter().map(|reel| Reel { bytes: reel.len() as u64 });
    let job = Job::Sheet(SheetJob { reels: sizes.collect(), columns: thumbs::COLUMNS, width, height });
    let mut driver = Driver::start(program, job, Reels::Held(reels)).await?;
    let mut sheet = None;
    while let Some(said) = driver.next().await? {
        if let FromVod::Sheet(jpeg) = said {
            sheet = Some(jpeg);
        }
    }
    sheet.ok_or_else(|| fault("the encoder gave no picture"))
}

/// A rendition of an asset.
struct Place<'a> {
    stores: &'a Stores,
    job: &'a str,
    rendition: &'a str,
}

impl Place<'_> {
    /// What a child needs to draw these segments: of each its init and its first picture, or nothing.
    async fn reels(
        &self,
        numbers: std::ops::Range<u32>,
        pictures: &BTreeMap<u32, &RungFacts>,
        inits: &mut HashMap<String, Bytes>,
    ) -> Step<Vec<Bytes>> {
        let mut reels = vec![Bytes::new(); numbers.len()];
        let wanted: Vec<(usize, u32)> = numbers.enumerate().collect();
        let mut held: usize = 0;
        for some in wanted.chunks(AT_ONCE) {
            let mut running = JoinSet::new();
            for &(tile, number) in some {
                let Some(facts) = pictures.get(&number) else { continue };
                let init = self.init(&facts.init, inits).await?;
                let key = self.key(&File::Segment(u64::from(number)));
                let piece = piece(self.stores.clone(), key, facts.first_chunk);
                running.spawn(async move { piece.await.map(|piece| (tile, join(&init, &piece))) });
            }
            while let Some(read) = running.join_next().await {
                let (tile, reel) =
                    read.map_err(|lost| Trouble::Machine(format!("reading a segment failed: {lost}")))??;
                held = held.saturating_add(reel.len());
                if let Some(place) = reels.get_mut(tile).filter(|_| held <= SHEET_BYTES_MAX) {
                    *place = reel;
                }
            }
        }
        Ok(reels)
    }

    async fn init(&self, hash: &str, known: &mut HashMap<String, Bytes>) -> Step<Bytes> {
        if let Some(init) = known.get(hash) {
            return Ok(init.clone());
        }
        let key = self.key(&File::Init(hash.to_owned()));
        let init = patiently(|| self.stores.egress.get_all(&key, PIECE_BYTES_MAX)).await?;
        let init = init.ok_or_else(|| fault(format!("{key} is missing")))?;
        known.insert(hash.to_owned(), init.clone());
        Ok(init)
    }

    fn key(&self, file: &File) -> String {
        entry::file_key(self.job, &name(self.rendition, file))
    }
}

/// The first bytes of an object.
async fn piece(stores: Stores, key: String, length: u64) -> Step<Bytes> {
    let bytes = patiently(|| async {
        match stores.egress.get_range(&key, 0..length.min(PIECE_BYTES_MAX)).await? {
            Some(object) => object.body.collect(PIECE_BYTES_MAX).await.map(Some),
            None => Ok(None),
        }
    });
    bytes.await?.ok_or_else(|| fault(format!("{key} is missing")))
}

fn join(init: &Bytes, chunk: &Bytes) -> Bytes {
    let mut all = BytesMut::with_capacity(init.len().saturating_add(chunk.len()));
    all.extend_from_slice(init);
    all.extend_from_slice(chunk);
    all.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_can_be_watched_does_not_become_shorter() {
        let dir = tempfile::tempdir().unwrap();
        let stores = Stores::in_folder(dir.path()).await;
        let entry = r#"{"id":"foo-1","duration_s":60.0,"state":"transcoding"}"#;
        stores.egress.put(&entry::key("foo-1"), entry.into(), "application/json").await.unwrap();
        // There is nothing to watch.
        assert_eq!(keeps_all(&stores, "foo-1", 20.0).await, Ok(()));
        stores.put_file("foo-1", "index.m3u8", "#EXTM3U".into()).await.unwrap();
        for (duration_s, kept) in [(61.0, true), (60.0, true), (50.0, true), (49.0, false)] {
            assert_eq!(keeps_all(&stores, "foo-1", duration_s).await.is_ok(), kept, "{duration_s} s");
        }
        let words = keeps_all(&stores, "foo-1", 20.0).await.unwrap_err();
        assert!(matches!(&words, Trouble::Fault(why) if why.contains("60 s") && why.contains("20 s")), "{words}");
    }
}
