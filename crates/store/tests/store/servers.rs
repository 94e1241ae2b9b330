//! Servers that speak S3 and SQS, each on a port of its own choice. They are Python's; `make setup` puts them below `.setup`.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest time from the start to the line that names the port.
const START: Duration = Duration::from_secs(30);

/// What both servers write before their address.
const MARK: &str = "Running on http";

/// A running server. Dropped, it is killed.
pub(crate) struct Server {
    child: Child,
    url: String,
    readers: Vec<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn ministack() -> Self {
        Self::ministack_with(&[])
    }

    /// The same with a certificate (files in PEM).
    pub(crate) fn ministack_tls(certificate: &str, key: &str) -> Self {
        Self::ministack_with(&[("USE_SSL", "1"), ("MINISTACK_SSL_CERT", certificate), ("MINISTACK_SSL_KEY", key)])
    }

    fn ministack_with(more: &[(&str, &str)]) -> Self {
        let mut command = program("ministack");
        let env = [
            ("GATEWAY_PORT", "0"),
            ("BIND_HOST", "127.0.0.1"),
            ("MINISTACK_HOST", "127.0.0.1"),
            ("SERVICES", "s3,sqs"),
            // These would listen on fixed ports, for everybody.
            ("IOT_MTLS_ENABLED", "0"),
            ("SFTP_ENABLED", "0"),
        ];
        Self::start(command.envs(env).envs(more.iter().copied()))
    }

    pub(crate) fn moto() -> Self {
        Self::start(program("moto_server").args(["-H", "127.0.0.1", "-p", "0"]))
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Makes a bucket.
    pub(crate) fn make_bucket(&self, name: &str) {
        // They don't check signatures, but look at them for the service that is meant.
        let signature = "authorization: AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request";
        let url = format!("{}/{name}", self.url);
        let made = Command::new("curl").args(["-sSfk", "-X", "PUT", "-H", signature, &url]).status().unwrap();
        assert!(made.success(), "{url}: {made}");
    }

    fn start(command: &mut Command) -> Self {
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (sender, lines) = mpsc::channel();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let readers = vec![follow(stdout, sender.clone()), follow(stderr, sender)];
        let mut server = Self { child, url: String::new(), readers };
        let mut said = Vec::new();
        while server.url.is_empty() {
            let line = lines.recv_timeout(START).unwrap_or_else(|_| panic!("{command:?} does not start: {said:#?}"));
            if let Some((_, rest)) = line.split_once(MARK) {
                server.url = format!("http{}", rest.split_whitespace().next().unwrap());
            }
            said.push(line);
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

fn program(name: &str) -> Command {
    // Tests of several packages use this file.
    let folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let mut programs = folders.map(|folder| folder.join(".setup/python/bin").join(name));
    let found = programs.find(|program| program.exists());
    Command::new(found.unwrap_or_else(|| panic!("{name} is not below .setup: run make setup")))
}

/// Reads to the end, so that nothing the server says holds it up.
fn follow(pipe: impl Read + Send + 'static, lines: Sender<String>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let _ = lines.send(line);
        }
    })
}
