//! A server with TLS, an authority that certifies it, and clients that trust that authority.

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};
use service::config::{self, Config};
use service::http::{Body, Handler, Limits, error, serve_tls};
use service::tls::Tls;
use sha2::{Digest as _, Sha256};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

/// How long a test waits for something that must happen.
const SOON: Duration = Duration::from_secs(20);

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("it should have happened by now")
}

/// A server with one page of each kind.
#[derive(Clone)]
pub(crate) struct Site {
    seen: mpsc::UnboundedSender<String>,
    /// `/held` answers once this is notified.
    pub(crate) release: Arc<Notify>,
    /// Told when a body of `/endless` is dropped.
    pub(crate) dropped: Arc<Notify>,
}

impl Handler for Site {
    async fn handle(&self, request: Parts, _: SocketAddr) -> Response<Body> {
        let _ = self.seen.send(request.uri.path().to_owned());
        match request.uri.path() {
            "/file" => Response::new(Body::full("abcdef")),
            "/large" => {
                let bytes = Bytes::from(large());
                Response::new(Body::chunks((0..bytes.len()).step_by(100_000).map(|at| part(&bytes, at)).collect()))
            }
            "/held" => {
                self.release.notified().await;
                Response::new(Body::full("released"))
            }
            "/endless" => {
                let guard = Dropped(self.dropped.clone());
                Response::new(Body::unfold(guard, |guard| async { Some((Ok(Bytes::from(vec![7; 65536])), guard)) }))
            }
            _ => error(StatusCode::NOT_FOUND, "there is nothing here"),
        }
    }
}

fn part(bytes: &Bytes, at: usize) -> Bytes {
    bytes.slice(at..bytes.len().min(at + 100_000))
}

/// Eight megabytes that differ everywhere.
pub(crate) fn large() -> String {
    (0..1_000_000).map(|n| format!("{n:07} ")).collect()
}

/// Notifies when it is dropped.
struct Dropped(Arc<Notify>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

pub(crate) fn limits() -> Limits {
    Limits::new("test")
}

pub(crate) fn get(path: &str) -> String {
    request(path, "connection: close\r\n")
}

pub(crate) fn request(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n")
}

/// What comes until the end; a connection that is reset ends too.
pub(crate) async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut out = Vec::new();
    let _ = soon(stream.read_to_end(&mut out)).await;
    String::from_utf8_lossy(&out).into_owned()
}

/// Sends a byte at a time until the other side closes, which it must do before the end.
pub(crate) async fn trickle(stream: impl AsyncRead + AsyncWrite + Send + 'static, bytes: &[u8], pause: Duration) {
    let (mut read, mut write) = tokio::io::split(stream);
    let bytes = bytes.to_vec();
    let sender = tokio::spawn(async move {
        for byte in bytes {
            if write.write_all(&[byte]).await.is_err() || write.flush().await.is_err() {
                return;
            }
            tokio::time::sleep(pause).await;
        }
        panic!("all of it was taken");
    });
    rest(&mut read).await;
    drop(read);
    sender.abort();
    assert!(!sender.await.is_err_and(|error| error.is_panic()));
}

/// Who certifies in a test.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    pub(crate) root_pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        Self { root: root.der().clone(), root_pem: root.pem(), issuer: Issuer::new(params, key) }
    }

    pub(crate) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// Writes a fresh pair for `name`: `cert.pem`, `key.pem`.
    pub(crate) fn write(&self, folder: &Path, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(folder.join("cert.pem"), certificate.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    }

    /// A server's config with files of this authority in `folder`.
    pub(crate) fn config(&self, folder: &Path) -> Config {
        self.write(folder, "localhost");
        let mut config = Config { tls: config::Tls::Files, ..Config::default() };
        config.edge.tls_cert = Some(folder.join("cert.pem"));
        config.edge.tls_key = Some(folder.join("key.pem"));
        config
    }

    /// A client that trusts nobody else.
    pub(crate) fn client(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        named(builder.with_root_certificates(roots).with_no_client_auth(), alpn)
    }
}

/// A client that trusts anybody, and only looks.
pub(crate) fn trusting_client(alpn: &[&str]) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().dangerous();
    named(builder.with_custom_certificate_verifier(Arc::new(Anybody)).with_no_client_auth(), alpn)
}

fn named(mut config: ClientConfig, alpn: &[&str]) -> Arc<ClientConfig> {
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Shakes hands with whoever listens at `addr`, as `name`.
pub(crate) async fn connect(
    client: &Arc<ClientConfig>,
    addr: SocketAddr,
    name: &str,
) -> io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(addr).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    soon(TlsConnector::from(Arc::clone(client)).connect(name, tcp)).await
}

/// The version of HTTP that was agreed on.
pub(crate) fn agreed(stream: &TlsStream<TcpStream>) -> Option<String> {
    stream.get_ref().1.alpn_protocol().map(|name| String::from_utf8(name.to_vec()).unwrap())
}

/// The certificate that the server showed.
pub(crate) fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

pub(crate) fn fingerprint(certificate: &[u8]) -> String {
    let pairs: Vec<String> = Sha256::digest(certificate).iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}

/// A server with TLS that runs.
pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    pub(crate) site: Site,
    pub(crate) seen: mpsc::UnboundedReceiver<String>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinHandle<()>,
    pub(crate) tls: Arc<Tls>,
    pub(crate) authority: Authority,
    pub(crate) folder: TempDir,
}

impl Running {
    /// With files of an authority of its own.
    pub(crate) async fn start(limits: Limits) -> Self {
        let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
        let tls = Tls::from_config(&authority.config(folder.path())).unwrap().unwrap();
        Self::with(tls, authority, folder, limits).await
    }

    pub(crate) async fn with(tls: Arc<Tls>, authority: Authority, folder: TempDir, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, tls, authority, folder, limits).await
    }

    pub(crate) async fn on(
        listener: TcpListener,
        tls: Arc<Tls>,
        authority: Authority,
        folder: TempDir,
        limits: Limits,
    ) -> Self {
        let (seen_by, seen) = mpsc::unbounded_channel();
        let site = Site { seen: seen_by, release: Arc::default(), dropped: Arc::default() };
        let addr = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(serve_tls(listener, tls.clone(), site.clone(), limits, shutdown.clone()));
        Self { addr, site, seen, shutdown, task, tls, authority, folder }
    }

    pub(crate) fn client(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        self.authority.client(alpn)
    }

    pub(crate) async fn connect(&self, alpn: &[&str]) -> io::Result<TlsStream<TcpStream>> {
        self.connect_as(&self.client(alpn)).await
    }

    pub(crate) async fn connect_as(&self, client: &Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
        connect(client, self.addr, "localhost").await
    }

    /// Without a handshake.
    pub(crate) async fn plain(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// What a new connection is shown.
    pub(crate) async fn certificate(&self) -> CertificateDer<'static> {
        shown(&self.connect_as(&trusting_client(&[])).await.unwrap())
    }

    /// The first bytes of a handshake.
    pub(crate) fn client_hello(&self) -> Vec<u8> {
        let name = ServerName::try_from("localhost").unwrap();
        let mut hello = Vec::new();
        ClientConnection::new(self.client(&["h2"]), name).unwrap().write_tls(&mut hello).unwrap();
        hello
    }
}
