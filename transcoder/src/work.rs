//! What of a task is still to be made, and the child's job for it. Pure.
//!
//! What a worker before this one has made is not made again: the job covers the segments from the first that lacks something
//! to the last that does, and leaves out of them what is there. A child's job is one run's, so a task that lies across a
//! break in the source gives several.

use crate::plan::{Plan, RungPlan, SegmentPlan, SoundPlan, Span, TaskPlan};
use crate::trouble::{Step, fault};
use codec::vod::{EncodeJob, Reel, RungJob, SegmentJob, SoundJob, SoundSpan};
use media::unit::AAC_FRAME_SAMPLES;
use std::collections::{BTreeMap, BTreeSet};

/// How much before and behind its blocks a span of copied sound is looked for, in blocks: packets' times jitter. What comes before
/// the first span is dropped again.
const SLACK_BLOCKS: i64 = 8;

/// What exists already, of one task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct There {
    /// By segment: rungs that have it, bit 0 being the plan's first.
    pub(crate) rungs: BTreeMap<u32, u8>,
    /// Segments that have their sound.
    pub(crate) sound: BTreeSet<u32>,
}

/// What a child is to make: a part of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Work {
    /// The run.
    pub(crate) run: u32,
    /// By segment, without holes: rungs that it need not make.
    pub(crate) skip: BTreeMap<u32, u8>,
    /// Segments whose sound it is to make.
    pub(crate) sound: BTreeSet<u32>,
}

/// What a task still lacks, run by run; nothing if all is there.
pub(crate) fn lacking(plan: &Plan, task: &TaskPlan, there: &There) -> Vec<Work> {
    let all_rungs = plan.all_rungs();
    let (others, makes_sound) = (all_rungs & !task.rungs, plan.makes_sound(task));
    let mut works: Vec<Work> = Vec::new();
    for number in task.first..task.after {
        let Some(segment) = segment(plan, number) else { continue };
        let skip = others | (there.rungs.get(&number).copied().unwrap_or_default() & all_rungs);
        let sound = makes_sound && !segment.sound.is_empty() && !there.sound.contains(&number);
        let complete = skip == all_rungs && !sound;
        let going_on = works.last_mut().filter(|work| work.run == segment.run);
        let work = match going_on {
            Some(work) => work,
            None if complete => continue,
            None => {
                works.push(Work { run: segment.run, skip: BTreeMap::new(), sound: BTreeSet::new() });
                let Some(work) = works.last_mut() else { continue };
                work
            }
        };
        work.skip.insert(number, skip);
        if sound {
            work.sound.insert(number);
        }
    }
    for work in &mut works {
        // What is complete behind the last that isn't.
        while let Some((&number, &skip)) = work.skip.last_key_value()
            && skip == all_rungs
            && !work.sound.contains(&number)
        {
            work.skip.remove(&number);
        }
    }
    works
}

/// A segment by its number.
pub(crate) fn segment(plan: &Plan, number: u32) -> Option<&SegmentPlan> {
    usize::try_from(number).ok().and_then(|at| plan.segments.get(at))
}

/// The child's job, and the reels that it means: first, and first after, in the plan's.
pub(crate) fn job(plan: &Plan, work: &Work) -> Step<(EncodeJob, (u32, u32))> {
    let broken = || fault("the plan is broken");
    let run = usize::try_from(work.run).ok().and_then(|run| plan.runs.get(run)).ok_or_else(broken)?;
    let mut segments = Vec::new();
    let (mut last_reel, mut seek) = (0, None);
    for (&number, &skip) in &work.skip {
        let segment = segment(plan, number).ok_or_else(broken)?;
        last_reel = last_reel.max(segment.last_reel);
        seek.get_or_insert((segment.seek, segment.seek_reel));
        segments.push(SegmentJob { seq: u64::from(number), start: segment.start, end: segment.end, skip });
    }
    let (seek, first_reel) = seek.ok_or_else(broken)?;
    let reels = (first_reel, last_reel.max(first_reel).saturating_add(1).min(run.reels.1));
    let taken = plan.source.reels.get(index(reels.0)..index(reels.1)).ok_or_else(broken)?;
    let job = EncodeJob {
        reels: taken.iter().map(|reel| Reel { bytes: reel.bytes }).collect(),
        seek,
        segments,
        rungs: plan.rungs.iter().map(rung).collect(),
        frame_rate: run.frame_rate,
        segment_ms: plan.segment_ms,
        sound: plan.sound.as_ref().map_or(SoundJob::None, |sound| sound_job(plan, work, sound)),
    };
    Ok((job, reels))
}

fn rung(rung: &RungPlan) -> RungJob {
    let RungPlan { width, height, bitrate, crf, effort, .. } = *rung;
    RungJob { width, height, bitrate, crf, effort }
}

fn sound_job(plan: &Plan, work: &Work, sound: &SoundPlan) -> SoundJob {
    let spans =
        work.sound.iter().filter_map(|&number| Some((number, segment(plan, number)?))).flat_map(|(number, segment)| {
            segment.sound.iter().filter_map(move |span| match *span {
                Span::Source { from, blocks } => Some(SoundSpan { seq: u64::from(number), start: from, blocks }),
                Span::Silence { .. } => None,
            })
        });
    let spans: Vec<SoundSpan> = spans.collect();
    let (Some(first), Some(last)) = (spans.first(), spans.last()) else { return SoundJob::None };
    match sound.encode {
        Some(bitrate) => SoundJob::Encode { sample_rate: sound.sample_rate, channels: sound.channels, bitrate, spans },
        None => {
            let block = i64::from(AAC_FRAME_SAMPLES);
            let slack = SLACK_BLOCKS.saturating_mul(block);
            let end = last.start.saturating_add(i64::from(last.blocks).saturating_mul(block));
            SoundJob::Copy { start: first.start.saturating_sub(slack), end: end.saturating_add(slack) }
        }
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::plan::{ReelPlan, Run, Source, VERSION};
    use codec::vod::Effort;
    use media::projection::Layout;

    /// A plan of two runs, of four segments and of two, each a task, with two rungs and copied sound. Each segment has a reel
    /// and lasts a second.
    pub(crate) fn plan() -> Plan {
        let rung = |rendition: &str, width| RungPlan {
            rendition: rendition.to_owned(),
            width,
            height: width / 2,
            bitrate: 1_000_000,
            crf: 22,
            effort: Effort::Veryfast,
        };
        let run = |reels, origin, at| Run { reels, origin, at, frame_rate: (25, 1), constant: true, sounds: true };
        let reel = |n: u32| ReelPlan { key: format!("rec/foo/1/{n}.flv"), bytes: 1000, etag: None };
        let segments = (0..6_u32).map(|n| SegmentPlan {
            run: u32::from(n >= 4),
            start: i64::from(n) * 90_000,
            end: i64::from(n + 1) * 90_000,
            at: i64::from(n) * 90_000,
            ticks: 90_000,
            pictures: 25,
            seek_reel: n,
            seek: i64::from(n) * 90_000,
            last_reel: n,
            sound: vec![Span::Silence { blocks: 2 }, Span::Source { from: i64::from(n) * 48_000 + 2048, blocks: 45 }],
            sound_at: i64::from(n) * 47 * 1024,
        });
        Plan {
            version: VERSION,
            job: "foo-1".to_owned(),
            name: "foo".to_owned(),
            start_ms: 0,
            source: Source { key: "rec/foo/1/ended.json".to_owned(), reels: (0..6).map(reel).collect() },
            layout: Layout::default(),
            protect: None,
            rungs: vec![rung("source", 320), rung("160w", 160)],
            segment_ms: 1000,
            target_s: 1,
            sound: Some(SoundPlan { sample_rate: 48_000, channels: 2, asc: "1190".to_owned(), encode: None }),
            runs: vec![run((0, 4), 0, 0), run((4, 6), 4 * 90_000, 4 * 90_000)],
            segments: segments.collect(),
            tasks: [(0, 4), (4, 6)].map(|(first, after)| TaskPlan { first, after, rungs: 3 }).into(),
        }
    }

    /// Segments as `number:mask`, `s` behind those whose sound is made, `|` between children.
    fn shown(works: &[Work]) -> String {
        let one = |work: &Work| {
            let sound = |n| if work.sound.contains(n) { "s" } else { "" };
            let all: Vec<String> = work.skip.iter().map(|(n, skip)| format!("{n}:{skip}{}", sound(n))).collect();
            all.join(" ")
        };
        works.iter().map(one).collect::<Vec<_>>().join(" | ")
    }

    const WHOLE: TaskPlan = TaskPlan { first: 0, after: 6, rungs: 3 };

    fn check(rungs: &[(u32, u8)], sound: &[u32], expected: &str) {
        check_task(&WHOLE, rungs, sound, expected);
    }

    fn check_task(task: &TaskPlan, rungs: &[(u32, u8)], sound: &[u32], expected: &str) {
        let there = There { rungs: rungs.iter().copied().collect(), sound: sound.iter().copied().collect() };
        assert_eq!(shown(&lacking(&plan(), task, &there)), expected);
    }

    #[test]
    fn only_what_lies_between_the_first_and_the_last_that_lacks_something_is_made() {
        check(&[], &[], "0:0s 1:0s 2:0s 3:0s | 4:0s 5:0s");
        check(&[(0, 3), (1, 3)], &[0, 1], "2:0s 3:0s | 4:0s 5:0s");
        check(&[(0, 3), (1, 3)], &[0], "1:3s 2:0s 3:0s | 4:0s 5:0s");
        check(&[(0, 3), (1, 1), (2, 3), (3, 3), (4, 3), (5, 3)], &[0, 1, 2, 3, 4, 5], "1:1");
        check(&[(0, 3), (1, 1), (2, 3), (3, 2), (4, 3), (5, 1)], &[0, 1, 2, 3, 4, 5], "1:1 2:3 3:2 | 5:1");
        check(&[(0, 3), (1, 3), (2, 3), (3, 3), (4, 3), (5, 3)], &[0, 1, 2, 3, 4, 5], "");
    }

    #[test]
    fn other_tasks_rungs_are_left_to_them_and_sound_goes_with_the_smallest() {
        let task = |rungs| TaskPlan { first: 2, after: 4, rungs };
        check_task(&task(1), &[], &[], "2:2 3:2");
        check_task(&task(2), &[], &[], "2:1s 3:1s");
        check_task(&task(1), &[(2, 1)], &[], "3:2");
        check_task(&task(1), &[(2, 1), (3, 1)], &[], "");
        check_task(&task(2), &[(2, 2), (3, 2)], &[2], "3:3s");
    }

    #[test]
    fn a_mask_has_a_bit_for_each_rung() {
        assert_eq!([0, 1, 2, 6, 8, 9].map(crate::plan::all_of), [0, 1, 3, 63, 255, 255]);
    }

    #[test]
    fn a_job_begins_at_the_key_frame_of_its_first_segment_and_has_the_reels_that_it_needs() {
        let plan = plan();
        let there = There { rungs: (0..2).map(|n| (n, 3)).collect(), sound: (0..3).collect() };
        let works = lacking(&plan, &WHOLE, &there);
        let (first, reels) = job(&plan, &works[0]).unwrap();
        assert_eq!((reels, first.reels.len(), first.seek), ((2, 4), 2, 180_000));
        assert_eq!(first.segments.iter().map(|s| s.seq).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(
            first.sound,
            SoundJob::Copy { start: 3 * 48_000 + 2048 - 8 * 1024, end: 3 * 48_000 + 2048 + 53 * 1024 }
        );
        let (second, reels) = job(&plan, &works[1]).unwrap();
        assert_eq!((reels, second.segments.len()), ((4, 6), 2));
    }

    #[test]
    fn sound_that_is_encoded_is_asked_for_span_by_span_and_silence_is_not_asked_for() {
        let mut plan = plan();
        plan.sound.as_mut().unwrap().encode = Some(128_000);
        plan.segments[1].sound = vec![Span::Silence { blocks: 47 }];
        let works = lacking(&plan, &TaskPlan { after: 3, ..WHOLE }, &There::default());
        let (made, _) = job(&plan, &works[0]).unwrap();
        let SoundJob::Encode { spans, .. } = made.sound else { panic!("{:?}", made.sound) };
        let spans: Vec<(u64, i64, u32)> = spans.iter().map(|span| (span.seq, span.start, span.blocks)).collect();
        assert_eq!(spans, [(0, 2048, 45), (2, 2 * 48_000 + 2048, 45)]);
        plan.segments.iter_mut().for_each(|segment| segment.sound = vec![Span::Silence { blocks: 47 }]);
        assert_eq!(job(&plan, &works[0]).unwrap().0.sound, SoundJob::None);
    }
}
