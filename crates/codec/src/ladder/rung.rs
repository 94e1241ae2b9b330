//! One rung: scales pictures, hands them on to the next smaller rung, encodes them segment by segment.
//!
//! Runs on a thread of its own ([`super::chain`] owns it). Its output depends on what it is given, not on when.

use super::busy::Busy;
use super::cap::{self, Cap};
use super::segments::Announced;
use super::{FromLadder, RungSettings, Sink};
use crate::Error;
use crate::picture::Picture;
use crate::scale::{Filter, Scaler};
use crate::x264::{Coded, Delay, Encoder, Options, Preset, Rate};
use media::h264::VideoConfig;
use media::rate::FrameRate;
use media::unit::VideoUnit;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

/// Quality of live where the cap leaves room. Lower is better; 23 is x264's default, hard to tell from the source.
const CRF: u8 = 23;

/// What a rung is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    pub(crate) rung: RungSettings,
    /// Length that segments are meant to have.
    pub(crate) segment_ms: u32,
    /// Quality where the cap leaves room.
    pub(crate) crf: u8,
    pub(crate) preset: Preset,
    /// Whether to make the most of the bits, or to give each picture at once.
    pub(crate) unhurried: bool,
}

impl Work {
    /// Every picture at once.
    pub(crate) fn live(rung: RungSettings, segment_ms: u32) -> Self {
        Self { rung, segment_ms, crf: CRF, preset: Preset::Veryfast, unhurried: false }
    }
}

/// A rung's bit in a mask. There are at most 8.
pub(super) fn bit(index: usize) -> u8 {
    u32::try_from(index).ok().and_then(|index| 1_u8.checked_shl(index)).unwrap_or(0)
}

/// What a rung is told.
pub(crate) enum Job {
    /// The next picture of a segment, in the sizes of larger rungs or of the source, largest first: those that this rung or a
    /// smaller one is scaled from. Never none.
    Picture { segment: Announced, pts: i64, larger: Vec<Picture> },
    /// A segment has all its pictures.
    End { seq: u64 },
    /// The source's stated rate, before the pictures it holds for.
    Rate(FrameRate, bool),
}

/// Where a segment stands.
enum State {
    /// No picture yet.
    Idle,
    /// The first picture waits for the second, from which the pictures' distance is known.
    Held(Announced, Picture, i64),
    /// Encoding.
    Open(Box<Encoder>, Times),
}

/// Times of a segment's pictures, as shown, and how many have come out of the encoder.
#[derive(Default)]
struct Times {
    shown: Vec<i64>,
    given: usize,
}

impl Times {
    /// The next unit in decoding order: decoded when the picture in its place is shown. Without B-frames that is itself.
    fn unit(&mut self, coded: Coded) -> Option<VideoUnit> {
        let dts = *self.shown.get(self.given)?;
        let pts = *self.shown.get(usize::try_from(coded.shown).ok()?)?;
        self.given += 1;
        Some(VideoUnit { dts, pts, idr: coded.idr, data: coded.data })
    }
}

/// From which of these widths, largest first, a picture of `width` is scaled. Live from the next larger one, which costs least.
/// Unhurried from the nearest that is at least twice as wide, else from the largest: what was scaled by less has lost a part of
/// what a second scaling needs.
fn nearest(widths: &[u32], width: u32, unhurried: bool) -> usize {
    match unhurried {
        false => widths.len().saturating_sub(1),
        true => widths.iter().rposition(|larger| *larger == width || *larger / 2 >= width).unwrap_or_default(),
    }
}

/// A rung's own data.
pub(super) struct Rung {
    index: usize,
    work: Work,
    /// The smaller rungs' bits.
    below: u8,
    /// Their widths.
    widths_below: Vec<u32>,
    /// `level_idc` of every segment.
    level: Option<u8>,
    nominal: (FrameRate, bool),
    scaler: Option<Scaler>,
    state: State,
    announced: Option<VideoConfig>,
    smaller: Option<SyncSender<Job>>,
    sink: Sink,
    busy: Busy,
    /// For how long the job in hand has waited for the next smaller rung.
    waited: Duration,
}

impl Rung {
    /// A rung that gives its scaled pictures to `smaller` and its units to `sink`. Tries the settings on a black picture,
    /// so that what x264 would refuse fails here.
    pub(super) fn new(
        index: usize,
        work: Work,
        (below, widths_below): (u8, Vec<u32>),
        smaller: Option<SyncSender<Job>>,
        sink: Sink,
        busy: Busy,
    ) -> Result<Self, Error> {
        let (nominal, scaler, state) = (cap::nominal_rate(None), None, State::Idle);
        let (level, announced, waited) = (None, None, Duration::ZERO);
        #[rustfmt::skip]
        let rung = Self {
            index, work, below, widths_below, level, nominal, scaler, state, announced, smaller, sink, busy, waited,
        };
        let black = Picture::new(work.rung.width, work.rung.height)?;
        rung.open(&black, None, None)?.encode(black, &mut |_| {})?;
        Ok(rung)
    }

    /// Works until nobody can send jobs any more, or nobody takes the output. An error goes to the sink.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            let begun = Instant::now();
            self.waited = Duration::ZERO;
            let handled = self.handle(job);
            self.busy.worked(self.index, begun, self.waited);
            match handled {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    let RungSettings { width, height, .. } = self.work.rung;
                    (self.sink)(FromLadder::Failed { why: format!("rung {width}x{height}: {error}") });
                    return;
                }
            }
        }
    }

    /// Whether to go on.
    fn handle(&mut self, job: Job) -> Result<bool, Error> {
        match job {
            Job::Picture { segment, pts, mut larger } => {
                let skipped = segment.skip & bit(self.index) != 0;
                let wanted_below = self.below & !segment.skip != 0;
                if skipped && !wanted_below {
                    return Ok(true);
                }
                // Scaled even if it is not encoded: the smaller rungs' bytes must not depend on this one's rest.
                let scaled = self.scale(&larger)?;
                let passed = !wanted_below || {
                    larger.push(scaled.share()?);
                    self.pass_on(Job::Picture { segment, pts, larger: self.needed_below(larger) })
                };
                Ok(passed && (skipped || self.encode(segment, pts, scaled)?))
            }
            Job::End { seq } => Ok(self.pass_on(Job::End { seq }) && self.end(seq)?),
            Job::Rate(rate, stated) => {
                self.nominal = (rate, stated);
                self.level = None;
                self.level = self.declare()?;
                Ok(self.pass_on(Job::Rate(rate, stated)))
            }
        }
    }

    fn pass_on(&mut self, job: Job) -> bool {
        let Some(smaller) = &self.smaller else { return true };
        let begun = Instant::now();
        let sent = smaller.send(job).is_ok();
        self.waited = self.waited.saturating_add(begun.elapsed());
        sent
    }

    /// Those pictures that a smaller rung is scaled from, unless a nearer one comes between.
    fn needed_below(&self, pictures: Vec<Picture>) -> Vec<Picture> {
        let widths: Vec<u32> = pictures.iter().map(Picture::width).collect();
        let unhurried = self.work.unhurried;
        let needed: Vec<usize> = self.widths_below.iter().map(|width| nearest(&widths, *width, unhurried)).collect();
        pictures.into_iter().enumerate().filter(|(at, _)| needed.contains(at)).map(|(_, picture)| picture).collect()
    }

    fn scale(&mut self, larger: &[Picture]) -> Result<Picture, Error> {
        let widths: Vec<u32> = larger.iter().map(Picture::width).collect();
        let RungSettings { width, height, .. } = self.work.rung;
        let picture = larger.get(nearest(&widths, width, self.work.unhurried)).ok_or(Error::RungEnded)?;
        let (from, to) = ((picture.width(), picture.height()), (width, height));
        if from == to {
            return picture.share();
        }
        let scaler = match self.scaler.take().filter(|scaler| scaler.takes(picture)) {
            Some(scaler) => scaler,
            None => Scaler::new(from, to, if self.work.unhurried { Filter::Sharp } else { Filter::Quick })?,
        };
        self.scaler.insert(scaler).scale(picture)
    }

    fn encode(&mut self, segment: Announced, pts: i64, picture: Picture) -> Result<bool, Error> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => {
                self.state = State::Held(segment, picture, pts);
                Ok(true)
            }
            State::Held(held, first, first_pts) => {
                let encoder = self.open(&first, Some(held), Some(pts.saturating_sub(first_pts)))?;
                self.state = State::Open(Box::new(encoder), Times::default());
                Ok(self.feed(held.seq, first_pts, first)? && self.feed(segment.seq, pts, picture)?)
            }
            open @ State::Open(..) => {
                self.state = open;
                self.feed(segment.seq, pts, picture)
            }
        }
    }

    fn end(&mut self, seq: u64) -> Result<bool, Error> {
        if let State::Held(..) = self.state {
            let State::Held(segment, only, pts) = std::mem::replace(&mut self.state, State::Idle) else {
                return Ok(true);
            };
            let encoder = self.open(&only, Some(segment), None)?;
            self.state = State::Open(Box::new(encoder), Times::default());
            self.feed(seq, pts, only)?;
        }
        if let State::Open(mut encoder, mut times) = std::mem::replace(&mut self.state, State::Idle) {
            let mut units = Vec::new();
            encoder.finish(&mut |coded| units.extend(times.unit(coded)))?;
            if !self.give(seq, units) {
                return Ok(false);
            }
        }
        Ok((self.sink)(FromLadder::SegmentEnd { rung: self.index, seq }))
    }

    /// Encodes one picture of the open segment.
    fn feed(&mut self, seq: u64, pts: i64, picture: Picture) -> Result<bool, Error> {
        let State::Open(encoder, times) = &mut self.state else { return Ok(true) };
        times.shown.push(pts);
        let mut units = Vec::new();
        encoder.encode(picture, &mut |coded| units.extend(times.unit(coded)))?;
        if self.announced.as_ref() != Some(encoder.config()) {
            let config = encoder.config().clone();
            self.announced = Some(config.clone());
            if !(self.sink)(FromLadder::Config { rung: self.index, config }) {
                return Ok(false);
            }
        }
        Ok(self.give(seq, units))
    }

    fn give(&self, seq: u64, units: Vec<VideoUnit>) -> bool {
        units.into_iter().all(|unit| (self.sink)(FromLadder::Unit { rung: self.index, seq, unit }))
    }

    /// A fresh encoder for a segment that starts with `first`, followed by another `gap` ticks later.
    fn open(&self, first: &Picture, segment: Option<Announced>, gap: Option<i64>) -> Result<Encoder, Error> {
        let (rate, _) = self.nominal;
        let Work { rung: RungSettings { width, height, bitrate }, segment_ms, crf, preset, unhurried } = self.work;
        let foreseen = segment.and_then(|segment| segment.foreseen);
        let cap = match unhurried {
            false => Cap::new(bitrate, segment_ms),
            // A segment that is cut short gets a smaller buffer.
            true => Cap::unhurried(bitrate, foreseen.map_or(segment_ms, |foreseen| foreseen.ms.min(segment_ms))),
        };
        let spacing = match foreseen {
            None => cap::spacing(self.nominal, gap),
            // More pictures than announced get fewer bits each; of fewer ones quality asks for no more.
            Some(foreseen) => foreseen.spacing.clamp(1, rate.ticks(1).max(1)),
        };
        let cap = cap.at(rate, spacing);
        Encoder::open(&Options {
            width,
            height,
            frame_rate: (rate.num, rate.den),
            preset,
            rate: Rate::Capped { crf, max_bitrate: cap.max_bitrate, buffer_bits: cap.buffer_bits },
            keyint: None,
            delay: if unhurried { Delay::Preset } else { Delay::None { bframes: 0 } },
            level: self.level,
            colour: first.colour(),
        })
    }

    /// The level that segments declare whatever their own rates are, so that they share their parameter sets. Live
    /// segments are all alike, and declare what they need.
    fn declare(&self) -> Result<Option<u8>, Error> {
        if !self.work.unhurried {
            return Ok(None);
        }
        let black = Picture::new(self.work.rung.width, self.work.rung.height)?;
        let encoder = self.open(&black, None, None)?;
        // ISO/IEC 14496-15, 5.3.3.1: version, profile, compatibility, level.
        Ok(encoder.config().avcc().get(3).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn pictures_are_scaled_from_twice_the_size_or_from_the_source_unless_it_is_live() {
        for (widths, width, live, unhurried) in [
            (&[3840][..], 3840, 0, 0),
            (&[3840], 2880, 0, 0),
            (&[3840, 3840, 2880], 1920, 2, 1),
            (&[3840, 2880, 1920], 1280, 2, 1),
            (&[3840, 2880, 1920, 1280], 960, 3, 2),
            (&[1920, 1280], 1000, 1, 0),
            (&[1921, 961], 480, 1, 1),
        ] {
            assert_eq!(nearest(widths, width, false), live, "{width} of {widths:?}");
            assert_eq!(nearest(widths, width, true), unhurried, "{width} of {widths:?}");
        }
    }
}
