//! Objects as their users see them: what was appended is what is seen, for as long as anybody looks.

#![allow(clippy::unwrap_used, reason = "a panic is the report")]

use super::*;
use proptest::prelude::*;
use rustix::io::{Errno, pread};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const SMALL: u64 = 200_000;
const LARGE: u64 = 5_000_000;

fn noise(length: u64) -> Vec<u8> {
    (0..length).map(|index| (index * 7919 % 251) as u8).collect()
}

/// A pool whose objects may share files.
fn pool() -> Pool {
    Pool::new(1 << 30)
}

fn begin(pool: &Pool, length: u64) -> (Filler, Object) {
    pool.begin(length, Life::Live, |_| Some(())).unwrap()
}

fn filled(pool: &Pool, length: u64) -> (Object, Vec<u8>) {
    let (mut filler, object) = begin(pool, length);
    let all = noise(length);
    assert!(all.chunks(100_003).all(|piece| filler.append(piece)));
    (object, all)
}

#[test]
fn an_object_is_seen_as_far_as_it_is_there() {
    for length in [SMALL, LARGE] {
        let (mut filler, object) = begin(&pool(), length);
        let all = noise(length);
        assert_eq!(object.bytes(0..1), None);
        assert!(filler.append(&all[..5000]));
        let early = object.bytes(100..5000).unwrap();
        assert_eq!(object.bytes(0..5001), None);
        assert!(filler.append(&all[5000..]));
        assert_eq!(early, all[100..5000]);
        assert_eq!(object.bytes(0..length).unwrap(), all);
        assert_eq!(object.bytes(length..length).unwrap().len(), 0);
    }
}

#[test]
fn more_than_was_announced_does_not_fit() {
    let pool = pool();
    let (mut filler, object) = begin(&pool, SMALL);
    let (_, neighbour) = begin(&pool, SMALL);
    assert!(filler.append(&noise(SMALL)[1..]));
    assert!(!filler.append(&[1, 2]));
    assert!(!filler.append(&[3]));
    assert_eq!(object.bytes(SMALL - 1..SMALL).unwrap(), [1][..]);
    assert_eq!(object.bytes(0..SMALL + 1), None);
    assert_eq!(neighbour.bytes(0..1), None);
}

#[test]
fn bytes_outlive_whoever_made_them() {
    let (object, all) = filled(&pool(), SMALL);
    let bytes = object.bytes(0..SMALL).unwrap();
    drop(object);
    let slice = bytes.slice(777..);
    drop(bytes);
    assert_eq!(slice, all[777..]);
    assert!(find(&slice).is_some());
}

#[test]
fn a_stretch_of_a_file_is_found_by_its_address_and_nothing_else_is() {
    let pool = pool();
    // Objects that share a file, and one that has its own.
    for length in [SMALL, SMALL, SMALL, LARGE] {
        let (object, all) = filled(&pool, length);
        let slice = object.bytes(0..length).unwrap().slice(4321..74_321);
        let stretch = find(&slice).unwrap();
        let mut read = vec![0; slice.len()];
        pread(stretch.file(), &mut read, stretch.offset()).unwrap();
        assert_eq!(read, all[4321..74_321]);
        assert!(find(&all).is_none());
    }
    assert!(find(&[]).is_none());
}

#[test]
fn nobody_can_cut_a_file_off_under_its_readers() {
    let (object, all) = filled(&pool(), LARGE);
    let bytes = object.bytes(0..LARGE).unwrap();
    let stretch = find(&bytes).unwrap();
    for length in [0, LARGE - 1, 2 * LARGE] {
        assert_eq!(rustix::fs::ftruncate(stretch.file(), length), Err(Errno::PERM));
    }
    assert_eq!(bytes, all);
}

#[test]
fn small_objects_share_files_and_large_ones_and_other_lives_do_not() {
    let pool = pool();
    let file = |length, life| {
        let (mut filler, object) = pool.begin(length, life, |_| Some(())).unwrap();
        assert!(filler.append(&[0]));
        let bytes = object.bytes(0..1).unwrap();
        (rustix::fs::fstat(find(&bytes).unwrap().file()).unwrap().st_ino, object)
    };
    let (one, _keep) = file(SMALL, Life::Live);
    assert_eq!(file(SMALL, Life::Live).0, one);
    assert_ne!(file(SMALL, Life::Recorded).0, one);
    assert_ne!(file(LARGE, Life::Live).0, one);
    assert_eq!(file(SMALL, Life::Live).0, one);
}

#[test]
fn what_pays_for_a_file_comes_back_with_its_memory() {
    let held = Arc::new(AtomicU64::new(0));
    struct Paid(Arc<AtomicU64>, u64);
    impl Drop for Paid {
        fn drop(&mut self) {
            self.0.fetch_sub(self.1, Ordering::Relaxed);
        }
    }
    let pool = pool();
    let begin = |length| {
        let pay = |bytes| {
            held.fetch_add(bytes, Ordering::Relaxed);
            Some(Paid(Arc::clone(&held), bytes))
        };
        pool.begin(length, Life::Live, pay).unwrap().1
    };
    let held = || held.load(Ordering::Relaxed);
    let objects: Vec<_> = (0..10).map(|_| begin(SMALL)).collect();
    assert_eq!(held(), HUGE_BYTES as u64);
    let one_more = begin(SMALL);
    assert_eq!(held(), 2 * HUGE_BYTES as u64);
    let large = begin(LARGE);
    assert_eq!(held(), 2 * HUGE_BYTES as u64 + pool.most(LARGE));
    drop((objects, large));
    assert_eq!(held(), HUGE_BYTES as u64);
    drop(one_more);
    assert_eq!(held(), 0);
}

#[test]
fn nothing_begins_that_is_too_small_or_not_paid_for() {
    let pool = pool();
    assert!(pool.begin(FILE_BYTES_MIN as u64 - 1, Life::Live, |_| Some(())).is_none());
    for length in [SMALL, LARGE] {
        assert!(pool.begin(length, Life::Live, |_| None::<()>).is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_was_appended_is_what_is_seen(steps in proptest::collection::vec((0usize..4, 1usize..300_000), 1..40)) {
        let (pool, lengths) = (pool(), [SMALL, LARGE, 70_000, 500_000]);
        let mut objects: Vec<_> = lengths.iter().map(|length| (begin(&pool, *length), noise(*length), 0)).collect();
        for (index, count) in steps {
            let ((filler, object), all, at) = &mut objects[index];
            let end = (*at + count).min(all.len());
            prop_assert!(filler.append(&all[*at..end]));
            *at = end;
            prop_assert!(object.bytes(0..end as u64 + 1).is_none());
            for ((_, object), all, at) in &objects {
                prop_assert!(object.bytes(0..*at as u64).unwrap() == all[..*at]);
            }
        }
    }
}
