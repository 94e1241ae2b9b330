//! A segment that nobody has asked for yet, and many who ask for it at once.

use crate::client::{Got, Viewer};
use crate::origin::{COLD, Origin};
use crate::report::{median, percentile};
use crate::rivals::Rival;
use std::time::{Duration, Instant};

/// How many ask.
const VIEWERS: usize = 200;

/// How long after all are ready they ask.
const SOON: Duration = Duration::from_millis(50);

/// What the viewers of one server saw; medians over the rounds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    /// Requests at the origin.
    pub(crate) requests: f64,
    /// From asking to the body's first byte, ms: half of the viewers, and 99 of 100.
    pub(crate) first_ms: f64,
    pub(crate) first_p99_ms: f64,
    /// To its last byte, ms.
    pub(crate) last_ms: f64,
    /// The server's processor time.
    pub(crate) cpu_s: f64,
}

/// Interleaved rounds, each with a segment of its own for each server.
pub(crate) async fn compare(rivals: &[&Rival], origin: &Origin, rounds: usize) -> Vec<Seen> {
    let mut all = vec![Vec::new(); rivals.len()];
    for number in 0..rounds {
        for (rival, all) in rivals.iter().zip(&mut all) {
            let seen = round(rival, origin, 1000 + number as u64).await;
            eprintln!("cold, round {}, {}: {seen:?}", number + 1, rival.name);
            all.push(seen);
        }
    }
    let of = |seen: &[Seen], part: fn(&Seen) -> f64| median(seen.iter().map(part).collect());
    let medians = all.iter().map(|seen| Seen {
        requests: of(seen, |seen| seen.requests),
        first_ms: of(seen, |seen| seen.first_ms),
        first_p99_ms: of(seen, |seen| seen.first_p99_ms),
        last_ms: of(seen, |seen| seen.last_ms),
        cpu_s: of(seen, |seen| seen.cpu_s),
    });
    medians.collect()
}

async fn round(rival: &Rival, origin: &Origin, msn: u64) -> Seen {
    let path = format!("/hls/{COLD}/source/{msn}.m4s");
    let expected = origin.bytes(&path).expect("a segment");
    let (asked, cpu, begin) = (origin.asked(&path), rival.cpu(), Instant::now() + SOON);
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..VIEWERS {
        // One of them looks at every byte.
        let (path, expected) = (path.clone(), (index == 0).then(|| expected.clone()));
        let (address, from) = (rival.address, u8::try_from(index % 10 + 1).expect("small"));
        tasks.spawn(async move {
            tokio::time::sleep_until(begin.into()).await;
            let mut viewer = Viewer::connect(address, from).await?;
            viewer.get(&path, expected.as_ref()).await
        });
    }
    let (mut first, mut last) = (Vec::new(), Vec::new());
    while let Some(got) = tasks.join_next().await {
        let got: Got = got.expect("no panic").unwrap_or_else(|error| panic!("{}: {path}: {error}", rival.name));
        first.push((got.first - begin).as_secs_f64() * 1e3);
        last.push((got.last - begin).as_secs_f64() * 1e3);
    }
    Seen {
        requests: (origin.asked(&path) - asked) as f64,
        first_p99_ms: percentile(first.clone(), 99),
        first_ms: median(first),
        last_ms: median(last),
        cpu_s: (rival.cpu() - cpu).as_secs_f64(),
    }
}
