//! The connection to an authority: HTTPS against the system's roots and one of one's own, with limits.

use super::super::provider;
use bytes::Bytes;
use http::Request;
use http_body_util::Limited;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use std::pin::Pin;
use std::time::Duration;

/// How long an authority may take to begin an answer.
const ANSWER: Duration = Duration::from_secs(30);

/// Bytes of an answer.
const ANSWER_BYTES: usize = 1 << 20;

/// A client for the ACME library.
pub(super) struct Client(HyperClient<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>);

impl Client {
    /// Trusts `roots` beside those that the system does.
    pub(super) fn new(roots: &[CertificateDer<'static>]) -> Result<Self, String> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for root in roots {
            store.add(root.clone()).map_err(|why| format!("acme.ca: {why}"))?;
        }
        if store.is_empty() {
            return Err("this system trusts no certificates: install the package ca-certificates".to_owned());
        }
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|why| why.to_string())?
            .with_root_certificates(store)
            .with_no_client_auth();
        let https = HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().enable_http2();
        Ok(Self(HyperClient::builder(TokioExecutor::new()).build(https.build())))
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let answer = tokio::time::timeout(ANSWER, self.0.request(request));
        Box::pin(async move {
            let answer = answer.await.map_err(|late| Error::Other(Box::new(late)))?;
            let answer = answer.map_err(|why| Error::Other(Box::new(why)))?;
            Ok(BytesResponse::from(answer.map(|body| Limited::new(body, ANSWER_BYTES))))
        })
    }
}
