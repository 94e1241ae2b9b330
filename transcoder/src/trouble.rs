//! What can go wrong with a step of a job, by what is to be done about it; and patience with stores that are away.
//!
//! A store that doesn't answer is nobody's error: it is asked again, ever more slowly, until it does. Who waits is dropped
//! when its message is lost or the process leaves. A store that says no (not allowed, no room) may say so of one object
//! alone: then other work must go on meanwhile. Knows no jobs.

use std::future::Future;
use std::time::Duration;
use store::Error;

/// Pause after a store's first failure; it doubles up to the longest one.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(20);

/// How often a store that says no is asked.
const REFUSALS_MAX: u32 = 5;

/// Why a step came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Trouble {
    /// The source is wrong, or the encoder fails on it. Counted; the third one ends the job.
    #[error("{0}")]
    Fault(String),
    /// This machine can't do it now: somebody else may. Not counted.
    #[error("{0}")]
    Machine(String),
}

/// Shorthand for what steps give.
pub(crate) type Step<T> = Result<T, Trouble>;

/// A fault, in words for the broadcaster.
pub(crate) fn fault(words: impl Into<String>) -> Trouble {
    Trouble::Fault(words.into())
}

/// Asks for a source's own object. A store that says no to that says so of the source: a fault, in words. (If it says no to
/// everything, the fault can't be noted either, and so isn't counted.)
pub(crate) async fn of_source<T, F>(ask: impl FnMut() -> F) -> Step<T>
where
    F: Future<Output = Result<T, Error>>,
{
    patiently(ask).await.map_err(|trouble| match trouble {
        Trouble::Machine(why) => fault(format!("the source can't be read: {why}")),
        fault @ Trouble::Fault(_) => fault,
    })
}

/// Asks a store or queue until it answers, or has said no several times. What is wrong in itself is a fault.
pub(crate) async fn patiently<T, F>(mut ask: impl FnMut() -> F) -> Step<T>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut failures: u32 = 0;
    loop {
        let error = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if is_final(&error) {
            return Err(fault(error.to_string()));
        }
        failures = failures.saturating_add(1);
        if !error.is_away() && failures >= REFUSALS_MAX {
            return Err(Trouble::Machine(error.to_string()));
        }
        tracing::warn!(%error, failures, "a store or queue fails; asking again");
        metrics::counter!("live360_vod_store_failures_total").increment(1);
        tokio::time::sleep(pause(failures)).await;
    }
}

/// How long to wait after so many failures in a row.
pub(crate) fn pause(failures: u32) -> Duration {
    PAUSE.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX)).min(PAUSE_MAX)
}

/// Whether asking again can't help: what was asked is wrong in itself.
fn is_final(error: &Error) -> bool {
    match error {
        Error::Key(_) | Error::Place(_) | Error::Queue(_) | Error::Limit { .. } | Error::Clash { .. } => true,
        Error::TooLarge { .. } => true,
        Error::Lost { .. } | Error::Io { .. } | Error::Slow { .. } | Error::Remote { .. } | Error::Short { .. } => {
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn slow() -> Error {
        Error::Slow { doing: "read", place: "s3://b/k".to_owned(), after: Duration::from_secs(1) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_away_is_asked_until_it_is_back() {
        let asked = Cell::new(0);
        let begun = tokio::time::Instant::now();
        let ask = || {
            asked.set(asked.get() + 1);
            let answer = if asked.get() > 20 { Ok(asked.get()) } else { Err(slow()) };
            std::future::ready(answer)
        };
        assert_eq!(patiently(ask).await, Ok(21));
        // 0.25 + 0.5 + … + 16, then 20 each.
        assert_eq!(begun.elapsed(), Duration::from_millis(31_750 + 13 * 20_000));
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_says_no_does_not_hold_up_other_work() {
        let asked = Cell::new(0);
        let ask = || {
            asked.set(asked.get() + 1);
            let (path, source) = ("a".into(), std::io::ErrorKind::PermissionDenied.into());
            std::future::ready(Err::<(), _>(Error::Io { doing: "read", path, source }))
        };
        assert!(matches!(patiently(ask).await, Err(Trouble::Machine(_))));
        assert_eq!(asked.get(), 5);
        // Of a source it is what the broadcaster must know.
        let words = of_source(ask).await.unwrap_err();
        assert!(matches!(&words, Trouble::Fault(why) if why.starts_with("the source can't be read")), "{words}");
    }

    #[tokio::test]
    async fn what_is_wrong_in_itself_is_a_fault_at_once() {
        let refused = || std::future::ready(Err::<(), _>(Error::TooLarge { place: "k".to_owned(), limit: 7 }));
        let words = "can't read k: it is longer than 7 bytes".to_owned();
        assert_eq!(patiently(refused).await, Err(Trouble::Fault(words)));
    }
}
