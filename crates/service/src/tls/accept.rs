//! The handshake for listeners that don't speak HTTP.
//!
//! What comes after it is the caller's affair.

use super::{ACME_ALPN, Tls};
use crate::http::handshake::{Failure, count_failure, failure};
use metrics::counter;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// Why there is no TLS on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no TLS: {}", .0.as_str())]
pub struct NoHandshake(Failure);

impl Tls {
    /// Shakes hands on a connection that was just accepted, and counts it under the listener's and the protocol's names.
    pub async fn accept(
        &self,
        stream: TcpStream,
        within: Duration,
        listener: &'static str,
        protocol: &'static str,
    ) -> Result<TlsStream<TcpStream>, NoHandshake> {
        let shaken = match tokio::time::timeout(within, self.bare_acceptor().accept(stream)).await {
            Err(_) => Err(Failure::Slow),
            Ok(Err(error)) => Err(failure(&error)),
            Ok(Ok(mut stream)) if stream.get_ref().1.alpn_protocol() == Some(ACME_ALPN) => {
                // An authority that has seen its answer.
                let _ = tokio::time::timeout(within, stream.shutdown()).await;
                Err(Failure::Challenge)
            }
            Ok(Ok(stream)) => Ok(stream),
        };
        match &shaken {
            Ok(_) => {
                counter!("live360_tls_handshakes_total", "listener" => listener, "version" => protocol).increment(1);
            }
            Err(failure) => count_failure(listener, *failure),
        }
        shaken.map_err(NoHandshake)
    }
}
