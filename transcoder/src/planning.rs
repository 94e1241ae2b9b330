//! From what a probe found to a plan: runs, segments, tasks and sound, all decided here, once, before anything is encoded.
//!
//! Pure: the same probe gives the same plan. Knows times and configurations; decodes nothing and reads no files. What the
//! child knows pictures by is their time, so no two pictures of a run have the same one.

mod check;
mod cuts;
mod rate;
mod runs;
mod sound;
#[cfg(test)]
pub(crate) mod tests;

pub use check::BadPlan;
pub use rate::output_time;
pub(crate) use sound::unhex;

use crate::ladder;
use crate::plan::{Plan, ReelPlan, Run, SegmentPlan, Source, VERSION};
use crate::source::{PARTS_MAX, SOURCE_BYTES_MAX};
use codec::vod::{Effort, Stamp, Tracks, VideoTrack};
use cuts::{seek, segments, tasks};
use media::ladder::Ladder;
use media::projection::Layout;
use media::unit::VIDEO_TIMESCALE;
use rate::{FPS_MAX, Rate, rate};
use runs::{Picture, Stretch, stretches};
use sound::{Heard, copied, lay_out, packets, sound};

/// What segments are meant to last, ms.
pub const SEGMENT_MS: u32 = 6000;

/// Longest asset, seconds.
pub const DURATION_S_MAX: i64 = 12 * 3600;

/// Longest plan, in bytes.
pub const PLAN_BYTES_MAX: u64 = 16 << 20;

/// Widest and highest picture, in pixels.
pub const SIDE_MAX: u32 = 8192;

/// Narrowest and lowest picture, in pixels: encoders want a macroblock.
const SIDE_MIN: u32 = 16;

/// Times beyond this in any unit are no times: that is centuries.
const LIMIT: i64 = 1 << 50;

const TIMESCALE: i64 = VIDEO_TIMESCALE as i64;

/// Everything that a plan comes from.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    /// The job's name.
    pub job: &'a str,
    /// The stream's name, or what was made of the upload's.
    pub name: &'a str,
    /// When the first picture was taken, UTC ms.
    pub start_ms: i64,
    /// The key whose event made the job.
    pub source: &'a str,
    /// What the probe found, in order of time.
    pub reels: &'a [ProbedReel],
    /// How the picture lies on the sphere; `None`: as the container says, else the whole sphere.
    pub layout: Option<Layout>,
    /// The configured ladder.
    pub ladder: &'a Ladder,
    /// How much work goes into each picture.
    pub effort: Effort,
}

/// What is in one object.
#[derive(Debug, Clone)]
pub struct ProbedReel {
    /// Its key.
    pub key: String,
    /// Its length.
    pub bytes: u64,
    /// Its ETag.
    pub etag: Option<String>,
    /// Its streams.
    pub tracks: Tracks,
    /// When its pictures are shown, in the order of the file.
    pub video: Vec<Stamp>,
    /// When its sound is heard, in the order of the file.
    pub audio: Vec<Stamp>,
}

/// Why a source can't be planned, in words for the broadcaster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Sound alone, or nothing.
    #[error("it has no video")]
    NoVideo,
    /// There is a video track, but not two pictures that could be decoded one after the other.
    #[error("it has no pictures that could be played: none follows a key frame")]
    NoPictures,
    /// Pictures that nobody encodes.
    #[error("its pictures are {0} × {1} pixels: from 16 × 16 to 8192 × 8192 can be made")]
    Size(u32, u32),
    /// Pictures that nobody shows.
    #[error("it has more than 240 pictures a second")]
    Rate,
    /// Too long.
    #[error("it is longer than 12 h")]
    Long,
    /// Too large.
    #[error("it is larger than 200 GB")]
    Large,
    /// Too many objects.
    #[error("it consists of more than 20000 files")]
    Files,
    /// Too much to be written down.
    #[error("it is too uneven to be planned: its timeline breaks too often")]
    Uneven,
    /// What was decided is nothing that a worker would take.
    #[error("it can't be planned: {0}")]
    Check(#[from] BadPlan),
}

/// The plan of a source.
pub fn plan(input: &Input<'_>) -> Result<Plan, PlanError> {
    let video = judge(input.reels)?;
    let stretches = stretches(input.reels).ok_or(PlanError::Uneven)?;
    let rated: Vec<(&Stretch<'_>, Rate)> = stretches.iter().map(|stretch| (stretch, rate_of(stretch))).collect();
    let Some((best, best_rate)) = rated.iter().max_by_key(|(stretch, _)| stretch.pictures.len()) else {
        return Err(PlanError::NoPictures);
    };
    let fps = best_rate.rate.fps();
    if rated.iter().any(|(_, rate)| rate.rate.fps() > FPS_MAX) {
        return Err(PlanError::Rate);
    }
    let size = (best.video.width, best.video.height);
    let layout = input.layout.or(best.video.layout).or(video.layout).unwrap_or_default();
    let rungs = ladder::rungs(input.ladder, input.effort, size, fps);
    let runs = lay_runs(&rated, input.reels)?;
    let pixels = f64::from(size.0) * f64::from(size.1) * fps;
    // What can't be copied is encoded.
    let made = make(&rated, &runs, input.reels, true).or_else(|| make(&rated, &runs, input.reels, false));
    let (runs, sound, segments) = made.ok_or(PlanError::Uneven)?;
    let plan = Plan {
        version: VERSION,
        job: input.job.to_owned(),
        name: input.name.to_owned(),
        start_ms: input.start_ms.max(0),
        source: Source { key: input.source.to_owned(), reels: input.reels.iter().map(reel).collect() },
        layout,
        protect: None,
        segment_ms: SEGMENT_MS,
        target_s: target_s(&segments, sound.as_ref().map_or(0, |sound| sound.sample_rate)),
        sound,
        runs,
        tasks: tasks(&segments, &rungs, pixels),
        rungs,
        segments,
    };
    plan.check()?;
    if plan.to_json().len() as u64 > PLAN_BYTES_MAX {
        return Err(PlanError::Uneven);
    }
    Ok(plan)
}

/// Whether these reels are anything to work on: the first video track.
fn judge(reels: &[ProbedReel]) -> Result<&VideoTrack, PlanError> {
    if reels.len() > PARTS_MAX {
        return Err(PlanError::Files);
    }
    if reels.iter().fold(0_u64, |sum, reel| sum.saturating_add(reel.bytes)) > SOURCE_BYTES_MAX {
        return Err(PlanError::Large);
    }
    let mut tracks = reels.iter().filter_map(|reel| reel.tracks.video.as_ref());
    let sides = SIDE_MIN..=SIDE_MAX;
    if let Some(odd) = tracks.clone().find(|track| !sides.contains(&track.width) || !sides.contains(&track.height)) {
        return Err(PlanError::Size(odd.width, odd.height));
    }
    tracks.next().ok_or(PlanError::NoVideo)
}

fn rate_of(stretch: &Stretch<'_>) -> Rate {
    let times: Vec<i64> = stretch.pictures.iter().map(|picture| picture.pts).collect();
    rate(&times, stretch.video.frame_rate)
}

/// Runs one after the other, and where each ends in source time.
fn lay_runs(rated: &[(&Stretch<'_>, Rate)], reels: &[ProbedReel]) -> Result<Vec<(Run, i64)>, PlanError> {
    let mut out = Vec::with_capacity(rated.len());
    let mut at = 0;
    for (stretch, Rate { rate, constant }) in rated {
        let (Some(first), Some(last)) = (stretch.pictures.first(), stretch.pictures.last()) else { continue };
        let end = last.pts + rate.ticks(1).max(1);
        let mut run = Run {
            reels: stretch.reels,
            origin: first.pts,
            at,
            frame_rate: (rate.num, rate.den),
            constant: *constant,
            sounds: false,
        };
        run.sounds = !packets(stretch, reels, run.origin, end).is_empty();
        at = output_time(&run, end);
        if at > DURATION_S_MAX * TIMESCALE {
            return Err(PlanError::Long);
        }
        out.push((run, end));
    }
    Ok(out)
}

type Made = (Vec<Run>, Option<crate::plan::SoundPlan>, Vec<SegmentPlan>);

/// Segments with their sound, copied if that is wanted and possible; `None`: it isn't, for this source.
fn make(rated: &[(&Stretch<'_>, Rate)], runs: &[(Run, i64)], reels: &[ProbedReel], copy: bool) -> Option<Made> {
    let heard = rated.iter().zip(runs).filter(|(_, (run, _))| run.sounds);
    let tracks = heard.filter_map(|((stretch, _), _)| stretch.audio);
    let plan = sound(tracks.clone(), copy && tracks.clone().all(|track| copied(track).is_some()));
    let mut out = Vec::new();
    for (number, ((stretch, _), (run, end))) in (0_u32..).zip(rated.iter().zip(runs)) {
        let mut made = segments(number, run, stretch, *end, SEGMENT_MS);
        if let Some(plan) = &plan {
            let packets = packets(stretch, reels, run.origin, *end);
            let (taken, good) = lay_out(plan, &Heard { run, packets }, &mut made);
            if !good {
                return None;
            }
            let keys: Vec<Picture> = stretch.pictures.iter().filter(|picture| picture.key).copied().collect();
            made.iter_mut().zip(taken).for_each(|(segment, reels)| reach(segment, reels, &keys));
        }
        out.extend(made);
    }
    Some((runs.iter().map(|(run, _)| run.clone()).collect(), plan, out))
}

/// Widens a segment's reels by those that hold its sound: what is heard may lie in front of the key frame in the file.
fn reach(segment: &mut SegmentPlan, reels: sound::Reels, keys: &[Picture]) {
    let Some((first, last)) = reels else { return };
    segment.last_reel = segment.last_reel.max(last);
    if first < segment.seek_reel
        && let Some(key) = seek(keys, segment.start, segment.seek_reel - 1)
    {
        (segment.seek, segment.seek_reel) = (key.pts, key.reel);
    }
}

/// The longest segment of picture or sound, rounded as playlists round.
fn target_s(segments: &[SegmentPlan], sample_rate: u32) -> u32 {
    let pictures = segments.iter().map(|segment| segment.ticks as f64 / TIMESCALE as f64);
    let sound = segments.iter().map(|segment| sound_s(segment, sample_rate));
    let longest = pictures.chain(sound).map(|seconds| seconds.round() as u32).max().unwrap_or(0);
    longest.max(SEGMENT_MS.div_ceil(1000))
}

/// How long a segment's sound is, in seconds.
pub(crate) fn sound_s(segment: &SegmentPlan, sample_rate: u32) -> f64 {
    check::blocks(segment) as f64 * f64::from(media::unit::AAC_FRAME_SAMPLES) / f64::from(sample_rate.max(1))
}

fn reel(reel: &ProbedReel) -> ReelPlan {
    ReelPlan { key: reel.key.clone(), bytes: reel.bytes, etag: reel.etag.clone() }
}
