//! Why we say no, in one place: the words an encoder shows, the RTMP status code it acts on, the label we count under.

use crate::ingest::Refusal;
use media::flv::FlvError;
use media::name::BadName;

/// Longest description that is sent, in bytes: ffmpeg shows the first 255.
const WORDS_BYTES_MAX: usize = 250;

/// The kinds of no. Bounded, so that they can label a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The address names another application than `live`.
    Application,
    /// The key field has no name that may be public.
    Name,
    /// Somebody else is live under that name.
    Busy,
    /// It may not publish, or has not shown that it may.
    Key,
    /// All streams are in use.
    Full,
    /// A codec that we don't take.
    Codec,
    /// Audio or video that can't be read.
    Malformed,
    /// A player: we serve HLS only.
    Playback,
    /// RTMP that makes no sense, or too much of it.
    Protocol,
    /// Nothing came for too long.
    Idle,
    /// The stream let its publisher go: taken over, ended, or refused what came.
    Ended,
    /// The server is going away.
    ShuttingDown,
}

/// A no, with its words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct Refused {
    /// Which kind.
    pub reason: Reason,
    /// A sentence for the encoder's log.
    pub words: String,
}

impl Reason {
    /// The label of `live360_rtmp_refusals_total`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::Name => "name",
            Self::Busy => "busy",
            Self::Key => "key",
            Self::Full => "full",
            Self::Codec => "codec",
            Self::Malformed => "malformed",
            Self::Playback => "playback",
            Self::Protocol => "protocol",
            Self::Idle => "idle",
            Self::Ended => "ended",
            Self::ShuttingDown => "shutting_down",
        }
    }

    /// The status code. OBS's librtmp logs code and description of InvalidApp, Denied and Play.Failed, and hangs up;
    /// BadName, the usual code for a name in use, is not among those it knows (obs-studio at 011c760a), so its user
    /// would see no words. ffmpeg shows the description of any status whose level is "error".
    pub fn code(self) -> &'static str {
        match self {
            Self::Application => "NetConnection.Connect.InvalidApp",
            Self::Protocol => "NetConnection.Connect.Rejected",
            Self::Playback => "NetStream.Play.Failed",
            Self::Name
            | Self::Busy
            | Self::Key
            | Self::Full
            | Self::Codec
            | Self::Malformed
            | Self::Idle
            | Self::Ended
            | Self::ShuttingDown => "NetStream.Publish.Denied",
        }
    }
}

impl Refused {
    /// A no with words; they are cut to what encoders show.
    pub fn new(reason: Reason, words: impl Into<String>) -> Self {
        let mut words = words.into();
        words.truncate(words.floor_char_boundary(WORDS_BYTES_MAX));
        Self { reason, words }
    }

    /// Garbage, or more than the limits allow.
    pub(super) fn protocol(error: impl std::fmt::Display) -> Self {
        Self::new(Reason::Protocol, error.to_string())
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let reason = match refusal {
            Refusal::Busy(_) => Reason::Busy,
            Refusal::Access(_) => Reason::Key,
            Refusal::ShuttingDown => Reason::ShuttingDown,
            Refusal::TooManyStreams(_) | Refusal::Disk => Reason::Full,
        };
        Self::new(reason, refusal.to_string())
    }
}

impl From<BadName> for Refused {
    fn from(error: BadName) -> Self {
        Self::new(Reason::Name, error.to_string())
    }
}

impl From<FlvError> for Refused {
    fn from(error: FlvError) -> Self {
        let reason = match error {
            FlvError::Malformed(_) => Reason::Malformed,
            FlvError::Unsupported { .. } | FlvError::Config(_) => Reason::Codec,
        };
        Self::new(reason, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_between_characters() {
        let refused = Refused::new(Reason::Name, "é".repeat(200));
        assert_eq!(refused.words, "é".repeat(125));
    }
}
