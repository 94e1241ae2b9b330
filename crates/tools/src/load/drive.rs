//! Runs viewers: carries requests from the state machine to connections and answers back, and counts.
//!
//! One task for each place of a viewer; all of a thread's share its playlists and its counts. Decides nothing.

use super::ask::{Ask, Failure, Kind, Place, Reply, Resource};
use super::net::{Net, Pool};
use super::shared::Shared;
use super::tally::Tally;
use super::viewer::{Output, Settings, Viewer};
use futures_util::StreamExt as _;
use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::FuturesUnordered;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// How long a viewer that has seen a recording to its end, or has left, stays away before another takes its place.
const AWAY: Duration = Duration::from_millis(500);

/// Requests at a time on one HTTP/2 connection: what servers allow at least.
pub(super) const STREAMS: usize = 100;

/// How long the answer in plain mode may take, in seconds.
const PLAIN_S: f64 = 30.0;

/// What a thread's viewers share.
pub(super) struct Crowd {
    pub(super) net: Rc<Net>,
    pub(super) shared: RefCell<Shared>,
    pub(super) tally: RefCell<Tally>,
    pub(super) entry: Place,
    /// Requests at a time of one viewer.
    pub(super) at_once: usize,
    pub(super) stop: CancellationToken,
}

/// What one viewer is like, and how its time is spread.
pub(super) struct Habits {
    pub(super) settings: Settings,
    /// When it comes.
    pub(super) after: Duration,
    /// How long it stays, on the average; for ever if nothing is said.
    pub(super) stays: Option<Duration>,
    pub(super) random: fastrand::Rng,
}

/// A viewer's place: one viewer after the other until the end.
pub(super) async fn seat(crowd: Rc<Crowd>, mut habits: Habits) {
    if pause(&crowd, habits.after).await {
        return;
    }
    loop {
        let stays = habits.stays.map(|mean| exponential(&mut habits.random, mean));
        let again = watch(&crowd, habits.settings.clone(), stays).await;
        if !again || pause(&crowd, AWAY).await {
            return;
        }
    }
}

/// Whether the end came during the pause.
async fn pause(crowd: &Crowd, time: Duration) -> bool {
    tokio::select! {
        () = crowd.stop.cancelled() => true,
        () = tokio::time::sleep(time) => false,
    }
}

/// A time whose chance to end is always the same.
fn exponential(random: &mut fastrand::Rng, mean: Duration) -> Duration {
    let factor = -(1.0 - random.f64()).ln();
    mean.mul_f64(factor.clamp(0.0, 20.0))
}

/// One viewer from its coming to its going; whether another is to come.
async fn watch(crowd: &Crowd, settings: Settings, stays: Option<Duration>) -> bool {
    let net = &crowd.net;
    let goes = stays.map(|stays| Instant::now() + stays);
    let came_s = net.now();
    let mut viewer = Viewer::new(settings, crowd.entry.clone(), came_s);
    let pool = Pool::new(Rc::clone(net));
    let (mut flights, mut waiting) = (FuturesUnordered::new(), VecDeque::new());
    let mut aborts: Vec<(u32, AbortHandle)> = Vec::new();
    crowd.tally.borrow_mut().came();
    let again = loop {
        for output in viewer.take() {
            match output {
                Output::Get(ask) => waiting.push_back(ask),
                Output::Drop(id) => {
                    waiting.retain(|ask| ask.id != id);
                    aborts.iter().filter(|(other, _)| *other == id).for_each(|(_, abort)| abort.abort());
                }
                Output::Note(note) => crowd.tally.borrow_mut().note(note),
            }
        }
        if viewer.over() {
            break viewer.of_recording();
        }
        while flights.len() < crowd.at_once
            && let Some(ask) = waiting.pop_front()
        {
            let (abort, registration) = AbortHandle::new_pair();
            aborts.push((ask.id, abort));
            flights.push(Abortable::new(fly(crowd, &pool, ask), registration));
        }
        let wake = Instant::now() + Duration::from_secs_f64((viewer.next_wake() - net.now()).clamp(0.0, 3600.0));
        tokio::select! {
            () = crowd.stop.cancelled() => break false,
            () = sleep_until(goes.unwrap_or(wake)), if goes.is_some_and(|goes| goes <= wake) => break true,
            Some(landed) = flights.next(), if !flights.is_empty() => {
                if let Ok(reply) = landed {
                    aborts.retain(|(id, _)| *id != reply.id);
                    viewer.reply(&reply);
                } else {
                    aborts.retain(|(_, abort)| !abort.is_aborted());
                }
            }
            () = sleep_until(wake) => viewer.wake(net.now()),
        }
    };
    let stayed_s = net.now() - came_s;
    viewer.finish(net.now());
    let mut tally = crowd.tally.borrow_mut();
    for output in viewer.take() {
        if let Output::Note(note) = output {
            tally.note(note);
        }
    }
    tally.went(viewer.started(), stayed_s);
    again
}

/// One request, counted.
async fn fly(crowd: &Crowd, pool: &Pool, ask: Box<Ask>) -> Reply {
    let sent = crowd.net.now();
    let fetched = pool.fetch(&ask).await;
    let content = match fetched.outcome {
        Err(failure) => Err(failure),
        Ok(()) if ask.kind.is_text() => crowd.shared.borrow_mut().content(&ask, &fetched.text, fetched.gzip),
        Ok(()) => Ok(super::ask::Content::Media),
    };
    let done = crowd.net.now();
    crowd.tally.borrow_mut().request(ask.kind, done - sent, fetched.bytes, content.as_ref().err().copied());
    Reply { id: ask.id, first: fetched.first, done, bytes: fetched.bytes, result: content }
}

/// Asks for one and the same address again and again, as tools do that only know HTTP.
pub(super) async fn hammer(crowd: Rc<Crowd>, after: Duration) {
    if pause(&crowd, after).await {
        return;
    }
    let pool = Pool::new(Rc::clone(&crowd.net));
    crowd.tally.borrow_mut().came();
    let resource = Resource { place: crowd.entry.clone(), range: None };
    let ask = Ask { id: 0, kind: Kind::Plain, resource, directives: None, base: None, within_s: PLAIN_S };
    let asking = async {
        loop {
            let reply = fly(&crowd, &pool, Box::new(ask.clone())).await;
            // A server that refuses connections is not asked without end.
            if matches!(reply.result, Err(Failure::Connect | Failure::Elsewhere)) {
                tokio::time::sleep(AWAY).await;
            }
        }
    };
    tokio::select! {
        () = crowd.stop.cancelled() => {}
        () = asking => {}
    }
    crowd.tally.borrow_mut().went(true, 0.0);
}
