//! Which of a reel's first packets are decoded.
//!
//! Pure: drops packets until the key frame that was asked for. Where that one stands behind packets which an edit list
//! hides, decoding begins with those.

use super::demux::Sample;
use crate::Error;

/// Packets before the key frame that may be hidden.
const HIDDEN_MAX: usize = 1024;

/// Waits for a key frame.
pub(super) struct Start {
    seek: i64,
    found: bool,
    /// From a hidden key frame on.
    held: Vec<Sample>,
}

impl Start {
    /// `seek`: the key frame's PTS.
    pub(super) fn new(seek: i64) -> Self {
        Self { seek, found: false, held: Vec::new() }
    }

    /// Whether it has come.
    pub(super) fn is_found(&self) -> bool {
        self.found
    }

    /// Takes a video packet; gives those to decode.
    pub(super) fn take(&mut self, sample: Sample) -> Result<Vec<Sample>, Error> {
        if self.found {
            return Ok(vec![sample]);
        }
        let (here, led) = (sample.pts == self.seek && !sample.hidden, !self.held.is_empty());
        if here && (sample.marked || led) {
            self.found = true;
            if sample.marked {
                self.held.clear();
            }
            let mut all = std::mem::take(&mut self.held);
            all.push(sample);
            return Ok(all);
        }
        if sample.marked && !sample.hidden {
            self.held.clear();
        } else if sample.hidden && sample.marked {
            self.held = vec![sample];
        } else if led {
            self.held.push(sample);
            if self.held.len() > HIDDEN_MAX {
                return Err(Error::source("the file's edit list hides too much"));
            }
        }
        Ok(Vec::new())
    }
}
