//! A run as a whole: looks whether there is something to watch, spreads viewers over threads and time, adds up.
//!
//! Every thread has a runtime of its own, so nothing of a viewer is shared but what is shown while it runs.

use super::ask::{Ask, Content, Kind, Place, Resource};
use super::drive::{Crowd, Habits, STREAMS, hammer, seat};
use super::net::{Net, Pool};
use super::report::{Cost, Report, Run};
use super::shared::Shared;
use super::tally::{Live, Tally};
use super::viewer::Settings;
use super::{CannotRun, Options, Progress, Version};
use crate::trust;
use nix::sys::resource::{UsageWho, getrusage};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::task::LocalSet;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use url::Url;

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// How long the first look may take, in seconds.
const LOOK_S: f64 = 10.0;

/// How long after the end a thread may go on before it is not waited for: a viewer's task never blocks.
const PATIENCE: Duration = Duration::from_secs(5);

/// What all threads get.
#[derive(Clone)]
struct Plan {
    options: Arc<Options>,
    entry: Place,
    address: SocketAddr,
    tls: Option<TlsConnector>,
    began: Instant,
    epoch: f64,
    live: Arc<Live>,
    stop: CancellationToken,
}

/// What a thread came to: its counts, and connections made.
type Outcome = (Tally, u64);

/// Runs it.
pub(super) async fn run(
    options: Options,
    stop: CancellationToken,
    mut progress: impl FnMut(Progress),
) -> Result<Report, CannotRun> {
    let plan = prepare(options, stop.child_token()).await?;
    let options = Arc::clone(&plan.options);
    let rungs = look(plan.clone()).await?;
    let cpu_before = cpu_s();
    // The first look is not part of the run.
    let plan = Plan { began: Instant::now(), epoch: epoch(), ..plan };
    let threads: Result<Vec<_>, _> = (0..options.threads).map(|index| spawn(plan.clone(), index)).collect();
    let (handles, mut ends): (Vec<_>, Vec<_>) = threads?.into_iter().unzip();
    let over = async {
        // All viewers of an ended stream go before the time is over.
        for end in &mut ends {
            let _ = end.await;
        }
    };
    tokio::select! {
        () = over => {}
        () = tell(&plan, &mut progress) => {}
        () = tokio::time::sleep(options.duration) => {}
        () = stop.cancelled() => {}
    }
    let seconds = plan.began.elapsed().as_secs_f64();
    plan.stop.cancel();
    let joined =
        tokio::task::spawn_blocking(|| handles.into_iter().map(std::thread::JoinHandle::join).collect::<Vec<_>>());
    let joined = tokio::time::timeout(PATIENCE, joined).await;
    let defect = || std::io::Error::other("a thread of viewers failed, which is a defect of this tool");
    let joined = joined.map_err(|_| defect())?.map_err(|_| defect())?;
    let (mut tally, mut connections) = (Tally::new(Arc::clone(&plan.live)), 0);
    for outcome in joined {
        let (other, opened) = outcome.map_err(|_| defect())??;
        tally.add(&other);
        connections += opened;
    }
    let cost = cost(cpu_s() - cpu_before, &tally, &options, seconds);
    let url = plan.entry.to_string();
    let run = Run { url, seconds, places: options.viewers, connections, rungs, cost };
    Ok(Report::new(run, &tally, &options.objective))
}

async fn prepare(options: Options, stop: CancellationToken) -> Result<Plan, CannotRun> {
    let bad = || CannotRun::Url { url: options.url.clone() };
    let url = Url::parse(&options.url).map_err(|_| bad())?;
    let entry = Place::new(&url, None).ok_or_else(bad)?;
    let nothing = |why: String| CannotRun::Nothing { url: options.url.clone(), why };
    let found = tokio::net::lookup_host((entry.origin.host.as_str(), entry.origin.port)).await;
    let address = found.map_err(|error| nothing(error.to_string()))?.next();
    let address = address.ok_or_else(|| nothing("that name has no address".to_owned()))?;
    if !options.anywhere && !address.ip().to_canonical().is_loopback() {
        return Err(CannotRun::NotHere { url: options.url.clone(), address });
    }
    // A playlist may lead elsewhere, also to https.
    let mut config = trust::client_config(options.ca.as_deref(), options.insecure)?;
    config.alpn_protocols = match options.version {
        Version::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Version::One => vec![b"http/1.1".to_vec()],
        Version::Two => vec![b"h2".to_vec()],
    };
    let tls = Some(TlsConnector::from(Arc::new(config)));
    let (began, epoch, live) = (Instant::now(), epoch(), Arc::default());
    Ok(Plan { options: Arc::new(options), entry, address, tls, began, epoch, live, stop })
}

fn epoch() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Whether there is something to watch; gives the names of its rungs.
async fn look(plan: Plan) -> Result<Vec<String>, CannotRun> {
    let look = move || {
        local(async move {
            let (pool, mut shared) = (Pool::new(Rc::new(net(&plan))), Shared::default());
            let resource = Resource { place: plan.entry.clone(), range: None };
            let kind = if plan.options.plain { Kind::Plain } else { Kind::Multivariant };
            let ask = Ask { id: 0, kind, resource, directives: None, base: None, within_s: LOOK_S };
            let fetched = pool.fetch(&ask).await;
            let content = match fetched.outcome {
                Ok(()) if !plan.options.plain => shared.content(&ask, &fetched.text, fetched.gzip),
                outcome => outcome.map(|()| Content::Media),
            };
            match content {
                Ok(Content::Ladder(ladder)) => Ok(ladder.rungs.iter().map(|rung| rung.name.clone()).collect()),
                Ok(_) => Ok(Vec::new()),
                Err(failure) => Err(CannotRun::Nothing { url: plan.options.url.clone(), why: failure.to_string() }),
            }
        })
    };
    let looked = tokio::task::spawn_blocking(look).await;
    looked.map_err(|_| std::io::Error::other("the first look failed, which is a defect of this tool"))??
}

/// Runs something on a runtime of its own, which doesn't leave this thread.
fn local<T>(what: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(LocalSet::new().block_on(&runtime, what))
}

fn net(plan: &Plan) -> Net {
    let options = &plan.options;
    Net {
        tls: plan.tls.clone(),
        version: options.version,
        sources: options.sources.clone(),
        next_source: Cell::new(0),
        anywhere: options.anywhere,
        resolved: RefCell::new([(Arc::clone(&plan.entry.origin), plan.address)].into()),
        began: plan.began,
        opened: Cell::new(0),
    }
}

type Handle = std::thread::JoinHandle<std::io::Result<Outcome>>;

/// A thread with its share of viewers, and what tells that all of them have gone.
fn spawn(plan: Plan, index: usize) -> std::io::Result<(Handle, tokio::sync::oneshot::Receiver<()>)> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let name = format!("viewers-{index}");
    let handle = std::thread::Builder::new().name(name).spawn(move || {
        let outcome = local(viewers(plan, index));
        let _ = sender.send(());
        outcome
    })?;
    Ok((handle, receiver))
}

/// The viewers of one thread: every so-manieth of all.
async fn viewers(plan: Plan, thread: usize) -> Outcome {
    let options = &plan.options;
    let two = options.version == Version::Two || (options.version == Version::Auto && plan.entry.origin.https);
    let crowd = Rc::new(Crowd {
        net: Rc::new(net(&plan)),
        shared: RefCell::default(),
        tally: RefCell::new(Tally::new(Arc::clone(&plan.live))),
        entry: plan.entry.clone(),
        at_once: if two { STREAMS } else { options.connections },
        stop: plan.stop.clone(),
    });
    let mut seats = tokio::task::JoinSet::new();
    for place in (thread..options.viewers).step_by(options.threads.max(1)) {
        let share = place as f64 / options.viewers as f64;
        let after = options.ramp.mul_f64(share);
        if options.plain {
            seats.spawn_local(hammer(Rc::clone(&crowd), after));
        } else {
            seats.spawn_local(seat(Rc::clone(&crowd), habits(&plan, place, after)));
        }
    }
    while seats.join_next().await.is_some() {}
    let opened = crowd.net.opened.get();
    (crowd.tally.borrow().clone(), opened)
}

fn habits(plan: &Plan, place: usize, after: Duration) -> Habits {
    let options = &plan.options;
    // Each place has its own chance, whatever thread it is on.
    let mut random = fastrand::Rng::with_seed(options.seed ^ (place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let back = (random.f64() < options.dvr).then(|| random.f64());
    let settings = Settings {
        rung: options.rung,
        low_latency: options.low_latency,
        hints: options.hints,
        back,
        goal_s: options.buffer.as_secs_f64(),
        epoch: plan.epoch,
    };
    Habits { settings, after, stays: options.churn, random }
}

/// Tells progress for ever.
async fn tell(plan: &Plan, progress: &mut impl FnMut(Progress)) {
    let mut tick = tokio::time::interval(TELL_EVERY);
    tick.tick().await;
    let mut before = 0;
    loop {
        tick.tick().await;
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let (live, bytes) = (&plan.live, read(&plan.live.bytes));
        progress(Progress {
            seconds: plan.began.elapsed().as_secs_f64(),
            viewers: read(&live.viewers),
            stalled: read(&live.stalled),
            requests: read(&live.requests),
            errors: read(&live.errors),
            bits_per_s: bytes.saturating_sub(before) as f64 * 8.0 / TELL_EVERY.as_secs_f64(),
        });
        before = bytes;
    }
}

/// Processor time of this process so far, in seconds.
fn cpu_s() -> f64 {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return 0.0 };
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

fn cost(cpu_s: f64, tally: &Tally, options: &Options, seconds: f64) -> Cost {
    let memory = getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| usage.max_rss());
    // Each place is taken from its moment in the ramp on.
    let there = seconds - options.ramp.as_secs_f64().min(seconds) / 2.0;
    let viewer_s = options.viewers as f64 * there;
    Cost {
        cpu_s,
        cpu_s_per_viewer_s: (viewer_s > 0.0).then(|| cpu_s / viewer_s),
        requests_per_cpu_s: (cpu_s > 0.0).then(|| tally.requests() as f64 / cpu_s),
        // Linux counts it in units of 1024 bytes.
        memory_bytes: u64::try_from(memory).unwrap_or(0).saturating_mul(1024),
        threads: options.threads,
    }
}
