//! One order: account, challenges answered in handshakes (TLS-ALPN-01, RFC 8737), certificate.

use super::super::disk;
use super::super::provider;
use super::super::shown::Shown;
use super::client::Client;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long a whole order may take.
const WITHIN: Duration = Duration::from_secs(300);

/// How long an authority may take to check names, and as long again to write the certificate.
const CHECKS: Duration = Duration::from_secs(120);

/// How often it is asked how far it is.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// What an authority answers to an account that it doesn't have (RFC 8555 section 6.7).
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// Whom to ask, and for what.
#[derive(Debug)]
pub(super) struct Asked {
    /// The names.
    pub(super) domains: Vec<String>,
    /// An e-mail address.
    pub(super) contact: Option<String>,
    /// The authority.
    pub(super) directory: String,
    /// What its own connection may be certified by, beside what the system trusts.
    pub(super) roots: Vec<CertificateDer<'static>>,
    /// Where the account is kept.
    pub(super) account: PathBuf,
}

impl Asked {
    /// Gives the chain and its key, PEM. Errors are for the operator.
    pub(super) async fn certificate(&self, shown: &Shown) -> Result<String, String> {
        let answers = Answers(shown);
        let ordered = tokio::time::timeout(WITHIN, self.order(&answers)).await;
        ordered.map_err(|_| format!("the order did not finish within {} s", WITHIN.as_secs()))?
    }

    async fn order(&self, answers: &Answers<'_>) -> Result<String, String> {
        let account = self.account().await?;
        let names: Vec<Identifier> = self.domains.iter().cloned().map(Identifier::Dns).collect();
        let mut order = match account.new_order(&NewOrder::new(&names)).await {
            Err(Error::Api(problem)) if problem.r#type.as_deref() == Some(NO_ACCOUNT) => {
                // The next attempt makes another one.
                let _ = fs::remove_file(&self.account);
                return Err("the authority no longer knows this account".to_owned());
            }
            order => order.map_err(words)?,
        };
        authorize(&mut order, answers).await?;
        let polls = RetryPolicy::new().initial_delay(ASK_AGAIN).backoff(1.5).timeout(CHECKS);
        match order.poll_ready(&polls).await.map_err(words)? {
            OrderStatus::Ready => {}
            _ => return Err(refusal(&mut order).await),
        }
        let key = KeyPair::generate().map_err(words)?;
        let mut params = CertificateParams::new(self.domains.clone()).map_err(words)?;
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key).map_err(words)?;
        order.finalize_csr(request.der()).await.map_err(words)?;
        let chain = order.poll_certificate(&polls).await.map_err(words)?;
        Ok(format!("{}\n{}", chain.trim_end(), key.serialize_pem()))
    }

    /// The account that was kept, else another.
    async fn account(&self) -> Result<Account, String> {
        let builder = || Client::new(&self.roots).map(|client| Account::builder_with_http(Box::new(client)));
        let kept =
            fs::read(&self.account).ok().and_then(|json| serde_json::from_slice::<AccountCredentials>(&json).ok());
        if let Some(kept) = kept {
            return builder()?.from_credentials(kept).await.map_err(words);
        }
        let contact = self.contact.as_ref().map(|address| format!("mailto:{address}"));
        let contact: Vec<&str> = contact.as_deref().into_iter().collect();
        let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let (account, credentials) = builder()?.create(&new, self.directory.clone(), None).await.map_err(words)?;
        let json = serde_json::to_vec(&credentials).map_err(words)?;
        disk::write(&self.account, &json).map_err(words)?;
        Ok(account)
    }
}

/// Gets ready for each name's challenge, then asks the authority to check all of them.
async fn authorize(order: &mut Order, answers: &Answers<'_>) -> Result<(), String> {
    let mut challenges = HashMap::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(words)?;
        let name = match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => authorization.identifier().to_string(),
            status => return Err(format!("the authority has an authorization that is {status:?}")),
        };
        let challenge = authorization.challenge(ChallengeType::TlsAlpn01);
        let mut challenge = challenge.ok_or_else(|| format!("the authority offers no TLS-ALPN-01 for {name}"))?;
        challenges.insert(name.clone(), answer(&name, challenge.key_authorization().digest().as_ref())?);
        answers.0.answer(challenges.clone());
        challenge.set_ready().await.map_err(words)?;
    }
    Ok(())
}

/// What the authority holds against a name.
async fn refusal(order: &mut Order) -> String {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { continue };
        if let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.as_ref()) {
            return format!("the authority could not check {}: {problem}", state.identifier());
        }
    }
    "the authority refused the order".to_owned()
}

/// The certificate that answers a challenge (RFC 8737 section 3).
fn answer(name: &str, digest: &[u8]) -> Result<Arc<CertifiedKey>, String> {
    let key = KeyPair::generate().map_err(words)?;
    let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(words)?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key).map_err(words)?.der().clone();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let key = provider().key_provider.load_private_key(key).map_err(words)?;
    // Not checked against each other: the library knows no such certificate, whose extension is critical.
    Ok(Arc::new(CertifiedKey::new(vec![certificate], key)))
}

fn words(why: impl std::error::Error) -> String {
    let mut words = why.to_string();
    let mut cause = why.source();
    while let Some(deeper) = cause {
        words = format!("{words}: {deeper}");
        cause = deeper.source();
    }
    words
}

/// Challenges are answered only while an order runs.
struct Answers<'a>(&'a Shown);

impl Drop for Answers<'_> {
    fn drop(&mut self) {
        self.0.answer(HashMap::new());
    }
}
