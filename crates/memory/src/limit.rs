//! How many files a process may have, and how many of them are for memory files.

use crate::{FILES_MAX, FILES_SHARE};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::sync::OnceLock;

/// Raises the process's limit on open files as far as it may by itself; gives what it is then. Many systems start
/// programs with 1024, for the sake of those that count on small numbers (select(2)): ours don't.
pub fn raise_open_files() -> io::Result<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    }
    Ok(maximum.unwrap_or(u64::MAX))
}

/// Most memory files, by the limit as it was at the first look.
pub(crate) fn files() -> usize {
    static FILES: OnceLock<usize> = OnceLock::new();
    *FILES.get_or_init(|| most(getrlimit(Resource::Nofile).current))
}

fn most(open_files: Option<u64>) -> usize {
    let open_files = open_files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    FILES_MAX.min(open_files / FILES_SHARE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_files_leave_most_descriptors_to_connections() {
        for (open_files, expected) in [(Some(0), 0), (Some(1024), 256), (Some(20_000), 5000), (None, FILES_MAX)] {
            assert_eq!(most(open_files), expected);
        }
    }
}
