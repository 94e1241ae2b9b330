//! The ladder in a process of its own: the parent's side.
//!
//! If libav or x264 dies in there, or takes too much memory or time, [`Child::recv`] gives `None` and nothing else
//! happens to the parent. Knows nothing of what the ladder does; what to do when a child is gone or behind is the
//! caller's policy.

pub(crate) mod log;
mod serve;
pub(crate) mod spawn;

pub use serve::serve;

use crate::Error;
use crate::ladder::{FromLadder, Settings, ToLadder};
use crate::wire::{self, ToChild};
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{self, ChildStdin, ChildStdout};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// The argument that makes the binary call [`serve`].
pub const COMMAND: &str = "ladder-child";

/// How long [`Child::shutdown`] waits for the child to end by itself.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// Messages from the child that wait for [`Child::recv`]. Beyond it the child waits, then its input queue fills.
const OUTPUT_MESSAGES: usize = 256;

/// Added to the parent's niceness: taking a stream in comes before encoding it.
const NICENESS: libc::c_int = 5;

/// What a child may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory it may allocate. Beyond it allocations fail and the child ends. A 4K source with three rungs takes
    /// about 220 MB, one of 1920×960 with two about 100 MB.
    pub memory_bytes: u64,
    /// Messages that wait for the child. Beyond it [`Child::try_send`] says `Full`.
    pub queue_messages: usize,
    /// Bytes that wait for the child. Beyond it [`Child::try_send`] says `Full`.
    pub queue_bytes: u32,
    /// How long the child may leave a message untaken before it counts as hung and is killed.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes: 2 << 30, queue_messages: 256, queue_bytes: 32 << 20, stall: Duration::from_secs(10) }
    }
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The child is behind, or the message is longer than [`wire::MESSAGE_BYTES_MAX`].
    #[error("the ladder is behind")]
    Full,
    /// The child is gone.
    #[error("the ladder's process is gone")]
    Gone,
}

/// A running child. Dropping it kills the process.
#[derive(Debug)]
pub struct Child {
    pid: u32,
    input: mpsc::Sender<Message>,
    room: Arc<Semaphore>,
    output: mpsc::Receiver<FromLadder>,
    kill: CancellationToken,
    tasks: JoinSet<()>,
}

/// A message and its share of the queue's bytes.
type Message = (Bytes, Option<OwnedSemaphorePermit>);

impl Child {
    /// Starts `exe ladder-child` with an empty environment, in a process group of its own (a Ctrl-C is for the
    /// parent), at a lower priority than the parent's. Settings that the ladder refuses come back as
    /// [`FromLadder::Failed`].
    pub async fn spawn(exe: &Path, settings: Settings, limits: Limits) -> Result<Self, Error> {
        let (memory_bytes, niceness) = (limits.memory_bytes, NICENESS);
        let bounds = spawn::Bounds { memory_bytes, cpu_s: None, files: None, niceness, expendable: false };
        let mut process = spawn::spawn(exe, COMMAND, bounds).await?;
        let piped = || Error::Io { what: "the ladder's pipes", source: std::io::ErrorKind::BrokenPipe.into() };
        let stdin = process.stdin.take().ok_or_else(piped)?;
        let stdout = process.stdout.take().ok_or_else(piped)?;
        let stderr = process.stderr.take().ok_or_else(piped)?;
        let pid = process.id().ok_or_else(piped)?;
        let (input, messages) = mpsc::channel(limits.queue_messages.max(1));
        let (sender, output) = mpsc::channel(OUTPUT_MESSAGES);
        let kill = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(mind(process, pid, kill.clone()));
        tasks.spawn(write(stdin, messages, limits.stall, kill.clone()));
        tasks.spawn(read(stdout, sender, kill.clone()));
        tasks.spawn(log::forward(stderr, pid, "ladder", |_| ()));
        let room = Arc::new(Semaphore::new(limits.queue_bytes as usize));
        let child = Self { pid, input, room, output, kill, tasks };
        // The queue is empty, and holds at least one message.
        let settings = wire::encode_to_child(&ToChild::Settings(settings));
        child.input.try_send((settings, None)).map_err(|_| piped())?;
        Ok(child)
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Queues a message; never waits.
    pub fn try_send(&self, message: ToLadder) -> Result<(), SendError> {
        let bytes = wire::encode_to_child(&ToChild::Ladder(message));
        if bytes.len() > wire::MESSAGE_BYTES_MAX {
            return Err(SendError::Full);
        }
        if self.input.is_closed() {
            return Err(SendError::Gone);
        }
        let size = u32::try_from(bytes.len()).map_err(|_| SendError::Full)?;
        let share = Arc::clone(&self.room).try_acquire_many_owned(size).map_err(|_| SendError::Full)?;
        self.input.try_send((bytes, Some(share))).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::Full,
            mpsc::error::TrySendError::Closed(_) => SendError::Gone,
        })
    }

    /// The next message; `None` once the child is gone and all it said was given. Cancel safe.
    pub async fn recv(&mut self) -> Option<FromLadder> {
        self.output.recv().await
    }

    /// Closes the pipes and waits until the process is gone; kills it if that takes more than 2 s.
    pub async fn shutdown(self) {
        let Self { input, output, kill, mut tasks, .. } = self;
        drop((input, output));
        let gone = async { while tasks.join_next().await.is_some() {} };
        if timeout(SHUTDOWN, gone).await.is_err() {
            kill.cancel();
            while tasks.join_next().await.is_some() {}
        }
    }
}

/// Owns the process: waits for its end, or ends it.
async fn mind(mut process: process::Child, pid: u32, kill: CancellationToken) {
    let ended = tokio::select! {
        ended = process.wait() => ended,
        () = kill.cancelled() => match process.kill().await {
            Ok(()) => process.wait().await,
            Err(error) => Err(error),
        },
    };
    match ended {
        Ok(status) if status.success() => tracing::debug!(pid, "ladder process closed"),
        Ok(status) => tracing::warn!(pid, "ladder process closed: {status}"),
        Err(error) => tracing::error!(pid, "ladder process lost: {error}"),
    }
}

/// Feeds the child until the queue's sender or the child is gone.
async fn write(mut pipe: ChildStdin, mut messages: mpsc::Receiver<Message>, stall: Duration, kill: CancellationToken) {
    while let Some((bytes, _share)) = messages.recv().await {
        match timeout(stall, pipe.write_all(&bytes)).await {
            Ok(Ok(())) => {}
            // The child is gone: `read` sees it, too.
            Ok(Err(_)) => return,
            Err(_) => {
                tracing::error!("the ladder has taken nothing for {stall:?}: killing it");
                kill.cancel();
                return;
            }
        }
    }
}

/// Passes messages on until the child closes the pipe, says nonsense, or nobody listens.
async fn read(pipe: ChildStdout, output: mpsc::Sender<FromLadder>, kill: CancellationToken) {
    let mut pipe = BufReader::with_capacity(256 << 10, pipe);
    while let Ok(length) = read_length(&mut pipe).await {
        let message = match wire::message_length(length) {
            Ok(length) => {
                let mut message = vec![0; length];
                if pipe.read_exact(&mut message).await.is_err() {
                    return;
                }
                wire::decode_from_child(message.into())
            }
            Err(malformed) => Err(malformed),
        };
        match message {
            Ok(message) => {
                if output.send(message).await.is_err() {
                    return;
                }
            }
            Err(malformed) => {
                tracing::error!("the ladder talks nonsense, killing it: {malformed}");
                kill.cancel();
                return;
            }
        }
    }
}

async fn read_length(pipe: &mut BufReader<ChildStdout>) -> std::io::Result<[u8; wire::LENGTH_BYTES]> {
    let mut length = [0; wire::LENGTH_BYTES];
    pipe.read_exact(&mut length).await?;
    Ok(length)
}
