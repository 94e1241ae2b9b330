//! Viewers who wait for a part that does not exist yet: what each costs in memory, and how soon all of them know.

use crate::client::Viewer;
use crate::origin::{Origin, TOLD};
use crate::report::{median, percentile};
use crate::rivals::Rival;
use crate::usage;
use std::time::{Duration, Instant};

/// How many wait.
pub(crate) const VIEWERS: usize = 10_000;

/// How many connect at a time.
const AT_ONCE: usize = 100;

/// How long memory is given to settle.
const SETTLE: Duration = Duration::from_secs(2);

/// What was seen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// Of an idle connection that has had an answer, in bytes.
    pub(crate) idle_bytes: f64,
    /// How much more it is when its viewer waits, in bytes.
    pub(crate) parked_bytes: f64,
    /// From the part's publication at the origin to the answer's last byte: half, and 99 of 100.
    pub(crate) median_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Parks them once for the memory, and then again for the time.
pub(crate) async fn look(rival: &Rival, origin: &Origin, rounds: usize) -> Seen {
    let playlist = format!("/hls/{TOLD}/source/index.m3u8");
    origin.publish();
    let mut one = Viewer::connect(rival.address, 1).await.expect("a connection");
    one.get(&playlist, None).await.expect("a playlist");
    let empty = usage::memory(rival.pid());
    let mut viewers = connect(rival, origin, &playlist).await;
    // Once more all at once, so that what a busy moment takes has been taken.
    viewers = everybody(viewers, playlist.clone()).await.0;
    tokio::time::sleep(SETTLE).await;
    let idle = usage::memory(rival.pid());

    let mut seen = Seen { idle_bytes: per_viewer(empty, idle), parked_bytes: 0.0, median_ms: 0.0, p99_ms: 0.0 };
    let (mut medians, mut worst) = (Vec::new(), Vec::new());
    for number in 0..rounds {
        let (msn, part) = origin.publish();
        // The edge has to know how far the stream is before it can be asked for what comes next.
        one.get(&playlist, None).await.expect("a playlist");
        let next = format!("{playlist}?_HLS_msn={msn}&_HLS_part={part}");
        one.get(&format!("{playlist}?_HLS_msn={}&_HLS_part={}", before(msn, part).0, before(msn, part).1), None)
            .await
            .expect("a playlist");
        let waiting = tokio::spawn(everybody(viewers, next));
        tokio::time::sleep(SETTLE).await;
        if number == 0 {
            seen.parked_bytes = per_viewer(idle, usage::memory(rival.pid()));
        }
        let published = Instant::now();
        origin.publish();
        let (back, times) = waiting.await.expect("no panic");
        viewers = back;
        let ms: Vec<f64> =
            times.into_iter().map(|at| at.saturating_duration_since(published).as_secs_f64() * 1e3).collect();
        assert!(ms.iter().all(|ms| *ms > 0.0), "somebody was answered before there was anything to say");
        worst.push(percentile(ms.clone(), 99));
        medians.push(median(ms));
    }
    (seen.median_ms, seen.p99_ms) = (median(medians), median(worst));
    eprintln!("parked: {seen:?}");
    seen
}

fn before(msn: u64, part: u64) -> (u64, u64) {
    if part > 0 { (msn, part - 1) } else { (msn - 1, 3) }
}

fn per_viewer(before: u64, after: u64) -> f64 {
    (after as f64 - before as f64) / VIEWERS as f64
}

/// Opens all connections; each has one answer. The stream goes on meanwhile.
async fn connect(rival: &Rival, origin: &Origin, playlist: &str) -> Vec<Viewer> {
    let mut viewers = Vec::with_capacity(VIEWERS);
    while viewers.len() < VIEWERS {
        let mut tasks = tokio::task::JoinSet::new();
        for index in 0..AT_ONCE {
            let (address, playlist) = (rival.address, playlist.to_owned());
            let from = u8::try_from(index % 10 + 1).expect("small");
            tasks.spawn(async move {
                let mut viewer = Viewer::connect(address, from).await?;
                viewer.get(&playlist, None).await?;
                std::io::Result::Ok(viewer)
            });
        }
        while let Some(viewer) = tasks.join_next().await {
            viewers.push(viewer.expect("no panic").expect("a connection"));
        }
        if viewers.len() % 1000 == 0 {
            origin.publish();
        }
    }
    viewers
}

/// All ask at once; gives when each had its answer.
async fn everybody(viewers: Vec<Viewer>, path: String) -> (Vec<Viewer>, Vec<Instant>) {
    let mut tasks = tokio::task::JoinSet::new();
    for mut viewer in viewers {
        let path = path.clone();
        tasks.spawn(async move {
            let got = viewer.get(&path, None).await.expect("a playlist");
            (viewer, got.last)
        });
    }
    tasks.join_all().await.into_iter().unzip()
}
