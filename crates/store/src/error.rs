//! Why something could not be done, in words that name the place and never a credential.

use crate::key::BadKey;
use crate::place::BadPlace;
use crate::queue::BadQueue;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::Duration;

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key is none.
    #[error(transparent)]
    Key(#[from] BadKey),
    /// The store's address is none.
    #[error(transparent)]
    Place(#[from] BadPlace),
    /// The queue's address is none.
    #[error(transparent)]
    Queue(#[from] BadQueue),
    /// A message is not ours any more: its time ran out and somebody else has it, or it was given back or done.
    #[error("can't {doing} {place}: the message is not held any more")]
    Lost {
        /// What was tried.
        doing: &'static str,
        /// The queue.
        place: String,
    },
    /// A queue does not take this, or no more of it.
    #[error("can't {doing} {place}: {limit}")]
    Limit {
        /// What was tried.
        doing: &'static str,
        /// The queue.
        place: String,
        /// The limit, with its unit.
        limit: String,
    },
    /// The system said no.
    #[error("can't {doing} {path}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// One key is a file where another needs a folder. (A bucket holds both; a folder can't.)
    #[error("can't write {path}: where a file would be is a folder, or the other way round")]
    Clash {
        /// The file that was not written.
        path: PathBuf,
    },
    /// It took too long. Whether it was done all the same is not known.
    #[error("can't {doing} {place}: not done within {} s", .after.as_secs_f32())]
    Slow {
        /// What was tried.
        doing: &'static str,
        /// On what.
        place: String,
        /// After which time it was given up.
        after: Duration,
    },
    /// The bucket's keeper said no, or nothing.
    #[error("can't {doing} {place}: {why}")]
    Remote {
        /// What was tried.
        doing: &'static str,
        /// On what: `s3://bucket/key`.
        place: String,
        /// What was answered, or what kept the question from being asked.
        why: String,
        /// What that means for who asked.
        trouble: Trouble,
    },
    /// There is more of it than was wanted.
    #[error("can't read {place}: it is longer than {limit} bytes")]
    TooLarge {
        /// The object.
        place: String,
        /// The most that was wanted, in bytes.
        limit: u64,
    },
    /// It ended before its end.
    #[error("can't read {place}: {got} of {length} bytes came")]
    Short {
        /// The object.
        place: String,
        /// Bytes that came.
        got: u64,
        /// Bytes that were announced.
        length: u64,
    },
}

/// What a bucket's refusal means for who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It passes by itself: worth trying again.
    Away,
    /// There is no room left.
    Full,
    /// It stays until somebody changes something: no such bucket, not allowed, not understood.
    Refused,
}

impl Error {
    /// Whether there is no room left: the disk or the quota on it is full.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded),
            Self::Remote { trouble, .. } => *trouble == Trouble::Full,
            _ => false,
        }
    }

    /// Whether the store can't be reached, or is too busy or broken to answer: worth trying again later.
    pub fn is_away(&self) -> bool {
        match self {
            Self::Slow { .. } | Self::Short { .. } => true,
            Self::Remote { trouble, .. } => *trouble == Trouble::Away,
            // Of folders that are somewhere on the network.
            Self::Io { source, .. } => matches!(
                source.kind(),
                ErrorKind::TimedOut
                    | ErrorKind::StaleNetworkFileHandle
                    | ErrorKind::HostUnreachable
                    | ErrorKind::NetworkUnreachable
                    | ErrorKind::NetworkDown
                    | ErrorKind::ConnectionReset
                    | ErrorKind::NotConnected
            ),
            Self::Key(_)
            | Self::Place(_)
            | Self::Queue(_)
            | Self::Lost { .. }
            | Self::Limit { .. }
            | Self::Clash { .. }
            | Self::TooLarge { .. } => false,
        }
    }

    /// Whether a message was lost to somebody else: what was done for it must be left alone from now on.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost { .. })
    }
}

/// Wraps the system's words.
pub(crate) fn io_error(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
    let path = path.into();
    move |source| Error::Io { doing, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(trouble: Trouble) -> Error {
        Error::Remote { doing: "write", place: "s3://b/k".to_owned(), why: "x".to_owned(), trouble }
    }

    fn system(kind: ErrorKind) -> Error {
        io_error("write", "a/b")(kind.into())
    }

    #[test]
    fn what_passes_by_itself_is_away_and_what_lacks_room_is_full() {
        let slow = || Error::Slow { doing: "read", place: "s3://b/k".to_owned(), after: Duration::from_millis(1500) };
        let clash = || Error::Clash { path: "a".into() };
        for (error, away, full) in [
            (remote(Trouble::Away), true, false),
            (remote(Trouble::Full), false, true),
            (remote(Trouble::Refused), false, false),
            (slow(), true, false),
            (clash(), false, false),
            (system(ErrorKind::StorageFull), false, true),
            (system(ErrorKind::QuotaExceeded), false, true),
            (system(ErrorKind::TimedOut), true, false),
            (system(ErrorKind::PermissionDenied), false, false),
        ] {
            assert_eq!((error.is_away(), error.is_full()), (away, full), "{error}");
        }
        assert_eq!(slow().to_string(), "can't read s3://b/k: not done within 1.5 s");
    }
}
