//! A live origin that does as the test says: its stream goes on when told so, and it fails in the ways that origins fail.
//!
//! What it says is `stream`'s, which is pure; here are its sockets, its faults, and the book of who asked for what. The
//! clock is used for nothing but what the test ordered: slowness, jitter, [`Sim::run`], and the 503 after three targets.

mod desk;
pub(crate) mod stream;

use crate::support::within;
use desk::Desk;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stream::{Progress, Terms};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// What goes wrong with requests, until told otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Bodies come at so many bytes/s.
    Slow(u64),
    /// Announces a whole body, sends half of it and hangs up.
    Truncate,
    /// Sends half of a body and then nothing for as long as the fault lasts.
    Stall,
    /// Takes a request and says nothing for as long as the fault lasts.
    Hang,
    /// Answers with this status.
    Status(u16),
    /// Answers after a while, at most so many ms.
    Jitter(u64),
}

/// What changes while it runs.
#[derive(Debug, Clone)]
struct State {
    /// How far the encoder is.
    encoded: Progress,
    /// How far the playlists are.
    shown: Progress,
    frozen: bool,
    /// By a piece of the target; the first that fits counts.
    faults: Vec<(&'static str, Fault)>,
}

/// Who asked for what.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// Heads of all requests.
    pub(crate) heads: Vec<String>,
    /// Targets of the requests that are held at the moment.
    pub(crate) held: BTreeMap<usize, String>,
}

/// A simulated origin. Dropped, it is gone: connections and all.
#[derive(Debug)]
pub(crate) struct Sim {
    pub(crate) terms: Arc<Terms>,
    pub(crate) address: SocketAddr,
    state: watch::Sender<State>,
    book: watch::Sender<Book>,
    serving: Mutex<Option<(CancellationToken, AbortOnDropHandle<()>)>>,
    /// Keeps the address for it while it is dead. It doesn't listen: connections are refused then.
    _place: TcpSocket,
}

/// A socket at an address, which may have several.
fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

impl Sim {
    pub(crate) async fn start(terms: Terms) -> Self {
        let place = socket("127.0.0.1:0".parse().unwrap());
        let address = place.local_addr().unwrap();
        let progress = Progress::new(&terms);
        let state = State { encoded: progress.clone(), shown: progress, frozen: false, faults: Vec::new() };
        let sim = Self {
            terms: Arc::new(terms),
            address,
            state: watch::Sender::new(state),
            book: watch::Sender::default(),
            serving: Mutex::default(),
            _place: place,
        };
        sim.serve(sim.listen());
        sim
    }

    /// Two origins of one lineage: they agree object by object as long as they go on together.
    pub(crate) async fn twins(terms: Terms) -> [Self; 2] {
        [Self::start(terms.clone()).await, Self::start(terms).await]
    }

    /// Two origins that one encoder publishes to, each with its own numbers and bytes.
    pub(crate) async fn strangers(terms: Terms) -> [Self; 2] {
        [Self::start(terms.clone()).await, Self::start(terms.foreign()).await]
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    // How the stream goes on.

    /// Publishes the next part of every rendition.
    pub(crate) fn part(&self) {
        self.go_on(|progress, terms| progress.part(terms));
    }

    /// Publishes what is left of the segment in progress.
    pub(crate) fn segment(&self) {
        self.go_on(|progress, terms| progress.segment(terms));
    }

    /// Nothing will follow.
    pub(crate) fn end(&self) {
        self.go_on(|progress, _| (progress.ended, progress.parts) = (true, 0));
    }

    /// The source's timeline breaks before the next segment: what is in progress ends here.
    pub(crate) fn break_off(&self) {
        self.go_on(|progress, terms| {
            if progress.parts > 0 {
                progress.segment(terms);
            }
            progress.breaks.insert(progress.open);
        });
    }

    /// Goes on by the clock until the handle is dropped.
    pub(crate) fn run(&self) -> AbortOnDropHandle<()> {
        let desk = self.desk();
        let step = Duration::from_millis(self.terms.part_ms.into());
        AbortOnDropHandle::new(tokio::spawn(async move {
            let mut tick = tokio::time::interval(step);
            loop {
                tick.tick().await;
                desk.state.send_modify(|state| state.go_on(|progress| progress.part(&desk.terms)));
            }
        }))
    }

    fn go_on(&self, change: impl Fn(&mut Progress, &Terms)) {
        self.state.send_modify(|state| state.go_on(|progress| change(progress, &self.terms)));
    }

    /// Segments that the encoder has made, whatever the playlists say.
    pub(crate) fn encoded(&self) -> u64 {
        self.state.borrow().encoded.open - self.terms.first
    }

    /// How far its playlists are: the segment in progress and its parts.
    pub(crate) fn tip(&self) -> (u64, u32) {
        let state = self.state.borrow();
        (state.shown.open, state.shown.parts)
    }

    /// What its playlist says at the moment.
    pub(crate) fn playlist(&self, rendition: &str) -> String {
        self.state.borrow().shown.playlist(&self.terms, rendition, false)
    }

    /// The same as a delta update.
    pub(crate) fn delta(&self, rendition: &str) -> String {
        self.state.borrow().shown.playlist(&self.terms, rendition, true)
    }

    // What goes wrong.

    /// Playlists answer 200 and don't go on; what it holds, it holds for good.
    pub(crate) fn freeze(&self) {
        self.state.send_modify(|state| state.frozen = true);
    }

    /// Playlists are where the encoder is.
    pub(crate) fn thaw(&self) {
        self.state.send_modify(|state| (state.frozen, state.shown) = (false, state.encoded.clone()));
    }

    /// Playlists fall back by so many segments, as those of another origin behind the same address would.
    pub(crate) fn fall_back(&self, segments: u64) {
        self.state.send_modify(|state| {
            state.shown.open -= segments;
            state.frozen = true;
        });
    }

    /// From now on this happens to requests whose target has `piece` in it.
    pub(crate) fn fault(&self, piece: &'static str, fault: Fault) {
        self.state.send_modify(|state| state.faults.insert(0, (piece, fault)));
    }

    /// All faults are over.
    pub(crate) fn mend(&self) {
        self.state.send_modify(|state| state.faults.clear());
    }

    /// It is gone, in the middle of whatever it sends; connections are refused.
    pub(crate) async fn die(&self) {
        let Some((stop, task)) = self.serving.lock().unwrap().take() else { return };
        stop.cancel();
        task.await.unwrap();
        self.book.send_modify(|book| book.held.clear());
    }

    /// It listens again at the same address, if it does not anyway.
    pub(crate) async fn come_back(&self) {
        if self.serving.lock().unwrap().is_some() {
            return;
        }
        self.serve(self.listen());
    }

    fn listen(&self) -> TcpListener {
        socket(self.address).listen(1024).unwrap()
    }

    // Who asked for what.

    /// Heads of all requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.book.borrow().heads.clone()
    }

    /// Methods and targets of all requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.book.borrow().heads.iter().map(|head| request_of(head)).collect()
    }

    /// How many requests had this in their method and target.
    pub(crate) fn count(&self, piece: &str) -> usize {
        self.book.borrow().count(piece)
    }

    /// How many GETs there were for exactly this target.
    pub(crate) fn gets(&self, target: &str) -> usize {
        let line = format!("GET {target}");
        self.book.borrow().heads.iter().filter(|head| request_of(head) == line).count()
    }

    /// Waits until the book is as `look` wants it.
    pub(crate) async fn until(&self, what: &str, look: impl FnMut(&Book) -> bool) {
        let mut book = self.book.subscribe();
        let told = within(what, book.wait_for(look)).await.is_ok();
        assert!(told, "the book is as old as the sim");
    }

    /// Waits until it holds a request with `piece` in its target.
    pub(crate) async fn holds(&self, piece: &str) {
        self.until(&format!("a held request for {piece}"), |book| book.holds(piece)).await;
    }

    /// Waits until so many requests with `piece` in their method and target have come.
    pub(crate) async fn asked(&self, piece: &str, times: usize) {
        self.until(&format!("{times} requests for {piece}"), |book| book.count(piece) >= times).await;
    }

    fn desk(&self) -> Desk {
        Desk { terms: Arc::clone(&self.terms), state: self.state.clone(), book: self.book.clone() }
    }

    fn serve(&self, listener: TcpListener) {
        let (desk, stop) = (self.desk(), CancellationToken::new());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    () = stopped.cancelled() => break,
                    accepted = listener.accept() => {
                        let (stream, _) = accepted.unwrap();
                        stream.set_nodelay(true).unwrap();
                        let desk = desk.clone();
                        connections.spawn(async move { desk.connection(stream).await });
                    }
                }
            }
            drop(listener);
            connections.shutdown().await;
        });
        *self.serving.lock().unwrap() = Some((stop, AbortOnDropHandle::new(task)));
    }
}

impl State {
    fn go_on(&mut self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.encoded);
        if !self.frozen {
            self.shown = self.encoded.clone();
        }
    }

    fn fault(&self, target: &str) -> Option<Fault> {
        self.faults.iter().find(|(piece, _)| target.contains(piece)).map(|(_, fault)| *fault)
    }
}

impl Book {
    pub(crate) fn count(&self, piece: &str) -> usize {
        self.heads.iter().filter(|head| request_of(head).contains(piece)).count()
    }

    pub(crate) fn holds(&self, piece: &str) -> bool {
        self.held.values().any(|target| target.contains(piece))
    }
}

/// `GET /path?query`
fn request_of(head: &str) -> String {
    head.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
