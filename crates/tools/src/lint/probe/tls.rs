//! Connections with or without TLS, which remember the version of TLS that was agreed.

use crate::lint::{CannotLook, Options};
use crate::trust;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tower_service::Service;

/// The version of TLS of a connection, an extension of its answers.
#[derive(Debug, Clone)]
pub(super) struct TlsVersion(pub(super) String);

/// Connects to http and https addresses.
#[derive(Clone)]
pub(super) struct Connector(HttpsConnector<HttpConnector>);

pub(super) fn connector(options: &Options) -> Result<Connector, CannotLook> {
    let config = trust::client_config(options.ca.as_deref(), options.insecure)?;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(options.fetch_timeout));
    let https = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().enable_http2();
    Ok(Connector(https.wrap_connector(tcp)))
}

type Inner = MaybeHttpsStream<TokioIo<TcpStream>>;

/// A connection.
pub(super) struct Stream(Inner);

impl Service<http::Uri> for Connector {
    type Response = Stream;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, address: http::Uri) -> Self::Future {
        let connecting = self.0.call(address);
        Box::pin(async move { connecting.await.map(Stream) })
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let connected = self.0.connected();
        let version = match &self.0 {
            MaybeHttpsStream::Http(_) => None,
            MaybeHttpsStream::Https(stream) => stream.inner().get_ref().1.protocol_version(),
        };
        let name = |version: rustls::ProtocolVersion| match version.as_str() {
            Some(name) => name.replace('_', "."),
            None => format!("{version:?}"),
        };
        match version {
            Some(version) => connected.extra(TlsVersion(name(version))),
            None => connected,
        }
    }
}

impl hyper::rt::Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, data)
    }
}
