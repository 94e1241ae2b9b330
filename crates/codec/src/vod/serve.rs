//! The VOD child's side: one job from stdin, what comes of it to stdout, libav's and our words to stderr.
//!
//! Before it looks at anything it gives up opening files and sockets: whatever a file makes libav do, there is nothing to do
//! it to.
#![allow(unsafe_code)]

use super::reader::Source;
use super::wire::{self, ToVod};
use super::{FromVod, Job, encode, probe};
use crate::Error;
use crate::wire::Malformed;
use bytes::Bytes;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

/// Messages that wait for the parent. Beyond it encoders wait, then the decoder.
const OUTPUT_MESSAGES: usize = 64;

/// Bytes collected before they are written, when there is more to say.
const WRITE_BYTES: usize = 256 << 10;

/// Where messages to the parent go, from any thread; waits while it does not listen.
#[derive(Clone)]
pub(super) struct Give {
    sender: SyncSender<FromVod>,
    failed: Arc<AtomicBool>,
}

impl Give {
    /// An error if nobody listens any more.
    pub(super) fn give(&self, message: FromVod) -> Result<(), Error> {
        let gone = |_| Error::Io { what: "talking to the parent", source: ErrorKind::BrokenPipe.into() };
        if matches!(message, FromVod::Failed { .. }) && self.failed.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        self.sender.send(message).map_err(gone)
    }
}

/// The parent, who has the reels.
struct Parent {
    input: Mutex<BufReader<File>>,
    give: Give,
}

impl Parent {
    fn hear(&self) -> Result<ToVod, Error> {
        let gone = || Error::Io { what: "reading from the parent", source: ErrorKind::UnexpectedEof.into() };
        let mut input = self.input.lock().map_err(|_| gone())?;
        let message = wire::read(&mut *input)?.ok_or_else(gone)?;
        Ok(wire::decode_to_child(message)?)
    }
}

impl Source for Parent {
    fn fetch(&self, reel: u32, offset: u64, length: u32) -> Result<Bytes, Error> {
        self.give.give(FromVod::Read { reel, offset, length })?;
        match self.hear()? {
            ToVod::Bytes(bytes) if bytes.len() as u64 == u64::from(length) => Ok(bytes),
            ToVod::Bytes(_) => Err(Malformed("a piece of a reel that is not as long as was asked for").into()),
            ToVod::Job(_) => Err(Malformed("a job may only come first").into()),
        }
    }
}

/// Does one job. Errors have been sent to the parent as [`FromVod::Failed`], too.
pub(super) fn serve() -> Result<(), Error> {
    let (sender, messages) = sync_channel(OUTPUT_MESSAGES);
    let give = Give { sender, failed: Arc::default() };
    let stdout = std::io::stdout().as_fd().try_clone_to_owned().map_err(Error::io("opening stdout"))?;
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().map_err(Error::io("opening stdin"))?;
    open_no_more(&[&stdin, &stdout])?;
    let writer = std::thread::Builder::new()
        .name("vod-out".to_owned())
        .spawn(move || write(&messages, File::from(stdout)))
        .map_err(Error::io("starting a thread"))?;
    let result = run(&give, stdin);
    let last = match &result {
        Ok(()) => FromVod::Done,
        Err(error) => FromVod::Failed { why: error.to_string(), machine: error.is_machine() },
    };
    // A parent that is gone has no use for it.
    drop(give.give(last));
    drop(give);
    drop(writer.join());
    result
}

fn run(give: &Give, stdin: OwnedFd) -> Result<(), Error> {
    let input = Mutex::new(BufReader::with_capacity(WRITE_BYTES, File::from(stdin)));
    let parent = Parent { input, give: give.clone() };
    let ToVod::Job(job) = parent.hear()? else { return Err(Malformed("a job must come first").into()) };
    let source: Arc<dyn Source> = Arc::new(parent);
    match job {
        Job::Probe { reels } => probe::run(&reels, &source, give),
        Job::Encode(job) => encode::run(&job, &source, give),
        Job::Sheet(job) => super::tiles::run(&job, &source, give),
    }
}

/// No descriptor beyond these, from here on: not of files, not of sockets.
fn open_no_more(open: &[&OwnedFd]) -> Result<(), Error> {
    let last = open.iter().map(|file| file.as_raw_fd()).max().unwrap_or(libc::STDERR_FILENO);
    let count = u64::try_from(last).unwrap_or(0).saturating_add(1);
    let limit = libc::rlimit { rlim_cur: count, rlim_max: count };
    // SAFETY: a system call with a pointer to a struct that lives through it.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } {
        0 => Ok(()),
        _ => Err(Error::Io { what: "giving up files", source: std::io::Error::last_os_error() }),
    }
}

/// Writes what comes until nobody can send any more, or the parent is gone: then senders see it.
fn write(messages: &Receiver<FromVod>, mut pipe: File) {
    while let Ok(message) = messages.recv() {
        let mut bytes = wire::encode_from_child(&message).to_vec();
        while bytes.len() < WRITE_BYTES {
            let Ok(more) = messages.try_recv() else { break };
            bytes.extend_from_slice(&wire::encode_from_child(&more));
        }
        if pipe.write_all(&bytes).is_err() {
            return;
        }
    }
}
