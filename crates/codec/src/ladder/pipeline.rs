//! The decoder and the chain of rungs behind it.
//!
//! ```text
//! push ─▶ decode ─▶ │rung 0: scale│ ─▶ │rung 1: scale│ ─▶ …       (bounded queues of picture references)
//!                   └─▶ x264 ─▶ sink   └─▶ x264 ─▶ sink
//! ```
//!
//! Decodes on the caller's thread; the rungs are [`super::chain`]'s. A rung that is behind makes the ones before it
//! wait, up to the caller: what to do about that is the caller's policy.

use super::busy::Busy;
use super::chain::{Chain, Sink};
use super::rung::{Job, Work};
use super::segments::{Announced, Segments};
use super::{Settings, ToLadder};
use crate::Error;
use crate::decode;
use crate::picture::Picture;
use media::h264::VideoConfig;
use std::time::Instant;

/// A running ladder.
pub(crate) struct Pipeline {
    config: VideoConfig,
    decoder: decode::Video,
    damaged_before: u64,
    segments: Segments,
    chain: Chain,
}

impl Pipeline {
    /// Opens the decoder and tries every rung's encoder.
    pub(crate) fn new(settings: Settings, sink: Sink) -> Result<Self, Error> {
        let decoder = decode::Video::open(&settings.config)?;
        let works: Vec<Work> = settings.rungs.iter().map(|rung| Work::live(*rung, settings.segment_ms)).collect();
        let chain = Chain::new(&works, &sink)?;
        chain.announce_rate(settings.config.frame_rate())?;
        let segments = Segments::default();
        Ok(Self { config: settings.config, decoder, damaged_before: 0, segments, chain })
    }

    /// Takes one message; blocks while the rungs are behind. At [`ToLadder::End`], returns when all output was given.
    pub(crate) fn push(&mut self, message: ToLadder) -> Result<(), Error> {
        match message {
            ToLadder::Config(config) => self.reconfigure(config),
            ToLadder::Segment { seq, start_pts, skip } => {
                let ended = self.segments.announce(Announced { seq, skip, foreseen: None }, start_pts);
                self.chain.end_all(ended)
            }
            ToLadder::Unit(unit) => {
                let Self { decoder, segments, chain, .. } = self;
                let begun = Instant::now();
                chain.take_waited();
                let pushed = decoder.push(&unit, &mut |picture| place(segments, chain, picture));
                chain.busy().worked(Busy::DECODER, begun, chain.take_waited());
                pushed
            }
            ToLadder::End => {
                self.drain_decoder()?;
                self.chain.end_all(self.segments.finish())?;
                self.chain.join()
            }
        }
    }

    /// The most that any thread has worked since the last time, in µs.
    pub(crate) fn take_busy(&self) -> u32 {
        self.chain.busy().take()
    }

    /// Units and pictures that could not be decoded so far.
    pub(crate) fn damaged(&self) -> u64 {
        self.damaged_before + self.decoder.damaged()
    }

    /// Finishes what the old decoder holds and starts another.
    fn reconfigure(&mut self, config: VideoConfig) -> Result<(), Error> {
        if config == self.config {
            return Ok(());
        }
        self.drain_decoder()?;
        self.damaged_before = self.damaged();
        self.decoder = decode::Video::open(&config)?;
        self.chain.announce_rate(config.frame_rate())?;
        self.config = config;
        Ok(())
    }

    fn drain_decoder(&mut self) -> Result<(), Error> {
        let Self { decoder, segments, chain, .. } = self;
        decoder.finish(&mut |picture| place(segments, chain, picture))
    }
}

/// Sends a picture to its segment.
fn place(segments: &mut Segments, chain: &Chain, picture: Picture) -> Result<(), Error> {
    let Some(pts) = picture.pts() else { return Ok(()) };
    let (ended, segment) = segments.place(pts);
    chain.end_all(ended)?;
    match segment {
        Some(segment) => chain.send(Job::Picture { segment, pts, larger: vec![picture] }),
        None => Ok(()),
    }
}
