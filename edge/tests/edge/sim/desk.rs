//! A simulated origin's connections: what is said to a request, when, and how it goes wrong.

use super::stream::{Progress, Terms, There, hash, multivariant};
use super::{Book, Fault, State};
use bytes::Bytes;
use media::hls::reload::{Answer, Ask, judge};
use media::route::{File, Route};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// What one connection needs.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) terms: Arc<Terms>,
    pub(super) state: watch::Sender<State>,
    pub(super) book: watch::Sender<Book>,
}

/// A whole answer, before anything happens to it.
struct Said {
    status: u16,
    kind: &'static str,
    body: Bytes,
}

impl Said {
    fn words(status: u16, words: &'static str) -> Self {
        Self { status, kind: "text/plain", body: words.into() }
    }

    fn text(text: String) -> Self {
        Self { status: 200, kind: "application/vnd.apple.mpegurl", body: text.into() }
    }

    fn media(body: Bytes) -> Self {
        Self { status: 200, kind: "video/mp4", body }
    }

    fn head(&self, status: u16) -> String {
        let etag = if self.status == 200 { format!("etag: \"{:016x}\"\r\n", hash(&self.body)) } else { String::new() };
        let length = if status == 304 { String::new() } else { format!("content-length: {}\r\n", self.body.len()) };
        format!("HTTP/1.1 {status} X\r\ncontent-type: {}\r\n{etag}{length}\r\n", self.kind)
    }
}

impl Desk {
    /// Answers one connection's requests until either side hangs up.
    pub(super) async fn connection(&self, mut stream: TcpStream) {
        loop {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => return,
                }
            }
            let head = String::from_utf8(head).unwrap();
            let mut number = 0;
            self.book.send_modify(|book| {
                number = book.heads.len();
                book.heads.push(head.clone());
            });
            let sent = tokio::select! {
                said = self.answer(number, &head) => self.send(&mut stream, &head, &said).await,
                () = hung_up(&stream) => false,
            };
            self.book.send_if_modified(|book| book.held.remove(&number).is_some());
            if !sent {
                return;
            }
        }
    }

    /// What there is to say, once there is something.
    async fn answer(&self, number: usize, head: &str) -> Said {
        let target = head.split(' ').nth(1).unwrap();
        let mut state = self.state.subscribe();
        let fault = state.borrow().fault(target);
        match fault {
            Some(Fault::Status(status)) => return Said::words(status, "as the test says"),
            Some(Fault::Hang) => {
                let _ = state.wait_for(|state| state.fault(target) != Some(Fault::Hang)).await;
            }
            Some(Fault::Jitter(most)) => {
                let ms = hash(format!("{number} {target}").as_bytes()) % (most + 1);
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            _ => {}
        }
        let given_up = tokio::time::sleep(Duration::from_secs((3 * self.terms.target_s()).into()));
        tokio::pin!(given_up);
        loop {
            let frozen = {
                let state = state.borrow_and_update();
                if let Some(said) = self.look(target, &state.shown) {
                    return said;
                }
                state.frozen
            };
            self.book.send_if_modified(|book| book.held.insert(number, target.to_owned()).is_none());
            tokio::select! {
                _ = state.changed() => {}
                () = &mut given_up, if !frozen => return Said::words(503, "nothing came for three targets"),
            }
        }
    }

    /// `None`: not yet.
    fn look(&self, target: &str, progress: &Progress) -> Option<Said> {
        let terms = &*self.terms;
        let nothing = Some(Said::words(404, "the sim has no such thing"));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (rendition, file) = match Route::parse(path) {
            Some(Route::Streams) => {
                let body = format!("{{\"streams\":[{{\"name\":\"{}\"}}]}}", terms.name).into();
                return Some(Said { status: 200, kind: "application/json", body });
            }
            Some(Route::Multivariant(name)) if name.as_str() == terms.name => {
                return Some(Said::text(multivariant(terms)));
            }
            Some(Route::Hls(name, rendition, file)) if name.as_str() == terms.name => (rendition.to_string(), file),
            _ => return nothing,
        };
        if !terms.renditions.contains(&rendition.as_str()) {
            return nothing;
        }
        let ask = if terms.low_latency { directives(query) } else { Ask::default() };
        let ask = if file == File::IFrames { Ask { part: None, ..ask } } else { ask };
        match file {
            File::Playlist | File::IFrames => match judge(progress.tip(terms), ask, terms.part_ms) {
                Answer::Wait => None,
                Answer::Bad(words) => Some(Said::words(400, words)),
                Answer::Now if file == File::IFrames => Some(Said::text(progress.iframes(terms, &rendition))),
                Answer::Now => Some(Said::text(progress.playlist(terms, &rendition, query.contains("_HLS_skip=")))),
            },
            file => match progress.file(terms, &rendition, &file) {
                There::Is(bytes) => Some(Said::media(bytes)),
                There::Next => None,
                There::Not => nothing,
            },
        }
    }

    /// `false`: the connection is no good any more.
    async fn send(&self, stream: &mut TcpStream, head: &str, said: &Said) -> bool {
        let target = head.split(' ').nth(1).unwrap();
        let condition = head.lines().find_map(|line| line.strip_prefix("if-none-match: "));
        let known = said.status == 200 && condition == Some(&format!("\"{:016x}\"", hash(&said.body)));
        let status = if known { 304 } else { said.status };
        if stream.write_all(said.head(status).as_bytes()).await.is_err() {
            return false;
        }
        if known || head.starts_with("HEAD ") {
            return true;
        }
        let mut state = self.state.subscribe();
        let fault = if said.status == 200 { state.borrow().fault(target) } else { None };
        let (half, rest) = said.body.split_at(said.body.len() / 2);
        match fault {
            Some(Fault::Truncate) => {
                let _ = stream.write_all(half).await;
                false
            }
            Some(Fault::Stall) => {
                let _ = stream.write_all(half).await;
                let _ = state.wait_for(|state| state.fault(target) != Some(Fault::Stall)).await;
                stream.write_all(rest).await.is_ok()
            }
            Some(Fault::Slow(rate)) => trickle(stream, &said.body, rate).await,
            _ => stream.write_all(&said.body).await.is_ok(),
        }
    }
}

/// Sends at so many bytes/s, twenty times a second.
async fn trickle(stream: &mut TcpStream, body: &[u8], rate: u64) -> bool {
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    for piece in body.chunks((rate / 20).max(1) as usize) {
        tick.tick().await;
        if stream.write_all(piece).await.is_err() {
            return false;
        }
    }
    true
}

/// Ends when the other side has closed the connection.
async fn hung_up(stream: &TcpStream) {
    match stream.peek(&mut [0]).await {
        Ok(0) | Err(_) => {}
        Ok(_) => std::future::pending().await,
    }
}

fn directives(query: &str) -> Ask {
    let number = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    Ask {
        msn: number("_HLS_msn").map(|text| text.parse().unwrap()),
        part: number("_HLS_part").map(|text| text.parse().unwrap()),
    }
}
