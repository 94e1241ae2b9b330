//! Small texts that change: playlists and the list of streams. One question upstream at a time per key.
//!
//! Every version is compressed once, when it comes. Where the origins fail, or are slow, a version that is not too old
//! stands in. Knows nothing of media sequence numbers: that is [`crate::hub`]'s.

use crate::failure::Failure;
use crate::flight::Head;
use crate::key::Key;
use crate::ledger::{Charge, Ledger};
use crate::playlist::Facts;
use crate::policy::{Class, Rules};
use crate::upstream::{Upstream, Wait};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::StatusCode;
use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longest document: a media playlist of a day in segments of two seconds.
const DOCUMENT_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Most keys that are known at a time.
const DESKS_MAX: usize = 4096;

/// What a document costs beside its bytes. Rounded up.
const DOCUMENT_BYTES: u64 = 1024;

/// How long a document that nobody asks for is kept: as long as one may stand in.
const KEEP: Duration = Duration::from_secs(60);

/// How long the answer to one wait is kept. The hub has the newest; this only collapses who comes a little late.
const KEEP_WAITS: Duration = Duration::from_secs(2);

/// Shorter texts are not worth compressing.
const GZIP_BYTES_MIN: usize = 256;

/// Longer ones are compressed where they hold nobody up.
const GZIP_INLINE_BYTES_MAX: usize = 64 * 1024;

/// One version of a text.
#[derive(Debug)]
pub(crate) struct Document {
    /// Status, type, ETag, time.
    pub(crate) head: Head,
    /// The text.
    pub(crate) plain: Bytes,
    /// The same by gzip, if that is shorter.
    pub(crate) zipped: Option<Bytes>,
    /// For media playlists: how far they are.
    pub(crate) facts: Option<Facts>,
    _charge: Charge,
}

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// It was here.
    Hit,
    /// It was fetched for this request.
    Miss,
    /// Somebody else's fetch brought it.
    Collapsed,
    /// It is past its time, and the origins fail.
    Stale,
    /// It is past its time, and the origins are slow.
    Late,
}

/// Everything of that kind.
#[derive(Debug, Clone)]
pub(crate) struct Documents {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    desks: Mutex<HashMap<Key, Desk>>,
    upstream: Arc<Upstream>,
    ledger: Arc<Ledger>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Cancelled when viewers who wait are to be sent home.
    leaving: CancellationToken,
}

type Outcome = Result<Arc<Document>, Failure>;

/// What is known about one key.
#[derive(Debug, Default)]
struct Desk {
    running: Option<watch::Receiver<Option<Outcome>>>,
    last: Option<(Outcome, Instant)>,
    good: Option<Arc<Document>>,
}

impl Document {
    /// How old it is now.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.head.received).saturating_add(self.head.age)
    }

    /// How long it has been here.
    pub(crate) fn kept(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.head.received)
    }

    fn is_good(&self) -> bool {
        self.head.status == StatusCode::OK
    }
}

impl Documents {
    /// None yet.
    pub(crate) fn new(
        upstream: Arc<Upstream>,
        ledger: Arc<Ledger>,
        tasks: TaskTracker,
        stop: CancellationToken,
        leaving: CancellationToken,
    ) -> Self {
        let desks = Mutex::default();
        Self { shared: Arc::new(Shared { desks, upstream, ledger, tasks, stop, leaving }) }
    }

    /// The document of a key. Anything but 200 and 4xx is a failure.
    pub(crate) async fn get(&self, key: &Key, rules: &Rules, wait: Wait) -> Result<(Arc<Document>, How), Failure> {
        let now = Instant::now();
        let (mut running, how, spare) = {
            let mut desks = self.shared.lock();
            if desks.len() >= DESKS_MAX && !desks.contains_key(key) {
                make_place(&mut desks);
            }
            if desks.len() >= DESKS_MAX && !desks.contains_key(key) {
                return Err(Failure::Busy);
            }
            let desk = desks.entry(key.clone()).or_default();
            let spare = desk.good.clone().filter(|good| good.kept(now) < rules.stale);
            if let Some(known) = desk.known(rules, now) {
                return known.map(|document| (document, How::Hit)).or_else(|failure| spare_or(spare, failure));
            }
            let joined = desk.running.clone().filter(|running| running.has_changed().is_ok());
            let how = if joined.is_some() { How::Collapsed } else { How::Miss };
            let running = joined.unwrap_or_else(|| self.start(desk, key.clone(), wait));
            (running, how, spare)
        };
        // Who has something to fall back on doesn't wait for long.
        let answer = running.wait_for(Option::is_some);
        let answer = match &spare {
            Some(spare) => match timeout(rules.patience, answer).await {
                Ok(answer) => answer,
                Err(_) => return Ok((Arc::clone(spare), How::Late)),
            },
            None => answer.await,
        };
        let outcome = match answer {
            Ok(outcome) => outcome.clone().unwrap_or(Err(Failure::Abandoned)),
            Err(_) => Err(Failure::Abandoned),
        };
        outcome.map(|document| (document, how)).or_else(|failure| spare_or(spare, failure))
    }

    /// Forgets what nobody will be told any more.
    pub(crate) fn sweep(&self, now: Instant) {
        self.shared.lock().retain(|key, desk| {
            desk.drop_ended();
            let keep = if key.waits_for().is_some() { KEEP_WAITS } else { KEEP };
            desk.running.is_some()
                || desk.last.as_ref().is_some_and(|(_, at)| now.saturating_duration_since(*at) < keep)
        });
    }

    /// Keys that are known.
    pub(crate) fn count(&self) -> usize {
        self.shared.lock().len()
    }

    fn start(&self, desk: &mut Desk, key: Key, wait: Wait) -> watch::Receiver<Option<Outcome>> {
        let (sender, receiver) = watch::channel(None);
        desk.running = Some(receiver.clone());
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn(async move {
            let outcome = shared.bring(&key, wait).await.map(Arc::new);
            if let Some(desk) = shared.lock().get_mut(&key) {
                desk.running = None;
                desk.last = Some((outcome.clone(), Instant::now()));
                if let Ok(document) = &outcome
                    && document.is_good()
                {
                    desk.good = Some(Arc::clone(document));
                }
            }
            sender.send_replace(Some(outcome));
        });
        receiver
    }
}

impl Shared {
    async fn bring(&self, key: &Key, wait: Wait) -> Result<Document, Failure> {
        let answer = async {
            let answer = self.upstream.get(key, wait).await?;
            let plain = answer.feed.collect(DOCUMENT_BYTES_MAX).await?;
            if answer.head.length.is_some_and(|length| length != plain.len() as u64) {
                return Err(Failure::Broken);
            }
            Ok((answer.head, plain))
        };
        let sent_home = async {
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = self.leaving.cancelled(), if wait.held => {}
            }
        };
        let (head, plain) = tokio::select! {
            biased;
            answer = answer => answer?,
            () = sent_home => return Err(Failure::Leaving),
        };
        let of_rendition = matches!(Class::of(&key.route), Class::Playlist | Class::IFrames);
        let facts = if of_rendition && head.status == StatusCode::OK {
            Some(Facts::parse(&plain).ok_or(Failure::Nonsense("no media playlist"))?)
        } else {
            None
        };
        let zipped = zip(plain.clone()).await;
        let bytes = plain.len().saturating_add(zipped.as_ref().map_or(0, Bytes::len)) as u64;
        let charge = self.ledger.charge(bytes.saturating_add(DOCUMENT_BYTES)).ok_or(Failure::NoRoom)?;
        Ok(Document { head, plain, zipped, facts, _charge: charge })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Desk>> {
        // Nothing panics while it holds the lock.
        self.desks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    /// What was learnt last, if it still holds.
    fn known(&self, rules: &Rules, now: Instant) -> Option<Outcome> {
        let (outcome, at) = self.last.as_ref()?;
        let holds = match outcome {
            Ok(document) if document.is_good() => rules.fresh,
            Ok(_) => rules.missing,
            Err(_) => rules.broken,
        };
        (now.saturating_duration_since(*at) < holds).then(|| outcome.clone())
    }

    /// A task that is gone without a word leaves its receiver behind.
    fn drop_ended(&mut self) {
        if self.running.as_ref().is_some_and(|running| running.has_changed().is_err()) {
            self.running = None;
        }
    }
}

/// Forgets the key that was answered longest ago.
fn make_place(desks: &mut HashMap<Key, Desk>) {
    let idle = desks.iter().filter(|(_, desk)| desk.running.is_none());
    let oldest = idle.min_by_key(|(_, desk)| desk.last.as_ref().map(|(_, at)| *at)).map(|(key, _)| key.clone());
    if let Some(key) = oldest {
        desks.remove(&key);
    }
}

fn spare_or(spare: Option<Arc<Document>>, failure: Failure) -> Result<(Arc<Document>, How), Failure> {
    spare.map(|document| (document, How::Stale)).ok_or(failure)
}

async fn zip(plain: Bytes) -> Option<Bytes> {
    match plain.len() {
        ..GZIP_BYTES_MIN => None,
        GZIP_BYTES_MIN..=GZIP_INLINE_BYTES_MAX => gzip(&plain),
        _ => tokio::task::spawn_blocking(move || gzip(&plain)).await.ok().flatten(),
    }
}

fn gzip(plain: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).ok()?;
    let zipped = encoder.finish().ok()?;
    (zipped.len() < plain.len()).then(|| Bytes::copy_from_slice(&zipped))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[tokio::test]
    async fn long_texts_are_compressed_and_come_back_whole() {
        for length in [0, 100, 1000, 100_000] {
            let plain = Bytes::from("#EXTINF:2.0,\n".repeat(length / 13));
            match zip(plain.clone()).await {
                None => assert!(plain.len() < GZIP_BYTES_MIN),
                Some(zipped) => {
                    let mut text = Vec::new();
                    flate2::read::GzDecoder::new(zipped.as_ref()).read_to_end(&mut text).unwrap();
                    assert!(text == plain && zipped.len() < plain.len() / 2);
                }
            }
        }
    }
}
