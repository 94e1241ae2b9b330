//! What can go wrong between Rust and libav.

use crate::wire::Malformed;

/// Why a codec, a scaler, the ladder or its child could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// This build of FFmpeg lacks a codec.
    #[error("this FFmpeg has no {0}: install a full libavcodec (Debian: libavcodec59 with libx264)")]
    Missing(&'static str),
    /// libav refused something.
    #[error("{what}: {why}")]
    Libav {
        /// What was tried.
        what: &'static str,
        /// libav's own words.
        why: ffmpeg_next::Error,
    },
    /// No memory, mostly because of the child's limit.
    #[error("out of memory for {0}")]
    Memory(&'static str),
    /// An option that the encoder does not know: libav ignores those silently, we do not.
    #[error("{codec} does not know the option {option}")]
    UnknownOption {
        /// The encoder.
        codec: &'static str,
        /// `name=value`.
        option: String,
    },
    /// An option that the encoder knows and did not take.
    #[error("{codec} was asked for {wanted}, and works with {got}")]
    OptionNotTaken {
        /// The encoder.
        codec: &'static str,
        /// `name=value`.
        wanted: String,
        /// What it says itself.
        got: String,
    },
    /// A value outside what this crate encodes.
    #[error("{what} is {value}, and must be {allowed}")]
    Setting {
        /// Which.
        what: &'static str,
        /// As given.
        value: String,
        /// What would do.
        allowed: &'static str,
    },
    /// A picture that is not the size or kind that was announced.
    #[error("a picture of {0}, where 8-bit 4:2:0 of the announced size was due")]
    Picture(String),
    /// The encoder wrote parameter sets that we do not understand.
    #[error("the encoder's own configuration: {0}")]
    Config(#[from] media::h264::ConfigError),
    /// A file that can't be worked with, and why; words for the broadcaster.
    #[error("{0}")]
    Source(String),
    /// A job that contradicts itself.
    #[error("the job is of no use: {0}")]
    Job(&'static str),
    /// A rung's thread ended early; it has said why through [`crate::ladder::FromLadder::Failed`].
    #[error("an encoder thread has ended early")]
    RungEnded,
    /// A thread or process could not be started, or a pipe broke.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The system's words.
        source: std::io::Error,
    },
    /// The other side of the pipe does not speak [`crate::wire`].
    #[error("between parent and child: {0}")]
    Wire(#[from] Malformed),
}

impl Error {
    /// Whether the machine or its installation is to blame, and not what was to be worked on.
    pub(crate) fn is_machine(&self) -> bool {
        match self {
            Self::Missing(_) | Self::UnknownOption { .. } | Self::OptionNotTaken { .. } => true,
            Self::Io { .. } | Self::Wire(_) => true,
            // Memory is limited, whatever the machine has.
            Self::Memory(_) | Self::Libav { .. } | Self::Setting { .. } | Self::Picture(_) | Self::Config(_) => false,
            Self::Source(_) | Self::Job(_) | Self::RungEnded => false,
        }
    }

    /// A file that can't be worked with.
    pub(crate) fn source(why: impl Into<String>) -> Self {
        Self::Source(why.into())
    }

    /// For `map_err` on libav calls.
    pub(crate) fn libav(what: &'static str) -> impl FnOnce(ffmpeg_next::Error) -> Self {
        move |why| Self::Libav { what, why }
    }

    /// For `map_err` on system calls.
    pub(crate) fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}
