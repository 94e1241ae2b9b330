//! The VOD child: the parent's side.
//!
//! Whatever becomes of the process, [`Child::next`] ends with words. Knows nothing of what it does.

use super::wire::{self, ToVod};
use super::{COMMAND, FromVod, Job};
use crate::Error;
use crate::child::{log, spawn};
use crate::wire::Malformed;
use bytes::Bytes;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{self, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// Messages from the child that wait for [`Child::next`]. Beyond it the child waits.
const OUTPUT_MESSAGES: usize = 16;

/// Messages for the child: the job, and the answer to its one question.
const INPUT_MESSAGES: usize = 2;

/// Files the child may have open at a time: the libraries it is linked with are opened one by one.
const FILES: u64 = 32;

/// How long a child that has said its last word may take to end, before it is ended.
const ENDING: Duration = Duration::from_secs(10);

/// What is in the log of a process whose allocations fail: Rust's words, libc's, x264's, ours.
const MEMORY_WORDS: [&str; 5] =
    ["memory allocation of", "Cannot allocate memory", "malloc of size", "out of memory", "Out of memory"];

/// Added to the parent's niceness: what is live, on the same machine, comes before what can wait.
const NICENESS: libc::c_int = 15;

/// Signals that a process gets for what it does itself: what it works on makes it. Others come from outside, or from a kernel
/// that is short of memory.
const CRASHES: [libc::c_int; 7] =
    [libc::SIGSEGV, libc::SIGABRT, libc::SIGILL, libc::SIGBUS, libc::SIGFPE, libc::SIGTRAP, libc::SIGSYS];

/// With what code Rust ends a process whose main thread panicked.
const PANICKED: i32 = 101;

/// Why it failed, and whether that is the machine's doing rather than the source's.
#[derive(Debug)]
struct Verdict {
    why: String,
    machine: bool,
}

impl Verdict {
    fn source(why: String) -> Self {
        Self { why, machine: false }
    }
}

/// What a child may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory it may allocate. Beyond it allocations fail and the child ends.
    pub memory_bytes: u64,
    /// Processor time it may use, all threads together. Beyond it the kernel ends it.
    pub cpu_s: u64,
    /// How long it may say nothing while it waits for nothing.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes: 4 << 30, cpu_s: 12 * 3600, stall: Duration::from_secs(600) }
    }
}

/// A running child. Dropping it kills the process.
#[derive(Debug)]
pub struct Child {
    pid: u32,
    limits: Limits,
    input: mpsc::Sender<Bytes>,
    output: mpsc::Receiver<FromVod>,
    /// Bytes that it waits for; `None`: it waits for nothing.
    asked: watch::Sender<Option<u32>>,
    /// How the process ended, once it has and its log was read.
    ended: watch::Receiver<Option<ExitStatus>>,
    verdict: Arc<OnceLock<Verdict>>,
    out_of_memory: Arc<AtomicBool>,
    kill: CancellationToken,
    tasks: JoinSet<()>,
    /// Its last message, while it is being looked into, and whether that was given.
    last: Option<FromVod>,
    over: bool,
}

impl Child {
    /// Starts `exe vod-child` with an empty environment, in a process group of its own, at a lower priority than the
    /// parent's, and gives it its job.
    pub async fn spawn(exe: &Path, job: Job, limits: Limits) -> Result<Self, Error> {
        let bounds = spawn::Bounds {
            memory_bytes: limits.memory_bytes,
            cpu_s: Some(limits.cpu_s.max(1)),
            files: Some(FILES),
            niceness: NICENESS,
            expendable: true,
        };
        let mut process = spawn::spawn(exe, COMMAND, bounds).await?;
        let piped =
            || Error::Io { what: "the encoding process's pipes", source: std::io::ErrorKind::BrokenPipe.into() };
        let stdin = process.stdin.take().ok_or_else(piped)?;
        let stdout = process.stdout.take().ok_or_else(piped)?;
        let stderr = process.stderr.take().ok_or_else(piped)?;
        let pid = process.id().ok_or_else(piped)?;
        let (input, messages) = mpsc::channel(INPUT_MESSAGES);
        let (sender, output) = mpsc::channel(OUTPUT_MESSAGES);
        let (asked, waiting) = watch::channel(None);
        let (status, ended) = watch::channel(None);
        let (verdict, out_of_memory) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (kill, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let heard = Arc::clone(&out_of_memory);
        let log = log::forward(stderr, pid, "vod", move |line| {
            if MEMORY_WORDS.iter().any(|words| line.contains(words)) {
                heard.store(true, Ordering::Relaxed);
            }
        });
        tasks.spawn(mind(process, log, kill.clone(), status));
        tasks.spawn(write(stdin, messages));
        let reader = Reader { asked: asked.clone(), waiting, stall: limits.stall, verdict: Arc::clone(&verdict) };
        let killer = kill.clone();
        tasks.spawn(async move { reader.run(stdout, sender, killer).await });
        let job = wire::encode_to_child(&ToVod::Job(job));
        // The queue is empty.
        input.try_send(job).map_err(|_| piped())?;
        let (last, over) = (None, false);
        Ok(Self { pid, limits, input, output, asked, ended, verdict, out_of_memory, kill, tasks, last, over })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it says next. A child that dies, hangs or uses up its time says [`FromVod::Failed`] in words that name the
    /// limit. `None` after [`FromVod::Done`] or `Failed`. Safe to cancel.
    pub async fn next(&mut self) -> Option<FromVod> {
        if self.over {
            return None;
        }
        if self.last.is_none() {
            match self.output.recv().await {
                Some(message @ FromVod::Failed { .. }) => self.last = Some(message),
                Some(message) => {
                    self.over = message == FromVod::Done;
                    return Some(message);
                }
                None => self.last = Some(FromVod::Failed { why: String::new(), machine: true }),
            }
        }
        let status = self.status().await;
        self.over = true;
        let said = match self.last.take() {
            Some(FromVod::Failed { why, machine }) if !why.is_empty() => Some(Verdict { why, machine }),
            _ => None,
        };
        let Verdict { why, machine } = self.judge(said, status);
        Some(FromVod::Failed { why, machine })
    }

    /// The bytes that it asked for by [`FromVod::Read`], exactly as many. An error if it has not asked, or is gone.
    pub async fn supply(&mut self, bytes: Bytes) -> Result<(), Error> {
        if *self.asked.borrow() != u32::try_from(bytes.len()).ok() {
            return Err(Error::Job("a piece of a reel was supplied that the process has not asked for"));
        }
        let message = wire::encode_to_child(&ToVod::Bytes(bytes));
        let gone =
            |_| Error::Io { what: "answering the encoding process", source: std::io::ErrorKind::BrokenPipe.into() };
        // First: the next question may come before this call returns.
        self.asked.send_replace(None);
        self.input.try_send(message).map_err(gone)
    }

    /// Ends it and waits until it is gone.
    pub async fn kill(self) {
        let Self { kill, mut tasks, input, output, .. } = self;
        kill.cancel();
        drop((input, output));
        while tasks.join_next().await.is_some() {}
    }

    /// How it ended; it is made to, if it has not.
    async fn status(&mut self) -> Option<ExitStatus> {
        let mut ended = self.ended.clone();
        let gone = async move { ended.wait_for(Option::is_some).await.ok().and_then(|status| *status) };
        match timeout(ENDING, gone).await {
            Ok(status) => status,
            Err(_) => {
                self.kill.cancel();
                let mut ended = self.ended.clone();
                ended.wait_for(Option::is_some).await.ok().and_then(|status| *status)
            }
        }
    }

    /// Why it failed.
    fn judge(&self, said: Option<Verdict>, status: Option<ExitStatus>) -> Verdict {
        if let Some(Verdict { why, machine }) = self.verdict.get() {
            return Verdict { why: format!("the process {why}"), machine: *machine };
        }
        let Limits { memory_bytes, cpu_s, .. } = self.limits;
        let signal = status.and_then(|status| status.signal());
        let told = said.as_ref().is_some_and(|said| MEMORY_WORDS.iter().any(|words| said.why.contains(words)));
        match (said, signal) {
            (_, Some(libc::SIGXCPU)) => {
                Verdict::source(format!("the process took more than {} s of processor time", cpu_s.max(1)))
            }
            _ if told || self.out_of_memory.load(Ordering::Relaxed) => {
                Verdict::source(format!("the process took more than {} MB of memory", memory_bytes / 1_000_000))
            }
            (Some(said), _) => said,
            (None, Some(signal)) => {
                let why = format!("the process was killed by signal {signal}");
                Verdict { why, machine: !CRASHES.contains(&signal) }
            }
            (None, None) => match status.and_then(|status| status.code()) {
                Some(code) => {
                    let why = format!("the process ended early, with code {code}");
                    Verdict { why, machine: code != PANICKED }
                }
                None => Verdict { why: "the process was lost".to_owned(), machine: true },
            },
        }
    }
}

/// Owns the process: waits for its end, or ends it; then for the end of its log.
async fn mind(
    mut process: process::Child,
    log: impl Future<Output = ()>,
    kill: CancellationToken,
    status: watch::Sender<Option<ExitStatus>>,
) {
    let ended = async {
        tokio::select! {
            ended = process.wait() => ended,
            () = kill.cancelled() => match process.kill().await {
                Ok(()) => process.wait().await,
                Err(error) => Err(error),
            },
        }
    };
    let (ended, ()) = tokio::join!(ended, log);
    match ended {
        // Without a receiver nobody wants to know.
        Ok(ended) => drop(status.send_replace(Some(ended))),
        Err(error) => tracing::error!("encoding process lost: {error}"),
    }
}

/// Feeds the child until the queue's sender or the child is gone, which the reader sees, too.
async fn write(mut pipe: ChildStdin, mut messages: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = messages.recv().await {
        if pipe.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// Listens to the child.
struct Reader {
    asked: watch::Sender<Option<u32>>,
    waiting: watch::Receiver<Option<u32>>,
    stall: Duration,
    verdict: Arc<OnceLock<Verdict>>,
}

impl Reader {
    /// Passes messages on until the child closes the pipe, says nonsense, nothing for too long, or nobody listens.
    async fn run(mut self, pipe: ChildStdout, output: mpsc::Sender<FromVod>, kill: CancellationToken) {
        let mut pipe = BufReader::with_capacity(256 << 10, pipe);
        loop {
            let message = match self.hear(&mut pipe).await {
                Ok(Some(message)) => message,
                Ok(None) => return,
                Err(verdict) => {
                    tracing::error!("the encoding process {}: killing it", verdict.why);
                    // The first verdict counts.
                    drop(self.verdict.set(verdict));
                    kill.cancel();
                    return;
                }
            };
            if let FromVod::Read { length, .. } = message {
                self.asked.send_replace(Some(length));
            }
            if output.send(message).await.is_err() {
                return;
            }
        }
    }

    /// The next message, in time; `None` at the end. An error is a verdict.
    async fn hear(&mut self, pipe: &mut BufReader<ChildStdout>) -> Result<Option<FromVod>, Verdict> {
        let reading = read(pipe);
        tokio::pin!(reading);
        loop {
            let waits = self.waiting.borrow_and_update().is_some();
            let deadline = Instant::now() + self.stall;
            tokio::select! {
                biased;
                message = &mut reading => return message.map_err(|malformed| {
                    Verdict { why: format!("talks nonsense ({malformed})"), machine: true }
                }),
                // Answered, or asked: the time begins anew. An error means that the parent's side is going.
                changed = self.waiting.changed() => if changed.is_err() { return Ok(None) },
                () = sleep_until(deadline), if !waits => {
                    return Err(Verdict::source(format!("said nothing for {} s", self.stall.as_secs_f32())));
                }
            }
        }
    }
}

/// The next message; `None` where the pipe ends.
async fn read(pipe: &mut BufReader<ChildStdout>) -> Result<Option<FromVod>, Malformed> {
    let mut length = [0; wire::LENGTH_BYTES];
    if pipe.read_exact(&mut length).await.is_err() {
        return Ok(None);
    }
    let mut message = vec![0; wire::message_length(length)?];
    if pipe.read_exact(&mut message).await.is_err() {
        return Ok(None);
    }
    wire::decode_from_child(message.into()).map(Some)
}
