//! `--help` as manual pages, and completions for bash: written once, when a package is made.
//!
//! Knows nothing of what the commands are: all of it is in `cli`.

use crate::cli::Cli;
use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;
use std::path::Path;
use std::process::ExitCode;

/// Writes `live360.1`, `live360-COMMAND.1` for each command that is shown, and `live360.bash`.
pub(crate) fn write(folder: &Path) -> anyhow::Result<ExitCode> {
    let cannot = || format!("can't write below {}", folder.display());
    clap_mangen::generate_to(Cli::command(), folder).with_context(cannot)?;
    clap_complete::generate_to(Shell::Bash, &mut Cli::command(), "live360", folder).with_context(cannot)?;
    Ok(ExitCode::SUCCESS)
}
