//! A publisher at the other end of a pipe, under virtual time.

use super::*;
use crate::ingest::Refusal;
use crate::rtmp::testkit::{
    AUDIO_CONFIG, Client, Extended, FakeIngest, VIDEO_CONFIG, chunks, command, connect, message, picture, publish,
    sound, wire,
};
use rml_amf0::Amf0Value;
use std::sync::Arc;
use tokio::io::DuplexStream;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;

const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 50_000);

/// A running connection and the other end of its pipe.
fn serve(ingest: &Arc<FakeIngest>, shutdown: &CancellationToken) -> (DuplexStream, JoinHandle<Ended>) {
    let (near, far) = tokio::io::duplex(16 * 1024);
    let (ingest, shutdown) = (Arc::clone(ingest), shutdown.clone());
    let limits = Limits::default();
    let task = tokio::spawn(async move { run(near, PEER, ingest.as_ref(), &limits, &shutdown).await });
    (far, task)
}

/// The times and kinds of the next media.
async fn media(received: &mut Receiver<Ingested>, count: usize) -> Vec<(char, u32)> {
    let mut out = Vec::new();
    while out.len() < count {
        out.push(match received.recv().await.expect("the publish has ended") {
            Ingested::Metadata(_) => ('m', 0),
            Ingested::VideoConfig(_) => ('V', 0),
            Ingested::AudioConfig(_) => ('A', 0),
            Ingested::Video { rtmp_ms, .. } => ('v', rtmp_ms),
            Ingested::Audio { rtmp_ms, .. } => ('a', rtmp_ms),
        });
    }
    out
}

fn is_refused(ended: &Ended, expected: Reason) -> bool {
    matches!(ended, Ended::Session(Closed::Refused(refused)) if refused.reason == expected)
}

#[tokio::test(start_paused = true)]
async fn a_publish_runs_from_claim_to_unpublish() {
    let (ingest, mut received, ..) = FakeIngest::accepting(8);
    let (far, task) = serve(&ingest, &CancellationToken::new());
    let mut client = Client::publishing(far, "foo?key=x").await;
    assert_eq!(client.status().await.unwrap().1, "NetStream.Publish.Start");
    client.send(&[message(9, 1, 0, VIDEO_CONFIG), message(8, 1, 0, AUDIO_CONFIG), picture(0, 3000), sound(5)]).await;
    assert_eq!(media(&mut received, 4).await, [('V', 0), ('A', 0), ('v', 0), ('a', 5)]);
    let request = ingest.requests.lock().unwrap().pop().unwrap();
    assert_eq!((request.key.name.as_str(), request.key.params["key"].as_str(), request.peer), ("foo", "x", PEER));
    client.send(&[command("FCUnpublish", 6.0, 0, &[Amf0Value::Null, Amf0Value::Utf8String("foo".into())])]).await;
    assert!(received.recv().await.is_none(), "the claim is let go while the connection is still open");
    drop(client);
    assert!(matches!(task.await.unwrap(), Ended::PeerClosed));
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_lets_the_claim_go() {
    let (ingest, mut received, ..) = FakeIngest::accepting(8);
    let (far, task) = serve(&ingest, &CancellationToken::new());
    let mut client = Client::publishing(far, "foo").await;
    client.status().await.unwrap();
    drop(client);
    assert!(received.recv().await.is_none());
    assert!(matches!(task.await.unwrap(), Ended::PeerClosed));
}

#[tokio::test(start_paused = true)]
async fn a_publisher_may_send_one_byte_at_a_time_and_interleave_chunks() {
    let (ingest, mut received, ..) = FakeIngest::accepting(8);
    let (far, _task) = serve(&ingest, &CancellationToken::new());
    let mut client = Client::publishing(far, "foo").await;
    client.status().await.unwrap();
    let mut bytes = wire(&[message(9, 1, 0, VIDEO_CONFIG)]);
    let mut parts = chunks(&picture(40, 500), 6, 128, Extended::Repeated);
    parts.splice(2..2, chunks(&sound(41), 4, 128, Extended::Repeated));
    bytes.extend(parts.concat());
    for byte in bytes {
        client.socket.write_all(&[byte]).await.unwrap();
    }
    assert_eq!(media(&mut received, 3).await, [('V', 0), ('a', 41), ('v', 40)]);
}

#[tokio::test(start_paused = true)]
async fn clocks_pass_4_h_39_min_and_49_7_days() {
    for style in [Extended::Repeated, Extended::Omitted] {
        let (ingest, mut received, ..) = FakeIngest::accepting(8);
        let (far, _task) = serve(&ingest, &CancellationToken::new());
        let mut client = Client::publishing(far, "foo").await;
        client.status().await.unwrap();
        let times = [0xFF_FFDE, 0xFF_FFFF, 0x100_0020, u32::MAX - 20, 13];
        for time in times {
            let bytes = chunks(&picture(time, 1000), 6, 128, style).concat();
            client.socket.write_all(&bytes).await.unwrap();
        }
        assert_eq!(media(&mut received, 5).await, times.map(|time| ('v', time)), "{style:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_stream_makes_its_encoder_wait_and_loses_nothing() {
    let (ingest, mut received, ..) = FakeIngest::accepting(1);
    let (far, _task) = serve(&ingest, &CancellationToken::new());
    let mut client = Client::publishing(far, "foo").await;
    client.status().await.unwrap();
    let pictures: Vec<_> = (0..100).map(|n| picture(n * 40, 2000)).collect();
    let bytes = wire(&pictures);
    // 200 kB don't fit into the pipe, the read buffer and a channel of one.
    let stuck = timeout(Limits::default().idle * 4, client.socket.write_all(&bytes)).await;
    assert!(stuck.is_err(), "the encoder waits, and waiting for the stream is not the encoder's idleness");
    assert_eq!(media(&mut received, 10).await[9], ('v', 360));
}

#[tokio::test(start_paused = true)]
async fn a_revoked_publisher_is_told_why() {
    for busy in [false, true] {
        let (ingest, mut received, revoked, reason) = FakeIngest::accepting(1);
        let (far, task) = serve(&ingest, &CancellationToken::new());
        let mut client = Client::publishing(far, "foo").await;
        client.status().await.unwrap();
        if busy {
            client.send(&[sound(1), sound(2), sound(3)]).await;
        }
        reason.set("another encoder took over".to_owned()).unwrap();
        revoked.cancel();
        let (level, code, words) = client.status().await.unwrap();
        assert_eq!((level.as_str(), code.as_str()), ("error", "NetStream.Publish.Denied"));
        assert_eq!(words, "another encoder took over");
        assert_eq!(client.hear().await, None, "and then the server hangs up");
        drop(client);
        assert!(is_refused(&task.await.unwrap(), Reason::Ended));
        while received.recv().await.is_some() {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_drops_its_end_ends_the_publish() {
    let (ingest, received, ..) = FakeIngest::accepting(1);
    let (far, task) = serve(&ingest, &CancellationToken::new());
    let mut client = Client::publishing(far, "foo").await;
    client.status().await.unwrap();
    drop(received);
    client.send(&[sound(1)]).await;
    assert_eq!(client.status().await.unwrap().2, STREAM_ENDED);
    drop(client);
    assert!(is_refused(&task.await.unwrap(), Reason::Ended));
}

#[tokio::test(start_paused = true)]
async fn a_refused_claim_reaches_the_encoder_in_words() {
    for (refusal, reason) in [
        (Refusal::Busy("foo".parse().unwrap()), Reason::Busy),
        (Refusal::TooManyStreams(8), Reason::Full),
        (Refusal::ShuttingDown, Reason::ShuttingDown),
    ] {
        let answer = refusal.clone();
        let ingest = FakeIngest::new(move || Err(answer.clone()));
        let (far, task) = serve(&ingest, &CancellationToken::new());
        let mut client = Client::publishing(far, "foo").await;
        let (level, code, words) = client.status().await.unwrap();
        assert_eq!((level.as_str(), code.as_str(), words), ("error", reason.code(), refusal.to_string()));
        assert_eq!(client.hear().await, None);
        drop(client);
        assert!(is_refused(&task.await.unwrap(), reason));
    }
}

#[tokio::test(start_paused = true)]
async fn shutting_down_is_said_at_any_stage() {
    let (ingest, mut received, ..) = FakeIngest::accepting(1);
    let shutdown = CancellationToken::new();
    let (silent, first) = serve(&ingest, &shutdown);
    let (far, second) = serve(&ingest, &shutdown);
    let mut client = Client::publishing(far, "foo").await;
    client.status().await.unwrap();
    shutdown.cancel();
    assert_eq!(client.status().await.unwrap().2, Refusal::ShuttingDown.to_string());
    drop((client, silent));
    for task in [first, second] {
        assert!(is_refused(&task.await.unwrap(), Reason::ShuttingDown));
    }
    assert!(received.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_handshake_has_five_seconds_however_many_bytes_come() {
    let (ingest, ..) = FakeIngest::accepting(1);
    let (mut far, task) = serve(&ingest, &CancellationToken::new());
    let begun = Instant::now();
    let drip = async {
        far.write_all(&[3]).await.unwrap();
        while far.write_all(&[0]).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let (ended, ()) = tokio::join!(task, drip);
    assert!(matches!(ended.unwrap(), Ended::HandshakeTimeout));
    assert_eq!(begun.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn fifteen_seconds_without_a_byte_end_a_publish() {
    let (ingest, mut received, ..) = FakeIngest::accepting(8);
    let (far, task) = serve(&ingest, &CancellationToken::new());
    let mut client = Client::publishing(far, "foo").await;
    client.status().await.unwrap();
    for n in 0..3 {
        tokio::time::sleep(std::time::Duration::from_secs(14)).await;
        client.send(&[sound(n)]).await;
        media(&mut received, 1).await;
    }
    let silent = Instant::now();
    assert_eq!(client.status().await.unwrap().2, "nothing came for 15 s");
    assert_eq!(silent.elapsed().as_secs(), 15);
    drop(client);
    assert!(is_refused(&task.await.unwrap(), Reason::Idle));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_never_publishes_ends_whatever_it_sends() {
    let (ingest, ..) = FakeIngest::accepting(8);
    let (far, task) = serve(&ingest, &CancellationToken::new());
    let mut client = Client::new(far).await;
    client.send(&[connect("live")]).await;
    let begun = Instant::now();
    let ping = wire(&[message(4, 0, 0, vec![0, 3, 0, 0, 0, 0, 0, 0, 0, 0])]);
    while begun.elapsed().as_secs() < 14 {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        client.socket.write_all(&ping).await.unwrap();
    }
    assert_eq!(client.status().await.unwrap().2, "no publish within 15 s");
    assert_eq!(begun.elapsed().as_secs(), 15);
    drop(client);
    assert!(is_refused(&task.await.unwrap(), Reason::Idle));
}

#[tokio::test(start_paused = true)]
async fn a_refused_encoder_in_full_flow_still_gets_to_read_why() {
    let (ingest, mut received, revoked, reason) = FakeIngest::accepting(8);
    let (far, task) = serve(&ingest, &CancellationToken::new());
    let mut client = Client::publishing(far, "foo").await;
    client.status().await.unwrap();
    reason.set("ended".to_owned()).unwrap();
    revoked.cancel();
    // More than the pipe holds: it is only taken because the refusal lingers.
    client.socket.write_all(&wire(&[picture(0, 200_000)])).await.unwrap();
    assert_eq!(client.status().await.unwrap().2, "ended");
    drop(client);
    task.await.unwrap();
    assert!(received.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn garbage_ends_its_own_connection() {
    let (ingest, ..) = FakeIngest::accepting(8);
    let (mut far, task) = serve(&ingest, &CancellationToken::new());
    far.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(matches!(task.await.unwrap(), Ended::Session(Closed::NotRtmp(_))));
    let (far, task) = serve(&ingest, &CancellationToken::new());
    let mut client = Client::new(far).await;
    client.socket.write_all(&[0xC9; 500]).await.unwrap();
    assert_eq!(client.status().await.unwrap().1, "NetConnection.Connect.Rejected");
    drop(client);
    assert!(is_refused(&task.await.unwrap(), Reason::Protocol));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_reads_is_let_go() {
    let (ingest, ..) = FakeIngest::accepting(8);
    let (far, task) = serve(&ingest, &CancellationToken::new());
    let mut client = Client::new(far).await;
    let ping = wire(&[message(4, 0, 0, vec![0, 6, 1, 2, 3, 4])]);
    let flood = async { while client.socket.write_all(&ping).await.is_ok() {} };
    let (ended, ()) = tokio::join!(task, flood);
    assert!(matches!(ended.unwrap(), Ended::WriteTimeout));
}

#[tokio::test(start_paused = true)]
async fn an_ingest_that_never_answers_is_not_waited_for() {
    struct Silent;
    impl Ingest for Silent {
        async fn claim(&self, _: PublishRequest) -> Result<Claim, Refusal> {
            std::future::pending().await
        }
    }
    let (near, far) = tokio::io::duplex(4096);
    let limits = Limits::default();
    let task = tokio::spawn(async move { run(near, PEER, &Silent, &limits, &CancellationToken::new()).await });
    let mut client = Client::new(far).await;
    client.send(&[connect("live"), publish("foo")]).await;
    assert_eq!(client.status().await.unwrap().0, "error");
    drop(client);
    assert!(is_refused(&task.await.unwrap(), Reason::Full));
}
