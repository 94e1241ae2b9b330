//! The real binary as a child process.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

/// A running `live360`.
#[derive(Debug)]
pub struct Server {
    child: Child,
    ready: Value,
    log: Arc<Mutex<String>>,
    /// Ends when all that it logs is in `log`.
    logging: JoinHandle<()>,
    dir: Arc<TempDir>,
}

/// The binary under test, built beside the tests.
pub fn binary() -> PathBuf {
    let own = std::env::current_exe().expect("a test has a path");
    // target/PROFILE/deps/TEST, or target/PROFILE/bench.
    let folders = own.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join("live360")).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("live360 is not built beside {}: make test does", own.display()))
}

/// Runs the binary to its end.
pub async fn run(args: &[&str]) -> Output {
    let output = Command::new(binary()).args(args).stdin(Stdio::null()).kill_on_drop(true).output();
    tokio::time::timeout(crate::DEADLINE, output).await.expect("it ends in time").expect("it starts")
}

impl Server {
    /// Starts `live360 all` with these settings on top of free ports and a fresh folder.
    pub async fn all(sets: &[&str]) -> Self {
        let dir = Arc::new(TempDir::new().expect("a temporary folder"));
        Self::start("all", sets, dir).await
    }

    /// Starts a role in a folder that may have served another process before.
    pub async fn start(role: &str, sets: &[&str], dir: Arc<TempDir>) -> Self {
        Self::start_with(role, sets, &[], dir).await
    }

    /// The same with these variables in its environment.
    pub async fn start_with(role: &str, sets: &[&str], env: &[(&str, &str)], dir: Arc<TempDir>) -> Self {
        Self::launch(&[role], sets, env, dir).await
    }

    /// The same with this file for what the tests don't set.
    pub async fn configured(role: &str, file: &Path, sets: &[&str], env: &[(&str, &str)], dir: Arc<TempDir>) -> Self {
        let file = file.to_str().expect("a plain path");
        Self::launch(&[role, "--config", file], sets, env, dir).await
    }

    async fn launch(role: &[&str], sets: &[&str], env: &[(&str, &str)], dir: Arc<TempDir>) -> Self {
        let mut command = Command::new(binary());
        command.envs(env.iter().copied()).args(role);
        command.args(["--set", &format!("data_dir=\"{}\"", dir.path().join("data").display())]);
        // Where the tests run is nobody's business.
        command.args(["--set", "machine.metadata=off"]);
        for key in ["origin.rtmp", "origin.http", "edge.http", "admin.http"] {
            command.args(["--set", &format!("{key}=127.0.0.1:0")]);
        }
        for set in sets {
            command.args(["--set", set]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("the binary starts");
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let sink = log.clone();
        // Ends with the pipe.
        let logging = tokio::spawn(async move {
            let mut lines = stderr.lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let mut log = sink.lock().expect("no panic while logging");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = tokio::time::timeout(crate::DEADLINE, lines.next_line()).await;
        let Ok(Ok(Some(line))) = line else {
            panic!("no READY line; its log:\n{}", log.lock().expect("no panic while logging"));
        };
        let json = line.strip_prefix("READY ").expect("stdout has one line, READY {json}");
        let ready = serde_json::from_str(json).expect("the READY line is JSON");
        Self { child, ready, log, logging, dir }
    }

    /// An address of the READY line.
    pub fn addr(&self, name: &str) -> String {
        self.ready[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", self.ready)).to_owned()
    }

    /// Where to publish a stream.
    pub fn rtmp(&self, key: &str) -> String {
        format!("rtmp://{}/live/{key}", self.addr("rtmp"))
    }

    /// A viewer of the edge.
    pub fn viewer(&self) -> crate::Viewer {
        crate::Viewer::new(&self.addr("edge_http"))
    }

    /// A viewer of the origin.
    pub fn origin_viewer(&self) -> crate::Viewer {
        crate::Viewer::new(&self.addr("origin_http"))
    }

    /// A viewer of the admin listener.
    pub fn admin(&self) -> crate::Viewer {
        crate::Viewer::new(&self.addr("admin_http"))
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("no panic while logging").clone()
    }

    /// Its folder, to start another one in.
    pub fn dir(&self) -> Arc<TempDir> {
        self.dir.clone()
    }

    /// Kills it as a crash would.
    pub async fn crash(mut self) {
        self.child.kill().await.expect("it was running");
    }

    /// Asks it to leave; returns its exit code.
    pub async fn leave(self) -> Option<i32> {
        self.signal("TERM").await;
        self.exit().await
    }

    /// Sends it a signal.
    pub async fn signal(&self, name: &str) {
        let kill = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().await;
        assert!(kill.expect("kill runs").success());
    }

    /// Waits for its end; returns its exit code.
    pub async fn exit(self) -> Option<i32> {
        self.exit_and_log().await.0
    }

    /// Waits for its end; returns its exit code and all that it logged.
    pub async fn exit_and_log(mut self) -> (Option<i32>, String) {
        let status = tokio::time::timeout(crate::DEADLINE, self.child.wait()).await;
        let code = status.expect("it leaves in time").expect("it was running").code();
        // A grandchild could keep the pipe open.
        let _ = tokio::time::timeout(crate::DEADLINE, &mut self.logging).await;
        (code, self.log())
    }

    /// Panics if it has died or a task of it has panicked.
    pub fn assert_well(&mut self) {
        assert!(self.child.try_wait().expect("it can be asked").is_none(), "it died; its log:\n{}", self.log());
        let log = self.log();
        assert!(!log.contains("panicked"), "something panicked:\n{log}");
    }
}
