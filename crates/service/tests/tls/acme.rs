//! A certificate from an authority: a small one that walks RFC 8555 and checks names as RFC 8737 says.
//!
//! It checks what it must to certify (challenges), and no signatures of requests: those are the library's.

use crate::support::{Authority, Running, connect, fingerprint, limits, shown, soon, trusting_client};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine as _};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::CertificateSigningRequestParams;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use service::config::{self, Config};
use service::tls::Tls;
use sha2::{Digest as _, Sha256};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// `id-pe-acmeIdentifier` (RFC 8737 section 6.1).
const ACME_IDENTIFIER: &str = "1.3.6.1.5.5.7.1.31";

/// What the authority knows.
struct Mock {
    base: String,
    certifier: Authority,
    /// Where the names lead.
    edge: SocketAddr,
    state: Mutex<State>,
    /// Gets the path of each request.
    asked: mpsc::UnboundedSender<String>,
}

#[derive(Default)]
struct State {
    /// The thumbprint of the account's key (RFC 7638).
    thumbprint: String,
    names: Vec<String>,
    /// Which names were checked, in their order; the words against one that did not pass.
    checked: Vec<Option<Result<(), String>>>,
    chain: Option<String>,
}

/// Starts an authority that finds names at `edge`; gives it, and what tells of each request.
async fn start(edge: SocketAddr, folder: &Path) -> (Arc<Mock>, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let certifier = Authority::new();
    certifier.write(folder, "localhost");
    std::fs::write(folder.join("root.pem"), &certifier.root_pem).unwrap();
    let chain = CertificateDer::pem_file_iter(folder.join("cert.pem")).unwrap().collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
    let tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let base = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let (asked, requests) = mpsc::unbounded_channel();
    let mock = Arc::new(Mock { base, certifier, edge, state: Mutex::default(), asked });
    let serving = Arc::clone(&mock);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, mock) = (acceptor.clone(), Arc::clone(&serving));
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await.unwrap();
                let service = service_fn(|request| {
                    let mock = Arc::clone(&mock);
                    async move { Ok::<_, Infallible>(mock.answer(request).await) }
                });
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (mock, requests)
}

impl Mock {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let _ = self.asked.send(path.clone());
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let (protected, payload) = if method == Method::POST { signed(&body) } else { (Value::Null, Value::Null) };
        let number = || path.rsplit('/').next().unwrap().parse::<usize>().unwrap();
        let (status, location, body) = match path.split('/').nth(1).unwrap() {
            "directory" => (200, None, self.directory()),
            "nonce" => (200, None, Value::Null),
            "account" => {
                self.state.lock().unwrap().thumbprint = thumbprint(&protected["jwk"]);
                (201, Some("/me"), json!({ "status": "valid" }))
            }
            "order" => {
                let names = payload["identifiers"].as_array().unwrap();
                let names: Vec<String> = names.iter().map(|name| name["value"].as_str().unwrap().to_owned()).collect();
                let mut state = self.state.lock().unwrap();
                (state.checked, state.names) = (vec![None; names.len()], names);
                drop(state);
                (201, Some("/orders/0"), self.order())
            }
            "orders" => (200, None, self.order()),
            "authorization" => (200, None, self.authorization(number())),
            "challenge" => {
                // Authorities check later; who asks must come back to see.
                let pending = self.challenge(number());
                self.check(number()).await;
                (200, None, pending)
            }
            "finalize" => {
                self.certify(payload["csr"].as_str().unwrap());
                (200, None, self.order())
            }
            "certificate" => {
                let chain = self.state.lock().unwrap().chain.clone().unwrap();
                return with_nonce(Response::new(chain.into()));
            }
            _ => (404, None, Value::Null),
        };
        let mut response = Response::builder().status(StatusCode::from_u16(status).unwrap());
        if let Some(location) = location {
            response = response.header("location", format!("{}{location}", self.base));
        }
        with_nonce(response.body(body.to_string().into()).unwrap())
    }

    fn directory(&self) -> Value {
        let url = |path: &str| format!("{}/{path}", self.base);
        json!({ "newNonce": url("nonce"), "newAccount": url("account"), "newOrder": url("order") })
    }

    fn order(&self) -> Value {
        let state = self.state.lock().unwrap();
        let status = match &state.chain {
            Some(_) => "valid",
            None if state.checked.iter().all(|name| matches!(name, Some(Ok(())))) => "ready",
            None if state.checked.iter().any(|name| matches!(name, Some(Err(_)))) => "invalid",
            None => "pending",
        };
        let urls: Vec<String> = (0..state.names.len()).map(|n| format!("{}/authorization/{n}", self.base)).collect();
        let names: Vec<Value> = state.names.iter().map(|name| json!({ "type": "dns", "value": name })).collect();
        json!({
            "status": status, "identifiers": names, "authorizations": urls, "finalize": format!("{}/finalize", self.base),
            "certificate": state.chain.as_ref().map(|_| format!("{}/certificate", self.base)),
        })
    }

    fn authorization(&self, n: usize) -> Value {
        let challenge = self.challenge(n);
        let name = self.state.lock().unwrap().names[n].clone();
        let identifier = json!({ "type": "dns", "value": name });
        json!({ "identifier": identifier, "status": challenge["status"], "challenges": [challenge] })
    }

    fn challenge(&self, n: usize) -> Value {
        let url = format!("{}/challenge/{n}", self.base);
        let mut challenge = json!({ "type": "tls-alpn-01", "url": url, "token": token(n), "status": "pending" });
        match &self.state.lock().unwrap().checked[n] {
            None => {}
            Some(Ok(())) => challenge["status"] = json!("valid"),
            Some(Err(why)) => {
                challenge["status"] = json!("invalid");
                challenge["error"] = json!({ "type": "urn:ietf:params:acme:error:tls", "detail": why });
            }
        }
        challenge
    }

    /// Looks at what the name's server shows (RFC 8737 section 3).
    async fn check(&self, n: usize) {
        let (name, key) = {
            let state = self.state.lock().unwrap();
            (state.names[n].clone(), format!("{}.{}", token(n), state.thumbprint))
        };
        let outcome = match connect(&trusting_client(&["acme-tls/1"]), self.edge, &name).await {
            Err(error) => Err(error.to_string()),
            Ok(stream) => {
                let certificate = shown(&stream);
                let (_, parsed) = X509Certificate::from_der(&certificate).unwrap();
                let proof = parsed.extensions().iter().find(|one| one.oid.to_id_string() == ACME_IDENTIFIER).unwrap();
                // An OCTET STRING of 32 bytes.
                let expected = [&[4, 32][..], &Sha256::digest(key)].concat();
                assert!(proof.critical && proof.value == expected);
                Ok(())
            }
        };
        self.state.lock().unwrap().checked[n] = Some(outcome);
    }

    fn certify(&self, request: &str) {
        let request = BASE64.decode(request).unwrap().into();
        let request = CertificateSigningRequestParams::from_der(&request).unwrap();
        let certificate = request.signed_by(self.certifier.issuer()).unwrap();
        let chain = format!("{}{}", certificate.pem(), self.certifier.root_pem);
        self.state.lock().unwrap().chain = Some(chain);
    }
}

fn token(n: usize) -> String {
    format!("token-{n}")
}

/// The header and the payload of a signed request (RFC 7515).
fn signed(body: &[u8]) -> (Value, Value) {
    let body: Value = serde_json::from_slice(body).unwrap();
    let part = |name: &str| {
        let bytes = BASE64.decode(body[name].as_str().unwrap()).unwrap();
        if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() }
    };
    (part("protected"), part("payload"))
}

/// RFC 7638: the digest of the key's members in order of their names.
fn thumbprint(jwk: &Value) -> String {
    let members = ["crv", "kty", "x", "y"].map(|name| format!("\"{name}\":{}", jwk[name]));
    BASE64.encode(Sha256::digest(format!("{{{}}}", members.join(","))))
}

fn with_nonce(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    response.headers_mut().insert("replay-nonce", "once".parse().unwrap());
    response
}

/// A server that asks an authority, which finds it under its names or doesn't.
async fn ask(names: &[&str], found: bool) -> (Running, Config, mpsc::UnboundedReceiver<String>) {
    // The authority must know the server's address, and the server the authority's.
    let probe = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let edge = probe.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = if found { edge } else { SocketAddr::from(([127, 0, 0, 1], 1)) };
    let (mock, requests) = start(elsewhere, folder.path()).await;
    let mut config = Config { tls: config::Tls::Acme, data_dir: folder.path().join("data"), ..Config::default() };
    config.acme.domains = names.iter().map(|name| (*name).to_owned()).collect();
    config.acme.directory = format!("{}/directory", mock.base);
    config.acme.ca = Some(folder.path().join("root.pem"));
    let tls = Tls::from_config(&config).unwrap().unwrap();
    assert!(tls.facts().is_none());
    let server = Running::on(probe, tls, Authority::new(), folder, limits()).await;
    (server, config, requests)
}

#[tokio::test]
async fn an_authority_checks_the_names_and_its_certificate_is_shown_and_kept() {
    let (server, config, _requests) = ask(&["a.example", "b.example"], true).await;
    let stop = CancellationToken::new();
    let keeping = tokio::spawn(Arc::clone(&server.tls).keep(stop.clone()));
    let facts = async {
        loop {
            match server.tls.facts() {
                Some(facts) => return facts,
                None => tokio::task::yield_now().await,
            }
        }
    };
    let facts = soon(facts).await;
    assert_eq!((facts.kind, &facts.names[..]), ("acme", &["a.example".to_owned(), "b.example".to_owned()][..]));
    assert_eq!(fingerprint(&server.certificate().await), facts.sha256);
    // What answered challenges answers no more, and what is not asked for in their name never did.
    let challenger = trusting_client(&["acme-tls/1"]);
    assert!(connect(&challenger, server.addr, "a.example").await.is_err());
    stop.cancel();
    soon(keeping).await.unwrap();
    let again = Tls::from_config(&config).unwrap().unwrap();
    assert_eq!(again.facts().unwrap(), facts);
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_gets_no_certificate_and_the_account_is_kept() {
    let (server, _, mut requests) = ask(&["a.example"], false).await;
    let stop = CancellationToken::new();
    let keeping = tokio::spawn(Arc::clone(&server.tls).keep(stop.clone()));
    while soon(requests.recv()).await.unwrap() != "/challenge/0" {}
    // It asks how far the order is, and then what is held against the name.
    while soon(requests.recv()).await.unwrap() != "/orders/0" {}
    while soon(requests.recv()).await.unwrap() != "/authorization/0" {}
    assert!(server.tls.facts().is_none());
    assert!(server.connect(&["h2"]).await.is_err());
    stop.cancel();
    soon(keeping).await.unwrap();
    let accounts = walk(server.folder.path()).into_iter().filter(|path| path.ends_with("account.json")).count();
    assert_eq!(accounts, 1);
}

/// Every file below a folder.
fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
