//! One rendition's way out: units to parts and segments, encrypted if the stream is protected, entered into the window and
//! handed on as files.
//!
//! Pure. Does not decide numbers or cuts.

use super::core::Effect;
use bytes::Bytes;
use media::ladder::Rendition;
use media::mp4::Track;
use media::package::{Closed, Packaged, Packager, Part, Unit};
use media::protect::{Sealing, sealed_len};
use media::route::File;
use media::window::Window;

/// A rendition of a live stream.
#[derive(Debug)]
pub(super) struct Output {
    rendition: Rendition,
    packager: Packager,
    /// Parts of the segment in progress, to be its body.
    body: Vec<Bytes>,
    /// What encrypts that body.
    sealing: Option<Sealing>,
}

impl Output {
    pub(super) fn new(rendition: Rendition, part_ticks: i64, usual: i64) -> Self {
        let track = if rendition == Rendition::Audio { Track::Audio } else { Track::Video };
        Self { rendition, packager: Packager::new(track, part_ticks, usual), body: Vec::new(), sealing: None }
    }

    /// The next unit, of segment `msn`.
    pub(super) fn push(&mut self, window: &mut Window, msn: u64, unit: Unit, out: &mut Vec<Effect>) {
        let mut packaged = Vec::new();
        self.packager.push(msn, unit, &mut packaged);
        self.enter(window, packaged, out);
    }

    /// The segment in progress is whole; its last unit ends at `end` if that is known.
    pub(super) fn finish(&mut self, window: &mut Window, end: Option<i64>, out: &mut Vec<Effect>) {
        let mut packaged = Vec::new();
        self.packager.finish(end, &mut packaged);
        self.enter(window, packaged, out);
    }

    /// The segment in progress will never be whole.
    pub(super) fn abandon(&mut self) {
        self.packager.abandon();
        self.body.clear();
        self.sealing = None;
    }

    fn enter(&mut self, window: &mut Window, packaged: Vec<Packaged>, out: &mut Vec<Effect>) {
        let rendition = self.rendition;
        for item in packaged {
            match item {
                Packaged::Part(msn, part) => {
                    let bytes = self.take(window, msn, &part);
                    window.add_part(rendition, msn, part.ticks, part.independent);
                    out.push(Effect::File { rendition, file: File::Part(msn, part.index), body: vec![bytes] });
                }
                Packaged::Segment(msn, closed) => {
                    let (body, closed) = self.close(closed);
                    if window.complete(rendition, msn, closed) {
                        out.push(Effect::File { rendition, file: File::Segment(msn), body });
                    }
                }
            }
        }
    }

    /// A part of the segment's body. Gives the part as it is served: encrypted by itself, if it is.
    fn take(&mut self, window: &Window, msn: u64, part: &Part) -> Bytes {
        let Some(lock) = window.lock() else {
            self.body.push(part.bytes.clone());
            return part.bytes.clone();
        };
        // Bit by bit, so that there is not all of it to do at the segment's end.
        let sealing = self.sealing.get_or_insert_with(|| lock.sealing(msn));
        self.body.push(sealing.push(&part.bytes));
        lock.seal(msn, &part.bytes)
    }

    /// The segment's body as it is served, and what is said of it.
    fn close(&mut self, closed: Closed) -> (Vec<Bytes>, Closed) {
        let mut body = std::mem::take(&mut self.body);
        let Some(sealing) = self.sealing.take() else { return (body, closed) };
        body.push(sealing.finish());
        (body, Closed { size: sealed_len(closed.size), first_chunk: 0, ..closed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use media::protect::{Keyring, Lock, Scope};
    use media::window::Terms;

    const FIRST: u64 = 897_597_749;

    /// The files of three segments of two parts each, and how they are listed.
    fn made(lock: Option<&Lock>) -> (Vec<(File, Vec<u8>)>, media::hls::MediaPlaylist) {
        let terms = Terms { anchor_ms: 0, target_s: 1, part_ms: 500, window_s: 60, dvr_s: 0, protect: None };
        let mut window = Window::new(terms, FIRST, &[Rendition::Source]);
        if let Some(lock) = lock {
            window.protect(lock.clone());
        }
        window.set_init(Rendition::Source, FIRST, "0123456789abcdef", 90_000);
        let (mut output, mut effects) = (Output::new(Rendition::Source, 45_000, 9000), Vec::new());
        for picture in 0..30_i64 {
            if picture % 10 == 0 {
                window.begin(picture * 9000, false, 0);
            }
            let (at, msn) = (picture * 9000, FIRST + picture.unsigned_abs() / 10);
            let data = Bytes::from(vec![picture as u8; 1000 + 7 * picture as usize]);
            let unit = Unit { dts: at, pts: at, sync: picture % 10 == 0, data };
            output.push(&mut window, msn, unit, &mut effects);
        }
        output.finish(&mut window, Some(270_000), &mut effects);
        window.close(270_000, 0);
        let file = |effect| match effect {
            Effect::File { file, body, .. } => (file, body.concat()),
            other => panic!("{other:?}"),
        };
        (effects.into_iter().map(file).collect(), window.playlist(Rendition::Source).unwrap())
    }

    #[test]
    fn parts_and_segments_are_encrypted_each_by_itself_and_hold_what_they_would_hold_in_clear() {
        let lock = Keyring::new(["a secret"]).lock(Scope::Stream("foo"), 2).unwrap();
        let ((clear, listed), (sealed, protected)) = (made(None), made(Some(&lock)));
        assert_eq!(clear.len(), 9);
        for ((file, plain), (name, bytes)) in clear.iter().zip(&sealed) {
            let (File::Segment(msn) | File::Part(msn, _)) = *file else { panic!("{file}") };
            assert_eq!((file, lock.open(msn, bytes).as_deref()), (name, Some(&plain[..])), "{file}");
        }
        assert_eq!(made(Some(&lock)), (sealed.clone(), protected.clone()), "another origin makes the same");
        let keys = |playlist: &media::hls::MediaPlaylist| -> Vec<String> {
            playlist.segments.iter().map(|segment| segment.key.clone()).collect()
        };
        assert_eq!(keys(&listed), [""; 3]);
        assert_eq!(keys(&protected), [0, 1, 2].map(|n| lock.key_file(FIRST + n).uri()));
        assert!(keys(&protected)[0] != keys(&protected)[1] && keys(&protected)[1] == keys(&protected)[2]);
        assert!(protected.segments.iter().all(|segment| segment.first_chunk == 0));
    }
}
