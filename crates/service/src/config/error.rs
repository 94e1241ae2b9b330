//! Why a configuration was refused, in words that name the key, the value and what is allowed.

use crate::secret::NotRead;
use std::path::PathBuf;

/// Why a configuration was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read the config file {path}: {why}")]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's words.
        why: String,
    },
    /// The file is not TOML. The line itself is not shown: it may hold a secret.
    #[error("{path}, line {line}: this is not TOML: {why}")]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The parser's words.
        why: String,
    },
    /// A `--set` without a key or without `=`.
    #[error("--set {given}: write --set KEY=VALUE, for example --set edge.http=127.0.0.1:8088")]
    Set {
        /// What stood there.
        given: String,
    },
    /// A key that doesn't exist.
    #[error("{key} = {value} ({from}): there is no such key; {instead}")]
    Unknown {
        /// The whole key.
        key: String,
        /// Its value, unless it may be a misspelt secret.
        value: String,
        /// Where it was given.
        from: String,
        /// What there is.
        instead: String,
    },
    /// A value that is not allowed.
    #[error("{key} = {value} ({from}): allowed is {allowed}")]
    Value {
        /// The whole key.
        key: String,
        /// Its value as TOML; hidden if it is a secret.
        value: String,
        /// Where it was given.
        from: String,
        /// What would be.
        allowed: String,
    },
    /// A secret that is not where its key says.
    #[error("{key} ({from}): {why}")]
    Secret {
        /// The whole key.
        key: String,
        /// Where it was given.
        from: String,
        /// What is wrong with the place.
        why: NotRead,
    },
    /// A value that is right but not built yet.
    #[error("{key} = {value} ({from}): not available in this version yet; allowed is {allowed}")]
    NotYet {
        /// The whole key.
        key: String,
        /// Its value.
        value: String,
        /// Where it was given.
        from: String,
        /// What is.
        allowed: String,
    },
}
