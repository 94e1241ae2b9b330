//! Which certificates the tools trust: the system's, those of a file, or any.
//!
//! Makes a TLS client's settings; connects nothing.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::path::Path;
use std::sync::Arc;

/// Certificates that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot use the certificates of {file}: {why}")]
pub struct BadCertificates {
    /// The file, or what else they are of.
    pub file: String,
    /// What is wrong.
    pub why: String,
}

/// A client that trusts the system's certificates and those of `ca`, a PEM file; or any, if `insecure`.
pub(crate) fn client_config(ca: Option<&Path>, insecure: bool) -> Result<ClientConfig, BadCertificates> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|why| bad("the TLS library", &why.to_string()))?;
    Ok(if insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))).with_no_client_auth()
    } else {
        builder.with_root_certificates(roots(ca)?).with_no_client_auth()
    })
}

/// The system's certificates and those of `ca`. A system without any is no error: a plain http address needs none.
fn roots(ca: Option<&Path>) -> Result<RootCertStore, BadCertificates> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = ca {
        let name = file.display().to_string();
        let pem = std::fs::read(file).map_err(|why| bad(&name, &why.to_string()))?;
        let mut count = 0usize;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|why| bad(&name, &why.to_string()))?;
            store.add(certificate).map_err(|why| bad(&name, &why.to_string()))?;
            count = count.saturating_add(1);
        }
        if count == 0 {
            return Err(bad(&name, "there is none in it: give a PEM file"));
        }
    }
    Ok(store)
}

fn bad(file: &str, why: &str) -> BadCertificates {
    BadCertificates { file: file.to_owned(), why: why.to_owned() }
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
