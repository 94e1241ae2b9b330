//! One fetch of one object, and any number of readers that follow it.
//!
//! A flight is an append-only list of bytes with three states: running, done, failed. There is one [`Writer`]; readers
//! start at the first byte, replay what is there and follow what comes. A reader holds its own flight, so it never sees bytes
//! of two fetches. An end is clean only when the writer said so and every announced byte came: a writer that fails,
//! falls short or just goes away is an error at each reader.
//!
//! A larger object whose length is known goes into a memory file, which sockets can send without copying it; its readers
//! see as much of it as is there.
//!
//! Knows no sockets, clock, cache or runtime: everything happens under one lock and is driven by polling, so that the
//! tests can try every order of events.

use crate::failure::Failure;
use crate::ledger::Charge;
use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use http::{HeaderValue, StatusCode};
use memory::{Filler, Life, Object};
use slab::Slab;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Small pieces are joined to pieces of this many bytes once they add up to it: fewer, larger writes per viewer.
const BLOCK_BYTES: usize = 256 * 1024;

/// What is known of an object before its first byte: the few headers that are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// 200, or a 4xx of the origin's.
    pub(crate) status: StatusCode,
    /// Bytes of the body, if they were announced.
    pub(crate) length: Option<u64>,
    /// `Content-Type` as the origin gave it.
    pub(crate) content_type: Option<HeaderValue>,
    /// `ETag` as the origin gave it.
    pub(crate) etag: Option<HeaderValue>,
    /// When this head came here.
    pub(crate) received: Instant,
    /// How old the object was then (a shield's `Age`).
    pub(crate) age: Duration,
}

/// One object on its way or here.
#[derive(Debug)]
pub(crate) struct Flight {
    state: Mutex<State>,
    /// Edges that the request came through for which it was begun, once that is said.
    hops: OnceLock<usize>,
}

#[derive(Debug)]
struct State {
    head: Option<Arc<Head>>,
    /// Its bytes in order, unless they are still on their way into a memory file.
    pieces: Vec<Piece>,
    /// Its place in that file, of which the first `length` bytes are there.
    object: Option<Object>,
    length: u64,
    /// Where the pieces begin that are not yet joined to blocks: index in `pieces`, and their bytes.
    loose: (usize, usize),
    end: Option<Result<(), Failure>>,
    parked: Slab<Waker>,
    /// Counts wake-ups, so that a reader knows whether its place in `parked` is still its own.
    round: u64,
    life: Life,
    charge: Charge,
    /// All pieces, once it is done and somebody wanted them together: every viewer sends the same list.
    whole: Option<Arc<[Bytes]>>,
}

#[derive(Debug)]
struct Piece {
    /// Offset of the first byte behind this piece.
    end: u64,
    bytes: Bytes,
}

/// An object that is here to its last byte.
#[derive(Debug, Clone)]
pub(crate) struct Landed {
    /// Its head.
    pub(crate) head: Arc<Head>,
    /// Its bytes, in order.
    pub(crate) pieces: Arc<[Bytes]>,
    /// What pays for them: to be kept as long as they are.
    pub(crate) flight: Arc<Flight>,
}

/// The one who fills a flight. Dropped without [`Writer::finish`], the flight has failed.
#[derive(Debug)]
pub(crate) struct Writer {
    flight: Arc<Flight>,
    filler: Option<Filler>,
}

/// One who reads a flight from its first byte.
#[derive(Debug)]
pub(crate) struct Reader {
    flight: Arc<Flight>,
    at: u64,
    ticket: Option<(u64, usize)>,
}

/// Begins a flight of an object that is kept for so long; `charge` pays for its bytes and is given back when the last
/// holder lets go.
pub(crate) fn begin(charge: Charge, life: Life) -> (Writer, Arc<Flight>) {
    let state = State {
        head: None,
        pieces: Vec::new(),
        object: None,
        length: 0,
        loose: (0, 0),
        end: None,
        parked: Slab::new(),
        round: 0,
        life,
        charge,
        whole: None,
    };
    let flight = Arc::new(Flight { state: Mutex::new(state), hops: OnceLock::new() });
    (Writer { flight: Arc::clone(&flight), filler: None }, flight)
}

impl Flight {
    /// A reader of the whole object.
    pub(crate) fn reader(self: &Arc<Self>) -> Reader {
        Reader { flight: Arc::clone(self), at: 0, ticket: None }
    }

    /// The whole object, once the last byte is here.
    pub(crate) fn landed(self: &Arc<Self>) -> Option<Landed> {
        let (head, pieces) = self.lock().landed()?;
        Some(Landed { head, pieces, flight: Arc::clone(self) })
    }

    /// Why it failed, if it did.
    pub(crate) fn failure(&self) -> Option<Failure> {
        self.lock().end.clone().and_then(Result::err)
    }

    /// Whether what readers wait for first is known: the head, or that there will be none.
    pub(crate) fn is_answered(&self) -> bool {
        let state = self.lock();
        state.head.is_some() || state.end.is_some()
    }

    /// Says through how many edges the request came for which it was begun. The first word counts.
    pub(crate) fn begun_behind(&self, hops: usize) {
        self.hops.get_or_init(|| hops);
    }

    /// Through how many edges the request came for which it was begun.
    pub(crate) fn hops(&self) -> usize {
        self.hops.get().copied().unwrap_or(0)
    }

    /// True while bytes may still come.
    pub(crate) fn running(&self) -> bool {
        self.lock().end.is_none()
    }

    /// A memory file for the object, where there is one to be had: not under the lock, since it takes a moment.
    fn file(&self, length: u64) -> Option<(Filler, Object)> {
        let (ledger, life) = {
            let state = self.lock();
            (Arc::clone(state.charge.ledger()), state.life)
        };
        ledger.file(length, life)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and a state behind a poisoned lock would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, then wakes everybody who waits, outside the lock.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let (result, parked) = {
            let mut state = self.lock();
            let result = change(&mut state);
            state.round = state.round.wrapping_add(1);
            (result, std::mem::take(&mut state.parked))
        };
        parked.into_iter().for_each(|(_, waker)| waker.wake());
        result
    }
}

impl Writer {
    /// Says what comes. The first head counts. `false`: no room for the announced length.
    pub(crate) fn head(&mut self, head: Head) -> bool {
        let announced = head.length.unwrap_or(0);
        let file = if self.is_blank() { self.flight.file(announced) } else { None };
        let (filler, object) = file.unzip();
        self.filler = self.filler.take().or(filler);
        self.flight.change(|state| {
            // A file has been paid for.
            if object.is_none() && !state.charge.grow(announced) {
                return false;
            }
            state.object = state.object.take().or(object);
            state.head.get_or_insert_with(|| Arc::new(head));
            true
        })
    }

    /// Appends bytes (copied: what the network hands over may pin a buffer many times its size). `false`: the object
    /// is longer than announced, or, if nothing was announced, no room is left.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> bool {
        if bytes.is_empty() {
            return true;
        }
        let count = bytes.len() as u64;
        // What doesn't fit into a file was not announced.
        let filled = self.filler.as_mut().map(|filler| filler.append(bytes));
        let bytes = match filled {
            Some(true) => Bytes::new(),
            Some(false) => return false,
            None => Bytes::copy_from_slice(bytes),
        };
        self.flight.change(|state| {
            let end = state.length.saturating_add(count);
            let room = match state.head.as_ref().and_then(|head| head.length) {
                Some(length) => end <= length,
                None => state.charge.grow(count),
            };
            if room && state.end.is_none() {
                state.append(end, bytes);
            }
            room
        })
    }

    /// Bytes so far.
    pub(crate) fn length(&self) -> u64 {
        self.flight.lock().length
    }

    /// Whether readers know nothing yet.
    pub(crate) fn is_blank(&self) -> bool {
        self.flight.lock().head.is_none()
    }

    /// What is missing for a clean end.
    pub(crate) fn shortfall(&self) -> Option<Failure> {
        self.flight.lock().shortfall()
    }

    /// Says that this was all. If bytes are missing, the flight has failed instead, and so it says.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        self.flight.change(|state| {
            let result = state.shortfall().map_or(Ok(()), Err);
            state.join();
            state.end.get_or_insert(result).clone()
        })
    }

    /// Breaks every reader.
    pub(crate) fn fail(self, failure: Failure) {
        self.flight.change(|state| state.end.get_or_insert(Err(failure)).is_err());
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.flight.running() {
            self.flight.change(|state| state.end.get_or_insert(Err(Failure::Abandoned)).is_err());
        }
    }
}

impl State {
    fn append(&mut self, end: u64, bytes: Bytes) {
        if self.object.is_some() {
            self.length = end;
            return;
        }
        let (from, sum) = self.loose;
        let sum = sum.saturating_add(bytes.len());
        self.pieces.push(Piece { end, bytes });
        self.length = end;
        self.loose = (from, sum);
        if sum >= BLOCK_BYTES {
            self.join();
        }
    }

    /// Makes one piece of the loose ones, or of a memory file. Readers go by offsets and don't notice.
    fn join(&mut self) {
        if let Some(bytes) = self.object.as_ref().and_then(|object| object.bytes(0..self.length)) {
            self.pieces.push(Piece { end: self.length, bytes });
            self.object = None;
        }
        let (from, sum) = self.loose;
        if self.pieces.len().saturating_sub(from) > 1 {
            let mut block = BytesMut::with_capacity(sum);
            self.pieces.drain(from..).for_each(|piece| block.extend_from_slice(&piece.bytes));
            self.pieces.push(Piece { end: self.length, bytes: block.freeze() });
        }
        self.loose = (self.pieces.len(), 0);
    }

    fn shortfall(&self) -> Option<Failure> {
        let Some(head) = &self.head else { return Some(Failure::Abandoned) };
        let length = head.length.filter(|length| *length != self.length)?;
        Some(Failure::Short { got: self.length, length })
    }

    fn landed(&mut self) -> Option<(Arc<Head>, Arc<[Bytes]>)> {
        let head = self.head.clone().filter(|_| matches!(self.end, Some(Ok(()))))?;
        let all = || self.pieces.iter().map(|piece| piece.bytes.clone()).collect();
        Some((head, Arc::clone(self.whole.get_or_insert_with(all))))
    }

    /// What is there from `at` on, in one piece.
    fn piece(&self, at: u64) -> Option<Bytes> {
        if let Some(object) = &self.object {
            return object.bytes(at..self.length).filter(|bytes| !bytes.is_empty());
        }
        let index = self.pieces.partition_point(|piece| piece.end <= at);
        let piece = self.pieces.get(index)?;
        let start = piece.end.saturating_sub(piece.bytes.len() as u64);
        let skip = usize::try_from(at.saturating_sub(start)).ok()?;
        Some(piece.bytes.slice(skip.min(piece.bytes.len())..))
    }
}

impl Reader {
    /// Waits for the head.
    pub(crate) fn poll_head(&mut self, context: &Context<'_>) -> Poll<Result<Arc<Head>, Failure>> {
        let Self { flight, ticket, .. } = self;
        let state = flight.lock();
        match (&state.head, &state.end) {
            (Some(head), _) => Poll::Ready(Ok(Arc::clone(head))),
            (None, Some(Err(failure))) => Poll::Ready(Err(failure.clone())),
            (None, Some(Ok(()))) => Poll::Ready(Err(Failure::Abandoned)),
            (None, None) => park(ticket, state, context),
        }
    }

    /// The next bytes; `None` behind the last one. Bytes that came before a failure are still given.
    pub(crate) fn poll_bytes(&mut self, context: &Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        let Self { flight, at, ticket } = self;
        let state = flight.lock();
        if let Some(bytes) = state.piece(*at) {
            *at = at.saturating_add(bytes.len() as u64);
            return Poll::Ready(Some(Ok(bytes)));
        }
        match &state.end {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(failure)) => Poll::Ready(Some(Err(failure.clone()))),
            None => park(ticket, state, context),
        }
    }

    /// Waits until no more bytes will come: all of them, or why not.
    pub(crate) fn poll_landed(&mut self, context: &Context<'_>) -> Poll<Result<Landed, Failure>> {
        let Self { flight, ticket, .. } = self;
        let mut state = flight.lock();
        match &state.end {
            Some(Ok(())) => {
                let landed = state.landed().ok_or(Failure::Abandoned);
                Poll::Ready(landed.map(|(head, pieces)| Landed { head, pieces, flight: Arc::clone(flight) }))
            }
            Some(Err(failure)) => Poll::Ready(Err(failure.clone())),
            None => park(ticket, state, context),
        }
    }

    /// [`Reader::poll_head`] as a future.
    pub(crate) async fn head(&mut self) -> Result<Arc<Head>, Failure> {
        poll_fn(|context| self.poll_head(context)).await
    }

    /// [`Reader::poll_landed`] as a future.
    pub(crate) async fn landed(&mut self) -> Result<Landed, Failure> {
        poll_fn(|context| self.poll_landed(context)).await
    }
}

/// Leaves the waker, in the place the reader had if it is still there: one place per reader, however often it is polled.
/// A waker is always dropped outside the lock: with it may go a task that holds another reader.
fn park<T>(ticket: &mut Option<(u64, usize)>, mut state: MutexGuard<'_, State>, context: &Context<'_>) -> Poll<T> {
    let waker = context.waker().clone();
    let own = ticket.filter(|(round, _)| *round == state.round);
    let old = match own.and_then(|(_, place)| state.parked.get_mut(place)) {
        Some(parked) => Some(std::mem::replace(parked, waker)),
        None => {
            *ticket = Some((state.round, state.parked.insert(waker)));
            None
        }
    };
    drop(state);
    drop(old);
    Poll::Pending
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Some((round, place)) = self.ticket else { return };
        let mut state = self.flight.lock();
        let old = if state.round == round { state.parked.try_remove(place) } else { None };
        drop(state);
        drop(old);
    }
}

impl Stream for Reader {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_bytes(context).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests;
