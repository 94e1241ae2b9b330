//! Playlists of a finished job, from its plan and its tasks' facts.
//!
//! Pure: what is to be written where, in words and bytes. Writing it, and in which order, is the finisher's affair.

use crate::facts::{RungFacts, SegmentFacts, TaskFacts, hash};
use crate::plan::{Plan, RungPlan, SegmentPlan, SoundPlan};
use crate::planning::sound_s;
use crate::thumbs;
use media::aac::AudioConfig;
use media::hls::{AudioGroup, MediaPlaylist, Multivariant, Segment, Variant, iframes_vod};
use media::ladder::Rendition;
use media::mp4::init_audio;
use media::protect::Lock;
use media::rate::FrameRate;
use media::route::{File, MADE};
use media::unit::VIDEO_TIMESCALE;
use std::collections::BTreeMap;

/// Under which name the multivariant playlist says where thumbnails are; the value is relative to it.
pub const THUMBNAILS_ID: &str = "live360.thumbnails";

/// All playlists of an asset.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// Media and I-frame playlists by their keys below `vod/{asset}/`.
    pub media: Vec<(String, String)>,
    /// `index.m3u8` of the asset.
    pub multivariant: String,
    /// Renditions, e.g. `1920w`, `audio`.
    pub renditions: Vec<String>,
    /// When the first picture was taken, UTC ms.
    pub start_ms: i64,
    /// How long it is, seconds.
    pub duration_s: f64,
    /// For each segment whether nothing of it could be decoded on the rung that thumbnails are taken from.
    pub missing: Vec<bool>,
}

/// Why playlists can't be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfinished {
    /// A task's facts are missing, or are those of another plan.
    #[error("the facts of task {0} are missing, or don't go with the plan")]
    Facts(u32),
    /// There is nothing to play.
    #[error("nothing of it could be decoded")]
    Nothing,
    /// The plan was not checked.
    #[error("the plan's sound has no configuration")]
    Sound,
}

impl Finished {
    /// `index.m3u8` of an asset for which no thumbnails could be made.
    pub fn without_thumbnails(&self) -> String {
        let line = |line: &&str| !line.starts_with("#EXT-X-SESSION-DATA:");
        self.multivariant.split_inclusive('\n').filter(line).collect()
    }
}

/// The playlists of a plan that was checked; `facts` are those of all tasks, in any order, and `lock` is what its segments are
/// encrypted with, if they are.
pub fn playlists(plan: &Plan, facts: &[TaskFacts], lock: Option<&Lock>) -> Result<Finished, Unfinished> {
    let facts = in_order(plan, facts)?;
    let (mut media, mut renditions, mut variants) = (Vec::new(), Vec::new(), Vec::new());
    for (number, rung) in plan.rungs.iter().enumerate() {
        let own: Vec<Option<&RungFacts>> = facts.iter().map(|facts| facts.rungs.get(number)?.as_ref()).collect();
        // What nothing could be decoded for is no variant.
        let Some(mut variant) = variant(plan, rung, &own) else { continue };
        let playlist = playlist(plan, video(plan, &own), lock);
        media.push((name(&rung.rendition, &File::Playlist), playlist.render_vod()));
        match lock {
            None => media.push((name(&rung.rendition, &File::IFrames), iframes_vod(&playlist))),
            // No part of a segment can be decrypted by itself.
            Some(_) => variant.iframes_uri.clear(),
        }
        renditions.push(rung.rendition.clone());
        variants.push(variant);
    }
    if variants.is_empty() {
        return Err(Unfinished::Nothing);
    }
    let mut audio = None;
    if let Some(sound) = &plan.sound {
        let (group, segments) = audio_rendition(plan, sound, &facts)?;
        let rendition = Rendition::Audio.to_string();
        media.push((name(&rendition, &File::Playlist), playlist(plan, segments, lock).render_vod()));
        renditions.push(rendition);
        audio = Some(group);
    }
    let thumbs = thumbs::rung(plan);
    let multivariant = Multivariant { audio, variants };
    let ticks = plan.segments.last().map_or(0, |last| last.at.saturating_add(last.ticks));
    Ok(Finished {
        media,
        multivariant: multivariant.render_with(&[(THUMBNAILS_ID, thumbs::VTT)]),
        renditions,
        start_ms: plan.start_ms,
        duration_s: seconds(ticks),
        missing: facts.iter().map(|facts| facts.rungs.get(thumbs).is_none_or(Option::is_none)).collect(),
    })
}

/// A rendition's file below `vod/{asset}/`.
fn name(rendition: &str, file: &File) -> String {
    format!("{MADE}/{rendition}/{file}")
}

/// The facts of all segments, one for each of the plan's: what each task says of the rungs that are its own.
fn in_order(plan: &Plan, facts: &[TaskFacts]) -> Result<Vec<SegmentFacts>, Unfinished> {
    let nothing = |number| SegmentFacts { number, rungs: vec![None; plan.rungs.len()], sound: None };
    let mut out: Vec<SegmentFacts> = (0_u32..).zip(&plan.segments).map(|(number, _)| nothing(number)).collect();
    let by_task: BTreeMap<u32, &TaskFacts> = facts.iter().map(|facts| (facts.task, facts)).collect();
    for (number, task) in (0_u32..).zip(&plan.tasks) {
        let broken = || Unfinished::Facts(number);
        let own = by_task.get(&number).ok_or_else(broken)?;
        let numbers = own.segments.iter().map(|segment| segment.number);
        if !numbers.eq(task.first..task.after) {
            return Err(broken());
        }
        let places = usize::try_from(task.first).ok().and_then(|first| out.get_mut(first..)).ok_or_else(broken)?;
        for (place, segment) in places.iter_mut().zip(&own.segments) {
            if segment.rungs.len() != plan.rungs.len() {
                return Err(broken());
            }
            let rungs = place.rungs.iter_mut().zip(&segment.rungs).enumerate();
            rungs.filter(|(rung, _)| task.makes(*rung)).for_each(|(_, (place, facts))| place.clone_from(facts));
            if plan.makes_sound(task) {
                place.sound = segment.sound;
            }
        }
    }
    Ok(out)
}

fn playlist(plan: &Plan, mut segments: Vec<Segment>, lock: Option<&Lock>) -> MediaPlaylist {
    for (number, segment) in (0_u64..).zip(&mut segments) {
        segment.key = lock.map(|lock| lock.key_file(number).uri()).unwrap_or_default();
    }
    MediaPlaylist { target_s: plan.target_s, segments, ended: true, ..MediaPlaylist::default() }
}

/// What all renditions have in common of a segment: name, break, and nothing else.
fn common(plan: &Plan, number: usize, segment: &SegmentPlan) -> Segment {
    let before = number.checked_sub(1).and_then(|before| plan.segments.get(before));
    Segment {
        uri: File::Segment(number as u64).to_string(),
        discontinuity: before.is_some_and(|before| before.run != segment.run),
        ..Segment::default()
    }
}

fn video(plan: &Plan, own: &[Option<&RungFacts>]) -> Vec<Segment> {
    // A gap before anything that is there has the init segment of what comes after it.
    let mut map = own.iter().flatten().next().map(|facts| init(facts)).unwrap_or_default();
    let segments = plan.segments.iter().zip(own).enumerate();
    let line = |(number, (segment, facts)): (usize, (&SegmentPlan, &Option<&RungFacts>))| {
        if let Some(facts) = facts {
            map = init(facts);
        }
        Segment {
            seconds: seconds(segment.ticks),
            gap: facts.is_none(),
            map: map.clone(),
            date_ms: plan.start_ms.saturating_add(ms(segment.at, i64::from(VIDEO_TIMESCALE))),
            first_chunk: facts.map_or(0, |facts| facts.first_chunk),
            ..common(plan, number, segment)
        }
    };
    segments.map(line).collect()
}

fn init(facts: &RungFacts) -> String {
    File::Init(facts.init.clone()).to_string()
}

fn variant(plan: &Plan, rung: &RungPlan, own: &[Option<&RungFacts>]) -> Option<Variant> {
    let there = plan.segments.iter().zip(own).filter_map(|(segment, facts)| Some((segment, (*facts)?)));
    let sizes: Vec<Size> = there
        .clone()
        .map(|(segment, facts)| Size {
            seconds: seconds(segment.ticks),
            bytes: facts.bytes,
            first_chunk: facts.first_chunk,
        })
        .collect();
    let Rates { peak, average, iframes_peak } = Rates::of(&sizes, plan);
    // One rung's codecs differ in their level at most.
    let codec = there.map(|(_, facts)| facts.codec.as_str()).max()?.to_owned();
    let fps = plan.runs.iter().map(|run| FrameRate { num: run.frame_rate.0, den: run.frame_rate.1.max(1) }.fps());
    Some(Variant {
        uri: name(&rung.rendition, &File::Playlist),
        iframes_uri: name(&rung.rendition, &File::IFrames),
        codec,
        size: (rung.width, rung.height),
        fps: fps.fold(0.0, f64::max),
        peak,
        average,
        iframes_peak,
    })
}

/// The audio rendition and its segments. Where a segment has no sound of its own (a run shorter than a block) it is a gap.
fn audio_rendition(
    plan: &Plan,
    sound: &SoundPlan,
    facts: &[SegmentFacts],
) -> Result<(AudioGroup, Vec<Segment>), Unfinished> {
    let config = config(sound).ok_or(Unfinished::Sound)?;
    let map = File::Init(hash(&init_audio(&config))).to_string();
    let (mut sizes, mut segments) = (Vec::new(), Vec::new());
    for (number, (segment, facts)) in plan.segments.iter().zip(facts).enumerate() {
        let length = sound_s(segment, sound.sample_rate);
        let bytes = facts.sound.filter(|_| length > 0.0);
        sizes.extend(bytes.map(|bytes| Size { seconds: length, bytes, first_chunk: 0 }));
        segments.push(Segment {
            seconds: if length > 0.0 { length } else { seconds(segment.ticks) },
            gap: bytes.is_none(),
            map: map.clone(),
            date_ms: plan.start_ms.saturating_add(ms(segment.sound_at, i64::from(sound.sample_rate))),
            ..common(plan, number, segment)
        });
    }
    let Rates { peak, average, .. } = Rates::of(&sizes, plan);
    let uri = name(&Rendition::Audio.to_string(), &File::Playlist);
    Ok((AudioGroup { uri, channels: config.channels(), codec: config.codec_string(), peak, average }, segments))
}

fn config(sound: &SoundPlan) -> Option<AudioConfig> {
    AudioConfig::from_asc(crate::planning::unhex(&sound.asc)?).ok()
}

/// What a segment weighs.
struct Size {
    seconds: f64,
    bytes: u64,
    first_chunk: u64,
}

/// Measured bit rates, bit/s.
struct Rates {
    peak: u64,
    average: u64,
    iframes_peak: u64,
}

impl Rates {
    fn of(sizes: &[Size], plan: &Plan) -> Self {
        // Short ones don't count for the peak (§4.4.6.2): they are nearly all key frame. Short by what segments are meant to
        // last, not by the target: one long segment (a gap in the source) must not make all others short.
        let long = |size: &&Size| size.seconds * 2000.0 >= f64::from(plan.segment_ms);
        let counted: Vec<&Size> = sizes.iter().filter(long).collect();
        let counted = if counted.is_empty() { sizes.iter().collect() } else { counted };
        let rate = |bytes: u64, seconds: f64| (bytes as f64 * 8.0 / seconds.max(0.001)).ceil() as u64;
        let (bytes, seconds) = sizes
            .iter()
            .fold((0_u64, 0.0), |(bytes, seconds), size| (bytes.saturating_add(size.bytes), seconds + size.seconds));
        let average = if sizes.is_empty() { 0 } else { rate(bytes, seconds) };
        let peak = counted.iter().map(|size| rate(size.bytes, size.seconds)).max().unwrap_or(0);
        let iframes_peak = counted.iter().map(|size| rate(size.first_chunk, size.seconds)).max().unwrap_or(0);
        // Many short segments may weigh more on average than any long one.
        Self { peak: peak.max(average), average, iframes_peak }
    }
}

fn seconds(ticks: i64) -> f64 {
    ticks as f64 / f64::from(VIDEO_TIMESCALE)
}

/// Rounded to the nearest.
fn ms(units: i64, timescale: i64) -> i64 {
    let scaled = i128::from(units) * 1000;
    let timescale = i128::from(timescale.max(1));
    i64::try_from((2 * scaled + timescale).div_euclid(2 * timescale)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
