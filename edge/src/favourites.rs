//! Where media come from of streams that nobody follows here.
//!
//! Without a playlist nobody knows whether two origins have the same. So who last gave something of a stream is asked
//! first for the rest of it, as long as he answers. Pure, but for its lock: time is a parameter.

use media::name::StreamName;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most streams whose origin is remembered: as many as may be followed.
const STREAMS_MAX: usize = 2048;

/// For so long after its last answer.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Origins by stream.
#[derive(Debug, Default)]
pub(crate) struct Favourites(Mutex<HashMap<StreamName, (usize, Instant)>>);

impl Favourites {
    /// The same origins, the one that last answered for this stream in front.
    pub(crate) fn order(&self, name: &StreamName, mut origins: Vec<usize>) -> Vec<usize> {
        let favourite = self.lock().get(name).map(|(origin, _)| *origin);
        origins.sort_by_key(|origin| Some(*origin) != favourite);
        origins
    }

    /// An origin had something of this stream.
    pub(crate) fn answered(&self, name: &StreamName, origin: usize, now: Instant) {
        let mut all = self.lock();
        if let Some(known) = all.get_mut(name) {
            *known = (origin, now);
        } else if all.len() < STREAMS_MAX {
            all.insert(name.clone(), (origin, now));
        }
    }

    /// Forgets what nobody asked for in a while.
    pub(crate) fn sweep(&self, now: Instant) {
        self.lock().retain(|_, (_, at)| now.saturating_duration_since(*at) < REMEMBERED);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StreamName, (usize, Instant)>> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answered_last_is_asked_first_until_he_is_forgotten() {
        let (all, now) = (Favourites::default(), Instant::now());
        let (foo, bar): (StreamName, StreamName) = ("foo".parse().unwrap(), "bar".parse().unwrap());
        let order = |name| all.order(name, vec![0, 1, 2]);
        assert_eq!(order(&foo), [0, 1, 2]);
        all.answered(&foo, 2, now);
        assert_eq!((order(&foo), order(&bar)), (vec![2, 0, 1], vec![0, 1, 2]));
        all.answered(&foo, 1, now);
        all.sweep(now + REMEMBERED - Duration::from_secs(1));
        assert_eq!(order(&foo), [1, 0, 2]);
        all.sweep(now + REMEMBERED);
        assert_eq!(order(&foo), [0, 1, 2]);
    }

    #[test]
    fn only_so_many_are_remembered() {
        let (all, now) = (Favourites::default(), Instant::now());
        for stream in 0..=STREAMS_MAX {
            all.answered(&format!("s{stream}").parse().unwrap(), 1, now);
        }
        assert_eq!(all.lock().len(), STREAMS_MAX);
    }
}
