//! The accept loop: lets connections in, counts them, waits for all of them at the end. Knows nothing of RTMP.

use super::Limits;
use super::connection::{self, Ended};
use crate::ingest::Ingest;
use service::tls::Tls;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

#[cfg(test)]
mod tests;

/// Pause after a failed accept: it fails for want of files or memory, and asking again at once would only burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where publishers come in. Limits are for both doors together.
#[derive(Debug)]
pub struct Listeners {
    /// RTMP.
    pub plain: TcpListener,
    /// RTMP over TLS.
    pub secure: Option<(TcpListener, Arc<Tls>)>,
}

impl Listeners {
    /// The next connection, and what it is to be secured by.
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr, Option<Arc<Tls>>)> {
        let secure = async {
            match &self.secure {
                Some((listener, tls)) => (listener.accept().await, Some(Arc::clone(tls))),
                None => std::future::pending().await,
            }
        };
        let (accepted, tls) = tokio::select! {
            accepted = self.plain.accept() => (accepted, None),
            accepted = secure => accepted,
        };
        accepted.map(|(socket, peer)| (socket, peer, tls))
    }
}

/// Serves publishers until `shutdown`; then tells them so, and returns once every connection has ended.
pub async fn serve(listeners: Listeners, ingest: Arc<impl Ingest>, limits: Limits, shutdown: CancellationToken) {
    let limits = Arc::new(limits);
    let mut server = Server {
        ingest,
        door: Door { limits: Arc::clone(&limits), open: Arc::default(), refusing: false },
        limits,
        shutdown: shutdown.clone(),
        connections: JoinSet::new(),
        accepted: 0,
    };
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(done) = server.connections.join_next() => report(done),
            accepted = listeners.accept() => match accepted {
                Ok((socket, peer, tls)) => server.admit(socket, peer, tls),
                Err(error) => {
                    metrics::counter!("live360_rtmp_accept_errors_total").increment(1);
                    tracing::warn!(%error, "can't accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listeners);
    while let Some(done) = server.connections.join_next().await {
        report(done);
    }
}

/// A connection that panics is a bug of ours, and ends alone.
fn report(done: Result<(), tokio::task::JoinError>) {
    if let Err(error) = done {
        metrics::counter!("live360_rtmp_panics_total").increment(1);
        tracing::error!(%error, "a connection failed");
    }
}

struct Server<I> {
    ingest: Arc<I>,
    limits: Arc<Limits>,
    door: Door,
    shutdown: CancellationToken,
    connections: JoinSet<()>,
    /// Connections let in so far: the `id` of spans.
    accepted: u64,
}

impl<I: Ingest> Server<I> {
    fn admit(&mut self, socket: TcpStream, peer: SocketAddr, tls: Option<Arc<Tls>>) {
        let Some(place) = self.door.admit(peer.ip()) else { return };
        self.accepted += 1;
        let span = tracing::info_span!("conn", id = self.accepted, %peer, tls = tls.is_some());
        let (ingest, limits, shutdown) = (Arc::clone(&self.ingest), Arc::clone(&self.limits), self.shutdown.clone());
        let life = async move {
            let _place = place;
            // Answers are small and waited for; an error here shows in the first read as well.
            let _ = socket.set_nodelay(true);
            tracing::debug!("opened");
            let ended = match tls {
                None => connection::run(socket, peer, ingest.as_ref(), &limits, &shutdown).await,
                Some(tls) => {
                    let shaken = tokio::select! {
                        shaken = tls.accept(socket, limits.handshake, "rtmps", "rtmp") => shaken,
                        // Nothing was published yet.
                        () = shutdown.cancelled() => return,
                    };
                    match shaken {
                        Ok(stream) => connection::run(stream, peer, ingest.as_ref(), &limits, &shutdown).await,
                        Err(error) => Ended::Tls(error),
                    }
                }
            };
            metrics::counter!("live360_rtmp_closed_total", "why" => ended.label()).increment(1);
            // Whoever guesses keys must not fill the log as well; the guard has its say there.
            if ended.is_a_stranger() {
                tracing::debug!(why = %ended, "closed");
            } else {
                tracing::info!(why = %ended, "closed");
            }
        };
        self.connections.spawn(life.instrument(span));
    }
}

/// Who may come in.
struct Door {
    limits: Arc<Limits>,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    /// The last one was turned away. A flood of refusals makes one line in the log, and a count.
    refusing: bool,
}

impl Door {
    fn admit(&mut self, address: IpAddr) -> Option<Place> {
        let address = party(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let here = open.get(&address).copied().unwrap_or_default();
        let reason = if open.values().sum::<usize>() >= self.limits.connections {
            "connections"
        } else if here >= self.limits.connections_per_address {
            "connections_per_address"
        } else {
            open.insert(address, here + 1);
            metrics::gauge!("live360_rtmp_connections").increment(1);
            self.refusing = false;
            return Some(Place { address, open: Arc::clone(&self.open) });
        };
        metrics::counter!("live360_rtmp_refusals_total", "reason" => reason).increment(1);
        if !std::mem::replace(&mut self.refusing, true) {
            tracing::warn!(%address, limit = reason, "too many connections: turning new ones away");
        }
        None
    }
}

/// Whose connection counts as whose: whoever has an IPv6 address has all of its /64.
pub(crate) fn party(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

/// One connection's place, given back when it is dropped.
struct Place {
    address: IpAddr,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        metrics::gauge!("live360_rtmp_connections").decrement(1);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}
