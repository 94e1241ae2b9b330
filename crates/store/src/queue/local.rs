//! A queue in a folder, shared by the processes of a machine.
//!
//! ```text
//! queue/lock        held while a message changes hands
//! queue/messages/   one file a message; its state is its name ([`super::name`])
//! queue/dlq/        messages that were given out too often
//! queue/broken/     files that should have been messages
//! ```
//!
//! Every change is one creation, one rename or one removal, so whoever is killed in between has done it or not; the lock
//! goes with its process. What is renamed is not waited for on the disk: after a power cut a message may be where it was
//! before, and comes again.

use super::envelope;
use super::name::{Millis, Name, State};
use super::{Dead, Depth, MESSAGES_MAX, Message, Outgoing, QueueSettings, Receipt};
use crate::error::{Error, io_error};
use crate::files::{Files, Sync};
use bytes::Bytes;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout, timeout_at};

/// The queue's folder, below the one for data.
const FOLDER: &str = "queue";

const MESSAGES: &str = "messages";
const DLQ: &str = "dlq";
const BROKEN: &str = "broken";
const LOCK: &str = "lock";

/// How often a receive that waits looks for what other processes sent or lost.
const POLL: Duration = Duration::from_millis(200);

/// Longest wait for the lock, which nobody holds longer than it takes to rename a few files: unless it was frozen.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// Pause between two tries to get the lock.
const LOCK_POLL: Duration = Duration::from_millis(1);

/// Most strange files that are remembered for having been warned of.
const WARNED_MAX: usize = 1000;

/// A queue in a folder.
#[derive(Debug, Clone)]
pub(super) struct Local {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    files: Files,
    settings: QueueSettings,
    /// Wakes receives of this process.
    changed: Notify,
    warned: Mutex<HashSet<OsString>>,
}

/// Messages on their way to who receives them. Dropped before they are there, they are given back.
struct Taken {
    shared: Arc<Shared>,
    messages: Vec<Message>,
}

impl Local {
    /// Opens the queue below `data_dir`, making it if need be.
    pub(super) async fn open(data_dir: &Path, settings: QueueSettings) -> Result<Self, Error> {
        let root = data_dir.join(FOLDER);
        let opening = root.clone();
        let open = move || -> Result<Files, Error> {
            let files = Files::open(opening)?;
            for folder in [MESSAGES, DLQ, BROKEN] {
                let folder = files.root().join(folder);
                fs::create_dir_all(&folder).map_err(io_error("make the folder", folder))?;
            }
            Ok(files)
        };
        let files = limited("open", &root, settings.limits.operation, open).await?;
        let shared = Shared { files, settings, changed: Notify::new(), warned: Mutex::default() };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub(super) async fn send(&self, messages: Vec<Outgoing>) -> Result<Vec<String>, Error> {
        let ids = self.run("send to", move |shared| shared.send(messages)).await?;
        self.shared.changed.notify_waiters();
        Ok(ids)
    }

    pub(super) async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<Message>, Error> {
        let end = Instant::now() + wait;
        loop {
            let mut changed = std::pin::pin!(self.shared.changed.notified());
            // From here on: what is sent while this looks must not be missed.
            changed.as_mut().enable();
            let taken = self.run("receive from", move |shared| Shared::take(shared, max, visibility)).await?;
            let now = Instant::now();
            if !taken.messages.is_empty() || now >= end {
                return Ok(taken.keep());
            }
            let _ = timeout_at(end.min(now + POLL), changed).await;
        }
    }

    pub(super) async fn extend(&self, receipt: &Receipt, visibility: Duration) -> Result<(), Error> {
        let receipt = receipt.0.clone();
        self.run("extend in", move |shared| {
            let now = shared.now();
            shared.change("extend in", &receipt, |name| name.extended(now, visibility))
        })
        .await
    }

    pub(super) async fn give_back(&self, receipt: &Receipt) -> Result<(), Error> {
        let receipt = receipt.0.clone();
        self.run("give back to", move |shared| shared.change("give back to", &receipt, Name::freed)).await?;
        self.shared.changed.notify_waiters();
        Ok(())
    }

    pub(super) async fn done(&self, receipt: &Receipt) -> Result<(), Error> {
        let receipt = receipt.0.clone();
        self.run("remove from", move |shared| shared.done(&receipt)).await
    }

    pub(super) async fn depth(&self) -> Result<Depth, Error> {
        self.run("count", |shared| shared.depth()).await
    }

    pub(super) async fn dead_count(&self) -> Result<u64, Error> {
        self.run("count the dead of", |shared| shared.dead_count()).await
    }

    pub(super) async fn dead_letters(&self) -> Result<Vec<Dead>, Error> {
        self.run("list the dead of", |shared| shared.dead_letters()).await
    }

    pub(super) async fn redrive(&self) -> Result<usize, Error> {
        let count = self.run("redrive", |shared| shared.redrive()).await?;
        self.shared.changed.notify_waiters();
        Ok(count)
    }

    /// Does `work` where it may block.
    async fn run<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Arc<Shared>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let shared = Arc::clone(&self.shared);
        let after = self.shared.settings.limits.operation;
        limited(doing, self.shared.files.root(), after, move || work(&shared)).await
    }
}

/// Does `work` where it may block. What takes too long goes on, but nobody waits for it.
async fn limited<T: Send + 'static>(
    doing: &'static str,
    root: &Path,
    after: Duration,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match timeout(after, spawn_blocking(work)).await {
        Ok(Ok(done)) => done,
        Ok(Err(lost)) => Err(io_error(doing, root)(io::Error::other(lost))),
        Err(_) => Err(Error::Slow { doing, place: root.display().to_string(), after }),
    }
}

impl Taken {
    fn keep(mut self) -> Vec<Message> {
        std::mem::take(&mut self.messages)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        for message in &self.messages {
            // Else it comes again when its time is over.
            let _ = self.shared.change("give back to", &message.receipt.0, Name::freed);
        }
    }
}

impl Shared {
    fn send(&self, messages: Vec<Outgoing>) -> Result<Vec<String>, Error> {
        let _lock = if messages.iter().any(|m| m.dedup.is_some()) { Some(self.lock("send to")?) } else { None };
        let mut names = self.names(MESSAGES)?;
        if names.len().saturating_add(messages.len()) > MESSAGES_MAX {
            let limit = format!("it would have more than {MESSAGES_MAX} messages");
            return Err(Error::Limit { doing: "send to", place: self.place(), limit });
        }
        let mut known: HashSet<u128> = names.iter().filter_map(|name| name.dedup).collect();
        let mut ids = Vec::with_capacity(messages.len());
        for Outgoing { body, dedup } in messages {
            let name = Name::new(self.now(), fastrand::u64(..), dedup.map(|word| envelope::checksum(word.as_bytes())));
            if let Some(hash) = name.dedup
                && !known.insert(hash)
            {
                let first = names.iter().find(|known| known.dedup == Some(hash));
                ids.push(first.unwrap_or(&name).id());
                continue;
            }
            let content = Bytes::from(envelope::wrap(&body));
            self.files.create(&format!("{MESSAGES}/{}", name.file()), &[content], Sync::Durable)?;
            ids.push(name.id());
            names.push(name);
        }
        Ok(ids)
    }

    fn take(shared: &Arc<Self>, max: usize, visibility: Duration) -> Result<Taken, Error> {
        // Before the lock: dropped after it, if this fails halfway.
        let mut taken = Taken { shared: Arc::clone(shared), messages: Vec::new() };
        let _lock = shared.lock("receive from")?;
        let (now, received_at) = (shared.now(), Instant::now());
        for name in shared.names(MESSAGES)? {
            if taken.messages.len() >= max {
                break;
            }
            match name.state(now, shared.settings.max_receives) {
                State::Held => {}
                State::Spent => shared.bury(&name)?,
                State::Visible => {
                    let Some(body) = shared.body(MESSAGES, &name)? else { continue };
                    let name = shared.rename(MESSAGES, &name, MESSAGES, name.received(now, visibility))?;
                    taken.messages.push(Message {
                        id: name.id(),
                        body,
                        receipt: Receipt(name.receipt()),
                        receive_count: name.receives,
                        sent_at: time(name.sent),
                        received_at,
                    });
                }
            }
        }
        Ok(taken)
    }

    fn change(&self, doing: &'static str, receipt: &str, to: impl FnOnce(&Name) -> Name) -> Result<(), Error> {
        let _lock = self.lock(doing)?;
        let name = self.held(doing, receipt)?;
        let to = to(&name);
        self.rename(MESSAGES, &name, MESSAGES, to).map(drop)
    }

    fn done(&self, receipt: &str) -> Result<(), Error> {
        const DOING: &str = "remove from";
        let _lock = self.lock(DOING)?;
        let path = self.path(MESSAGES, &self.held(DOING, receipt)?);
        fs::remove_file(&path).map_err(io_error("remove", path))
    }

    fn depth(&self) -> Result<Depth, Error> {
        let _lock = self.lock("count")?;
        let now = self.now();
        let mut depth = Depth::default();
        for name in self.names(MESSAGES)? {
            let count = match name.state(now, self.settings.max_receives) {
                State::Visible => &mut depth.visible,
                State::Held => &mut depth.in_flight,
                // Dead but for the next receive, which says so.
                State::Spent => continue,
            };
            *count = count.saturating_add(1);
        }
        Ok(depth)
    }

    fn dead_count(&self) -> Result<u64, Error> {
        let _lock = self.lock("count the dead of")?;
        self.bury_all()?;
        Ok(self.names(DLQ)?.len() as u64)
    }

    fn dead_letters(&self) -> Result<Vec<Dead>, Error> {
        let _lock = self.lock("list the dead of")?;
        self.bury_all()?;
        let mut dead = Vec::new();
        for name in self.names(DLQ)?.into_iter().take(super::DEAD_MAX) {
            if let Some(body) = self.body(DLQ, &name)? {
                let (id, receive_count, sent_at) = (name.id(), name.receives, time(name.sent));
                dead.push(Dead { id, body, receive_count, sent_at });
            }
        }
        Ok(dead)
    }

    fn redrive(&self) -> Result<usize, Error> {
        let _lock = self.lock("redrive")?;
        self.bury_all()?;
        let mut count = 0_usize;
        for name in self.names(DLQ)?.into_iter().take(super::DEAD_MAX) {
            self.rename(DLQ, &name, MESSAGES, name.revived(fastrand::u64(..)))?;
            count = count.saturating_add(1);
        }
        Ok(count)
    }

    /// Moves all that is spent to the dead. The lock is held.
    fn bury_all(&self) -> Result<(), Error> {
        let now = self.now();
        let spent = |name: &Name| name.state(now, self.settings.max_receives) == State::Spent;
        self.names(MESSAGES)?.iter().filter(|name| spent(name)).try_for_each(|name| self.bury(name))
    }

    fn bury(&self, name: &Name) -> Result<(), Error> {
        let dead = self.rename(MESSAGES, name, DLQ, name.freed())?;
        tracing::warn!(message = dead.id(), receives = dead.receives, "a job was given out too often: it is set aside");
        Ok(())
    }

    /// The message that `receipt` shows to be held. The lock is held.
    fn held(&self, doing: &'static str, receipt: &str) -> Result<Name, Error> {
        let held = self.names(MESSAGES)?.into_iter().find(|name| name.is_held_with(receipt));
        held.ok_or_else(|| Error::Lost { doing, place: self.place() })
    }

    fn rename(&self, from: &str, name: &Name, to: &str, new: Name) -> Result<Name, Error> {
        let path = self.path(from, name);
        fs::rename(&path, self.path(to, &new)).map_err(io_error("rename", path))?;
        Ok(new)
    }

    /// What is in a message's file. One that is torn is set aside.
    fn body(&self, folder: &str, name: &Name) -> Result<Option<String>, Error> {
        let path = self.path(folder, name);
        let length = fs::symlink_metadata(&path).map_err(io_error("look at", &path))?.len();
        let why = if length > envelope::FILE_BYTES_MAX {
            "it is too long"
        } else {
            match envelope::unwrap(&fs::read(&path).map_err(io_error("read", &path))?) {
                Ok(body) => return Ok(Some(body.to_owned())),
                Err(why) => why,
            }
        };
        tracing::warn!(file = %path.display(), why, "a job can't be read: it is set aside, in the folder {BROKEN}");
        let aside = self.files.root().join(BROKEN).join(name.file());
        fs::rename(&path, aside).map_err(io_error("set aside", path))?;
        Ok(None)
    }

    /// The names of all messages in a folder, oldest first. What else lies there is warned of once.
    fn names(&self, folder: &str) -> Result<Vec<Name>, Error> {
        let path = self.files.root().join(folder);
        let failed = || io_error("list", &path);
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let file = entry.file_name();
            let name = file.to_str().and_then(Name::parse);
            // Who looks at what vanishes meanwhile: it is none.
            let plain = entry.file_type().is_ok_and(|kind| kind.is_file());
            match name.filter(|_| plain) {
                Some(name) => names.push(name),
                // Temporary files of writers; who opens the queue sweeps away those of the dead.
                None if file.as_encoded_bytes().starts_with(b".") => {}
                None => self.warn(file),
            }
        }
        names.sort();
        Ok(names)
    }

    fn warn(&self, file: OsString) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.len() < WARNED_MAX && !warned.contains(&file) {
            tracing::warn!(queue = self.place(), file = %file.display(), "this is no job and is left alone");
            warned.insert(file);
        }
    }

    /// Waits for the lock, which ends with the file that is given.
    fn lock(&self, doing: &'static str) -> Result<File, Error> {
        let path = self.files.root().join(LOCK);
        let begun = std::time::Instant::now();
        loop {
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
            let file = file.map_err(io_error("open", &path))?;
            match file.try_lock() {
                // One that was removed meanwhile locks nobody out.
                Ok(()) if is_at(&file, &path) => return Ok(file),
                Ok(()) | Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(io_error("lock", path)(error)),
            }
            if begun.elapsed() >= LOCK_WAIT {
                return Err(Error::Slow { doing, place: self.place(), after: LOCK_WAIT });
            }
            std::thread::sleep(LOCK_POLL);
        }
    }

    fn now(&self) -> Millis {
        let since = self.settings.clock.now().duration_since(SystemTime::UNIX_EPOCH);
        Millis::try_from(since.unwrap_or_default().as_millis()).unwrap_or(Millis::MAX)
    }

    fn path(&self, folder: &str, name: &Name) -> PathBuf {
        self.files.root().join(folder).join(name.file())
    }

    /// For people.
    fn place(&self) -> String {
        self.files.root().display().to_string()
    }
}

/// Whether an open file is the one of this name.
fn is_at(file: &File, path: &Path) -> bool {
    let here = |a: fs::Metadata, b: fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    file.metadata().is_ok_and(|a| fs::metadata(path).is_ok_and(|b| here(a, b)))
}

fn time(millis: Millis) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(SystemTime::UNIX_EPOCH)
}
