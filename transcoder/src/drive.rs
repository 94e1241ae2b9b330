//! A child at work: started, fed with the bytes that it asks for, listened to.
//!
//! Knows no plans. Dropped, it kills the child.

use crate::reader::Reader;
use crate::trouble::{Step, Trouble, fault};
use bytes::Bytes;
use codec::vod::child::{Child, Limits};
use codec::vod::{FromVod, Job};
use std::path::Path;

/// Where a child's reels are.
#[derive(Debug)]
pub(crate) enum Reels {
    /// In the ingest store.
    Stored(Box<Reader>),
    /// Here.
    Held(Vec<Bytes>),
}

/// A child at work.
#[derive(Debug)]
pub(crate) struct Driver {
    child: Child,
    reels: Reels,
    done: bool,
}

impl Driver {
    /// Starts `program vod-child` on a job.
    pub(crate) async fn start(program: &Path, job: Job, reels: Reels) -> Step<Self> {
        let child = Child::spawn(program, job, Limits::default()).await;
        // The machine is short of something, or the program is not there: nothing is known of the source.
        let child = child.map_err(|error| Trouble::Machine(format!("can't start an encoder: {error}")))?;
        Ok(Self { child, reels, done: false })
    }

    /// What the child says next, its reads left out; `None` when it is done. Not to be dropped while it waits, unless the
    /// driver is dropped too.
    pub(crate) async fn next(&mut self) -> Step<Option<FromVod>> {
        loop {
            match self.child.next().await {
                Some(FromVod::Read { reel, offset, length }) => {
                    let bytes = self.reels.read(reel, offset, length).await?;
                    if let Err(error) = self.child.supply(bytes).await {
                        // What it died of comes next.
                        tracing::debug!(%error, "an encoder took no more");
                    }
                }
                Some(FromVod::Failed { why, machine: true }) => {
                    return Err(Trouble::Machine(format!("an encoder failed: {why}")));
                }
                Some(FromVod::Failed { why, machine: false }) => return Err(fault(why)),
                Some(FromVod::Done) => self.done = true,
                Some(said) => return Ok(Some(said)),
                None if self.done => return Ok(None),
                None => return Err(Trouble::Machine("the encoder ended without a word".to_owned())),
            }
        }
    }
}

impl Reels {
    async fn read(&mut self, reel: u32, offset: u64, length: u32) -> Step<Bytes> {
        match self {
            Self::Stored(reader) => reader.read(reel, offset, length).await,
            Self::Held(reels) => {
                let held = usize::try_from(reel).ok().and_then(|reel| reels.get(reel));
                let begin = usize::try_from(offset).unwrap_or(usize::MAX);
                let end = begin.checked_add(usize::try_from(length).unwrap_or(usize::MAX));
                let piece = held.zip(end).filter(|(held, end)| *end <= held.len());
                let piece = piece.map(|(held, end)| held.slice(begin..end));
                piece.ok_or_else(|| fault("the encoder asked for more than there is"))
            }
        }
    }
}
