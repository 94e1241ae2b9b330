//! Where a track's newest playlist is pinned up, for viewers who wait and for those who come.

use super::{Shared, Skip};
use crate::document::Document;
use crate::failure::Failure;
use crate::flight::Head;
use crate::follow::{Shown, Source};
use crate::playlist::{Facts, Text, delta};
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use media::route::File;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::watch;

/// Media type of playlists.
const PLAYLIST_TYPE: HeaderValue = HeaderValue::from_static("application/vnd.apple.mpegurl");

/// Digits of an ETag that is made here: half of a SHA-256.
const TAG_BYTES: usize = 16;

/// What is further behind the tip than this is not live any more: no player who wants to be live is.
const PAST: Duration = Duration::from_secs(120);

/// Where segments are long, at least as many count as live.
const LIVE_SEGMENTS_MIN: u128 = 8;

/// One version of a playlist.
#[derive(Debug)]
pub(crate) struct Version {
    /// What it says.
    pub(crate) text: Arc<Text>,
    /// What counts in it.
    pub(crate) facts: Facts,
    /// Which origins' numbers grow in it: changes with a takeover that breaks.
    lineage: u32,
    whole: Arc<Document>,
    /// Made when the first viewer asks for it. `None`: the whole one is as good.
    delta: OnceLock<Option<Arc<Document>>>,
}

/// What hangs on a board.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notice {
    /// The newest playlist.
    pub(crate) version: Option<Arc<Version>>,
    /// What is wrong, if something is.
    pub(crate) trouble: Trouble,
}

/// How a track's followers fare.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nobody has answered yet.
    #[default]
    NotYet,
    /// Well.
    None,
    /// No origin answers at the moment: what there is stands in.
    Stale,
    /// No origin has it.
    Missing,
    /// No origin answers.
    Failed(Failure),
}

/// What a viewer finds.
#[derive(Debug)]
pub(crate) enum Place {
    /// This. `true`: it stands in.
    Shown(Arc<Version>, bool),
    /// 404.
    Missing,
    /// No answer from anybody.
    Failed(Failure),
    /// It takes a moment.
    NotYet,
}

/// Whether a media file is there.
#[derive(Debug)]
pub(crate) enum Listed {
    /// The playlist lists it, or it is of a kind that is never waited for.
    Now(Source),
    /// The same, far behind what is live.
    Past(Source),
    /// It is the next one: to be waited for. The board tells when it is listed.
    Next(Source, Board),
    /// It is not, and won't be for a while.
    Gone,
    /// The stream is not followed: the origins know.
    Unknown(Source),
}

/// A place before a board.
#[derive(Debug, Clone)]
pub(crate) struct Board(pub(super) watch::Receiver<Notice>);

impl Board {
    /// What hangs there now.
    pub(crate) fn now(&mut self) -> Notice {
        self.0.borrow_and_update().clone()
    }

    /// Waits for something else to hang there. `false`: nothing ever will.
    pub(crate) async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }

    /// Waits until the playlist lists a file (`true`), or another lineage took over before it did (`false`).
    pub(crate) async fn lists(&mut self, file: &File, lineage: u32) -> bool {
        let over = |notice: &Notice| notice.version.as_ref().is_some_and(|version| version.lineage != lineage);
        let listed = |notice: &Notice| notice.version.as_ref().is_some_and(|version| version.lists(file));
        let came = self.0.wait_for(|notice| over(notice) || listed(notice)).await.map(|notice| !over(&notice));
        match came {
            Ok(came) => came,
            // A board that is gone has nothing more to say.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Listed {
    /// Of which lineage it is. `None`: of none.
    pub(crate) fn lineage(&self) -> Option<u32> {
        match self {
            Self::Now(source) | Self::Past(source) | Self::Next(source, _) | Self::Unknown(source) => {
                Some(source.lineage)
            }
            Self::Gone => None,
        }
    }
}

impl Notice {
    /// What a viewer finds.
    pub(crate) fn place(&self) -> Place {
        match (&self.version, &self.trouble) {
            (Some(version), Trouble::None) => Place::Shown(Arc::clone(version), false),
            (Some(version), Trouble::Stale) => Place::Shown(Arc::clone(version), true),
            (_, Trouble::Missing) => Place::Missing,
            (_, Trouble::Failed(failure)) => Place::Failed(failure.clone()),
            _ => Place::NotYet,
        }
    }
}

impl Version {
    /// A playlist to be shown. `None`: no memory is left for it.
    pub(crate) fn new(shown: &Shown, lineage: u32, shared: &Shared) -> Option<Self> {
        let tag = shown.etag.clone().or_else(|| tag(shown.text.all.as_bytes()));
        let whole = document(Bytes::from_owner(Owned(Arc::clone(&shown.text))), tag, shown.at, shown.age, shared)?;
        let (text, facts) = (Arc::clone(&shown.text), shown.text.facts);
        Some(Self { text, facts, lineage, whole: Arc::new(whole), delta: OnceLock::new() })
    }

    /// The text for a request: whole, or what changed.
    pub(crate) fn document(&self, skip: Option<Skip>, shared: &Shared) -> Arc<Document> {
        if skip.is_none() {
            return Arc::clone(&self.whole);
        }
        let make = || {
            let text = delta(&self.text)?;
            let (tag, head) = (tag(text.as_bytes()), &self.whole.head);
            document(text.into(), tag, head.received, head.age, shared).map(Arc::new)
        };
        self.delta.get_or_init(make).clone().unwrap_or_else(|| Arc::clone(&self.whole))
    }

    /// Whether a file is listed as there.
    pub(crate) fn lists(&self, file: &File) -> bool {
        let tip = self.facts.tip;
        match file {
            File::Segment(msn) => *msn < tip.open,
            File::Part(msn, part) if msn.checked_add(1) == Some(tip.open) => *part < tip.last_parts,
            File::Part(msn, part) if *msn == tip.open => *part < tip.parts,
            File::Part(msn, part) => *msn < tip.open && u128::from(*part) < self.parts_max(),
            _ => true,
        }
    }

    /// More parts than that no segment has.
    fn parts_max(&self) -> u128 {
        let part = self.facts.part.unwrap_or(self.facts.target).as_millis().max(1);
        // A part may be as short as an encoder's hiccup makes it.
        (self.facts.target.as_millis() / part).saturating_add(1).saturating_mul(2).max(self.facts.tip.last_parts.into())
    }

    /// Whether a number left the window so long ago that no player has a playlist with it: as long as a playlist lasts
    /// (§6.2.2).
    fn is_long_gone(&self, msn: u64) -> bool {
        let listed = self.facts.tip.open.saturating_sub(self.text.first());
        msn < self.text.first().saturating_sub(listed)
    }

    /// Whether a number is far behind what is live.
    fn is_past(&self, msn: u64) -> bool {
        let live = PAST.as_millis() / self.facts.target.as_millis().max(1);
        u128::from(self.facts.tip.open.saturating_sub(msn)) > live.max(LIVE_SEGMENTS_MIN)
    }

    /// Whether a file is the next one to come.
    pub(crate) fn hints(&self, file: &File) -> bool {
        let tip = self.facts.tip;
        let next = match file {
            File::Segment(msn) => *msn == tip.open,
            // The segment may be whole with what is listed: then the next part is the next segment's first, and the
            // playlist says so.
            File::Part(msn, part) => {
                let first =
                    tip.open.checked_add(1).map(|next| (next, 0)).filter(|first| self.text.hint == Some(*first));
                (*msn, *part) == first.unwrap_or((tip.open, tip.parts))
            }
            _ => false,
        };
        next && !tip.ended
    }
}

/// Where a file's media come from, by what hangs on the board.
pub(super) fn listed(version: &Version, file: &File, source: Source, board: impl FnOnce() -> Board) -> Listed {
    match file {
        File::Segment(msn) | File::Part(msn, _) if version.is_long_gone(*msn) => Listed::Gone,
        File::Segment(msn) | File::Part(msn, _) if version.lists(file) && version.is_past(*msn) => Listed::Past(source),
        File::Segment(_) | File::Part(..) if version.lists(file) => Listed::Now(source),
        File::Segment(_) | File::Part(..) if version.hints(file) => Listed::Next(source, board()),
        File::Segment(_) | File::Part(..) => Listed::Gone,
        _ => Listed::Now(source),
    }
}

fn document(
    plain: Bytes,
    etag: Option<HeaderValue>,
    received: std::time::Instant,
    age: Duration,
    shared: &Shared,
) -> Option<Document> {
    let length = Some(plain.len() as u64);
    let head = Head { status: StatusCode::OK, length, content_type: Some(PLAYLIST_TYPE), etag, received, age };
    Document::new(head, plain, &shared.ledger)
}

/// A content hash as an ETag.
fn tag(text: &[u8]) -> Option<HeaderValue> {
    let mut tag = String::from("\"");
    for byte in Sha256::digest(text).iter().take(TAG_BYTES) {
        // Writing to a string cannot fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    HeaderValue::from_str(&tag).ok()
}

/// A text's bytes, without copying them.
struct Owned(Arc<Text>);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        self.0.all.as_bytes()
    }
}
