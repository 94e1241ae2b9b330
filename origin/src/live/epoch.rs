//! One epoch of a stream: from its first picture to its end, across reconnects and restarts.
//!
//! Pure. Cuts, numbers and feeds every rendition; pieces of it are the window (numbers), the outputs (packaging) and the
//! [`super::running`] state of the publish in progress. Does not know who publishes or how files are served.

use super::core::{Effect, Input, Options};
use super::load::{Afford, Load};
use super::output::Output;
use super::running::{Planned, Running};
use super::session::{Begin, Timed};
use bytes::Bytes;
use codec::ladder::{FromLadder, ToLadder};
use media::aac::AudioConfig;
use media::cut::target_s;
use media::h264::VideoConfig;
use media::hls::{AudioGroup, Multivariant, Variant};
use media::ladder::Rendition;
use media::mp4;
use media::package::{Grain, Unit, part_target_ms};
use media::projection::Layout;
use media::route::File;
use media::unit::{VIDEO_TIMESCALE, VideoUnit};
use media::window::{Terms, Window};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// How many closed slots a rung that has nothing yet may hold back the multivariant playlist.
const SLOTS_WAITED_FOR_RUNGS: usize = 2;

/// Pictures that a decoder may hold back to bring them in order (ITU-T H.264 A.3.1: max_dec_frame_buffering).
const REORDERED_UNITS_MAX: u8 = 16;

/// Samples per second of the silence that stands for missing sound.
const SILENCE_RATE: u32 = 48_000;

/// An epoch.
#[derive(Debug)]
pub(super) struct Epoch {
    pub(super) window: Window,
    /// UTC ms of the input in hand.
    now: i64,
    layout: Layout,
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

/// The child that encodes rungs, as far as this side knows.
#[derive(Debug)]
pub(super) struct Ladder {
    pub(super) state: LadderState,
    /// Which rendition each of the child's rungs is.
    pub(super) renditions: Vec<Rendition>,
    /// The source's configuration, as the child must know it when it begins.
    source: Option<VideoConfig>,
    load: Load,
    /// Units that are still sent though the segment they are of is not encoded.
    tail: u8,
    /// Segments that the child was sent, and how many rungs have not ended them yet.
    owed: BTreeMap<u64, usize>,
    /// Configurations that the child announced, in force from the rung's next segment on.
    announced: BTreeMap<Rendition, VideoConfig>,
}

/// What the child is up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LadderState {
    /// There is none.
    Off,
    /// It waits for a cut at an IDR.
    Fresh,
    /// It encodes.
    Active,
    /// It lost units; it goes on at the next IDR.
    Skipping,
    /// It was told to finish.
    Finishing,
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
        };
        let video = rungs.iter().map(|rung| VideoInfo {
            rendition: rung.rendition.to_string(),
            codec: String::new(),
            width: rung.width,
            height: rung.height,
        });
        Self {
            window: Window::new(terms, first, &renditions),
            now: begin.first_idr_utc_ms,
            layout,
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
        Self { window, now: 0, layout, infos, outputs: BTreeMap::new(), ladder: Ladder::off(0), running: None }
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

    /// A publish begins, or goes on after a break. The first picture follows.
    pub(super) fn resume(&mut self, options: &Options, begin: Begin, out: &mut Vec<Effect>) {
        let since_anchor = (begin.first_idr_utc_ms - self.window.terms().anchor_ms) * i64::from(VIDEO_TIMESCALE) / 1000;
        let base = if self.window.newest().is_none() { 0 } else { since_anchor.max(self.window.end()) };
        self.infos.fps = begin.fps;
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

    /// What came out of the session.
    pub(super) fn take(&mut self, event: Timed, out: &mut Vec<Effect>) {
        let Some(mut running) = self.running.take() else { return };
        match event {
            Timed::Video(unit) => running.video(self, unit, out),
            Timed::Audio(at, data) => running.sound(self, at, data, out),
            Timed::VideoConfig(config) => running.video_config(config, out),
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

    /// Whether the child may still come with what it owes.
    pub(super) fn is_finishing(&self) -> bool {
        self.ladder.state == LadderState::Finishing
    }

    /// Tells the ladder of a segment that begins, and what of it to encode. What nobody encodes is a gap.
    pub(super) fn begin_in_ladder(&mut self, msn: u64, start: i64, idr: bool, out: &mut Vec<Effect>) {
        let ready = match self.ladder.state {
            LadderState::Active => true,
            LadderState::Fresh | LadderState::Skipping => idr,
            LadderState::Off | LadderState::Finishing => false,
        };
        let before = self.ladder.load.suspended();
        let afford = if ready { self.afford() } else { Afford::Nothing };
        if self.ladder.load.suspended() > before
            && let Some(rendition) = self.ladder.renditions.get(before)
        {
            out.push(Effect::Warn(format!(
                "this machine is too small for the ladder: rung {rendition} is suspended. Take rungs out of the ladder, or \
                 use a machine with more cores"
            )));
        }
        let suspended = match afford {
            Afford::AllBut(suspended) => suspended,
            Afford::Nothing => self.ladder.renditions.len(),
        };
        for rendition in self.ladder.renditions.iter().take(suspended) {
            self.window.gap(*rendition, msn);
        }
        if !ready || afford == Afford::Nothing {
            if self.ladder.state == LadderState::Active {
                // The segment before this one ends for the child when it sees pictures of this one.
                (self.ladder.state, self.ladder.tail) = (LadderState::Skipping, REORDERED_UNITS_MAX);
                out.push(Effect::ToLadder(ToLadder::Segment { seq: msn, start_pts: start, skip: u8::MAX }));
            }
            return;
        }
        self.ladder.tail = 0;
        if self.ladder.state != LadderState::Active {
            self.ladder.state = LadderState::Active;
            out.extend(self.ladder.source.clone().map(|config| Effect::ToLadder(ToLadder::Config(config))));
        }
        let skip = (0..suspended).fold(0, |mask, rung| mask | 1_u8.checked_shl(rung as u32).unwrap_or(0));
        self.ladder.owed.insert(msn, self.ladder.renditions.len());
        out.push(Effect::ToLadder(ToLadder::Segment { seq: msn, start_pts: start, skip }));
    }

    /// How many rungs this machine can afford now.
    fn afford(&mut self) -> Afford {
        let oldest = self.ladder.owed.keys().next();
        let ended = oldest.and_then(|seq| self.window.slot(*seq)).filter(|slot| slot.end.is_some());
        let owed_ms = ended.map_or(0, |slot| self.now - slot.ended_ms);
        let target_ms = i64::from(self.window.terms().target_s) * 1000;
        self.ladder.load.judge(self.ladder.renditions.len(), owed_ms, target_ms, self.now)
    }

    /// The source's configuration changed: the child must know before the IDR.
    pub(super) fn source_changed(&mut self, config: &VideoConfig, out: &mut Vec<Effect>) {
        self.ladder.source = Some(config.clone());
        if self.ladder.state == LadderState::Active {
            out.push(Effect::ToLadder(ToLadder::Config(config.clone())));
        }
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

    /// The ladder's child: what it sent, or what became of it.
    pub(super) fn ladder(&mut self, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::LadderUp if self.running.is_some() => self.ladder.state = LadderState::Fresh,
            Input::LadderFull if self.ladder.state == LadderState::Active => {
                (self.ladder.state, self.ladder.tail) = (LadderState::Skipping, 0);
                if let Some((msn, _)) = self.window.newest() {
                    // What the child has of it will come, and will not be the whole of it.
                    self.ladder.renditions.iter().for_each(|rendition| self.window.gap(*rendition, msn));
                }
                out.push(Effect::Warn(
                    "this machine is too small for the ladder: encoded rungs miss a segment. Take rungs away"
                        .to_owned(),
                ));
            }
            Input::Ladder(event) => self.encoded(event, out),
            Input::LadderGone => self.ladder_gone(out),
            _ => {}
        }
    }

    fn encoded(&mut self, event: FromLadder, out: &mut Vec<Effect>) {
        match event {
            FromLadder::Config { rung, config } => {
                if let Some(&rendition) = self.ladder.renditions.get(rung) {
                    self.ladder.announced.insert(rendition, config);
                }
            }
            FromLadder::Unit { rung, seq, unit } => {
                let Some(&rendition) = self.ladder.renditions.get(rung) else { return };
                if let Some(config) = self.ladder.announced.remove(&rendition) {
                    self.video_init(rendition, seq, &config, out);
                }
                let VideoUnit { dts, pts, idr, data } = unit;
                self.push(rendition, seq, Unit { dts, pts, sync: idr, data }, out);
            }
            FromLadder::SegmentEnd { rung, seq } => {
                let Some(&rendition) = self.ladder.renditions.get(rung) else { return };
                self.ladder.ended(seq);
                let end = self.window.slot(seq).and_then(|slot| slot.end);
                self.finish_output(rendition, end, out);
                // Unless it is whole now: nothing of it could be decoded.
                self.window.gap(rendition, seq);
                out.extend([Effect::Save, Effect::Changed]);
            }
            FromLadder::Failed { why } => out.push(Effect::Warn(format!("the ladder's encoder failed: {why}"))),
        }
    }

    /// Whatever the child still owed is missing.
    fn ladder_gone(&mut self, out: &mut Vec<Effect>) {
        self.ladder.state = LadderState::Off;
        self.ladder.announced.clear();
        self.ladder.owed.clear();
        for rendition in self.ladder.renditions.clone() {
            if let Some(output) = self.outputs.get_mut(&rendition) {
                output.abandon();
            }
            self.window.gap_all(rendition);
        }
        out.extend([Effect::Save, Effect::Changed]);
    }

    /// The multivariant playlist, once there is something to play in (nearly) every rung.
    pub(super) fn multivariant(&self, stream: &str) -> Option<Multivariant> {
        let window = &self.window;
        let playable = |rendition: Rendition| window.init(rendition).is_some() && window.whole(rendition) > 0;
        let rungs: Vec<(Rendition, &VideoInfo)> =
            self.infos.video.iter().filter_map(|info| Some((info.rendition.parse().ok()?, info))).collect();
        let most = rungs.iter().map(|(rendition, _)| window.whole(*rendition)).max().unwrap_or(0);
        let all = rungs.iter().all(|(rendition, _)| playable(*rendition));
        let audio = self.infos.audio.as_ref().filter(|_| playable(Rendition::Audio));
        let audio_ready = audio.is_some() || !window.renditions().any(|rendition| rendition == Rendition::Audio);
        if !(audio_ready && (all || most >= SLOTS_WAITED_FOR_RUNGS || (most > 0 && window.has_ended()))) {
            return None;
        }
        let uri = |rendition: Rendition, file: File| format!("{stream}/{rendition}/{file}");
        let audio = audio.map(|info| AudioGroup {
            uri: uri(Rendition::Audio, File::Playlist),
            channels: info.channels,
            codec: info.codec.clone(),
            peak: window.rates(Rendition::Audio).peak,
            average: window.rates(Rendition::Audio).average(),
        });
        let variants =
            rungs.into_iter().filter(|(rendition, _)| playable(*rendition)).map(|(rendition, info)| Variant {
                uri: uri(rendition, File::Playlist),
                iframes_uri: uri(rendition, File::IFrames),
                codec: info.codec.clone(),
                size: (info.width, info.height),
                fps: self.infos.fps,
                peak: window.rates(rendition).peak,
                average: window.rates(rendition).average(),
                iframes_peak: window.rates(rendition).iframes_peak,
            });
        Some(Multivariant { audio, variants: variants.collect() })
    }

    pub(super) fn stat(&self) -> serde_json::Value {
        let rungs: Vec<serde_json::Value> = self
            .window
            .renditions()
            .map(|rendition| {
                let rates = self.window.rates(rendition);
                serde_json::json!({
                    "rendition": rendition.to_string(), "segments": self.window.whole(rendition),
                    "peak_bits_per_s": rates.peak, "average_bits_per_s": rates.average(),
                })
            })
            .collect();
        let terms = self.window.terms();
        serde_json::json!({
            "target_s": terms.target_s, "part_ms": terms.part_ms, "fps": self.infos.fps,
            "next_media_sequence": self.window.next_number(), "renditions": rungs,
            "ladder": format!("{:?}", self.ladder.state).to_lowercase(), "suspended_rungs": self.ladder.load.suspended(),
        })
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

impl Ladder {
    fn off(now: i64) -> Self {
        let (state, load) = (LadderState::Off, Load::new(now));
        Self {
            state,
            renditions: Vec::new(),
            source: None,
            load,
            tail: 0,
            owed: BTreeMap::new(),
            announced: BTreeMap::new(),
        }
    }

    /// Whether the child is to have the next unit.
    pub(super) fn takes_unit(&mut self) -> bool {
        let tail = self.tail > 0;
        self.tail = self.tail.saturating_sub(1);
        tail || self.state == LadderState::Active
    }

    /// A rung has ended a segment.
    fn ended(&mut self, seq: u64) {
        if let Some(left) = self.owed.get_mut(&seq) {
            *left = left.saturating_sub(1);
        }
        self.owed.retain(|_, left| *left > 0);
    }
}
