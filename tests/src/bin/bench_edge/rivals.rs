//! The servers that are compared: ours, nginx and Varnish, each in front of the same origin, on loopback only.

use crate::secure::Secure;
use crate::usage;
use e2e::Server;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take to listen, and to leave.
const START: Duration = Duration::from_secs(15);
const LEAVE: Duration = Duration::from_secs(5);

/// A server.
#[derive(Debug)]
pub(crate) struct Rival {
    /// Its name in the table.
    pub(crate) name: &'static str,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// And over TLS, if it can.
    pub(crate) tls: Option<SocketAddr>,
    runs: Runs,
}

#[derive(Debug)]
enum Runs {
    Ours(Server),
    Theirs(Theirs),
}

/// A server with children of its own: they all are gone when this is dropped.
#[derive(Debug)]
struct Theirs {
    child: Child,
    _dir: TempDir,
}

impl Rival {
    /// Our edge, with as many worker threads as there are processors.
    pub(crate) async fn live360(origin: SocketAddr, secure: &Secure) -> Self {
        let origins = format!("edge.origins=[\"http://{origin}\"]");
        let certificate = format!("edge.tls_cert=\"{}\"", secure.certificate().display());
        let key = format!("edge.tls_key=\"{}\"", secure.key().display());
        let dir = Arc::new(TempDir::new().expect("a temporary folder"));
        let sets = [&*origins, "tls=files", "edge.https=127.0.0.1:0", &certificate, &key];
        let server = Server::start("edge", &sets, dir).await;
        let address = |name| server.addr(name).parse().expect("an address");
        let (plain, tls) = (address("edge_http"), address("edge_https"));
        Self { name: "live360", address: plain, tls: Some(tls), runs: Runs::Ours(server) }
    }

    /// nginx as one would set it up for this: see scripts/bench/edge/nginx.conf.
    pub(crate) async fn nginx(origin: SocketAddr, secure: &Secure) -> Self {
        let (dir, address, tls) = (shared_memory(), free_port(), free_port());
        std::fs::copy(secure.certificate(), dir.path().join("cert.pem")).expect("a file");
        std::fs::copy(secure.key(), dir.path().join("key.pem")).expect("a file");
        let addresses = [("ORIGIN", origin), ("LISTEN", address), ("SECURE", tls)];
        let config = configure("nginx.conf", dir.path(), &addresses);
        let mut command = Command::new("nginx");
        command.arg("-p").arg(dir.path()).arg("-c").arg(config).args(["-e", "stderr"]);
        Self { tls: Some(tls), ..Self::theirs("nginx", address, command, dir).await }
    }

    /// Varnish with its defaults, in memory.
    pub(crate) async fn varnish(origin: SocketAddr) -> Self {
        let (dir, address) = (shared_memory(), free_port());
        let config = configure("varnish.vcl", dir.path(), &[("ORIGIN", origin)]);
        let mut command = Command::new("varnishd");
        command.arg("-F").arg("-n").arg(dir.path().join("work")).arg("-f").arg(config);
        command.arg("-a").arg(address.to_string()).args(["-s", "malloc,1g", "-T", "none"]);
        Self::theirs("varnish", address, command, dir).await
    }

    async fn theirs(name: &'static str, address: SocketAddr, mut command: Command, dir: TempDir) -> Self {
        let log = std::fs::File::create(dir.path().join("log")).expect("a log");
        let other = log.try_clone().expect("a log");
        command.stdin(Stdio::null()).stdout(log).stderr(other);
        let child =
            command.spawn().unwrap_or_else(|error| panic!("{name}: {error}; scripts/bench/edge.sh installs it"));
        let theirs = Theirs { child, _dir: dir };
        let begin = Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            assert!(begin.elapsed() < START, "{name} doesn't listen:\n{}", theirs.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { name, address, tls: None, runs: Runs::Theirs(theirs) }
    }

    /// Its first process.
    pub(crate) fn pid(&self) -> u32 {
        match &self.runs {
            Runs::Ours(server) => server.pid(),
            Runs::Theirs(theirs) => theirs.child.id(),
        }
    }

    /// What it has spent so far.
    pub(crate) fn cpu(&self) -> Duration {
        usage::cpu(self.pid())
    }
}

impl Theirs {
    fn log(&self) -> String {
        std::fs::read_to_string(self._dir.path().join("log")).unwrap_or_default()
    }

    fn wait(&mut self) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < LEAVE {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        let all = usage::family(self.child.id());
        kill("-TERM", &BTreeSet::from([self.child.id()]));
        if !self.wait() {
            kill("-KILL", &all);
            let _ = self.child.wait();
        }
    }
}

fn kill(signal: &str, pids: &BTreeSet<u32>) {
    // One that is gone already is as it should be.
    let _ = Command::new("kill").arg(signal).args(pids.iter().map(u32::to_string)).stderr(Stdio::null()).status();
}

/// A folder in memory: caches and logs of the others are no slower for being files.
fn shared_memory() -> TempDir {
    let dir = TempDir::with_prefix_in("live360-bench-", "/dev/shm").expect("a folder in /dev/shm");
    // nginx's and Varnish's workers may be other users.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).expect("a folder of ours");
    dir
}

/// A port that was free a moment ago.
fn free_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// Writes a config out of its template in scripts/bench/edge.
fn configure(name: &str, dir: &Path, addresses: &[(&str, SocketAddr)]) -> PathBuf {
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/bench/edge").join(name);
    let mut text = std::fs::read_to_string(&template).expect("the template");
    text = text.replace("@DIR@", &dir.display().to_string());
    for (name, address) in addresses {
        text = text.replace(&format!("@{name}@"), &address.to_string());
        text = text.replace(&format!("@{name}_HOST@"), &address.ip().to_string());
        text = text.replace(&format!("@{name}_PORT@"), &address.port().to_string());
    }
    let path = dir.join(name);
    std::fs::write(&path, text).expect("a config");
    path
}
