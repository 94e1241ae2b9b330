//! A reel's bytes, fetched in pieces when they are needed.
//!
//! Turns libav's many small reads into few large ones: a run of reads asks for twice as much each time, a jump begins
//! anew. Some pieces are kept, since files are often read in two places in turn. Knows no formats.

use super::READ_BYTES_MAX;
use crate::Error;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// Gives bytes of reels; blocks until they are there.
pub(crate) trait Source: Send + Sync {
    /// Exactly `length` bytes (at most [`READ_BYTES_MAX`]) from `offset` of a reel.
    fn fetch(&self, reel: u32, offset: u64, length: u32) -> Result<Bytes, Error>;
}

/// Bytes that a first read, or one after a jump, asks for.
const FIRST_BYTES: u32 = 256 << 10;

/// Pieces kept: two of a place that is read on in, for up to three such places. At most 24 MiB.
const PIECES_MAX: usize = 6;

/// A piece and where it begins.
struct Piece {
    offset: u64,
    bytes: Bytes,
}

impl Piece {
    fn end(&self) -> u64 {
        self.offset.saturating_add(self.bytes.len() as u64)
    }
}

/// Reads one reel.
pub(crate) struct Reader {
    source: Arc<dyn Source>,
    reel: u32,
    length: u64,
    /// The one used last is the last.
    pieces: VecDeque<Piece>,
    /// Why a fetch failed; nothing is read after it.
    failed: Option<Error>,
}

impl Reader {
    /// Of reel number `reel`, which has `length` bytes.
    pub(crate) fn new(source: Arc<dyn Source>, reel: u32, length: u64) -> Self {
        Self { source, reel, length, pieces: VecDeque::new(), failed: None }
    }

    /// The same reel with the pieces at hand, for another.
    pub(crate) fn hand_over(&mut self) -> Self {
        let (pieces, failed) = (std::mem::take(&mut self.pieces), self.failed.take());
        Self { source: Arc::clone(&self.source), reel: self.reel, length: self.length, pieces, failed }
    }

    /// The reel's length.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Some bytes from `offset`, 1 to `most`; none at the reel's end.
    pub(crate) fn read(&mut self, offset: u64, most: usize) -> Result<Bytes, Error> {
        if offset >= self.length || most == 0 {
            return Ok(Bytes::new());
        }
        if self.failed.is_some() {
            return Err(Error::source("it could not be read on"));
        }
        let held = self.pieces.iter().position(|piece| (piece.offset..piece.end()).contains(&offset));
        let piece = match held.and_then(|at| self.pieces.remove(at)) {
            Some(piece) => piece,
            None => self.fetch(offset)?,
        };
        // `offset` lies in the piece.
        let skip = usize::try_from(offset.saturating_sub(piece.offset)).unwrap_or(usize::MAX).min(piece.bytes.len());
        let rest = piece.bytes.slice(skip..);
        self.pieces.push_back(piece);
        Ok(rest.slice(..rest.len().min(most)))
    }

    /// Exactly `length` bytes, if there are as many.
    pub(crate) fn read_all(&mut self, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        let mut all = Vec::new();
        while all.len() < length {
            let at = offset.saturating_add(all.len() as u64);
            match self.read(at, length.saturating_sub(all.len()))? {
                piece if piece.is_empty() => break,
                piece => all.extend_from_slice(&piece),
            }
        }
        Ok(all)
    }

    /// Why reading failed, if it did.
    pub(crate) fn take_failure(&mut self) -> Option<Error> {
        self.failed.take()
    }

    fn fetch(&mut self, offset: u64) -> Result<Piece, Error> {
        let before = self.pieces.iter().find(|piece| piece.end() == offset);
        let wanted = before.map_or(FIRST_BYTES, |piece| {
            u32::try_from(piece.bytes.len()).unwrap_or(u32::MAX).saturating_mul(2).clamp(FIRST_BYTES, READ_BYTES_MAX)
        });
        let rest = u32::try_from(self.length.saturating_sub(offset)).unwrap_or(u32::MAX);
        match self.source.fetch(self.reel, offset, wanted.min(rest)) {
            Ok(bytes) if !bytes.is_empty() => {
                while self.pieces.len() >= PIECES_MAX {
                    self.pieces.pop_front();
                }
                Ok(Piece { offset, bytes })
            }
            Ok(_) => Err(Error::source("a piece of it came empty")),
            Err(error) => {
                self.failed = Some(error);
                Err(Error::source("it could not be read on"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Numbers, and what was asked for.
    #[derive(Default)]
    struct Numbers(Mutex<Vec<(u64, u32)>>);

    impl Source for Numbers {
        fn fetch(&self, _reel: u32, offset: u64, length: u32) -> Result<Bytes, Error> {
            self.0.lock().unwrap().push((offset, length));
            Ok((offset..offset + u64::from(length)).map(|at| (at % 251) as u8).collect())
        }
    }

    fn asked(numbers: &Numbers) -> Vec<(u64, u32)> {
        std::mem::take(&mut *numbers.0.lock().unwrap())
    }

    #[test]
    fn reading_on_asks_for_more_and_more_and_a_jump_for_little() {
        const K: u64 = 1 << 10;
        let numbers = Arc::new(Numbers::default());
        let mut reader = Reader::new(numbers.clone(), 0, 20 << 20);
        let mut at = 0;
        while at < (9 << 20) {
            at += reader.read(at, 32 << 10).unwrap().len() as u64;
        }
        let expected = [(0, 256), (256, 512), (768, 1024), (1792, 2048), (3840, 4096), (7936, 4096)];
        assert_eq!(asked(&numbers), expected.map(|(offset, length)| (offset * K, length * 1024)));
        reader.read(15 << 20, 1).unwrap();
        assert_eq!(asked(&numbers), [(15 << 20, 256 << 10)]);
        // Back to where it was: kept.
        reader.read(at - 1, 1).unwrap();
        assert_eq!(asked(&numbers), []);
    }

    #[test]
    fn bytes_are_those_of_their_place_and_none_lie_beyond_the_end() {
        let mut reader = Reader::new(Arc::new(Numbers::default()), 0, 300_000);
        for at in [0, 1, 262_143, 262_144, 299_999, 5] {
            assert_eq!(reader.read(at, 10).unwrap()[0], (at % 251) as u8, "{at}");
        }
        assert_eq!(reader.read(299_995, 100).unwrap().len(), 5);
        assert!(reader.read(300_000, 100).unwrap().is_empty());
        assert!(reader.read(u64::MAX, 100).unwrap().is_empty());
    }
}
