//! What a viewer does about pieces of media: which to ask for next, of which rung, and what their answers mean.
//!
//! Pure, as all of the viewer.

use super::super::ask::{Kind, Reply};
use super::errand::Errand;
use super::track::{Loading, Piece, Step};
use super::{ANSWER_S, HELD_TARGETS, Note, Output, Viewer};

/// After how many failures in a row a piece is passed over.
const TRIES_MAX: u32 = 3;

impl Viewer {
    /// Looks whether the part that was asked for before it was listed is the one that came to be.
    pub(super) fn hint_answered(&mut self, index: usize, now: f64) {
        let low_latency = self.settings.low_latency;
        let Some(track) = self.tracks.get_mut(index) else { return };
        let Some(place) =
            track.loading.as_ref().filter(|l| l.piece.kind == Kind::Hint).map(|l| l.piece.resource.place.clone())
        else {
            return;
        };
        while let Step::Pass(after) = track.step(low_latency, true) {
            track.move_to(after, 0.0);
        }
        match track.step(low_latency, true) {
            Step::Load(piece) if piece.resource.place == place => {
                if let Some(loading) = track.loading.as_mut().filter(|_| piece.kind == Kind::Part) {
                    *loading = Loading { piece: Piece { kind: Kind::Hint, ..piece }, listed: now };
                }
            }
            Step::Wait => {}
            _ => {
                // Something else came to be.
                if let Some(id) = track.fetch.id() {
                    self.outputs.push(Output::Drop(id));
                }
                (track.fetch, track.loading) = (Errand::default(), None);
            }
        }
    }

    /// A piece of media has come, or has not.
    pub(super) fn fetched(&mut self, index: usize, reply: &Reply) {
        let (now, rung) = (reply.done, self.rung);
        let Some(track) = self.tracks.get_mut(index) else { return };
        let Some(Loading { piece, listed }) = track.loading.take() else { return };
        if reply.result.is_err() {
            if piece.kind == Kind::Hint {
                // What was announced is no promise; what is listed is asked for again.
                track.refused = Some(piece.resource.place);
                track.fetch.done();
            } else if track.fetch.failed(now) >= TRIES_MAX && matches!(piece.kind, Kind::Segment | Kind::Part) {
                track.append(piece.seconds, piece.after, true);
                track.fetch.done();
                self.outputs.push(Output::Note(Note::Lost));
            }
            return;
        }
        track.fetch.done();
        match piece.kind {
            Kind::Init | Kind::Key => track.has = piece.needs,
            Kind::Hint if piece.seconds <= 0.0 => track.early = Some(piece.resource.place),
            _ => track.append(piece.seconds, piece.after, false),
        }
        if matches!(piece.kind, Kind::Init | Kind::Key) {
            return;
        }
        let began = if piece.kind == Kind::Hint { reply.first.max(listed) } else { reply.first };
        self.abr.sample(reply.bytes, now - began);
        if index == 0 && piece.seconds > 0.0 {
            self.outputs.push(Output::Note(Note::Loaded { rung, seconds: piece.seconds }));
        }
    }

    /// Asks for the next piece of a track, as soon as there is one and room for it.
    pub(super) fn plan_media(&mut self, index: usize, now: f64) {
        let (low_latency, hints) = (self.settings.low_latency, self.settings.hints);
        loop {
            let Some(track) = self.tracks.get_mut(index).filter(|_| self.seated) else { return };
            if track.loading.is_some() || track.complete {
                return;
            }
            match track.step(low_latency, hints) {
                Step::Wait => return,
                Step::End => {
                    track.complete = true;
                    return;
                }
                Step::Pass(after) => track.move_to(after, 0.0),
                Step::Hole(seconds, after) => track.append(seconds, after, true),
                Step::Came(seconds, after) => {
                    track.append(seconds, after, false);
                    if index == 0 {
                        let rung = self.rung;
                        self.outputs.push(Output::Note(Note::Loaded { rung, seconds }));
                    }
                }
                Step::Lost => {
                    self.outputs.push(Output::Note(Note::Fell));
                    self.seated = false;
                    // Whoever was back in the window has seen that it does not last.
                    self.settings.back = None;
                    self.forget();
                    self.place();
                    // The other track, too.
                    self.wake = now;
                }
                Step::Load(piece) => {
                    let begins = (index, track.cursor.map_or(1, |cursor| cursor.part)) == (0, 0);
                    if begins && self.turn(now) {
                        return;
                    }
                    self.load(index, piece, now);
                    return;
                }
            }
        }
    }

    /// Media that are under way are not waited for any more.
    fn forget(&mut self) {
        for track in &mut self.tracks {
            if let (Some(id), Some(_)) = (track.fetch.id(), track.loading.take()) {
                self.outputs.push(Output::Drop(id));
            }
            track.fetch = Errand::default();
        }
    }

    /// Goes over to another rung before a segment, if another is better; whether it does.
    fn turn(&mut self, now: f64) -> bool {
        let (Some(ladder), Some(track)) = (self.ladder.clone(), self.tracks.first_mut()) else { return false };
        let msn = track.cursor.map(|cursor| cursor.msn);
        if self.chosen == msn || track.fetch.due() > now {
            return false;
        }
        self.chosen = msn;
        // Nothing was measured for the first segment, for which a rung has been chosen already.
        let first = !self.playback.started();
        let wanted = if first { self.rung } else { self.wanted_rung(&ladder, Some(self.rung)) };
        self.stalled_lately = false;
        let Some(rung) = ladder.rungs.get(wanted).filter(|_| wanted != self.rung) else { return false };
        let Some(track) = self.tracks.first_mut() else { return false };
        if let Some(id) = track.reload.id() {
            self.outputs.push(Output::Drop(id));
        }
        track.turn_to(rung.place.clone());
        self.outputs.push(Output::Note(Note::Switched { up: wanted > self.rung }));
        self.rung = wanted;
        self.plan_reload(0, now);
        true
    }

    /// Asks for a piece, or for what it needs first, if there is room before the goal.
    fn load(&mut self, index: usize, piece: Piece, now: f64) {
        let position = self.playback.position;
        let Some(track) = self.tracks.get(index) else { return };
        let due = track.fetch.due().max(now + track.end - position - self.settings.goal_s);
        let kinds = [Kind::Init, Kind::Key];
        let missing =
            piece.needs.iter().zip(&track.has).zip(kinds).find(|((need, has), _)| need.is_some() && need != has);
        let first = missing.and_then(|((need, _), kind)| Some((kind, need.as_deref()?.clone())));
        let has = track.has.clone();
        let target_s = track.listing.as_ref().map_or(0.0, |listing| listing.target_s);
        if !self.due(due, now) {
            return;
        }
        let piece = match first {
            // Whoever has an init segment for this key needs none for the next.
            Some((Kind::Init, resource)) => {
                let needs = [piece.needs.into_iter().next().flatten(), has.into_iter().nth(1).flatten()];
                Piece { kind: Kind::Init, resource, needs, ..piece }
            }
            Some((kind, resource)) => Piece { kind, resource, ..piece },
            None => piece,
        };
        let held = if piece.kind == Kind::Hint { HELD_TARGETS * target_s } else { 0.0 };
        let id = self.ask(piece.kind, piece.resource.clone(), None, None, ANSWER_S.max(2.0 * target_s) + held);
        if let Some(track) = self.tracks.get_mut(index) {
            track.fetch.sent(id);
            track.loading = Some(Loading { piece, listed: f64::NEG_INFINITY });
        }
    }
}
