//! One stream at work: the task that owns the core, the ladder and the publisher's claim, and what others see of it.
//!
//! Thin: it feeds inputs to [`super::core`] and obeys the effects in order. Files are inserted before the playlists that
//! name them can be seen.

mod publish;
mod series;
mod steer;

pub(crate) use steer::Configured;

use super::core::{Core, Effect, Input, State};
use super::epoch::Saved;
use super::files::{Files, Write, file_key, write_all};
use super::ladder::{Event, Ladder};
use super::publisher::Publisher;
use super::shown::{Board, Kind, Shown};
use crate::access::Grant;
use crate::ingest::{Claim, Ingested, PublishRequest, Refusal};
use crate::record::{Recorder, Status, Tape};
use crate::steer::{Act, Cannot, Mark};
use codec::ladder::ToLadder;
use media::ladder::Rendition;
use media::name::StreamName;
use media::protect::Keyring;
use media::route::File;
use media::window::{Recall, Window};
use metrics::histogram;
use service::config::Record;
use service::hooks::{self, Hooks};
use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// How long an ended stream's final playlist stays, in ms.
const ENDED_KEPT_MS: i64 = 3_600_000;

/// How often a stream looks at the clock.
const TICK: Duration = Duration::from_millis(250);

/// Commands that may wait for the stream.
const COMMANDS_MAX: usize = 16;

/// Warnings that `/stat` shows.
const WARNINGS_MAX: usize = 8;

/// A stream, as the rest of the origin sees it.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) name: StreamName,
    listed: AtomicBool,
    pub(crate) files: Arc<Files>,
    marks: Mutex<Vec<Mark>>,
    /// The publish in progress: its id, whence it comes, since when (UTC ms).
    publishing: Mutex<Option<(u64, IpAddr, i64)>>,
    core: Mutex<Core>,
    version: watch::Sender<u64>,
    commands: mpsc::Sender<Command>,
    warnings: Mutex<Vec<String>>,
    hooks: Hooks,
    recording: Arc<Status>,
    /// Changes, while the core is held, with whatever playlists say.
    revision: AtomicU64,
    shown: Board,
    /// The anchor (UTC ms) of the epoch before this one and the numbers that its last playlists listed, if the recording
    /// has them.
    earlier: Mutex<Option<(i64, Range<u64>)>>,
}

/// What a stream can be asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Somebody wants to publish.
    Claim(PublishRequest, Grant, oneshot::Sender<Result<Claim, Refusal>>),
    /// The operator ends it.
    End,
    /// The operator does something else to it.
    Steer(Act, oneshot::Sender<Result<serde_json::Value, Cannot>>),
    /// The config was read again.
    Configure(Box<Configured>),
    /// It has ended, and its place is needed.
    Forget,
}

/// Segments that a crash may have kept from the recording, in all renditions.
const RECORDED_AGAIN_MAX: usize = 24;

/// No segment is longer than this, in seconds.
const LONGEST_SEGMENT_S: u32 = 11;

/// What a stream's task needs.
#[derive(Debug)]
pub(crate) struct Task {
    stream: Arc<Stream>,
    commands: mpsc::Receiver<Command>,
    writes: mpsc::Receiver<Write>,
    ladder: Ladder,
    tape: Tape,
    publisher: Option<Publisher>,
    /// What the config says of listing and recording it…
    listed: bool,
    record: Record,
    /// … and what whoever let its publisher in said.
    granted: Grant,
    /// How long the live window may be, in seconds.
    window_s: u32,
    /// Whether the recording goes on, as the core knows it.
    recording: bool,
}

/// How a stream is made.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) name: StreamName,
    pub(crate) configured: Configured,
    /// Where its files are kept.
    pub(crate) dir: PathBuf,
    /// This binary, which the ladder's child runs.
    pub(crate) program: PathBuf,
    pub(crate) recorder: Recorder,
    /// Who is told of what happens.
    pub(crate) hooks: Hooks,
    /// Secrets that it may have been encrypted with.
    pub(crate) keyring: Keyring,
}

impl Stream {
    /// A new stream, or one that an earlier process left in its folder, and the task to run it.
    pub(crate) fn new(setup: Setup) -> Result<(Arc<Self>, Task), store::Error> {
        let Setup { name, configured, dir, program, recorder, hooks, keyring } = setup;
        let Configured { options, listed, record } = configured;
        let window_s = kept_s(options.window_s);
        let (files, writes) = Files::new(dir)?;
        let (state, keys) = files.left_behind()?;
        let mut saved = state.and_then(|text| read_state(&name, &text));
        let unlocked = saved.as_mut().is_some_and(|saved| saved.unlock(&keyring, &name));
        let mut core = match saved {
            Some(saved) if !unlocked => {
                tracing::warn!(
                    stream = %name,
                    "what was encrypted before can't go on: its secret is neither protect.secret nor in protect.old_secrets; \
                     the stream begins anew"
                );
                Core::new(options, Some(saved.last_number()), utc_ms())
            }
            Some(saved) => {
                let present = |rendition, file: &File| keys.contains(&file_key(rendition, file));
                Core::restore(options, saved, utc_ms(), present)
            }
            None => Core::new(options, None, utc_ms()),
        };
        let goes_on = !matches!(core.state(), State::Ended(_));
        let mut tape = recorder.tape(&name, record, core.since().filter(|_| goes_on));
        let recording = tape.status();
        core.recover(recording.shelf().journal());
        let in_window: HashSet<(Rendition, File)> =
            core.window().map(|window| window.files()).unwrap_or_default().into_iter().collect();
        files.take_over(&in_window, &keys, utc_ms() + i64::from(window_s) * 1000);
        record_again(&core, &files, &mut tape);
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let stream = Arc::new(Self {
            name,
            listed: AtomicBool::new(listed),
            files: Arc::new(files),
            marks: Mutex::default(),
            publishing: Mutex::default(),
            core: Mutex::new(core),
            version: watch::Sender::new(0),
            commands,
            warnings: Mutex::default(),
            hooks,
            recording,
            revision: AtomicU64::new(0),
            shown: Board::default(),
            earlier: Mutex::default(),
        });
        let ladder = Ladder::new(stream.name.clone(), program);
        let (publisher, recording) = (None, false);
        let task = Task {
            stream: stream.clone(),
            commands: inbox,
            writes,
            ladder,
            tape,
            publisher,
            listed,
            record,
            granted: Grant::default(),
            window_s,
            recording,
        };
        Ok((stream, task))
    }

    /// Whether pages list it.
    pub(crate) fn listed(&self) -> bool {
        self.listed.load(Ordering::Relaxed)
    }

    /// Looks at the stream's core; keep it short.
    pub(crate) fn core(&self) -> MutexGuard<'_, Core> {
        // The core has no invariant that a panic elsewhere could break halfway: its task is the only writer.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A playlist's text as it is now. `None` before there is something to play.
    pub(crate) fn playlist(&self, rendition: Rendition, kind: Kind) -> Option<Arc<Shown>> {
        let (revision, playlist) = {
            let core = self.core();
            let revision = self.revision.load(Ordering::Relaxed);
            if let Some(shown) = self.shown.get(rendition, kind, revision) {
                return Some(shown);
            }
            (revision, core.playlist(rendition)?)
        };
        Some(self.shown.write(rendition, kind, revision, &playlist))
    }

    /// Whether the recording is to be asked for a file that the live window does not have, and the anchor (UTC ms) of the
    /// epoch that it is of.
    pub(crate) fn recall(&self, rendition: Rendition, file: &File) -> Option<(Recall, i64)> {
        let recall = |window: &Window| (window.recall(rendition, file), window.terms().anchor_ms);
        let now = self.core().window().map(recall).filter(|(recall, _)| *recall != Recall::No);
        now.or_else(|| {
            let earlier = self.earlier.lock().unwrap_or_else(PoisonError::into_inner);
            let (anchor_ms, numbers) = earlier.as_ref()?;
            let named = match file {
                File::Segment(msn) => numbers.contains(msn),
                File::Init(_) => true,
                _ => false,
            };
            named.then_some((Recall::Perhaps, *anchor_ms))
        })
    }

    /// An epoch that has ended gives way to another: viewers may still be at its playlists.
    fn note_epoch(&self) {
        let core = self.core();
        if let (State::Ended(_), Some(window)) = (core.state(), core.window())
            && window.goes_back()
        {
            let numbers = window.listed_from()..window.next_number();
            let mut earlier = self.earlier.lock().unwrap_or_else(PoisonError::into_inner);
            *earlier = Some((window.terms().anchor_ms, numbers));
        }
    }

    /// Changes whenever playlists or files did.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Sends a command. `Err` if the stream is gone.
    pub(crate) async fn command(&self, command: Command) -> Result<(), Command> {
        self.commands.send(command).await.map_err(|refused| refused.0)
    }

    /// Tells it that its place is needed, if it has ended; it goes in its own time.
    pub(crate) fn forget(&self) {
        // A full queue means that it is told already, or is busy for reasons that come first.
        let _ = self.commands.try_send(Command::Forget);
    }

    /// When it ended, UTC ms.
    pub(crate) fn ended(&self) -> Option<i64> {
        match self.core().state() {
            State::Ended(since) => Some(since),
            _ => None,
        }
    }

    /// What `/stat` says of it.
    pub(crate) fn stat(&self) -> serde_json::Value {
        let state = self.state_word();
        let core = self.core();
        let warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let protected = core.window().is_some_and(|window| window.lock().is_some());
        let (since, core) = (core.since().map(media::hls::date), core.stat(utc_ms()));
        let (recording, publisher) = (self.recording.words(), self.publisher());
        let marks: Vec<_> = self.marks().into_iter().map(|mark| (mark.name, media::hls::date(mark.at_ms))).collect();
        serde_json::json!({
            "name": self.name, "state": state, "since": since, "core": core, "recording": recording,
            "protect": if protected { "aes-128" } else { "off" }, "recording_waiting_bytes": self.recording.waiting(), "publisher": publisher, "warnings": warnings,
            "marks": marks.into_iter().map(|(name, time)| serde_json::json!({ "name": name, "time": time }))
                .collect::<Vec<_>>(),
        })
    }

    /// Its state, as `/api/streams` names it.
    pub(crate) fn state_word(&self) -> &'static str {
        match self.core().state() {
            State::Live => "live",
            State::Waiting(_) => "waiting",
            State::Ended(_) => "ended",
        }
    }

    /// Who publishes it, and since when.
    fn publisher(&self) -> Option<serde_json::Value> {
        let publishing = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        let (id, peer, since) = (*publishing)?;
        Some(serde_json::json!({ "publish": id, "peer": peer, "since": media::hls::date(since) }))
    }

    fn warn(&self, words: String) {
        tracing::warn!(stream = %self.name, "{words}");
        self.hooks.tell(hooks::Event::alarm("stream", &words).of_stream(self.name.as_str()));
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        warnings.retain(|known| *known != words);
        warnings.push(words);
        if warnings.len() > WARNINGS_MAX {
            warnings.remove(0);
        }
    }
}

impl Task {
    /// Lives the stream's life; returns when nothing is left of it, or at shutdown.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let (_, idle) = mpsc::channel(1);
        let queue = std::mem::replace(&mut self.writes, idle);
        let (files, stream) = (self.stream.files.clone(), self.stream.clone());
        let writer = tokio::spawn(write_all(files, queue, move |words| stream.warn(words)));
        self.live(&shutdown).await;
        let shutting_down = shutdown.is_cancelled();
        // The writer ends when the last handle to the files is gone; until then a save is what it must not miss.
        if let Some(publisher) = self.publisher.take() {
            self.closed(&publisher, "shutdown");
            self.obey(Input::Unpublish).await;
        }
        self.stream.files.close();
        let _ = writer.await;
        if self.gone() || matches!(self.stream.core().state(), State::Ended(_)) && !shutting_down {
            let files = self.stream.files.clone();
            let removed = tokio::task::spawn_blocking(move || files.remove_all()).await;
            tracing::debug!(?removed, "stream forgotten");
        }
    }

    async fn live(&mut self, shutdown: &CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let input = tokio::select! {
                () = shutdown.cancelled() => return,
                command = self.commands.recv() => match command {
                    Some(Command::Claim(request, grant, reply)) => self.claim(&request, grant, reply),
                    Some(Command::End) => Some(self.end()),
                    Some(Command::Steer(act, reply)) => {
                        let done = self.steer(act).await;
                        // Whoever asked may have gone.
                        let _ = reply.send(done);
                        None
                    }
                    Some(Command::Configure(configured)) => {
                        self.configure(*configured).await;
                        None
                    }
                    Some(Command::Forget) if self.stream.ended().is_some() => return,
                    Some(Command::Forget) => None,
                    None => return,
                },
                tag = next_tag(&mut self.publisher) => Some(match tag {
                    Some(tag) => Input::Tag(tag),
                    None => {
                        if let Some(publisher) = self.publisher.take() {
                            self.closed(&publisher, "encoder");
                        }
                        Input::Unpublish
                    }
                }),
                event = self.ladder.event() => Some(match event {
                    Event::Up => Input::LadderUp,
                    Event::Sent(message) => Input::Ladder(message),
                    Event::Gone => Input::LadderGone,
                }),
                _ = tick.tick() => {
                    self.sweep();
                    if self.gone() {
                        return;
                    }
                    Some(Input::Tick)
                }
            };
            if let Some(input) = input {
                self.obey(input).await;
            }
        }
    }

    fn sweep(&self) {
        let inits = |window: &Window| window.files().into_iter().filter(|(_, file)| matches!(file, File::Init(_)));
        let now = utc_ms();
        if self.stream.files.is_due(now) {
            let listed = self.stream.core().window().map(|window| inits(window).collect()).unwrap_or_default();
            self.stream.files.sweep(now, &listed);
        }
    }

    /// Nothing to serve and nobody to wait for.
    fn gone(&self) -> bool {
        let core = self.stream.core();
        match core.state() {
            State::Ended(_) if core.window().is_none() => true,
            State::Ended(since) => utc_ms() - since >= ENDED_KEPT_MS,
            _ => false,
        }
    }

    /// Feeds one input and obeys its effects, and what those bring.
    async fn obey(&mut self, input: Input) {
        let mut inputs = vec![input];
        inputs.extend(self.recorded());
        let (mut changed, mut save) = (false, false);
        while let Some(input) = inputs.pop() {
            if let Input::Tag(tag) = &input {
                self.tape.tag(tag);
            }
            let publish = matches!(input, Input::Publish(_));
            if publish {
                self.stream.note_epoch();
                // They were about the publisher before, or will come again.
                self.stream.warnings.lock().unwrap_or_else(PoisonError::into_inner).clear();
            }
            let before = if publish { self.stream.core().since() } else { None };
            let effects = self.decide(input, &mut changed);
            if publish {
                if before.is_some() && self.stream.core().since().is_none() {
                    // The epoch before has given way.
                    self.stream.forget_marks();
                    self.tape.begin_epoch();
                }
                self.tape.publish(utc_ms());
            }
            let mut refused = false;
            for effect in effects {
                match effect {
                    Effect::StartLadder(settings) => self.ladder.start(settings).await,
                    // What follows a message that was not taken makes no sense to the child.
                    Effect::ToLadder(message) if refused && !matches!(message, ToLadder::End) => {}
                    Effect::ToLadder(message) => {
                        if !self.ladder.send(message) && !refused {
                            refused = true;
                            inputs.push(Input::LadderFull);
                        }
                    }
                    Effect::Expired(numbers) => self.expire(numbers),
                    Effect::Changed => changed = true,
                    Effect::Save => save = true,
                    Effect::Warn(words) => self.stream.warn(words),
                    Effect::File { .. } => {}
                }
            }
        }
        if save {
            self.save();
        }
        if changed {
            self.stream.version.send_modify(|version| *version += 1);
        }
    }

    /// Lets the core decide, and puts the files it made in place before anyone can see a playlist that names them.
    fn decide(&mut self, input: Input, changed: &mut bool) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut core = self.stream.core();
        let now = utc_ms();
        core.handle(input, now, &mut effects);
        let parts_from = core.window().map_or(0, |window| window.parts_from());
        if effects.iter().any(|effect| !matches!(effect, Effect::ToLadder(_))) {
            self.stream.revision.fetch_add(1, Ordering::Relaxed);
        }
        let mut closed = false;
        let mut others = Vec::with_capacity(effects.len());
        for effect in effects {
            let Effect::File { rendition, file, body } = effect else {
                closed |= matches!(effect, Effect::Save);
                others.push(effect);
                continue;
            };
            *changed = true;
            closed |= matches!(file, File::Segment(_));
            note_delay(&core, rendition, &file, now);
            self.tape.file(&core, rendition, &file, &body);
            if !self.stream.files.insert(rendition, file, body, parts_from) {
                others.push(Effect::Warn("the disk is too slow for the live window".to_owned()));
            }
        }
        self.tape.observe(&core, closed, now);
        others
    }

    /// These numbers left the live window. Those that are still listed come from the recording from now on.
    fn expire(&self, numbers: Vec<u64>) {
        let listed_from = self.stream.core().window().map_or(u64::MAX, Window::listed_from);
        let (recorded, gone): (Vec<u64>, Vec<u64>) = numbers.into_iter().partition(|msn| *msn >= listed_from);
        if !recorded.is_empty() {
            self.stream.files.release(recorded);
        }
        if !gone.is_empty() {
            self.stream.files.expire(gone, utc_ms() + i64::from(self.window_s) * 1000);
        }
    }

    /// What the recording has put down since the last time; `None` if nothing changed.
    fn recorded(&mut self) -> Option<Input> {
        let (segments, goes_on) = (self.stream.recording.shelf().take(), self.stream.recording.goes_on());
        let news = !segments.is_empty() || goes_on != self.recording;
        if self.recording && !goes_on {
            let words = format!("recording {}; the live stream goes on", self.stream.recording.words());
            let alarm = hooks::Event::alarm("recording_stopped", &words);
            self.stream.hooks.tell(alarm.of_stream(self.stream.name.as_str()));
        }
        self.recording = goes_on;
        news.then_some(Input::Recorded(segments, goes_on))
    }

    fn save(&self) {
        let saved = self.stream.core().saved();
        if let Some(state) = saved.and_then(|saved| serde_json::to_vec(&saved).ok()) {
            self.stream.files.save(state);
        }
    }
}

/// How long removed segments stay, in seconds: as long as the longest playlist that named them (§6.2.2), which is at least
/// six segments, and one more than the window asks for.
fn kept_s(window_s: u32) -> u32 {
    window_s.max(6 * LONGEST_SEGMENT_S) + LONGEST_SEGMENT_S
}

/// How long after the end of its last picture a segment is there to be served.
fn note_delay(core: &Core, rendition: Rendition, file: &File, now: i64) {
    let File::Segment(msn) = file else { return };
    let ended_ms = core.window().and_then(|window| window.slot(*msn)).map_or(0, |slot| slot.ended_ms);
    // What is published at once, from before the second key frame, has no such moment.
    if ended_ms > 0 {
        let kind = match rendition {
            Rendition::Source => "source",
            Rendition::Audio => "audio",
            _ => "encoded",
        };
        histogram!("live360_segment_delay_seconds", "kind" => kind).record((now - ended_ms).max(0) as f64 / 1000.0);
    }
}

async fn next_tag(publisher: &mut Option<Publisher>) -> Option<Ingested> {
    match publisher {
        Some(publisher) => publisher.next().await,
        None => std::future::pending().await,
    }
}

/// Hands the recording what a crash kept from it and the live window still has on disk, the newest first: it is not much,
/// and what is older than that was put down long ago.
fn record_again(core: &Core, files: &Files, tape: &mut Tape) {
    let Some(window) = core.window().filter(|window| window.goes_back()) else { return };
    let missing = window.files().into_iter().filter(|(rendition, file)| match file {
        File::Segment(msn) => !window.is_recorded(*rendition, *msn),
        _ => false,
    });
    let missing: Vec<(Rendition, File)> = missing.take(RECORDED_AGAIN_MAX + 1).collect();
    // More than that is no crash's doing: the recording had stopped, or there was none.
    if missing.len() > RECORDED_AGAIN_MAX {
        return;
    }
    for (rendition, file) in missing {
        if let Some(body) = files.read_now(rendition, &file) {
            tape.file(core, rendition, &file, &[body]);
        }
    }
}

fn read_state(name: &StreamName, text: &[u8]) -> Option<Saved> {
    match serde_json::from_slice(text) {
        Ok(saved) => Some(saved),
        Err(error) => {
            tracing::warn!(stream = %name, %error, "a stream's state file cannot be read; it starts afresh");
            None
        }
    }
}

/// UTC in ms.
pub(crate) fn utc_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
