//! A stream's side of its recording: hands on what there is, without ever waiting.
//!
//! The queue to the disk is bounded in items and bytes. Where it is full the recording stops with an alarm, and the live
//! stream goes on. What was accepted before is put down all the same; what comes then is a gap, until the disk has worked
//! off the queue and has room.

use super::keep::Item;
use super::ledger::{End, Entry, Line, Reason, Shape};
use super::status::Going;
use super::{Recorder, Status, asset_id};
use crate::ingest::Ingested;
use crate::live::{Core, State};
use crate::steer::{Cannot, Mark};
use bytes::Bytes;
use media::ladder::Rendition;
use media::name::StreamName;
use media::projection::Layout;
use media::route::File;
use service::config::Record;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Items that may wait for the disk.
pub(super) const ITEMS_WAITING_MAX: usize = 4096;

/// Bytes that may wait for the disk. They are the live window's own, so most of them cost no memory on top.
const BYTES_WAITING_MAX: u64 = 128 << 20;

/// How often a recording that has stopped looks whether it can go on.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Items that are kept for a recording that has stopped: a quarter of an hour of lines, and what a new publisher says.
const OWED_MAX: usize = 1024;

/// A stream's recording.
#[derive(Debug)]
pub(crate) struct Tape {
    recorder: Recorder,
    name: StreamName,
    /// What is recorded in this epoch.
    record: Record,
    /// What the config says, for the next one.
    configured: Record,
    status: Arc<Status>,
    open: Option<Open>,
    /// The operator has stopped it.
    held: bool,
    /// What the publisher has last said of himself: metadata, video, audio.
    heads: [Option<Ingested>; 3],
}

/// What starting a recording has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recording {
    /// Nothing: it was recorded already.
    Already,
    /// A session has begun in the middle of a publish; it wants the init segments that are in force.
    Begun,
    /// The session goes on that the operator had stopped.
    GoesOn,
    /// It begins with the next publisher.
    NextPublish,
}

/// A session in progress.
#[derive(Debug)]
pub(super) struct Open {
    /// Its id.
    pub(super) session: String,
    pub(super) items: mpsc::Sender<Item>,
    pub(super) queued: Arc<AtomicU64>,
    pub(super) going: Arc<Going>,
    pub(super) end: Arc<OnceLock<End>>,
    /// The epoch's anchor, once there is one.
    pub(super) anchor: Option<i64>,
    /// Sizes of segments that were handed on and are not in the journal yet.
    pub(super) sizes: HashMap<(Rendition, u64), u64>,
    /// The newest number in the journal.
    pub(super) noted: HashMap<Rendition, u64>,
    pub(super) shape: Option<Shape>,
    /// The layout in the journal.
    pub(super) layout: Option<Layout>,
    /// What goes on later can't be read without.
    pub(super) owed: VecDeque<Item>,
    /// When to look next whether it can go on.
    pub(super) look_at: Option<Instant>,
}

impl Tape {
    pub(super) fn new(
        recorder: Recorder,
        name: StreamName,
        record: Record,
        status: Arc<Status>,
        open: Option<Open>,
    ) -> Self {
        let (held, heads) = (false, [const { None }; 3]);
        Self { recorder, name, record, configured: record, status, open, held, heads }
    }

    /// What `/stat` says of it.
    pub(crate) fn status(&self) -> Arc<Status> {
        self.status.clone()
    }

    /// The config says this now. It holds from the next epoch on, and at once if none has `begun`.
    pub(crate) fn configure(&mut self, record: Record, begun: bool) {
        self.configured = record;
        if !begun {
            self.begin_epoch();
        }
    }

    /// An epoch begins, or is about to: what the operator said of the one before counts no more.
    pub(crate) fn begin_epoch(&mut self) {
        if self.open.is_none() {
            (self.record, self.held) = (self.configured, false);
            self.status.between(if self.record == Record::Off { "off" } else { "on" });
        }
    }

    /// Records from now on, at the operator's word; `live` if there is a publisher. What goes on in a session that has begun
    /// is what that one records.
    pub(crate) fn start(&mut self, what: Record, live: bool, now: i64) -> Result<Recording, Cannot> {
        if let Some(open) = &mut self.open {
            if !std::mem::take(&mut self.held) {
                return Ok(Recording::Already);
            }
            // Asked with whatever comes next.
            open.look_at = Some(Instant::now());
            return Ok(Recording::GoesOn);
        }
        if self.record != Record::Off && !live {
            return Ok(Recording::Already);
        }
        self.record = what;
        self.status.between("on");
        if !live {
            return Ok(Recording::NextPublish);
        }
        self.open = Some(self.recorder.begin(&self.name, what, &self.status, now));
        // What comes in is taken from a key frame on, as after a break.
        let heads = self.heads.clone().into_iter().flatten().map(Item::Tag);
        for item in [Item::Publish, Item::Again].into_iter().chain(heads) {
            self.send(item);
        }
        Ok(Recording::Begun)
    }

    /// Records nothing from now on, at the operator's word.
    pub(crate) fn stop(&mut self) -> Result<(), Cannot> {
        match &self.open {
            Some(_) if self.held => return Err(Cannot::NotRecorded),
            Some(open) => {
                open.going.hold();
                self.held = true;
            }
            None if self.record == Record::Off => return Err(Cannot::NotRecorded),
            None => {
                self.record = Record::Off;
                self.status.between("off");
            }
        }
        Ok(())
    }

    /// Notes a mark; whether there is a recording that has it.
    pub(crate) fn mark(&mut self, mark: Mark) -> bool {
        self.open.is_some() && {
            self.send(Item::Lines(vec![Line::Mark(mark)]));
            true
        }
    }

    /// A publisher begins. With an epoch in progress its session goes on.
    pub(crate) fn publish(&mut self, now: i64) {
        self.heads = [const { None }; 3];
        if self.record == Record::Off {
            return;
        }
        if self.open.is_none() {
            self.open = Some(self.recorder.begin(&self.name, self.record, &self.status, now));
        }
        self.send(Item::Publish);
    }

    /// What the publisher sent.
    pub(crate) fn tag(&mut self, tag: &Ingested) {
        let head = match tag {
            Ingested::Metadata(_) => self.heads.get_mut(0),
            Ingested::VideoConfig(_) => self.heads.get_mut(1),
            Ingested::AudioConfig(_) => self.heads.get_mut(2),
            Ingested::Video { .. } | Ingested::Audio { .. } => None,
        };
        if let Some(head) = head {
            *head = Some(tag.clone());
        }
        self.send(Item::Tag(tag.clone()));
    }

    /// A file of a rung.
    pub(crate) fn file(&mut self, core: &Core, rendition: Rendition, file: &File, body: &[Bytes]) {
        if self.record != Record::All || matches!(file, File::Part(..)) {
            return;
        }
        self.anchor(core);
        let item = Item::File(rendition, file.clone(), body.to_vec());
        let bytes = item.bytes();
        if self.send(item)
            && let (Some(open), File::Segment(msn)) = (&mut self.open, file)
        {
            open.sizes.insert((rendition, *msn), bytes);
        }
    }

    /// Looks what became of the stream; `closed` if a segment closed, or the state changed.
    pub(crate) fn observe(&mut self, core: &Core, closed: bool, now: i64) {
        let Some(open) = &self.open else { return };
        if open.anchor.is_some() && open.anchor != core.since() {
            return self.end(Reason::Ended, now);
        }
        self.anchor(core);
        self.note_layout(core);
        if closed {
            self.note(core);
        }
        if matches!(core.state(), State::Ended(_)) {
            self.end(Reason::Ended, now);
        }
    }

    /// The epoch has begun: from now on there is an asset.
    fn anchor(&mut self, core: &Core) {
        let Some(open) = self.open.as_mut().filter(|open| open.anchor.is_none()) else { return };
        if let (Some(anchor_ms), Some(window)) = (core.since(), core.window()) {
            open.anchor = Some(anchor_ms);
            let terms = window.terms();
            let epoch = Line::Epoch { anchor_ms, target_s: terms.target_s, protect: terms.protect.is_some() };
            self.send(Item::Lines(vec![epoch, Line::Layout(core.layout())]));
        }
    }

    /// Whoever lists the asset says how it lay at its end.
    fn note_layout(&mut self, core: &Core) {
        let layout = core.layout();
        let Some(open) = self.open.as_mut().filter(|open| open.anchor.is_some()) else { return };
        if open.layout.replace(layout).is_some_and(|before| before != layout) {
            self.send(Item::Lines(vec![Line::Layout(layout)]));
        }
    }

    /// Writes down the segments that were decided since the last time.
    fn note(&mut self, core: &Core) {
        let (Some(open), Some(window), Record::All) = (&mut self.open, core.window(), self.record) else { return };
        if open.owed.len() >= OWED_MAX {
            // Noted when it goes on, as far as the window still has them: who lists the rest sees that they are missing.
            return;
        }
        let mut lines = Vec::new();
        for rendition in window.renditions() {
            let noted = open.noted.get(&rendition).copied();
            if noted.is_some_and(|noted| window.tip(rendition).open <= noted.saturating_add(1)) {
                continue;
            }
            let Some(playlist) = window.playlist(rendition) else { continue };
            for (segment, msn) in playlist.segments.into_iter().zip(playlist.media_sequence..) {
                if noted.is_some_and(|noted| msn <= noted) {
                    continue;
                }
                // What never came here, say before a crash, is missing, whatever the live window has.
                let size = open.sizes.remove(&(rendition, msn)).filter(|_| !segment.gap);
                lines.push(Line::Segment(Entry {
                    rendition: rendition.to_string(),
                    msn,
                    seconds: segment.seconds,
                    date_ms: segment.date_ms,
                    gap: size.is_none(),
                    discontinuity: segment.discontinuity,
                    map: segment.map,
                    key: segment.key,
                    bytes: size.unwrap_or(0),
                    first_chunk: segment.first_chunk,
                }));
                open.noted.insert(rendition, msn);
            }
        }
        if lines.is_empty() {
            return;
        }
        let shape = core.multivariant(self.name.as_str()).map(|playlist| Shape::of(&playlist));
        if let Some(shape) = shape.filter(|shape| open.shape.as_ref() != Some(shape)) {
            open.shape = Some(shape.clone());
            lines.insert(0, Line::Shape(shape));
        }
        self.send(Item::Lines(lines));
    }

    fn end(&mut self, reason: Reason, at_ms: i64) {
        if let Some(mut open) = self.open.take() {
            open.push_owed();
            // Read when the queue is closed, which dropping its only sender does.
            let _ = open.end.set(End { reason, at_ms });
            let asset = open.anchor.map(|anchor_ms| asset_id(self.name.as_str(), anchor_ms));
            let words = open.going.words();
            tracing::info!(stream = %self.name, session = open.session, asset, ?reason, was = words, "recording ends");
        }
    }

    /// Hands an item on. `false` if it was not taken.
    fn send(&mut self, item: Item) -> bool {
        let Some(open) = &mut self.open else { return false };
        if open.going.stopped() {
            open.owe(item);
            if !self.held {
                open.look_again(Instant::now());
            }
            return false;
        }
        open.look_at = None;
        let refused = if open.push_owed() { open.push(item) } else { Some(item) };
        let Some(item) = refused else { return true };
        open.owe(item);
        open.going.stop("the disk is too slow");
        false
    }
}

impl Open {
    /// Puts an item into the queue, or gives it back.
    fn push(&self, item: Item) -> Option<Item> {
        let bytes = item.bytes();
        let waiting = self.queued.fetch_add(bytes, Ordering::Relaxed);
        let room = waiting == 0 || waiting.saturating_add(bytes) <= BYTES_WAITING_MAX;
        if let Some(Ok(place)) = room.then(|| self.items.try_reserve()) {
            place.send(item);
            return None;
        }
        self.queued.fetch_sub(bytes, Ordering::Relaxed);
        Some(item)
    }

    /// Says whether nothing is owed any more.
    fn push_owed(&mut self) -> bool {
        while let Some(item) = self.owed.pop_front() {
            if let Some(item) = self.push(item) {
                self.owed.push_front(item);
                return false;
            }
        }
        true
    }

    /// Keeps an item that was not taken if the rest can't be read without it.
    fn owe(&mut self, item: Item) {
        let needed = match &item {
            Item::Publish => {
                // What the one before has said counts no more.
                self.owed.retain(|item| !matches!(item, Item::Publish | Item::Tag(_)));
                true
            }
            Item::Tag(tag) => !matches!(tag, Ingested::Video { .. } | Ingested::Audio { .. }),
            Item::File(_, file, _) => matches!(file, File::Init(_)),
            Item::Lines(_) => true,
            Item::Again => false,
        };
        // Lines end before that, so that there is room for the others.
        if needed && self.owed.len() < OWED_MAX.saturating_mul(2) {
            self.owed.push_back(item);
        }
    }

    /// Asks the keeper from time to time whether it can go on.
    fn look_again(&mut self, now: Instant) {
        let at = *self.look_at.get_or_insert(now + LOOK_EVERY);
        if now < at {
            return;
        }
        self.look_at = Some(now + LOOK_EVERY);
        if self.going.ask() && !(self.push_owed() && self.push(Item::Again).is_none()) {
            self.going.answer();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use media::aac::AudioConfig;
    use service::config::{Config, Current};
    use tokio_util::sync::CancellationToken;

    fn head() -> Item {
        Item::Tag(Ingested::AudioConfig(AudioConfig::lc(48_000, 2).unwrap()))
    }

    fn sound() -> Item {
        Item::Tag(Ingested::Audio { rtmp_ms: 0, data: Bytes::from_static(b"sound") })
    }

    fn names(queue: &mut mpsc::Receiver<Item>) -> Vec<&'static str> {
        let name = |item| match item {
            Item::Publish => "publish",
            Item::Tag(Ingested::Audio { .. }) => "sound",
            Item::Tag(_) => "head",
            Item::File(..) => "file",
            Item::Lines(_) => "lines",
            Item::Again => "again",
        };
        std::iter::from_fn(|| queue.try_recv().ok()).map(name).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_refused_asks_now_and_then_and_brings_what_the_rest_needs() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { data_dir: dir.path().into(), ..Config::default() };
        let recorder =
            Recorder::open(&Current::new(config), service::hooks::Hooks::default(), CancellationToken::new());
        let status = Arc::new(Status::new("on"));
        let going = Going::begin(&status, "foo");
        let (items, mut queue) = mpsc::channel(4);
        let open = Open {
            session: String::new(),
            items,
            queued: Arc::default(),
            going: going.clone(),
            end: Arc::default(),
            anchor: None,
            sizes: HashMap::new(),
            noted: HashMap::new(),
            shape: None,
            layout: None,
            owed: VecDeque::new(),
            look_at: None,
        };
        let mut tape = Tape::new(recorder, "foo".parse().unwrap(), Record::All, status.clone(), Some(open));
        let taken: Vec<bool> =
            [Item::Publish, head(), sound(), sound(), sound()].map(|item| tape.send(item)).into_iter().collect();
        assert_eq!(taken, [true, true, true, true, false]);
        assert_eq!(status.words(), "stopped: the disk is too slow");
        for item in [head(), Item::Lines(Vec::new()), Item::Publish, head(), sound()] {
            assert!(!tape.send(item));
        }
        tokio::time::advance(LOOK_EVERY).await;
        assert!(!tape.send(sound()), "the queue is still full");
        assert_eq!(names(&mut queue), ["publish", "head", "sound", "sound"], "what was accepted stays");
        assert!(!tape.send(sound()));
        assert_eq!(names(&mut queue), [""; 0], "it was asked a moment ago");
        tokio::time::advance(LOOK_EVERY).await;
        assert!(!tape.send(sound()));
        assert_eq!(names(&mut queue), ["lines", "publish", "head", "again"]);
        tokio::time::advance(LOOK_EVERY).await;
        assert!(!tape.send(sound()));
        assert_eq!(names(&mut queue), [""; 0], "it has not answered");
        going.go_on();
        going.answer();
        assert!(tape.send(sound()));
        assert_eq!(names(&mut queue), ["sound"]);
    }

    fn tape(dir: &std::path::Path, record: Record) -> Tape {
        let config = Config { data_dir: dir.into(), ..Config::default() };
        let recorder =
            Recorder::open(&Current::new(config), service::hooks::Hooks::default(), CancellationToken::new());
        recorder.tape(&"foo".parse().unwrap(), record, None)
    }

    #[tokio::test]
    async fn the_operator_stops_and_starts_a_recording_and_the_session_stays_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let mut tape = tape(dir.path(), Record::All);
        assert_eq!(tape.start(Record::All, false, 0), Ok(Recording::Already));
        tape.publish(0);
        let session = tape.open.as_ref().unwrap().session.clone();
        assert!(tape.send(sound()));
        tape.stop().unwrap();
        assert_eq!((tape.stop(), tape.status.words().as_str()), (Err(Cannot::NotRecorded), "stopped: by the operator"));
        // Whoever comes next does not start it.
        tape.publish(0);
        tape.open.as_mut().unwrap().look_at = Some(Instant::now());
        assert!(!tape.send(sound()) && !tape.status.goes_on());
        assert_eq!(tape.start(Record::All, true, 0), Ok(Recording::GoesOn));
        while !tape.status.goes_on() {
            tape.send(sound());
            tokio::task::yield_now().await;
        }
        assert_eq!(tape.open.as_ref().unwrap().session, session);
        assert_eq!(tape.start(Record::All, true, 0), Ok(Recording::Already));
    }

    #[tokio::test]
    async fn what_the_operator_said_holds_until_the_stream_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let mut tape = tape(dir.path(), Record::Off);
        tape.publish(0);
        assert!(tape.open.is_none() && tape.stop() == Err(Cannot::NotRecorded));
        assert!(!tape.mark(Mark { name: "a".to_owned(), at_ms: 0 }));
        assert_eq!(tape.start(Record::Source, true, 0), Ok(Recording::Begun));
        assert_eq!((tape.status.words().as_str(), tape.record), ("on", Record::Source));
        assert!(tape.mark(Mark { name: "a".to_owned(), at_ms: 0 }));
        tape.end(Reason::Ended, 0);
        tape.begin_epoch();
        assert_eq!((tape.status.words().as_str(), tape.record), ("off", Record::Off));
        assert_eq!(tape.start(Record::All, false, 0), Ok(Recording::NextPublish));
        tape.publish(0);
        assert!(tape.open.is_some());
        tape.configure(Record::Source, true);
        assert_eq!(tape.record, Record::All, "not in the middle of an epoch");
    }
}
