//! Compares keys whose hashes take time and memory on purpose: away from async threads, one at a time, and each key that was
//! right only once.

use aws_lc_rs::hmac;
use service::hashed::Hashed;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Comparisons at a time, with tens of milliseconds of a core and 19 MiB each.
const AT_A_TIME: usize = 1;

/// Comparisons that wait for their turn, and how long; beyond that the key counts as wrong. Less than the shortest wait of a
/// refusal, so that a queue doesn't show which streams have such keys.
const WAITING_MAX: usize = 32;
const WAIT_MOST: Duration = Duration::from_millis(750);

/// Right keys that are remembered, as digests under a key of this process. An encoder that comes back costs nothing.
const REMEMBERED_MAX: usize = 256;

/// Too many keys are being compared.
#[derive(Debug)]
pub(super) struct Overloaded;

/// Compares keys, and remembers right ones.
#[derive(Debug)]
pub(super) struct SlowKeys {
    turns: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    remembered: Mutex<HashSet<[u8; 32]>>,
    /// Random; without randomness nothing is remembered.
    own: Option<[u8; 32]>,
}

impl Default for SlowKeys {
    fn default() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(AT_A_TIME)),
            queue: Arc::new(Semaphore::new(WAITING_MAX + AT_A_TIME)),
            remembered: Mutex::default(),
            own: service::hashed::random().ok(),
        }
    }
}

impl SlowKeys {
    /// Whether `given` is the key; if that isn't known, compares them if there is time for it (`slowly`).
    pub(super) async fn matches(&self, key: &Hashed, given: Option<&str>, slowly: bool) -> Result<bool, Overloaded> {
        let Some(given) = given else { return Ok(false) };
        let digest = self.digest(key, given);
        if digest.is_some_and(|digest| self.remembered().contains(&digest)) {
            return Ok(true);
        }
        if !slowly {
            return Err(Overloaded);
        }
        let turn = self.turn().await?;
        let (key, given) = (key.clone(), given.to_owned());
        let compared = tokio::task::spawn_blocking(move || {
            // Also if nobody waits for the answer any more: it uses the core until it is done.
            let _turn = turn;
            key.matches(&given)
        });
        let right = compared.await.map_err(|_| Overloaded)?;
        if let Some(digest) = digest.filter(|_| right) {
            let mut remembered = self.remembered();
            if remembered.len() >= REMEMBERED_MAX {
                remembered.clear();
            }
            remembered.insert(digest);
        }
        Ok(right)
    }

    async fn turn(&self) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), Overloaded> {
        let place = self.queue.clone().try_acquire_owned().map_err(|_| Overloaded)?;
        let turn = tokio::time::timeout(WAIT_MOST, self.turns.clone().acquire_owned()).await;
        Ok((turn.map_err(|_| Overloaded)?.map_err(|_| Overloaded)?, place))
    }

    fn digest(&self, key: &Hashed, given: &str) -> Option<[u8; 32]> {
        let Hashed::Slow(phc) = key else { return None };
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.own?));
        for part in [phc.as_str(), given] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part.as_bytes());
        }
        context.sign().as_ref().try_into().ok()
    }

    fn remembered(&self) -> MutexGuard<'_, HashSet<[u8; 32]>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use service::secret::Secret;

    fn key(text: &str) -> Hashed {
        Hashed::read(&Secret::new(service::hashed::slow(text).unwrap())).unwrap()
    }

    #[tokio::test]
    async fn a_right_key_is_compared_once_and_a_wrong_one_always() {
        let (slow, kept, other) = (SlowKeys::default(), key("hunter2"), key("hunter2"));
        assert!(slow.matches(&kept, Some("hunter2"), true).await.unwrap());
        // No turn is to be had any more: what is known needs none.
        let _all = slow.turns.clone().try_acquire_owned().unwrap();
        assert!(slow.matches(&kept, Some("hunter2"), true).await.unwrap());
        assert!(slow.matches(&kept, Some("hunter2"), false).await.unwrap());
        assert!(slow.matches(&kept, Some("hunter3"), false).await.is_err(), "there is no time to look");
        assert!(!slow.matches(&kept, None, true).await.unwrap());
        tokio::time::pause();
        assert!(slow.matches(&kept, Some("hunter3"), true).await.is_err());
        assert!(slow.matches(&other, Some("hunter2"), true).await.is_err(), "another hash of it is another key");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_waits_in_a_bounded_queue_and_no_longer_than_so() {
        let (slow, kept) = (SlowKeys::default(), key("hunter2"));
        let _busy = slow.turns.clone().try_acquire_owned().unwrap();
        let start = tokio::time::Instant::now();
        let guesses = (0..WAITING_MAX + 10).map(|guess| {
            let (slow, kept) = (&slow, &kept);
            async move { (slow.matches(kept, Some(&guess.to_string()), true).await.is_err(), start.elapsed()) }
        });
        let answers = futures(guesses.collect()).await;
        let at_once = answers.iter().filter(|(busy, after)| *busy && after.is_zero()).count();
        let later = answers.iter().filter(|(busy, after)| *busy && *after >= WAIT_MOST).count();
        assert_eq!((at_once, later), (10 - AT_A_TIME, WAITING_MAX + AT_A_TIME));
    }

    /// Polls all of them in turn until each is done.
    async fn futures<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
        let mut pinned: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
        std::future::poll_fn(|cx| {
            for (future, output) in &mut pinned {
                if output.is_none()
                    && let std::task::Poll::Ready(ready) = future.as_mut().poll(cx)
                {
                    *output = Some(ready);
                }
            }
            match pinned.iter().all(|(_, output)| output.is_some()) {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        })
        .await;
        pinned.into_iter().filter_map(|(_, output)| output).collect()
    }
}
