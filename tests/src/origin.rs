//! An origin with one live stream that stands still: reloads that wait for more are held, and one segment stops half
//! way until a test lets it go on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// The segment that stops half way.
pub const SLOW: &str = "/hls/still/source/8.m4s";

/// Its length in bytes.
pub const SLOW_BYTES: usize = 8 << 20;

/// The stream's only playlist.
pub const PLAYLIST: &str = "/hls/still/source/index.m3u8";

/// What makes a reload of it wait for what never comes.
pub const NEXT: &str = "_HLS_msn=9&_HLS_part=1";

/// Bytes of every other segment and part.
const SMALL_BYTES: usize = 1000;

/// Between two bytes of the slow segment: just fast enough for an edge not to take the origin for dead.
const DRIP: Duration = Duration::from_secs(2);

/// The target duration is long, so that viewers are parked for longer than any test takes.
const TEXT: &str = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:30\n#EXT-X-PART-INF:PART-TARGET=0.5\n\
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5\n#EXT-X-MEDIA-SEQUENCE:4\n\
#EXTINF:2.0,\n4.m4s\n#EXTINF:2.0,\n5.m4s\n#EXTINF:2.0,\n6.m4s\n#EXTINF:2.0,\n7.m4s\n#EXTINF:2.0,\n8.m4s\n\
#EXT-X-PART:DURATION=0.5,URI=\"9.0.m4s\"\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"9.1.m4s\"\n";

/// The origin. Dropped, it is gone, connections and all.
#[derive(Debug)]
pub struct StillOrigin {
    address: SocketAddr,
    asked: watch::Receiver<Vec<String>>,
    gate: CancellationToken,
    _task: AbortOnDropHandle<()>,
}

impl StillOrigin {
    /// Starts it.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let gate = CancellationToken::new();
        let (sender, asked) = watch::channel(Vec::new());
        let (sender, open) = (Arc::new(sender), gate.clone());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (sender, open) = (sender.clone(), open.clone());
                connections.spawn(async move {
                    // The edge may hang up whenever it likes.
                    let _ = connection(stream, &sender, &open).await;
                });
            }
        });
        Self { address, asked, gate, _task: AbortOnDropHandle::new(task) }
    }

    /// `http://HOST:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets the slow segment go on to its end.
    pub fn release(&self) {
        self.gate.cancel();
    }

    /// Waits until it was asked for something that begins so.
    pub async fn asked(&self, target: &str) {
        let mut asked = self.asked.clone();
        let there = asked.wait_for(|asked| asked.iter().any(|seen| seen.starts_with(target)));
        let there = tokio::time::timeout(crate::DEADLINE, there).await.map(|asked| asked.map(|_| ()));
        assert!(matches!(there, Ok(Ok(()))), "not asked for {target}, only for {:?}", *self.asked.borrow());
    }
}

/// The slow segment's bytes, which differ from place to place.
pub fn slow_bytes() -> Vec<u8> {
    (0..SLOW_BYTES).map(|i| (i % 251) as u8).collect()
}

async fn connection(
    mut stream: TcpStream,
    asked: &watch::Sender<Vec<String>>,
    gate: &CancellationToken,
) -> std::io::Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head);
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        asked.send_modify(|asked| asked.push(target.clone()));
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        match path {
            PLAYLIST if query.contains("_HLS_msn=9") && !query.contains("_HLS_part=0") => std::future::pending().await,
            PLAYLIST => answer(&mut stream, "application/vnd.apple.mpegurl", TEXT.as_bytes()).await?,
            SLOW => {
                let bytes = slow_bytes();
                let (first, mut rest) = bytes.split_at(SLOW_BYTES / 2);
                stream.write_all(head_of(200, "video/mp4", SLOW_BYTES).as_bytes()).await?;
                stream.write_all(first).await?;
                let mut tick = tokio::time::interval(DRIP);
                while let Some((byte, more)) = rest.split_first() {
                    if gate.run_until_cancelled(tick.tick()).await.is_none() {
                        break;
                    }
                    stream.write_all(&[*byte]).await?;
                    rest = more;
                }
                stream.write_all(rest).await?;
            }
            "/hls/still/source/9.1.m4s" => std::future::pending().await,
            _ if path.ends_with(".m4s") => answer(&mut stream, "video/mp4", &[7; SMALL_BYTES]).await?,
            _ => stream.write_all(head_of(404, "text/plain", 0).as_bytes()).await?,
        }
    }
}

async fn answer(stream: &mut TcpStream, kind: &str, body: &[u8]) -> std::io::Result<()> {
    stream.write_all(head_of(200, kind, body.len()).as_bytes()).await?;
    stream.write_all(body).await
}

fn head_of(status: u16, kind: &str, length: usize) -> String {
    format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n")
}
