//! Looking through reels: what is in them, and when each packet is shown.
//!
//! Decodes nothing, and reads no content where an index says all. What follows from the times is the caller's affair.

use super::demux::{Demuxer, Kind};
use super::reader::Source;
use super::serve::Give;
use super::wire::STAMPS_MAX;
use super::{FromVod, Reel, Stamp, Tracks};
use crate::Error;
use std::sync::Arc;

/// Longest reel, in 90 kHz: what a container may say, the packets say, too.
const SPAN_MAX: i64 = 12 * 3600 * 90_000;

/// Packets per second of film beyond which a file is no film: pictures, and sound (TrueHD has 1200).
const PICTURES_PER_S: i64 = 240;
const SOUNDS_PER_S: i64 = 1_500;

/// How far behind or uneven times may be while packets come, in s of film.
const UNEVEN_S: i64 = 60;

/// Most packets of either kind: 12 h of 240 pictures a second. Bounds memory, here and with the parent.
const PACKETS_MAX: i64 = 12 * 3600 * PICTURES_PER_S;

/// Ticks (90 kHz) between two IDRs from which on other key frames count, too: to decode from the one before each time would cost
/// more than a start that only the container vouches for.
const IDR_FAR: i64 = 30 * 90_000;

/// Does it, one reel after the other. A reel of several that is no good has no tracks; if none is any good, the error is the
/// first one's.
pub(super) fn run(reels: &[Reel], source: &Arc<dyn Source>, give: &Give) -> Result<(), Error> {
    let (mut good, mut bad) = (false, None);
    for (index, reel) in (0..).zip(reels) {
        match look(index, *reel, source, give) {
            Ok(video) => good |= video,
            Err(Error::Source(why)) => {
                let tracks = Tracks { format: String::new(), video: None, audio: None };
                bad.get_or_insert(why);
                give.give(FromVod::Tracks { reel: index, tracks })?;
            }
            Err(error) => return Err(error),
        }
    }
    match (good, bad) {
        (true, _) => Ok(()),
        (false, Some(why)) => Err(Error::Source(why)),
        (false, None) => Err(Error::source("there is no picture in it")),
    }
}

/// Whether it has pictures.
fn look(index: u32, reel: Reel, source: &Arc<dyn Source>, give: &Give) -> Result<bool, Error> {
    if reel.bytes == 0 {
        return Err(Error::source("the file is empty"));
    }
    let demuxer = Demuxer::open(Arc::clone(source), index, reel)?;
    let tracks = demuxer.tracks().clone();
    if let Some(why) = demuxer.left_out() {
        eprintln!("the sound of reel {index} is left out: {why}");
    }
    let mut demuxer = demuxer.without_content()?;
    let rate = tracks.audio.as_ref().map_or(1, |track| i64::from(track.sample_rate));
    // All of a reel at once: which key frames count is known at its end. 12 hours take some 60 MB.
    let (mut pictures, mut sound) = (Pictures::default(), Vec::new());
    let mut room = (Room::new(PICTURES_PER_S, 90_000), Room::new(SOUNDS_PER_S, rate));
    while let Some(sample) = demuxer.next()? {
        let fits = match sample.kind {
            Kind::Video => room.0.take(sample.pts),
            Kind::Audio => room.1.take(sample.pts),
        };
        if !fits {
            return Err(Error::source("the file names more packets than any film of its length has"));
        }
        match sample.kind {
            Kind::Video => pictures.take(sample.pts, sample.key, sample.marked, sample.hidden),
            Kind::Audio if sample.hidden => {}
            Kind::Audio => sound.push(Stamp { pts: sample.pts, key: true }),
        }
        let first = pictures.all.first().map(|picture| picture.pts);
        if first.is_some_and(|first| sample.kind == Kind::Video && sample.pts.saturating_sub(first) > SPAN_MAX) {
            return Err(Error::source("this is longer than 12 hours: cut it"));
        }
    }
    let far = sound
        .first()
        .zip(sound.last())
        .is_some_and(|(first, last)| last.pts.saturating_sub(first.pts) / rate > SPAN_MAX / 90_000);
    if far {
        return Err(Error::source("this is longer than 12 hours: cut it"));
    }
    let video = tracks.video.is_some() && !pictures.all.is_empty();
    give.give(FromVod::Tracks { reel: index, tracks })?;
    for stamps in pictures.stamps().chunks(STAMPS_MAX) {
        give.give(FromVod::Stamps { reel: index, video: stamps.to_vec(), audio: Vec::new() })?;
    }
    for stamps in sound.chunks(STAMPS_MAX) {
        give.give(FromVod::Stamps { reel: index, video: Vec::new(), audio: stamps.to_vec() })?;
    }
    Ok(video)
}

/// How many packets there may be: so many for each second between the first and the last so far. An index of a megabyte can name
/// millions of packets without any content.
#[derive(Debug)]
struct Room {
    per_s: i64,
    /// Ticks per second of the times.
    rate: i64,
    times: Option<(i64, i64)>,
    count: i64,
}

impl Room {
    fn new(per_s: i64, rate: i64) -> Self {
        Self { per_s, rate: rate.max(1), times: None, count: 0 }
    }

    /// Whether there is room for this one, too.
    fn take(&mut self, pts: i64) -> bool {
        let (first, last) = self.times.map_or((pts, pts), |(first, last)| (first.min(pts), last.max(pts)));
        self.times = Some((first, last));
        self.count = self.count.saturating_add(1);
        let seconds = (last.saturating_sub(first) / self.rate).saturating_add(UNEVEN_S);
        self.count <= seconds.saturating_mul(self.per_s).min(PACKETS_MAX)
    }
}

/// A video packet that is shown.
#[derive(Debug, Clone, Copy)]
struct Picture {
    pts: i64,
    key: bool,
    marked: bool,
}

/// A reel's video packets.
#[derive(Debug, Default)]
struct Pictures {
    all: Vec<Picture>,
    /// Whether decoding can begin at packets that are not shown, before the first key frame that is.
    lead_in: bool,
}

impl Pictures {
    fn take(&mut self, pts: i64, key: bool, marked: bool, hidden: bool) {
        match hidden {
            true => self.lead_in |= marked && !self.all.iter().any(|picture| picture.key),
            false => self.all.push(Picture { pts, key, marked }),
        }
    }

    /// With the key frames that count.
    fn stamps(mut self) -> Vec<Stamp> {
        let first_key = self.all.iter().position(|picture| picture.key).unwrap_or(self.all.len());
        let lead = self.all.iter_mut().take(first_key).min_by_key(|picture| picture.pts);
        if let Some(first) = lead.filter(|_| self.lead_in) {
            (first.key, first.marked) = (true, true);
        }
        let marks_count = self.idrs_are_far_apart();
        let key = |picture: &Picture| picture.key || (marks_count && picture.marked);
        self.all.iter().map(|picture| Stamp { pts: picture.pts, key: key(picture) }).collect()
    }

    /// Or there is none at all.
    fn idrs_are_far_apart(&self) -> bool {
        let mut keys: Vec<i64> = self.all.iter().filter(|picture| picture.key).map(|picture| picture.pts).collect();
        let ends = [self.all.first(), self.all.last()];
        keys.extend(ends.into_iter().flatten().map(|picture| picture.pts));
        keys.sort_unstable();
        let far = keys.windows(2).any(|pair| matches!(pair, [one, next] if next.saturating_sub(*one) > IDR_FAR));
        far || !self.all.iter().any(|picture| picture.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `K` is an IDR, `I` another key frame, `h` one that is hidden, `.` any other; a picture each second.
    fn keys(pictures: &str) -> Vec<i64> {
        let mut all = Pictures::default();
        for (second, kind) in (0..).zip(pictures.chars()) {
            all.take(second * 90_000, kind == 'K', kind != '.', kind == 'h');
        }
        all.stamps().iter().filter(|stamp| stamp.key).map(|stamp| stamp.pts / 90_000).collect()
    }

    #[test]
    fn only_idrs_count_where_there_are_enough() {
        assert_eq!(keys("K..I..K..I"), [0, 6]);
        assert_eq!(keys("..K.."), [2]);
    }

    #[test]
    fn other_key_frames_count_where_there_are_no_idrs_or_they_are_far_apart() {
        assert_eq!(keys("I..I.."), [0, 3]);
        let far = format!("K..I{}I..", ".".repeat(40));
        assert_eq!(keys(&far), [0, 3, 44]);
    }

    #[test]
    fn packets_are_taken_as_long_as_a_film_may_have_them() {
        let taken = |step, rate| {
            let mut room = Room::new(240, rate);
            (0..20_000_000_i64).take_while(|n| room.take(n * step)).count()
        };
        // A minute's worth, and no more where time does not go on.
        assert_eq!(taken(0, 90_000), 14_400);
        // 480 a second.
        assert_eq!(taken(1, 480), 28_560);
        // 240 a second, for 12 h.
        assert_eq!(taken(375, 90_000), 10_368_000);
    }

    #[test]
    fn the_first_picture_after_hidden_ones_is_a_place_to_start() {
        assert_eq!(keys("h..K.."), [1, 3]);
        assert_eq!(keys("...K.."), [3]);
    }
}
