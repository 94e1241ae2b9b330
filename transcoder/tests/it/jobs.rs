//! What becomes of sources, and that it is the same whatever happens meanwhile.

use crate::bench::{Bench, Files, ffmpeg, listed, pictures};
use serde_json::json;
use service::config::Sources;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use transcoder::event;
use transcoder::manage::{self, Progress};
use transcoder::plan::{Plan, TaskPlan};

/// Checks that all that an asset's playlists list is there.
#[track_caller]
fn check_whole(files: &Files) {
    let renditions = listed(files, "index.m3u8");
    assert!(renditions.len() >= 4, "{renditions:?}");
    for playlist in renditions {
        let media = listed(files, &playlist);
        assert!(!media.is_empty(), "{playlist}");
        for file in media {
            assert!(files.contains_key(&file), "{playlist} lists {file}, which is missing");
        }
    }
}

#[track_caller]
fn check_same(made: &Files, expected: &Files) {
    assert_eq!(made.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    let differing = |(name, content): &(&String, &Vec<u8>)| made[*name] != **content;
    let names: Vec<&String> = expected.iter().filter(differing).map(|(name, _)| name).collect();
    assert!(names.is_empty(), "{names:?} differ");
}

/// Runs one undisturbed worker on an upload until its asset is ready.
async fn undisturbed(bench: &Bench, file: &Path, name: &str) -> (String, Files) {
    bench.upload(file, name);
    let worker = bench.worker();
    let job = bench.asset_in("ready").await;
    worker.leave().await;
    let files = bench.files(&job);
    (job, files)
}

#[tokio::test]
async fn an_upload_becomes_an_asset_that_is_never_seen_before_it_is_whole() {
    let bench = Arc::new(Bench::new().await);
    let file = bench.mp4(40);
    bench.upload(&file, "my film é+1.MP4");
    // A viewer who looks all the time.
    let (stop, looks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let viewer = std::thread::spawn({
        let (bench, stop, looks) = (bench.clone(), stop.clone(), looks.clone());
        move || {
            while !stop.load(Ordering::Relaxed) {
                for job in bench.jobs() {
                    if bench.asset_dir(&job).join("index.m3u8").exists() {
                        check_whole(&bench.files(&job));
                        looks.fetch_add(1, Ordering::Relaxed);
                    }
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    });
    let worker = bench.worker();
    let job = bench.asset_in("ready").await;
    // The viewer has seen it, too.
    while looks.load(Ordering::Relaxed) == 0 && !viewer.is_finished() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.store(true, Ordering::Relaxed);
    viewer.join().unwrap();
    assert!(job.starts_with("my-film-1-"), "{job}");
    let entry = bench.entry(&job).unwrap();
    assert_eq!((&entry["duration_s"], &entry["name"]), (&json!(40.0), &json!("my-film-1")));
    assert_eq!(entry["thumbnails"], json!(format!("/vod/{job}/hq/thumbs.vtt")));
    let files = bench.files(&job);
    check_whole(&files);
    assert!(files["hq/thumbs/0.jpg"].starts_with(&[0xff, 0xd8]), "no JPEG");
    for rendition in ["320w", "160w"] {
        assert_eq!(pictures(&bench.asset_dir(&job).join(format!("hq/{rendition}/index.m3u8"))), 400, "{rendition}");
    }
    let overview = manage::overview(&bench.places).await.unwrap();
    assert_eq!(overview.jobs.len(), 1);
    assert_eq!((overview.jobs[0].progress, overview.jobs[0].errors), (Progress::Finished, 0));
    assert_eq!(worker.stat()["jobs_finished_here"], 1);
    worker.leave().await;
}

#[tokio::test]
async fn a_recording_of_two_runs_becomes_an_asset_in_place_of_its_instant_one() {
    let bench = Bench::new().await;
    let (asset, folder) = ("foo-20261120T172500Z", "rec/foo/20261120T172500Z-1");
    let flv = |n: u32, seconds: u32, offset: &str| {
        let path = bench.dir.path().join(format!("{n}.flv"));
        // Without B-frames, or the first file's times are shifted to begin at 0.
        let times = ["-bf", "0", "-output_ts_offset", offset];
        ffmpeg(seconds, &[&times[..], &["-f", "flv", path.to_str().unwrap()]].concat());
        let content = fs::read(path).unwrap();
        let key = format!("{folder}/{n}.flv");
        bench.ingest(&key, &content);
        json!({ "key": key, "bytes": content.len() })
    };
    // The encoder was away for a minute between the second and the third.
    let parts = [flv(0, 6, "0"), flv(1, 6, "6"), flv(2, 8, "72")];
    let instant = json!({"id": asset, "name": "foo", "url": format!("/vod/{asset}/index.m3u8"),
        "start": "2026-11-20T17:25:00.000Z", "duration_s": 20.0, "state": "instant"});
    let egress = &bench.places.egress;
    egress.put(&format!("assets/{asset}.json"), instant.to_string().into(), "application/json").await.unwrap();
    egress.put(&format!("vod/{asset}/index.m3u8"), "#EXTM3U\n".into(), "text/plain").await.unwrap();
    let ended = json!({"name": "foo", "session": "20261120T172500Z-1", "asset": asset,
        "start": "2026-11-20T17:25:00.000Z", "end": "2026-11-20T17:27:00.000Z", "reason": "ended", "parts": parts,
        "renditions": [], "recording": null, "projection": "equirect", "stereo": "tb"});
    bench.ingest(&format!("{folder}/ended.json"), ended.to_string().as_bytes());
    let worker = bench.worker();
    assert_eq!(bench.asset_in("ready").await, asset);
    worker.leave().await;
    let files = bench.files(asset);
    check_whole(&files);
    let playlist = String::from_utf8(files["hq/320w/index.m3u8"].clone()).unwrap();
    assert_eq!(playlist.matches("#EXT-X-DISCONTINUITY\n").count(), 1, "{playlist}");
    assert_eq!(pictures(&bench.asset_dir(asset).join("hq/320w/index.m3u8")), 200);
    assert_eq!(bench.entry(asset).unwrap()["start"], "2026-11-20T17:25:00.000Z");
    let plan: Plan = serde_json::from_value(bench.document(asset, "plan.json").unwrap()).unwrap();
    assert_eq!((plan.runs.len(), plan.source.reels.len()), (2, 3));
    assert_eq!(plan.layout.stereo, media::projection::Stereo::Tb);
}

#[tokio::test]
async fn where_only_uploads_are_sources_recordings_stay_as_they_are() {
    let mut bench = Bench::new().await;
    bench.config.vod.sources = Sources::Uploads;
    let ended = "rec/foo/20261120T172500Z-1/ended.json";
    bench.ingest(ended, b"{}");
    bench.places.queue.send(&event::source(ended), None).await.unwrap();
    bench.upload(&bench.mp4(2), "film.mp4");
    let worker = bench.worker();
    let job = bench.asset_in("ready").await;
    crate::bench::until("an empty queue", || async {
        let depth = bench.places.queue.depth().await.unwrap();
        (depth.visible, depth.in_flight) == (0, 0)
    })
    .await;
    worker.leave().await;
    assert_eq!(bench.jobs(), [job]);
}

#[tokio::test]
async fn two_workers_and_every_message_thrice_make_the_same_bytes_as_one() {
    let (alone, crowded) = (Bench::new().await, Bench::new().await);
    let file = alone.mp4(62);
    let (job, expected) = undisturbed(&alone, &file, "film.mp4").await;
    crowded.upload(&file, "film.mp4");
    let send = async |body: String| {
        for _ in 0..3 {
            crowded.places.queue.send(&body, None).await.unwrap();
        }
    };
    send(event::source("uploads/film.mp4")).await;
    let workers = [crowded.worker(), crowded.worker()];
    let other = until_planned(&crowded).await;
    for task in 0..3 {
        send(event::task(&other, task)).await;
    }
    crowded.asset_in("ready").await;
    for worker in workers {
        worker.leave().await;
    }
    assert_eq!(crowded.jobs(), [other.as_str()]);
    check_same(&crowded.files(&other), &expected);
    assert_eq!(job.split('-').next(), other.split('-').next());
}

async fn until_planned(bench: &Bench) -> String {
    let planned = || bench.jobs().into_iter().find(|job| bench.document(job, "plan.json").is_some());
    crate::bench::until("a plan", || async { planned().is_some() }).await;
    planned().unwrap()
}

#[tokio::test]
async fn a_job_that_is_taken_up_makes_what_is_missing_and_nothing_else() {
    let bench = Bench::new().await;
    let file = bench.mp4(40);
    let (job, expected) = undisturbed(&bench, &file, "film.mp4").await;
    // As a worker leaves it that died: of the first task some segments are there, of one a rung, of one the sound.
    let dir = bench.asset_dir(&job);
    for gone in ["index.m3u8", "hq/320w/2.m4s", "hq/320w/3.m4s", "hq/160w/3.m4s", "hq/audio/3.m4s", "hq/audio/4.m4s"] {
        fs::remove_file(dir.join(gone)).unwrap();
    }
    for gone in ["done/00000.json", "finished.json"] {
        bench.remove_document(&job, gone);
    }
    let kept = |name: &str| fs::metadata(dir.join(name)).unwrap().modified().unwrap();
    let before: Vec<_> = bench.files(&job).keys().map(|name| (name.clone(), kept(name))).collect();
    let worker = bench.worker();
    crate::bench::until("the asset", || async { bench.document(&job, "finished.json").is_some() }).await;
    // Segments 2 and 3 have pictures that were made, 4 only sound.
    assert_eq!((&worker.stat()["segments"], &worker.stat()["tasks"]), (&json!(2), &json!(1)));
    worker.leave().await;
    check_same(&bench.files(&job), &expected);
    for (name, modified) in before {
        assert_eq!(kept(&name), modified, "{name} was written again");
    }
}

#[tokio::test]
async fn tasks_that_share_a_segments_rungs_make_the_same_bytes_as_one_that_has_them_all() {
    let bench = Bench::new().await;
    let file = bench.mp4(20);
    let (job, expected) = undisturbed(&bench, &file, "film.mp4").await;
    let mut plan: Plan = serde_json::from_value(bench.document(&job, "plan.json").unwrap()).unwrap();
    let all = plan.all_rungs();
    let single = |first, rungs| TaskPlan { first, after: first + 1, rungs };
    plan.tasks = (0..4).flat_map(|n| [single(n, 1), single(n, all & !1)]).collect();
    assert_eq!(plan.check(), Ok(()));
    // The same job before anything of it was made, as if it had been planned so.
    fs::remove_dir_all(bench.asset_dir(&job)).unwrap();
    for gone in ["done/00000.json", "finished.json"] {
        bench.remove_document(&job, gone);
    }
    bench.ingest(&format!("jobs/{job}/plan.json"), plan.to_json().as_bytes());
    let workers = [bench.worker(), bench.worker()];
    crate::bench::until("the asset", || async { bench.document(&job, "finished.json").is_some() }).await;
    for worker in workers {
        worker.leave().await;
    }
    assert!(bench.document(&job, "done/00007.json").is_some());
    check_same(&bench.files(&job), &expected);
}
