//! Which file an object gets: large ones have one of their own, small ones share.
//!
//! A huge page is worth having for every object (see `mapping`), but is larger than most. So small objects lie behind one
//! another in files of one huge page, and such a file is given back when the last of them is. That takes little more
//! memory than the objects themselves if those that came together go together: hence [`Life`].

use crate::mapping::Mapping;
use crate::{FILE_BYTES_MIN, Filler, HUGE_BYTES, Object, SHARED_OBJECT_BYTES_MAX, limit, object, registry};
use std::any::Any;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Below so many huge pages' worth of memory in all, objects don't share: one that stays would keep too large a part of it.
const SHARED_FILES_MIN: u64 = 32;

/// What may be left empty of a large object's last huge page: one part of so many.
const EMPTY_SHARE: usize = 8;

/// Longer than this for huge pages, and the system has none at hand: then it is left alone for a number of files.
const PATIENCE: Duration = Duration::from_millis(10);
const LEFT_ALONE: u32 = 200;

/// How many files still to do without huge pages.
static WITHOUT: AtomicU32 = AtomicU32::new(0);

/// For how long objects are kept, as far as it matters here: those of a kind share files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// A live window, or a little more.
    Live,
    /// Recordings: longer.
    Recorded,
}

/// Who has objects put into memory files.
#[derive(Debug)]
pub struct Pool {
    shares: bool,
    /// The file that the next small object goes to, for each life.
    open: [Mutex<Weak<Mapping>>; 2],
}

/// What a file is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    /// Bytes of it in huge pages, from the first on.
    huge: usize,
    /// Bytes of memory in all.
    memory: usize,
}

impl Pool {
    /// For objects of this many bytes in all.
    pub fn new(budget: u64) -> Self {
        Self { shares: budget / SHARED_FILES_MIN >= HUGE_BYTES as u64, open: Default::default() }
    }

    /// Begins an object of `length` bytes. If a file is needed for it, `pay` is asked for what it takes, and what it
    /// gives is dropped when the file's memory has been given back. `None`: it is too small to be worth it, there are
    /// enough files already, or nobody pays, or the system gives no more.
    pub fn begin<T: Any + Send + Sync>(
        &self,
        length: u64,
        life: Life,
        pay: impl FnOnce(u64) -> Option<T>,
    ) -> Option<(Filler, Object)> {
        let length = usize::try_from(length).ok().filter(|length| *length >= FILE_BYTES_MIN)?;
        if !self.shares || length > SHARED_OBJECT_BYTES_MAX {
            return file(length, shape(length), pay)?.region(length).map(object::new);
        }
        let [live, recorded] = &self.open;
        let open = if life == Life::Live { live } else { recorded };
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = open.upgrade().and_then(|file| file.region(length));
        let region = match fits {
            Some(region) => region,
            None => {
                let new = file(HUGE_BYTES, Shape { huge: HUGE_BYTES, memory: HUGE_BYTES }, pay)?;
                *open = Arc::downgrade(&new);
                new.region(length)?
            }
        };
        Some(object::new(region))
    }

    /// The most that may have to be paid for an object of `length` bytes.
    pub fn most(&self, length: u64) -> u64 {
        let Ok(bytes) = usize::try_from(length) else { return length };
        if bytes < FILE_BYTES_MIN {
            length
        } else if self.shares && bytes <= SHARED_OBJECT_BYTES_MAX {
            HUGE_BYTES as u64
        } else {
            shape(bytes).memory as u64
        }
    }
}

fn file<T: Any + Send + Sync>(length: usize, shape: Shape, pay: impl FnOnce(u64) -> Option<T>) -> Option<Arc<Mapping>> {
    let most = limit::files();
    if registry::count() >= most {
        return None;
    }
    let paid = pay(shape.memory as u64)?;
    let mapping = Arc::new(Mapping::new(length, Box::new(paid)).ok()?);
    let skipped = WITHOUT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    if shape.huge > 0 && skipped.is_err() {
        let begin = Instant::now();
        if !mapping.ask_for_huge_pages(shape.huge) || begin.elapsed() > PATIENCE {
            WITHOUT.store(LEFT_ALONE, Ordering::Relaxed);
        }
    }
    registry::list(&mapping, most).then_some(mapping)
}

/// An object's own file: huge pages as far as it fills them.
fn shape(length: usize) -> Shape {
    let last = length % HUGE_BYTES;
    let huge = if HUGE_BYTES.saturating_sub(last) <= HUGE_BYTES / EMPTY_SHARE {
        length.next_multiple_of(HUGE_BYTES)
    } else {
        length.saturating_sub(last)
    };
    Shape { huge, memory: huge.max(length.next_multiple_of(4096)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_object_has_huge_pages_as_far_as_it_fills_them() {
        const K: usize = 1024;
        for (length, huge, memory) in [
            (600 * K, 0, 600 * K),
            (600 * K + 1, 0, 604 * K),
            (1792 * K, 2048 * K, 2048 * K),
            (1791 * K, 0, 1792 * K),
            (2048 * K, 2048 * K, 2048 * K),
            (2048 * K + 1, 2048 * K, 2052 * K),
            (4_000_000, 4096 * K, 4096 * K),
        ] {
            assert_eq!(shape(length), Shape { huge, memory }, "{length}");
        }
    }

    #[test]
    fn where_memory_is_scarce_nothing_is_shared() {
        assert_eq!(Pool::new(32 * HUGE_BYTES as u64 - 1).most(100_000), 102_400);
        assert_eq!(Pool::new(32 * HUGE_BYTES as u64).most(100_000), HUGE_BYTES as u64);
        assert_eq!(Pool::new(1 << 30).most(1000), 1000);
        assert_eq!(Pool::new(1 << 30).most(5_000_000), shape(5_000_000).memory as u64);
    }
}
