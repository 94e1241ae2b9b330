//! What goes into a stream's state machine, and what can be seen of it.
//!
//! Only words: what becomes of them is [`super::stream`]'s.

use super::Track;
use crate::failure::Failure;
use crate::playlist::Text;
use http::HeaderValue;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is assumed until a playlist says it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// Target duration.
    pub(crate) target: Duration,
    /// After this time without a viewer a track is no longer followed.
    pub(crate) idle: Duration,
}

/// What happened.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// A viewer asks for a playlist of this track.
    Asked(Track),
    /// A follower's question ended.
    Answered(Track, usize, Outcome),
    /// ETags of one segment were compared; `None`: they didn't come.
    Compared(Comparison, Option<bool>),
    /// Somebody says which origin is to lead, whatever happens; or no longer.
    Pinned(Option<usize>),
    /// Time passed.
    Tick,
}

/// Which ETags are to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Comparison {
    /// Of which track.
    pub(crate) track: Track,
    /// Of the origin that leads.
    pub(crate) lead: usize,
    /// And of this one.
    pub(crate) origin: usize,
    /// Of which segment, as both know it.
    pub(crate) number: u64,
    pub(super) epoch: u32,
}

/// How a follower's question ended.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// This playlist, with its age on arrival and ETag.
    Playlist(Arc<Text>, Duration, Option<HeaderValue>),
    /// The origin held it, and nothing came.
    Held,
    /// 404 or the like.
    Missing,
    /// No answer.
    Failed(Failure),
}

/// A playlist as viewers get it.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// It.
    pub(crate) text: Arc<Text>,
    /// The same as the origin wrote it.
    pub(crate) source: Arc<Text>,
    /// The origin it came from.
    pub(crate) origin: usize,
    /// When it came here.
    pub(crate) at: Instant,
    /// How old it was then.
    pub(crate) age: Duration,
    /// The origin's ETag, if the text is the origin's word for word.
    pub(crate) etag: Option<HeaderValue>,
}

/// What there is for viewers of a track.
#[derive(Debug)]
pub(crate) enum Look {
    /// What is shown. `true`: it stands in, since no origin answers.
    Shown(bool),
    /// No origin has it.
    Missing,
    /// No origin answers.
    Failed(Failure),
    /// Nobody knows yet.
    NotYet,
}
