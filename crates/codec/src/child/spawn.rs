//! Starting the child, with its limits set between fork and exec.
#![allow(unsafe_code)]

use super::COMMAND;
use crate::Error;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::{OnceLock, mpsc};
use tokio::process::{self, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Added to the parent's niceness: taking a stream in comes before encoding it.
const NICENESS: libc::c_int = 5;

type Task = Box<dyn FnOnce() + Send>;

/// Starts `exe ladder-child` with piped stdin, stdout and stderr, no environment, and limits.
pub(super) async fn spawn(exe: &Path, memory_bytes: u64) -> Result<process::Child, Error> {
    let mut command = Command::new(exe);
    command.arg(COMMAND).env_clear().process_group(0).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let parent = std::process::id();
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; `restrict` makes nothing but system
    // calls and allocates nothing.
    unsafe { command.pre_exec(move || restrict(parent, memory_bytes)) };
    let failed = || Error::io("starting the ladder's process");
    let spawner = spawner().ok_or_else(|| failed()(io::ErrorKind::OutOfMemory.into()))?;
    let (sender, spawned) = oneshot::channel();
    let runtime = Handle::current();
    let task: Task = Box::new(move || {
        let _runtime = runtime.enter();
        drop(sender.send(command.spawn()));
    });
    spawner.send(task).map_err(|_| failed()(io::ErrorKind::BrokenPipe.into()))?;
    spawned.await.map_err(|_| failed()(io::ErrorKind::BrokenPipe.into()))?.map_err(failed())
}

/// The thread that forks. PR_SET_PDEATHSIG fires when the *thread* that forked ends, and tokio's threads come and go;
/// this one lasts as long as the process, waiting for work.
fn spawner() -> Option<&'static mpsc::Sender<Task>> {
    static SPAWNER: OnceLock<Option<mpsc::Sender<Task>>> = OnceLock::new();
    let start = || {
        let (sender, tasks) = mpsc::channel::<Task>();
        let thread = std::thread::Builder::new().name("ladder-spawner".to_owned());
        thread.spawn(move || tasks.iter().for_each(|task| task())).ok().map(|_| sender)
    };
    SPAWNER.get_or_init(start).as_ref()
}

/// Runs in the child before exec.
fn restrict(parent: u32, memory_bytes: u64) -> io::Result<()> {
    // SAFETY: system calls with plain numbers, and a pointer to a struct that lives through the call.
    unsafe {
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        // The parent may have died before the call above.
        if libc::getppid().cast_unsigned() != parent {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        // Private memory, not address space: threads reserve much of that and use little. No files, no core dumps.
        for (resource, value) in [(libc::RLIMIT_DATA, memory_bytes), (libc::RLIMIT_FSIZE, 0), (libc::RLIMIT_CORE, 0)] {
            let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
            check(libc::setrlimit(resource, &limit))?;
        }
        // Its result is the new niceness, which may be -1; that it did not work is no reason not to run.
        libc::nice(NICENESS);
    }
    Ok(())
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
