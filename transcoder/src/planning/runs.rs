//! Where the source's timeline or its decoder configuration breaks: from packets' times to runs of pictures.

use super::{LIMIT, ProbedReel, TIMESCALE};
use codec::vod::{AudioTrack, Stamp, VideoTrack};

/// How far a reel's first picture may be from the end of the one before, 90 kHz.
const JOINT_MAX: i64 = TIMESCALE;

/// How far times may leap inside a reel, 90 kHz.
const LEAP_MAX: i64 = 10 * TIMESCALE;

/// How many packets it may take until a picture that is shown earlier than those before it is followed by later ones again:
/// H.264 holds 16 pictures back at most.
const REORDER_PACKETS: usize = 32;

/// Fewest pictures of a run.
const PICTURES_MIN: usize = 2;

/// A picture of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Picture {
    /// Source time, 90 kHz.
    pub(super) pts: i64,
    /// Which reel it is in.
    pub(super) reel: u32,
    /// Whether decoding can start here.
    pub(super) key: bool,
}

/// A run in the making.
#[derive(Debug, Clone)]
pub(super) struct Stretch<'a> {
    /// First reel, and first after.
    pub(super) reels: (u32, u32),
    /// Its pictures in the order in which they are shown, no two at a time; the first is a key.
    pub(super) pictures: Vec<Picture>,
    pub(super) video: &'a VideoTrack,
    pub(super) audio: Option<&'a AudioTrack>,
}

/// Most leaps inside a reel.
const LEAPS_MAX: usize = 100;

/// The runs of these reels, in order; `None`: their timeline breaks too often.
pub(super) fn stretches(reels: &[ProbedReel]) -> Option<Vec<Stretch<'_>>> {
    let mut out: Vec<Stretch<'_>> = Vec::new();
    for (number, reel) in (0_u32..).zip(reels) {
        let Some(video) = &reel.tracks.video else { continue };
        let audio = reel.tracks.audio.as_ref();
        for pictures in pieces(number, &reel.video)? {
            let (Some(first), reels) = (pictures.first().copied(), (number, number.saturating_add(1))) else {
                continue;
            };
            // A run's reels are given to the child one after the other: none is left out between them.
            let goes_on = |before: &Stretch<'_>| {
                let next = number <= before.reels.1;
                next && before.video.is_like(video) && before.audio == audio && before.meets(first.pts)
            };
            // What can't be joined to either side is no run if it is too short for one.
            while out.last().is_some_and(|last| !goes_on(last) && last.pictures.len() < PICTURES_MIN) {
                out.pop();
            }
            match out.last_mut().filter(|last| goes_on(last)) {
                Some(last) => {
                    last.reels.1 = reels.1;
                    last.pictures.extend(pictures);
                }
                None => out.push(Stretch { reels, pictures, video, audio }),
            }
        }
    }
    out.iter_mut().for_each(Stretch::tidy);
    out.retain(|stretch| stretch.pictures.len() >= PICTURES_MIN);
    Some(out)
}

impl Stretch<'_> {
    /// Whether a reel whose first picture is shown at `pts` goes on where this ends.
    fn meets(&self, pts: i64) -> bool {
        let mut last = self.pictures.iter().rev();
        let (Some(end), before) = (last.next(), last.next()) else { return false };
        let frame = before.map_or(0, |before| (end.pts - before.pts).clamp(0, JOINT_MAX));
        (pts - (end.pts + frame)).abs() <= JOINT_MAX
    }

    /// Puts pictures into order; without those that can't be decoded because no key is before them.
    fn tidy(&mut self) {
        self.pictures.sort_by_key(|picture| picture.pts);
        self.pictures.dedup_by_key(|picture| picture.pts);
        let key = self.pictures.iter().position(|picture| picture.key).unwrap_or(self.pictures.len());
        self.pictures.drain(..key);
        self.reels.0 = self.pictures.iter().map(|picture| picture.reel).min().unwrap_or(self.reels.0);
    }
}

trait Like {
    /// Whether a decoder of the one goes on with the other.
    fn is_like(&self, other: &Self) -> bool;
}

impl Like for VideoTrack {
    fn is_like(&self, other: &Self) -> bool {
        let shape = |track: &Self| (track.width, track.height);
        shape(self) == shape(other) && self.codec == other.codec && self.config == other.config
    }
}

/// A reel's pictures between leaps of its clock, each piece in the order in which they are shown.
fn pieces(reel: u32, stamps: &[Stamp]) -> Option<Vec<Vec<Picture>>> {
    let stamps: Vec<Stamp> = stamps.iter().copied().filter(|stamp| (-LIMIT..=LIMIT).contains(&stamp.pts)).collect();
    let mut taken: Vec<(i64, i64)> = Vec::new();
    let mut out: Vec<Vec<Picture>> = Vec::new();
    for piece in restarts(&stamps) {
        // The child knows pictures by their times: what a clock that went back shows a second time is left out.
        let again = |pts: i64| taken.iter().any(|&(from, to)| (from..=to).contains(&pts));
        let fresh = piece.iter().filter(|stamp| !again(stamp.pts));
        let mut pictures: Vec<Picture> = fresh.map(|stamp| Picture { pts: stamp.pts, reel, key: stamp.key }).collect();
        pictures.sort_by_key(|picture| picture.pts);
        let between = |a: i64, b: i64| taken.iter().any(|&(from, _)| (a..b).contains(&from));
        let chunks = pictures.chunk_by(|a, b| b.pts - a.pts <= LEAP_MAX && !between(a.pts, b.pts));
        let chunks: Vec<Vec<Picture>> = chunks.map(<[Picture]>::to_vec).collect();
        taken.extend(chunks.iter().filter_map(|chunk| Some((chunk.first()?.pts, chunk.last()?.pts))));
        if taken.len() > LEAPS_MAX {
            return None;
        }
        out.extend(chunks);
    }
    Some(out)
}

/// Packets in the order of the file, split where the clock went back for good. Leaps ahead are seen later, in order of time.
fn restarts(stamps: &[Stamp]) -> Vec<&[Stamp]> {
    let mut out = Vec::new();
    let (mut begin, mut newest) = (0, i64::MIN / 2);
    for (at, stamp) in stamps.iter().enumerate() {
        if stamp.pts < newest - LEAP_MAX {
            let ahead = stamps.iter().skip(at).take(REORDER_PACKETS);
            if ahead.clone().all(|later| later.pts < newest - LEAP_MAX) {
                out.extend(stamps.get(begin..at));
                (begin, newest) = (at, i64::MIN / 2);
            }
        }
        newest = newest.max(stamp.pts);
    }
    out.extend(stamps.get(begin..));
    out
}
