//! A certificate that this server makes for itself, so that phones and headsets of the same network may use HTTPS.
//!
//! It is kept, since every other one must be accepted anew on every device.

use super::TlsError;
use super::certificate::Certificate;
use super::disk;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SerialNumber,
};
use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;

/// How long one holds. Apple's devices accept at most 825 days.
const LIFE: Duration = Duration::from_secs(365 * 86_400);

/// How long before its end another one is made.
const EARLY: Duration = Duration::from_secs(30 * 86_400);

/// By how much the clocks of devices may be behind this machine's.
const CLOCKS: Duration = Duration::from_secs(86_400);

/// Names of a certificate, at most: those of former addresses are kept, so that a machine that goes back and forth
/// between networks needs no new one each time.
const NAMES: usize = 64;

/// Where it is kept.
#[derive(Debug)]
pub(super) struct Own {
    cert: PathBuf,
    key: PathBuf,
}

impl Own {
    /// Keeps it in this folder.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { cert: folder.join("self-signed.pem"), key: folder.join("self-signed.key") }
    }

    /// The one that is kept, if it still fits, else another.
    pub(super) fn certificate(&self, names: &BTreeSet<String>, now: SystemTime) -> Result<Certificate, TlsError> {
        let kept = self.kept();
        match &kept {
            Some(certificate) if unfit(certificate, names, now).is_none() => Ok(certificate.clone()),
            _ => self.make(kept.as_ref(), names, now),
        }
    }

    /// Another one, if `shown` no longer fits.
    pub(super) fn renewed(
        &self,
        shown: &Certificate,
        names: &BTreeSet<String>,
        now: SystemTime,
    ) -> Option<Result<Certificate, TlsError>> {
        let why = unfit(shown, names, now)?;
        tracing::warn!("making another certificate, which devices must accept anew: {why}");
        Some(self.make(Some(shown), names, now))
    }

    fn kept(&self) -> Option<Certificate> {
        let (cert, key) = (fs::read(&self.cert).ok()?, fs::read(&self.key).ok()?);
        Certificate::read(&cert, &key).ok()
    }

    fn make(
        &self,
        former: Option<&Certificate>,
        names: &BTreeSet<String>,
        now: SystemTime,
    ) -> Result<Certificate, TlsError> {
        let library = |why: rcgen::Error| TlsError::Library(why.to_string());
        let former = former.into_iter().flat_map(|former| former.names.difference(names));
        let all: Vec<String> = names.iter().chain(former).take(NAMES).cloned().collect();
        let mut params = CertificateParams::new(all).map_err(library)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "live360 (self-signed)");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = date(now.checked_sub(CLOCKS).unwrap_or(now));
        params.not_after = date(now.checked_add(LIFE).unwrap_or(now));
        // The same issuer and number on two certificates is an error in Firefox.
        let number = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        params.serial_number = Some(SerialNumber::from(u64::try_from(number).unwrap_or(u64::MAX)));
        let key = KeyPair::generate().map_err(library)?;
        let cert = params.self_signed(&key).map_err(library)?.pem();
        let key = key.serialize_pem();
        // Whatever is left by a crash between the two doesn't fit together, and is made anew.
        disk::write(&self.key, key.as_bytes())?;
        disk::write(&self.cert, cert.as_bytes())?;
        Certificate::read(cert.as_bytes(), key.as_bytes()).map_err(|flaw| TlsError::Library(flaw.to_string()))
    }
}

/// Why a certificate doesn't fit this machine at this time, if it doesn't.
fn unfit(certificate: &Certificate, names: &BTreeSet<String>, now: SystemTime) -> Option<String> {
    if certificate.until.duration_since(now).unwrap_or_default() < EARLY {
        return Some("the old one ends soon".to_owned());
    }
    // IPv6 addresses change daily for privacy's sake; what is typed on another device is none of them.
    let mut missing = names.difference(&certificate.names).filter(|name| name.parse::<Ipv6Addr>().is_err());
    missing.next().map(|name| format!("this machine is now also {name}"))
}

fn date(time: SystemTime) -> OffsetDateTime {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::super::certificate::tests::{FROM, at};
    use super::*;

    const DAY: u64 = 86_400;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// The fingerprint on each of the days, for a machine that has these names on them.
    fn over(days: &[(u64, &[&str])]) -> (Vec<String>, Certificate) {
        let folder = tempfile::tempdir().unwrap();
        let own = Own::new(folder.path().join("tls"));
        let on = |(day, on): &(u64, &[&str])| own.certificate(&names(on), at(FROM + day * DAY)).unwrap();
        let all: Vec<Certificate> = days.iter().map(on).collect();
        (all.iter().map(|certificate| certificate.sha256.clone()).collect(), all.last().unwrap().clone())
    }

    #[test]
    fn it_is_kept_as_long_as_it_fits() {
        let (prints, last) = over(&[(0, &["a", "10.0.0.1"]), (1, &["a", "10.0.0.1"]), (334, &["a"])]);
        assert!(prints.iter().all(|print| *print == prints[0]));
        assert_eq!(last.names, names(&["a", "10.0.0.1"]));
        assert_eq!(last.from, at(FROM - DAY));
    }

    #[test]
    fn it_is_made_anew_before_it_ends() {
        let (prints, last) = over(&[(0, &["a"]), (336, &["a"])]);
        assert_ne!(prints[0], prints[1]);
        assert_eq!(last.until, at(FROM + (336 + 365) * DAY));
    }

    #[test]
    fn a_machine_that_goes_between_two_networks_settles_on_one() {
        let (home, work): (&[&str], &[&str]) = (&["a", "10.0.0.1"], &["a", "192.168.0.2"]);
        let (prints, last) = over(&[(0, home), (1, work), (2, home), (3, work)]);
        assert_ne!(prints[0], prints[1]);
        assert!(prints[1..].iter().all(|print| *print == prints[1]));
        assert_eq!(last.names, names(&["10.0.0.1", "192.168.0.2", "a"]));
    }

    #[test]
    fn addresses_that_change_daily_need_no_other() {
        let (prints, _) = over(&[(0, &["a", "2001:db8::1"]), (1, &["a", "2001:db8::2"])]);
        assert_eq!(prints[0], prints[1]);
    }

    #[test]
    fn a_broken_pair_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let own = Own::new(folder.path().to_owned());
        let first = own.certificate(&names(&["a"]), at(FROM)).unwrap();
        fs::write(&own.key, "half a k").unwrap();
        let second = own.certificate(&names(&["a"]), at(FROM)).unwrap();
        assert_ne!(first.sha256, second.sha256);
        assert_eq!(own.certificate(&names(&["a"]), at(FROM)).unwrap().sha256, second.sha256);
    }
}
