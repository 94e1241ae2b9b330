//! One stream's life as a state machine: what came in and when, to what must be done.
//!
//! Pure: no sockets, no clock, no tasks. States: live → waiting (no publisher) → ended. The shell in `stream` obeys the
//! effects in order. Timing within a publish is [`super::session`]'s, media is [`super::epoch`]'s.

use super::epoch::{Epoch, Saved};
use super::pulse::{Pulse, Vitals};
use super::session::{Session, Timed};
use crate::ingest::Ingested;
use bytes::Bytes;
use codec::ladder::{FromLadder, Settings, ToLadder};
use media::audio::Health;
use media::hls::{MediaPlaylist, Multivariant, Segment};
use media::ladder::{Ladder, Rendition};
use media::projection::{Layout, Projection, Stereo};
use media::protect::Lock;
use media::route::File;
use media::window::{Window, first_number};
use std::collections::BTreeMap;

/// How long the ladder may take to finish when the operator ends a stream, in ms.
const FINISH_MS_MAX: i64 = 4_000;

/// What the config says of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) segment_ms: u32,
    pub(crate) part_ms: u32,
    pub(crate) window_s: u32,
    /// How far back viewers may go if all is recorded, seconds; 0 if it is not to be.
    pub(crate) dvr_s: u32,
    pub(crate) reconnect_s: u64,
    pub(crate) ladder: Ladder,
    pub(crate) audio: bool,
    pub(crate) projection: Option<Projection>,
    pub(crate) stereo: Option<Stereo>,
    /// What the segments of epochs that begin now are encrypted with, if they are.
    pub(crate) protect: Option<Lock>,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Input {
    /// A publisher has the name now; whoever had it before is gone.
    Publish(BTreeMap<String, String>),
    /// The publisher sent a tag.
    Tag(Ingested),
    /// The publisher is gone.
    Unpublish,
    /// The ladder's child is there and knows nothing yet.
    LadderUp,
    /// The ladder's child sent something.
    Ladder(FromLadder),
    /// The ladder's child is gone.
    LadderGone,
    /// The ladder's child cannot keep up: what is being sent to it is lost until the next cut.
    LadderFull,
    /// The recording has these segments; and whether it goes on.
    Recorded(Vec<(Rendition, u64)>, bool),
    /// The config says this of the stream from now on.
    Configure(Box<Options>),
    /// The operator says how the picture lies, whatever the config and the encoder say. What is `None` stays as it is.
    Layout(Option<Projection>, Option<Stereo>),
    /// The operator ends the stream.
    End,
    /// Time passed.
    Tick,
}

/// What must be done.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Start a child with these settings; one that runs is let go.
    StartLadder(Settings),
    /// Send this to the child.
    ToLadder(ToLadder),
    /// A file is there to be served, and, if it is an init or a segment, to be kept.
    File { rendition: Rendition, file: File, body: Vec<Bytes> },
    /// These numbers are no longer listed.
    Expired(Vec<u64>),
    /// Playlists changed.
    Changed,
    /// The state to keep changed: a segment closed, or the stream's state did.
    Save,
    /// Something the operator and the broadcaster should know.
    Warn(String),
}

/// A stream's state, as `/api/streams` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// A publisher is there.
    Live,
    /// No publisher, since this UTC ms.
    Waiting(i64),
    /// Over, since this UTC ms.
    Ended(i64),
}

/// When what an operator has changed takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Steered {
    /// It is so already.
    Already,
    /// Behind a discontinuity, at the next key frame.
    NextKeyFrame,
    /// When an encoder publishes next.
    NextPublish,
}

/// One stream.
#[derive(Debug)]
pub(crate) struct Core {
    options: Options,
    /// What the next epoch begins with, if that is something else.
    next_options: Option<Box<Options>>,
    /// What the operator has said of the layout.
    steered: (Option<Projection>, Option<Stereo>),
    pulse: Pulse,
    state: State,
    last_number: Option<u64>,
    params: BTreeMap<String, String>,
    session: Option<Session>,
    epoch: Option<Epoch>,
    /// The operator ended it; the ladder may still owe its last segments.
    ending: bool,
    /// The recording goes on.
    recording: bool,
}

impl Core {
    /// A stream that nobody has published yet.
    pub(crate) fn new(options: Options, last_number: Option<u64>, now: i64) -> Self {
        let state = State::Waiting(now);
        let (params, session, epoch) = (BTreeMap::new(), None, None);
        let (next_options, steered, pulse) = (None, (None, None), Pulse::default());
        let (ending, recording) = (false, false);
        Self { options, next_options, steered, pulse, state, last_number, params, session, epoch, ending, recording }
    }

    /// A stream as a state file kept it: it waits for its publisher. `present` says which files are still there.
    pub(crate) fn restore(
        options: Options,
        saved: Saved,
        now: i64,
        present: impl Fn(Rendition, &File) -> bool,
    ) -> Self {
        let ended = saved.window.has_ended();
        let epoch = Epoch::restore(saved, present);
        let state = if ended { State::Ended(now) } else { State::Waiting(now) };
        let mut core = Self::new(options, None, now);
        (core.state, core.epoch) = (state, Some(epoch));
        core
    }

    /// Takes over what a recording's journal says of the time before the live window. To be called right after
    /// [`Core::restore`].
    pub(crate) fn recover(&mut self, segments: Vec<(Rendition, u64, Segment)>) {
        if let Some(epoch) = &mut self.epoch {
            epoch.window.recover(segments);
        }
    }

    /// What to keep across restarts; nothing before the first segment.
    pub(crate) fn saved(&self) -> Option<Saved> {
        self.epoch.as_ref().map(Epoch::saved)
    }

    /// The stream's state.
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// The last number used, for the next epoch.
    pub(crate) fn last_number(&self) -> Option<u64> {
        self.window().map(|window| window.next_number().saturating_sub(1)).or(self.last_number)
    }

    /// When the epoch began, UTC ms; `None` before there is one.
    pub(crate) fn since(&self) -> Option<i64> {
        self.window().map(|window| window.terms().anchor_ms)
    }

    /// The live window.
    pub(crate) fn window(&self) -> Option<&Window> {
        self.epoch.as_ref().map(Epoch::window)
    }

    /// The multivariant playlist, once there is something to play.
    pub(crate) fn multivariant(&self, stream: &str) -> Option<Multivariant> {
        self.epoch.as_ref()?.multivariant(stream)
    }

    /// A rendition's media playlist.
    pub(crate) fn playlist(&self, rendition: Rendition) -> Option<MediaPlaylist> {
        self.window()?.playlist(rendition)
    }

    /// How the picture lies on the sphere.
    pub(crate) fn layout(&self) -> Layout {
        self.epoch.as_ref().map(Epoch::layout).unwrap_or_default()
    }

    /// What `/stat` says of it.
    pub(crate) fn stat(&self, now: i64) -> serde_json::Value {
        let metadata = self.session.as_ref().map(Session::metadata);
        let encoder = metadata.and_then(|metadata| metadata.encoder.clone());
        serde_json::json!({
            "encoder": encoder, "epoch": self.epoch.as_ref().map(Epoch::stat), "input": self.vitals(now),
            "announced_kbits_per_s": metadata.and_then(|metadata| metadata.video_kbits),
            "projection": self.layout().projection, "stereo": self.layout().stereo,
        })
    }

    /// How what comes in is.
    pub(crate) fn vitals(&self, now: i64) -> Vitals {
        self.pulse.vitals(now, matches!(self.state, State::Live))
    }

    /// How well the encoder's sound keeps its time, if it publishes and has sound.
    pub(crate) fn sound_health(&self) -> Option<Health> {
        self.epoch.as_ref()?.sound_health()
    }

    /// Bit rate of each rendition's newest segments, bit/s.
    pub(crate) fn rates(&self) -> Vec<(Rendition, u64)> {
        self.epoch.as_ref().map(Epoch::rates).unwrap_or_default()
    }

    /// How many of the largest encoded rungs are suspended.
    pub(crate) fn suspended(&self) -> usize {
        self.epoch.as_ref().map_or(0, Epoch::suspended)
    }

    /// The time that a mark has which is set now, UTC ms: that of the newest picture. `None` before there is one.
    pub(crate) fn newest_ms(&self) -> Option<i64> {
        self.epoch.as_ref().filter(|_| !matches!(self.state, State::Ended(_))).map(Epoch::newest_ms)
    }

    /// When the layout takes effect that an operator asked for.
    pub(crate) fn layout_takes_effect(&self) -> Steered {
        match &self.epoch {
            Some(epoch) if epoch.is_to_relayout() && epoch.running.is_some() => Steered::NextKeyFrame,
            Some(epoch) if !epoch.is_to_relayout() && epoch.running.is_some() => Steered::Already,
            _ => Steered::NextPublish,
        }
    }

    /// Takes one input at `now` (UTC ms).
    pub(crate) fn handle(&mut self, input: Input, now: i64, out: &mut Vec<Effect>) {
        if let Some(epoch) = &mut self.epoch {
            epoch.at(now, out);
        }
        match input {
            Input::Publish(params) => {
                self.unpublish(out);
                if self.ending {
                    self.end(now, out);
                }
                if matches!(self.state, State::Ended(_)) {
                    self.last_number = self.last_number();
                    if let Some(epoch) = self.epoch.take() {
                        out.push(Effect::Expired(epoch.window().numbers().collect()));
                    }
                }
                if self.epoch.is_none()
                    && let Some(options) = self.next_options.take()
                {
                    self.options = *options;
                }
                self.pulse.publish(now);
                (self.params, self.session, self.state) = (params, Some(Session::default()), State::Live);
                out.push(Effect::Changed);
            }
            Input::Tag(tag) => {
                self.pulse.tag(&tag, now);
                self.tag(tag, now, out);
            }
            Input::Configure(options) => {
                // The rest is promised in playlists, or would set this publish apart from the one before.
                self.options.reconnect_s = options.reconnect_s;
                self.next_options = Some(options);
            }
            Input::Layout(projection, stereo) => self.steer(projection, stereo),
            Input::Unpublish => {
                if self.unpublish(out) {
                    self.state = State::Waiting(now);
                    out.push(Effect::Changed);
                }
            }
            Input::Recorded(segments, goes_on) => {
                self.recording = goes_on;
                if let Some(epoch) = &mut self.epoch {
                    epoch.recorded(&segments, goes_on);
                }
            }
            Input::End => {
                self.unpublish(out);
                if matches!(self.state, State::Live) {
                    self.state = State::Waiting(now);
                }
                self.ending = true;
                self.tick(now, out);
            }
            Input::Tick => self.tick(now, out),
            Input::LadderUp | Input::Ladder(_) | Input::LadderGone | Input::LadderFull => {
                self.measure(&input);
                if let Some(epoch) = &mut self.epoch {
                    epoch.ladder(input, out);
                }
                self.tick(now, out);
            }
        }
    }

    /// Whether it is time to end: nobody came back, or the operator said so and the ladder has given what it owed.
    fn tick(&mut self, now: i64, out: &mut Vec<Effect>) {
        let State::Waiting(since) = self.state else { return };
        let wait_ms = i64::try_from(self.options.reconnect_s).unwrap_or(i64::MAX / 2000) * 1000;
        let finishing = self.epoch.as_ref().is_some_and(Epoch::is_finishing);
        let ending = self.ending && (!finishing || now - since >= FINISH_MS_MAX);
        if now - since >= wait_ms || ending {
            self.end(now, out);
        }
    }

    /// Takes the operator's word on the layout.
    fn steer(&mut self, projection: Option<Projection>, stereo: Option<Stereo>) {
        self.steered = (projection.or(self.steered.0), stereo.or(self.steered.1));
        if let Some(epoch) = &mut self.epoch {
            let now = epoch.layout();
            let layout = Layout {
                projection: self.steered.0.unwrap_or(now.projection),
                stereo: self.steered.1.unwrap_or(now.stereo),
            };
            epoch.change_layout(layout);
        }
    }

    /// Measures how much the ladder has to do.
    fn measure(&mut self, input: &Input) {
        match input {
            Input::Ladder(FromLadder::Worked { seq, busy_us }) => {
                let seconds = self.epoch.as_ref().and_then(|epoch| epoch.seconds_before(*seq));
                self.pulse.encoded(seconds.unwrap_or(0.0), f64::from(*busy_us) / 1e6);
            }
            Input::LadderGone => self.pulse.nothing_encoded(),
            _ => {}
        }
    }

    /// Ends the session, if there is one.
    fn unpublish(&mut self, out: &mut Vec<Effect>) -> bool {
        let had = self.session.take().is_some();
        if had && let Some(epoch) = &mut self.epoch {
            epoch.pause(out);
        }
        had
    }

    fn end(&mut self, now: i64, out: &mut Vec<Effect>) {
        if matches!(self.state, State::Ended(_)) {
            return;
        }
        (self.state, self.ending) = (State::Ended(now), false);
        if let Some(epoch) = &mut self.epoch {
            epoch.end(out);
        }
        out.extend([Effect::Save, Effect::Changed]);
    }

    fn tag(&mut self, tag: Ingested, now: i64, out: &mut Vec<Effect>) {
        let Some(session) = &mut self.session else { return };
        let mut timed = Vec::new();
        session.take(tag, now, &mut timed);
        for event in timed {
            self.timed(event, now, out);
        }
    }

    fn timed(&mut self, event: Timed, now: i64, out: &mut Vec<Effect>) {
        if let Timed::Video(unit) = &event
            && unit.idr
        {
            self.pulse.key_frame(unit.pts);
        }
        let begin = match event {
            Timed::Begin(begin) => begin,
            Timed::Restarted => {
                if let Some(epoch) = &mut self.epoch {
                    epoch.pause(out);
                }
                return;
            }
            event => {
                if let Some(epoch) = &mut self.epoch {
                    epoch.take(event, out);
                }
                return;
            }
        };
        let metadata = self.session.as_ref().map(|session| session.metadata().clone()).unwrap_or_default();
        let layout = self.layout_for(&metadata, begin.video.width(), begin.video.height());
        match &mut self.epoch {
            Some(epoch) => epoch.resume(&self.options, begin, out),
            None => {
                let first = first_number(self.last_number, begin.first_idr_utc_ms, self.options.segment_ms);
                let mut epoch = Epoch::new(&self.options, first, layout, &begin);
                epoch.at(now, out);
                epoch.recorded(&[], self.recording);
                epoch.resume(&self.options, begin, out);
                self.epoch = Some(epoch);
            }
        }
    }

    /// The operator first, then the config, the publish query, onMetaData, and the picture's shape.
    fn layout_for(&self, metadata: &media::flv::Metadata, width: u32, height: u32) -> Layout {
        let said = |key: &str| self.params.get(key).map(String::as_str);
        let projection = self.steered.0.or(self.options.projection);
        let projection = projection.or_else(|| said("proj")?.parse().ok());
        let projection = projection.or_else(|| metadata.projection.as_deref()?.parse().ok());
        let stereo = self.steered.1.or(self.options.stereo).or_else(|| said("stereo")?.parse().ok());
        let stereo = stereo.or_else(|| metadata.stereo.as_deref()?.parse().ok());
        // A square sphere is two spheres, one above the other. Any other shape counts as one, squeezed or not: this is a
        // 360° server, and who sends an ordinary picture says so.
        let square = width == height;
        Layout {
            projection: projection.unwrap_or_default(),
            stereo: stereo.unwrap_or(if square { Stereo::Tb } else { Stereo::Mono }),
        }
    }
}
