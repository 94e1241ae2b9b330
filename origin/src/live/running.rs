//! The publish in progress, within an epoch: places units in slots, asks for cuts, keeps sound in step with pictures.
//!
//! Pure. The epoch owns numbers and renditions; this owns what a publish remembers between units.

use super::core::{Effect, Options};
use super::epoch::Epoch;
use super::session::Begin;
use bytes::Bytes;
use codec::ladder::{RungSettings, Settings, ToLadder};
use media::aac::AudioConfig;
use media::audio::{AudioLine, Health, to_samples};
use media::cut::{Cut, Cutter};
use media::h264::VideoConfig;
use media::ladder::{Ladder, Rendition};
use media::package::Unit;
use media::unit::{AudioUnit, VIDEO_TIMESCALE, VideoUnit};
use std::collections::VecDeque;

/// Bit rate at which a source without usable key frames is encoded, at least and at most, bit/s.
const SOURCE_BITRATE: std::ops::RangeInclusive<u64> = 500_000..=50_000_000;

/// How far sound may be ahead of pictures, 90 kHz ticks.
const SOUND_AHEAD_MAX: i64 = 15 * VIDEO_TIMESCALE as i64;

/// What a publish needs of the ladder.
#[derive(Debug)]
pub(super) struct Planned {
    /// The source rung is copied, not encoded.
    pub(super) copied: bool,
    /// Which rendition each rung of the child is.
    pub(super) encoded: Vec<Rendition>,
    /// The child's settings, if it is needed.
    pub(super) settings: Option<Settings>,
    /// What the broadcaster should change.
    pub(super) warning: Option<String>,
}

impl Planned {
    /// `video` lists the epoch's rungs with their sizes; the heights follow this publish's shape.
    pub(super) fn new(options: &Options, begin: &Begin, video: &[(Rendition, u32, u32)]) -> Self {
        let copied = begin.gop.is_some();
        let source = (begin.video.width(), begin.video.height());
        let measured = begin.bitrate.clamp(*SOURCE_BITRATE.start(), *SOURCE_BITRATE.end());
        let (mut encoded, mut rungs) = (Vec::new(), Vec::new());
        for &(rendition, width, _) in video {
            let (width, height, bitrate) = match rendition {
                Rendition::Source if copied => continue,
                Rendition::Source => (source.0 & !1, source.1 & !1, measured as u32),
                _ => {
                    // A rung that the config has dropped since the epoch began still stands in its playlists.
                    let bitrate = options.ladder.bitrate(rendition).unwrap_or(*SOURCE_BITRATE.start() as u32);
                    (width, Ladder::height(width, source), bitrate)
                }
            };
            encoded.push(rendition);
            rungs.push(RungSettings { width, height, bitrate });
        }
        let settings = Settings { config: begin.video.clone(), rungs, segment_ms: options.segment_ms };
        let settings = (!encoded.is_empty()).then_some(settings);
        Self { copied, encoded, settings, warning: warning(options, begin) }
    }
}

fn warning(options: &Options, begin: &Begin) -> Option<String> {
    let wanted_s = f64::from(options.segment_ms) / 1000.0;
    let seconds = begin.gop.map(|gop| gop as f64 / f64::from(VIDEO_TIMESCALE));
    match seconds {
        None => Some(format!(
            "no second key frame within 10 s: the source is encoded anew, which costs CPU and quality. Set the encoder's \
             key-frame interval to {wanted_s} s (OBS: Settings, Output, Keyframe Interval)"
        )),
        Some(seconds) if seconds > wanted_s * 1.25 => Some(format!(
            "key frames come every {seconds:.2} s, so viewers are further behind than they could be. Set the encoder's \
             key-frame interval to {wanted_s} s (OBS: Settings, Output, Keyframe Interval)"
        )),
        Some(_) => None,
    }
}

/// A publish in progress.
#[derive(Debug)]
pub(super) struct Running {
    cutter: Cutter,
    /// Media time of the session's time 0.
    base: i64,
    frame_ticks: i64,
    copied: bool,
    /// The slot in progress began without an IDR: the source rung has nothing there.
    source_gap: bool,
    /// The next IDR has a new configuration: cut there, with a discontinuity.
    changed_video: Option<VideoConfig>,
    changed_audio: Option<AudioConfig>,
    /// The latest presentation time so far; the end of media is one frame later.
    reached: i64,
    audio: Option<Audio>,
}

/// Sound, in step with pictures.
#[derive(Debug)]
struct Audio {
    line: AudioLine,
    rate: i64,
    /// Blocks that pictures have not reached yet: a cut may still come before them.
    waiting: VecDeque<AudioUnit>,
    /// Slots that sound has not come to yet: number and first sample.
    slots: VecDeque<(u64, i64)>,
    msn: u64,
}

impl Running {
    pub(super) fn new(options: &Options, begin: &Begin, base: i64, copied: bool, target_s: u32) -> Self {
        let gop = begin.gop.unwrap_or(0);
        Self {
            cutter: Cutter::new(options.segment_ms, target_s, gop, begin.frame_ticks, base),
            base,
            frame_ticks: begin.frame_ticks,
            copied,
            source_gap: false,
            changed_video: None,
            changed_audio: None,
            reached: base,
            audio: None,
        }
    }

    pub(super) fn start_audio(&mut self, config: &AudioConfig, start: i64, real: bool) {
        let line = AudioLine::new(config, start, real);
        let rate = i64::from(config.sample_rate());
        let msn = self.audio.as_ref().map_or(0, |audio| audio.msn);
        self.audio = Some(Audio { line, rate, waiting: VecDeque::new(), slots: VecDeque::new(), msn });
    }

    /// A slot began: sound and the ladder learn of it.
    pub(super) fn slot_began(&mut self, msn: u64, start: i64) {
        if let Some(audio) = &mut self.audio {
            audio.slots.push_back((msn, to_samples(start, audio.rate)));
        }
    }

    /// How well the encoder's sound keeps its time, if it has sound.
    pub(super) fn sound_health(&self) -> Option<Health> {
        self.audio.as_ref().map(|audio| audio.line.health())
    }

    /// Media time (90 kHz) of the newest picture.
    pub(super) fn reached(&self) -> i64 {
        self.reached
    }

    pub(super) fn video_config(&mut self, config: VideoConfig) {
        self.changed_video = Some(config);
    }

    pub(super) fn audio_config(&mut self, config: AudioConfig) {
        self.changed_audio = Some(config);
    }

    /// The next picture.
    pub(super) fn video(&mut self, epoch: &mut Epoch, unit: VideoUnit, out: &mut Vec<Effect>) {
        let unit = VideoUnit { dts: unit.dts + self.base, pts: unit.pts + self.base, ..unit };
        if self.changed_video.is_some() && !unit.idr {
            // Nothing can decode it: its parameter sets are not in force yet.
            return;
        }
        let must = (self.changed_video.is_some() || epoch.is_to_relayout()) && unit.idr;
        let cuts = self.cutter.judge(unit.pts, unit.idr, must);
        for cut in &cuts {
            self.cut(epoch, *cut, must, out);
        }
        if epoch.ladder.takes_unit() {
            out.push(Effect::ToLadder(ToLadder::Unit(unit.clone())));
        }
        self.reached = self.reached.max(unit.pts);
        if self.copied
            && !self.source_gap
            && let Some((msn, _)) = epoch.window.newest()
        {
            let VideoUnit { dts, pts, idr, data } = unit;
            epoch.push(Rendition::Source, msn, Unit { dts, pts, sync: idr, data }, out);
        }
        self.flush_audio(epoch, out);
    }

    /// The next block of sound, stamped in session time.
    pub(super) fn sound(&mut self, epoch: &mut Epoch, at: i64, data: Bytes, out: &mut Vec<Effect>) {
        let Some(audio) = &mut self.audio else { return };
        if at + self.base > self.reached + SOUND_AHEAD_MAX {
            // Pictures stand still, or the stamp is wild: sound without pictures is not kept for ever.
            return;
        }
        // Until a cut puts a new configuration in force, its blocks cannot be decoded: silence stands for them.
        let data = if self.changed_audio.is_some() { audio.line.silence() } else { data };
        let mut placed = Vec::new();
        audio.line.push(at + self.base, self.reached, data, &mut placed);
        audio.waiting.extend(placed);
        self.flush_audio(epoch, out);
    }

    fn cut(&mut self, epoch: &mut Epoch, cut: Cut, must: bool, out: &mut Vec<Effect>) {
        let changed_video = if cut.idr { self.changed_video.take() } else { None };
        let changed_audio = self.changed_audio.take();
        let discontinuity = (must && cut.idr) || changed_audio.is_some();
        if changed_audio.is_some() {
            self.finish_audio(epoch, cut.at, out);
        }
        if self.copied && !cut.idr {
            epoch.finish_output(Rendition::Source, Some(cut.at), out);
        }
        let msn = epoch.cut(cut.at, discontinuity, out);
        self.source_gap = !cut.idr;
        if self.copied && self.source_gap {
            epoch.window.gap(Rendition::Source, msn);
        }
        if discontinuity && cut.idr {
            epoch.relayout(msn, out);
        }
        if let Some(config) = &changed_video {
            if self.copied {
                epoch.video_init(Rendition::Source, msn, config, out);
            }
            epoch.source_changed(config, out);
        }
        if let Some(config) = changed_audio {
            epoch.audio_init(msn, &config, out);
            self.start_audio(&config, cut.at, true);
        }
        self.slot_began(msn, cut.at);
        epoch.begin_in_ladder(msn, cut.at, cut.idr, out);
    }

    /// Everything in progress ends.
    pub(super) fn finish(&mut self, epoch: &mut Epoch, out: &mut Vec<Effect>) {
        let end = self.reached + self.frame_ticks;
        self.finish_audio(epoch, end, out);
        if self.copied {
            // Decoding times are shifted so that a segment ends at the same time in both orders, also where the encoder
            // kept its last B-frames to itself.
            epoch.finish_output(Rendition::Source, Some(end), out);
        }
        epoch.close(end);
    }

    fn finish_audio(&mut self, epoch: &mut Epoch, end: i64, out: &mut Vec<Effect>) {
        let Some(audio) = &mut self.audio else { return };
        let mut placed = Vec::new();
        audio.line.finish(end, &mut placed);
        audio.waiting.extend(placed);
        audio.release(epoch, to_samples(end, audio.rate) - 1, out);
        epoch.finish_output(Rendition::Audio, None, out);
    }

    /// Hands on the blocks that pictures have reached: no cut can come before them any more.
    fn flush_audio(&mut self, epoch: &mut Epoch, out: &mut Vec<Effect>) {
        let Some(audio) = &mut self.audio else { return };
        let mut placed = Vec::new();
        audio.line.video_reached(self.reached, &mut placed);
        audio.waiting.extend(placed);
        audio.release(epoch, to_samples(self.reached, audio.rate), out);
    }
}

impl Audio {
    fn release(&mut self, epoch: &mut Epoch, until: i64, out: &mut Vec<Effect>) {
        while let Some(unit) = self.waiting.pop_front_if(|unit| unit.pts <= until) {
            let mut passed = None;
            while let Some((msn, _)) = self.slots.pop_front_if(|(_, start)| *start <= unit.pts) {
                if let Some(empty) = passed.replace(msn) {
                    // A slot shorter than a block of sound.
                    epoch.window.gap(Rendition::Audio, empty);
                }
                self.msn = msn;
            }
            let AudioUnit { pts, data } = unit;
            epoch.push(Rendition::Audio, self.msn, Unit { dts: pts, pts, sync: true, data }, out);
        }
    }
}
