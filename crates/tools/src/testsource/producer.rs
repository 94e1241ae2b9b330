//! Draws, encodes and paces the test picture, on a thread of its own.
//!
//! Gives FLV tags in the order of their times. Knows no connection: when the receiver is gone, it ends.

use super::canvas::Canvas;
use super::sound::{self, Sound};
use super::{Error, Options, flv};
use bytes::Bytes;
use codec::encode::{Aac, Video, VideoSettings};
use media::rate::FrameRate;
use media::unit::VideoUnit;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

/// When pictures are later than this (the machine or the network was too slow), time is left out to catch up.
const LATE_MAX: Duration = Duration::from_secs(1);

/// Longest sleep before looking whether to stop.
const NAP: Duration = Duration::from_millis(100);

/// Between two lines of progress in the log.
const PROGRESS: Duration = Duration::from_secs(10);

/// Bits per second of the sound.
const AUDIO_BITRATE: u32 = 128_000;

/// A message for the server.
#[derive(Debug)]
pub(super) struct Tag {
    pub(super) kind: Kind,
    /// Milliseconds from the start, modulo 2³².
    pub(super) timestamp_ms: u32,
    pub(super) body: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Video,
    Audio,
}

/// A test picture with its encoders.
pub(super) struct Producer {
    canvas: Canvas,
    video: Video,
    audio: Option<(Aac, Sound)>,
    rate: FrameRate,
    pictures_max: Option<u64>,
    /// Pictures made.
    index: u64,
    /// Keeps decoding times of a stream with B-frames from being negative, in ticks.
    shift: i64,
    /// Time left out so far.
    gap_ms: u64,
}

impl Producer {
    /// Draws the backdrop and opens the encoders.
    pub(super) fn new(options: &Options) -> Result<Self, Error> {
        let rate = options.rate()?;
        let video = Video::open(&VideoSettings {
            width: options.width,
            height: options.height,
            frame_rate: options.frame_rate,
            bitrate: options.bitrate,
            keyint: Some((options.keyframe_s * rate.fps()).round().max(1.0) as u32),
            bframes: options.bframes,
        })?;
        let sound = || Aac::open(sound::SAMPLE_RATE, sound::CHANNELS, AUDIO_BITRATE);
        let audio = options.audio.then(sound).transpose()?.map(|encoder| (encoder, Sound::new(0)));
        Ok(Self {
            canvas: Canvas::new(options.width, options.height)?,
            video,
            audio,
            rate,
            pictures_max: options.duration.map(|duration| (duration.as_secs_f64() * rate.fps()).ceil() as u64),
            index: 0,
            // x264's delay with B-frames is one picture, or two with B-frames that others refer to.
            shift: if options.bframes > 0 { rate.ticks(2) } else { 0 },
            gap_ms: 0,
        })
    }

    /// Sends tags in real time until the limit is reached, `stop` is cancelled or nobody listens.
    pub(super) fn run(mut self, tags: &Sender<Tag>, stop: &CancellationToken) -> Result<(), Error> {
        let mut started = Instant::now();
        if let Some((_, sound)) = &mut self.audio {
            *sound = Sound::new(utc_ms());
        }
        let (mut reported, mut bytes) = (started, 0u64);
        let mut due = self.headers();
        loop {
            for tag in due.drain(..) {
                bytes += tag.body.len() as u64;
                if tags.blocking_send(tag).is_err() {
                    return Ok(());
                }
            }
            if stop.is_cancelled() || self.pictures_max.is_some_and(|max| self.index >= max) {
                break;
            }
            started += self.wait(started, stop);
            due = self.picture(utc_ms())?;
            if reported.elapsed() >= PROGRESS {
                let kbits = bytes * 8 / reported.elapsed().as_millis().max(1) as u64;
                tracing::info!(pictures = self.index, kbits, "publishing the test picture");
                (reported, bytes) = (Instant::now(), 0);
            }
        }
        for tag in self.finish()? {
            if tags.blocking_send(tag).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Waits until the next picture is due. Gives the time that was left out, if it is much too late.
    fn wait(&mut self, started: Instant, stop: &CancellationToken) -> Duration {
        let due = started + Duration::from_secs_f64(self.index as f64 / self.rate.fps());
        while !stop.is_cancelled() {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(NAP));
        }
        let late = due.elapsed();
        if late < LATE_MAX {
            return Duration::ZERO;
        }
        let ms = late.as_millis() as u64;
        tracing::warn!(ms, "too slow for real time, time is left out");
        self.gap_ms += ms;
        if let Some((_, sound)) = &mut self.audio {
            sound.skip_ms(ms);
        }
        Duration::from_millis(ms)
    }

    /// Decoder configurations.
    fn headers(&self) -> Vec<Tag> {
        let mut tags = vec![tag(Kind::Video, 0, flv::video_config(self.video.config()))];
        tags.extend(self.audio.as_ref().map(|(encoder, _)| tag(Kind::Audio, 0, flv::audio_config(encoder.config()))));
        tags
    }

    /// The next picture, showing this moment, and the sound up to the one after it.
    fn picture(&mut self, utc_ms: u64) -> Result<Vec<Tag>, Error> {
        let units = self.video.encode(self.canvas.at(utc_ms)?)?;
        let mut tags: Vec<Tag> = units.into_iter().map(|unit| self.unit(unit)).collect();
        self.index += 1;
        let until_ms = self.ms(self.rate.ticks(self.index as i64));
        let offset = self.ms(self.shift) + self.gap_ms;
        if let Some((encoder, sound)) = &mut self.audio {
            while sound.next_ms() < until_ms {
                // Sound comes one block late; the first block is the encoder's run-in.
                let at = sound.before_next_ms();
                for block in encoder.encode(&sound.block())? {
                    tags.extend(at.map(|at| tag(Kind::Audio, at + offset, flv::audio_block(&block))));
                }
            }
        }
        tags.sort_by_key(|tag| tag.timestamp_ms.wrapping_sub(self.gap_ms as u32));
        Ok(tags)
    }

    fn finish(&mut self) -> Result<Vec<Tag>, Error> {
        let units = self.video.finish()?;
        let mut tags: Vec<Tag> = units.into_iter().map(|unit| self.unit(unit)).collect();
        let end_ms = self.ms(self.rate.ticks(self.index as i64) + self.shift) + self.gap_ms;
        tags.push(tag(Kind::Video, end_ms, flv::video_end()));
        Ok(tags)
    }

    fn unit(&self, unit: VideoUnit) -> Tag {
        let (dts_ms, pts_ms) = (self.ms(unit.dts + self.shift), self.ms(unit.pts + self.shift));
        let composition_ms = pts_ms.saturating_sub(dts_ms) as u32;
        tag(Kind::Video, dts_ms + self.gap_ms, flv::video_unit(unit.idr, composition_ms, &unit.data))
    }

    /// Ticks as RTMP's milliseconds, rounded as OBS does: down.
    fn ms(&self, ticks: i64) -> u64 {
        (ticks / 90).max(0).cast_unsigned()
    }
}

fn tag(kind: Kind, ms: u64, body: Bytes) -> Tag {
    Tag { kind, timestamp_ms: ms as u32, body }
}

/// The wall clock, in ms since 1970.
fn utc_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::super::decode_timecode;
    use super::*;
    use codec::decode;
    use media::flv::{VideoTag, parse_video};

    /// Tags of the first pictures, the n-th showing n seconds past a time.
    fn tags(options: &Options, pictures: u64) -> (Producer, Vec<Tag>) {
        let mut producer = Producer::new(options).unwrap();
        let mut tags = producer.headers();
        for index in 0..pictures {
            tags.extend(producer.picture(1_795_195_500_123 + index * 1000).unwrap());
        }
        tags.extend(producer.finish().unwrap());
        (producer, tags)
    }

    fn times(tags: &[Tag], kind: Kind) -> Vec<u32> {
        tags.iter().filter(|tag| tag.kind == kind).map(|tag| tag.timestamp_ms).collect()
    }

    #[test]
    fn timecodes_survive_a_real_encoder_at_480x240_and_a_low_bit_rate() {
        let options = Options { width: 480, height: 240, bitrate: 250_000, bframes: 2, ..Options::default() };
        let (producer, tags) = tags(&options, 40);
        let mut decoder = decode::Video::open(producer.video.config()).unwrap();
        let mut seen = Vec::new();
        let mut take = |picture: codec::picture::Picture| {
            let (luma, stride) = picture.plane(0);
            let packed: Vec<u8> = luma.chunks(stride).take(240).flat_map(|line| &line[..480]).copied().collect();
            seen.push((picture.pts().unwrap(), decode_timecode(&packed, 480, 240)));
            Ok(())
        };
        for tag in tags.iter().filter(|tag| tag.kind == Kind::Video) {
            let VideoTag::Unit { composition_ms, data, .. } = parse_video(tag.body.clone()).unwrap() else { continue };
            let (dts, composition) = (i64::from(tag.timestamp_ms), i64::from(composition_ms));
            let unit = VideoUnit { dts, pts: dts + composition, idr: false, data };
            decoder.push(&unit, &mut take).unwrap();
        }
        decoder.finish(&mut take).unwrap();
        let expected: Vec<_> = (0..40)
            .map(|index| (66 + i64::from(33 * index + (index + 1) / 3), Some(1_795_195_500_123 + index as u64 * 1000)))
            .collect();
        assert_eq!(
            seen.iter().map(|(_, time)| *time).collect::<Vec<_>>(),
            expected.iter().map(|(_, time)| *time).collect::<Vec<_>>()
        );
        for ((pts, _), (due, _)) in seen.iter().zip(&expected) {
            assert!((pts - due).abs() <= 1, "{pts} ms instead of {due}");
        }
    }

    #[test]
    fn sound_keeps_up_with_the_picture_and_tags_come_in_order() {
        let options = Options { width: 64, height: 32, bitrate: 100_000, ..Options::default() };
        let (_, tags) = tags(&options, 60);
        let (video, audio) = (times(&tags, Kind::Video), times(&tags, Kind::Audio));
        assert_eq!(video[1..4], [0, 33, 66]);
        assert_eq!(audio[1..4], [0, 21, 42]);
        assert!(*audio.last().unwrap() > 1940, "{audio:?}");
        assert!(tags.windows(2).all(|pair| pair[0].timestamp_ms <= pair[1].timestamp_ms + 22));
    }

    #[test]
    fn key_frames_come_at_the_asked_interval_at_an_odd_rate() {
        let options = Options {
            width: 64,
            height: 32,
            bitrate: 100_000,
            frame_rate: (30_000, 1001),
            keyframe_s: 0.5,
            audio: false,
            ..Options::default()
        };
        let (_, tags) = tags(&options, 46);
        let keys: Vec<u32> = tags
            .iter()
            .filter(|tag| matches!(parse_video(tag.body.clone()), Ok(VideoTag::Unit { key_flag: true, .. })))
            .map(|tag| tag.timestamp_ms)
            .collect();
        assert_eq!(keys, [0, 500, 1001, 1501]);
        assert!(tags.iter().all(|tag| tag.kind == Kind::Video));
    }
}
