//! A certificate from an authority that checks names by itself (ACME, RFC 8555), asked for and renewed while serving.
//!
//! When to ask is decided here; how an order goes is `order`'s. What was got is kept, since authorities limit how often
//! they may be asked.

mod client;
mod order;

use super::certificate::Certificate;
use super::files;
use super::shown::Shown;
use super::{TlsError, disk};
use crate::config;
use metrics::counter;
use order::Asked;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The key that names a private authority's root.
const CA: &str = "acme.ca";

/// How long to wait after the first failure; twice as long after each further one. Authorities allow few failures an hour.
const RETRY: Duration = Duration::from_secs(300);

/// The longest such wait.
const RETRY_MOST: Duration = Duration::from_secs(6 * 3600);

/// The longest sleep at a time: the clock may be set meanwhile.
const SLEEP_MOST: Duration = Duration::from_secs(3600);

/// Whom to ask for what, and where answers are kept.
#[derive(Debug)]
pub(super) struct Acme {
    asked: Asked,
    /// Chain and key in one file, so that they always fit.
    kept: PathBuf,
}

impl Acme {
    /// Keeps what it gets below `folder`, apart for each authority: one's trial certificates are no other's.
    pub(super) fn new(config: &config::Acme, folder: &Path) -> Result<Self, TlsError> {
        if config.domains.is_empty() {
            return Err(TlsError::NotSet("acme.domains"));
        }
        let folder = folder.join(folder_name(&config.directory));
        let asked = Asked {
            domains: config.domains.clone(),
            contact: config.contact.clone(),
            directory: config.directory.clone(),
            roots: config.ca.as_deref().map(roots).transpose()?.unwrap_or_default(),
            account: folder.join("account.json"),
        };
        Ok(Self { asked, kept: folder.join("certificate.pem") })
    }

    /// What was got before, if it is for these names and holds.
    pub(super) fn cached(&self, now: SystemTime) -> Option<Certificate> {
        let pem = fs::read(&self.kept).ok()?;
        let certificate = Certificate::read(&pem, &pem).ok()?.unexpired(now).ok()?;
        self.asked.domains.iter().all(|domain| certificate.names.contains(domain)).then_some(certificate)
    }

    /// Asks for certificates whenever one is due, and hands them to `show`; challenges are answered through `shown`.
    pub(super) async fn keep(&self, show: impl Fn(Certificate), shown: &Shown) {
        let mut failures = 0;
        loop {
            let wait = due(shown.certificate().as_ref(), SystemTime::now());
            if !wait.is_zero() {
                tokio::time::sleep(wait.min(SLEEP_MOST)).await;
                continue;
            }
            let domains = &self.asked.domains;
            tracing::info!(?domains, directory = %self.asked.directory, "asking for a certificate");
            match self.ask(shown).await {
                Ok(certificate) => {
                    counter!("live360_tls_renewals_total", "outcome" => "done").increment(1);
                    failures = 0;
                    show(certificate);
                    // Even if what was got is already due again.
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => {
                    counter!("live360_tls_renewals_total", "outcome" => "failed").increment(1);
                    let wait = retry(failures);
                    failures = failures.saturating_add(1);
                    tracing::error!(error, again_in_s = wait.as_secs(), "no certificate from the authority");
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    async fn ask(&self, shown: &Shown) -> Result<Certificate, String> {
        let pem = self.asked.certificate(shown).await?;
        let certificate = Certificate::read(pem.as_bytes(), pem.as_bytes()).map_err(|flaw| flaw.to_string())?;
        if let Err(error) = disk::write(&self.kept, pem.as_bytes()) {
            // It serves all the same; only a restart must ask again.
            tracing::warn!(%error, "can't keep the certificate");
        }
        Ok(certificate)
    }
}

/// How long until a certificate is to be asked for.
fn due(certificate: Option<&Certificate>, now: SystemTime) -> Duration {
    certificate.map_or(Duration::ZERO, |certificate| certificate.renew_at().duration_since(now).unwrap_or_default())
}

/// How long to wait after a failure that so many came before.
fn retry(before: u32) -> Duration {
    RETRY.saturating_mul(2_u32.saturating_pow(before)).min(RETRY_MOST)
}

fn roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let flawed = |why: String| TlsError::File { key: CA, path: path.to_owned(), why };
    let roots = CertificateDer::pem_slice_iter(&files::read(CA, path)?).collect::<Result<Vec<_>, _>>();
    let roots = roots.map_err(|why| flawed(format!("it can't be read ({why}): give a PEM file")))?;
    if roots.is_empty() { Err(flawed("there is no certificate in it: give a PEM file".to_owned())) } else { Ok(roots) }
}

/// A folder's name for an authority.
fn folder_name(directory: &str) -> String {
    let address = directory.trim_start_matches("https://");
    address.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::certificate::tests::{FROM, at, pair};
    use super::*;

    #[test]
    fn a_certificate_is_renewed_when_a_third_of_its_time_is_left() {
        let (chain, key) = pair("a.example", 3000);
        let certificate = Certificate::read(chain.as_bytes(), key.as_bytes()).unwrap();
        for (now, expected) in [(0, 2000), (1999, 1), (2000, 0), (9999, 0)] {
            assert_eq!(due(Some(&certificate), at(FROM + now)).as_secs(), expected, "{now}");
        }
        assert_eq!(due(None, at(FROM)), Duration::ZERO);
    }

    #[test]
    fn an_authority_that_refuses_is_asked_less_and_less() {
        let waits = [0, 1, 2, 6, 7, 40].map(|before| retry(before).as_secs());
        assert_eq!(waits, [300, 600, 1200, 19_200, 21_600, 21_600]);
    }

    #[test]
    fn what_is_kept_is_used_if_it_is_for_these_names_and_holds() {
        let folder = tempfile::tempdir().unwrap();
        let domains = |domains: &[&str]| domains.iter().map(|domain| (*domain).to_owned()).collect();
        let acme = |names: &[&str]| {
            Acme::new(&config::Acme { domains: domains(names), ..config::Acme::default() }, folder.path()).unwrap()
        };
        assert!(acme(&["a.example"]).cached(at(FROM)).is_none());
        let (chain, key) = pair("a.example", 3000);
        disk::write(&acme(&["a.example"]).kept, format!("{chain}{key}").as_bytes()).unwrap();
        assert!(acme(&["a.example"]).cached(at(FROM)).is_some());
        assert!(acme(&["a.example"]).cached(at(FROM + 3000)).is_none());
        assert!(acme(&["a.example", "b.example"]).cached(at(FROM)).is_none());
    }

    #[test]
    fn each_authority_has_its_own_folder() {
        let name = folder_name("https://acme-v02.api.letsencrypt.org/directory");
        assert_eq!(name, "acme-v02.api.letsencrypt.org_directory");
        assert_eq!(folder_name("https://../../x"), ".._.._x");
    }

    #[test]
    fn a_root_that_can_not_be_used_is_named() {
        let config = config::Acme {
            domains: vec!["a.example".to_owned()],
            ca: Some("/nonexistent.pem".into()),
            ..config::Acme::default()
        };
        let error = Acme::new(&config, Path::new("/nonexistent")).unwrap_err();
        assert!(error.is_the_configs() && error.to_string().starts_with("acme.ca = /nonexistent.pem: "), "{error}");
    }
}
