//! Starting the child, with its limits set between fork and exec.
#![allow(unsafe_code)]

use crate::Error;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::{OnceLock, mpsc};
use tokio::process::{self, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

type Task = Box<dyn FnOnce() + Send>;

/// What the kernel holds a child to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Memory it may allocate.
    pub(crate) memory_bytes: u64,
    /// Processor time of all its threads together, in s.
    pub(crate) cpu_s: Option<u64>,
    /// Files it may have open at a time.
    pub(crate) files: Option<u64>,
    /// Added to the parent's niceness.
    pub(crate) niceness: libc::c_int,
    /// Whether the kernel takes this child before anybody else where memory is short.
    pub(crate) expendable: bool,
}

/// What the kernel gives a child between telling it that its time is up and ending it, in s. It does not listen, so the
/// first ends it.
const CPU_GRACE_S: u64 = 5;

/// What systemd, a terminal or an administrator send to all processes of a service at once. Only the parent decides: it ends its
/// children by closing their pipes, by SIGKILL, or by going itself.
const FOR_THE_PARENT: [libc::c_int; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

/// Starts `exe argument` with piped stdin, stdout and stderr, no environment, and limits.
pub(crate) async fn spawn(exe: &Path, argument: &str, bounds: Bounds) -> Result<process::Child, Error> {
    let mut command = Command::new(exe);
    command.arg(argument).env_clear().process_group(0).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let parent = std::process::id();
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; `restrict` makes nothing but system
    // calls and allocates nothing.
    unsafe { command.pre_exec(move || restrict(parent, bounds)) };
    let failed = || {
        Error::io(match argument {
            super::COMMAND => "starting the ladder's process",
            _ => "starting the encoding process",
        })
    };
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
fn restrict(parent: u32, bounds: Bounds) -> io::Result<()> {
    // SAFETY: system calls with plain numbers, and a pointer to a struct that lives through the call.
    unsafe {
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        // The parent may have died before the call above.
        if libc::getppid().cast_unsigned() != parent {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        for signal in FOR_THE_PARENT {
            // What is ignored stays so through exec.
            if libc::signal(signal, libc::SIG_IGN) == libc::SIG_ERR {
                return Err(io::Error::last_os_error());
            }
        }
        if bounds.expendable {
            expend();
        }
        // Private memory, not address space: threads reserve much of that and use little. No files, no core dumps.
        limit(libc::RLIMIT_DATA, bounds.memory_bytes, bounds.memory_bytes)?;
        limit(libc::RLIMIT_FSIZE, 0, 0)?;
        limit(libc::RLIMIT_CORE, 0, 0)?;
        if let Some(seconds) = bounds.cpu_s {
            limit(libc::RLIMIT_CPU, seconds, seconds.saturating_add(CPU_GRACE_S))?;
        }
        if let Some(files) = bounds.files {
            limit(libc::RLIMIT_NOFILE, files, files)?;
        }
        // Its result is the new niceness, which may be -1; that it did not work is no reason not to run.
        libc::nice(bounds.niceness);
    }
    Ok(())
}

/// Makes the kernel's choice this process. That it did not work is no reason not to run.
fn expend() {
    const MOST: &[u8] = b"1000";
    // SAFETY: system calls with static strings and their lengths, all of them async-signal-safe.
    unsafe {
        let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if file >= 0 {
            libc::write(file, MOST.as_ptr().cast(), MOST.len());
            libc::close(file);
        }
    }
}

fn limit(resource: libc::__rlimit_resource_t, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: a system call with a pointer to a struct that lives through it.
    check(unsafe { libc::setrlimit(resource, &limit) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
