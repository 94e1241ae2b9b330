//! Every order of events, by enumeration: a flight does each step under one lock, so the orders of whole steps are all
//! the orders there are.

use super::*;
use crate::ledger::Ledger;
use memory::Life;
use proptest::prelude::*;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

/// A waker that counts.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn head(length: Option<u64>) -> Head {
    Head {
        status: StatusCode::OK,
        length,
        content_type: None,
        etag: None,
        received: Instant::now(),
        age: Duration::ZERO,
    }
}

fn fresh() -> (Writer, Arc<Flight>) {
    begin(Ledger::new(1 << 30).charge(0).unwrap(), Life::Live)
}

/// What one reader saw.
#[derive(Default)]
struct Seen {
    reader: Option<Reader>,
    count: Arc<Count>,
    bytes: Vec<u8>,
    end: Option<Result<(), Failure>>,
    /// Wake-ups at the moment it last parked; `None` while it is runnable.
    parked_at: Option<usize>,
}

impl Seen {
    fn runnable(&self) -> bool {
        self.parked_at.is_none_or(|at| self.count.0.load(Ordering::Relaxed) > at)
    }

    /// One poll, as a task would do it.
    fn poll(&mut self, flight: &Arc<Flight>) {
        let reader = self.reader.get_or_insert_with(|| flight.reader());
        let waker = Waker::from(Arc::clone(&self.count));
        let before = self.count.0.load(Ordering::Relaxed);
        self.parked_at = None;
        match reader.poll_bytes(&Context::from_waker(&waker)) {
            Poll::Ready(Some(Ok(bytes))) => self.bytes.extend_from_slice(&bytes),
            Poll::Ready(Some(Err(failure))) => self.end = Some(Err(failure)),
            Poll::Ready(None) => self.end = Some(Ok(())),
            Poll::Pending => self.parked_at = Some(before),
        }
    }
}

/// What the writer does, step by step.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Head(u64),
    Push(&'static [u8]),
    Finish,
    Fail,
    Vanish,
}

fn step(writer: &mut Option<Writer>, step: Step) {
    match (step, writer.take()) {
        (Step::Head(length), Some(mut open)) => {
            assert!(open.head(head(Some(length))));
            *writer = Some(open);
        }
        (Step::Push(bytes), Some(mut open)) => {
            assert!(open.push(bytes));
            *writer = Some(open);
        }
        (Step::Finish, Some(open)) => drop(open.finish()),
        (Step::Fail, Some(open)) => open.fail(Failure::Broken),
        (Step::Vanish, open) => drop(open),
        (_, None) => {}
    }
}

/// Runs one order: `order` says who moves next, 0 the writer, else a reader. Returns the number of actors, those that
/// could have moved when the order ended, for the enumeration to go on with.
fn run(script: &[Step], readers: usize, order: &[usize]) -> (Vec<usize>, Vec<Seen>, Arc<Flight>) {
    let (writer, flight) = fresh();
    let mut writer = Some(writer);
    let mut seen: Vec<Seen> = (0..readers).map(|_| Seen::default()).collect();
    let mut steps = script.iter();
    for &actor in order {
        match actor.checked_sub(1) {
            None => step(&mut writer, *steps.next().unwrap()),
            Some(reader) => seen[reader].poll(&flight),
        }
    }
    let mut can_move: Vec<usize> =
        (1..=readers).filter(|i| seen[i - 1].end.is_none() && seen[i - 1].runnable()).collect();
    if steps.len() > 0 {
        can_move.insert(0, 0);
    }
    (can_move, seen, flight)
}

/// Tries every order in which writer and readers can move; a parked reader moves only when woken. Where nobody can move
/// any more, everybody must have come to the expected end: a lost wake-up shows as a reader without one.
fn check(script: &[Step], readers: usize, bytes: &[u8], end: &Result<(), Failure>) {
    let mut orders = vec![Vec::new()];
    let mut complete = 0;
    while let Some(order) = orders.pop() {
        let (can_move, seen, flight) = run(script, readers, &order);
        if can_move.is_empty() {
            complete += 1;
            for one in &seen {
                assert_eq!(one.end.as_ref(), Some(end), "{script:?} in order {order:?}");
                assert_eq!(one.bytes, bytes, "{script:?} in order {order:?}");
            }
            assert_eq!(flight.landed().is_some(), end.is_ok());
            assert!(flight.lock().parked.is_empty());
        }
        orders.extend(can_move.into_iter().map(|actor| order.iter().copied().chain([actor]).collect()));
    }
    assert!(complete > 10, "only {complete} orders were tried");
}

const AB: &[u8] = b"ab";
const CDE: &[u8] = b"cde";

#[test]
fn every_reader_gets_every_byte_in_every_order() {
    let script = [Step::Head(5), Step::Push(AB), Step::Push(CDE), Step::Finish];
    check(&script, 2, b"abcde", &Ok(()));
}

#[test]
fn a_failure_in_the_middle_reaches_every_reader_in_every_order() {
    check(&[Step::Head(5), Step::Push(AB), Step::Fail], 2, b"ab", &Err(Failure::Broken));
}

#[test]
fn a_short_object_is_never_a_clean_end() {
    let short = Failure::Short { got: 2, length: 5 };
    check(&[Step::Head(5), Step::Push(AB), Step::Finish], 2, b"ab", &Err(short));
}

#[test]
fn a_writer_that_vanishes_is_never_a_clean_end() {
    check(&[Step::Head(5), Step::Push(AB), Step::Push(CDE), Step::Vanish], 2, b"abcde", &Err(Failure::Abandoned));
    check(&[Step::Vanish], 3, b"", &Err(Failure::Abandoned));
}

#[test]
fn an_end_without_a_head_is_a_failure() {
    check(&[Step::Finish], 3, b"", &Err(Failure::Abandoned));
}

#[test]
fn a_reader_that_leaves_frees_its_place_and_hurts_nobody() {
    let (mut writer, flight) = fresh();
    let mut seen: Vec<Seen> = (0..100).map(|_| Seen::default()).collect();
    seen.iter_mut().for_each(|one| one.poll(&flight));
    assert_eq!(flight.lock().parked.len(), 100);
    seen.truncate(1);
    assert_eq!(flight.lock().parked.len(), 1);
    assert!(writer.head(head(Some(2))) && writer.push(AB));
    writer.finish().unwrap();
    seen[0].poll(&flight);
    seen[0].poll(&flight);
    assert_eq!((seen[0].bytes.as_slice(), &seen[0].end), (AB, &Some(Ok(()))));
}

#[test]
fn polling_again_takes_no_second_place() {
    let (_writer, flight) = fresh();
    let mut one = Seen::default();
    (0..50).for_each(|_| one.poll(&flight));
    assert_eq!(flight.lock().parked.len(), 1);
}

#[test]
fn a_waker_that_holds_a_reader_of_the_same_flight_can_be_dropped() {
    struct Holds(#[allow(dead_code)] Mutex<Option<Reader>>);
    impl Wake for Holds {
        fn wake(self: Arc<Self>) {}
    }
    let (_writer, flight) = fresh();
    let mut inner = flight.reader();
    assert!(inner.poll_landed(&Context::from_waker(Waker::noop())).is_pending());
    let mut outer = flight.reader();
    let waker = Waker::from(Arc::new(Holds(Mutex::new(Some(inner)))));
    assert!(outer.poll_landed(&Context::from_waker(&waker)).is_pending());
    drop(waker);
    assert!(outer.poll_landed(&Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(flight.lock().parked.len(), 1);
}

#[test]
fn more_bytes_than_announced_are_refused() {
    let (mut writer, flight) = fresh();
    assert!(writer.head(head(Some(3))) && writer.push(AB));
    assert!(!writer.push(AB));
    assert_eq!(writer.length(), 2);
    assert_eq!(writer.shortfall(), Some(Failure::Short { got: 2, length: 3 }));
    drop(writer);
    assert_eq!(flight.failure(), Some(Failure::Abandoned));
}

#[test]
fn bytes_are_paid_for_and_given_back_with_the_last_holder() {
    let ledger = Ledger::new(100);
    let (mut writer, flight) = begin(ledger.charge(10).unwrap(), Life::Live);
    assert!(!writer.head(head(Some(91))), "more than there is room for");
    assert!(writer.head(head(Some(90))));
    assert_eq!(ledger.used(), 100);
    let reader = flight.reader();
    drop((writer, flight));
    assert_eq!(ledger.used(), 100, "a reader keeps what it reads");
    drop(reader);
    assert_eq!(ledger.used(), 0);

    let (mut writer, flight) = begin(ledger.charge(0).unwrap(), Life::Live);
    assert!(writer.head(head(Some(2))) && writer.push(AB));
    writer.finish().unwrap();
    let (landed, again) = (flight.landed().unwrap(), flight.landed().unwrap());
    assert!(Arc::ptr_eq(&landed.pieces, &again.pieces), "one list for everybody");
    drop((flight, again));
    assert_eq!(ledger.used(), 2, "who sends a landed object keeps it");
    drop(landed);
    assert_eq!(ledger.used(), 0);

    let (mut writer, _flight) = begin(ledger.charge(0).unwrap(), Life::Live);
    assert!(writer.head(head(None)) && writer.push(&[0; 100]) && !writer.push(&[0]));
    assert_eq!(ledger.used(), 100);
}

#[test]
fn readers_on_other_threads_see_the_same_bytes() {
    let (mut writer, flight) = fresh();
    let text: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
    let follow = |mut reader: Reader| {
        let (mut out, thread) = (Vec::new(), std::thread::current());
        struct Unpark(std::thread::Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Waker::from(Arc::new(Unpark(thread)));
        loop {
            match reader.poll_bytes(&Context::from_waker(&waker)) {
                Poll::Ready(Some(bytes)) => out.extend_from_slice(&bytes.unwrap()),
                Poll::Ready(None) => return out,
                Poll::Pending => std::thread::park(),
            }
        }
    };
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..8).map(|_| scope.spawn(|| follow(flight.reader()))).collect();
        assert!(writer.head(head(Some(text.len() as u64))));
        text.chunks(997).for_each(|chunk| assert!(writer.push(chunk)));
        writer.finish().unwrap();
        let read: HashSet<Vec<u8>> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        assert!(read.len() == 1 && read.contains(&text));
    });
    let landed = flight.landed().unwrap();
    assert_eq!(landed.pieces.concat(), text);
    assert!(landed.pieces.len() <= text.len() / BLOCK_BYTES + 1, "{} pieces", landed.pieces.len());
}

#[test]
fn small_pieces_become_blocks_while_the_flight_is_running() {
    let (mut writer, flight) = fresh();
    assert!(writer.head(head(None)));
    for _ in 0..100 {
        assert!(writer.push(&[7; 10_000]));
    }
    let sizes: Vec<usize> = flight.lock().pieces.iter().map(|piece| piece.bytes.len()).collect();
    let (blocks, loose): (Vec<usize>, Vec<usize>) = sizes.into_iter().partition(|size| *size >= BLOCK_BYTES);
    assert_eq!((blocks.len(), blocks.iter().all(|size| *size < BLOCK_BYTES + 10_000)), (3, true));
    assert!(loose.len() < 28 && loose.iter().all(|size| *size == 10_000));
}

proptest! {
    #[test]
    fn any_chunks_and_any_reading_in_between_give_the_same_bytes(sizes in proptest::collection::vec(0usize..120_000, 0..12), polls in proptest::collection::vec(0usize..4, 12)) {
        let text: Vec<u8> = (0..sizes.iter().sum::<usize>()).map(|i| (i % 253) as u8).collect();
        let (mut writer, flight) = fresh();
        prop_assert!(writer.head(head(Some(text.len() as u64))));
        let (mut early, mut rest) = (Seen::default(), text.as_slice());
        for (size, polls) in sizes.iter().zip(polls) {
            let (chunk, tail) = rest.split_at(*size);
            rest = tail;
            prop_assert!(writer.push(chunk));
            (0..polls).for_each(|_| early.poll(&flight));
        }
        prop_assert_eq!(writer.finish(), Ok(()));
        let mut late = Seen::default();
        for one in [&mut early, &mut late] {
            while one.end.is_none() {
                one.poll(&flight);
            }
            prop_assert_eq!(&one.bytes, &text);
        }
    }
}
