//! A certificate and its key in two files that somebody else keeps new.
//!
//! Both are replaced one after the other, so they are read again only once they were found the same twice.

use super::TlsError;
use super::certificate::{Certificate, Flaw};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// The keys that name the files.
const CERT: &str = "edge.tls_cert";
const KEY: &str = "edge.tls_key";

/// The two files.
#[derive(Debug)]
pub(super) struct Files {
    cert: PathBuf,
    key: PathBuf,
    seen: Mutex<Seen>,
}

/// What two files look like from outside; `None` if one can't be looked at.
type Looks = [Option<(SystemTime, u64, u64)>; 2];

/// What is remembered of how the files looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    /// When they were last read.
    read: Looks,
    /// At the last look.
    last: Looks,
}

impl Seen {
    /// Whether to read the files, which look so now.
    fn look(&mut self, now: Looks) -> bool {
        let settled = now == std::mem::replace(&mut self.last, now);
        let read = settled && now != self.read;
        if read {
            self.read = now;
        }
        read
    }
}

impl Files {
    /// Reads the files for the first time.
    pub(super) fn open(cert: PathBuf, key: PathBuf, now: SystemTime) -> Result<(Self, Certificate), TlsError> {
        // Looked at before they are read: what changes meanwhile is then read again.
        let looks = [&cert, &key].map(|path| look(path));
        let files = Self { cert, key, seen: Mutex::new(Seen { read: looks, last: looks }) };
        let certificate = files.read(now)?;
        Ok((files, certificate))
    }

    /// Reads the files again if they are others. What can't be used is reported once.
    pub(super) fn look(&self, now: SystemTime) -> Option<Result<Certificate, TlsError>> {
        let looks = [&self.cert, &self.key].map(|path| look(path));
        let read = self.seen.lock().unwrap_or_else(PoisonError::into_inner).look(looks);
        read.then(|| self.read(now))
    }

    fn read(&self, now: SystemTime) -> Result<Certificate, TlsError> {
        let (cert, key) = (read(CERT, &self.cert)?, read(KEY, &self.key)?);
        let certificate = Certificate::read(&cert, &key).and_then(|certificate| certificate.unexpired(now));
        certificate.map_err(|flaw| self.flawed(&flaw))
    }

    fn flawed(&self, flaw: &Flaw) -> TlsError {
        let (key, path) = if flaw.is_the_keys() { (KEY, &self.key) } else { (CERT, &self.cert) };
        TlsError::File { key, path: path.clone(), why: flaw.to_string() }
    }
}

/// Reads a file that a key of the config names.
pub(super) fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|why| {
        let why = format!("can't read it ({why}): give a PEM file that this process may read");
        TlsError::File { key, path: path.to_owned(), why }
    })
}

fn look(path: &Path) -> Option<(SystemTime, u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::super::certificate::tests::{FROM, at, pair};
    use super::*;
    use std::time::Duration;

    fn looks(n: u64) -> Looks {
        [Some((SystemTime::UNIX_EPOCH + Duration::from_secs(n), n, n)), None]
    }

    #[test]
    fn files_are_read_again_once_they_are_others_and_keep_still() {
        let mut seen = Seen { read: looks(0), last: looks(0) };
        for (now, expected) in [(0, false), (1, false), (2, false), (2, true), (2, false), (0, false), (0, true)] {
            assert_eq!(seen.look(looks(now)), expected, "{now}");
        }
    }

    /// The files' folder, and what [`Files::open`] says of such files.
    fn open(cert: Option<&str>, key: Option<&str>, now: u64) -> (tempfile::TempDir, Result<Files, String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str, text: Option<&str>| {
            let path = folder.path().join(name);
            text.iter().for_each(|text| fs::write(&path, text).unwrap());
            path
        };
        let opened = Files::open(path("cert.pem", cert), path("key.pem", key), at(now));
        let base = folder.path().display().to_string();
        let opened = opened.map(|(files, _)| files).map_err(|error| {
            assert!(error.is_the_configs());
            error.to_string().replace(&base, "…")
        });
        (folder, opened)
    }

    #[test]
    fn what_can_not_be_used_is_named_with_its_key_and_what_to_do() {
        let ((cert, key), (other, _)) = (pair("a.example", 60), pair("b.example", 60));
        for (cert, key, now, expected) in [
            (
                None,
                Some(&*key),
                FROM,
                "edge.tls_cert = …/cert.pem: can't read it (No such file or directory (os error 2)): give a PEM file that \
                 this process may read",
            ),
            (
                Some(&*cert),
                None,
                FROM,
                "edge.tls_key = …/key.pem: can't read it (No such file or directory (os error 2)): give a PEM file that \
                 this process may read",
            ),
            (
                Some(""),
                Some(&*key),
                FROM,
                "edge.tls_cert = …/cert.pem: there is no certificate in it: give a PEM file, the server's own certificate \
                 first",
            ),
            (
                Some(&*other),
                Some(&*key),
                FROM,
                "edge.tls_key = …/key.pem: this is not the private key of the certificate: give the two that were made \
                 together",
            ),
            (
                Some(&*cert),
                Some(&*key),
                FROM + 60,
                "edge.tls_cert = …/cert.pem: it expired on 2023-11-14T22:14:20Z: renew it",
            ),
        ] {
            assert_eq!(open(cert, key, now).1.unwrap_err(), expected);
        }
    }

    #[test]
    fn new_files_are_taken_up_and_broken_ones_are_complained_of_once() {
        let ((cert, key), (next, next_key)) = (pair("a.example", 60), pair("b.example", 60));
        let (folder, files) = open(Some(&cert), Some(&key), FROM);
        let (files, now) = (files.unwrap(), at(FROM));
        assert!(files.look(now).is_none());
        fs::write(folder.path().join("cert.pem"), next).unwrap();
        assert!(files.look(now).is_none());
        assert!(files.look(now).unwrap().is_err());
        assert!(files.look(now).is_none());
        fs::write(folder.path().join("key.pem"), next_key).unwrap();
        assert!(files.look(now).is_none());
        assert!(files.look(now).unwrap().unwrap().names.contains("b.example"));
        assert!(files.look(now).is_none());
    }
}
