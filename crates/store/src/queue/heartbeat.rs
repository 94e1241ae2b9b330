//! Holding on to a message while its work is done: when to extend, and when it is lost.
//!
//! [`Hold`] decides and knows no clock; [`Heartbeat`] waits and asks the queue.

use super::{Message, Queue, Receipt, VISIBILITY_MAX};
use crate::error::Error;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

/// A message is extended when this part of its time is over (one in so many).
const EXTEND_AFTER_ONE_IN: u32 = 3;

/// It counts as lost when only this part of its time is left (one in so many): who has it must stop before it is
/// somebody else's, and clocks and networks are not exact.
const MARGIN_ONE_IN: u32 = 6;

/// Pause after an extension that failed, as a part of its time (one in so many).
const RETRY_ONE_IN: u32 = 12;

/// What is known of a message that somebody holds. Pure: times come from the caller, all from the same clock, which must
/// not go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    visibility: Duration,
    /// When it was received.
    since: Instant,
    /// When it was last surely ours: the moment before that was asked for.
    from: Instant,
    /// When an extension failed since.
    failed: Option<Instant>,
    lost: bool,
}

/// What is to be done about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// Nothing until then.
    Wait(Instant),
    /// Extend it.
    Extend,
    /// Stop: it is somebody else's, or soon will be.
    Lost,
}

impl Hold {
    /// A message that was received for `visibility` at `since`.
    pub fn new(visibility: Duration, since: Instant) -> Self {
        Self { visibility, since, from: since, failed: None, lost: false }
    }

    /// What is to be done now.
    pub fn beat(&self, now: Instant) -> Beat {
        if self.lost || now >= self.end() {
            return Beat::Lost;
        }
        let part = |one_in: u32| self.visibility.checked_div(one_in).unwrap_or_default();
        let next = match self.failed {
            Some(failed) => later(failed, part(RETRY_ONE_IN)),
            None => later(self.from, part(EXTEND_AFTER_ONE_IN)),
        };
        if now >= next { Beat::Extend } else { Beat::Wait(next.min(self.end())) }
    }

    /// When it counts as lost, if nothing is done.
    pub fn end(&self) -> Instant {
        let margin = self.visibility.checked_div(MARGIN_ONE_IN).unwrap_or_default();
        let by_time = later(self.from, self.visibility.saturating_sub(margin));
        by_time.min(later(self.since, VISIBILITY_MAX.saturating_sub(margin)))
    }

    /// An extension that was asked for at `asked` succeeded.
    pub fn extended(&mut self, asked: Instant) {
        self.from = asked.max(self.from);
        self.failed = None;
    }

    /// It failed at `now`, for a reason that may pass.
    pub fn failed(&mut self, now: Instant) {
        self.failed = Some(now);
    }

    /// The queue says that it is not ours any more.
    pub fn lost(&mut self) {
        self.lost = true;
    }
}

/// The moment `wait` later; the same moment if there is none.
fn later(moment: Instant, wait: Duration) -> Instant {
    moment.checked_add(wait).unwrap_or(moment)
}

/// Extends a message again and again. Owned by who works on it: end it by [`Heartbeat::done`], [`Heartbeat::give_back`] or
/// [`Heartbeat::stop`]. Dropped, it ends too, and the message comes to somebody else when its time is over.
#[derive(Debug)]
pub struct Heartbeat {
    queue: Queue,
    receipt: Receipt,
    task: Option<JoinHandle<()>>,
    lost: watch::Receiver<bool>,
    stop: watch::Sender<bool>,
}

impl Heartbeat {
    /// Begins to extend a message that was received for `visibility`.
    ///
    /// How long the answer was on its way is not known; the margin, a sixth of `visibility`, must cover it: take 30 s or
    /// more where a queue is far away. A message that lay too long before this is lost at once.
    pub fn start(queue: Queue, message: &Message, visibility: Duration) -> Self {
        let receipt = message.receipt.clone();
        let (tell_lost, lost) = watch::channel(false);
        let (stop, stopped) = watch::channel(false);
        let hold = Hold::new(visibility, message.received_at);
        let work = beat(queue.clone(), receipt.clone(), hold, tell_lost, stopped);
        Self { queue, receipt, task: Some(tokio::spawn(work)), lost, stop }
    }

    /// Whether the message is lost: what is being done for it must stop, and nothing more be written.
    pub fn is_lost(&self) -> bool {
        // Also when the task is gone without a word: then nobody extends it.
        *self.lost.borrow() || self.lost.has_changed().is_err()
    }

    /// Waits until the message is lost.
    pub async fn lost(&self) {
        // An error: the task is gone.
        let _ = self.lost.clone().wait_for(|lost| *lost).await;
    }

    /// Ends and removes the message.
    pub async fn done(self) -> Result<(), Error> {
        let (queue, receipt) = (self.queue.clone(), self.receipt.clone());
        self.stop().await;
        queue.done(&receipt).await
    }

    /// Ends and lets somebody else have the message at once.
    pub async fn give_back(self) -> Result<(), Error> {
        let (queue, receipt) = (self.queue.clone(), self.receipt.clone());
        self.stop().await;
        queue.give_back(&receipt).await
    }

    /// Ends. An extension that is under way is waited for, so that none comes after this. Says whether the message was
    /// still ours.
    pub async fn stop(mut self) -> bool {
        let _ = self.stop.send(true);
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
        !*self.lost.borrow()
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn beat(
    queue: Queue,
    receipt: Receipt,
    mut hold: Hold,
    lost: watch::Sender<bool>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        match hold.beat(Instant::now()) {
            Beat::Wait(until) => tokio::select! {
                // An error: the owner is gone.
                _ = stopped.wait_for(|stopped| *stopped) => return,
                () = sleep_until(until) => {}
            },
            Beat::Extend => {
                let asked = Instant::now();
                match timeout_at(hold.end(), queue.extend(&receipt, hold.visibility)).await {
                    Ok(Ok(())) => hold.extended(asked),
                    Ok(Err(error)) if error.is_lost() => hold.lost(),
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "a job could not be extended; trying again");
                        hold.failed(Instant::now());
                    }
                    // Its end has come.
                    Err(_) => {}
                }
                if *stopped.borrow() {
                    return;
                }
            }
            Beat::Lost => {
                let _ = lost.send(true);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
