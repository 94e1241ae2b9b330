//! The seam between a publisher's connection and a stream's life.
//!
//! The RTMP driver claims a name here and pushes parsed tags into the claim. It knows nothing of streams, rungs or
//! playlists; the stream knows nothing of RTMP.

use bytes::Bytes;
use media::aac::AudioConfig;
use media::flv::Metadata;
use media::h264::VideoConfig;
use media::name::PublishKey;
use std::future::Future;
use std::net::SocketAddr;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Somebody wants to publish.
#[derive(Debug, Clone)]
pub struct PublishRequest {
    /// Name and parameters from the encoder's address and key fields.
    pub key: PublishKey,
    /// Where the connection comes from.
    pub peer: SocketAddr,
}

/// What a publisher sends, parsed but not yet timed. RTMP timestamps are milliseconds modulo 2^32.
#[derive(Debug, Clone)]
pub enum Ingested {
    /// onMetaData (or @setDataFrame onMetaData).
    Metadata(Metadata),
    /// A decoder configuration record for H.264.
    VideoConfig(VideoConfig),
    /// One coded picture.
    Video {
        /// Decoding time.
        rtmp_ms: u32,
        /// Presentation time less decoding time, in milliseconds.
        composition_ms: i32,
        /// NAL units behind lengths, as they came.
        data: Bytes,
    },
    /// An AudioSpecificConfig for AAC.
    AudioConfig(AudioConfig),
    /// One raw AAC block.
    Audio {
        /// Presentation time.
        rtmp_ms: u32,
        /// The block, without ADTS.
        data: Bytes,
    },
}

/// A claimed name: the right to publish under it. Dropping it (or its sender) ends the publish.
#[derive(Debug)]
pub struct Claim {
    /// Where tags go. Bounded: when the stream is slower than the encoder, the connection waits.
    pub media: mpsc::Sender<Ingested>,
    /// Cancelled when somebody else took the name over, the stream was ended, or the stream refused what it got.
    pub revoked: CancellationToken,
    /// Why, once `revoked` is cancelled: words for the encoder's log.
    pub reason: std::sync::Arc<std::sync::OnceLock<String>>,
}

/// Why a publish was refused, in words that the encoder shows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Somebody else is live under that name.
    #[error("stream {0} is already live from another encoder: stop that one, or wait 3 s after it falls silent")]
    Busy(media::name::StreamName),
    /// It may not, or has not shown that it may.
    #[error("{0}")]
    Access(String),
    /// The server is going away.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// Its folder cannot be opened.
    #[error("the server cannot write to its disk; whoever operates it finds the reason in its log")]
    Disk,
    /// As many streams as the server takes.
    #[error("this server takes {0} streams at a time, and all are in use")]
    TooManyStreams(usize),
}

/// What the RTMP driver needs of the rest of the origin.
pub trait Ingest: Send + Sync + 'static {
    /// Asks for a name.
    fn claim(&self, request: PublishRequest) -> impl Future<Output = Result<Claim, Refusal>> + Send;
}
