//! Playlists that were read once for all viewers that got the same text.
//!
//! One for each thread. A delta update's result is shared as well: on one server it is the same whatever listing it was
//! made from, if that reached far enough.

use super::ask::{Ask, Content, Failure, Kind};
use super::listing::{Ladder, Listing};
use bytes::Bytes;
use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher as _;
use std::io::Read as _;
use std::sync::Arc;

/// Texts that are remembered; the oldest are forgotten. Viewers ask for what is new.
const TEXTS_MAX: usize = 512;

/// Longest playlist, in bytes, unpacked.
pub(super) const TEXT_BYTES_MAX: usize = 8 << 20;

/// What was read, by a hash of address and text.
#[derive(Default)]
pub(super) struct Shared {
    hasher: RandomState,
    known: HashMap<u64, Known>,
    order: VecDeque<u64>,
    /// How often a text had to be read.
    read: u64,
}

#[derive(Clone)]
enum Known {
    Ladder(Arc<Ladder>),
    /// With what a listing must have to be brought up to this one: the numbers from the one to before the other.
    Listing(Arc<Listing>, Option<(u64, u64)>),
    Nothing(Failure),
}

impl Shared {
    /// What an answer's text says.
    pub(super) fn content(&mut self, ask: &Ask, text: &Bytes, gzip: bool) -> Result<Content, Failure> {
        let place = &ask.resource.place;
        let entry = ask.kind == Kind::Multivariant;
        let hash = self.hasher.hash_one((&place.origin.authority, place.path.as_str(), entry, gzip, text));
        let known = match self.known.get(&hash) {
            Some(known) => known.clone(),
            None => {
                let known = read(ask, text, gzip);
                self.read = self.read.saturating_add(1);
                // A delta that this viewer can't use may be good for others.
                if !matches!(known, Known::Nothing(Failure::Delta)) {
                    self.remember(hash, known.clone());
                }
                known
            }
        };
        match known {
            Known::Ladder(ladder) => Ok(Content::Ladder(ladder)),
            Known::Listing(listing, None) => Ok(Content::Listing(listing)),
            Known::Listing(listing, Some((from, until))) => {
                let reaches = |base: &Arc<Listing>| base.first <= from && base.open_msn() >= until;
                if ask.base.as_ref().is_some_and(reaches) { Ok(Content::Listing(listing)) } else { Err(Failure::Delta) }
            }
            Known::Nothing(failure) => Err(failure),
        }
    }

    fn remember(&mut self, hash: u64, known: Known) {
        self.known.insert(hash, known);
        self.order.push_back(hash);
        if self.order.len() > TEXTS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

fn read(ask: &Ask, text: &[u8], gzip: bool) -> Known {
    let place = &ask.resource.place;
    let unpacked = if gzip { unpack(text) } else { None };
    if gzip && unpacked.is_none() {
        return Known::Nothing(Failure::NoPlaylist);
    }
    let text = String::from_utf8_lossy(unpacked.as_deref().unwrap_or(text));
    if ask.kind == Kind::Multivariant {
        return Ladder::read(&text, place).map_or_else(Known::Nothing, |ladder| Known::Ladder(Arc::new(ladder)));
    }
    let delta = text.contains("#EXT-X-SKIP:");
    match Listing::read(&text, place, ask.base.as_deref()) {
        Ok(listing) => {
            let listed = text.matches("#EXTINF:").count() as u64;
            let needs = delta.then(|| (listing.first, listing.open_msn().saturating_sub(listed)));
            Known::Listing(Arc::new(listing), needs)
        }
        Err(failure) => Known::Nothing(failure),
    }
}

fn unpack(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let limit = (TEXT_BYTES_MAX as u64).saturating_add(1);
    flate2::read::MultiGzDecoder::new(text).take(limit).read_to_end(&mut out).ok()?;
    (out.len() <= TEXT_BYTES_MAX).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::super::ask::{Place, Resource};
    use super::*;
    use std::io::Write as _;
    use url::Url;

    const FULL: &str = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:1\n#EXTINF:2,\na\n#EXTINF:2,\nb\n";
    const DELTA: &str =
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:1\n#EXT-X-SKIP:SKIPPED-SEGMENTS=2\n#EXTINF:2,\nc\n";

    fn ask(kind: Kind, base: Option<Arc<Listing>>) -> Ask {
        let place = Place::new(&Url::parse("http://a/b.m3u8").unwrap(), None).unwrap();
        Ask { id: 1, kind, resource: Resource { place, range: None }, directives: None, base, within_s: 1.0 }
    }

    fn listing(shared: &mut Shared, text: &str, base: Option<Arc<Listing>>) -> Result<Arc<Listing>, Failure> {
        let content = shared.content(&ask(Kind::Playlist, base), &Bytes::copy_from_slice(text.as_bytes()), false)?;
        match content {
            Content::Listing(listing) => Ok(listing),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_text_is_read_once() {
        let mut shared = Shared::default();
        let first = listing(&mut shared, FULL, None).unwrap();
        let second = listing(&mut shared, FULL, None).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(shared.read, 1);
        assert_eq!(listing(&mut shared, "<html>", None).unwrap_err(), Failure::NoPlaylist);
    }

    #[test]
    fn a_delta_is_shared_among_those_whom_it_brings_up_to_date() {
        let mut shared = Shared::default();
        // Who has nothing can't use it, and that is not remembered against the others.
        assert_eq!(listing(&mut shared, DELTA, None).unwrap_err(), Failure::Delta);
        let base = listing(&mut shared, FULL, None).unwrap();
        let first = listing(&mut shared, DELTA, Some(Arc::clone(&base))).unwrap();
        assert_eq!((first.first, first.open_msn()), (1, 4));
        let second = listing(&mut shared, DELTA, Some(base)).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        let short = listing(&mut shared, &FULL.replace("#EXTINF:2,\nb\n", ""), None).unwrap();
        assert_eq!(listing(&mut shared, DELTA, Some(short)).unwrap_err(), Failure::Delta);
    }

    #[test]
    fn compressed_texts_are_unpacked_and_broken_ones_are_none() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(FULL.as_bytes()).unwrap();
        let packed = Bytes::from(gzip.finish().unwrap());
        let mut shared = Shared::default();
        assert!(shared.content(&ask(Kind::Reload, None), &packed, true).is_ok());
        let broken = packed.slice(..packed.len() - 9);
        assert_eq!(shared.content(&ask(Kind::Reload, None), &broken, true).unwrap_err(), Failure::NoPlaylist);
    }
}
