//! Files made with the `ffmpeg` command, and VOD children driven over them.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, dead_code, missing_docs)]

use bytes::Bytes;
use codec::vod::child::{Child, Limits};
use codec::vod::{Effort, EncodeJob, FromVod, Job, Reel, RungJob, SegmentJob, SoundJob, Stamp, Tracks};
use media::h264::VideoConfig;
use media::unit::VideoUnit;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

pub fn exe() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_codec-vod-child"))
}

/// Runs `ffmpeg … NAME` and reads what it made.
pub fn film(name: &str, options: &str) -> Bytes {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    let status = Command::new("ffmpeg")
        .args(["-v", "error"])
        .args(options.split_whitespace())
        .arg(&file)
        .status()
        .expect("the tests need the ffmpeg command");
    assert!(status.success(), "ffmpeg failed for {options}");
    std::fs::read(&file).unwrap().into()
}

/// 320×160 pictures at 30 per second, with a sine.
pub fn sound_film(name: &str, seconds: u32, options: &str) -> Bytes {
    film(
        name,
        &format!(
            "-f lavfi -i testsrc2=size=320x160:rate=30:duration={seconds} -f lavfi -i \
             sine=frequency=440:sample_rate=48000:duration={seconds} -c:a aac -pix_fmt yuv420p -threads 1 {options}"
        ),
    )
}

/// The same without sound.
pub fn mute_film(name: &str, seconds: u32, options: &str) -> Bytes {
    let input = format!("-f lavfi -i testsrc2=size=320x160:rate=30:duration={seconds}");
    film(name, &format!("{input} -pix_fmt yuv420p -threads 1 {options}"))
}

/// Cuts an FLV after every so many pictures into ones that play alone, each beginning with the configurations.
pub fn split_flv(file: &[u8], pictures: usize) -> Vec<Bytes> {
    let mut configs = file[..13].to_vec();
    let (mut parts, mut count, mut at) = (vec![Vec::new()], 0, 13);
    while at < file.len() {
        let size = u32::from_be_bytes([0, file[at + 1], file[at + 2], file[at + 3]]) as usize;
        let tag = &file[at..at + 11 + size + 4];
        at += tag.len();
        let (kind, video) = (tag[0], tag[0] == 9);
        if kind == 18 || tag[12] == 0 {
            configs.extend_from_slice(tag);
            continue;
        }
        if video && count == pictures {
            parts.push(Vec::new());
            count = 0;
        }
        count += usize::from(video);
        parts.last_mut().unwrap().extend_from_slice(tag);
    }
    parts.into_iter().map(|part| [configs.clone(), part].concat().into()).collect()
}

pub fn reels(files: &[Bytes]) -> Vec<Reel> {
    files.iter().map(|file| Reel { bytes: file.len() as u64 }).collect()
}

/// The next message, its question answered if it is one.
pub async fn next(child: &mut Child, files: &[Bytes]) -> Option<FromVod> {
    let message = child.next().await;
    if let Some(FromVod::Read { reel, offset, length }) = message {
        let file = &files[reel as usize];
        let (start, end) = (offset as usize, offset as usize + length as usize);
        assert!(end <= file.len(), "a read beyond the end");
        // A child that has died meanwhile says so next.
        drop(child.supply(file.slice(start..end)).await);
    }
    message
}

/// Everything a child says to a job, without its questions.
pub async fn drive_within(job: Job, files: &[Bytes], limits: Limits) -> Vec<FromVod> {
    let mut child = Child::spawn(exe(), job, limits).await.unwrap();
    let mut said = Vec::new();
    while let Some(message) = next(&mut child, files).await {
        if !matches!(message, FromVod::Read { .. }) {
            said.push(message);
        }
    }
    child.kill().await;
    said
}

pub async fn drive(job: Job, files: &[Bytes]) -> Vec<FromVod> {
    drive_within(job, files, Limits::default()).await
}

/// What it said last, if that was that it failed.
pub fn failure(said: &[FromVod]) -> Option<&str> {
    match said.last() {
        Some(FromVod::Failed { why, .. }) => Some(why),
        _ => None,
    }
}

/// A reel, looked through.
#[derive(Debug, Default)]
pub struct Seen {
    pub tracks: Option<Tracks>,
    pub video: Vec<Stamp>,
    pub audio: Vec<Stamp>,
}

impl Seen {
    /// Times of pictures, as shown.
    pub fn shown(&self) -> Vec<i64> {
        let mut shown: Vec<i64> = self.video.iter().map(|stamp| stamp.pts).collect();
        shown.sort_unstable();
        shown
    }

    pub fn keys(&self) -> Vec<i64> {
        self.video.iter().filter(|stamp| stamp.key).map(|stamp| stamp.pts).collect()
    }
}

pub async fn probe(files: &[Bytes]) -> Vec<Seen> {
    let said = drive(Job::Probe { reels: reels(files) }, files).await;
    assert_eq!(said.last(), Some(&FromVod::Done), "{said:?}");
    let mut seen: Vec<Seen> = files.iter().map(|_| Seen::default()).collect();
    for message in said {
        match message {
            FromVod::Tracks { reel, tracks } => seen[reel as usize].tracks = Some(tracks),
            FromVod::Stamps { reel, video, audio } => {
                seen[reel as usize].video.extend(video);
                seen[reel as usize].audio.extend(audio);
            }
            FromVod::Done => {}
            other => panic!("{other:?}"),
        }
    }
    seen
}

/// Why a probe failed.
pub async fn refusal(file: Bytes) -> String {
    let files = [file];
    let said = drive(Job::Probe { reels: reels(&files) }, &files).await;
    failure(&said).unwrap_or_else(|| panic!("{said:?}")).to_owned()
}

/// What came out of one rung.
#[derive(Debug, Default, PartialEq)]
pub struct Rung {
    pub config: Option<VideoConfig>,
    pub segments: BTreeMap<u64, Vec<VideoUnit>>,
    pub ended: Vec<u64>,
}

/// What came of an encode job.
#[derive(Debug, Default, PartialEq)]
pub struct Made {
    pub rungs: BTreeMap<usize, Rung>,
    pub packets: Vec<(i64, Bytes)>,
    pub sounds: BTreeMap<u64, Vec<Bytes>>,
}

/// Runs a job that must not fail, and checks that its output keeps the promises of its type.
pub async fn encode(job: EncodeJob, files: &[Bytes]) -> Made {
    let said = drive(Job::Encode(job), files).await;
    assert_eq!(failure(&said), None);
    sort(said)
}

pub fn sort(said: Vec<FromVod>) -> Made {
    let mut made = Made::default();
    for message in said {
        match message {
            FromVod::Config { rung, config } => {
                assert!(made.rungs.entry(rung).or_default().config.replace(config).is_none(), "a second configuration");
            }
            FromVod::Unit { rung, seq, unit } => {
                let rung = made.rungs.entry(rung).or_default();
                assert!(rung.config.is_some(), "a unit before its configuration");
                assert!(rung.ended.iter().all(|&ended| ended < seq), "a unit after its segment's end");
                let units = rung.segments.entry(seq).or_default();
                assert_eq!(unit.idr, units.is_empty(), "an IDR must be the first and the only one");
                units.push(unit);
            }
            FromVod::SegmentEnd { rung, seq } => made.rungs.entry(rung).or_default().ended.push(seq),
            FromVod::Packet { pts, data } => made.packets.push((pts, data)),
            FromVod::Sound { seq, blocks } => drop(made.sounds.insert(seq, blocks)),
            FromVod::Done => {}
            other => panic!("{other:?}"),
        }
    }
    made
}

pub fn rung(width: u32, height: u32, bitrate: u32) -> RungJob {
    RungJob { width, height, bitrate, crf: 22, effort: Effort::Veryfast }
}

/// Cuts pictures shown at these times into segments of so many, numbered from `seq`; the last gets the rest.
pub fn cut(shown: &[i64], pictures: usize, seq: u64) -> Vec<SegmentJob> {
    let distance = shown[1] - shown[0];
    let starts: Vec<i64> = shown.chunks(pictures).map(|chunk| chunk[0]).collect();
    let ends = starts.iter().skip(1).copied().chain([shown[shown.len() - 1] + distance]);
    let segments = starts.iter().zip(ends);
    (seq..).zip(segments).map(|(seq, (&start, end))| SegmentJob { seq, start, end, skip: 0 }).collect()
}

/// A job for these segments, decoding from the last of `keys` before them.
pub fn job(files: &[Bytes], keys: &[i64], segments: &[SegmentJob], rungs: &[RungJob]) -> EncodeJob {
    let seek = *keys.iter().rfind(|&&key| key <= segments[0].start).expect("a key frame before the segment");
    EncodeJob {
        reels: reels(files),
        seek,
        segments: segments.to_vec(),
        rungs: rungs.to_vec(),
        frame_rate: (30, 1),
        segment_ms: 2000,
        sound: SoundJob::None,
    }
}
