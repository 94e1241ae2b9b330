//! What goes wrong: with sources, with messages, with workers.

use crate::bench::{Bench, until};
use std::time::{Duration, SystemTime};
use store::{Clock, Queue, QueueSettings};
use transcoder::event;
use transcoder::manage::{self, Progress};

#[tokio::test]
async fn a_broken_file_fails_in_words_after_three_errors_and_the_worker_goes_on() {
    let bench = Bench::new().await;
    let good = bench.mp4(8);
    bench.ingest("uploads/broken.mp4", &[0x47; 100_000]);
    let worker = bench.worker();
    let broken = bench.asset_in("failed").await;
    assert!(broken.starts_with("broken-"), "{broken}");
    let failed = bench.document(&broken, "failed.json").unwrap();
    let why = failed["why"].as_str().unwrap().to_owned();
    assert!(why.len() > 10 && failed["step"] == "plan", "{failed}");
    for number in 1..=3 {
        assert_eq!(bench.document(&broken, &format!("errors/plan/{number}.json")).unwrap()["why"], why.as_str());
    }
    assert_eq!(bench.entry(&broken).unwrap()["reason"], why.as_str());
    bench.upload(&good, "good.mp4");
    bench.asset_in("ready").await;
    until("an empty queue", || async { bench.places.queue.depth().await.unwrap() == store::Depth::default() }).await;
    worker.leave().await;
    let overview = manage::overview(&bench.places).await.unwrap();
    let shown: Vec<_> = overview.jobs.iter().map(|job| (job.progress, job.errors, job.reason.clone())).collect();
    assert_eq!(shown, [(Progress::Failed, 3, Some(why)), (Progress::Finished, 0, None)]);
    // And again.
    assert_eq!(manage::retry(&bench.places, &broken).await.unwrap(), 1);
    assert_eq!((bench.document(&broken, "failed.json"), bench.document(&broken, "errors/plan/1.json")), (None, None));
    assert_eq!(bench.places.queue.depth().await.unwrap().visible, 1);
    let words = manage::retry(&bench.places, "nothing").await.unwrap_err().to_string();
    assert!(words.contains("vod list"), "{words}");
}

#[tokio::test]
async fn an_encoder_that_somebody_killed_is_no_error_of_the_source() {
    let bench = Bench::new().await;
    let file = bench.mp4(8);
    bench.upload(&file, "film.mp4");
    let (dir, child) = (bench.dir.path().display(), crate::bench::child());
    let script = format!(
        "#!/bin/sh\nif /bin/mkdir {dir}/killed 2>/dev/null; then kill -9 $$; fi\nexec {} \"$@\"\n",
        child.display()
    );
    let path = bench.dir.path().join("victim");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let worker = bench.worker_with(path, 120);
    bench.asset_in("ready").await;
    worker.leave().await;
    assert!(bench.dir.path().join("killed").exists());
    let overview = manage::overview(&bench.places).await.unwrap();
    assert_eq!(overview.jobs.iter().map(|job| job.errors).sum::<u32>(), 0);
}

#[tokio::test]
async fn a_source_that_is_replaced_in_mid_job_fails_it_and_becomes_another_job() {
    let bench = Bench::new().await;
    let (first, second) = (bench.mp4(8), bench.mp4(9));
    bench.upload(&first, "film.mp4");
    let worker = bench.worker_with(bench.gated_child(), 120);
    bench.child_waits().await;
    bench.upload(&second, "film.mp4");
    bench.open_gate();
    let failed = bench.asset_in("failed").await;
    let why = bench.document(&failed, "failed.json").unwrap()["why"].to_string();
    assert!(why.contains("was replaced"), "{why}");
    let ready = bench.asset_in("ready").await;
    assert_eq!(bench.entry(&ready).unwrap()["duration_s"], 9.0);
    worker.leave().await;
}

#[tokio::test]
async fn a_worker_whose_message_was_taken_over_publishes_nothing_more() {
    let bench = Bench::new().await;
    let file = bench.mp4(8);
    bench.upload(&file, "film.mp4");
    let worker = bench.worker_with(bench.gated_child(), 3);
    bench.child_waits().await;
    // A thief, whose clock is an hour ahead.
    let clock = Clock::new(|| SystemTime::now() + Duration::from_secs(3600));
    let settings = QueueSettings { clock, ..QueueSettings::default() };
    let thief = Queue::open_with("local:", &bench.config.data_dir, settings).await.unwrap();
    let stolen = thief.receive(1, Duration::from_secs(20), Duration::from_secs(3600)).await.unwrap();
    assert_eq!(stolen.len(), 1);
    until("the worker to notice", || async { worker.stat()["doing"].is_null() }).await;
    bench.open_gate();
    let job = &bench.jobs()[0];
    assert!(bench.files(job).keys().all(|name| !name.ends_with(".m4s")), "something was published");
    // Given back, it is worked off.
    thief.give_back(&stolen[0].receipt).await.unwrap();
    bench.asset_in("ready").await;
    worker.leave().await;
}

#[tokio::test]
async fn a_message_that_nobody_understands_ends_among_the_dead_and_others_are_worked_off() {
    let settings = QueueSettings { max_receives: 2, ..QueueSettings::default() };
    let bench = Bench::with(settings).await;
    let queue = &bench.places.queue;
    queue.send("no JSON at all", None).await.unwrap();
    queue.send(&event::source("uploads/not-there.mp4"), None).await.unwrap();
    let worker = bench.worker_with(crate::bench::child(), 2);
    until("a dead letter", || async { !queue.dead_letters().await.unwrap().is_empty() }).await;
    until("an empty queue", || async { queue.depth().await.unwrap() == store::Depth::default() }).await;
    worker.leave().await;
    let overview = manage::overview(&bench.places).await.unwrap();
    let dead: Vec<String> = overview.dead.unwrap().into_iter().map(|dead| dead.body).collect();
    assert_eq!((dead, overview.jobs.len()), (vec!["no JSON at all".to_owned()], 0));
    assert_eq!(manage::redrive(&bench.places).await.unwrap(), 1);
    assert_eq!(queue.depth().await.unwrap().visible, 1);
}

#[tokio::test]
async fn a_worker_that_is_told_to_leave_gives_its_message_back_at_once() {
    let bench = Bench::new().await;
    let file = bench.mp4(8);
    bench.upload(&file, "film.mp4");
    let worker = bench.worker_with(bench.gated_child(), 3600);
    bench.child_waits().await;
    // Nothing is known of how long a segment takes: it is not waited for, and neither is the hour.
    worker.leave().await;
    assert_eq!(bench.places.queue.depth().await.unwrap().visible, 1);
    bench.open_gate();
    let worker = bench.worker();
    bench.asset_in("ready").await;
    worker.leave().await;
}

#[tokio::test]
async fn a_worker_that_is_told_to_leave_in_mid_task_stops_at_a_segments_end_and_another_makes_the_rest() {
    let bench = Bench::new().await;
    let file = bench.mp4(60);
    bench.upload(&file, "film.mp4");
    let worker = bench.worker();
    let segments = |stat: &serde_json::Value| stat["segments"].as_u64().unwrap();
    until("a segment", || async { segments(&worker.stat()) > 0 }).await;
    let stat = worker.watch();
    worker.leave().await;
    let made = segments(&stat());
    assert_eq!(bench.places.queue.depth().await.unwrap().in_flight, 0);
    let other = bench.worker();
    let job = bench.asset_in("ready").await;
    let all = bench.files(&job).keys().filter(|name| name.starts_with("hq/320w/") && name.ends_with(".m4s")).count();
    // Nothing was made twice; of two rungs one may have been there already.
    assert_eq!(segments(&other.stat()) + made, all as u64);
    other.leave().await;
}
