//! The job queue: one set of operations over a folder that processes share or a queue of SQS.
//!
//! Messages come at least once and in no promised order; who receives one has it for a while, its *visibility*, and
//! nobody else gets it meanwhile. Who doesn't come back in time, because it died or froze, has lost it: then it comes to
//! somebody else. So work on a message must be such that doing it twice, even at once, is harmless. What differs between
//! the two kinds of queue is said at each operation. Knows nothing of what is in a message.

mod address;
mod envelope;
mod heartbeat;
mod local;
mod name;
#[cfg(feature = "aws")]
mod sqs;

pub use address::{BadQueue, QueueAddress, SqsUrl};
pub use heartbeat::{Beat, Heartbeat, Hold};

use crate::error::Error;
use crate::limits::Limits;
use local::Local;
#[cfg(feature = "aws")]
use sqs::Sqs;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Longest body, in bytes. (SQS counts the same, and takes no more by default.)
pub const BODY_BYTES_MAX: usize = 256 * 1024;

/// Most messages that one receive gives.
pub const RECEIVE_MAX: usize = 10;

/// Longest wait of one receive; longer ones are cut to it. It is SQS's.
pub const WAIT_MAX: Duration = Duration::from_secs(20);

/// Longest time for which a message can be had, from its receipt on, however often it is extended. It is SQS's.
pub const VISIBILITY_MAX: Duration = Duration::from_secs(12 * 3600);

/// Most messages that one batch sends.
pub const BATCH_MESSAGES_MAX: usize = 10_000;

/// Most messages in a local queue.
pub const MESSAGES_MAX: usize = 100_000;

/// How often a message of a local queue is given out before it counts as dead, unless [`QueueSettings`] say otherwise.
/// More often than workers die by accident while they have it: what fails by itself is counted elsewhere.
pub const RECEIVES_MAX: u32 = 64;

/// Most dead messages that are listed or moved back by one call.
pub const DEAD_MAX: usize = 1000;

/// A job queue. Cloning gives another handle to the same.
#[derive(Debug, Clone)]
pub struct Queue {
    address: QueueAddress,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Local(Local),
    #[cfg(feature = "aws")]
    Sqs(Sqs),
}

/// What a queue is opened with.
#[derive(Debug, Clone)]
pub struct QueueSettings {
    /// How long it may take, and how often SQS is asked again.
    pub limits: Limits,
    /// How often a message of a local queue is given out before it counts as dead. SQS has its redrive policy.
    pub max_receives: u32,
    /// What time it is, for a local queue. All its processes should agree.
    pub clock: Clock,
}

/// Says what time it is.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

/// What is about to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// 1 to [`BODY_BYTES_MAX`] bytes; no control characters but tabulator and line ends (they are no XML, so no SQS).
    pub body: String,
    /// A word against doubles. A local queue doesn't take another message with the same word while one is waiting or held;
    /// a FIFO queue of SQS doesn't for five minutes from the first on. A standard queue of SQS takes it all the same.
    pub dedup: Option<String>,
}

/// A message that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is called in the queue.
    pub id: String,
    /// As it was sent.
    pub body: String,
    /// What shows that it is ours.
    pub receipt: Receipt,
    /// How often it was received, this time included. SQS may miscount.
    pub receive_count: u32,
    /// When it was sent.
    pub sent_at: SystemTime,
    /// When we got it, by tokio's clock: its visibility counts from here. Of SQS: when the answer had come.
    pub received_at: Instant,
}

/// Shows who has a message, as of one receive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt(pub(crate) String);

/// How many messages there are. Of SQS: about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// That wait for somebody, those that SQS delays included.
    pub visible: u64,
    /// That somebody has.
    pub in_flight: u64,
}

/// A message that was given out too often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    /// What it is called.
    pub id: String,
    /// As it was sent.
    pub body: String,
    /// How often it was received.
    pub receive_count: u32,
    /// When it was sent.
    pub sent_at: SystemTime,
}

impl Queue {
    /// Opens `local:`, which is made in the folder `queue` below `data_dir`, or the URL of a queue of SQS. For the latter
    /// region (unless the URL says it), credentials and endpoint come from where every AWS program looks for them; without
    /// an endpoint there, a host that is not AWS's is asked itself. Whether SQS has the queue shows when it is used.
    pub async fn open(url: &str, data_dir: &Path) -> Result<Self, Error> {
        Self::open_with(url, data_dir, QueueSettings::default()).await
    }

    /// The same with other settings.
    pub async fn open_with(url: &str, data_dir: &Path, settings: QueueSettings) -> Result<Self, Error> {
        let address: QueueAddress = url.parse()?;
        let kind = match &address {
            QueueAddress::Local => Kind::Local(Local::open(data_dir, settings).await?),
            #[cfg(feature = "aws")]
            QueueAddress::Sqs(sqs) => Kind::Sqs(Sqs::open(sqs.clone(), settings.limits).await?),
            #[cfg(not(feature = "aws"))]
            QueueAddress::Sqs(_) => {
                let why = "this program was built without AWS; write local:";
                return Err(BadQueue { given: address.to_string(), why }.into());
            }
        };
        Ok(Self { address, kind })
    }

    /// Where it is.
    pub fn address(&self) -> &QueueAddress {
        &self.address
    }

    /// Sends a message; gives its id. When this comes back, the message is safe (of a local queue: from a power cut). It
    /// may have been sent also if this fails. `dedup` is as in [`Outgoing`].
    pub async fn send(&self, body: &str, dedup: Option<&str>) -> Result<String, Error> {
        let outgoing = Outgoing { body: body.to_owned(), dedup: dedup.map(str::to_owned) };
        Ok(self.send_batch(vec![outgoing]).await?.pop().unwrap_or_default())
    }

    /// Sends up to [`BATCH_MESSAGES_MAX`] messages; gives their ids in the same order. If it fails, any of them may have
    /// been sent.
    pub async fn send_batch(&self, messages: Vec<Outgoing>) -> Result<Vec<String>, Error> {
        let refuse = |limit| Error::Limit { doing: "send to", place: self.address.to_string(), limit };
        if messages.len() > BATCH_MESSAGES_MAX {
            return Err(refuse(format!("a batch has {BATCH_MESSAGES_MAX} messages at most, not {}", messages.len())));
        }
        messages.iter().try_for_each(|message| check_body(&message.body)).map_err(refuse)?;
        match &self.kind {
            Kind::Local(local) => local.send(messages).await,
            #[cfg(feature = "aws")]
            Kind::Sqs(sqs) => sqs.send(messages).await,
        }
    }

    /// Takes up to `max` messages ([`RECEIVE_MAX`] at most), to have them for `visibility` from now on (1 s to
    /// [`VISIBILITY_MAX`]; SQS: in whole seconds, rounded up). Without any it waits up to `wait` ([`WAIT_MAX`] at most) and
    /// then gives none.
    ///
    /// Dropped while it waits, a local queue has given nothing out. SQS may have: such messages come again when
    /// `visibility` is over. So rather wait shortly than drop.
    pub async fn receive(&self, max: usize, wait: Duration, visibility: Duration) -> Result<Vec<Message>, Error> {
        self.check_visibility("receive from", visibility)?;
        let (max, wait) = (max.clamp(1, RECEIVE_MAX), wait.min(WAIT_MAX));
        match &self.kind {
            Kind::Local(local) => local.receive(max, wait, visibility).await,
            #[cfg(feature = "aws")]
            Kind::Sqs(sqs) => sqs.receive(max, wait, visibility).await,
        }
    }

    /// Has a message for `visibility` from now on (as in [`Queue::receive`]); [`Error::Lost`] if it isn't ours any more.
    ///
    /// A local queue knows whose it is: once somebody else has got it, or it was given back, this fails; before that it
    /// succeeds even if its time is over. SQS says so of a message that is not in flight, whether or not somebody else had
    /// it, and refuses more than 12 hours from the receive on; of a receipt older than the last one AWS promises nothing.
    /// (ministack refuses such a receipt, moto takes it.) So [`Hold`] also keeps its own time, and work must be fenced by
    /// what it writes: created once.
    pub async fn extend(&self, receipt: &Receipt, visibility: Duration) -> Result<(), Error> {
        self.check_visibility("extend in", visibility)?;
        match &self.kind {
            Kind::Local(local) => local.extend(receipt, visibility).await,
            #[cfg(feature = "aws")]
            Kind::Sqs(sqs) => sqs.extend("extend in", receipt, visibility).await,
        }
    }

    /// Lets somebody else have a message at once; [`Error::Lost`] as for [`Queue::extend`]. It counts as received all the
    /// same.
    pub async fn give_back(&self, receipt: &Receipt) -> Result<(), Error> {
        match &self.kind {
            Kind::Local(local) => local.give_back(receipt).await,
            #[cfg(feature = "aws")]
            Kind::Sqs(sqs) => sqs.extend("give back to", receipt, Duration::ZERO).await,
        }
    }

    /// Removes a message: what it asked for is done. [`Error::Lost`] as for [`Queue::extend`], also if it was removed
    /// already, which SQS mostly forgives. AWS takes a receipt whose time is over as long as nobody else has the message;
    /// of one that somebody else has it says yes and may keep it: then it comes again and is found done.
    pub async fn done(&self, receipt: &Receipt) -> Result<(), Error> {
        match &self.kind {
            Kind::Local(local) => local.done(receipt).await,
            #[cfg(feature = "aws")]
            Kind::Sqs(sqs) => sqs.done(receipt).await,
        }
    }

    /// How many messages there are.
    pub async fn depth(&self) -> Result<Depth, Error> {
        match &self.kind {
            Kind::Local(local) => local.depth().await,
            #[cfg(feature = "aws")]
            Kind::Sqs(sqs) => sqs.depth().await,
        }
    }

    /// How many messages were given out too often, without looking at them. Fails as [`Queue::dead_letters`] does, and where
    /// the queue for dead messages may not be asked (sqs:GetQueueAttributes).
    pub async fn dead_count(&self) -> Result<u64, Error> {
        match &self.kind {
            Kind::Local(local) => local.dead_count().await,
            #[cfg(feature = "aws")]
            Kind::Sqs(sqs) => sqs.dead_count().await,
        }
    }

    /// Messages that were given out too often, oldest first, [`DEAD_MAX`] at most. A local queue moves them aside when
    /// somebody receives. SQS moves them to the queue that its redrive policy names (without one this fails), which can
    /// only be listed by receiving from it: for some seconds they are out of sight, and may be missing if two look at once.
    pub async fn dead_letters(&self) -> Result<Vec<Dead>, Error> {
        match &self.kind {
            Kind::Local(local) => local.dead_letters().await,
            #[cfg(feature = "aws")]
            Kind::Sqs(sqs) => sqs.dead_letters().await,
        }
    }

    /// Puts dead messages back into the queue, [`DEAD_MAX`] at most, as if they were new. Says how many. SQS has no
    /// operation for it that other servers know: each is sent, then removed from the dead, so it may come twice.
    pub async fn redrive(&self) -> Result<usize, Error> {
        match &self.kind {
            Kind::Local(local) => local.redrive().await,
            #[cfg(feature = "aws")]
            Kind::Sqs(sqs) => sqs.redrive().await,
        }
    }

    fn check_visibility(&self, doing: &'static str, visibility: Duration) -> Result<(), Error> {
        if (Duration::from_secs(1)..=VISIBILITY_MAX).contains(&visibility) {
            return Ok(());
        }
        let limit =
            format!("a message is had for 1 to {} s, not {} s", VISIBILITY_MAX.as_secs(), visibility.as_secs_f32());
        Err(Error::Limit { doing, place: self.address.to_string(), limit })
    }
}

/// What is wrong with a body, if anything is.
fn check_body(body: &str) -> Result<(), String> {
    let legal = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
    match body {
        "" => Err("a message must have a body".to_owned()),
        body if body.len() > BODY_BYTES_MAX => {
            Err(format!("a body has {BODY_BYTES_MAX} bytes at most, not {}", body.len()))
        }
        body if !body.chars().all(legal) => Err("a body has no control characters".to_owned()),
        _ => Ok(()),
    }
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { limits: Limits::PATIENT, max_receives: RECEIVES_MAX, clock: Clock::system() }
    }
}

impl Clock {
    /// The system's.
    pub fn system() -> Self {
        Self::new(SystemTime::now)
    }

    /// Another one, for tests.
    pub fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// What time it is.
    pub fn now(&self) -> SystemTime {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_text_that_every_queue_takes() {
        for good in ["x", "{\"a\": \"é🎥\"}\r\n\t", &"x".repeat(BODY_BYTES_MAX)] {
            assert_eq!(check_body(good), Ok(()));
        }
        for bad in ["", "\0", "a\u{1b}b", "\u{fffe}", &"x".repeat(BODY_BYTES_MAX + 1)] {
            assert!(check_body(bad).is_err(), "{bad:.9}");
        }
    }
}
