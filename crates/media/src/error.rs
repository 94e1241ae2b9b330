//! Why bytes from an encoder were not taken.
//!
//! Two kinds: a configuration that the project does not support, told in words for the broadcaster, and bytes that
//! are no legal instance of their format. Knows nothing of connections or logs.

/// Bytes that break the rules of their format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed: {0}")]
pub struct Malformed(pub &'static str);

/// Why a decoder configuration was refused, in words for the broadcaster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// More than 8 bits per sample; the larger of luma and chroma.
    #[error("{0}-bit H.264 is not supported: set the encoder to 8 bit 4:2:0 (OBS: colour format NV12)")]
    BitDepth(u32),
    /// Chroma other than 4:2:0.
    #[error("{0} H.264 is not supported: set the encoder to 8 bit 4:2:0 (OBS: colour format NV12)")]
    Chroma(&'static str),
    /// A picture of no size, or larger than the format's levels allow.
    #[error("a picture of {width}x{height} is not supported: use 16x16 to {max}x{max}", max = crate::h264::PICTURE_SIDE_MAX)]
    PictureSize {
        /// Pixels, after cropping.
        width: u64,
        /// Pixels, after cropping.
        height: u64,
    },
    /// An audio object type other than AAC-LC, HE-AAC v1 and v2.
    #[error("AAC audio object type {0} is not supported: set the encoder to AAC-LC")]
    ObjectType(u32),
    /// frameLengthFlag = 1.
    #[error("AAC with 960 samples per frame is not supported: set the encoder to ordinary AAC-LC with 1024")]
    FrameLength,
    /// A rate that AAC does not have, in Hz.
    #[error("an audio sample rate of {0} Hz is not supported: use 44100 or 48000")]
    SampleRate(u32),
    /// channelConfiguration 0 (a map of its own) or one above 7.
    #[error("AAC channel configuration {0} is not supported: use mono, stereo or 5.1")]
    Channels(u32),
    /// No legal decoder configuration at all.
    #[error("the encoder sent a broken decoder configuration ({0}): restart the encoder")]
    Malformed(#[from] Malformed),
}
