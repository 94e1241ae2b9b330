//! One origin made to look like two that agree byte for byte: plain TCP proxies before it, each of which can fail alone.
//!
//! Knows no HTTP: it passes bytes, stops passing them, or is gone.

use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// Bytes that are passed on at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// A TCP proxy. Dropped, it is gone: its listener and all connections through it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    frozen: watch::Sender<bool>,
    _task: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Stands before the listener at `target` (`host:port`), on a free port.
    pub async fn start(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let frozen = watch::Sender::new(false);
        let state = frozen.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (here, _) = listener.accept().await.expect("loopback can be accepted from");
                // A target that is gone leaves the connection closed, as it would itself.
                if let Ok(there) = TcpStream::connect(&target).await {
                    connections.spawn(pass(here, there, state.subscribe()));
                }
            }
        });
        Self { address, frozen, _task: AbortOnDropHandle::new(task) }
    }

    /// Two of them before the same listener.
    pub async fn pair(target: &str) -> [Self; 2] {
        [Self::start(target.to_owned()).await, Self::start(target.to_owned()).await]
    }

    /// As an edge wants it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Keeps its connections open and takes new ones, but passes nothing on.
    pub fn freeze(&self) {
        self.frozen.send_replace(true);
    }

    /// Closes its listener and all connections, in the middle of whatever goes through them.
    pub fn kill(self) {}
}

async fn pass(here: TcpStream, there: TcpStream, frozen: watch::Receiver<bool>) {
    // As without a proxy: small writes are not held together.
    let _ = (here.set_nodelay(true), there.set_nodelay(true));
    let (from_here, to_here) = here.into_split();
    let (from_there, to_there) = there.into_split();
    // Either side's end is the end of both.
    tokio::select! {
        () = copy(from_here, to_there, frozen.clone()) => {}
        () = copy(from_there, to_here, frozen) => {}
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut frozen: watch::Receiver<bool>) {
    let mut buffer = vec![0; CHUNK_BYTES];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if frozen.wait_for(|frozen| !frozen).await.is_err() || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// The setting that makes an edge pull from these, in this order.
pub fn origins(urls: &[String]) -> String {
    let quoted: Vec<String> = urls.iter().map(|url| format!("\"{url}\"")).collect();
    format!("edge.origins=[{}]", quoted.join(", "))
}
