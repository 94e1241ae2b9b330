//! When a message is extended and when it is lost: as a table, and with a queue whose clock is ours.

use super::*;
use crate::queue::{Clock, QueueSettings};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

const VISIBILITY: Duration = Duration::from_secs(60);

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_message_is_extended_after_a_third_and_lost_before_its_end() {
    let t = Instant::now();
    let new = Hold::new(VISIBILITY, t);
    let with = |change: &dyn Fn(&mut Hold)| {
        let mut hold = new;
        change(&mut hold);
        hold
    };
    let extended = with(&|hold| hold.extended(t + seconds(20)));
    let failed = with(&|hold| hold.failed(t + seconds(21)));
    let failed_late = with(&|hold| hold.failed(t + seconds(48)));
    let recovered = with(&|hold| {
        hold.failed(t + seconds(21));
        hold.extended(t + seconds(26));
    });
    let lost = with(&Hold::lost);
    let wait = |n| Beat::Wait(t + seconds(n));
    for (what, hold, at, expected) in [
        ("new", new, 0, wait(20)),
        ("a third", new, 20, Beat::Extend),
        ("held up", new, 49, Beat::Extend),
        ("only the margin left", new, 50, Beat::Lost),
        ("frozen for ten minutes", new, 600, Beat::Lost),
        ("extended", extended, 21, wait(40)),
        ("extended, a third later", extended, 40, Beat::Extend),
        ("extended, the margin", extended, 70, Beat::Lost),
        ("failed", failed, 21, wait(26)),
        ("failed, a pause later", failed, 26, Beat::Extend),
        ("failed, near the end", failed_late, 48, wait(50)),
        ("failed to the end", failed_late, 50, Beat::Lost),
        ("failed and then not", recovered, 30, wait(46)),
        ("told so", lost, 0, Beat::Lost),
    ] {
        assert_eq!(hold.beat(t + seconds(at)), expected, "{what}");
    }
}

#[test]
fn nobody_has_a_message_for_longer_than_twelve_hours() {
    let t = Instant::now();
    let mut hold = Hold::new(VISIBILITY, t);
    let mut now = t;
    loop {
        match hold.beat(now) {
            Beat::Wait(until) => {
                assert!(until > now);
                now = until;
            }
            Beat::Extend => hold.extended(now),
            Beat::Lost => break,
        }
    }
    assert_eq!(now, t + VISIBILITY_MAX - VISIBILITY / MARGIN_ONE_IN);
}

/// A local queue that takes the time from tokio's clock, which the test stops, plus what the test adds.
struct Bench {
    queue: Queue,
    ahead: Arc<AtomicU64>,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ahead = Arc::new(AtomicU64::new(0));
        let (added, begun, t) = (Arc::clone(&ahead), SystemTime::now(), Instant::now());
        let clock = Clock::new(move || begun + t.elapsed() + seconds(added.load(Ordering::SeqCst)));
        let settings = QueueSettings { clock, ..QueueSettings::default() };
        let queue = Queue::open_with("local:", folder.path(), settings).await.unwrap();
        queue.send("job", None).await.unwrap();
        Self { queue, ahead, folder }
    }

    async fn receive(&self) -> Option<Message> {
        self.queue.receive(1, Duration::ZERO, VISIBILITY).await.unwrap().pop()
    }

    async fn hold(&self) -> Heartbeat {
        let message = self.receive().await.unwrap();
        Heartbeat::start(self.queue.clone(), &message, VISIBILITY)
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_with_a_heartbeat_stays_whose_it_is_and_then_is_done() {
    let bench = Bench::new().await;
    let heart = bench.hold().await;
    for _ in 0..50 {
        tokio::time::sleep(seconds(13)).await;
        assert!(bench.receive().await.is_none() && !heart.is_lost());
    }
    heart.done().await.unwrap();
    assert_eq!(bench.queue.depth().await.unwrap(), crate::queue::Depth::default());
}

#[tokio::test(start_paused = true)]
async fn given_back_it_is_somebody_elses_at_once_and_stopped_when_its_time_is_over() {
    let bench = Bench::new().await;
    bench.hold().await.give_back().await.unwrap();
    let heart = bench.hold().await;
    assert!(heart.stop().await);
    assert!(bench.receive().await.is_none());
    tokio::time::sleep(VISIBILITY).await;
    assert_eq!(bench.receive().await.unwrap().receive_count, 3);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_lay_too_long_is_lost_before_its_heart_beats() {
    let bench = Bench::new().await;
    let message = bench.receive().await.unwrap();
    tokio::time::sleep(VISIBILITY - seconds(5)).await;
    let heart = Heartbeat::start(bench.queue.clone(), &message, VISIBILITY);
    heart.lost().await;
    assert_eq!(message.received_at.elapsed(), VISIBILITY - seconds(5));
}

#[tokio::test(start_paused = true)]
async fn dropped_it_ends() {
    let bench = Bench::new().await;
    drop(bench.hold().await);
    tokio::time::sleep(VISIBILITY).await;
    assert_eq!(bench.receive().await.unwrap().receive_count, 2);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_somebody_else_has_is_noticed() {
    let bench = Bench::new().await;
    let heart = bench.hold().await;
    // As if this process alone had stood still.
    bench.ahead.fetch_add(60, Ordering::SeqCst);
    let other = bench.receive().await.unwrap();
    heart.lost().await;
    assert!(heart.is_lost());
    assert!(heart.done().await.unwrap_err().is_lost());
    bench.queue.done(&other.receipt).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_fails_is_asked_again_until_the_time_is_over() {
    let bench = Bench::new().await;
    let (messages, away) = (bench.folder.path().join("queue/messages"), bench.folder.path().join("away"));
    let heart = bench.hold().await;
    std::fs::rename(&messages, &away).unwrap();
    // Three tries have failed by then.
    tokio::time::sleep(seconds(32)).await;
    std::fs::rename(&away, &messages).unwrap();
    tokio::time::sleep(seconds(60)).await;
    assert!(!heart.is_lost() && bench.receive().await.is_none());

    let begun = Instant::now();
    std::fs::rename(&messages, &away).unwrap();
    heart.lost().await;
    assert!(begun.elapsed() <= VISIBILITY);
    assert!(!heart.stop().await);
}
