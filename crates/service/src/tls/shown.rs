//! What is shown in handshakes: the certificate in use, and answers to an authority's challenges.

use super::ACME_ALPN;
use super::certificate::Certificate;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Both of them, each replaced as a whole.
#[derive(Debug, Default)]
pub(super) struct Shown {
    certificate: RwLock<Option<Certificate>>,
    /// By domain.
    challenges: RwLock<HashMap<String, Arc<CertifiedKey>>>,
}

impl Shown {
    /// The one in use.
    pub(super) fn certificate(&self) -> Option<Certificate> {
        self.certificate.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// New handshakes get this one; connections that stand are not touched.
    pub(super) fn show(&self, certificate: Certificate) {
        *self.certificate.write().unwrap_or_else(PoisonError::into_inner) = Some(certificate);
    }

    /// Answers the challenges for these domains, and no others any more.
    pub(super) fn answer(&self, challenges: HashMap<String, Arc<CertifiedKey>>) {
        *self.challenges.write().unwrap_or_else(PoisonError::into_inner) = challenges;
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // RFC 8737 section 3: an authority offers this name alone.
        if hello.alpn().is_some_and(|mut names| names.next() == Some(ACME_ALPN)) {
            let challenges = self.challenges.read().unwrap_or_else(PoisonError::into_inner);
            return challenges.get(hello.server_name()?).cloned();
        }
        let certificate = self.certificate.read().unwrap_or_else(PoisonError::into_inner);
        certificate.as_ref().map(|certificate| Arc::clone(&certificate.key))
    }
}
