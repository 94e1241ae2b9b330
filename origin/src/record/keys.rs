//! Where recordings lie in the ingest store: the only place that knows these keys. Those of the egress store are
//! addresses, which [`super::ledger::key`] makes, and the catalogue's.
//!
//! Pure.

/// What came in and what was noted of it, by stream and session.
pub(crate) const MASTERS: &str = "rec";

/// One small object for each session, written again and again for as long as its origin lives.
pub(crate) const SIGNS: &str = "sessions";

/// What transcoders note of their work.
pub(crate) const JOBS: &str = "jobs";

/// A session's folder.
pub(crate) fn session(name: &str, session: &str) -> String {
    format!("{MASTERS}/{name}/{session}")
}

/// The object that is written last of all.
pub(crate) fn ended(name: &str, session_id: &str) -> String {
    format!("{}/ended.json", session(name, session_id))
}

/// A file of what came in.
pub(crate) fn part(name: &str, session_id: &str, number: u64) -> String {
    format!("{}/{number}.flv", session(name, session_id))
}

/// Where a session's log is.
pub(crate) fn log(name: &str, session_id: &str) -> String {
    format!("{}/log", session(name, session_id))
}

/// A session's sign of life.
pub(crate) fn sign(name: &str, session: &str) -> String {
    format!("{SIGNS}/{name}/{session}.json")
}

/// The stream and session whose sign this is.
pub(crate) fn signed(key: &str) -> Option<(&str, &str)> {
    let (name, session) = key.strip_prefix(SIGNS)?.strip_prefix('/')?.strip_suffix(".json")?.split_once('/')?;
    (!session.contains('/')).then_some((name, session))
}

/// The stream and session in whose folder this is, and its name there.
pub(crate) fn within(key: &str) -> Option<(&str, &str, &str)> {
    let mut parts = key.strip_prefix(MASTERS)?.strip_prefix('/')?.splitn(3, '/');
    Some((parts.next()?, parts.next()?, parts.next()?))
}

/// The number of a file of what came in, by its name in the session's folder.
pub(crate) fn part_number(name: &str) -> Option<u64> {
    name.strip_suffix(".flv")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_both_ways() {
        assert_eq!(signed(&sign("foo", "s-1")), Some(("foo", "s-1")));
        assert_eq!(within(&ended("foo", "s-1")), Some(("foo", "s-1", "ended.json")));
        assert_eq!(within(&format!("{}/x.jsonl", log("foo", "s-1"))), Some(("foo", "s-1", "log/x.jsonl")));
        assert_eq!(part_number("12.flv"), Some(12));
        for other in ["sessions/foo.json", "sessions/foo/a/b.json", "rec/foo/s.json", "sessions/foo/s.txt"] {
            assert_eq!(signed(other), None, "{other}");
        }
        for other in ["rec/foo/s", "uploads/a/b/c", "recs/foo/s/0.flv"] {
            assert_eq!(within(other), None, "{other}");
        }
        for other in ["ended.json", "log/0.flv", "x.flv"] {
            assert_eq!(part_number(other), None, "{other}");
        }
    }
}
