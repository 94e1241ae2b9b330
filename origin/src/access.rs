//! Who may publish.
//!
//! [`rules`] judges what was shown against what the config asks for, [`token`] reads JWTs, [`patience`] counts wrong guesses:
//! all pure. This file does what takes time: comparing slow hashes, asking the callback, and letting those wait who were
//! refused. A refusal is answered at a moment that depends on the address it came from, not on why: how long it took tells
//! nobody whether there is such a stream or whether it has a key. Knows nothing of RTMP and of streams.

mod callback;
mod patience;
mod rules;
mod slow;
mod token;

#[cfg(test)]
mod tests;

pub(crate) use rules::SECRET_PARAMS;

use crate::ingest::{PublishRequest, Refusal};
use crate::rtmp::party;
use callback::{Callback, Said};
use patience::{Burst, Patience};
use rules::{Judgement, Rules, Shown, Why};
use service::config::{Config, Record};
use service::outbound::{BadRoots, utc_s};
use slow::SlowKeys;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

/// Requests that are judged or wait for their refusal. One more is refused after [`SHORT`], and no slow hash is compared for it:
/// whoever floods us gets no places that encoders need.
const WAITING_MAX: usize = 128;

/// The wait of refusals for which there is no place.
const SHORT: Duration = Duration::from_millis(250);

/// Why publishing can't be guarded as the config says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file with the public key for tokens.
    #[error("publish.jwt_key = {path}: {why}")]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The certificates that the callback's own is checked against.
    #[error(transparent)]
    Roots(#[from] BadRoots),
}

/// Leave to publish.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Grant {
    /// Whoever it is has shown something, and so may take the stream over from whoever publishes it now.
    pub(crate) proven: bool,
    /// What is recorded, if the callback says.
    pub(crate) record: Option<Record>,
    /// Whether the stream is listed, if the callback says.
    pub(crate) listed: Option<bool>,
}

/// The guard at the door.
#[derive(Debug)]
pub(crate) struct Access {
    rules: RwLock<Arc<Guarding>>,
    patience: Mutex<Patience>,
    burst: Mutex<Burst>,
    waiting: Semaphore,
    slow: SlowKeys,
}

/// What the config says, ready to be used.
#[derive(Debug)]
struct Guarding {
    rules: Rules,
    callback: Option<Callback>,
}

impl Guarding {
    fn new(config: &Config) -> Result<Self, Error> {
        Ok(Self { rules: Rules::new(config)?, callback: Callback::new(config)? })
    }
}

impl Access {
    /// As the config says; reads the files that it names.
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        Ok(Self {
            rules: RwLock::new(Arc::new(Guarding::new(config)?)),
            patience: Mutex::default(),
            burst: Mutex::default(),
            waiting: Semaphore::new(WAITING_MAX),
            slow: SlowKeys::default(),
        })
    }

    /// From now on as this config says. Who publishes goes on. After an error everything is as before.
    pub(crate) fn reload(&self, config: &Config) -> Result<(), Error> {
        let guarding = Arc::new(Guarding::new(config)?);
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = guarding;
        Ok(())
    }

    /// Says in the log who may publish what. `reachable`: from other machines, too.
    pub(crate) fn announce(&self, reachable: bool) {
        let guarding = self.guarding();
        guarding.rules.announce(reachable, guarding.callback.is_some());
    }

    /// Judges a request to publish. A refusal takes its time.
    pub(crate) async fn judge(&self, request: &PublishRequest) -> Result<Grant, Refusal> {
        let arrived = Instant::now();
        let who = party(request.peer.ip());
        let guarding = self.guarding();
        let place = self.waiting.try_acquire().ok();
        let exhausted = self.patience().is_exhausted(who, arrived);
        let judged =
            if exhausted { Err((Why::TooMany, None)) } else { self.weigh(&guarding, request, place.is_some()).await };
        match judged {
            Ok(grant) => Ok(grant),
            Err((why, words)) => {
                self.tell(request, why);
                self.wait(who, why, arrived, place.is_some()).await;
                Err(Refusal::Access(words.unwrap_or_else(|| guarding.rules.words(why, &request.key.name))))
            }
        }
    }

    /// What is right; with words if there are other ones than those for the reason. `slowly`: there is time to compare a slow
    /// hash, which shows where a refusal can't wait longer than that takes.
    async fn weigh(
        &self,
        guarding: &Guarding,
        request: &PublishRequest,
        slowly: bool,
    ) -> Result<Grant, (Why, Option<String>)> {
        let shown = Shown::of(&request.key, request.peer.ip());
        let asked = guarding.callback.is_some();
        let by = match guarding.rules.judge(&shown, asked, utc_s()) {
            Judgement::Granted(by) => by,
            Judgement::Refused(why) => return Err((why, None)),
            Judgement::Compare(key, else_why) => match self.slow.matches(&key, shown.key, slowly).await {
                Ok(true) => rules::By::Key,
                Ok(false) => return Err((else_why, None)),
                Err(slow::Overloaded) => return Err((Why::Busy, None)),
            },
        };
        let Some(callback) = &guarding.callback else {
            return Ok(Grant { proven: by.is_proof(), ..Grant::default() });
        };
        match callback.ask(request, by).await {
            Said::Yes { record, listed } => Ok(Grant { proven: true, record, listed }),
            // Asked or not, a stranger is none the wiser; the operator reads it in the log.
            Said::Unknown => Ok(Grant { proven: by.is_proof(), ..Grant::default() }),
            Said::No(words) => Err((Why::Callback, words)),
            Said::Down => Err((Why::CallbackDown, None)),
        }
    }

    /// Lets somebody who was refused wait, longer the more often it was refused.
    async fn wait(&self, who: IpAddr, why: Why, arrived: Instant, place: bool) {
        let wait = {
            let mut patience = self.patience();
            if why.is_a_guess() {
                patience.failed(who, arrived);
            }
            if place { patience.wait(who, arrived) } else { SHORT }
        };
        sleep_until(next_beat(arrived, wait, Instant::now())).await;
    }

    /// Counts a refusal, and logs it unless many come at once.
    fn tell(&self, request: &PublishRequest, why: Why) {
        metrics::counter!("live360_publish_refused_total", "reason" => why.label()).increment(1);
        let told = self.burst.lock().unwrap_or_else(PoisonError::into_inner).tell(Instant::now());
        if let Some(unsaid) = told {
            let (stream, peer) = (&request.key.name, request.peer);
            tracing::warn!(%stream, %peer, reason = why.label(), unsaid, "may not publish: {}", why.for_operators());
        }
    }

    fn guarding(&self) -> Arc<Guarding> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn patience(&self) -> MutexGuard<'_, Patience> {
        self.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first moment, a whole number of waits after the arrival, that is not past: so that a judgement which took longer
/// than the wait shows as little of how long as can be.
fn next_beat(arrived: Instant, wait: Duration, now: Instant) -> Instant {
    let mut beat = arrived + wait;
    while beat < now && !wait.is_zero() {
        beat += wait;
    }
    beat
}
