//! What was fetched from a server: plain data, so that every rule is a function of it.
//!
//! Nothing here fetches or judges. Times are seconds since the look began, by the looker's own clock.

use super::parse::ByteRange;
use bytes::Bytes;
use http::HeaderMap;
use url::Url;

/// Everything that one look at a stream brought back.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The address that was asked for.
    pub start: Url,
    /// The multivariant playlist, if the address was one.
    pub multivariant: Option<Fetch>,
    /// The media playlists over time.
    pub playlists: Vec<Watched>,
    /// Segments, parts, init segments and I-frames, in the order fetched.
    pub files: Vec<Fetch>,
    /// Keys of what is encrypted as a whole.
    pub keys: Vec<Fetch>,
    /// Requests that try how the server behaves.
    pub probes: Vec<Probe>,
}

/// One media playlist, fetched again and again.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Its address, without delivery directives.
    pub url: Url,
    /// What it is there for.
    pub role: Role,
    /// Its answers in the order they were asked for, delivery directives of the live edge included.
    pub snapshots: Vec<Fetch>,
}

/// What a media playlist is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A variant stream with a picture.
    Video,
    /// An audio rendition or an audio-only variant.
    Audio,
    /// An I-frame playlist.
    IFrames,
    /// Subtitles and the like.
    Other,
    /// The address given was a media playlist, so nothing says.
    Alone,
}

/// One request and what came of it.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// Where it went, after redirects of playlists (those of media are not followed).
    pub url: Url,
    /// Which bytes were asked for; `None` is all.
    pub range: Option<ByteRange>,
    /// When the request was sent, in seconds.
    pub sent_s: f64,
    /// When the first byte of the body was there, in seconds.
    pub first_byte_s: f64,
    /// When the last one was, in seconds.
    pub done_s: f64,
    /// The answer, or why there is none.
    pub outcome: Result<Answer, String>,
}

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// The version of HTTP that it came by.
    pub version: http::Version,
    /// The version of TLS, as `TLSv1.3`; `None` without TLS.
    pub tls: Option<String>,
    /// Its headers.
    pub headers: HeaderMap,
    /// The body, its content encoding undone.
    pub body: Bytes,
}

/// A request that tries how the server behaves.
#[derive(Debug, Clone)]
pub struct Probe {
    /// What was tried.
    pub asked: Asked,
    /// Of which of [`Observed::playlists`], by index.
    pub playlist: usize,
    /// What came of it.
    pub fetch: Fetch,
}

/// What a probe tried.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// `_HLS_part` without `_HLS_msn`.
    PartWithoutMsn,
    /// A media sequence number more than two beyond the end.
    MsnTooFar,
    /// A part further ahead than the Advance Part Limit.
    PartTooFar,
    /// A number that has left the playlist.
    OldMsn,
    /// A part index that segment `msn`, which is complete, does not have.
    PartBeyondEnd {
        /// The complete segment.
        msn: u64,
    },
    /// The next part, or with no part the next segment.
    Next {
        /// Its segment's number.
        msn: u64,
        /// Its index.
        part: Option<u64>,
    },
    /// `_HLS_skip=YES`.
    Delta,
    /// `_HLS_msn` on an I-frame playlist.
    IFramesNext {
        /// The number asked for.
        msn: u64,
    },
    /// Delivery directives on a playlist that has ended.
    AfterEnd,
    /// The part that EXT-X-PRELOAD-HINT announced.
    Hinted,
    /// A part nobody announced.
    Unknown,
    /// A file that was fetched before; the answer must be the same.
    Again,
    /// A segment that has just left the playlist.
    DroppedSegment,
    /// A part whose EXT-X-PART has just left the playlist.
    DroppedPart,
}

impl Fetch {
    /// The answer, if there is one and it is a success.
    pub fn success(&self) -> Option<&Answer> {
        self.outcome.as_ref().ok().filter(|answer| (200..300).contains(&answer.status))
    }

    /// Status and reason in words.
    pub fn said(&self) -> String {
        match &self.outcome {
            Ok(answer) => format!("answered {}", answer.status),
            Err(why) => format!("did not answer: {why}"),
        }
    }
}

impl Answer {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// `Content-Type` without its parameters, in lower case.
    pub fn content_type(&self) -> Option<String> {
        let value = self.header("content-type")?;
        Some(value.split(';').next().unwrap_or("").trim().to_ascii_lowercase())
    }

    /// A directive of `Cache-Control`: `Some(None)` if it has no value.
    pub fn cache_directive(&self, name: &str) -> Option<Option<u64>> {
        self.header("cache-control")?.split(',').find_map(|part| {
            let (key, value) = part.split_once('=').map_or((part, None), |(key, value)| (key, Some(value)));
            key.trim().eq_ignore_ascii_case(name).then(|| value.and_then(|value| value.trim().parse().ok()))
        })
    }
}
