//! Cached objects at a steady pace: the same requests at the same times to each server, and what each spent on them.

use crate::client::Viewer;
use crate::origin::Origin;
use crate::report::median;
use crate::rivals::Rival;
use crate::secure::Secure;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Answers that came later than this after they were due say that a server was near its limit.
const LATE: Duration = Duration::from_millis(250);

/// What is asked for, and how fast.
#[derive(Clone)]
pub(crate) struct Load {
    /// Paths, asked for in turn.
    pub(crate) paths: Vec<String>,
    /// Requests a second, whatever becomes of them.
    pub(crate) rate: u32,
    /// How long a round is.
    pub(crate) seconds: u32,
    /// Over how many connections.
    pub(crate) connections: usize,
    /// Over TLS, if given.
    pub(crate) secure: Option<Arc<Secure>>,
}

/// What one round cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    /// The server's processor time.
    pub(crate) cpu_s: f64,
    pub(crate) requests: u64,
    pub(crate) bytes: u64,
    /// Of them, late ones.
    pub(crate) late: u64,
    /// From when a request was due to its last byte.
    pub(crate) p99: Duration,
}

impl Round {
    /// Seconds per 100,000 requests.
    pub(crate) fn per_requests(self) -> f64 {
        self.cpu_s * 100_000.0 / self.requests as f64
    }

    /// Seconds per GB.
    pub(crate) fn per_gigabyte(self) -> f64 {
        self.cpu_s * 1e9 / self.bytes as f64
    }
}

/// Interleaved rounds: A, B, C, A, B, C, and so on. Gives each server's median of `cost`.
pub(crate) async fn compare(
    what: &str,
    rivals: &[&Rival],
    origin: &Origin,
    load: &Load,
    rounds: usize,
    cost: fn(Round) -> f64,
) -> Vec<f64> {
    let mut costs = vec![Vec::new(); rivals.len()];
    for number in 1..=rounds {
        for (rival, costs) in rivals.iter().zip(&mut costs) {
            let round = round(rival, origin, load).await;
            costs.push(cost(round));
            eprintln!(
                "{what}, round {number}, {}: {:.4} ({:.3} s of CPU for {} requests and {:.2} GB; p99 {:.1} ms, {} late)",
                rival.name,
                cost(round),
                round.cpu_s,
                round.requests,
                round.bytes as f64 / 1e9,
                round.p99.as_secs_f64() * 1e3,
                round.late
            );
        }
    }
    costs.into_iter().map(median).collect()
}

/// One round: everything is in the cache and looked at before the clock starts.
async fn round(rival: &Rival, origin: &Origin, load: &Load) -> Round {
    let mut viewers = Vec::new();
    for index in 0..load.connections {
        let from = u8::try_from(index % 10 + 1).expect("small");
        let viewer = match (&load.secure, rival.tls) {
            (Some(secure), Some(address)) => Viewer::connect_securely(address, from, secure).await,
            (Some(_), None) => panic!("{} speaks no TLS", rival.name),
            (None, _) => Viewer::connect(rival.address, from).await,
        };
        viewers.push(viewer.unwrap_or_else(|error| panic!("{}: {error}", rival.name)));
    }
    // Twice: the first answer may have come through, the second is the cache's.
    for path in load.paths.iter().chain(&load.paths) {
        let expected: Option<Bytes> = if rival.name.starts_with("bare") { None } else { origin.bytes(path) };
        let got = viewers[0].get(path, expected.as_ref()).await;
        got.unwrap_or_else(|error| panic!("{}: {path}: {error}", rival.name));
    }
    for viewer in &mut viewers {
        viewer.get(&load.paths[0], None).await.unwrap_or_else(|error| panic!("{}: {error}", rival.name));
    }
    tokio::time::sleep(Duration::from_millis(50)).await;

    let before = rival.cpu();
    let begin = Instant::now() + Duration::from_millis(5);
    let load = Arc::new(load.clone());
    let mut tasks = tokio::task::JoinSet::new();
    for (index, viewer) in viewers.into_iter().enumerate() {
        tasks.spawn(view(viewer, index, Arc::clone(&load), begin));
    }
    let (mut times, mut bytes) = (Vec::new(), 0);
    while let Some(seen) = tasks.join_next().await {
        let (seen, sum) = seen.expect("no panic").unwrap_or_else(|error| panic!("{}: {error}", rival.name));
        times.extend(seen);
        bytes += sum;
    }
    let cpu_s = (rival.cpu() - before).as_secs_f64();
    let offered = load.rate as usize * load.seconds as usize;
    assert_eq!(times.len(), offered, "{} served other than what was offered", rival.name);
    times.sort_unstable();
    Round {
        cpu_s,
        requests: times.len() as u64,
        bytes,
        late: times.iter().filter(|time| **time > LATE).count() as u64,
        p99: times[times.len() * 99 / 100],
    }
}

/// One connection's share of the requests; each is sent when it is due, or at once if the one before it took longer.
async fn view(
    mut viewer: Viewer,
    index: usize,
    load: Arc<Load>,
    begin: Instant,
) -> std::io::Result<(Vec<Duration>, u64)> {
    let (mut times, mut bytes) = (Vec::new(), 0);
    let all = load.rate as usize * load.seconds as usize;
    for number in (index..all).step_by(load.connections) {
        let due = begin + Duration::from_secs_f64(number as f64 / f64::from(load.rate));
        tokio::time::sleep_until(due).await;
        let got = viewer.get(&load.paths[number % load.paths.len()], None).await?;
        times.push(got.last.saturating_duration_since(due.into_std()));
        bytes += got.bytes;
    }
    Ok((times, bytes))
}
