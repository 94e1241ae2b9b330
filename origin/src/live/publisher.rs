//! Who publishes a stream now, and who may take over.
//!
//! The judgement is pure. Whether somebody may publish at all was judged before (`access`); nothing of RTMP is known.

use crate::ingest::{Claim, Ingested, Refusal};
use media::name::StreamName;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A publisher that sent nothing for so long may be taken over by anyone.
const SILENT_AFTER: Duration = Duration::from_secs(3);

/// Tags that may wait for the stream; then the connection waits.
const TAGS_WAITING_MAX: usize = 512;

/// Publishers let in so far, from 1.
static LET_IN: AtomicU64 = AtomicU64::new(1);

/// The publisher of a stream.
#[derive(Debug)]
pub(crate) struct Publisher {
    /// Tells it from all others of this process.
    pub(crate) id: u64,
    peer: IpAddr,
    media: mpsc::Receiver<Ingested>,
    last: Instant,
    revoked: CancellationToken,
    reason: Arc<OnceLock<String>>,
}

impl Publisher {
    /// A publisher from this address, and its claim.
    pub(crate) fn new(peer: IpAddr) -> (Self, Claim) {
        let (sender, media) = mpsc::channel(TAGS_WAITING_MAX);
        let (revoked, reason) = (CancellationToken::new(), Arc::new(OnceLock::new()));
        let claim = Claim { media: sender, revoked: revoked.clone(), reason: reason.clone() };
        let id = LET_IN.fetch_add(1, Ordering::Relaxed);
        (Self { id, peer, media, last: Instant::now(), revoked, reason }, claim)
    }

    /// Its next tag; `None` when it is gone.
    pub(crate) async fn next(&mut self) -> Option<Ingested> {
        let tag = self.media.recv().await;
        self.last = Instant::now();
        tag
    }

    /// Takes the claim away.
    pub(crate) fn revoke(self, reason: &str) {
        let _ = self.reason.set(reason.to_owned());
        self.revoked.cancel();
    }
}

/// Somebody asks for a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Takeover {
    /// It has shown that the stream is its own: by key, by token, or to the callback.
    pub(crate) proven: bool,
    /// Where it comes from.
    pub(crate) peer: IpAddr,
}

impl Takeover {
    /// Whoever has shown something. Else whoever comes first, the same address, or anyone after 3 s of silence.
    pub(crate) fn judge(self, holder: Option<&Publisher>, name: &StreamName, now: Instant) -> Result<(), Refusal> {
        let free = self.proven
            || holder.is_none_or(|holder| {
                let silent = now.saturating_duration_since(holder.last) >= SILENT_AFTER;
                holder.peer == self.peer || silent || holder.media.is_closed()
            });
        if free { Ok(()) } else { Err(Refusal::Busy(name.clone())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "10.0.0.1";
    const ELSEWHERE: &str = "10.0.0.2";

    fn check(proven: bool, holder: Option<&str>, peer: &str, silent_s: u64, expected: bool) {
        let name: StreamName = "foo".parse().unwrap();
        let kept = holder.map(|address| Publisher::new(address.parse().unwrap()));
        let holder = kept.as_ref().map(|(publisher, _)| publisher);
        let now = Instant::now() + Duration::from_secs(silent_s);
        let takeover = Takeover { proven, peer: peer.parse().unwrap() };
        let allowed = takeover.judge(holder, &name, now).is_ok();
        assert_eq!(allowed, expected, "proven {proven}, {peer} after {silent_s} s");
    }

    #[test]
    fn an_open_stream_is_the_firsts_the_same_addresss_or_anyones_after_silence() {
        check(false, None, HERE, 0, true);
        check(false, Some(HERE), HERE, 0, true);
        check(false, Some(HERE), ELSEWHERE, 0, false);
        check(false, Some(HERE), ELSEWHERE, 2, false);
        check(false, Some(HERE), ELSEWHERE, 3, true);
    }

    #[test]
    fn whoever_has_shown_something_takes_over_at_once() {
        check(true, Some(HERE), ELSEWHERE, 0, true);
        check(true, None, ELSEWHERE, 0, true);
    }
}
