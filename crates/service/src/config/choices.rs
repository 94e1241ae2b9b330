//! What a key can be where it is one of several words, and the roles that some defaults depend on.
//!
//! Words only: what they mean is whoever's who reads them.

use serde::{Deserialize, Serialize};

/// What is recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Record {
    /// What came in, and every rung.
    #[default]
    All,
    /// What came in.
    Source,
    /// Nothing.
    Off,
}

/// Of what transcoders make assets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sources {
    /// Recordings and uploads.
    #[default]
    All,
    /// Uploads; recordings stay as they were recorded.
    Uploads,
}

/// How much work goes into each picture of an asset: x264's preset of that name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// For tests and small machines.
    Veryfast,
    /// About twice as much.
    Fast,
    /// About three times as much.
    #[default]
    Medium,
    /// About six times as much.
    Slow,
}

/// Whether a stream has an audio rendition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Audio {
    /// Always; silent where the source has none.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// How segments are protected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protection {
    /// Not at all.
    #[default]
    #[serde(rename = "off")]
    Off,
    /// Encrypted as a whole, HLS's METHOD=AES-128.
    #[serde(rename = "aes-128")]
    Aes128,
}

/// How listeners for viewers are secured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// Plain HTTP.
    #[default]
    Off,
    /// A certificate from files.
    Files,
    /// A certificate made at start, for phones and headsets on the LAN.
    SelfSigned,
    /// A certificate from an ACME authority.
    Acme,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Where the machine's own metadata is (EC2 instance metadata, version 2).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Metadata {
    /// Where EC2 has it, if this is EC2.
    #[default]
    Auto,
    /// Nowhere.
    Off,
    /// At this server, as `http://HOST:PORT`.
    At(String),
}

/// Which tiers a process runs; some defaults depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `live360 origin`
    Origin,
    /// `live360 edge`
    Edge,
    /// `live360 transcoder`
    Transcoder,
    /// `live360 all`
    All,
}

impl Role {
    /// Its command.
    pub fn name(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Edge => "edge",
            Self::Transcoder => "transcoder",
            Self::All => "all",
        }
    }
}

impl From<String> for Metadata {
    fn from(text: String) -> Self {
        match text.as_str() {
            "auto" => Self::Auto,
            "off" => Self::Off,
            _ => Self::At(text),
        }
    }
}

impl From<Metadata> for String {
    fn from(metadata: Metadata) -> Self {
        match metadata {
            Metadata::Auto => "auto".to_owned(),
            Metadata::Off => "off".to_owned(),
            Metadata::At(server) => server,
        }
    }
}
