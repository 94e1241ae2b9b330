//! A server that is told and asked: hooks and the callback end here. It keeps what came, and answers as its path says.
//!
//! `/hook` takes everything; `/ask` lets everybody publish but names that begin with `banned`, whose refusal it words.

use serde_json::Value;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// A request that came.
#[derive(Debug, Clone)]
pub struct Call {
    /// `/hook` or `/ask`.
    pub path: String,
    /// `X-Live360-Signature`.
    pub signature: String,
    /// The body as it came.
    pub text: String,
}

/// The server. Dropped, it is gone.
#[derive(Debug)]
pub struct Called {
    address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
    _task: AbortOnDropHandle<()>,
}

impl Call {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).expect("JSON")
    }
}

impl Called {
    /// Starts it.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let sink = calls.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let sink = sink.clone();
                let mut socket = BufReader::new(socket);
                connections.spawn(async move { while one(&mut socket, &sink).await.is_some() {} });
            }
        });
        Self { address, calls, _task: AbortOnDropHandle::new(task) }
    }

    /// A URL of it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What came to a path so far.
    pub fn calls(&self, path: &str) -> Vec<Call> {
        let calls = self.calls.lock().expect("no panic while serving");
        calls.iter().filter(|call| call.path == path).cloned().collect()
    }

    /// Waits for the first hook of this event.
    pub async fn hook(&self, event: &str) -> Call {
        crate::wait_within(crate::JOB_DEADLINE, &format!("the hook {event}"), || async {
            self.calls("/hook").into_iter().find(|call| call.json()["event"] == event)
        })
        .await
    }
}

/// Reads one request and answers it; `None` when the client is gone.
async fn one(socket: &mut BufReader<TcpStream>, calls: &Mutex<Vec<Call>>) -> Option<()> {
    let (mut path, mut signature, mut length) = (String::new(), String::new(), 0);
    loop {
        let mut line = String::new();
        if socket.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if let Some(rest) = line.strip_prefix("POST ") {
            path = rest.split(' ').next()?.to_owned();
        }
        match line.split_once(": ") {
            Some(("content-length", value)) => length = value.parse().ok()?,
            Some(("x-live360-signature", value)) => value.clone_into(&mut signature),
            _ if line.is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.ok()?;
    let call = Call { path, signature, text: String::from_utf8(body).ok()? };
    let banned = call.path == "/ask" && call.json()["name"].as_str()?.starts_with("banned");
    let (status, words) =
        if banned { ("403 Forbidden", r#"{"reason":"your subscription has ended"}"#) } else { ("200 OK", "{}") };
    calls.lock().expect("no panic while serving").push(call);
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{words}", words.len());
    socket.write_all(answer.as_bytes()).await.ok()
}
