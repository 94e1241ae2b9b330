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
