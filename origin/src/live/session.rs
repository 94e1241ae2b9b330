//! One publish, timed: tags with RTMP's milliseconds in, access units on a 90 kHz line out.
//!
//! Pure. Waits for the second key frame, so that the frame rate and the key-frame interval are known before anything is
//! published. Time 0 is where the first key frame is shown. Does not know epochs, numbers or rungs.

use crate::ingest::Ingested;
use bytes::Bytes;
use media::aac::AudioConfig;
use media::clock::{SessionClock, Track};
use media::cut::SECOND_IDR_MS_MAX;
use media::flv::Metadata;
use media::h264::{self, VideoConfig};
use media::rate::{self, FrameRate, Snapper};
use media::unit::VideoUnit;

/// What is kept while waiting for the second key frame, at most, in bytes. Beyond it publishing begins anyway.
const PRIMING_BYTES_MAX: usize = 96 << 20;

/// What each tag that is kept costs besides its payload, in bytes.
const KEPT_TAG_BYTES: usize = 64;

/// How far presentation may be from decoding, in ms.
const COMPOSITION_MS_MAX: i64 = 5_000;

/// What comes out.
#[derive(Debug)]
pub(super) enum Timed {
    /// Publishing begins; the units that were kept back follow.
    Begin(Begin),
    /// A decoder configuration that differs from the one before; its IDR follows.
    VideoConfig(VideoConfig),
    /// An audio configuration that differs from the one before.
    AudioConfig(AudioConfig),
    /// A picture; times are ticks from the first key frame's presentation, decoding times shifted so that it has 0, too.
    Video(VideoUnit),
    /// A block of sound, stamped in ticks from the first key frame's presentation.
    Audio(i64, Bytes),
    /// The encoder's clock broke: what follows belongs to a new session, which has taken the configurations over.
    Restarted,
}

/// What is known when publishing begins.
#[derive(Debug, Clone)]
pub(super) struct Begin {
    /// When the first key frame came in, UTC ms.
    pub(super) first_idr_utc_ms: i64,
    /// Frames per second as measured.
    pub(super) fps: f64,
    /// One frame, in ticks.
    pub(super) frame_ticks: i64,
    /// The key-frame interval, in ticks; `None` if no second key frame came in time.
    pub(super) gop: Option<i64>,
    /// The source's decoder configuration.
    pub(super) video: VideoConfig,
    /// The source's audio configuration, if it has sound.
    pub(super) audio: Option<AudioConfig>,
    /// The source's bit rate while waiting, bit/s.
    pub(super) bitrate: u64,
}

/// One publish.
#[derive(Debug, Default)]
pub(super) struct Session {
    clock: SessionClock,
    metadata: Metadata,
    video: Option<VideoConfig>,
    audio: Option<AudioConfig>,
    kept: Vec<Kept>,
    kept_bytes: usize,
    first_idr: Option<FirstIdr>,
    line: Option<Line>,
}

/// A tag that waits for publishing to begin.
#[derive(Debug)]
enum Kept {
    AudioConfig(AudioConfig),
    Video(Picture),
    Audio(i64, Bytes),
}

#[derive(Debug, Clone)]
struct Picture {
    ms: i64,
    composition_ms: i64,
    idr: bool,
    data: Bytes,
}

#[derive(Debug, Clone, Copy)]
struct FirstIdr {
    ms: i64,
    composition_ms: i64,
    utc_ms: i64,
}

/// The 90 kHz line, once publishing has begun.
#[derive(Debug)]
struct Line {
    snapper: Snapper,
    first: FirstIdr,
    first_pts: i64,
    last_dts: i64,
}

impl Session {
    /// What the encoder said about itself.
    pub(super) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Takes the next tag, which came in at `utc_ms`.
    pub(super) fn take(&mut self, tag: Ingested, utc_ms: i64, out: &mut Vec<Timed>) {
        match tag {
            Ingested::Metadata(metadata) => self.metadata = metadata,
            Ingested::VideoConfig(config) => self.video_config(config, out),
            Ingested::AudioConfig(config) => self.audio_config(config, out),
            Ingested::Video { rtmp_ms, composition_ms, data } => {
                let placed = self.clock.place(Track::Video, rtmp_ms);
                if placed.restarted {
                    self.restart(rtmp_ms, out);
                }
                let Some(config) = &self.video else { return };
                let idr = h264::contains_idr(&data, config.nal_length_size());
                let ms = if placed.restarted { 0 } else { placed.ms };
                // No encoder reorders over seconds: a wild composition time is noise, and believed it would stop the stream.
                let composition_ms = i64::from(composition_ms);
                let composition_ms = if composition_ms.abs() <= COMPOSITION_MS_MAX { composition_ms } else { 0 };
                self.picture(Picture { ms, composition_ms, idr, data }, utc_ms, out);
            }
            Ingested::Audio { rtmp_ms, data } => {
                let placed = self.clock.place(Track::Audio, rtmp_ms);
                self.sound(placed.ms, data, out);
            }
        }
    }

    fn video_config(&mut self, config: VideoConfig, out: &mut Vec<Timed>) {
        if self.video.as_ref() == Some(&config) {
            return;
        }
        if self.line.is_some() {
            out.push(Timed::VideoConfig(config.clone()));
        } else {
            // Nothing was published yet: what was kept belongs to a configuration that is gone.
            self.drop_kept();
        }
        self.video = Some(config);
    }

    fn audio_config(&mut self, config: AudioConfig, out: &mut Vec<Timed>) {
        let kept = self.kept.iter().rev().find_map(|tag| match tag {
            Kept::AudioConfig(config) => Some(config),
            _ => None,
        });
        if kept.or(self.audio.as_ref()) == Some(&config) {
            return;
        }
        if self.line.is_some() {
            out.push(Timed::AudioConfig(config.clone()));
        } else if self.audio.is_some() {
            self.keep(Kept::AudioConfig(config));
            return;
        }
        self.audio = Some(config);
    }

    fn picture(&mut self, picture: Picture, utc_ms: i64, out: &mut Vec<Timed>) {
        if let Some(line) = &mut self.line {
            out.push(Timed::Video(line.place(picture)));
            return;
        }
        let Some(first) = self.first_idr else {
            if picture.idr {
                self.first_idr = Some(FirstIdr { ms: picture.ms, composition_ms: picture.composition_ms, utc_ms });
                self.keep(Kept::Video(picture));
            }
            return;
        };
        let waited = picture.ms - first.ms >= SECOND_IDR_MS_MAX || self.kept_bytes > PRIMING_BYTES_MAX;
        let second = picture.idr;
        let next = picture.clone();
        self.keep(Kept::Video(picture));
        if second || waited {
            self.begin(first, second.then_some(next), out);
        }
    }

    fn sound(&mut self, ms: i64, data: Bytes, out: &mut Vec<Timed>) {
        match &self.line {
            Some(line) => out.push(Timed::Audio(line.sound(ms), data)),
            None if self.audio.is_none() => {}
            None => self.keep(Kept::Audio(ms, data)),
        }
    }

    fn keep(&mut self, tag: Kept) {
        self.kept_bytes += KEPT_TAG_BYTES;
        self.kept_bytes += match &tag {
            Kept::Video(picture) => picture.data.len(),
            Kept::Audio(_, data) => data.len(),
            Kept::AudioConfig(_) => 0,
        };
        self.kept.push(tag);
        if self.first_idr.is_none() && self.kept_bytes > PRIMING_BYTES_MAX / 16 {
            self.drop_kept();
        }
    }

    fn drop_kept(&mut self) {
        self.kept.clear();
        (self.kept_bytes, self.first_idr) = (0, None);
    }

    fn begin(&mut self, first: FirstIdr, second: Option<Picture>, out: &mut Vec<Timed>) {
        let Some(video) = self.video.clone() else { return };
        let kept = std::mem::take(&mut self.kept);
        let stamps: Vec<i64> = kept
            .iter()
            .filter_map(|tag| if let Kept::Video(picture) = tag { Some(picture.ms) } else { None })
            .collect();
        let video_bytes: usize =
            kept.iter().map(|tag| if let Kept::Video(picture) = tag { picture.data.len() } else { 0 }).sum();
        let span_ms = stamps.last().map_or(1, |last| (last - first.ms).max(1));
        let hints = [self.metadata.frame_rate.and_then(FrameRate::from_decimal), sps_rate(&video)];
        let hints: Vec<FrameRate> = hints.into_iter().flatten().collect();
        let rate = rate::detect(&stamps, &hints);
        let mut line = Line::new(Snapper::new(rate, first.ms), first);
        let gop = second.map(|picture| line.place(picture).pts).filter(|gop| *gop > 0);
        line.last_dts = i64::MIN;
        let fps = rate.map_or((stamps.len().saturating_sub(1)) as f64 * 1000.0 / span_ms as f64, |rate| rate.fps());
        let frame_ticks = match rate {
            Some(_) => line.snapper.frame_ticks(),
            None => (90_000.0 / fps.clamp(1.0, 480.0)) as i64,
        };
        line.snapper = Snapper::new(rate, first.ms);
        out.push(Timed::Begin(Begin {
            first_idr_utc_ms: first.utc_ms,
            fps,
            frame_ticks,
            gop,
            video,
            audio: self.audio.clone(),
            bitrate: video_bytes as u64 * 8000 / span_ms.unsigned_abs().max(1),
        }));
        for tag in kept {
            out.push(match tag {
                Kept::AudioConfig(config) => {
                    self.audio = Some(config.clone());
                    Timed::AudioConfig(config)
                }
                Kept::Video(picture) => Timed::Video(line.place(picture)),
                Kept::Audio(ms, data) => Timed::Audio(line.sound(ms), data),
            });
        }
        self.kept_bytes = 0;
        self.line = Some(line);
    }

    /// Starts over from the picture stamped `rtmp_ms`, with the same configurations.
    fn restart(&mut self, rtmp_ms: u32, out: &mut Vec<Timed>) {
        let (metadata, video, audio) = (std::mem::take(&mut self.metadata), self.video.take(), self.audio.take());
        *self = Self { metadata, video, audio, ..Self::default() };
        self.clock.place(Track::Video, rtmp_ms);
        out.push(Timed::Restarted);
    }
}

impl Line {
    fn new(mut snapper: Snapper, first: FirstIdr) -> Self {
        let (_, first_pts) = snapper.place(first.ms, first.composition_ms);
        Self { snapper, first, first_pts, last_dts: i64::MIN }
    }

    fn place(&mut self, picture: Picture) -> VideoUnit {
        let (dts, pts) = self.snapper.place(picture.ms, picture.composition_ms);
        let dts = dts.max(self.last_dts.saturating_add(1));
        self.last_dts = dts;
        VideoUnit { dts, pts: pts - self.first_pts, idr: picture.idr, data: picture.data }
    }

    fn sound(&self, ms: i64) -> i64 {
        (ms - self.first.ms - self.first.composition_ms) * 90
    }
}

fn sps_rate(config: &VideoConfig) -> Option<FrameRate> {
    config.frame_rate().map(|(num, den)| FrameRate { num, den }).filter(|rate| rate.num > 0 && rate.den > 0)
}
