//! The bytes of a source, piece by piece, as the child asks for them.
//!
//! Objects are read in aligned blocks, a few of which stay in memory, and the next one is fetched while the child works on
//! this one. Each answer's length and ETag are held against the plan: a source that was replaced in mid-job would give
//! segments of two different films. A store that is away is waited for.

use crate::plan::ReelPlan;
use crate::trouble::{Step, Trouble, fault, of_source};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use store::{Error, Objects};
use tokio_util::task::AbortOnDropHandle;

/// Bytes that are asked of the store at a time.
const BLOCK_BYTES: u64 = 4 << 20;

/// Blocks that stay in memory. Containers are read at two or three places at once: their index, sound and picture.
const BLOCKS_MAX: usize = 6;

/// A block of a reel: the reel's index, and the block's number in it.
type Place = (u32, u64);

/// Reads the reels of one job.
#[derive(Debug)]
pub(crate) struct Reader {
    ingest: Objects,
    reels: Vec<ReelPlan>,
    /// The latest used last.
    blocks: VecDeque<(Place, Bytes)>,
    ahead: Option<(Place, AbortOnDropHandle<Step<Bytes>>)>,
}

impl Reader {
    /// A reader of these reels.
    pub(crate) fn new(ingest: Objects, reels: Vec<ReelPlan>) -> Self {
        Self { ingest, reels, blocks: VecDeque::new(), ahead: None }
    }

    /// These bytes of a reel, exactly. Waits for a store that is away.
    pub(crate) async fn read(&mut self, reel: u32, offset: u64, length: u32) -> Step<Bytes> {
        let length = u64::from(length);
        let whole = self.reel(reel)?.bytes;
        let end = offset.checked_add(length).filter(|end| *end <= whole);
        let end = end.ok_or_else(|| fault("the encoder asked for more than there is of the source"))?;
        let mut pieces = Vec::new();
        let mut at = offset;
        while at < end {
            let number = at / BLOCK_BYTES;
            let begin = number.saturating_mul(BLOCK_BYTES);
            let block = self.block((reel, number)).await?;
            let (from, to) = (at.saturating_sub(begin), end.saturating_sub(begin).min(block.len() as u64));
            let range = usize::try_from(from).unwrap_or(usize::MAX)..usize::try_from(to).unwrap_or(usize::MAX);
            if range.start >= range.end {
                return Err(fault("the source is shorter than it was"));
            }
            at = at.saturating_add(to.saturating_sub(from));
            pieces.push(block.slice(range));
        }
        self.fetch_ahead(reel, end);
        Ok(join(pieces))
    }

    async fn block(&mut self, place: Place) -> Step<Bytes> {
        if let Some(at) = self.blocks.iter().position(|(held, _)| *held == place)
            && let Some(found) = self.blocks.remove(at)
        {
            let bytes = found.1.clone();
            self.blocks.push_back(found);
            return Ok(bytes);
        }
        // Stays where it is if this is dropped while it waits.
        let bytes = match &mut self.ahead {
            Some((coming, task)) if *coming == place => {
                let fetched = task.await;
                self.ahead = None;
                fetched.map_err(|lost| Trouble::Machine(format!("reading ahead failed: {lost}")))??
            }
            _ => fetch(self.ingest.clone(), self.reel(place.0)?.clone(), place.1).await?,
        };
        while self.blocks.len() >= BLOCKS_MAX {
            self.blocks.pop_front();
        }
        self.blocks.push_back((place, bytes.clone()));
        Ok(bytes)
    }

    /// Begins to fetch the block after the one in which `end` lies, of this reel or the next.
    fn fetch_ahead(&mut self, reel: u32, end: u64) {
        let next = (end.saturating_sub(1) / BLOCK_BYTES).saturating_add(1);
        let here = self.reel(reel).is_ok_and(|reel| next.saturating_mul(BLOCK_BYTES) < reel.bytes);
        let place = if here { (reel, next) } else { (reel.saturating_add(1), 0) };
        let Ok(plan) = self.reel(place.0).cloned() else { return };
        let known = self.blocks.iter().any(|(held, _)| *held == place)
            || self.ahead.as_ref().is_some_and(|(coming, _)| *coming == place);
        if known || plan.bytes == 0 {
            return;
        }
        let task = tokio::spawn(fetch(self.ingest.clone(), plan, place.1));
        self.ahead = Some((place, AbortOnDropHandle::new(task)));
    }

    fn reel(&self, reel: u32) -> Step<&ReelPlan> {
        let found = usize::try_from(reel).ok().and_then(|at| self.reels.get(at));
        found.ok_or_else(|| fault("the encoder asked for a part of the source that is none"))
    }
}

/// A block of a reel; the last one is shorter.
async fn fetch(ingest: Objects, reel: ReelPlan, number: u64) -> Step<Bytes> {
    let begin = number.saturating_mul(BLOCK_BYTES);
    let end = begin.saturating_add(BLOCK_BYTES).min(reel.bytes);
    of_source(|| piece(&ingest, &reel, begin, end)).await?
}

/// The inner result is what the store says of the source, the outer one whether it says anything.
async fn piece(ingest: &Objects, reel: &ReelPlan, begin: u64, end: u64) -> Result<Step<Bytes>, Error> {
    let Some(object) = ingest.get_range(&reel.key, begin..end).await? else {
        return Ok(Err(fault(format!("the source {} is not there any more", reel.key))));
    };
    let same = object.facts.bytes == reel.bytes && (reel.etag.is_none() || object.facts.etag == reel.etag);
    if !same {
        return Ok(Err(fault(format!("the source {} was replaced while it was worked on", reel.key))));
    }
    let bytes = object.body.collect(BLOCK_BYTES).await?;
    if bytes.len() as u64 != end.saturating_sub(begin) {
        return Ok(Err(fault(format!("the source {} is shorter than the store says", reel.key))));
    }
    Ok(Ok(bytes))
}

fn join(mut pieces: Vec<Bytes>) -> Bytes {
    if pieces.len() <= 1 {
        return pieces.pop().unwrap_or_default();
    }
    let mut all = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    pieces.iter().for_each(|piece| all.extend_from_slice(piece));
    all.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::Limits;

    struct Fixture {
        _folder: tempfile::TempDir,
        ingest: Objects,
        content: Vec<Vec<u8>>,
    }

    /// Two reels of two and a bit blocks, and of a few bytes.
    async fn fixture() -> (Fixture, Reader) {
        let folder = tempfile::tempdir().unwrap();
        let ingest = Objects::open(&format!("file:{}", folder.path().display()), Limits::PATIENT).await.unwrap();
        let long: Vec<u8> = (0..BLOCK_BYTES as usize * 2 + 77).map(|n| (n / 1000 % 251) as u8).collect();
        let content = vec![long, b"short".to_vec()];
        let mut reels = Vec::new();
        for (n, bytes) in content.iter().enumerate() {
            let key = format!("rec/foo/1/{n}.flv");
            ingest.put(&key, bytes.clone().into(), "video/x-flv").await.unwrap();
            let facts = ingest.head(&key).await.unwrap().unwrap();
            reels.push(ReelPlan { key, bytes: facts.bytes, etag: facts.etag });
        }
        let reader = Reader::new(ingest.clone(), reels);
        (Fixture { _folder: folder, ingest, content }, reader)
    }

    #[tokio::test]
    async fn every_piece_is_what_it_is_in_the_object_whatever_the_order() {
        let (fixture, mut reader) = fixture().await;
        let block = BLOCK_BYTES;
        for (reel, offset, length) in [
            (0, 0, 10),
            (0, block - 5, 10),
            (0, block * 2, 77),
            (1, 0, 5),
            (0, 3, block as u32),
            (0, block + 1, block as u32 + 76),
            (1, 4, 1),
            (0, 100, 1),
        ] {
            let range = offset as usize..offset as usize + length as usize;
            let read = reader.read(reel, offset, length).await.unwrap();
            assert!(read == fixture.content[reel as usize][range], "{reel} {offset} {length}");
        }
        assert!(reader.blocks.len() <= BLOCKS_MAX);
        for (reel, offset, length) in [(0, block * 2, 78), (1, 5, 1), (2, 0, 1), (0, u64::MAX, 1)] {
            assert!(matches!(reader.read(reel, offset, length).await, Err(Trouble::Fault(_))), "{reel} {offset}");
        }
    }

    #[tokio::test]
    async fn a_source_that_was_replaced_or_removed_is_a_fault_in_words() {
        let (fixture, mut reader) = fixture().await;
        let key = "rec/foo/1/1.flv";
        fixture.ingest.put(key, Bytes::from_static(b"tr0hs"), "video/x-flv").await.unwrap();
        let words = reader.read(1, 0, 5).await.unwrap_err().to_string();
        assert!(words.contains("was replaced"), "{words}");
        fixture.ingest.remove(key).await.unwrap();
        let words = reader.read(1, 0, 5).await.unwrap_err().to_string();
        assert!(words.contains("not there any more"), "{words}");
    }
}
