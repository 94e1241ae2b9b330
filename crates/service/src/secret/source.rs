//! Where a secret of the config is: in the value itself, in a file, or among systemd's credentials.
//!
//! `file:PATH` and `credential:NAME` stand for what the file holds, less the newline at its end. Every key that takes a
//! secret takes these, since the config reads all of them here. Reading happens once, when the config is loaded.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The longest secret in a file, in bytes: a line of text, not the wrong file.
const BYTES_MAX: u64 = 64 * 1024;

/// Where a secret is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Source<'a> {
    /// The value is the secret.
    Given,
    /// In this file.
    File(&'a Path),
    /// In the file of this name in the folder that systemd made for this service (`LoadCredential=`).
    Credential(&'a str),
}

/// Why a secret can't be had from where it is said to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRead {
    /// No path behind `file:`, or no plain name behind `credential:`.
    #[error("write file:PATH, or credential:NAME with a name of a-z A-Z 0-9 _ - .")]
    Form,
    /// Not run by systemd with credentials.
    #[error("credential:{0} is a file of systemd's, but this process was given none (no CREDENTIALS_DIRECTORY)")]
    NoCredentials(String),
    /// The system doesn't give it.
    #[error("can't read {path}: {why}")]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's words.
        why: String,
    },
    /// Nothing in it.
    #[error("{0} is empty")]
    Empty(PathBuf),
    /// More in it than a secret.
    #[error("{0} is longer than {BYTES_MAX} bytes, so it is no secret's file")]
    TooLong(PathBuf),
    /// Bytes in it that are no text.
    #[error("{0} is not UTF-8 text")]
    NoText(PathBuf),
}

/// A secret's text, and what an operator should know of its file.
#[derive(PartialEq, Eq)]
pub struct Read {
    /// The secret.
    pub text: String,
    /// The file is open to more than its owner and group.
    pub warning: Option<String>,
}

/// How secrets' files are read.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// systemd's folder for this service.
    pub credentials: Option<PathBuf>,
}

impl<'a> Source<'a> {
    /// Where the value of a secret's key says that it is.
    pub(crate) fn of(value: &'a str) -> Result<Self, NotRead> {
        if let Some(path) = value.strip_prefix("file:") {
            return if path.is_empty() { Err(NotRead::Form) } else { Ok(Self::File(Path::new(path))) };
        }
        let Some(name) = value.strip_prefix("credential:") else { return Ok(Self::Given) };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let good = !name.is_empty() && !name.starts_with('.') && name.chars().all(plain);
        if good { Ok(Self::Credential(name)) } else { Err(NotRead::Form) }
    }
}

impl Files {
    /// The secret that a key's value stands for.
    pub fn resolve(&self, value: &str) -> Result<Read, NotRead> {
        match Source::of(value)? {
            Source::Given => Ok(Read { text: value.to_owned(), warning: None }),
            Source::File(path) => read(path),
            Source::Credential(name) => match &self.credentials {
                Some(folder) => read(&folder.join(name)),
                None => Err(NotRead::NoCredentials(name.to_owned())),
            },
        }
    }
}

fn read(path: &Path) -> Result<Read, NotRead> {
    let failed = |why: io::Error| NotRead::File { path: path.to_owned(), why: why.to_string() };
    let file = File::open(path).map_err(failed)?;
    let facts = file.metadata().map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(NotRead::TooLong(path.to_owned()));
    }
    let text = String::from_utf8(bytes).map_err(|_| NotRead::NoText(path.to_owned()))?;
    // What editors and `echo` put at the end is not meant; anything else may be.
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(NotRead::Empty(path.to_owned()));
    }
    let mode = facts.permissions().mode() & 0o777;
    let open = facts.is_file() && mode & 0o007 != 0;
    let warning = open.then(|| {
        format!(
            "{} holds a secret and is open to everybody on this machine (mode {mode:o}): chmod o= it",
            path.display()
        )
    });
    Ok(Read { text: text.to_owned(), warning })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, expected: Result<Source<'_>, NotRead>) {
        assert_eq!(Source::of(value), expected, "{value}");
    }

    #[test]
    fn a_value_is_the_secret_or_says_where_it_is() {
        check("hunter2", Ok(Source::Given));
        check("profile:x", Ok(Source::Given));
        check("file:/run/secrets/x", Ok(Source::File(Path::new("/run/secrets/x"))));
        check("file:x y", Ok(Source::File(Path::new("x y"))));
        check("credential:publish-key.1", Ok(Source::Credential("publish-key.1")));
        for bad in ["file:", "credential:", "credential:../x", "credential:a/b", "credential:.x", "credential:a b"] {
            check(bad, Err(NotRead::Form));
        }
    }

    /// What a file with this in it, and this mode, gives: the text and whether there is a warning, or the error's words.
    fn read_back(content: &[u8], mode: u32) -> Result<(String, bool), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let files = Files { credentials: Some(folder.path().to_owned()) };
        let by_path = files.resolve(&format!("file:{}", path.display()));
        assert!(by_path == files.resolve("credential:secret"), "both ways lead to the same file");
        let words = |error: NotRead| error.to_string().replace(&path.display().to_string(), "F");
        by_path.map(|read| (read.text, read.warning.is_some())).map_err(words)
    }

    #[test]
    fn a_file_is_read_without_the_newline_at_its_end() {
        assert_eq!(read_back(b"hunter2\n", 0o600), Ok(("hunter2".to_owned(), false)));
        assert_eq!(read_back(b"hunter2\r\n", 0o640), Ok(("hunter2".to_owned(), false)));
        assert_eq!(read_back(b" two\nlines\n\n", 0o600), Ok((" two\nlines\n".to_owned(), false)));
    }

    #[test]
    fn a_file_that_everybody_may_read_or_write_is_warned_of() {
        assert_eq!(read_back(b"s", 0o644), Ok(("s".to_owned(), true)));
        assert_eq!(read_back(b"s", 0o602), Ok(("s".to_owned(), true)));
        assert_eq!(read_back(b"s", 0o660), Ok(("s".to_owned(), false)));
    }

    #[test]
    fn files_that_hold_no_secret_are_named() {
        for (content, expected) in [
            (&b""[..], "F is empty"),
            (b"\n", "F is empty"),
            (b"\xff\xfe", "F is not UTF-8 text"),
            (&[b'x'; BYTES_MAX as usize + 1], "F is longer than 65536 bytes, so it is no secret's file"),
        ] {
            assert_eq!(read_back(content, 0o600), Err(expected.to_owned()));
        }
        assert!(read_back(&[b'x'; BYTES_MAX as usize], 0o600).is_ok());
        let missing = Files::default().resolve("file:/nonexistent/x").err().unwrap();
        assert_eq!(missing.to_string(), "can't read /nonexistent/x: No such file or directory (os error 2)");
        let folder = Files::default().resolve("file:/").err().unwrap();
        assert_eq!(folder.to_string(), "can't read /: Is a directory (os error 21)");
        let none = Files::default().resolve("credential:x").err().unwrap();
        let words = "credential:x is a file of systemd's, but this process was given none (no CREDENTIALS_DIRECTORY)";
        assert_eq!(none.to_string(), words);
    }
}
