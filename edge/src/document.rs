//! Small texts that change: multivariant playlists, recordings' playlists, the list of streams. One question upstream at
//! a time per key.
//!
//! Every version is compressed once. Where the origins fail, or are slow, a version that is not too old stands in. Live
//! media playlists are not asked for here: [`crate::hub`] follows them.

use crate::failure::Failure;
use crate::flight::Head;
use crate::key::Key;
use crate::ledger::{Charge, Ledger};
use crate::policy::{QUICK_WAIT, Rules};
use crate::trail::Trail;
use crate::upstream::{Upstream, Wait, strong};
use crate::vod::Vod;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderValue, StatusCode};
use media::route::Route;
use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OnceCell, watch};
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

/// Shorter texts are not worth compressing.
const GZIP_BYTES_MIN: usize = 256;

/// Longer ones take milliseconds: not on a thread that others wait for.
const GZIP_BYTES_INLINE_MAX: usize = 64 * 1024;

/// One version of a text.
#[derive(Debug)]
pub(crate) struct Document {
    /// Status, type, ETag, time.
    pub(crate) head: Head,
    /// The text.
    pub(crate) plain: Bytes,
    /// Its ETag as it is sent.
    pub(crate) etag: Option<HeaderValue>,
    /// The same by gzip, once somebody wanted it.
    zipped: OnceCell<Option<Zipped>>,
    _charge: Charge,
}

/// A text by gzip.
#[derive(Debug, Clone)]
pub(crate) struct Zipped {
    /// Its bytes.
    pub(crate) bytes: Bytes,
    /// Other bytes, another ETag.
    pub(crate) etag: Option<HeaderValue>,
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

impl How {
    /// How many there are.
    pub(crate) const COUNT: usize = Self::Late as usize + 1;
}

/// Everything of that kind.
#[derive(Debug, Clone)]
pub(crate) struct Documents {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    desks: Mutex<HashMap<Place, Desk>>,
    upstream: Arc<Upstream>,
    /// Where recordings are read from.
    vod: Vod,
    ledger: Arc<Ledger>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A key; and, where somebody asks again since a fetch was refused for another's longer way, how many edges he came
/// through.
type Place = (Key, Option<usize>);

type Outcome = Result<Arc<Document>, Failure>;

/// What is known about one key.
#[derive(Debug, Default)]
struct Desk {
    /// Who fetches it, and behind how many edges he is who asked for that.
    running: Option<(watch::Receiver<Option<Outcome>>, usize)>,
    last: Option<(Outcome, Instant)>,
    good: Option<Arc<Document>>,
}

impl Document {
    /// A text, paid for from `ledger`. `None`: there is no room for it.
    pub(crate) fn new(head: Head, plain: Bytes, ledger: &Arc<Ledger>) -> Option<Self> {
        let bytes = (plain.len() as u64).saturating_mul(3) / 2;
        let charge = ledger.charge(bytes.saturating_add(DOCUMENT_BYTES))?;
        let etag = head.etag.clone().filter(strong);
        Some(Self { head, plain, etag, zipped: OnceCell::new(), _charge: charge })
    }

    /// The same by gzip, if that is shorter. Made once, for the first who wants it; the others wait, but no thread does.
    pub(crate) async fn zipped(&self) -> Option<Zipped> {
        let made = self.zipped.get_or_init(|| async {
            let bytes = match self.plain.len() {
                ..GZIP_BYTES_MIN => None,
                GZIP_BYTES_MIN..=GZIP_BYTES_INLINE_MAX => gzip(&self.plain),
                _ => {
                    let plain = self.plain.clone();
                    tokio::task::spawn_blocking(move || gzip(&plain)).await.ok().flatten()
                }
            }?;
            Some(Zipped { bytes, etag: self.etag.as_ref().and_then(gzip_etag) })
        });
        made.await.clone()
    }

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
        vod: Vod,
        ledger: Arc<Ledger>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let desks = Mutex::default();
        Self { shared: Arc::new(Shared { desks, upstream, vod, ledger, tasks, stop }) }
    }

    /// The document of a key. Anything but 200 and 4xx is a failure.
    pub(crate) async fn get(
        &self,
        key: &Key,
        rules: &Rules,
        prefer: &[usize],
        trail: &Trail,
    ) -> Result<(Arc<Document>, How), Failure> {
        let (result, hops) = self.once((key.clone(), None), rules, prefer, trail).await;
        match result {
            // The second time he joins nobody who came by a longer way than he.
            Err(failure) if failure.is_of_a_longer_way(hops, trail.len()) => {
                self.once((key.clone(), Some(trail.len())), rules, prefer, trail).await.0
            }
            result => result,
        }
    }

    /// The document, or why there is none; and behind how many edges he is for whom that was found out.
    async fn once(
        &self,
        place: Place,
        rules: &Rules,
        prefer: &[usize],
        trail: &Trail,
    ) -> (Result<(Arc<Document>, How), Failure>, usize) {
        let now = Instant::now();
        let ((mut running, hops), how, spare) = {
            let mut desks = self.shared.lock();
            if desks.len() >= DESKS_MAX && !desks.contains_key(&place) {
                make_place(&mut desks);
            }
            if desks.len() >= DESKS_MAX && !desks.contains_key(&place) {
                return (Err(Failure::Busy), 0);
            }
            let desk = desks.entry(place.clone()).or_default();
            let spare = desk.good.clone().filter(|good| good.kept(now) < rules.stale);
            if let Some(known) = desk.known(rules, now) {
                return (or_spare(known, How::Hit, spare), 0);
            }
            let joined = desk.running.clone().filter(|(running, _)| running.has_changed().is_ok());
            let how = if joined.is_some() { How::Collapsed } else { How::Miss };
            let running = joined.unwrap_or_else(|| self.start(desk, place, prefer.to_vec(), trail.clone()));
            (running, how, spare)
        };
        // Who has something to fall back on doesn't wait for long.
        let answer = running.wait_for(Option::is_some);
        let answer = match &spare {
            Some(spare) => match timeout(rules.patience, answer).await {
                Ok(answer) => answer,
                Err(_) => return (Ok((Arc::clone(spare), How::Late)), hops),
            },
            None => answer.await,
        };
        let outcome = match answer {
            Ok(outcome) => outcome.clone().unwrap_or(Err(Failure::Abandoned)),
            Err(_) => Err(Failure::Abandoned),
        };
        (or_spare(outcome, how, spare), hops)
    }

    /// Forgets what nobody will be told any more.
    pub(crate) fn sweep(&self, now: Instant) {
        self.shared.lock().retain(|_, desk| {
            desk.drop_ended();
            desk.running.is_some()
                || desk.last.as_ref().is_some_and(|(_, at)| now.saturating_duration_since(*at) < KEEP)
        });
    }

    /// Keys that are known.
    pub(crate) fn count(&self) -> usize {
        self.shared.lock().len()
    }

    fn start(
        &self,
        desk: &mut Desk,
        place: Place,
        prefer: Vec<usize>,
        trail: Trail,
    ) -> (watch::Receiver<Option<Outcome>>, usize) {
        let ((sender, receiver), hops) = (watch::channel(None), trail.len());
        desk.running = Some((receiver.clone(), hops));
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn(async move {
            let outcome = shared.bring(&place.0, &prefer, &trail).await.map(Arc::new);
            if let Some(desk) = shared.lock().get_mut(&place) {
                desk.running = None;
                // What was refused for the way by which one viewer came is no news for others.
                let common = outcome.as_ref().err().is_none_or(|failure| !failure.is_of_a_longer_way(hops, 0));
                if common {
                    desk.last = Some((outcome.clone(), Instant::now()));
                }
                if let Ok(document) = &outcome
                    && document.is_good()
                {
                    desk.good = Some(Arc::clone(document));
                }
            }
            sender.send_replace(Some(outcome));
        });
        (receiver, hops)
    }
}

impl Shared {
    async fn bring(&self, key: &Key, prefer: &[usize], trail: &Trail) -> Result<Document, Failure> {
        let wait =
            Wait { head: QUICK_WAIT, held: false, past: matches!(key.route, Route::Vod(_) | Route::VodKey { .. }) };
        let answer = async {
            if let Route::Vod(_) = &key.route
                && let Some((head, feed)) = self.vod.get(key).await?
            {
                return Ok((head, feed.collect(DOCUMENT_BYTES_MAX).await?));
            }
            let answer = self.upstream.get(key, wait, prefer, trail).await?;
            let plain = answer.feed.collect(DOCUMENT_BYTES_MAX).await?;
            if answer.head.length.is_some_and(|length| length != plain.len() as u64) {
                return Err(Failure::Broken);
            }
            Ok((answer.head, plain))
        };
        let (head, plain) = tokio::select! {
            biased;
            answer = answer => answer?,
            () = self.stop.cancelled() => return Err(Failure::Leaving),
        };
        Document::new(head, plain, &self.ledger).ok_or(Failure::NoRoom)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Desk>> {
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
        if self.running.as_ref().is_some_and(|(running, _)| running.has_changed().is_err()) {
            self.running = None;
        }
    }
}

/// Forgets the key that was answered longest ago.
fn make_place(desks: &mut HashMap<Place, Desk>) {
    let idle = desks.iter().filter(|(_, desk)| desk.running.is_none());
    let oldest = idle.min_by_key(|(_, desk)| desk.last.as_ref().map(|(_, at)| *at)).map(|(key, _)| key.clone());
    if let Some(key) = oldest {
        desks.remove(&key);
    }
}

/// What came, unless it is a failure or a 4xx and something good can stand in: an origin that just restarted does not
/// know yet what it has.
fn or_spare(outcome: Outcome, how: How, spare: Option<Arc<Document>>) -> Result<(Arc<Document>, How), Failure> {
    match (outcome, spare) {
        (Ok(document), _) if document.is_good() => Ok((document, how)),
        (_, Some(spare)) => Ok((spare, How::Stale)),
        (outcome, None) => outcome.map(|document| (document, how)),
    }
}

fn gzip_etag(etag: &HeaderValue) -> Option<HeaderValue> {
    let tag = etag.to_str().ok()?.strip_suffix('"')?;
    HeaderValue::try_from(format!("{tag}-gz\"")).ok()
}

fn gzip(plain: &[u8]) -> Option<Bytes> {
    // Fast: most texts are replaced within a second.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).ok()?;
    let zipped = encoder.finish().ok()?;
    (zipped.len() < plain.len()).then(|| Bytes::copy_from_slice(&zipped))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn head(etag: Option<HeaderValue>) -> Head {
        let (status, received, age) = (StatusCode::OK, Instant::now(), Duration::ZERO);
        Head { status, length: None, content_type: None, etag, received, age }
    }

    #[tokio::test]
    async fn each_form_of_a_text_has_its_own_etag() {
        let ledger = Ledger::new(1 << 20);
        for (etag, plain, gzip) in
            [("\"a\"", Some("\"a\""), Some("\"a-gz\"")), ("\"\"", Some("\"\""), Some("\"-gz\"")), ("a", None, None)]
        {
            let text = Bytes::from("#EXTINF:2.0,\n".repeat(100));
            let document = Document::new(head(Some(HeaderValue::from_static(etag))), text, &ledger).unwrap();
            assert_eq!(document.etag, plain.map(HeaderValue::from_static));
            assert_eq!(document.zipped().await.unwrap().etag, gzip.map(HeaderValue::from_static));
        }
    }

    /// On a runtime of one thread, whoever else is ready gets its turn while a long text is compressed.
    #[tokio::test]
    async fn a_long_text_is_compressed_on_another_thread() {
        let ledger = Ledger::new(1 << 24);
        for (lines, others_first) in [(1000, false), (100_000, true)] {
            let text = Bytes::from("#EXTINF:2.0,\n".repeat(lines));
            let document = Document::new(head(None), text, &ledger).unwrap();
            let turn = async {
                tokio::task::yield_now().await;
            };
            let first = tokio::select! {
                biased;
                zipped = document.zipped() => zipped.is_none(),
                () = turn => true,
            };
            assert_eq!(first, others_first, "{lines} lines");
            assert!(document.zipped().await.is_some());
        }
    }

    #[tokio::test]
    async fn long_texts_are_compressed_once_and_come_back_whole() {
        let ledger = Ledger::new(1 << 20);
        let head = head(None);
        for length in [0, 100, 1000, 100_000] {
            let plain = Bytes::from("#EXTINF:2.0,\n".repeat(length / 13));
            let document = Document::new(head.clone(), plain.clone(), &ledger).unwrap();
            match document.zipped().await {
                None => assert!(plain.len() < GZIP_BYTES_MIN),
                Some(Zipped { bytes: zipped, .. }) => {
                    let mut text = Vec::new();
                    flate2::read::GzDecoder::new(zipped.as_ref()).read_to_end(&mut text).unwrap();
                    assert!(text == plain && zipped.len() < plain.len() / 2);
                    assert_eq!(document.zipped().await.unwrap().bytes.as_ptr(), zipped.as_ptr());
                }
            }
        }
    }
}
