//! The decoder and the chain of rungs behind it.
//!
//! ```text
//! push ─▶ decode ─▶ │rung 0: scale│ ─▶ │rung 1: scale│ ─▶ …       (bounded queues of picture references)
//!                   └─▶ x264 ─▶ sink   └─▶ x264 ─▶ sink
//! ```
//!
//! Decodes on the caller's thread; each rung has a named thread. A rung that is behind makes the ones before it
//! wait, up to the caller: what to do about that is the caller's policy.

use super::rung::{Job, Rung};
use super::segments::{Announced, Segments};
use super::{FromLadder, Settings, ToLadder, cap};
use crate::Error;
use crate::decode;
use crate::picture::Picture;
use media::h264::VideoConfig;
use media::ladder::RUNGS_MAX;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Takes the output, from any rung's thread; may block to slow the ladder down. `false` ends the ladder.
pub(crate) type Sink = Arc<dyn Fn(FromLadder) -> bool + Send + Sync>;

/// Pictures waiting for a rung: enough to decode one while another is encoded, small since 4K pictures are 11 MB.
const QUEUE_PICTURES: usize = 3;

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
        let chain = Chain::new(&settings, &sink)?;
        chain.announce_rate(&settings.config)?;
        let segments = Segments::default();
        Ok(Self { config: settings.config, decoder, damaged_before: 0, segments, chain })
    }

    /// Takes one message; blocks while the rungs are behind. At [`ToLadder::End`], returns when all output was given.
    pub(crate) fn push(&mut self, message: ToLadder) -> Result<(), Error> {
        match message {
            ToLadder::Config(config) => self.reconfigure(config),
            ToLadder::Segment { seq, start_pts, skip } => {
                let ended = self.segments.announce(Announced { seq, skip }, start_pts);
                self.chain.end_all(ended)
            }
            ToLadder::Unit(unit) => {
                let Self { decoder, segments, chain, .. } = self;
                decoder.push(&unit, &mut |picture| place(segments, chain, picture))
            }
            ToLadder::End => {
                self.drain_decoder()?;
                self.chain.end_all(self.segments.finish())?;
                self.chain.join();
                Ok(())
            }
        }
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
        self.chain.announce_rate(&config)?;
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
        Some(segment) => chain.send(Job::Picture { segment, pts, picture }),
        None => Ok(()),
    }
}

/// The rungs' threads. Joined on drop.
struct Chain {
    largest: Option<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Chain {
    /// Starts one thread for each rung, the smallest first, so that each knows whom to hand its pictures on to.
    fn new(settings: &Settings, sink: &Sink) -> Result<Self, Error> {
        let count = settings.rungs.len();
        if !(1..=RUNGS_MAX).contains(&count) {
            return Err(Error::Setting { what: "number of rungs", value: count.to_string(), allowed: "1 to 8" });
        }
        let mut order: Vec<_> = settings.rungs.iter().enumerate().collect();
        order.sort_by_key(|(_, rung)| u64::from(rung.width) * u64::from(rung.height));
        let mut chain = Self { largest: None, threads: Vec::new() };
        for (index, rung) in order {
            let worker = Rung::new(index, *rung, settings.segment_ms, chain.largest.take(), Arc::clone(sink))?;
            let (sender, jobs) = sync_channel(QUEUE_PICTURES);
            let thread = std::thread::Builder::new()
                .name(format!("rung-{}w", rung.width))
                .spawn(move || worker.run(&jobs))
                .map_err(Error::io("starting an encoder thread"))?;
            chain.largest = Some(sender);
            chain.threads.push(thread);
        }
        Ok(chain)
    }

    fn announce_rate(&self, config: &VideoConfig) -> Result<(), Error> {
        let (rate, stated) = cap::nominal_rate(config.frame_rate());
        self.send(Job::Rate(rate, stated))
    }

    fn end_all(&self, ended: Vec<u64>) -> Result<(), Error> {
        ended.into_iter().try_for_each(|seq| self.send(Job::End { seq }))
    }

    fn send(&self, job: Job) -> Result<(), Error> {
        let sent = self.largest.as_ref().and_then(|largest| largest.send(job).ok());
        sent.ok_or(Error::RungEnded)
    }

    /// Lets the threads finish what they have, largest first, each ending the next one's queue.
    fn join(&mut self) {
        self.largest = None;
        for thread in self.threads.drain(..).rev() {
            // A thread that panicked has printed why, and its silence shows in what is missing.
            drop(thread.join());
        }
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.join();
    }
}
