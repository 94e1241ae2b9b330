//! Real sockets on loopback: limits, the end, and that nobody's trouble is anybody else's.

use super::*;
use crate::ingest::Refusal;
use crate::rtmp::testkit::{Client, FakeIngest, picture};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

struct Running {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

async fn start(ingest: Arc<FakeIngest>, limits: Limits) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
    let listeners = Listeners { plain: listener, secure: None };
    let task = tokio::spawn(serve(listeners, ingest, limits, shutdown.clone()));
    Running { address, shutdown, task }
}

/// Whether the server closes a connection without a word.
async fn turned_away(address: SocketAddr) -> bool {
    let mut socket = TcpStream::connect(address).await.unwrap();
    // A connection that was let in answers the first byte of a handshake; the other may not even take it.
    let _ = socket.write_all(&[3]).await;
    socket.read(&mut [0]).await.unwrap_or(0) == 0
}

#[tokio::test]
async fn connections_are_limited_in_all_and_per_address_and_places_come_back() {
    for (in_all, per_address) in [(2, 9), (9, 2)] {
        let (ingest, ..) = FakeIngest::accepting(8);
        let limits = Limits { connections: in_all, connections_per_address: per_address, ..Limits::default() };
        let server = start(ingest, limits).await;
        let first = Client::new(TcpStream::connect(server.address).await.unwrap()).await;
        let second = Client::new(TcpStream::connect(server.address).await.unwrap()).await;
        assert!(turned_away(server.address).await, "{in_all} in all, {per_address} per address");
        drop(first);
        while turned_away(server.address).await {
            tokio::task::yield_now().await;
        }
        server.shutdown.cancel();
        drop(second);
        server.task.await.unwrap();
    }
}

#[tokio::test]
async fn one_publishers_trouble_is_not_anothers() {
    let (ingest, mut received, ..) = FakeIngest::accepting(8);
    let server = start(ingest, Limits::default()).await;
    let mut good = Client::publishing(TcpStream::connect(server.address).await.unwrap(), "good").await;
    good.status().await.unwrap();
    let mut garbage = TcpStream::connect(server.address).await.unwrap();
    garbage.write_all(&[0xFF; 5000]).await.unwrap();
    let _unfinished = TcpStream::connect(server.address).await.unwrap();
    let mut broken = Client::new(TcpStream::connect(server.address).await.unwrap()).await;
    broken.socket.write_all(&[0xC9; 100]).await.unwrap();
    assert_eq!(broken.status().await.unwrap().0, "error");
    good.send(&[picture(7, 5000)]).await;
    assert!(matches!(received.recv().await, Some(crate::ingest::Ingested::Video { rtmp_ms: 7, .. })));
    server.shutdown.cancel();
    assert_eq!(good.status().await.unwrap().2, Refusal::ShuttingDown.to_string());
    drop((good, broken));
    server.task.await.unwrap();
    assert!(received.recv().await.is_none(), "every claim is let go by the time serve returns");
    assert!(TcpStream::connect(server.address).await.is_err(), "nobody listens any more");
}

#[test]
fn an_ipv6_neighbourhood_is_one_party_and_mapped_addresses_are_ipv4() {
    let same = |a: &str, b: &str| party(a.parse().unwrap()) == party(b.parse().unwrap());
    assert!(same("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"));
    assert!(!same("2001:db8:1:2::1", "2001:db8:1:3::1"));
    assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
    assert!(!same("192.0.2.1", "192.0.2.2"));
}

/// A server that has both doors; the address of the one with TLS first.
async fn start_secure(limits: Limits) -> (SocketAddr, Running) {
    let folder = tempfile::tempdir().unwrap();
    let tls = service::config::Tls::SelfSigned;
    let config = service::config::Config { tls, data_dir: folder.path().to_owned(), ..Default::default() };
    let tls = Tls::from_config(&config).unwrap().unwrap();
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let secure = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, secured, shutdown) =
        (plain.local_addr().unwrap(), secure.local_addr().unwrap(), CancellationToken::new());
    let listeners = Listeners { plain, secure: Some((secure, tls)) };
    let (ingest, ..) = FakeIngest::accepting(8);
    let task = tokio::spawn(serve(listeners, ingest, limits, shutdown.clone()));
    (secured, Running { address, shutdown, task })
}

#[tokio::test]
async fn who_begins_no_tls_in_time_is_let_go() {
    let (secured, server) = start_secure(Limits { handshake: Duration::from_millis(50), ..Limits::default() }).await;
    let mut silent = TcpStream::connect(secured).await.unwrap();
    assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0);
    server.shutdown.cancel();
    server.task.await.unwrap();
}

#[tokio::test]
async fn both_doors_share_their_limits() {
    let (secured, server) = start_secure(Limits { connections_per_address: 1, ..Limits::default() }).await;
    let silent = TcpStream::connect(secured).await.unwrap();
    while !turned_away(server.address).await {
        tokio::task::yield_now().await;
    }
    // Whoever leaves in the middle of a handshake makes room.
    drop(silent);
    while turned_away(server.address).await {
        tokio::task::yield_now().await;
    }
    server.shutdown.cancel();
    server.task.await.unwrap();
}
