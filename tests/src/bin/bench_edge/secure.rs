//! A certificate for this machine's loopback, and viewers who trust it.
//!
//! They offer one cipher, so every server uses the same.

use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite::TLS13_AES_128_GCM_SHA256, default_provider};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A key, its certificate, and a client's side of them.
pub(crate) struct Secure {
    dir: TempDir,
    connector: TlsConnector,
}

impl Secure {
    /// Makes a key and certifies it itself.
    pub(crate) fn new() -> Self {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.subject_alt_names.push(SanType::IpAddress(address));
        let certificate = params.self_signed(&key).expect("a certificate");
        let dir = TempDir::new().expect("a temporary folder");
        std::fs::write(dir.path().join("cert.pem"), certificate.pem()).expect("a file");
        std::fs::write(dir.path().join("key.pem"), key.serialize_pem()).expect("a file");

        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).expect("a certificate");
        let provider = CryptoProvider { cipher_suites: vec![TLS13_AES_128_GCM_SHA256], ..default_provider() };
        let config = ClientConfig::builder_with_provider(Arc::new(provider));
        let config = config.with_protocol_versions(&[&rustls::version::TLS13]).expect("a cipher of TLS 1.3");
        let config = config.with_root_certificates(roots).with_no_client_auth();
        Self { dir, connector: TlsConnector::from(Arc::new(config)) }
    }

    /// The certificate's file.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    /// The key's file.
    pub(crate) fn key(&self) -> PathBuf {
        self.dir.path().join("key.pem")
    }

    /// Shakes hands.
    pub(crate) async fn connect(&self, stream: TcpStream, server: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        self.connector.connect(ServerName::IpAddress(server.ip().into()), stream).await
    }
}
