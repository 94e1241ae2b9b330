//! Plans that were read back: nothing in them may surprise those who work by them.

use super::rate::FPS_MAX;
use super::sound::unhex;
use super::{DURATION_S_MAX, LIMIT, PLAN_BYTES_MAX, SIDE_MAX, TIMESCALE};
use crate::ladder::RUNGS_MAX;
use crate::plan::{Plan, Run, RungPlan, SegmentPlan, SoundPlan, Span, VERSION};
use crate::source::{PARTS_MAX, SOURCE_BYTES_MAX};
use crate::{jobs, source};
use media::aac::AudioConfig;
use media::ladder::Rendition;
use media::unit::AAC_FRAME_SAMPLES;
use std::collections::HashSet;

/// Longest segment, seconds: one of six with a gap of ten in it, and room.
const TARGET_S_MAX: u32 = 60;

/// Highest cap of a rung, bit/s.
const BITRATE_MAX: u32 = 200_000_000;

/// Highest CRF of x264 with 8 bit.
const CRF_MAX: u8 = 51;

/// Longest name of the source's stream, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// Why a plan is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the plan can't be used: {0}")]
pub struct BadPlan(&'static str);

type Verdict = Result<(), BadPlan>;

impl Plan {
    /// Reads one, and checks it.
    pub fn parse(text: &[u8]) -> Result<Self, BadPlan> {
        must(text.len() as u64 <= PLAN_BYTES_MAX, "it is longer than 16 MiB")?;
        let plan: Self = serde_json::from_slice(text).map_err(|_| BadPlan("it is not in the form of one"))?;
        plan.check()?;
        Ok(plan)
    }

    /// The document as it is stored: the same plan gives the same bytes.
    pub fn to_json(&self) -> String {
        // Plain structs can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Checks a plan that was read back: afterwards every number in it leads somewhere, and sums don't overflow.
    pub fn check(&self) -> Result<(), BadPlan> {
        must(self.version == VERSION, "it is of another version")?;
        must(jobs::is_name(&self.job), "its job has no name that a job can have")?;
        must(self.name.len() <= NAME_BYTES_MAX && jobs::is_name(&self.name), "its name is none")?;
        must((0..LIMIT).contains(&self.start_ms), "its start is no date")?;
        must(source::kind(&self.source.key).is_some(), "its source is none")?;
        must((500..=10_000).contains(&self.segment_ms), "its segments are too short or too long")?;
        must((1..=TARGET_S_MAX).contains(&self.target_s), "its target duration is too short or too long")?;
        self.check_reels()?;
        self.check_rungs()?;
        self.sound.as_ref().map_or(Ok(()), check_sound)?;
        self.check_runs()?;
        self.check_segments()?;
        self.check_tasks()
    }

    fn check_reels(&self) -> Verdict {
        let reels = &self.source.reels;
        must((1..=PARTS_MAX).contains(&reels.len()), "it has no reels, or too many")?;
        must(reels.iter().all(|reel| store::check_key(&reel.key).is_ok()), "a reel's key is none")?;
        let bytes = reels.iter().fold(0_u64, |sum, reel| sum.saturating_add(reel.bytes));
        must(bytes <= SOURCE_BYTES_MAX, "its reels are more than 200 GB")
    }

    fn check_rungs(&self) -> Verdict {
        must((1..=RUNGS_MAX).contains(&self.rungs.len()), "it has no rungs, or too many")?;
        let mut names = HashSet::new();
        must(self.rungs.iter().all(|rung| names.insert(&rung.rendition)), "a rung stands in it twice")?;
        must(self.rungs.is_sorted_by(|a, b| a.width > b.width), "its rungs are out of order")?;
        must(self.rungs.iter().all(is_rung), "a rung of it can't be made")
    }

    fn check_runs(&self) -> Verdict {
        let reels = self.source.reels.len();
        let inside = |run: &Run| run.reels.0 < run.reels.1 && index(run.reels.1) <= reels;
        must(!self.runs.is_empty() && self.runs.len() <= self.segments.len(), "it has no runs, or too many")?;
        must(self.runs.iter().all(inside), "a run of it lies outside the source")?;
        must(self.runs.iter().all(|run| is_time(run.origin) && is_asset_time(run.at)), "a run's times are none")?;
        let good = |&(num, den): &(u32, u32)| {
            num > 0 && den > 0 && f64::from(num) / f64::from(den) <= FPS_MAX && u64::from(den) <= u64::from(num) * 1000
        };
        must(self.runs.iter().all(|run| good(&run.frame_rate)), "a run's frame rate is none")
    }

    fn check_segments(&self) -> Verdict {
        must(!self.segments.is_empty(), "it has no segments")?;
        must(self.segments.len() < index(jobs::TASKS_MAX), "it has too many segments")?;
        let first = self.segments.first();
        must(first.is_some_and(|first| first.run == 0 && first.at == 0), "it doesn't begin at its beginning")?;
        let last = self.segments.last().map(|last| index(last.run).saturating_add(1));
        must(last == Some(self.runs.len()), "a run of it has no segments")?;
        self.segments.iter().try_for_each(|segment| self.check_segment(segment))?;
        let pairs = || self.segments.iter().zip(self.segments.iter().skip(1));
        must(pairs().all(|(a, b)| a.at + a.ticks == b.at), "its segments are not in a row")?;
        let goes_on = |a: &SegmentPlan, b: &SegmentPlan| match b.run.checked_sub(a.run) {
            Some(0) => a.end == b.start && (b.sound.is_empty() || a.sound_at + samples(a) == b.sound_at),
            Some(1) => true,
            _ => false,
        };
        must(pairs().all(|(a, b)| goes_on(a, b)), "its segments are not in a row in the source")?;
        let firsts = pairs().filter(|(a, b)| a.run != b.run).map(|(_, b)| b);
        let mut begins = self.segments.first().into_iter().chain(firsts).zip(&self.runs);
        let there = begins.all(|(first, run)| (first.start, first.at) == (run.origin, run.at));
        must(there, "a run of it begins elsewhere than its first segment")
    }

    fn check_segment(&self, segment: &SegmentPlan) -> Verdict {
        let run = self.runs.get(index(segment.run)).ok_or(BadPlan("a segment of it belongs to no run"))?;
        let (first, after) = run.reels;
        let inside = |reel: u32| (first..after).contains(&reel);
        must(inside(segment.seek_reel) && inside(segment.last_reel), "a segment's reels are not those of its run")?;
        must(segment.seek_reel <= segment.last_reel, "a segment's reels are out of order")?;
        let times = [segment.start, segment.end, segment.seek].into_iter().all(is_time);
        must(times && is_asset_time(segment.at), "a segment's times are none")?;
        must(segment.start < segment.end && segment.seek <= segment.start, "a segment ends before it begins")?;
        let ticks = 1..=i64::from(TARGET_S_MAX) * TIMESCALE;
        must(ticks.contains(&segment.ticks) && segment.pictures > 0, "a segment is empty, or too long")?;
        match &self.sound {
            None => must(segment.sound.is_empty(), "a segment has sound, and the asset none"),
            Some(sound) => {
                let most = (segment.ticks + TIMESCALE) * i64::from(sound.sample_rate) / TIMESCALE;
                let spans = segment.sound.iter().all(|span| match *span {
                    Span::Source { from, blocks } => is_time(from) && blocks > 0,
                    Span::Silence { blocks } => blocks > 0,
                });
                must(spans && samples(segment) <= most && is_time(segment.sound_at), "a segment's sound is none")?;
                must(segment.sound_at >= 0, "a segment's sound is none")
            }
        }
    }

    fn check_tasks(&self) -> Verdict {
        must(self.tasks.len() <= index(jobs::TASKS_MAX), "it has too many tasks")?;
        let all = self.all_rungs();
        // By segment: rungs that a task makes. None is made twice, so this ends soon.
        let mut made = vec![0_u8; self.segments.len()];
        for task in &self.tasks {
            let own = made.get_mut(index(task.first)..index(task.after)).filter(|own| !own.is_empty());
            let own = own.ok_or(BadPlan("a task of it has no segments"))?;
            must(task.rungs != 0 && task.rungs & !all == 0, "a task of it has no rungs, or others")?;
            must(own.iter().all(|made| made & task.rungs == 0), "its tasks overlap")?;
            own.iter_mut().for_each(|made| *made |= task.rungs);
        }
        must(made.iter().all(|made| *made == all), "its tasks don't cover it")
    }
}

fn is_rung(rung: &RungPlan) -> bool {
    let side = |side: u32| (2..=SIDE_MAX).contains(&side) && side.is_multiple_of(2);
    let named = matches!(rung.rendition.parse(), Ok(Rendition::Source | Rendition::Encoded(_)));
    named && side(rung.width) && side(rung.height) && (1..=BITRATE_MAX).contains(&rung.bitrate) && rung.crf <= CRF_MAX
}

fn check_sound(sound: &SoundPlan) -> Verdict {
    let config = unhex(&sound.asc).and_then(|asc| AudioConfig::from_asc(asc).ok());
    let config = config.ok_or(BadPlan("its sound has no configuration"))?;
    must((config.sample_rate(), config.channels()) == (sound.sample_rate, sound.channels), "its sound is another's")?;
    let encoded = sound.encode.is_none_or(|bitrate| bitrate > 0 && bitrate <= 1_000_000 && sound.channels <= 2);
    must(encoded, "its sound can't be encoded")
}

/// Blocks of a segment's sound.
pub(super) fn blocks(segment: &SegmentPlan) -> i64 {
    segment.sound.iter().fold(0, |sum: i64, (Span::Source { blocks, .. } | Span::Silence { blocks })| {
        sum.saturating_add(i64::from(*blocks))
    })
}

fn samples(segment: &SegmentPlan) -> i64 {
    blocks(segment).saturating_mul(i64::from(AAC_FRAME_SAMPLES))
}

fn is_time(time: i64) -> bool {
    (-2 * LIMIT..=2 * LIMIT).contains(&time)
}

fn is_asset_time(time: i64) -> bool {
    (0..=DURATION_S_MAX * TIMESCALE).contains(&time)
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn must(good: bool, why: &'static str) -> Verdict {
    if good { Ok(()) } else { Err(BadPlan(why)) }
}
