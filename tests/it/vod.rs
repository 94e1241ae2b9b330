//! From uploads and recordings to the better ladder, whatever happens to the workers.

mod aws;

use e2e::metadata::{Metadata, time_in};
use e2e::vod::{Files, Stores, assert_same, decoded};
use e2e::{Ffmpeg, JOB_DEADLINE, Server, Source, make_media, wait_for, wait_within};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinSet;

/// Small pictures and little effort, looked for all the time.
const SETS: [&str; 4] = [
    "vod.ladder=[\"source\", \"320w 300k\", \"160w 100k\"]",
    "vod.effort=veryfast",
    "transcoder.rescan_s=1",
    // As short as a busy machine can keep: this is how long a killed worker's job waits for the next.
    "transcoder.hold_s=3",
];

/// When uploads say that they were changed: UTC s.
const MODIFIED_S: u64 = 1_790_000_000;

/// Kills for each kind of queue.
const KILLS: usize = 50;

/// Jobs that are killed side by side: most of the time they wait for messages to come back.
const JOBS: usize = 5;

fn source(seconds: u32) -> Source {
    Source { size: "640x320", seconds, keyint: 45, ..Source::default() }
}

fn fresh() -> Arc<TempDir> {
    Arc::new(TempDir::new().expect("a temporary folder"))
}

/// The same numbers for the same seed (Marsaglia's xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// What a job makes when nothing happens to its worker.
async fn undisturbed(media: &Path) -> Files {
    let dir = fresh();
    let stores = Stores::of(dir.clone());
    stores.upload(media, "reference.mp4", MODIFIED_S);
    let mut worker = Server::start("transcoder", &SETS, dir).await;
    let jobs = stores.finished(1).await;
    worker.assert_well();
    stores.asset(&jobs[0])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_dropped_becomes_an_asset() {
    let dir = fresh();
    let media = dir.path().join("source.mkv");
    make_media(&source(14), &media).await;
    let stores = Stores::of(dir.clone());
    let mut server = Server::start("all", &SETS, dir).await;
    let name = "My Show é+1/Final cut.MKV";
    stores.upload(&media, name, MODIFIED_S);
    let viewer = server.viewer();
    let asset = wait_within(JOB_DEADLINE, "the asset to be ready", || async {
        let streams = viewer.json("/api/streams").await;
        let assets = streams["assets"].as_array().cloned().unwrap_or_default();
        assets.into_iter().find(|asset| asset["state"] == "ready")
    })
    .await;
    assert_eq!(asset["duration_s"], 14.0, "{asset}");
    let url = asset["url"].as_str().expect("an address");
    let (pictures, blocks) = decoded(&server, url).await;
    assert_eq!(pictures, 14 * 30);
    assert!(blocks.abs_diff(14 * 48_000 / 1024) <= 2, "{blocks} blocks of sound");
    let lint = e2e::run(&["lint", &viewer.url(url)]).await;
    assert!(lint.status.success(), "{}", String::from_utf8_lossy(&lint.stdout));
    let thumbnails = asset["thumbnails"].as_str().expect("thumbnails");
    let cues = viewer.get(thumbnails).await.text();
    assert!(cues.starts_with("WEBVTT") && cues.matches("#xywh=").count() == 3, "{cues}");
    server.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_gets_its_better_ladder_when_the_stream_has_ended() {
    let mut server = Server::all(&SETS).await;
    let viewer = server.viewer();
    let encoder = Ffmpeg::publish(&source(60), &server.rtmp("foo"));
    viewer.wait_segments("foo", "source", 4).await;
    encoder.stop().await;
    let ended = server.admin().request(http::Method::POST, "/control/streams/foo/end", &[]).await.expect("an answer");
    assert!(ended.status.is_success(), "{}", ended.text());
    let mut states = Vec::new();
    let asset = wait_within(JOB_DEADLINE, "the asset to be ready", || async {
        let streams = viewer.json("/api/streams").await;
        streams["assets"].as_array()?.first().cloned()
    })
    .await;
    states.push(asset["state"].clone());
    let url = asset["url"].as_str().expect("an address");
    let instant = decoded(&server, url).await;
    let ready = wait_within(JOB_DEADLINE, "the better ladder", || async {
        let streams = viewer.json("/api/streams").await;
        streams["assets"].as_array()?.iter().find(|asset| asset["state"] == "ready").cloned()
    })
    .await;
    assert_eq!((&ready["id"], &ready["url"]), (&asset["id"], &asset["url"]));
    let text = wait_for("the playlist of the better ladder", || async {
        let text = viewer.get(url).await.text();
        text.contains("hq/").then_some(text)
    })
    .await;
    assert!(text.contains("hq/640w/index.m3u8"), "{text}");
    let better = decoded(&server, url).await;
    // What came in before the first segment could be published is in the master, too.
    assert!(better.0 >= instant.0, "{better:?}, instantly {instant:?}");
    server.assert_well();
}

/// What can be seen of a job while its worker is killed again and again.
trait Scene {
    /// Segments of all rungs and of sound that are there.
    async fn segments(&self) -> usize;
    /// Whether the job is finished.
    async fn is_finished(&self) -> bool;
    /// Another worker.
    async fn worker(&self) -> Server;
}

/// Kills a job's worker at moments of the dice's choice, until the job is finished or the worker was killed often enough.
/// Gives the kills.
async fn harass(scene: &impl Scene, seed: u64) -> usize {
    let mut dice = Dice(seed);
    for kills in 0..KILLS / JOBS {
        let worker = scene.worker().await;
        let before = scene.segments().await;
        // Somewhere in a task: when some segments more are there, and a moment later.
        let (more, moment) = (dice.roll(4) as usize, Duration::from_millis(dice.roll(400)));
        let goes_on = wait_within(JOB_DEADLINE, "the job to go on", || async {
            (scene.segments().await >= before + more || scene.is_finished().await).then_some(())
        });
        if tokio::time::timeout(JOB_DEADLINE * 9 / 10, goes_on).await.is_err() {
            panic!("the job does not go on after {kills} kills:\n{}", worker.log());
        }
        if scene.is_finished().await {
            return kills;
        }
        tokio::time::sleep(moment).await;
        worker.crash().await;
    }
    KILLS / JOBS
}

/// Both stores and the queue on disk.
struct Folders {
    stores: Stores,
    dir: Arc<TempDir>,
}

impl Scene for Folders {
    async fn segments(&self) -> usize {
        self.stores.segments()
    }

    async fn is_finished(&self) -> bool {
        self.stores.jobs().iter().any(|job| self.stores.has(job, "finished.json"))
    }

    async fn worker(&self) -> Server {
        Server::start("transcoder", &SETS, self.dir.clone()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_at_fifty_moments_makes_the_same_bytes() {
    let own = TempDir::new().expect("a temporary folder");
    let media = own.path().join("source.mp4");
    make_media(&source(90), &media).await;
    let reference = Arc::new(undisturbed(&media).await);
    let mut jobs = JoinSet::new();
    for seed in 1..=JOBS as u64 {
        let (media, reference) = (media.clone(), reference.clone());
        jobs.spawn(async move {
            let dir = fresh();
            let scene = Folders { stores: Stores::of(dir.clone()), dir };
            scene.stores.upload(&media, "reference.mp4", MODIFIED_S);
            let kills = harass(&scene, seed * 0x9E37_79B9).await;
            let mut last = scene.worker().await;
            let names = scene.stores.finished(1).await;
            assert_same(&reference, &scene.stores.asset(&names[0]));
            assert_eq!(names.len(), 1, "one job: {names:?}");
            last.assert_well();
            kills
        });
    }
    let kills: usize = jobs.join_all().await.into_iter().sum();
    println!("{kills} kills");
    assert!(kills >= KILLS * 4 / 5, "only {kills} kills came before the jobs were finished");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_machine_is_taken_away_gives_its_job_back_at_once() {
    let dir = fresh();
    let media = dir.path().join("source.mp4");
    make_media(&source(48), &media).await;
    let stores = Stores::of(dir.clone());
    let metadata = Metadata::start().await;
    stores.upload(&media, "long.mp4", MODIFIED_S);
    let place = format!("machine.metadata={}", metadata.url());
    // Nothing comes back by itself within this test.
    let sets = [&SETS[..3], &["transcoder.hold_s=3600", "vod.effort=slow", &place]].concat();
    let worker = Server::start("transcoder", &sets, dir.clone()).await;
    wait_within(JOB_DEADLINE, "the job to begin", || async { (stores.segments() > 0).then_some(()) }).await;
    metadata.interrupt(&time_in(Duration::from_secs(120)));
    assert_eq!(worker.exit().await, Some(0));
    let mut next = Server::start("transcoder", &SETS, dir).await;
    let jobs = stores.finished(1).await;
    assert_eq!(jobs.len(), 1);
    next.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_fails_in_words_and_the_next_one_is_made() {
    let dir = fresh();
    let media = dir.path().join("source.mp4");
    make_media(&source(8), &media).await;
    let broken = dir.path().join("broken.mp4");
    let whole = std::fs::read(&media).expect("a file");
    std::fs::write(&broken, &whole[..whole.len() / 3]).expect("a file");
    let stores = Stores::of(dir.clone());
    stores.upload(&broken, "broken.mp4", MODIFIED_S);
    stores.upload(&media, "whole.mp4", MODIFIED_S);
    let mut worker = Server::start("transcoder", &SETS, dir.clone()).await;
    let finished = stores.finished(1).await;
    assert!(finished[0].starts_with("whole-"), "{finished:?}");
    let failed = wait_for("the broken one to be given up", || async {
        stores.jobs().iter().find_map(|job| stores.document(job, "failed.json"))
    })
    .await;
    assert!(failed["why"].as_str().is_some_and(|why| !why.is_empty()), "{failed}");
    worker.assert_well();
    let data = format!("data_dir=\"{}\"", dir.path().join("data").display());
    let listed = e2e::run(&["vod", "list", "--set", &data]).await;
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    // What needs somebody's hand is told to scripts, too.
    assert_eq!(listed.status.code(), Some(1), "{text}");
    assert!(text.contains("failed") && text.contains("finished"), "{text}");
}
