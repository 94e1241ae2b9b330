//! What an operator can do to a stream, in types: acts, and why one can't be done.
//!
//! Knows no HTTP and no streams; the binary reads acts from requests, `live::stream` carries them out.

use media::name::StreamName;
use media::projection::{Projection, Stereo};
use serde::{Deserialize, Serialize};
use service::config::Record;

/// Marks of one epoch: they all stand in its asset's entry, which is read whole.
pub(crate) const MARKS_MAX: usize = 50;

/// Longest name of a mark and longest reason, in bytes.
pub const WORDS_BYTES_MAX: usize = 80;

/// Something done to a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Ends the publisher's connection, with these words for its log.
    Kick(String),
    /// Records this from now on; `None`: nothing.
    Record(Option<Record>),
    /// Names the moment of the newest picture.
    Mark(String),
    /// How the picture lies on the sphere. What is `None` stays as it is.
    Layout(Option<Projection>, Option<Stereo>),
}

/// A named moment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// UTC ms of the picture.
    pub(crate) at_ms: i64,
    pub(crate) name: String,
}

/// Why an act was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cannot {
    /// No such stream.
    #[error("there is no stream {0}")]
    NoStream(StreamName),
    /// No publisher to take off.
    #[error("nobody publishes this stream now")]
    NobodyPublishes,
    /// No picture to put a mark at.
    #[error("this stream has no pictures yet, or has ended")]
    NothingYet,
    /// No place for one more mark.
    #[error("this stream has 50 marks already, which is all that there may be")]
    TooManyMarks,
    /// No recording to stop.
    #[error("this stream is not being recorded")]
    NotRecorded,
    /// It went away while it was asked.
    #[error("the stream has just gone")]
    Gone,
}
