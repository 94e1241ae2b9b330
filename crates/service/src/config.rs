//! The configuration: every key, its type and its default.
//!
//! `deploy/live360.toml` documents the same keys for operators, and a test holds the two together. What is allowed under
//! each key stands in `keys`, how the layers are merged in `load`. Nothing here reads the environment: it is handed in.
//! Every secret may be kept in a file of its own ([`crate::secret::Files`]).

mod choices;
mod current;
mod error;
mod keys;
mod load;
mod publish;
pub mod reload;
mod watch;

pub use choices::{Audio, Effort, LogFormat, Metadata, Protection, Record, Role, Sources, Tls};
pub use current::Current;
pub use error::ConfigError;
pub use keys::{is_log_level, log_levels};
pub use load::{ENV_PREFIX, Loaded, load, parse, read};
pub use publish::{CallbackDown, HookEvent, Hooks, Open, Publish};
pub use watch::{Cluster, Watch, Watching};

use crate::secret::Secret;
use media::ladder::Ladder;
use media::name::StreamName;
use media::projection::{Projection, Stereo};
use media::protect::Keyring;
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
    /// After how long without a sign of its origin a recording is finished by another process, in seconds.
    pub record_lost_s: u64,
    /// How listeners for viewers are secured.
    pub tls: Tls,
    /// What is logged, and how.
    pub log: Log,
    /// The tier that encoders publish to.
    pub origin: Origin,
    /// Who may publish there.
    pub publish: Publish,
    /// Who is told of what happens.
    pub hooks: Hooks,
    /// The tier that viewers pull from.
    pub edge: Edge,
    /// Who certifies this edge's names, with `tls = "acme"`.
    pub acme: Acme,
    /// The private listener.
    pub admin: Admin,
    /// The machine it runs on.
    pub machine: Machine,
    /// Segments and playlists.
    pub hls: Hls,
    /// What segments are encrypted with.
    pub protect: Protect,
    /// Where recordings and what is made of them are kept.
    pub storage: Storage,
    /// How long recordings are kept.
    pub retention: Retention,
    /// How jobs travel.
    pub queue: Queue,
    /// What is made of recordings and uploads.
    pub vod: Vod,
    /// The tier that makes it.
    pub transcoder: Transcoder,
    /// Who may watch.
    pub watch: Watching,
    /// How tiers know each other.
    pub cluster: Cluster,
    /// What is particular to one stream, by name.
    pub streams: BTreeMap<StreamName, Stream>,
    /// What is no error, but an operator should know. Not a key: for whoever can log, which is after loading.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// `origin.*`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Origin {
    /// Where encoders publish.
    pub rtmp: SocketAddr,
    /// Where they publish over TLS, with the process's certificate.
    pub rtmps: Option<SocketAddr>,
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
    /// Where viewers pull over TLS, unless [`Config::tls`] is off.
    pub https: SocketAddr,
    /// The process's certificate and those it hangs on (PEM), with `tls = "files"`.
    pub tls_cert: Option<PathBuf>,
    /// Its private key (PEM), with `tls = "files"`.
    pub tls_key: Option<PathBuf>,
    /// Origins in order of preference. `None`: [`Config::edge_origins`] says which.
    pub origins: Option<Vec<String>>,
    /// Memory for media, in bytes.
    pub cache_bytes: u64,
    /// After how long without a viewer a playlist is no longer followed, in seconds, beside three target durations.
    pub idle_s: u64,
    /// Names that it answers to, without ports. None: to every name.
    pub hosts: Vec<String>,
    /// The load balancer's target group (ARN) that this edge takes itself out of when it leaves.
    pub target_group: Option<String>,
    /// Under which id it is in that group. `None`: the machine's own.
    pub target_id: Option<String>,
    /// How long it goes on serving as before when it leaves, in seconds. `None`: as long as balancers take to notice,
    /// if there may be any.
    pub leave_s: Option<u64>,
}

/// `acme.*` (RFC 8555)
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Acme {
    /// The names to be certified.
    pub domains: Vec<String>,
    /// An e-mail address that the authority may write to.
    pub contact: Option<String>,
    /// The authority's directory.
    pub directory: String,
    /// Certificates (PEM) that the directory's own connection is checked against, beside those that the system trusts.
    pub ca: Option<PathBuf>,
}

/// `admin.*`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// The private listener. `None`: [`Config::admin_http`] says where.
    pub http: Option<SocketAddr>,
    /// The same over TLS, with the process's certificate.
    pub https: Option<SocketAddr>,
    /// Opens the private listener beyond this machine, over TLS, to whoever sends it.
    pub token: Option<Secret>,
    /// Whether it does so without TLS, too.
    pub token_over_http: bool,
}

/// `machine.*`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Machine {
    /// Where it says that it is to be taken away.
    pub metadata: Metadata,
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
    /// How far back viewers may go in what is recorded, in seconds. No more than `window_s` changes nothing.
    pub dvr_s: u32,
}

/// `protect.*`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Protect {
    /// How a stream's segments are protected, unless its own entry says otherwise.
    pub method: Protection,
    /// What keys are made from.
    pub secret: Option<Secret>,
    /// Secrets that recordings from before are still encrypted with.
    pub old_secrets: Vec<Secret>,
    /// How long a key is used, in seconds.
    pub rotate_s: u64,
}

/// `storage.*`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// Masters: what came in. `None`: [`Config::ingest`] says where.
    pub ingest: Option<String>,
    /// Derivatives: what viewers get. `None`: [`Config::egress`] says where.
    pub egress: Option<String>,
}

/// `retention.*`: days after which recordings are removed; 0 for never.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// What came in.
    pub ingest_days: u32,
    /// What viewers get.
    pub egress_days: u32,
}

/// `queue.*`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Queue {
    /// `local:` or the URL of an SQS queue.
    pub url: String,
}

/// `vod.*`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Vod {
    /// Of what assets are made.
    pub sources: Sources,
    /// The rungs of an asset; `source` is encoded too, at the source's size.
    pub ladder: Ladder,
    /// How much work goes into each picture.
    pub effort: Effort,
}

/// `transcoder.*`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Transcoder {
    /// How long a job stays with a worker that gives no sign of life, in seconds; then another may have it.
    pub hold_s: u64,
    /// How often the stores are looked through for work that no message speaks of, in seconds. `None`:
    /// [`Config::rescan_s`] says.
    pub rescan_s: Option<u64>,
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
    /// What a publisher must send as `NAME?key=…`, as it is or hashed; it also lets it take over from another one.
    pub key: Option<Secret>,
    /// What is recorded.
    pub record: Option<Record>,
    /// The rungs.
    pub ladder: Option<Ladder>,
    /// How the picture lies on the sphere, whatever the encoder says.
    pub projection: Option<Projection>,
    /// How two eyes share the picture, whatever the encoder says.
    pub stereo: Option<Stereo>,
    /// Who may watch it and its recordings.
    pub watch: Option<Watch>,
    /// Whether the watch page and `/api/streams` list it and its recordings.
    pub listed: Option<bool>,
    /// Whether it has an audio rendition.
    pub audio: Audio,
    /// How its segments are protected.
    pub protect: Option<Protection>,
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

    /// Where masters are kept.
    pub fn ingest(&self) -> String {
        self.storage.ingest.clone().unwrap_or_else(|| format!("file:{}", self.data_dir.join("ingest").display()))
    }

    /// Where derivatives are kept.
    pub fn egress(&self) -> String {
        self.storage.egress.clone().unwrap_or_else(|| format!("file:{}", self.data_dir.join("egress").display()))
    }

    /// How often the stores are looked through for work that no message speaks of, in seconds: a folder tells nobody what
    /// is new in it, and buckets cost money to list.
    pub fn rescan_s(&self) -> u64 {
        self.transcoder.rescan_s.unwrap_or(if self.ingest().starts_with("file:") { 10 } else { 300 })
    }

    /// What is particular to a stream, with what is general filled in: `record`, `ladder` and `protect` are always there. Who
    /// may watch it is [`Self::watching`]'s.
    pub fn stream(&self, name: &StreamName) -> Stream {
        let mut stream = self.streams.get(name).cloned().unwrap_or_default();
        stream.record.get_or_insert(self.record);
        stream.ladder.get_or_insert_with(|| self.ladder.clone());
        stream.protect.get_or_insert(self.protect.method);
        stream
    }
}

impl Protect {
    /// The secrets that there are.
    pub fn keyring(&self) -> Keyring {
        Keyring::new(self.secret.iter().chain(&self.old_secrets).map(Secret::expose))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("./data"),
            ladder: Ladder::default(),
            record: Record::default(),
            record_lost_s: 300,
            tls: Tls::default(),
            log: Log::default(),
            origin: Origin::default(),
            publish: Publish::default(),
            hooks: Hooks::default(),
            edge: Edge::default(),
            acme: Acme::default(),
            admin: Admin::default(),
            machine: Machine::default(),
            hls: Hls::default(),
            protect: Protect::default(),
            storage: Storage::default(),
            retention: Retention::default(),
            queue: Queue::default(),
            vod: Vod::default(),
            transcoder: Transcoder::default(),
            watch: Watching::default(),
            cluster: Cluster::default(),
            streams: BTreeMap::new(),
            warnings: Vec::new(),
        }
    }
}

impl Default for Origin {
    fn default() -> Self {
        Self { rtmp: loopback(1935), rtmps: None, http: loopback(8080), peer: None, reconnect_s: 30 }
    }
}

impl Default for Edge {
    fn default() -> Self {
        let http = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8088));
        let https = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8443));
        let (tls_cert, tls_key) = (None, None);
        let (origins, target_group, target_id, leave_s) = (None, None, None, None);
        Self {
            http,
            https,
            tls_cert,
            tls_key,
            origins,
            cache_bytes: 1 << 30,
            idle_s: 10,
            hosts: Vec::new(),
            target_group,
            target_id,
            leave_s,
        }
    }
}

impl Default for Acme {
    fn default() -> Self {
        let directory = "https://acme-v02.api.letsencrypt.org/directory".to_owned();
        Self { domains: Vec::new(), contact: None, directory, ca: None }
    }
}

impl Default for Hls {
    fn default() -> Self {
        Self { segment_ms: 2000, part_ms: 500, window_s: 120, dvr_s: 0 }
    }
}

impl Default for Protect {
    fn default() -> Self {
        Self { method: Protection::Off, secret: None, old_secrets: Vec::new(), rotate_s: 300 }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self { url: "local:".to_owned() }
    }
}

impl Default for Transcoder {
    fn default() -> Self {
        Self { hold_s: 60, rescan_s: None }
    }
}

impl Default for Vod {
    fn default() -> Self {
        let lines =
            ["source", "5760w 32000k", "3840w 18000k", "2880w 11000k", "1920w 6000k", "960w 2300k", "480w 600k"];
        // A test holds that these are rungs.
        let ladder = Ladder::parse(&lines).unwrap_or_default();
        Self { sources: Sources::default(), ladder, effort: Effort::default() }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Human }
    }
}

impl Default for Stream {
    fn default() -> Self {
        let (key, record, ladder, projection, stereo, protect) = (None, None, None, None, None, None);
        Self { key, record, ladder, projection, stereo, protect, watch: None, listed: None, audio: Audio::Auto }
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
    fn stores_lie_below_data_dir_unless_they_are_given() {
        let mut config = Config { data_dir: "/srv/live".into(), ..Config::default() };
        assert_eq!(
            (config.ingest(), config.egress()),
            ("file:/srv/live/ingest".into(), "file:/srv/live/egress".into())
        );
        config.storage.egress = Some("s3://abc/x".to_owned());
        assert_eq!(config.egress(), "s3://abc/x");
    }

    #[test]
    fn a_folder_is_looked_through_more_often_than_a_bucket() {
        let mut config = Config::default();
        assert_eq!((config.rescan_s(), config.vod.ladder.lines().len()), (10, 7));
        config.storage.ingest = Some("s3://abc".to_owned());
        assert_eq!(config.rescan_s(), 300);
        config.transcoder.rescan_s = Some(7);
        assert_eq!(config.rescan_s(), 7);
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
