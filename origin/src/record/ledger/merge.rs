//! What several sessions know of one asset, in one ledger: what either has recorded is there.
//!
//! Pure. Two origins that record the same epoch write the same files under the same keys, so a segment that one of them
//! lacks is a gap only if the other lacks it too.

use super::{Ledger, Line};
use media::ladder::Rendition;
use media::route::File;
use std::collections::BTreeMap;

impl Ledger {
    /// Whether both speak of the same asset: the same epoch of the same stream. A name alone is not enough, since it has
    /// only the anchor's second in it.
    pub(crate) fn is_sibling(&self, other: &Self) -> bool {
        let anchor = |ledger: &Self| ledger.epoch.map(|(anchor_ms, _)| anchor_ms);
        self.name == other.name && self.rungs && other.rungs && anchor(self).is_some() && anchor(self) == anchor(other)
    }

    /// Takes what a sibling has and this one lacks. The files of what came in stay each session's own.
    pub(crate) fn merge(&mut self, other: &Self) {
        if !self.is_sibling(other) {
            return;
        }
        if let (Some((_, own)), Some((_, others))) = (&mut self.epoch, other.epoch) {
            *own = others.max(*own);
        }
        self.layout = self.layout.or(other.layout);
        self.protect |= other.protect;
        let own = std::mem::replace(&mut self.shape, other.shape.clone());
        self.shape.merge(own);
        // Also of the other's no more than there may be.
        other.marks.iter().cloned().for_each(|mark| self.enter(Line::Mark(mark)));
        for (rendition, entries) in &other.renditions {
            let known = self.renditions.entry(*rendition).or_default();
            for (msn, entry) in entries {
                let better = known.get(msn).is_none_or(|known| known.gap && !entry.gap);
                if better {
                    known.insert(*msn, entry.clone());
                }
            }
        }
    }

    /// Makes a gap of every segment of which a file is not `present`, its init segment included.
    pub(crate) fn retain(&mut self, present: impl Fn(Rendition, &str) -> bool) {
        for (rendition, entries) in &mut self.renditions {
            for (msn, entry) in entries {
                let there = present(*rendition, &File::Segment(*msn).to_string()) && present(*rendition, &entry.map);
                if !entry.gap && !there {
                    (entry.gap, entry.bytes, entry.first_chunk) = (true, 0, 0);
                }
            }
        }
    }
}

/// Segments of a playlist that can be played, and how long each says it is.
fn played(playlist: &str) -> BTreeMap<&str, &str> {
    let (mut found, mut gap, mut seconds) = (BTreeMap::new(), false, "");
    for line in playlist.lines() {
        match line.strip_prefix("#EXTINF:") {
            Some(rest) => seconds = rest,
            None if line == "#EXT-X-GAP" => gap = true,
            None if line.is_empty() || line.starts_with('#') => {}
            None => {
                if !std::mem::take(&mut gap) {
                    found.insert(line, seconds);
                }
            }
        }
    }
    found
}

/// Whether a recording's media playlist has all that the `old` one has, and more: then it may take its place, and who
/// watches loses nothing.
pub(crate) fn supersedes(new: &str, old: &str) -> bool {
    let (new, old) = (played(new), played(old));
    new.len() > old.len() && old.iter().all(|(uri, seconds)| new.get(uri) == Some(seconds))
}

#[cfg(test)]
mod tests;
