//! One epoch of a stream: from its first picture to its end, across reconnects and restarts.
//!
//! Pure. Cuts, numbers and feeds every rendition; pieces of it are the window (numbers), the outputs (packaging) and the
//! [`super::running`] state of the publish in progress. The ladder's side is in `encoding`, what others read in
//! `listing`. Does not know who publishes or how files are served.

mod encoding;
mod listing;

use encoding::{Ladder, LadderState};

use super::core::{Effect, Options};
use super::output::Output;
use super::running::{Planned, Running};
use super::session::{Begin, Timed};
use bytes::Bytes;
use codec::ladder::ToLadder;
use media::aac::AudioConfig;
use media::audio::Health;
use media::cut::target_s;
use media::h264::VideoConfig;
use media::ladder::Rendition;
use media::mp4;
use media::name::StreamName;
use media::package::{Grain, Unit, part_target_ms};
use media::projection::Layout;
use media::protect::{Keyring, Scope};
use media::route::File;
use media::unit::VIDEO_TIMESCALE;
use media::window::{Terms, Window};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Samples per second of the silence that stands for missing sound.
const SILENCE_RATE: u32 = 48_000;

/// An epoch.
#[derive(Debug)]
pub(super) struct Epoch {
    pub(super) window: Window,
    /// UTC ms of the input in hand.
    now: i64,
    layout: Layout,
    /// How it lies from the next key frame on, if that is to change.
    next_layout: Option<Layout>,
    /// The decoder configuration in force of each rendition.
    configs: BTreeMap<Rendition, VideoConfig>,
    infos: Infos,
    outputs: BTreeMap<Rendition, Output>,
    pub(super) ladder: Ladder,
    pub(super) running: Option<Running>,
}

/// What playlists say about renditions, besides what the window knows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Infos {
    fps: f64,
    video: Vec<VideoInfo>,
    audio: Option<AudioInfo>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct VideoInfo {
    rendition: String,
    codec: String,
    width: u32,
    height: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct AudioInfo {
    codec: String,
    channels: u8,
}

/// What is kept across restarts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Saved {
    pub(super) window: Window,
    layout: Layout,
    infos: Infos,
}

impl Saved {
    /// Brings what its segments are encrypted with, if they are. `false`: its secret is not among these, so it can't go on.
    pub(crate) fn unlock(&mut self, keyring: &Keyring, name: &StreamName) -> bool {
        let Some(terms) = self.window.terms().protect else { return true };
        let lock = keyring.resume(Scope::Stream(name.as_str()), terms);
        lock.map(|lock| self.window.protect(lock)).is_some()
    }

    /// The last number it used.
    pub(crate) fn last_number(&self) -> u64 {
        self.window.next_number().saturating_sub(1)
    }
}

impl Epoch {
    /// A new epoch whose media time 0 is the first key frame.
    pub(super) fn new(options: &Options, first: u64, layout: Layout, begin: &Begin) -> Self {
        let rungs = options.ladder.for_source(begin.video.width(), begin.video.height());
        let mut renditions: Vec<Rendition> = rungs.iter().map(|rung| rung.rendition).collect();
        if options.audio {
            renditions.push(Rendition::Audio);
        }
        let terms = Terms {
            anchor_ms: begin.first_idr_utc_ms,
            target_s: target_s(options.segment_ms, begin.gop),
            part_ms: part_target_ms(options.part_ms, grain(options, begin)),
            window_s: options.window_s,
            dvr_s: options.dvr_s,
            protect: None,
        };
        let video = rungs.iter().map(|rung| VideoInfo {
            rendition: rung.rendition.to_string(),
            codec: String::new(),
            width: rung.width,
            height: rung.height,
        });
        let mut window = Window::new(terms, first, &renditions);
        if let Some(lock) = &options.protect {
            window.protect(lock.clone());
        }
        Self {
            window,
            now: begin.first_idr_utc_ms,
            layout,
            next_layout: None,
            configs: BTreeMap::new(),
            infos: Infos { fps: begin.fps, video: video.collect(), audio: None },
            outputs: BTreeMap::new(),
            ladder: Ladder::off(begin.first_idr_utc_ms),
            running: None,
        }
    }

    /// An epoch as a state file kept it.
    pub(super) fn restore(saved: Saved, present: impl Fn(Rendition, &File) -> bool) -> Self {
        let Saved { mut window, layout, infos } = saved;
        window.restore(present);
        let (outputs, configs) = (BTreeMap::new(), BTreeMap::new());
        let (next_layout, ladder, running) = (None, Ladder::off(0), None);
        Self { window, now: 0, layout, next_layout, configs, infos, outputs, ladder, running }
    }

    /// It is `now` (UTC ms): what comes next came then, and what is too late is missing.
    pub(super) fn at(&mut self, now: i64, out: &mut Vec<Effect>) {
        self.now = now;
        if self.window.give_up_late(now) {
            out.extend([Effect::Save, Effect::Changed]);
        }
    }

    /// Ends the slot in progress.
    pub(super) fn close(&mut self, end: i64) {
        self.window.close(end, self.now);
    }

    pub(super) fn saved(&self) -> Saved {
        Saved { window: self.window.clone(), layout: self.layout, infos: self.infos.clone() }
    }

    pub(super) fn window(&self) -> &Window {
        &self.window
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    /// The picture lies otherwise from the next key frame on, or from the next publish. What players were told of segments
    /// that are there stays as it is: each has its own init segment.
    pub(super) fn change_layout(&mut self, layout: Layout) {
        self.next_layout = Some(layout).filter(|layout| *layout != self.layout);
    }

    /// How well the encoder's sound keeps its time, if it publishes and has sound.
    pub(super) fn sound_health(&self) -> Option<Health> {
        self.running.as_ref()?.sound_health()
    }

    /// How many of the largest encoded rungs are suspended.
    pub(super) fn suspended(&self) -> usize {
        self.ladder.load.suspended()
    }

    /// Whether the next key frame must begin a segment with other init segments.
    pub(super) fn is_to_relayout(&self) -> bool {
        self.next_layout.is_some()
    }

    /// Puts the layout that is to come in force, in every rendition, from segment `msn` on. It begins behind a
    /// discontinuity, since what is drawn changes (RFC 8216bis section 4.4.4.3).
    pub(super) fn relayout(&mut self, msn: u64, out: &mut Vec<Effect>) {
        let Some(layout) = self.next_layout.take() else { return };
        self.layout = layout;
        for (rendition, config) in self.configs.clone() {
            self.init(rendition, msn, mp4::init_video(&config, layout), VIDEO_TIMESCALE, out);
        }
    }

    /// The time that a mark has which is set now, UTC ms: that of the newest picture.
    pub(super) fn newest_ms(&self) -> i64 {
        let at = self.running.as_ref().map_or_else(|| self.window.end(), Running::reached);
        self.window.terms().anchor_ms.saturating_add(at / 90)
    }

    /// A publish begins, or goes on after a break. The first picture follows.
    pub(super) fn resume(&mut self, options: &Options, begin: Begin, out: &mut Vec<Effect>) {
        let since_anchor = (begin.first_idr_utc_ms - self.window.terms().anchor_ms) * i64::from(VIDEO_TIMESCALE) / 1000;
        let base = if self.window.newest().is_none() { 0 } else { since_anchor.max(self.window.end()) };
        self.infos.fps = begin.fps;
        self.layout = self.next_layout.take().unwrap_or(self.layout);
        self.configs.clear();
        let plan = self.plan(options, &begin);
        if let Planned { warning: Some(warning), .. } = &plan {
            out.push(Effect::Warn(warning.clone()));
        }
        for (rendition, usual) in self.window.renditions().map(|r| (r, begin.frame_ticks)).collect::<Vec<_>>() {
            if rendition != Rendition::Audio {
                self.outputs.insert(rendition, Output::new(rendition, self.part_ticks(VIDEO_TIMESCALE), usual));
            }
        }
        self.ladder = Ladder::off(self.now);
        (self.ladder.renditions, self.ladder.source) = (plan.encoded.clone(), Some(begin.video.clone()));
        if let Some(settings) = plan.settings.clone() {
            self.ladder.state = LadderState::Fresh;
            out.push(Effect::StartLadder(settings));
        }
        let mut running = Running::new(options, &begin, base, plan.copied, self.window.terms().target_s);
        let msn = self.window.begin(base, true, self.now);
        if plan.copied {
            self.video_init(Rendition::Source, msn, &begin.video, out);
        }
        if self.window.renditions().any(|rendition| rendition == Rendition::Audio) {
            let silent = AudioConfig::lc(SILENCE_RATE, 2);
            if let Some(config) = begin.audio.clone().or(silent) {
                self.audio_init(msn, &config, out);
                running.start_audio(&config, base, begin.audio.is_some());
            }
        }
        running.slot_began(msn, base);
        self.begin_in_ladder(msn, base, true, out);
        self.running = Some(running);
    }

    /// The recording has these segments; and whether it goes on.
    pub(super) fn recorded(&mut self, segments: &[(Rendition, u64)], goes_on: bool) {
        segments.iter().for_each(|(rendition, msn)| self.window.recorded(*rendition, *msn));
        self.window.set_recording(goes_on);
    }

    /// What came out of the session.
    pub(super) fn take(&mut self, event: Timed, out: &mut Vec<Effect>) {
        let Some(mut running) = self.running.take() else { return };
        match event {
            Timed::Video(unit) => running.video(self, unit, out),
            Timed::Audio(at, data) => running.sound(self, at, data, out),
            Timed::VideoConfig(config) => running.video_config(config),
            Timed::AudioConfig(config) => running.audio_config(config),
            Timed::Begin(_) | Timed::Restarted => {}
        }
        self.running = Some(running);
    }

    /// The publisher is gone: closes what is in progress.
    pub(super) fn pause(&mut self, out: &mut Vec<Effect>) {
        let Some(mut running) = self.running.take() else { return };
        running.finish(self, out);
        if !matches!(self.ladder.state, LadderState::Off) {
            self.ladder.state = LadderState::Finishing;
            out.push(Effect::ToLadder(ToLadder::End));
        }
        out.extend([Effect::Save, Effect::Changed]);
    }

    /// Nothing will follow.
    pub(super) fn end(&mut self, out: &mut Vec<Effect>) {
        self.pause(out);
        self.window.end_epoch();
        self.ladder = Ladder::off(self.now);
    }

    /// The next slot begins at `at`; what expired is told.
    pub(super) fn cut(&mut self, at: i64, discontinuity: bool, out: &mut Vec<Effect>) -> u64 {
        let msn = self.window.begin(at, discontinuity, self.now);
        let expired = self.window.expire();
        if !expired.is_empty() {
            out.push(Effect::Expired(expired));
        }
        out.push(Effect::Save);
        msn
    }

    /// A unit of a rendition, in its timescale, belongs to segment `msn`.
    pub(super) fn push(&mut self, rendition: Rendition, msn: u64, unit: Unit, out: &mut Vec<Effect>) {
        if let Some(output) = self.outputs.get_mut(&rendition) {
            output.push(&mut self.window, msn, unit, out);
        }
    }

    /// The rendition's segment in progress is whole.
    pub(super) fn finish_output(&mut self, rendition: Rendition, end: Option<i64>, out: &mut Vec<Effect>) {
        if let Some(output) = self.outputs.get_mut(&rendition) {
            output.finish(&mut self.window, end, out);
        }
    }

    /// A picture's init segment, in force from `msn` on.
    pub(super) fn video_init(&mut self, rendition: Rendition, msn: u64, config: &VideoConfig, out: &mut Vec<Effect>) {
        self.configs.insert(rendition, config.clone());
        let name = rendition.to_string();
        if let Some(info) = self.infos.video.iter_mut().find(|info| info.rendition == name) {
            (info.codec, info.width, info.height) = (config.codec_string(), config.width(), config.height());
        }
        self.init(rendition, msn, mp4::init_video(config, self.layout), VIDEO_TIMESCALE, out);
    }

    /// The sound's init segment, in force from `msn` on; its packaging starts afresh.
    pub(super) fn audio_init(&mut self, msn: u64, config: &AudioConfig, out: &mut Vec<Effect>) {
        self.infos.audio = Some(AudioInfo { codec: config.codec_string(), channels: config.channels() });
        let part_ticks = self.part_ticks(config.sample_rate());
        let usual = i64::from(media::unit::AAC_FRAME_SAMPLES);
        self.outputs.insert(Rendition::Audio, Output::new(Rendition::Audio, part_ticks, usual));
        self.init(Rendition::Audio, msn, mp4::init_audio(config), config.sample_rate(), out);
    }

    fn init(&mut self, rendition: Rendition, msn: u64, bytes: Bytes, timescale: u32, out: &mut Vec<Effect>) {
        let hash: String = Sha256::digest(&bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        self.window.set_init(rendition, msn, &hash, timescale);
        out.push(Effect::File { rendition, file: File::Init(hash), body: vec![bytes] });
    }

    fn part_ticks(&self, timescale: u32) -> i64 {
        i64::from(self.window.terms().part_ms) * i64::from(timescale) / 1000
    }

    fn plan(&self, options: &Options, begin: &Begin) -> Planned {
        let video: Vec<(Rendition, u32, u32)> = self
            .infos
            .video
            .iter()
            .filter_map(|info| Some((info.rendition.parse().ok()?, info.width, info.height)))
            .collect();
        Planned::new(options, begin, &video)
    }
}

/// What parts will be made of: segments as long as key frames make them.
fn grain(options: &Options, begin: &Begin) -> Grain {
    let wanted = i64::from(options.segment_ms) * i64::from(VIDEO_TIMESCALE) / 1000;
    let gop = begin.gop.filter(|gop| *gop > 0).unwrap_or(wanted);
    let segment = (wanted - begin.frame_ticks / 2 + gop - 1) / gop * gop;
    let rate = begin.audio.as_ref().map_or(SILENCE_RATE, AudioConfig::sample_rate);
    Grain { segment: segment.max(gop), frame: begin.frame_ticks, audio_rate: options.audio.then_some(rate) }
}
