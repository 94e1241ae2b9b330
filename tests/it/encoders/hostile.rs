//! Whatever strangers send, a healthy stream beside them goes on and the server stays well.

use super::small;
use bytes::Bytes;
use e2e::flv::{AUDIO, DATA, Tag, VIDEO};
use e2e::rtmp::{ELSEWHERE, Extended, HERE, Rtmp, chunks, wait_closed};
use e2e::served::Served;
use e2e::{Ffmpeg, Server, Source, Viewer, wait_for};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Connections that the server takes from one address (`Limits` in origin/src/rtmp).
const CONNECTIONS_PER_ADDRESS: usize = 32;

/// Message type of a command.
const COMMAND: u8 = 20;

/// A stream that must not be hurt.
struct Healthy {
    server: Server,
    viewer: Viewer,
    _encoder: Ffmpeg,
}

impl Healthy {
    async fn start() -> Self {
        let server = Server::all(&["ladder=[\"source\"]", "hls.segment_ms=1000"]).await;
        let source = Source { keyint: 30, ..small(240) };
        let encoder = Ffmpeg::publish(&source, &server.rtmp("healthy"));
        let viewer = server.viewer();
        viewer.wait_segments("healthy", "source", 1).await;
        Self { server, viewer, _encoder: encoder }
    }

    async fn assert_unhurt(mut self) {
        let now = self.viewer.playlist("healthy", "source").await.media.segments.len();
        for rendition in ["source", "audio"] {
            self.viewer.wait_segments("healthy", rendition, now + 2).await;
            let served = Served::fetch(&self.viewer, "healthy", rendition).await;
            served.assert_unbroken(&[]);
            let even = served.seconds().iter().all(|seconds| (seconds - 1.0).abs() < 0.05);
            assert!(even, "{}", served.playlist.text);
        }
        self.server.assert_well();
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.server.addr("rtmp")).await.expect("the server takes connections")
    }
}

/// Bytes that mean nothing, the same ones in every run (xorshift).
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..count).map(next).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_rtmp_is_hung_up_on_and_hurts_nobody() {
    let healthy = Healthy::start().await;
    let mut cases = vec![
        b"GET / HTTP/1.1\r\nHost: live360\r\n\r\n".to_vec(),
        // A TLS 1.2 ClientHello, begun.
        b"\x16\x03\x01\x00\xC4\x01\x00\x00\xC0\x03\x03".iter().copied().chain(noise(1, 192)).collect(),
        b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
        vec![0; 5000],
        vec![6; 5000],
        // A handshake whose second half answers nothing.
        [&[3][..], &noise(2, 3072)].concat(),
    ];
    cases.extend((3..35).map(|seed| noise(seed, 4000)));
    for bytes in cases {
        let mut socket = healthy.connect().await;
        // The server may hang up in mid-sentence.
        let _ = socket.write_all(&bytes).await;
        let _ = socket.shutdown().await;
        wait_closed(&mut socket).await;
    }
    healthy.assert_unhurt().await;
}

/// A message's chunks in one piece.
fn message(kind: u8, body: impl Into<Bytes>) -> Vec<u8> {
    chunks(&Tag { kind, ms: 0, body: body.into() }, 1, 5, 128, Extended::Repeated).concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_after_the_handshake_is_refused_and_hurts_nobody() {
    let healthy = Healthy::start().await;
    let header =
        |chunk_stream: u8, bytes: [u8; 3]| [&[chunk_stream, 0, 0, 0][..], &bytes, &[VIDEO, 1, 0, 0, 0, 1]].concat();
    let mut cases = vec![
        // A message of 16 MiB, and 62 that are begun and never ended.
        header(4, [0xFF, 0xFF, 0xFF]),
        (2..64).flat_map(|id| [header(id, [0x7F, 0xFF, 0xFF]), noise(u64::from(id), 127)].concat()).collect(),
        // More chunk streams than are allowed, in the two-byte form.
        (0..80).flat_map(|id| [&[0, id][..], &header(0, [0, 1, 0])[1..]].concat()).collect(),
        // Headers that lean on nothing.
        vec![0xC5; 500],
        vec![0x85; 500],
        // A chunk size of nothing and one of everything.
        message(1, vec![0, 0, 0, 0]),
        message(1, vec![0xFF; 4]),
        // Objects in objects, texts without end, commands before connect.
        message(COMMAND, [3, 0, 1, b'a'].repeat(10_000)),
        message(COMMAND, vec![2, 0xFF, 0xFF, b'c']),
        message(COMMAND, vec![]),
        message(COMMAND, b"\x02\x00\x07publish".to_vec()),
        message(DATA, noise(9, 70_000)),
        message(22, noise(10, 900)),
    ];
    cases.extend((100..160).map(|seed| noise(seed, 3000)));
    for bytes in cases {
        let mut rtmp = Rtmp::shake(&healthy.server, HERE).await.expect("the server shakes hands");
        let _ = rtmp.try_write(&bytes).await;
        rtmp.end().await;
    }
    healthy.assert_unhurt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_within_a_publish_ends_that_publish_only() {
    let healthy = Healthy::start().await;
    for seed in 0..60 {
        let mut rtmp = Rtmp::publish(&healthy.server, "nonsense").await;
        let kind = [VIDEO, AUDIO, DATA, COMMAND][seed as usize % 4];
        // The headers of H.264 and AAC, configurations and units, and then noise.
        let begin: &[u8] = match (kind, seed / 4 % 4) {
            (VIDEO, 0) => &[0x17, 0, 0, 0, 0],
            (VIDEO, 1) => &[0x17, 1, 0, 0, 0],
            (VIDEO, 2) => b"\x90avc1",
            (AUDIO, 0) => &[0xAF, 0],
            (AUDIO, 1) => &[0xAF, 1],
            (DATA, 0) => b"\x02\x00\x0AonMetaData\x08\x00\x00\x00\x09",
            _ => &[],
        };
        let body = [begin, &noise(1000 + seed, 700)].concat();
        let chunks = rtmp.chunks(&Tag { kind, ms: 40, body: body.into() });
        for _ in 0..3 {
            let _ = rtmp.try_write(&chunks.concat()).await;
        }
        rtmp.end().await;
    }
    healthy.assert_unhurt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_never_ends_is_hung_up_on_and_hurts_nobody() {
    let healthy = Healthy::start().await;
    let begun: [usize; 4] = [0, 1, 800, 1 + 1536 + 700];
    let mut waiting = tokio::task::JoinSet::new();
    for count in begun {
        let mut socket = healthy.connect().await;
        let bytes = [&[3, 0, 0, 0, 0, 0, 0, 0, 0][..], &noise(7, 4000)].concat();
        socket.write_all(&bytes[..count]).await.expect("the server listens");
        waiting.spawn(async move { wait_closed(&mut socket).await });
    }
    assert_eq!(waiting.join_all().await.len(), begun.len());
    healthy.assert_unhurt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_from_one_address_shuts_out_only_that_address() {
    let healthy = Healthy::start().await;
    let mut flood = Vec::new();
    for _ in 0..CONNECTIONS_PER_ADDRESS * 2 {
        // The handshakes of those that are turned away fail.
        flood.extend(Rtmp::shake(&healthy.server, HERE).await.ok());
    }
    // The healthy encoder has the place that is missing here.
    assert_eq!(flood.len(), CONNECTIONS_PER_ADDRESS - 1);
    let other = Rtmp::try_publish(&healthy.server, "other", ELSEWHERE).await.expect("another address is let in");
    other.unpublish("other").await;
    drop(flood);
    let server = &healthy.server;
    let newcomer = wait_for("a free place", || async { Rtmp::shake(server, HERE).await.ok() }).await;
    newcomer.end().await;
    healthy.assert_unhurt().await;
}
