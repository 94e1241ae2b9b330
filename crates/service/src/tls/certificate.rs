//! A certificate with its key: read, judged, described.
//!
//! Pure: texts and a time go in. Knows nothing of files.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

/// A certificate chain and its key, which belong together.
#[derive(Debug, Clone)]
pub(super) struct Certificate {
    /// What handshakes need.
    pub(super) key: Arc<CertifiedKey>,
    /// What it is for: DNS names and addresses.
    pub(super) names: BTreeSet<String>,
    /// From when it holds.
    pub(super) from: SystemTime,
    /// Until when it holds.
    pub(super) until: SystemTime,
    /// Upper-case hexadecimal pairs between colons.
    pub(super) sha256: String,
}

/// What is wrong with a certificate or a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Flaw {
    #[error("there is no certificate in it: give a PEM file, the server's own certificate first")]
    NoCertificate,
    #[error("its certificate can't be read ({0}): give a PEM file, the server's own certificate first")]
    Certificate(String),
    #[error("there is no private key in it that can be used: give a PEM file; one with a passphrase won't do")]
    NoKey,
    #[error("its private key can't be used: {0}")]
    Key(String),
    #[error("this is not the private key of the certificate: give the two that were made together")]
    Mismatch,
    #[error("it expired on {}: renew it", humantime::format_rfc3339_seconds(*.0))]
    Expired(SystemTime),
}

impl Flaw {
    /// Whether it is the key's file that is to be mended, and not the certificate's.
    pub(super) fn is_the_keys(&self) -> bool {
        matches!(self, Self::NoKey | Self::Key(_) | Self::Mismatch)
    }
}

impl Certificate {
    /// Reads a chain and its key, both PEM, which may be the same text.
    pub(super) fn read(chain: &[u8], key: &[u8]) -> Result<Self, Flaw> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|why| Flaw::Certificate(why.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| Flaw::NoKey)?;
        Self::new(chain, key)
    }

    /// Takes a chain, the server's own certificate first, and its key.
    pub(super) fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, Flaw> {
        let own = chain.first().ok_or(Flaw::NoCertificate)?;
        let sha256 = fingerprint(own);
        let (_, parsed) = X509Certificate::from_der(own).map_err(|why| Flaw::Certificate(why.to_string()))?;
        let (names, validity) = (names(&parsed), parsed.validity());
        let (from, until) = (time(validity.not_before.timestamp()), time(validity.not_after.timestamp()));
        let key = CertifiedKey::from_der(chain, key, &super::provider()).map_err(|why| match why {
            rustls::Error::InconsistentKeys(_) => Flaw::Mismatch,
            rustls::Error::InvalidCertificate(why) => Flaw::Certificate(why.to_string()),
            why => Flaw::Key(why.to_string()),
        })?;
        Ok(Self { key: Arc::new(key), names, from, until, sha256 })
    }

    /// Itself, unless it has expired.
    pub(super) fn unexpired(self, now: SystemTime) -> Result<Self, Flaw> {
        if now < self.until { Ok(self) } else { Err(Flaw::Expired(self.until)) }
    }

    /// When a third of its time is left: early enough to try again for long.
    pub(super) fn renew_at(&self) -> SystemTime {
        let whole = self.until.duration_since(self.from).unwrap_or_default();
        self.until.checked_sub(whole / 3).unwrap_or(self.from)
    }
}

fn fingerprint(certificate: &[u8]) -> String {
    let pairs: Vec<String> = Sha256::digest(certificate).iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}

fn names(certificate: &X509Certificate<'_>) -> BTreeSet<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return BTreeSet::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(name).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn time(seconds: i64) -> SystemTime {
    let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    UNIX_EPOCH.checked_add(seconds).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};
    use time::OffsetDateTime;

    /// The start of the certificates that tests make.
    pub(crate) const FROM: u64 = 1_700_000_000;

    /// A certificate for `name` that holds for `seconds` from [`FROM`], and its key, both PEM.
    pub(crate) fn pair(name: &str, seconds: u64) -> (String, String) {
        let at = |seconds: u64| OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (at(FROM), at(FROM + seconds));
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    pub(crate) fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_pair_tells_what_it_is_for_and_how_long() {
        let (chain, key) = pair("192.0.2.7", 3000);
        let certificate = Certificate::read(chain.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(certificate.names, BTreeSet::from(["192.0.2.7".to_owned()]));
        assert_eq!((certificate.from, certificate.until), (at(FROM), at(FROM + 3000)));
        assert_eq!(certificate.renew_at(), at(FROM + 2000));
        assert_eq!(certificate.sha256.len(), 32 * 3 - 1);
        let both = format!("{chain}{key}");
        let same = Certificate::read(both.as_bytes(), both.as_bytes()).unwrap();
        assert_eq!(same.sha256, certificate.sha256);
    }

    #[test]
    fn every_flaw_is_told_from_the_others() {
        let ((chain, key), (other, _)) = (pair("a.example", 3000), pair("b.example", 3000));
        let read = |chain: &str, key: &str| Certificate::read(chain.as_bytes(), key.as_bytes()).unwrap_err();
        assert_eq!(read(&key, &key), Flaw::NoCertificate);
        assert_eq!(read("", &key), Flaw::NoCertificate);
        assert_eq!(read(&chain, &chain), Flaw::NoKey);
        assert_eq!(read(&chain, &key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY")), Flaw::NoKey);
        assert_eq!(read(&other, &key), Flaw::Mismatch);
        assert!(matches!(read(&chain[..80], &key), Flaw::Certificate(_)));
        let certificate = Certificate::read(chain.as_bytes(), key.as_bytes()).unwrap();
        assert!(certificate.clone().unexpired(at(FROM + 2999)).is_ok());
        assert_eq!(certificate.unexpired(at(FROM + 3000)).unwrap_err(), Flaw::Expired(at(FROM + 3000)));
    }
}
