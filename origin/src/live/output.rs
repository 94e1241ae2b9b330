//! One rendition's way out: units to parts and segments, entered into the window and handed on as files.
//!
//! Pure. Does not decide numbers or cuts.

use super::core::Effect;
use bytes::Bytes;
use media::ladder::Rendition;
use media::mp4::Track;
use media::package::{Packaged, Packager, Unit};
use media::route::File;
use media::window::Window;

/// A rendition of a live stream.
#[derive(Debug)]
pub(super) struct Output {
    rendition: Rendition,
    packager: Packager,
    /// Parts of the segment in progress, to be its body.
    body: Vec<Bytes>,
}

impl Output {
    pub(super) fn new(rendition: Rendition, part_ticks: i64, usual: i64) -> Self {
        let track = if rendition == Rendition::Audio { Track::Audio } else { Track::Video };
        Self { rendition, packager: Packager::new(track, part_ticks, usual), body: Vec::new() }
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
    }

    fn enter(&mut self, window: &mut Window, packaged: Vec<Packaged>, out: &mut Vec<Effect>) {
        let rendition = self.rendition;
        for item in packaged {
            match item {
                Packaged::Part(msn, part) => {
                    self.body.push(part.bytes.clone());
                    window.add_part(rendition, msn, part.ticks, part.independent);
                    let file = File::Part(msn, part.index);
                    out.push(Effect::File { rendition, file, body: vec![part.bytes] });
                }
                Packaged::Segment(msn, closed) => {
                    let body = std::mem::take(&mut self.body);
                    if window.complete(rendition, msn, closed) {
                        out.push(Effect::File { rendition, file: File::Segment(msn), body });
                    }
                }
            }
        }
    }
}
