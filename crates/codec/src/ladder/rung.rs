//! One rung: scales pictures, hands them on to the next smaller rung, encodes them segment by segment.
//!
//! Runs on a thread of its own ([`super::pipeline`] owns it). Its output depends on what it is given, not on when.

use super::cap::{self, Cap};
use super::segments::Announced;
use super::{FromLadder, RungSettings, Sink};
use crate::Error;
use crate::picture::Picture;
use crate::scale::Scaler;
use crate::x264::{Encoder, Options, Preset, Rate};
use media::h264::VideoConfig;
use media::rate::FrameRate;
use media::unit::VideoUnit;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender};

/// Quality where the cap leaves room. Lower is better; 23 is x264's default, hard to tell from the source.
const CRF: u8 = 23;

/// What a rung is told.
pub(super) enum Job {
    /// The next picture of a segment, in the size of the next larger rung.
    Picture { segment: Announced, pts: i64, picture: Picture },
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
    Held(Picture, i64),
    /// Encoding; times of pictures inside the encoder.
    Open(Box<Encoder>, VecDeque<i64>),
}

/// A rung's own data.
pub(super) struct Rung {
    index: usize,
    settings: RungSettings,
    cap: Cap,
    nominal: (FrameRate, bool),
    scaler: Option<Scaler>,
    state: State,
    announced: Option<VideoConfig>,
    smaller: Option<SyncSender<Job>>,
    sink: Sink,
}

impl Rung {
    /// A rung that gives its scaled pictures to `smaller` and its units to `sink`. Tries the settings on a black picture,
    /// so that what x264 would refuse fails here.
    pub(super) fn new(
        index: usize,
        settings: RungSettings,
        segment_ms: u32,
        smaller: Option<SyncSender<Job>>,
        sink: Sink,
    ) -> Result<Self, Error> {
        let cap = Cap::new(settings.bitrate, segment_ms);
        let nominal = cap::nominal_rate(None);
        let rung =
            Self { index, settings, cap, nominal, scaler: None, state: State::Idle, announced: None, smaller, sink };
        let black = Picture::new(settings.width, settings.height)?;
        rung.open(&black, None)?.encode(black, &mut |_| {})?;
        Ok(rung)
    }

    /// Works until nobody can send jobs any more, or nobody takes the output. An error goes to the sink.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            match self.handle(job) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    let RungSettings { width, height, .. } = self.settings;
                    (self.sink)(FromLadder::Failed { why: format!("rung {width}x{height}: {error}") });
                    return;
                }
            }
        }
    }

    /// Whether to go on.
    fn handle(&mut self, job: Job) -> Result<bool, Error> {
        match job {
            Job::Picture { segment, pts, picture } => {
                // Scaled even if it is not encoded: the next smaller rung's bytes must not depend on this one's rest.
                let scaled = self.scale(picture)?;
                let skipped = segment.skip & 1_u8.checked_shl(self.index as u32).unwrap_or(0) != 0;
                Ok(self.pass_on(Job::Picture { segment, pts, picture: scaled.share()? })
                    && (skipped || self.encode(segment.seq, pts, scaled)?))
            }
            Job::End { seq } => Ok(self.pass_on(Job::End { seq }) && self.end(seq)?),
            Job::Rate(rate, stated) => {
                self.nominal = (rate, stated);
                Ok(self.pass_on(Job::Rate(rate, stated)))
            }
        }
    }

    fn pass_on(&self, job: Job) -> bool {
        self.smaller.as_ref().is_none_or(|smaller| smaller.send(job).is_ok())
    }

    fn scale(&mut self, picture: Picture) -> Result<Picture, Error> {
        let (from, to) = ((picture.width(), picture.height()), (self.settings.width, self.settings.height));
        if from == to {
            return Ok(picture);
        }
        let scaler = match self.scaler.take().filter(|scaler| scaler.takes(&picture)) {
            Some(scaler) => scaler,
            None => Scaler::new(from, to)?,
        };
        self.scaler.insert(scaler).scale(&picture)
    }

    fn encode(&mut self, seq: u64, pts: i64, picture: Picture) -> Result<bool, Error> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => {
                self.state = State::Held(picture, pts);
                Ok(true)
            }
            State::Held(first, first_pts) => {
                let encoder = self.open(&first, Some(pts.saturating_sub(first_pts)))?;
                self.state = State::Open(Box::new(encoder), VecDeque::new());
                Ok(self.feed(seq, first_pts, first)? && self.feed(seq, pts, picture)?)
            }
            open @ State::Open(..) => {
                self.state = open;
                self.feed(seq, pts, picture)
            }
        }
    }

    fn end(&mut self, seq: u64) -> Result<bool, Error> {
        if let State::Held(..) = self.state {
            let State::Held(only, pts) = std::mem::replace(&mut self.state, State::Idle) else { return Ok(true) };
            let encoder = self.open(&only, None)?;
            self.state = State::Open(Box::new(encoder), VecDeque::new());
            self.feed(seq, pts, only)?;
        }
        if let State::Open(mut encoder, mut times) = std::mem::replace(&mut self.state, State::Idle) {
            let mut units = Vec::new();
            encoder.finish(&mut |coded| units.extend(unit(coded, &mut times)))?;
            if !self.give(seq, units) {
                return Ok(false);
            }
        }
        Ok((self.sink)(FromLadder::SegmentEnd { rung: self.index, seq }))
    }

    /// Encodes one picture of the open segment.
    fn feed(&mut self, seq: u64, pts: i64, picture: Picture) -> Result<bool, Error> {
        let State::Open(encoder, times) = &mut self.state else { return Ok(true) };
        times.push_back(pts);
        let mut units = Vec::new();
        encoder.encode(picture, &mut |coded| units.extend(unit(coded, times)))?;
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
    fn open(&self, first: &Picture, gap: Option<i64>) -> Result<Encoder, Error> {
        let (rate, _) = self.nominal;
        let cap = self.cap.at(rate, cap::spacing(self.nominal, gap));
        Encoder::open(&Options {
            width: self.settings.width,
            height: self.settings.height,
            frame_rate: (rate.num, rate.den),
            preset: Preset::Veryfast,
            rate: Rate::Capped { crf: CRF, max_bitrate: cap.max_bitrate, buffer_bits: cap.buffer_bits },
            keyint: None,
            bframes: 0,
            colour: first.colour(),
        })
    }
}

/// Without B-frames units come in the order of their pictures, so the oldest time is the unit's.
fn unit(coded: crate::x264::Coded, times: &mut VecDeque<i64>) -> Option<VideoUnit> {
    times.pop_front().map(|pts| VideoUnit { dts: pts, pts, idr: coded.idr, data: coded.data })
}
