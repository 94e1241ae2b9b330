//! A stream's playlists as text, written once for each change of the stream, however many ask.
//!
//! A playlist that goes back for hours is a megabyte, and every edge asks for it with every part. Knows no HTTP.

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use media::hls::{MediaPlaylist, iframes};
use media::ladder::Rendition;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Texts up to this length, in bytes, are packed where they are asked for: it takes less than a hop to another thread.
const PACK_INLINE_MAX: usize = 64 * 1024;

/// What of a rendition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// The media playlist.
    Whole,
    /// A delta update of it.
    Delta,
    /// The I-frame playlist.
    IFrames,
}

/// A playlist's text.
#[derive(Debug)]
pub(crate) struct Shown {
    revision: u64,
    pub(crate) text: Bytes,
    /// A hash of the text.
    pub(crate) etag: String,
    packed: OnceLock<Option<Bytes>>,
}

/// The newest texts.
#[derive(Debug, Default)]
pub(super) struct Board(Mutex<HashMap<(Rendition, Kind), Arc<Shown>>>);

impl Shown {
    fn new(revision: u64, text: String) -> Self {
        let hash = Sha256::digest(text.as_bytes());
        let etag = hash.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        Self { revision, text: text.into(), etag, packed: OnceLock::new() }
    }

    /// A text that nobody will ask for again.
    pub(crate) fn once(text: String) -> Arc<Self> {
        Arc::new(Self::new(0, text))
    }

    /// The text, gzipped.
    pub(crate) async fn packed(self: &Arc<Self>) -> Option<Bytes> {
        if self.text.len() <= PACK_INLINE_MAX || self.packed.get().is_some() {
            return self.pack();
        }
        let own = self.clone();
        tokio::task::spawn_blocking(move || own.pack()).await.ok()?
    }

    fn pack(&self) -> Option<Bytes> {
        self.packed.get_or_init(|| gzip(&self.text)).clone()
    }
}

impl Board {
    /// The text as it is at this revision, if it is written already.
    pub(super) fn get(&self, rendition: Rendition, kind: Kind, revision: u64) -> Option<Arc<Shown>> {
        let board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        board.get(&(rendition, kind)).filter(|shown| shown.revision == revision).cloned()
    }

    /// Writes a text, and keeps it unless a newer one is there.
    pub(super) fn write(
        &self,
        rendition: Rendition,
        kind: Kind,
        revision: u64,
        playlist: &MediaPlaylist,
    ) -> Arc<Shown> {
        let text = match kind {
            Kind::Whole => playlist.render(),
            Kind::Delta => playlist.render_delta(),
            Kind::IFrames => iframes(playlist),
        };
        let shown = Arc::new(Shown::new(revision, text));
        let mut board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = board.entry((rendition, kind)).or_insert_with(|| shown.clone());
        if place.revision < revision {
            *place = shown.clone();
        }
        shown
    }
}

fn gzip(bytes: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn playlist(media_sequence: u64) -> MediaPlaylist {
        MediaPlaylist { media_sequence, ..MediaPlaylist::default() }
    }

    #[test]
    fn a_text_is_written_once_for_each_revision_and_never_goes_back() {
        let board = Board::default();
        let write = |revision| board.write(Rendition::Source, Kind::Whole, revision, &playlist(revision));
        let first = write(7);
        assert!(Arc::ptr_eq(&first, &board.get(Rendition::Source, Kind::Whole, 7).unwrap()));
        assert!(board.get(Rendition::Source, Kind::Delta, 7).is_none());
        let second = write(8);
        assert!(board.get(Rendition::Source, Kind::Whole, 7).is_none());
        write(7);
        assert!(Arc::ptr_eq(&second, &board.get(Rendition::Source, Kind::Whole, 8).unwrap()));
        assert_ne!(first.etag, second.etag);
    }

    #[tokio::test]
    async fn long_and_short_texts_are_packed() {
        for length in [10, PACK_INLINE_MAX + 1] {
            let text = "x".repeat(length);
            let packed = Shown::once(text.clone()).packed().await.unwrap();
            let mut unpacked = String::new();
            flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut unpacked).unwrap();
            assert_eq!(unpacked, text);
        }
    }

    #[test]
    #[ignore = "a measurement, not a test: cargo nextest run --run-ignored all --no-capture -p origin a_megabyte"]
    fn a_megabyte_is_hashed_and_packed_in() {
        let line = |n: u64| {
            format!("#EXT-X-PROGRAM-DATE-TIME:{}\n#EXTINF:2.000000,\n{}.m4s\n", media::hls::date((n * 2000) as i64), n)
        };
        let text: String = (897_597_000..897_610_800).map(line).collect();
        let start = std::time::Instant::now();
        let shown = Shown::new(0, text);
        let hashed = start.elapsed();
        let packed = shown.pack().unwrap();
        eprintln!("{} bytes hashed in {hashed:?}, {} packed in {:?}", shown.text.len(), packed.len(), start.elapsed());
    }
}
