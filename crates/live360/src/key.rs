//! `live360 key`: a key for an encoder, and its hash for the configuration.
//!
//! Key and hash go to stdout, one a line, for people and scripts; whoever keeps only the hash can't publish with it.

use crate::cli::Key;
use anyhow::{Context as _, bail};
use service::hashed::{self, KEY_BYTES_MAX};
use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::process::ExitCode;

/// Prints a key that nobody can guess with its hash, or the hash of the one that stdin gives.
pub(crate) fn run(options: &Key) -> anyhow::Result<ExitCode> {
    let lines = if options.own {
        format!("hash  {}\n", hashed::slow(&own()?)?)
    } else {
        let key = hashed::random_key()?;
        format!("key   {key}\nhash  {}\n", hashed::fast(&key))
    };
    std::io::stdout().write_all(lines.as_bytes()).context("can't write to stdout")?;
    Ok(ExitCode::SUCCESS)
}

/// The first line of stdin.
fn own() -> anyhow::Result<String> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprintln!("The key (it is shown while you type):");
    }
    let mut line = String::new();
    stdin.lock().take(2 * KEY_BYTES_MAX as u64).read_line(&mut line).context("can't read the key from stdin")?;
    let key = line.trim_end_matches(['\r', '\n']);
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        bail!("a key has 1 to {KEY_BYTES_MAX} bytes");
    }
    Ok(key.to_owned())
}
