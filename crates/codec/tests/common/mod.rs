//! Sources made with the `ffmpeg` command, and the ladder's output sorted for comparison.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, dead_code, missing_docs)]

use bytes::Bytes;
use codec::decode;
use codec::ladder::{Engine, FromLadder, RungSettings, Settings, ToLadder};
use media::h264::VideoConfig;
use media::unit::VideoUnit;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// A stream as an encoder would send it.
pub struct Source {
    pub config: VideoConfig,
    pub units: Vec<VideoUnit>,
}

/// Runs `ffmpeg -f lavfi -i INPUT …OPTIONS` with libx264 and reads the result.
pub fn make(input: &str, options: &str) -> Source {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("source.mp4");
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", input, "-c:v", "libx264", "-threads", "1"])
        .args(options.split_whitespace())
        .args(["-video_track_timescale", "90000"])
        .arg(&file)
        .status()
        .expect("the tests need the ffmpeg command");
    assert!(status.success(), "ffmpeg failed for {input} {options}");
    demux(&file)
}

/// The H.264 track of an MP4 file, times in 90 kHz from its first PTS.
pub fn demux(file: &Path) -> Source {
    let mut input = ffmpeg_next::format::input(&file).unwrap();
    let stream = input.streams().best(ffmpeg_next::media::Type::Video).unwrap();
    let (index, base) = (stream.index(), stream.time_base());
    let context = ffmpeg_next::codec::Context::from_parameters(stream.parameters()).unwrap();
    // SAFETY: libav keeps that many bytes there as long as the context lives.
    #[allow(unsafe_code)]
    let avcc = unsafe {
        let raw = context.as_ptr();
        Bytes::copy_from_slice(std::slice::from_raw_parts((*raw).extradata, (*raw).extradata_size as usize))
    };
    let config = VideoConfig::from_avcc(avcc).unwrap();
    let ticks = |time: i64| time * 90_000 * i64::from(base.0) / i64::from(base.1);
    let mut units = Vec::new();
    for (stream, packet) in input.packets() {
        if stream.index() == index {
            let data = Bytes::copy_from_slice(packet.data().unwrap());
            let idr = media::h264::contains_idr(&data, config.nal_length_size());
            units.push(VideoUnit { dts: ticks(packet.dts().unwrap()), pts: ticks(packet.pts().unwrap()), idr, data });
        }
    }
    Source { config, units }
}

impl Source {
    /// Times of all pictures, as shown.
    pub fn shown(&self) -> Vec<i64> {
        let mut shown: Vec<i64> = self.units.iter().map(|unit| unit.pts).collect();
        shown.sort_unstable();
        shown
    }

    /// Messages that cut at every IDR, numbered from `seq`, without the end.
    pub fn cut_at_idrs(&self, mut seq: u64) -> Vec<ToLadder> {
        let mut messages = Vec::new();
        for unit in &self.units {
            if unit.idr {
                messages.push(ToLadder::Segment { seq, start_pts: unit.pts, skip: 0 });
                seq += 1;
            }
            messages.push(ToLadder::Unit(unit.clone()));
        }
        messages
    }
}

pub fn rung(width: u32, height: u32, bitrate: u32) -> RungSettings {
    RungSettings { width, height, bitrate }
}

pub fn settings(source: &Source, rungs: &[RungSettings], segment_ms: u32) -> Settings {
    Settings { config: source.config.clone(), rungs: rungs.to_vec(), segment_ms }
}

/// What came out of one rung.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rung {
    pub configs: Vec<VideoConfig>,
    pub segments: BTreeMap<u64, Vec<VideoUnit>>,
    /// In the order they ended.
    pub ended: Vec<u64>,
}

/// Sorts output by rung, and checks that it keeps the promises of its type.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Output {
    pub rungs: BTreeMap<usize, Rung>,
    pub failed: Vec<String>,
}

impl Output {
    pub fn take(&mut self, message: FromLadder) {
        match message {
            FromLadder::Config { rung, config } => self.rungs.entry(rung).or_default().configs.push(config),
            FromLadder::Unit { rung, seq, unit } => {
                let rung = self.rungs.entry(rung).or_default();
                assert!(!rung.configs.is_empty(), "a unit before its configuration");
                assert!(!rung.ended.contains(&seq), "a unit after its segment's end");
                let units = rung.segments.entry(seq).or_default();
                assert_eq!(unit.idr, units.is_empty(), "an IDR must be the first and the only one");
                assert_eq!(unit.dts, unit.pts);
                units.push(unit);
            }
            FromLadder::SegmentEnd { rung, seq } => self.rungs.entry(rung).or_default().ended.push(seq),
            FromLadder::Worked { .. } => {}
            FromLadder::Failed { why } => self.failed.push(why),
        }
    }
}

/// Runs it all through an engine in this process.
pub fn run(settings: Settings, messages: impl IntoIterator<Item = ToLadder>) -> Output {
    let (mut engine, mut output) = (Engine::new(settings).unwrap(), Output::default());
    for message in messages.into_iter().chain([ToLadder::End]) {
        engine.push(message, &mut |message| output.take(message)).unwrap();
    }
    output
}

/// Decodes a segment by itself: the times and average lumas of its pictures.
pub fn decode(config: &VideoConfig, units: &[VideoUnit]) -> (Vec<i64>, Vec<f64>) {
    let mut decoder = decode::Video::open(config).unwrap();
    let (mut times, mut lumas) = (Vec::new(), Vec::new());
    let mut take = |picture: codec::picture::Picture| {
        times.push(picture.pts().unwrap());
        let (width, (luma, stride)) = (picture.width() as usize, picture.plane(0));
        let lines = luma.chunks(stride).take(picture.height() as usize);
        let sum: u64 = lines.flat_map(|line| &line[..width]).map(|&pixel| u64::from(pixel)).sum();
        lumas.push(sum as f64 / (width * picture.height() as usize) as f64);
        Ok(())
    };
    units.iter().for_each(|unit| decoder.push(unit, &mut take).unwrap());
    decoder.finish(&mut take).unwrap();
    assert_eq!(decoder.damaged(), 0);
    (times, lumas)
}
