//! A server that answers by a script: one request, one reply.

use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// How many came before it.
    pub(super) number: usize,
    head: String,
}

/// What happens next on the connection.
#[derive(Clone)]
pub(super) enum Reply {
    /// These bytes, then its end.
    Raw(String),
    /// These bytes, then nothing.
    Stall(String),
    /// Nothing.
    Silence,
    /// Its end.
    Close,
}

/// A server on a port of its own. It ends when it is dropped.
pub(super) struct Server {
    url: String,
    seen: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Request {
    pub(super) fn method(&self) -> &str {
        self.head.split(' ').next().unwrap()
    }

    pub(super) fn query(&self) -> &str {
        let target = self.head.split(' ').nth(1).unwrap();
        target.split_once('?').map_or("", |(_, query)| query)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl Reply {
    pub(super) fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = body.len();
        Self::Raw(format!(
            "HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        ))
    }
}

impl Server {
    pub(super) async fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (script, requests) = (Arc::new(script), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (script, requests) = (Arc::clone(&script), Arc::clone(&requests));
                connections.spawn(async move { serve(stream, &*script, &requests).await });
            }
        });
        Self { url, seen, task }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// All requests so far.
    pub(super) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, script: &(dyn Fn(&Request) -> Reply + Send + Sync), seen: &Mutex<Vec<Request>>) {
    let Some(head) = read(&mut stream).await else { return };
    let request = {
        let mut seen = seen.lock().unwrap();
        let request = Request { number: seen.len(), head };
        seen.push(request.clone());
        request
    };
    let (bytes, then_close) = match script(&request) {
        Reply::Raw(bytes) => (bytes, true),
        Reply::Stall(bytes) => (bytes, false),
        Reply::Silence => (String::new(), false),
        Reply::Close => (String::new(), true),
    };
    let _ = stream.write_all(bytes.as_bytes()).await;
    if !then_close {
        // Until the client has had enough.
        let _ = stream.read(&mut [0; 1]).await;
    }
}

/// Reads a request; gives its head.
async fn read(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let length = Request { number: 0, head: head.clone() }.header("content-length").map_or(0, |n| n.parse().unwrap());
    let mut left = length - (bytes.len() - end - 4);
    let mut sink = vec![0; 64 * 1024];
    while left > 0 {
        match stream.read(&mut sink).await.ok()? {
            0 => return None,
            n => left -= n,
        }
    }
    Some(head)
}
