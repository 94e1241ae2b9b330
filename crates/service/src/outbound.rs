//! Asks servers that an operator named: one POST of JSON, over HTTP or HTTPS, with limits on everything.
//!
//! No redirects, no cookies, no proxies. Errors name the server, never its path or query, which may hold what is secret.

use crate::secret::Secret;
use crate::signature;
use crate::tls::provider;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// For a connection, TLS not included.
const CONNECT: Duration = Duration::from_secs(3);

/// Idle connections kept to one server, and for how long.
const IDLE_CONNECTIONS_MAX: usize = 4;
const IDLE: Duration = Duration::from_secs(30);

/// Longest answer that is read, in bytes; a longer one is an error.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Why a server could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No connection, or it broke.
    #[error("can't reach {0}: {1}")]
    Unreachable(String, String),
    /// Too slow.
    #[error("no answer from {0} within {1:?}")]
    Late(String, Duration),
    /// The answer broke off or is too long.
    #[error("the answer of {0} can't be read, or is longer than {ANSWER_BYTES_MAX} bytes")]
    Answer(String),
}

/// Why there is no client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} = {path}: {why}")]
pub struct BadRoots {
    /// Whose file it is.
    pub key: &'static str,
    /// Which file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// All of its body.
    pub body: Bytes,
}

/// Where requests go out.
#[derive(Debug, Clone)]
pub struct Client(HyperClient<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Client {
    /// Trusts, beside what the system does, the certificates in this PEM file; `key` is the config's name for it.
    pub fn new(roots: Option<(&'static str, &Path)>) -> Result<Self, BadRoots> {
        let mut store = RootCertStore::empty();
        // Without any, servers over plain HTTP can still be asked.
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some((key, path)) = roots {
            let bad = |why: String| BadRoots { key, path: path.to_owned(), why };
            let pem = std::fs::read(path).map_err(|why| bad(why.to_string()))?;
            let none = || bad("there is no certificate in it that can be used: give a PEM file".to_owned());
            let own = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().map_err(|_| none())?;
            if own.is_empty() || own.into_iter().any(|root| store.add(root).is_err()) {
                return Err(none());
            }
        }
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|why| BadRoots { key: "TLS", path: PathBuf::new(), why: why.to_string() })?
            .with_root_certificates(store)
            .with_no_client_auth();
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT));
        http.set_nodelay(true);
        let https = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1();
        let client = HyperClient::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .pool_timer(TokioTimer::new())
            .build(https.wrap_connector(http));
        Ok(Self(client))
    }

    /// Posts JSON, signed if there is a secret, and reads the whole answer; all of it `within` this time.
    pub async fn ask(&self, to: &Uri, body: Bytes, secret: Option<&Secret>, within: Duration) -> Result<Answer, Error> {
        let asked = async {
            let answer = self.post(to, body, secret).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok(Answer { status, body: body.map_err(|_| Error::Answer(server(to)))?.to_bytes() })
        };
        tokio::time::timeout(within, asked).await.unwrap_or_else(|_| Err(Error::Late(server(to), within)))
    }

    /// Posts JSON, signed if there is a secret, to whom only the status of the answer counts.
    pub async fn tell(
        &self,
        to: &Uri,
        body: Bytes,
        secret: Option<&Secret>,
        within: Duration,
    ) -> Result<StatusCode, Error> {
        let told = tokio::time::timeout(within, self.post(to, body, secret)).await;
        told.unwrap_or_else(|_| Err(Error::Late(server(to), within))).map(|answer| answer.status())
    }

    async fn post(&self, to: &Uri, body: Bytes, secret: Option<&Secret>) -> Result<Response<Incoming>, Error> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(to)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("live360/", env!("CARGO_PKG_VERSION")));
        let request = match secret {
            Some(secret) => request.header(signature::HEADER, signature::sign(secret, utc_s(), &body)),
            None => request,
        };
        let unreachable = |why: String| Error::Unreachable(server(to), why);
        let request = request.body(Full::new(body)).map_err(|why| unreachable(why.to_string()))?;
        self.0.request(request).await.map_err(|why| unreachable(root_cause(&why)))
    }
}

/// A server without what may be secret in its address: `https://HOST[:PORT]`.
pub fn server(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    // What stands before an @ is a password.
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{}://{host}", uri.scheme_str().unwrap_or_default())
}

/// The second that it is, UTC.
pub fn utc_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The words at the bottom of an error: those above only say "client error (Connect)".
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_without_path_query_and_password() {
        for (uri, expected) in [
            ("https://hooks.example/T0/secret?key=x", "https://hooks.example"),
            ("http://user:secret@127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ] {
            assert_eq!(server(&uri.parse().unwrap()), expected);
        }
    }

    #[tokio::test]
    async fn nobody_there_is_said_in_words_without_the_path() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to: Uri = format!("http://{}/secret", listener.local_addr().unwrap()).parse().unwrap();
        drop(listener);
        let asked = Client::new(None).unwrap().ask(&to, Bytes::new(), None, Duration::from_secs(5)).await;
        let words = asked.unwrap_err().to_string();
        assert!(words.contains("Connection refused") && !words.contains("secret"), "{words}");
    }

    #[test]
    fn certificates_to_trust_must_be_there() {
        let missing = Client::new(Some(("hooks.ca", Path::new("/nonexistent.pem")))).unwrap_err().to_string();
        assert_eq!(missing, "hooks.ca = /nonexistent.pem: No such file or directory (os error 2)");
        let none = Client::new(Some(("hooks.ca", Path::new("/dev/null")))).unwrap_err().to_string();
        assert!(none.ends_with("there is no certificate in it that can be used: give a PEM file"), "{none}");
    }
}
