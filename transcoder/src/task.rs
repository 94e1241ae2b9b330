//! One task: what is missing of its segments is encoded and stored, and then its facts.
//!
//! Every object is created once under its final name, as soon as it is whole, beside the encoding of the next. So a worker
//! that dies leaves whole segments, and who takes the task up begins behind them. Dropped at any moment, this leaves nothing
//! half done.

use crate::drive::{Driver, Reels};
use crate::facts::{self, RungFacts, SegmentFacts, TaskFacts};
use crate::leaving::{InHand, Leaving};
use crate::meters::Meters;
use crate::packing::{AUDIO, Made, Packing, sound_init};
use crate::plan::{Plan, TaskPlan};
use crate::protect::{self, Protecting};
use crate::reader::Reader;
use crate::stores::Stores;
use crate::trouble::{Step, Trouble, fault, patiently};
use crate::work::{self, There, Work};
use bytes::Bytes;
use codec::vod::Job;
use media::protect::Lock;
use media::route::{File, MADE};
use service::hooks::Hooks;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use store::{Creation, Objects};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Objects that are asked for or stored at a time.
const AT_ONCE: usize = 4;

/// Longest segment that is read back, in bytes: a cap of 80 Mbit/s over the longest there can be, and room.
const SEGMENT_BYTES_MAX: u64 = 256 << 20;

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Its facts are stored.
    Done,
    /// The worker is to leave, and the last segment that it began is stored.
    Left,
}

/// What it takes to work on a task.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bench<'a> {
    pub(crate) stores: &'a Stores,
    pub(crate) program: &'a Path,
    pub(crate) leaving: &'a Leaving,
    pub(crate) meters: &'a Meters,
    pub(crate) hooks: &'a Hooks,
    pub(crate) protecting: &'a Protecting,
}

/// What is known of a task's objects so far.
#[derive(Debug)]
struct Known<'a> {
    plan: &'a Plan,
    /// What its segments are encrypted with, if they are.
    lock: Option<Lock>,
    /// By segment: facts by rung; `Some(None)` of a rung that nothing could be decoded for.
    rungs: BTreeMap<u32, Vec<Option<Option<RungFacts>>>>,
    sound: BTreeMap<u32, u64>,
}

/// Makes what is missing of a task, and says that it is done.
pub(crate) async fn run(bench: Bench<'_>, plan: &Plan, number: u32) -> Step<Ended> {
    let task = usize::try_from(number).ok().and_then(|at| plan.tasks.get(at)).copied();
    let task = task.ok_or_else(|| fault("the plan has no such task"))?;
    let mut known = look(bench.stores, plan, bench.protecting.lock(plan)?, &task).await?;
    let works = work::lacking(plan, &task, &known.there());
    let lacking: usize = works.iter().map(|work| work.skip.len()).sum();
    bench.meters.begin(&plan.job, number, lacking, usize::try_from(task.segments()).unwrap_or_default());
    if let Some(sound) = plan.sound.as_ref().filter(|_| plan.makes_sound(&task)) {
        let (file, bytes) = sound_init(sound)?;
        bench.stores.create_file(&plan.job, &name(AUDIO, &file), bytes).await.map(drop)?;
    }
    for work in &works {
        let ended = encode(bench, plan, work, &mut known).await?;
        // Noting it takes a moment.
        bench.leaving.hold(InHand { made: true, ..InHand::default() });
        if ended == Ended::Left {
            return Ok(Ended::Left);
        }
    }
    let facts = known.facts(number, &task)?;
    bench.stores.create_facts(&plan.job, &facts).await?;
    Ok(Ended::Done)
}

/// Lets a child do this work, and stores what comes of it.
async fn encode<'a>(bench: Bench<'_>, plan: &'a Plan, work: &'a Work, known: &mut Known<'a>) -> Step<Ended> {
    let (job, (from, to)) = work::job(plan, work)?;
    let range = usize::try_from(from).unwrap_or_default()..usize::try_from(to).unwrap_or_default();
    let reels = plan.source.reels.get(range).unwrap_or_default().to_vec();
    let reader = Reader::new(bench.stores.ingest.clone(), reels);
    let mut driver = Driver::start(bench.program, Job::Encode(job), Reels::Stored(Box::new(reader))).await?;
    let mut packing = Packing::new(plan, work)?;
    let mut uploads = Uploads::new(bench.stores.clone(), plan.job.clone(), known.lock.clone());
    let mut pace = Pace::new(plan, work, bench);
    let mut made = Vec::new();
    packing.begin(&mut made);
    loop {
        let said = driver.next().await?;
        let ended = said.is_none();
        match said {
            Some(said) => packing.take(said, &mut made)?,
            None => packing.finish(&mut made)?,
        }
        for made in made.drain(..) {
            match made {
                Made::Init { rung, file, bytes } => {
                    // Whoever finds a segment finds its init.
                    let file = name(rendition(plan, rung), &file);
                    bench.stores.create_file(&plan.job, &file, bytes).await.map(drop)?;
                }
                Made::Picture { rung, number, bytes, facts } => {
                    let bytes = protect::seal(known.lock.as_ref(), number, bytes);
                    let facts = RungFacts { bytes: bytes.len() as u64, ..facts };
                    // Before it is stored: what was made and is not there was lost.
                    tracing::debug!(job = plan.job, segment = number, rung, "made");
                    uploads.add((number, Some(rung)), name(rendition(plan, rung), &segment(number)), bytes).await?;
                    known.picture(number, rung, Some(facts));
                    pace.made(number);
                }
                Made::Gap { rung, number } => {
                    known.picture(number, rung, None);
                    pace.made(number);
                }
                Made::Sound { number, bytes } => {
                    let bytes = protect::seal(known.lock.as_ref(), number, bytes);
                    known.sound.insert(number, bytes.len() as u64);
                    uploads.add((number, None), name(AUDIO, &segment(number)), bytes).await?;
                }
            }
        }
        if ended {
            // What somebody else made first is what there is, whatever was made here.
            uploads.finish().await?.into_iter().for_each(|found| known.add(found));
            return Ok(Ended::Done);
        }
        // At a segment's end, and nowhere else, is the moment to leave.
        if pace.at_boundary() {
            if bench.leaving.is_told() {
                uploads.finish().await?;
                return Ok(Ended::Left);
            }
            pace.tell(false);
        }
    }
}

/// What is there of a task already; facts are read from the objects themselves.
async fn look<'a>(stores: &Stores, plan: &'a Plan, lock: Option<Lock>, task: &TaskPlan) -> Step<Known<'a>> {
    let mut known = Known { plan, lock, rungs: BTreeMap::new(), sound: BTreeMap::new() };
    let rungs = (0..plan.rungs.len()).filter(|rung| task.makes(*rung));
    let sound = plan.makes_sound(task).then_some(None);
    let places: Vec<(u32, Option<usize>)> = (task.first..task.after)
        .flat_map(|number| rungs.clone().map(Some).chain(sound).map(move |rung| (number, rung)))
        .collect();
    for some in places.chunks(AT_ONCE) {
        let mut running = JoinSet::new();
        for &(number, rung) in some {
            let folder = rung.map_or(AUDIO, |rung| rendition(plan, rung));
            let key = crate::entry::file_key(&plan.job, &name(folder, &segment(number)));
            running.spawn(find(stores.egress.clone(), key, (number, rung), known.lock.clone()));
        }
        while let Some(looked) = running.join_next().await {
            let looked = looked.map_err(|lost| Trouble::Machine(format!("looking at an object failed: {lost}")))?;
            if let Some(found) = looked? {
                known.add(found);
            }
        }
    }
    Ok(known)
}

/// Reads what the object of a segment (and a rung; none: its sound) says of itself, if it is there.
async fn find(
    egress: Objects,
    key: String,
    (number, rung): (u32, Option<usize>),
    lock: Option<Lock>,
) -> Step<Option<Found>> {
    let Some(stored) = patiently(|| egress.get_all(&key, SEGMENT_BYTES_MAX)).await? else { return Ok(None) };
    let bytes = stored.len() as u64;
    let object = protect::open(lock.as_ref(), number, stored)?;
    let found = match rung {
        Some(rung) => {
            let facts = facts::read_segment(&object).map(|facts| RungFacts { bytes, ..facts });
            facts.map(|facts| Found::Picture(number, rung, facts))
        }
        None => facts::read_sound(&object).map(|_| Found::Sound(number, bytes)),
    };
    found.map(Some).ok_or_else(|| fault(format!("{key} is there, but is no segment of this job")))
}

/// An object that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    Picture(u32, usize, RungFacts),
    Sound(u32, u64),
}

impl Known<'_> {
    fn add(&mut self, found: Found) {
        match found {
            Found::Picture(number, rung, facts) => self.picture(number, rung, Some(facts)),
            Found::Sound(number, bytes) => {
                self.sound.insert(number, bytes);
            }
        }
    }

    fn picture(&mut self, number: u32, rung: usize, facts: Option<RungFacts>) {
        let rungs = self.rungs.entry(number).or_insert_with(|| vec![None; self.plan.rungs.len()]);
        if let Some(place) = rungs.get_mut(rung) {
            *place = Some(facts);
        }
    }

    fn there(&self) -> There {
        let mask = |rungs: &Vec<Option<Option<RungFacts>>>| {
            let bits = (0_u32..).zip(rungs).filter(|(_, facts)| facts.is_some());
            bits.fold(0_u8, |mask, (bit, _)| mask | 1_u8.checked_shl(bit).unwrap_or_default())
        };
        There {
            rungs: self.rungs.iter().map(|(number, rungs)| (*number, mask(rungs))).collect(),
            sound: self.sound.keys().copied().collect(),
        }
    }

    /// All segments of the task; an error if something was not made and should have been.
    fn facts(&self, number: u32, task: &TaskPlan) -> Step<TaskFacts> {
        let facts_of = |number: u32| {
            let missing = || fault(format!("the encoder left out segment {number}"));
            let known = self.rungs.get(&number).ok_or_else(missing)?;
            // Other tasks' rungs are theirs to tell of.
            let own =
                known.iter().enumerate().map(|(rung, facts)| if task.makes(rung) { facts.clone() } else { Some(None) });
            let rungs: Option<Vec<Option<RungFacts>>> = own.collect();
            let sound = self.sound.get(&number).copied();
            Ok(SegmentFacts { number, rungs: rungs.ok_or_else(missing)?, sound })
        };
        let segments: Step<Vec<SegmentFacts>> = (task.first..task.after).map(facts_of).collect();
        Ok(TaskFacts { version: facts::VERSION, task: number, segments: segments? })
    }
}

/// Stores what is made, a few at a time, while the child goes on.
struct Uploads {
    stores: Stores,
    job: String,
    lock: Option<Lock>,
    /// Dropped, it ends what runs.
    running: JoinSet<Step<Option<Found>>>,
    /// What was there already.
    found: Vec<Found>,
}

impl Uploads {
    fn new(stores: Stores, job: String, lock: Option<Lock>) -> Self {
        Self { stores, job, lock, running: JoinSet::new(), found: Vec::new() }
    }

    async fn add(&mut self, place: (u32, Option<usize>), file: String, bytes: Bytes) -> Step<()> {
        while let Some(stored) = self.running.try_join_next() {
            self.found.extend(stored_well(stored)?);
        }
        // The child waits: memory has no room for all that a slow store does not take.
        if self.running.len() >= AT_ONCE
            && let Some(stored) = self.running.join_next().await
        {
            self.found.extend(stored_well(stored)?);
        }
        let (stores, job, lock) = (self.stores.clone(), self.job.clone(), self.lock.clone());
        self.running.spawn(async move {
            match stores.create_file(&job, &file, bytes).await? {
                Creation::Created => Ok(None),
                Creation::AlreadyThere => {
                    find(stores.egress.clone(), crate::entry::file_key(&job, &file), place, lock).await
                }
            }
        });
        Ok(())
    }

    /// Waits until all is stored; gives what others had stored before.
    async fn finish(&mut self) -> Step<Vec<Found>> {
        while let Some(stored) = self.running.join_next().await {
            self.found.extend(stored_well(stored)?);
        }
        Ok(std::mem::take(&mut self.found))
    }
}

fn stored_well(stored: Result<Step<Option<Found>>, tokio::task::JoinError>) -> Step<Option<Found>> {
    stored.map_err(|lost| Trouble::Machine(format!("storing a segment failed: {lost}")))?
}

/// Which segment is in hand, and how long they take.
struct Pace<'a> {
    plan: &'a Plan,
    bench: Bench<'a>,
    /// Rungs that are still to come, by segment.
    left: BTreeMap<u32, u32>,
    begun: Instant,
    took: Duration,
    whole: u32,
    boundary: bool,
}

impl<'a> Pace<'a> {
    fn new(plan: &'a Plan, work: &Work, bench: Bench<'a>) -> Self {
        let rungs = u32::try_from(plan.rungs.len()).unwrap_or_default();
        let left = |skip: u8| rungs.saturating_sub(skip.count_ones());
        let left =
            work.skip.iter().map(|(number, skip)| (*number, left(*skip))).filter(|(_, left)| *left > 0).collect();
        let pace = Self { plan, bench, left, begun: Instant::now(), took: Duration::ZERO, whole: 0, boundary: false };
        pace.tell(false);
        pace
    }

    /// A rung of a segment is made.
    fn made(&mut self, number: u32) {
        let Some(left) = self.left.get_mut(&number) else { return };
        *left = left.saturating_sub(1);
        if *left > 0 {
            return;
        }
        self.left.remove(&number);
        let now = Instant::now();
        let took = now.saturating_duration_since(self.begun);
        (self.begun, self.took, self.boundary) = (now, self.took.saturating_add(took), true);
        self.whole = self.whole.saturating_add(1);
        let ticks = work::segment(self.plan, number).map_or(0, |segment| segment.ticks);
        self.bench.meters.segment(took, ticks);
        self.tell(true);
    }

    /// Whether a segment has become whole since this was asked last.
    fn at_boundary(&mut self) -> bool {
        std::mem::take(&mut self.boundary)
    }

    /// Says what is in hand: a segment that is `made`, or the next one.
    fn tell(&self, made: bool) {
        let usual = self.took.checked_div(self.whole);
        self.bench.leaving.hold(InHand { begun: Some(self.begun), usual, made });
    }
}

fn rendition(plan: &Plan, rung: usize) -> &str {
    plan.rungs.get(rung).map_or("", |rung| rung.rendition.as_str())
}

fn segment(number: u32) -> File {
    File::Segment(u64::from(number))
}

/// A file of a rendition below `vod/{asset}/`.
pub(crate) fn name(rendition: &str, file: &File) -> String {
    format!("{MADE}/{rendition}/{file}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn facts_are_those_of_the_object_that_is_there_whoever_made_it() {
        let dir = tempfile::tempdir().unwrap();
        let stores = Stores::in_folder(dir.path()).await;
        let (pictures, _) = facts::tests::segment();
        let made = |codec: &str| Bytes::from([&facts::head("0123456789abcdef", codec)[..], &pictures].concat());
        let (mine, theirs) = (made("avc1.640028"), made("avc1.64001f"));
        let file = name("320w", &segment(3));
        let store = async |bytes: &Bytes| {
            let mut uploads = Uploads::new(stores.clone(), "foo-1".to_owned(), None);
            uploads.add((3, Some(1)), file.clone(), bytes.clone()).await?;
            uploads.finish().await
        };
        assert_eq!(store(&theirs).await, Ok(Vec::new()));
        let found = Found::Picture(3, 1, facts::read_segment(&theirs).unwrap());
        assert_eq!(store(&mine).await, Ok(vec![found]));
    }
}
