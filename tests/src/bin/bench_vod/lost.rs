//! What is lost when a worker is killed: rungs' segments that were encoded, in whole or in part, and must be again.
//!
//! A worker says in its log when a rung's segment is whole; files say which are stored. Each rung of a task's encoder has
//! exactly one segment open, from its first picture to its last, so at a kill there is one in progress on each rung that
//! has not reached its task's end: it is counted in any case, even if it had not begun.

use crate::job;
use crate::media;
use crate::report::{Goal, Table};
use e2e::Server;
use e2e::simulation::Dice;
use e2e::vod::Stores;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const WIDTH: u32 = 640;
const SECONDS: u32 = 180;

const SETS: [&str; 6] = [
    "vod.ladder=[\"source\", \"320w 300k\", \"160w 100k\"]",
    "vod.effort=veryfast",
    "transcoder.rescan_s=1",
    // A killed worker's job waits so long for the next.
    "transcoder.hold_s=2",
    "log.format=json",
    "log.level=info,transcoder=debug",
];

/// A worker is killed when it has stored fewer than so many objects, and at most so long after that: somewhere in a task,
/// whether this machine is fast or slow.
const OBJECTS: usize = 8;
const LIFE: Duration = Duration::from_millis(800);

/// The longest that is waited for a worker's first word.
const PATIENCE: Duration = Duration::from_secs(60);

/// A rung's segment.
type Piece = (u64, u64);

/// Kills a job's workers at random moments.
pub(crate) async fn measure(dir: &Path, kills: usize, table: &mut Table) {
    let source = media::source(dir, WIDTH, SECONDS).await;
    let home = Arc::new(TempDir::new().expect("a temporary folder"));
    let stores = Stores::of(home.clone());
    stores.upload(&source, "lost.mp4", job::MODIFIED_S);
    let mut dice = Dice::new(20);
    // By piece: in how many lives it was made; by kill: made and not stored, most on one rung.
    let mut made: BTreeMap<Piece, u32> = BTreeMap::new();
    let mut unsaved = Vec::new();
    let mut killed = 0;
    while killed < kills {
        let worker = job::worker(&SETS, &home, None).await;
        if !encodes(&worker, &stores).await {
            break;
        }
        let goal = stores.segments() + dice.below(OBJECTS);
        let (began, patience) = (Instant::now(), LIFE.mul_f64(dice.share()));
        while stores.segments() < goal && !finished(&stores) && began.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(patience).await;
        worker.signal("KILL").await;
        let (_, log) = worker.exit_and_log().await;
        killed += 1;
        let pieces = pieces(&log);
        let lost: Vec<Piece> = pieces.iter().filter(|piece| !stored(&stores, **piece)).copied().collect();
        let on = |rung: u64| lost.iter().filter(|piece| piece.1 == rung).count();
        unsaved.push((0..8).map(on).max().unwrap_or(0));
        eprintln!("kill {killed}: {} pieces were made, {} of them not stored", pieces.len(), lost.len());
        pieces.into_iter().for_each(|piece| *made.entry(piece).or_default() += 1);
    }
    // The last one finishes what is left, so that nothing that is made again goes uncounted.
    let last = job::worker(&SETS, &home, None).await;
    let began = Instant::now();
    while !finished(&stores) && began.elapsed() < PATIENCE * 3 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    pieces(&last.log()).into_iter().for_each(|piece| *made.entry(piece).or_default() += 1);
    assert!(finished(&stores), "the job is not finished");
    drop(last);
    if made.is_empty() {
        eprintln!("the workers' logs don't tell what they make: nothing can be said about what is lost");
        return;
    }
    let again = made.values().map(|times| times.saturating_sub(1)).sum::<u32>();
    table.state("kills", "random moments at which a job's worker was killed", killed as f64);
    table.state(
        "made_twice",
        "rungs' segments that were encoded to their end more than once, all kills together",
        f64::from(again),
    );
    let worst = unsaved.iter().max().copied().unwrap_or(0) + 1;
    let words = "segments lost per kill and rung, worst: in progress (always counted as 1), or made and not yet stored";
    table.judge("lost_segments", words, worst as f64, Goal::Most(1.0));
}

/// Waits until the worker encodes; `false` if there is nothing left to.
async fn encodes(worker: &Server, stores: &Stores) -> bool {
    let began = Instant::now();
    while !worker.log().contains("\"message\":\"encoding\"") {
        if finished(stores) {
            return false;
        }
        assert!(began.elapsed() < PATIENCE, "the worker takes no task; its log:\n{}", worker.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    true
}

fn finished(stores: &Stores) -> bool {
    stores.jobs().iter().any(|job| stores.has(job, "finished.json"))
}

/// What a worker says that it has made.
fn pieces(log: &str) -> BTreeSet<Piece> {
    let line = |line: &str| -> Option<Piece> {
        let said: Value = serde_json::from_str(line).ok()?;
        let fields = &said["fields"];
        (fields["message"] == "made").then(|| Some((fields["segment"].as_u64()?, fields["rung"].as_u64()?)))?
    };
    log.lines().filter_map(line).collect()
}

fn stored(stores: &Stores, (segment, rung): Piece) -> bool {
    stores.jobs().iter().any(|job| {
        let plan = stores.document(job, "plan.json").unwrap_or_default();
        let rendition = plan["rungs"].get(usize::try_from(rung).unwrap_or(usize::MAX)).map(|rung| &rung["rendition"]);
        let Some(rendition) = rendition.and_then(Value::as_str) else { return false };
        stores.egress().join("vod").join(job).join(format!("hq/{rendition}/{segment}.m4s")).is_file()
    })
}
