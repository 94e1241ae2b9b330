//! TLS for viewers: which certificate is shown, where it comes from, and how another takes its place while the server runs.
//!
//! [`Tls::from_config`] makes it, [`crate::http::serve_tls`] shakes hands with it, and whoever made it runs [`Tls::keep`]
//! beside. Knows nothing of HTTP but the names of its versions; `tls/certificate` judges certificates, `files`, `own` and
//! `acme` are the places they come from.

mod accept;
mod acme;
mod certificate;
mod disk;
mod files;
mod names;
mod own;
mod shown;

pub use accept::NoHandshake;
pub use names::lan_address;

use crate::config::{self, Config};
use acme::Acme;
use certificate::Certificate;
use files::Files;
use metrics::{counter, gauge};
use own::Own;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use shown::Shown;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// The names of HTTP's versions in a handshake (RFC 7301, RFC 9113 section 3.1), and of a challenge (RFC 8737).
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The name under which an authority asks for the answer to its challenge (RFC 8737 section 3).
pub(crate) const ACME_ALPN: &[u8] = b"acme-tls/1";

/// How often files are looked at. New ones are taken up once they were found the same twice.
const LOOK_AT_FILES: Duration = Duration::from_secs(2);

/// How often it is looked whether a certificate of our own still fits this machine.
const LOOK_AT_MACHINE: Duration = Duration::from_secs(60);

/// Before which time to its end a certificate that others must renew is complained of.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A key that this kind of TLS needs.
    #[error("{0} is not set, and this kind of tls needs it")]
    NotSet(&'static str),
    /// A file that the config names can't be used.
    #[error("{key} = {}: {why}", path.display())]
    File {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// A file of our own below `data_dir` can't be written.
    #[error("can't keep certificates at {}, below data_dir: {why}", path.display())]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        why: String,
    },
    /// The library made none.
    #[error("can't make a certificate or set up TLS: {0}")]
    Library(String),
}

impl TlsError {
    /// Whether the config must be mended, and not the machine.
    pub fn is_the_configs(&self) -> bool {
        matches!(self, Self::NotSet(_) | Self::File { .. })
    }
}

/// TLS as the config asks for it.
#[derive(Debug)]
pub struct Tls {
    shown: Arc<Shown>,
    server: Arc<ServerConfig>,
    /// For what speaks no HTTP.
    bare: Arc<ServerConfig>,
    source: Source,
}

/// Where certificates come from.
#[derive(Debug)]
enum Source {
    Files(Files),
    Own(Own),
    Acme(Acme),
}

/// What can be told of the certificate that is shown.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Facts {
    /// `files`, `self-signed` or `acme`.
    pub kind: &'static str,
    /// What it is for: DNS names and addresses, in order.
    pub names: Vec<String>,
    /// When it ends, as RFC 3339.
    pub until: String,
    /// Its SHA-256 fingerprint, as browsers show it: upper-case hexadecimal pairs between colons.
    pub sha256: String,
}

impl Tls {
    /// Makes what `tls` asks for, or nothing if it is off. Reads and writes files, so it is for the start.
    pub fn from_config(config: &Config) -> Result<Option<Arc<Self>>, TlsError> {
        let folder = config.data_dir.join("tls");
        let now = SystemTime::now();
        let (source, first) = match config.tls {
            config::Tls::Off => return Ok(None),
            config::Tls::Files => {
                let cert = config.edge.tls_cert.clone().ok_or(TlsError::NotSet("edge.tls_cert"))?;
                let key = config.edge.tls_key.clone().ok_or(TlsError::NotSet("edge.tls_key"))?;
                let (files, certificate) = Files::open(cert, key, now)?;
                (Source::Files(files), Some(certificate))
            }
            config::Tls::SelfSigned => {
                let own = Own::new(folder);
                let certificate = own.certificate(&names::of_machine(), now)?;
                (Source::Own(own), Some(certificate))
            }
            config::Tls::Acme => {
                let acme = Acme::new(&config.acme, &folder.join("acme"))?;
                let certificate = acme.cached(now);
                (Source::Acme(acme), certificate)
            }
        };
        let shown = Arc::new(Shown::default());
        let server = server_config(Arc::clone(&shown), matches!(source, Source::Acme(_)))?;
        let bare = bare_config(&server);
        let tls = Self { shown, server: Arc::new(server), bare: Arc::new(bare), source };
        if let Some(first) = first {
            tls.show(first);
        }
        Ok(Some(Arc::new(tls)))
    }

    /// What is shown, if there is a certificate yet.
    pub fn facts(&self) -> Option<Facts> {
        let certificate = self.shown.certificate()?;
        let until = humantime::format_rfc3339_seconds(certificate.until).to_string();
        let names = certificate.names.iter().cloned().collect();
        Some(Facts { kind: self.kind(), names, until, sha256: certificate.sha256.clone() })
    }

    /// Keeps the certificate good until `stop`: takes up new files, makes or fetches another before the old one ends.
    /// What goes wrong is logged; the old certificate stays.
    pub async fn keep(self: Arc<Self>, stop: CancellationToken) {
        let rounds = async {
            match &self.source {
                Source::Acme(acme) => acme.keep(|certificate| self.show(certificate), &self.shown).await,
                Source::Files(_) => self.rounds(LOOK_AT_FILES).await,
                Source::Own(_) => self.rounds(LOOK_AT_MACHINE).await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = rounds => {}
        }
    }

    async fn rounds(self: &Arc<Self>, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            let this = Arc::clone(self);
            // A file system may hang; that must not hold up those who are served.
            if let Err(error) = tokio::task::spawn_blocking(move || this.look()).await {
                tracing::error!(%error, "looking after the certificate panicked");
            }
        }
    }

    /// One look at the files or the machine, as [`Tls::keep`] takes every now and then; whether another certificate is
    /// shown from now on.
    pub fn look(&self) -> bool {
        let now = SystemTime::now();
        let found = match &self.source {
            Source::Files(files) => files.look(now),
            Source::Own(own) => match self.shown.certificate() {
                Some(certificate) => own.renewed(&certificate, &names::of_machine(), now),
                None => None,
            },
            Source::Acme(_) => None,
        };
        match found {
            None => false,
            Some(Ok(certificate)) => {
                counter!("live360_tls_renewals_total", "outcome" => "done").increment(1);
                self.show(certificate);
                true
            }
            Some(Err(error)) => {
                counter!("live360_tls_renewals_total", "outcome" => "failed").increment(1);
                tracing::error!(%error, "the certificate in use stays: its successor can't be used");
                false
            }
        }
    }

    /// What shakes hands, with the certificate of that moment.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.server))
    }

    /// The same for what speaks no HTTP.
    fn bare_acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.bare))
    }

    fn kind(&self) -> &'static str {
        match self.source {
            Source::Files(_) => "files",
            Source::Own(_) => "self-signed",
            Source::Acme(_) => "acme",
        }
    }

    fn show(&self, certificate: Certificate) {
        let ends = certificate.until.duration_since(UNIX_EPOCH).unwrap_or_default();
        gauge!("live360_tls_certificate_expires_seconds").set(ends.as_secs_f64());
        let renewed_by_others = matches!(self.source, Source::Files(_));
        let soon = certificate.until.duration_since(SystemTime::now()).unwrap_or_default() < SOON;
        self.shown.show(certificate);
        if let Some(Facts { kind, names, until, sha256 }) = self.facts() {
            tracing::info!(kind, ?names, %until, %sha256, "certificate");
            if renewed_by_others && soon {
                tracing::warn!(%until, "the certificate ends soon: renew it");
            }
        }
    }
}

/// The cryptography: AWS-LC, whose AES-GCM is the fastest that rustls can have.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn server_config(shown: Arc<Shown>, acme: bool) -> Result<ServerConfig, TlsError> {
    let library = |error: rustls::Error| TlsError::Library(error.to_string());
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(library)?
        .with_no_client_auth()
        .with_cert_resolver(shown);
    config.alpn_protocols = ALPN.iter().map(|name| name.to_vec()).collect();
    if acme {
        config.alpn_protocols.push(ACME_ALPN.to_vec());
    }
    // Tickets are the client's memory of a session; ours would be bounded, and viewers are many.
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(library)?;
    Ok(config)
}

/// Names no version of HTTP, and sends no tickets after the handshake of TLS 1.3: the librtmp of several encoders takes what
/// comes before the first answer for a failure.
fn bare_config(server: &ServerConfig) -> ServerConfig {
    let mut config = server.clone();
    config.alpn_protocols.retain(|name| name == ACME_ALPN);
    config.send_tls13_tickets = 0;
    config
}
