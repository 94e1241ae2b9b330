//! A door before a server of AWS's kind that notes what is asked for through it, so that a test can say whether a machine's
//! role would have allowed it. Knows requests (HTTP/1.1), not what they mean.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// Most bytes that are kept of what is no head of a request: the longest head that is looked for.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Bytes read at a time.
const READ_BYTES: usize = 64 << 10;

const METHODS: [&str; 5] = ["GET", "HEAD", "PUT", "POST", "DELETE"];

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// Path and query as they were sent.
    pub path: String,
    /// `X-Amz-Target`, by which SQS tells its actions apart.
    pub target: Option<String>,
}

/// A door. Dropped, it is shut.
#[derive(Debug)]
pub struct Witness {
    address: SocketAddr,
    asked: Arc<Mutex<BTreeSet<Asked>>>,
    _door: AbortOnDropHandle<()>,
}

impl Witness {
    /// Before the server at this address (`HOST:PORT`).
    pub async fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let asked = Arc::<Mutex<BTreeSet<Asked>>>::default();
        let (server, notes) = (server.to_owned(), asked.clone());
        let door = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (here, _) = listener.accept().await.expect("loopback can be accepted from");
                connections.spawn(pass(here, server.clone(), notes.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, asked, _door: AbortOnDropHandle::new(door) }
    }

    /// Where to go in.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All that was asked for so far.
    pub fn asked(&self) -> BTreeSet<Asked> {
        self.asked.lock().expect("no panic while noting").clone()
    }
}

async fn pass(here: TcpStream, server: String, notes: Arc<Mutex<BTreeSet<Asked>>>) -> std::io::Result<()> {
    let there = TcpStream::connect(server).await?;
    let ((mut from, mut back), (mut answers, mut to)) = (here.into_split(), there.into_split());
    let forth = async {
        let (mut seen, mut piece) = (Vec::new(), vec![0; READ_BYTES]);
        loop {
            let length = from.read(&mut piece).await?;
            if length == 0 {
                return to.shutdown().await;
            }
            seen.extend_from_slice(&piece[..length]);
            while let Some(asked) = head(&mut seen) {
                notes.lock().expect("no panic while noting").insert(asked);
            }
            to.write_all(&piece[..length]).await?;
        }
    };
    let (forth, back) = tokio::join!(forth, tokio::io::copy(&mut answers, &mut back));
    forth.and(back.map(drop))
}

/// Takes the next head of a request out of what was seen, if all of it is there, and what is before it away.
fn head(seen: &mut Vec<u8>) -> Option<Asked> {
    const VERSION: &[u8] = b" HTTP/1.1\r\n";
    let find = |text: &[u8], from: usize| seen[from..].windows(text.len()).position(|part| part == text);
    let Some(line) = find(VERSION, 0) else {
        seen.drain(..seen.len().saturating_sub(HEAD_BYTES_MAX));
        return None;
    };
    let end = line + find(b"\r\n\r\n", line)?;
    // A body may stand right before it, so the method is whatever one the line ends with.
    let before = String::from_utf8_lossy(&seen[..line]).into_owned();
    let headers = String::from_utf8_lossy(&seen[line..end]).into_owned();
    seen.drain(..end);
    let (start, path) = before.rsplit_once(' ')?;
    let method = METHODS.iter().find(|method| start.ends_with(**method))?;
    let named = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("x-amz-target").then(|| value.to_owned())
    };
    Some(Asked { method: (*method).to_owned(), path: path.to_owned(), target: headers.lines().find_map(named) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All heads in a text that comes in two pieces, wherever it is cut.
    fn check(text: &str, expected: &[(&str, &str, Option<&str>)]) {
        for cut in 0..text.len() {
            let (mut seen, mut found) = (Vec::new(), Vec::new());
            for piece in [&text[..cut], &text[cut..]] {
                seen.extend_from_slice(piece.as_bytes());
                found.extend(std::iter::from_fn(|| head(&mut seen)));
            }
            let found: Vec<_> =
                found.iter().map(|one| (one.method.as_str(), one.path.as_str(), one.target.as_deref())).collect();
            assert_eq!(found, expected, "cut at {cut}");
        }
    }

    #[test]
    fn heads_are_found_behind_bodies_and_however_they_are_cut() {
        check("GET /b?list-type=2 HTTP/1.1\r\nhost: x\r\n\r\n", &[("GET", "/b?list-type=2", None)]);
        check(
            "PUT /b/k HTTP/1.1\r\nhost: x\r\n\r\nBODYPOST / HTTP/1.1\r\nX-Amz-Target: AmazonSQS.SendMessage\r\n\r\n{}",
            &[("PUT", "/b/k", None), ("POST", "/", Some("AmazonSQS.SendMessage"))],
        );
        check("no request at all", &[]);
    }
}
