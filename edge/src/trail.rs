//! Which edges a request came through, so that edges that pull from each other in a ring find out.
//!
//! Kept in `CDN-Loop` (RFC 8586). What starts a follower or a fetch hands its trail on, with this edge's own name added:
//! in a ring the first name comes round. Pure.
//!
//! Whoever asks can make a trail up, and what is begun for one is shared by many. So one that was refused upstream for its
//! trail (508) is nobody else's answer: who came by a shorter way asks again, by his own. No trail is ever sent on that
//! nobody came by, and none gets shorter on its way, so every ring still ends at the edge where it began.

use http::{HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The header.
pub(crate) const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// What all our names begin with.
const PREFIX: &str = "live360-";

/// Most tiers of edges one behind the other.
pub(crate) const HOPS_MAX: usize = 4;

/// Names of edges, first the one nearest to the viewer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Trail(Arc<[String]>);

/// The shortest trail by which somebody came lately.
///
/// Not of all time: edges that pull from each other are each other's viewers, and what a real viewer once began would
/// go round between them when he is long gone.
#[derive(Debug)]
pub(crate) struct Shortest {
    /// Whoever came within this time counts, and nobody who came more than three times as long ago while others came.
    window: Duration,
    began: Instant,
    /// The shortest since it began.
    new: Trail,
    /// The shortest of the window before.
    old: Option<Trail>,
}

/// Why a request may not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Loop {
    /// It has been here.
    #[error("this request has come through this edge before: its origins pull from it in a ring")]
    Ring,
    /// It came through too many.
    #[error("this request came through {HOPS_MAX} edges, which is as many as may stand one behind the other")]
    Hops,
}

impl Trail {
    /// Reads a request's trail, as far as it is of our making.
    pub(crate) fn read(headers: &HeaderMap, own: &str) -> Result<Self, Loop> {
        let values = headers.get_all(CDN_LOOP).into_iter().filter_map(|value| value.to_str().ok());
        let names = values.flat_map(|value| value.split(',')).map(|name| name.split(';').next().unwrap_or("").trim());
        let ours: Vec<String> =
            names.filter(|name| name.starts_with(PREFIX)).take(HOPS_MAX + 1).map(str::to_owned).collect();
        if ours.iter().any(|name| name == own) {
            return Err(Loop::Ring);
        }
        if ours.len() >= HOPS_MAX {
            return Err(Loop::Hops);
        }
        Ok(Self(ours.into()))
    }

    /// Edges on it.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The header of a request that this edge sends on.
    pub(crate) fn header(&self, own: &str) -> Option<HeaderValue> {
        let mut text = String::new();
        for name in self.0.iter().map(String::as_str).chain([own]) {
            if !text.is_empty() {
                text.push_str(", ");
            }
            text.push_str(name);
        }
        HeaderValue::from_str(&text).ok()
    }
}

impl Shortest {
    /// Of the first who came.
    pub(crate) fn new(trail: Trail, window: Duration, now: Instant) -> Self {
        Self { window, began: now, new: trail, old: None }
    }

    /// Somebody came. Gives whether by a shorter way than all lately.
    pub(crate) fn came(&mut self, trail: &Trail, now: Instant) -> bool {
        let before = self.get().len();
        let age = now.saturating_duration_since(self.began);
        if age >= self.window {
            let last = std::mem::replace(&mut self.new, trail.clone());
            self.old = Some(last).filter(|_| age < self.window.saturating_mul(2));
            self.began = now;
        } else if trail.len() < self.new.len() {
            self.new = trail.clone();
        }
        self.get().len() < before
    }

    /// The shortest.
    pub(crate) fn get(&self) -> &Trail {
        self.old.as_ref().filter(|old| old.len() < self.new.len()).unwrap_or(&self.new)
    }
}

/// A name for this edge that no other has.
pub(crate) fn own_name(seed: u64) -> String {
    format!("{PREFIX}{seed:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: &str, expected: Result<&str, Loop>) {
        let headers = HeaderMap::from_iter([(CDN_LOOP, HeaderValue::from_str(header).unwrap())]);
        let sent = Trail::read(&headers, "live360-me").map(|trail| trail.header("live360-me").unwrap());
        assert_eq!(sent.as_ref().map(|value| value.to_str().unwrap()), expected.as_ref().copied(), "{header}");
    }

    #[test]
    fn a_trail_grows_by_this_edge_until_it_comes_round() {
        check("", Ok("live360-me"));
        check("live360-a", Ok("live360-a, live360-me"));
        check("cloudfront; v=1, live360-a;x=y , other", Ok("live360-a, live360-me"));
        check("live360-a, live360-me", Err(Loop::Ring));
        check("live360-a, live360-b, live360-c", Ok("live360-a, live360-b, live360-c, live360-me"));
        check("live360-a, live360-b, live360-c, live360-d", Err(Loop::Hops));
    }

    /// Who comes when (in seconds, by a way of how many edges), and how long the shortest is then.
    #[track_caller]
    fn check_shortest(comers: &[(u64, usize, usize)]) {
        let begin = Instant::now();
        let trail = |hops| Trail(vec![format!("{PREFIX}a"); hops].into());
        let mut shortest = Shortest::new(trail(2), Duration::from_secs(10), begin);
        for (second, hops, expected) in comers {
            let before = shortest.get().len();
            let shorter = shortest.came(&trail(*hops), begin + Duration::from_secs(*second));
            assert_eq!((shortest.get().len(), shorter), (*expected, *expected < before), "at {second} s");
        }
    }

    #[test]
    fn the_shortest_way_counts_as_long_as_somebody_comes_by_it_and_no_longer() {
        check_shortest(&[(0, 3, 2), (1, 1, 1), (2, 0, 0), (3, 3, 0)]);
        // Each time before ten seconds are over.
        check_shortest(&[(1, 0, 0), (10, 1, 0), (11, 0, 0), (20, 1, 0), (29, 0, 0), (30, 1, 0), (39, 1, 0)]);
        // Once, and then another edge goes on asking.
        check_shortest(&[(1, 0, 0), (9, 1, 0), (10, 1, 0), (19, 1, 0), (20, 1, 1), (29, 1, 1), (40, 1, 1)]);
        // After a long silence nobody is remembered.
        check_shortest(&[(1, 0, 0), (30, 3, 3), (31, 1, 1)]);
    }
}
