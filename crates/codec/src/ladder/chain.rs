//! The rungs' threads, each handing its pictures on to the next smaller one.
//!
//! A rung that is behind makes the ones before it wait, up to the caller. Knows no decoder and no segment's times.

use super::busy::Busy;
use super::rung::{Job, Rung, Work};
use super::{FromLadder, cap};
use crate::Error;
use media::ladder::RUNGS_MAX;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Takes the output, from any rung's thread; may block to slow the ladder down. `false` ends the ladder.
pub(crate) type Sink = Arc<dyn Fn(FromLadder) -> bool + Send + Sync>;

/// Pictures waiting for a rung: enough to decode one while another is encoded, small since 4K pictures are 11 MB.
const QUEUE_PICTURES: usize = 3;

/// The rungs' threads. Joined on drop.
pub(crate) struct Chain {
    largest: Option<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
    busy: Busy,
    /// For how long the caller has waited for the largest rung.
    waited: Cell<Duration>,
}

impl Chain {
    /// Starts one thread for each rung, the smallest first, so that each knows whom to hand its pictures on to.
    pub(crate) fn new(works: &[Work], sink: &Sink) -> Result<Self, Error> {
        let count = works.len();
        if !(1..=RUNGS_MAX).contains(&count) {
            return Err(Error::Setting { what: "number of rungs", value: count.to_string(), allowed: "1 to 8" });
        }
        let mut order: Vec<_> = works.iter().enumerate().collect();
        order.sort_by_key(|(_, work)| u64::from(work.rung.width) * u64::from(work.rung.height));
        let busy = Busy::default();
        let mut chain =
            Self { largest: None, threads: Vec::new(), busy: busy.clone(), waited: Cell::new(Duration::ZERO) };
        let (mut smaller, mut widths) = (0, Vec::new());
        for (index, work) in order {
            let below = (smaller, widths.clone());
            let worker = Rung::new(index, *work, below, chain.largest.take(), Arc::clone(sink), busy.clone())?;
            smaller |= super::rung::bit(index);
            widths.push(work.rung.width);
            let (sender, jobs) = sync_channel(QUEUE_PICTURES);
            let thread = std::thread::Builder::new()
                .name(format!("rung-{}w", work.rung.width))
                .spawn(move || worker.run(&jobs))
                .map_err(Error::io("starting an encoder thread"))?;
            chain.largest = Some(sender);
            chain.threads.push(thread);
        }
        Ok(chain)
    }

    /// The source's rate holds for the pictures that follow.
    pub(crate) fn announce_rate(&self, frame_rate: Option<(u32, u32)>) -> Result<(), Error> {
        let (rate, stated) = cap::nominal_rate(frame_rate);
        self.send(Job::Rate(rate, stated))
    }

    /// These segments have all their pictures.
    pub(crate) fn end_all(&self, ended: Vec<u64>) -> Result<(), Error> {
        ended.into_iter().try_for_each(|seq| self.send(Job::End { seq }))
    }

    /// Waits while the largest rung is behind.
    pub(crate) fn send(&self, job: Job) -> Result<(), Error> {
        let begun = Instant::now();
        let sent = self.largest.as_ref().and_then(|largest| largest.send(job).ok());
        self.waited.set(self.waited.get().saturating_add(begun.elapsed()));
        sent.ok_or(Error::RungEnded)
    }

    /// What the threads have to do.
    pub(crate) fn busy(&self) -> &Busy {
        &self.busy
    }

    /// For how long the caller has waited since the last time.
    pub(crate) fn take_waited(&self) -> Duration {
        self.waited.take()
    }

    /// Lets the threads finish what they have, largest first, each ending the next one's queue. An error if one of them
    /// panicked: it has printed why.
    pub(crate) fn join(&mut self) -> Result<(), Error> {
        self.largest = None;
        let ended: Vec<_> = self.threads.drain(..).rev().map(JoinHandle::join).collect();
        if ended.iter().all(Result::is_ok) { Ok(()) } else { Err(Error::RungEnded) }
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        // Whoever drops it unfinished asks for nothing any more.
        drop(self.join());
    }
}
