//! An origin made of arithmetic: files whose bytes follow from their names, playlists that advance by the clock or when
//! the bench says so. Counts what it is asked for.
//!
//! Speaks just as much HTTP/1.1 as caches do when they ask. Its own cost is nobody's figure.

use bytes::Bytes;
use media::hls::{MediaPlaylist, PartLine, Segment};
use media::ladder::Rendition;
use media::route::{File, Route};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The stream whose playlist advances by the clock.
pub(crate) const CLOCK: &str = "clock";
/// The stream whose playlist advances when told to.
pub(crate) const TOLD: &str = "told";
/// Streams of segments of 400 KB, of 4 MB, and of 4 MB that come slowly.
pub(crate) const SMALL: &str = "small";
pub(crate) const LARGE: &str = "large";
pub(crate) const COLD: &str = "cold";

pub(crate) const SMALL_BYTES: usize = 400_000;
pub(crate) const LARGE_BYTES: usize = 4_000_000;
const PART_BYTES: usize = 60_000;

/// What a cold segment's first byte waits for, and how fast the others come.
const COLD_WAIT: Duration = Duration::from_millis(50);
const COLD_BYTES_PER_S: f64 = 20e6;
/// What of it is written at a time.
const COLD_STEP: usize = 64 * 1024;

/// The told stream's parts, and those of the clock's: four to a segment.
const TOLD_PART_MS: u32 = 1000;
const CLOCK_PART_MS: u32 = 500;
const PARTS: u64 = 4;
/// Segments that a playlist lists: two minutes of two seconds each.
const LISTED: u64 = 60;

/// The origin. Cloning gives another handle to the same.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    world: Arc<World>,
    address: SocketAddr,
}

#[derive(Debug)]
struct World {
    noise: Bytes,
    /// Parts of the told stream so far.
    told: watch::Sender<u64>,
    asked: Mutex<HashMap<String, u64>>,
}

impl Origin {
    /// Listens on a port of its own, in a thread of its own that ends with the process.
    pub(crate) fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("bound");
        let world = World { noise: noise(3 * LARGE_BYTES), told: watch::Sender::new(4000), asked: Mutex::default() };
        let origin = Self { world: Arc::new(world), address };
        let own = origin.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(own.serve(listener));
        });
        origin
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often a path was asked for.
    pub(crate) fn asked(&self, path: &str) -> u64 {
        self.world.asked.lock().expect("nobody panics").get(path).copied().unwrap_or(0)
    }

    /// Publishes one more part of the told stream; gives the segment and part that the one after it will be.
    pub(crate) fn publish(&self) -> (u64, u64) {
        self.world.told.send_modify(|parts| *parts += 1);
        let parts = *self.world.told.borrow();
        (parts / PARTS, parts % PARTS)
    }

    /// What a file's bytes are.
    pub(crate) fn bytes(&self, path: &str) -> Option<Bytes> {
        match Route::parse(path)? {
            Route::Hls(name, _, File::Segment(msn)) => {
                let length = if name.as_str() == SMALL { SMALL_BYTES } else { LARGE_BYTES };
                Some(self.world.cut(msn, length))
            }
            Route::Hls(_, _, File::Part(msn, part)) => Some(self.world.cut(msn * PARTS + u64::from(part), PART_BYTES)),
            _ => None,
        }
    }

    async fn serve(self, listener: std::net::TcpListener) {
        let listener = TcpListener::from_std(listener).expect("a socket");
        while let Ok((stream, _)) = listener.accept().await {
            let own = self.clone();
            tokio::spawn(async move { own.connection(stream).await });
        }
    }

    /// Ends with the connection; an error is the cache's to complain about.
    async fn connection(&self, stream: TcpStream) -> Option<()> {
        stream.set_nodelay(true).ok()?;
        let mut stream = BufReader::new(stream);
        loop {
            let target = request(&mut stream).await?;
            let (path, query) = target.split_once('?').unwrap_or((&target, ""));
            *self.world.asked.lock().expect("nobody panics").entry(path.to_owned()).or_default() += 1;
            let stream = stream.get_mut();
            match Route::parse(path) {
                Some(Route::Hls(name, Rendition::Source, File::Playlist)) => {
                    let text = self.playlist(name.as_str(), query).await;
                    write(stream, "application/vnd.apple.mpegurl", "max-age=1", text.as_bytes()).await?;
                }
                Some(Route::Hls(name, Rendition::Source, file @ (File::Segment(_) | File::Part(..)))) => {
                    if let File::Part(msn, part) = file {
                        self.await_tip(name.as_str(), msn, u64::from(part)).await;
                    }
                    let bytes = self.bytes(path)?;
                    if name.as_str() == COLD {
                        tokio::time::sleep(COLD_WAIT).await;
                        write_slowly(stream, &bytes).await?;
                    } else {
                        write(stream, "video/mp4", "max-age=86400", &bytes).await?;
                    }
                }
                _ => stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await.ok()?,
            }
        }
    }

    async fn playlist(&self, name: &str, query: &str) -> String {
        let number = |key: &str| {
            query.split('&').filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == key)?.1.parse().ok()
        };
        if let Some(msn) = number("_HLS_msn") {
            self.await_tip(name, msn, number("_HLS_part").unwrap_or(PARTS - 1)).await;
        }
        let (parts, part_ms) = self.tip(name);
        let list = playlist(parts, part_ms);
        if query.contains("_HLS_skip") { list.render_delta() } else { list.render() }
    }

    /// Parts so far, and how long one is.
    fn tip(&self, name: &str) -> (u64, u32) {
        if name == TOLD {
            return (*self.world.told.borrow(), TOLD_PART_MS);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_millis();
        (u64::try_from(now).expect("a date") / u64::from(CLOCK_PART_MS), CLOCK_PART_MS)
    }

    async fn await_tip(&self, name: &str, msn: u64, part: u64) {
        let wanted = msn.saturating_mul(PARTS).saturating_add(part);
        let mut told = self.world.told.subscribe();
        while self.tip(name).0 <= wanted {
            if name == TOLD {
                told.changed().await.expect("the world stands");
            } else {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }
}

impl World {
    /// Another cut of the same noise for each number.
    fn cut(&self, number: u64, length: usize) -> Bytes {
        let from = usize::try_from(number * 4099 % LARGE_BYTES as u64).expect("small");
        self.noise.slice(from..from + length)
    }
}

/// A request's target; `None` at the connection's end.
async fn request(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let (mut target, mut line) = (None, String::new());
    loop {
        line.clear();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            return target;
        }
        target.get_or_insert_with(|| line.split(' ').nth(1).unwrap_or("/").to_owned());
    }
}

fn head(content_type: &str, control: &str, length: usize) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nCache-Control: {control}\r\nContent-Length: {length}\r\n\r\n"
    )
}

async fn write(stream: &mut TcpStream, content_type: &str, control: &str, body: &[u8]) -> Option<()> {
    stream.write_all(head(content_type, control, body.len()).as_bytes()).await.ok()?;
    stream.write_all(body).await.ok()
}

async fn write_slowly(stream: &mut TcpStream, body: &[u8]) -> Option<()> {
    let begin = tokio::time::Instant::now();
    stream.write_all(head("video/mp4", "max-age=86400", body.len()).as_bytes()).await.ok()?;
    for (index, step) in body.chunks(COLD_STEP).enumerate() {
        let due = (index * COLD_STEP) as f64 / COLD_BYTES_PER_S;
        tokio::time::sleep_until(begin + Duration::from_secs_f64(due)).await;
        stream.write_all(step).await.ok()?;
    }
    Some(())
}

fn playlist(parts: u64, part_ms: u32) -> MediaPlaylist {
    let (open, done) = (parts / PARTS, parts % PARTS);
    let seconds = f64::from(part_ms) / 1000.0;
    let part_ms_wide = i64::from(part_ms);
    let line = |msn: u64, part: u64| PartLine { uri: format!("{msn}.{part}.m4s"), seconds, independent: part == 0 };
    let segment = |msn: u64, parts: u64| Segment {
        uri: format!("{msn}.m4s"),
        seconds: seconds * PARTS as f64,
        map: "init-0123456789abcdef.mp4".to_owned(),
        date_ms: i64::try_from(msn * PARTS).expect("a date") * part_ms_wide,
        parts: (0..parts).map(|part| line(msn, part)).collect(),
        ..Segment::default()
    };
    let first = open.saturating_sub(LISTED);
    MediaPlaylist {
        target_s: part_ms * 4 / 1000,
        part_ms,
        media_sequence: first,
        segments: (first..open).map(|msn| segment(msn, if msn + 3 >= open { PARTS } else { 0 })).collect(),
        open: Some(segment(open, done)),
        hint: Some(format!("{open}.{done}.m4s")),
        ..MediaPlaylist::default()
    }
}

/// Bytes that look like media to whoever would compress them.
fn noise(length: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::from_fn(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Some(state)
    });
    words.flat_map(u64::to_le_bytes).take(length).collect()
}
