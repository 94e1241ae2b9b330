//! The configuration: every key, its type and its default.
//!
//! `deploy/live360.toml` documents the same keys for operators, and a test holds the two together. What is allowed under
//! each key stands in `keys`, how the layers are merged in `load`. Nothing here reads the environment: it is handed in.

mod error;
mod keys;
mod load;

pub use error::ConfigError;
pub use load::{ENV_PREFIX, load, parse};

use crate::secret::Secret;
use media::ladder::Ladder;
use media::name::StreamName;
use media::projection::{Projection, Stereo};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Live window, recordings not yet stored, anchors, embedded store and queue.
    pub data_dir: PathBuf,
    /// The rungs of a stream, unless its own entry says otherwise.
    pub ladder: Ladder,
    /// What is recorded of a stream, unless its own entry says otherwise.
    pub record: Record,
    /// How listeners for viewers are secured.
    pub tls: Tls,
    /// What is logged, and how.
    pub log: Log,
    /// The tier that encoders publish to.
    pub origin: Origin,
    /// The tier that viewers pull from.
    pub edge: Edge,
    /// The private listener.
    pub admin: Admin,
    /// Segments and playlists.
    pub hls: Hls,
    /// Where recordings and what is made of them are kept.
    pub storage: Storage,
    /// How jobs travel.
    pub queue: Queue,
    /// What is particular to one stream, by name.
    pub streams: BTreeMap<StreamName, Stream>,
}

/// `origin.*`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Origin {
    /// Where encoders publish.
    pub rtmp: SocketAddr,
    /// Where edges pull.
    pub http: SocketAddr,
    /// The other origin of the pair.
    pub peer: Option<String>,
    /// How long a stream without a publisher waits for one before it has ended, in seconds.
    pub reconnect_s: u64,
}

/// `edge.*`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Edge {
    /// Where viewers and CDNs pull.
    pub http: SocketAddr,
    /// Origins in order of preference. `None`: [`Config::edge_origins`] says which.
    pub origins: Option<Vec<String>>,
    /// Memory for media, in bytes.
    pub cache_bytes: u64,
}

/// `admin.*`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// The private listener. `None`: [`Config::admin_http`] says where.
    pub http: Option<SocketAddr>,
    /// Opens the private listener beyond this machine to whoever sends it.
    pub token: Option<Secret>,
}

/// `hls.*`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hls {
    /// Target length of a segment, in milliseconds.
    pub segment_ms: u32,
    /// Length of a low-latency part, in milliseconds.
    pub part_ms: u32,
    /// How much of a live stream is kept, in seconds.
    pub window_s: u32,
    /// How far back viewers may go from the recording, in seconds.
    pub dvr_s: u32,
}

/// `storage.*`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// Masters: what came in. `None`: `file:` below `data_dir`.
    pub ingest: Option<String>,
    /// Derivatives: what viewers get. `None`: `file:` below `data_dir`.
    pub egress: Option<String>,
}

/// `queue.*`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Queue {
    /// `local:` or the URL of an SQS queue.
    pub url: String,
}

/// `log.*`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`, also per module: `info,origin=debug`.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// `streams.NAME.*`: what is `None` is as for every stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stream {
    /// What a publisher must send as `NAME?key=…`; it also lets it take over from another one.
    pub key: Option<Secret>,
    /// What is recorded.
    pub record: Option<Record>,
    /// The rungs.
    pub ladder: Option<Ladder>,
    /// How the picture lies on the sphere, whatever the encoder says.
    pub projection: Option<Projection>,
    /// How two eyes share the picture, whatever the encoder says.
    pub stereo: Option<Stereo>,
    /// Whether the watch page lists it.
    pub listed: bool,
    /// Whether it has an audio rendition.
    pub audio: Audio,
}

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

impl Config {
    /// Where the private listener of a process with this role is.
    pub fn admin_http(&self, role: Role) -> SocketAddr {
        self.admin.http.unwrap_or_else(|| match role {
            Role::Origin | Role::All => loopback(9091),
            Role::Edge => loopback(9092),
            Role::Transcoder => loopback(9093),
        })
    }

    /// The origins of an edge that runs by itself, in order of preference.
    pub fn edge_origins(&self) -> Vec<String> {
        self.edge.origins.clone().unwrap_or_else(|| vec!["http://127.0.0.1:8080".to_owned()])
    }

    /// What is particular to a stream, with what is general filled in: `record` and `ladder` are always there.
    pub fn stream(&self, name: &StreamName) -> Stream {
        let mut stream = self.streams.get(name).cloned().unwrap_or_default();
        stream.record.get_or_insert(self.record);
        stream.ladder.get_or_insert_with(|| self.ladder.clone());
        stream
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("./data"),
            ladder: Ladder::default(),
            record: Record::default(),
            tls: Tls::default(),
            log: Log::default(),
            origin: Origin::default(),
            edge: Edge::default(),
            admin: Admin::default(),
            hls: Hls::default(),
            storage: Storage::default(),
            queue: Queue::default(),
            streams: BTreeMap::new(),
        }
    }
}

impl Default for Origin {
    fn default() -> Self {
        Self { rtmp: loopback(1935), http: loopback(8080), peer: None, reconnect_s: 30 }
    }
}

impl Default for Edge {
    fn default() -> Self {
        Self { http: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8088)), origins: None, cache_bytes: 1 << 30 }
    }
}

impl Default for Hls {
    fn default() -> Self {
        Self { segment_ms: 2000, part_ms: 500, window_s: 120, dvr_s: 0 }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self { url: "local:".to_owned() }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Human }
    }
}

impl Default for Stream {
    fn default() -> Self {
        let (key, record, ladder, projection, stereo) = (None, None, None, None, None);
        Self { key, record, ladder, projection, stereo, listed: true, audio: Audio::Auto }
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_private_port_depends_on_the_role_unless_it_is_given() {
        let mut config = Config::default();
        let port = |config: &Config, role| config.admin_http(role).port();
        for (role, expected) in [(Role::Origin, 9091), (Role::All, 9091), (Role::Edge, 9092), (Role::Transcoder, 9093)]
        {
            assert_eq!(port(&config, role), expected, "{role:?}");
        }
        config.admin.http = Some(loopback(7));
        assert_eq!(port(&config, Role::Edge), 7);
    }

    #[test]
    fn a_stream_is_as_every_stream_unless_it_says_otherwise() {
        let (foo, bar): (StreamName, StreamName) = ("foo".parse().unwrap(), "bar".parse().unwrap());
        let mut config = Config { record: Record::Source, ..Config::default() };
        config.streams.insert(foo.clone(), Stream { record: Some(Record::Off), ..Stream::default() });
        assert_eq!(config.stream(&foo).record, Some(Record::Off));
        assert_eq!(config.stream(&bar).record, Some(Record::Source));
        assert_eq!(config.stream(&bar).ladder, Some(Ladder::default()));
    }
}
