//! Connections with or without TLS, which remember the version of TLS that was agreed.

use crate::lint::{CannotLook, Options};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tower_service::Service;

/// The version of TLS of a connection, an extension of its answers.
#[derive(Debug, Clone)]
pub(super) struct TlsVersion(pub(super) String);

/// Connects to http and https addresses.
#[derive(Clone)]
pub(super) struct Connector(HttpsConnector<HttpConnector>);

pub(super) fn connector(options: &Options) -> Result<Connector, CannotLook> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|why| certificates("the TLS library", &why.to_string()))?;
    let config = if options.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))).with_no_client_auth()
    } else {
        builder.with_root_certificates(roots(options)?).with_no_client_auth()
    };
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(options.fetch_timeout));
    let https = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().enable_http2();
    Ok(Connector(https.wrap_connector(tcp)))
}

/// The system's certificates and those of `ca`. A system without any is no error: a plain http address needs none.
fn roots(options: &Options) -> Result<RootCertStore, CannotLook> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = &options.ca {
        let name = file.display().to_string();
        let pem = std::fs::read(file).map_err(|why| certificates(&name, &why.to_string()))?;
        let mut count = 0usize;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|why| certificates(&name, &why.to_string()))?;
            store.add(certificate).map_err(|why| certificates(&name, &why.to_string()))?;
            count = count.saturating_add(1);
        }
        if count == 0 {
            return Err(certificates(&name, "there is none in it: give a PEM file"));
        }
    }
    Ok(store)
}

fn certificates(file: &str, why: &str) -> CannotLook {
    CannotLook::Certificates { file: file.to_owned(), why: why.to_owned() }
}

type Inner = MaybeHttpsStream<TokioIo<TcpStream>>;

/// A connection.
pub(super) struct Stream(Inner);

impl Service<http::Uri> for Connector {
    type Response = Stream;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, address: http::Uri) -> Self::Future {
        let connecting = self.0.call(address);
        Box::pin(async move { connecting.await.map(Stream) })
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let connected = self.0.connected();
        let version = match &self.0 {
            MaybeHttpsStream::Http(_) => None,
            MaybeHttpsStream::Https(stream) => stream.inner().get_ref().1.protocol_version(),
        };
        let name = |version: rustls::ProtocolVersion| match version.as_str() {
            Some(name) => name.replace('_', "."),
            None => format!("{version:?}"),
        };
        match version {
            Some(version) => connected.extra(TlsVersion(name(version))),
            None => connected,
        }
    }
}

impl hyper::rt::Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, data)
    }
}

/// Takes any certificate, as `insecure` asks for. Signatures are still checked, so the version agreed is real.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
