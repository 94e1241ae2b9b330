//! A server that speaks S3 and SQS, and a gate before it that can fail in the ways a bucket does.
//!
//! The server is Python's (ministack; `make setup` puts it below `.setup`) and keeps what it has in memory, so a bucket
//! that is away for a while is one whose gate is shut.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// What the server writes before its address.
const MARK: &str = "Running on http://";

/// Most bytes of a request that is refused which are read before the connection is closed.
const REFUSED_BYTES_MAX: u64 = 64 << 20;

/// How the gate behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// As if it were not there.
    Open,
    /// Nobody listens, and what was connected is cut off.
    Shut,
    /// Each request is answered with this status.
    Refusing(u16),
    /// Each connection waits so long before anything passes.
    Slow(Duration),
}

/// A server with its gate. Dropped, both are gone.
#[derive(Debug)]
pub struct Buckets {
    _child: Child,
    server: String,
    address: SocketAddr,
    mood: watch::Sender<Mood>,
    _gate: AbortOnDropHandle<()>,
    _reading: JoinSet<()>,
}

impl Buckets {
    /// Starts it with these buckets in it.
    pub async fn start(names: &[&str]) -> Self {
        Self::with_services(Some("s3,sqs"), names).await
    }

    /// Starts it with all that it can stand in for.
    pub async fn cloud() -> Self {
        Self::with_services(None, &[]).await
    }

    async fn with_services(services: Option<&str>, names: &[&str]) -> Self {
        let mut command = Command::new(python("ministack"));
        command
            .envs([
                ("GATEWAY_PORT", "0"),
                ("BIND_HOST", "127.0.0.1"),
                ("MINISTACK_HOST", "127.0.0.1"),
                // These would listen on fixed ports, for everybody.
                ("IOT_MTLS_ENABLED", "0"),
                ("SFTP_ENABLED", "0"),
            ])
            .envs(services.map(|services| ("SERVICES", services)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("ministack starts");
        let (sender, mut lines) = mpsc::unbounded_channel();
        let mut reading = JoinSet::new();
        let (out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        reading.spawn(follow(BufReader::new(out), sender.clone()));
        reading.spawn(follow(BufReader::new(err), sender));
        let started = tokio::time::timeout(crate::DEADLINE, async {
            while let Some(line) = lines.recv().await {
                if let Some((_, rest)) = line.split_once(MARK) {
                    return rest.split_whitespace().next().map(str::to_owned);
                }
            }
            None
        });
        let server = started.await.expect("ministack starts in time").expect("it says where it is");
        let server = server.trim_end_matches('/').to_owned();
        for name in names {
            // It checks no signatures, but looks at them for the service that is meant.
            let signature = "authorization: AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request";
            let args = ["-sSf", "-X", "PUT", "-H", signature, &format!("http://{server}/{name}")];
            let made = Command::new("curl").args(args).stdout(Stdio::null()).status().await;
            assert!(made.expect("curl runs").success(), "bucket {name}");
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let mood = watch::Sender::new(Mood::Open);
        let gate = tokio::spawn(gate(listener, address, server.clone(), mood.subscribe()));
        Self { _child: child, server, address, mood, _gate: AbortOnDropHandle::new(gate), _reading: reading }
    }

    /// What makes programs use it.
    pub fn env(&self) -> Vec<(&'static str, String)> {
        let url = format!("http://{}", self.address);
        let words = [
            ("AWS_ENDPOINT_URL_S3", url.as_str()),
            ("AWS_ENDPOINT_URL_SQS", url.as_str()),
            ("AWS_ACCESS_KEY_ID", "x"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        words.map(|(name, value)| (name, value.to_owned())).into()
    }

    /// From now on the gate behaves like this; connections from before are cut off.
    pub fn mood(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// Looks into a bucket past the gate: the keys that begin so.
    pub async fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let signature = ("authorization", "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request");
        let path = format!("/{bucket}?list-type=2&prefix={prefix}");
        let viewer = crate::Viewer::new(&self.server);
        let listed = viewer.request(http::Method::GET, &path, &[signature]).await.expect("an answer");
        assert!(listed.status.is_success(), "{}", listed.text());
        let listed = listed.text();
        let keys = listed.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
        keys.map(str::to_owned).collect()
    }

    /// Makes a queue, past the gate; gives its URL.
    pub async fn queue(&self, name: &str) -> String {
        let made = self.sqs("CreateQueue", &serde_json::json!({ "QueueName": name })).await;
        let url = made["QueueUrl"].as_str().expect("a URL");
        self.reachable(url)
    }

    /// The bodies of messages that wait in a queue, past the gate. They stay.
    pub async fn messages(&self, queue: &str) -> Vec<String> {
        let ask = serde_json::json!({ "QueueUrl": queue, "MaxNumberOfMessages": 10, "VisibilityTimeout": 0, "WaitTimeSeconds": 0 });
        let got = self.sqs("ReceiveMessage", &ask).await;
        let bodies = got["Messages"].as_array().into_iter().flatten().filter_map(|message| message["Body"].as_str());
        bodies.map(str::to_owned).collect()
    }

    /// A text in which the server names itself, with the gate's address instead: it doesn't know its own port where that
    /// was the system's choice.
    pub fn reachable(&self, text: &str) -> String {
        text.replace("http://127.0.0.1:0/", &format!("http://{}/", self.address))
    }

    /// Where it is, past the gate.
    pub fn url(&self) -> String {
        format!("http://{}", self.server)
    }

    async fn sqs(&self, action: &str, ask: &serde_json::Value) -> serde_json::Value {
        let signature = "authorization: AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/sqs/aws4_request";
        let target = format!("x-amz-target: AmazonSQS.{action}");
        let kind = "content-type: application/x-amz-json-1.0";
        let (body, url) = (ask.to_string(), format!("http://{}/", self.server));
        let args = ["-sSf", "-X", "POST", "-H", signature, "-H", &target, "-H", kind, "-d", &body, &url];
        serde_json::from_str(&crate::tool("curl", &args).await).expect("JSON")
    }

    /// Lets a bucket tell a queue of what is put below `prefix`.
    pub async fn notify(&self, bucket: &str, queue: &str, prefix: &str) {
        let signature = "authorization: AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request";
        let body = format!(
            "<NotificationConfiguration><QueueConfiguration><Id>jobs</Id><Queue>arn:aws:sqs:us-east-1:000000000000:{queue}\
             </Queue><Event>s3:ObjectCreated:*</Event><Filter><S3Key><FilterRule><Name>prefix</Name><Value>{prefix}</Value>\
             </FilterRule></S3Key></Filter></QueueConfiguration></NotificationConfiguration>"
        );
        let url = format!("http://{}/{bucket}?notification", self.server);
        crate::tool("curl", &["-sSf", "-X", "PUT", "-H", signature, "-d", &body, &url]).await;
    }

    /// Puts a file into a bucket, past the gate. `key` as it stands in a URL.
    pub async fn put(&self, bucket: &str, key: &str, file: &Path) {
        let signature = "authorization: AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request";
        let url = format!("http://{}/{bucket}/{key}", self.server);
        crate::tool("curl", &["-sSf", "-H", signature, "-T", &file.display().to_string(), &url]).await;
    }

    /// An object's bytes, past the gate.
    pub async fn bytes(&self, bucket: &str, key: &str) -> Vec<u8> {
        let signature = "authorization: AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request";
        let url = format!("http://{}/{bucket}/{key}", self.server);
        let got = Command::new("curl").args(["-sSf", "-H", signature, &url]).output().await.expect("curl runs");
        assert!(got.status.success(), "{key}");
        got.stdout
    }

    /// An object, past the gate.
    pub async fn object(&self, bucket: &str, key: &str) -> String {
        let signature = "authorization: AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request";
        crate::tool("curl", &["-sSf", "-H", signature, &format!("http://{}/{bucket}/{key}", self.server)]).await
    }
}

async fn gate(listener: TcpListener, address: SocketAddr, server: String, mood: watch::Receiver<Mood>) {
    let mut changes = mood.clone();
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        let current = *changes.borrow_and_update();
        if current == Mood::Shut {
            listener = None;
            connections.shutdown().await;
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        }
        let open = match &listener {
            Some(open) => open,
            None => listener.insert(TcpListener::bind(address).await.expect("its own port is still free")),
        };
        tokio::select! {
            accepted = open.accept() => {
                let (here, _) = accepted.expect("loopback can be accepted from");
                connections.spawn(connection(here, server.clone(), mood.clone()));
            }
            changed = changes.changed() => if changed.is_err() { return },
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(mut here: TcpStream, server: String, mut mood: watch::Receiver<Mood>) {
    let current = *mood.borrow_and_update();
    let served = async {
        match current {
            Mood::Open | Mood::Shut => {}
            Mood::Slow(pause) => tokio::time::sleep(pause).await,
            Mood::Refusing(status) => return refuse(&mut here, status).await,
        }
        let mut there = TcpStream::connect(&server).await?;
        copy_bidirectional(&mut here, &mut there).await.map(drop)
    };
    tokio::select! {
        // Whoever asks sees what has become of it.
        _ = served => {}
        _ = mood.changed() => {}
    }
}

/// Answers one request and closes, after having read what still comes of it.
async fn refuse(here: &mut TcpStream, status: u16) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if here.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let answer = format!("HTTP/1.1 {status} Not Now\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    here.write_all(answer.as_bytes()).await?;
    here.shutdown().await?;
    tokio::io::copy(&mut here.take(REFUSED_BYTES_MAX), &mut tokio::io::sink()).await.map(drop)
}

async fn follow(mut lines: impl tokio::io::AsyncBufRead + Unpin + Send, sender: mpsc::UnboundedSender<String>) {
    let mut line = String::new();
    // To the end, so that nothing the server says holds it up.
    while lines.read_line(&mut line).await.is_ok_and(|bytes| bytes > 0) {
        let _ = sender.send(std::mem::take(&mut line));
    }
}

/// A program of the Python environment that `make setup` makes.
pub fn python(name: &str) -> PathBuf {
    let folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let mut programs = folders.map(|folder| folder.join(".setup/python/bin").join(name));
    programs
        .find(|program| program.exists())
        .unwrap_or_else(|| panic!("{name} is not below .setup: make setup puts it there"))
}
