//! The `live360` binary: command line to configuration, configuration to running tiers, outcome to exit code.
//!
//! No logic of its own. The only crate that reads the environment, installs logger and recorder, and ends the process.
#![forbid(unsafe_code)]

mod balancer;
mod cli;
mod control;
mod key;
mod leaving;
mod manager;
mod manual;
mod process;
mod steering;
mod tiers;
mod token;
#[cfg(feature = "tools")]
mod tools;
#[cfg(feature = "transcoder")]
mod vod;

use clap::Parser as _;
use clap::error::ErrorKind;
use cli::{Cli, Command, Serve};
use service::config::{ConfigError, Role};
use service::outbound::BadRoots;
use service::tls::TlsError;
use std::process::ExitCode;
use steering::Sources;

/// The command line or the configuration was wrong (EX_USAGE of sysexits.h).
const WRONG_USAGE: u8 = 64;

/// It was tried and went wrong.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let outcome = match cli.command {
        #[cfg(all(feature = "origin", feature = "transcoder"))]
        Command::All(options) => serve(Role::All, options, cli.log),
        #[cfg(feature = "origin")]
        Command::Origin(options) => serve(Role::Origin, options, cli.log),
        Command::Edge(options) => serve(Role::Edge, options, cli.log),
        #[cfg(feature = "transcoder")]
        Command::Transcoder(options) => serve(Role::Transcoder, options, cli.log),
        #[cfg(feature = "transcoder")]
        Command::Vod(options) => vod::run(options, cli.log),
        Command::Key(options) => key::run(&options),
        Command::Token(options) => token::run(&options),
        #[cfg(feature = "tools")]
        Command::Testsource(options) => logging(cli.log).and_then(|()| tools::testsource(options)),
        #[cfg(feature = "tools")]
        Command::Lint(options) => logging(cli.log).and_then(|()| tools::lint(options)),
        #[cfg(feature = "tools")]
        Command::Load(options) => logging(cli.log).and_then(|()| tools::load(options)),
        #[cfg(any(feature = "origin", feature = "transcoder"))]
        Command::LadderChild => ladder_child(),
        #[cfg(feature = "transcoder")]
        Command::VodChild => vod_child(),
        Command::HelpFiles { folder } => manual::write(&folder),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("live360: {error:#}");
        ExitCode::from(if is_the_configs(&error) { WRONG_USAGE } else { FAILED })
    })
}

/// Whether the configuration must be mended, and not the machine.
fn is_the_configs(error: &anyhow::Error) -> bool {
    #[cfg(feature = "origin")]
    if error.downcast_ref::<origin::Error>().is_some_and(origin::Error::is_the_configs) {
        return true;
    }
    error.is::<ConfigError>()
        || error.is::<BadRoots>()
        || error.downcast_ref::<TlsError>().is_some_and(TlsError::is_the_configs)
        || error.downcast_ref::<edge::Error>().is_some_and(edge::Error::is_the_configs)
}

/// Help and version are what was asked for; all else is a wrong command line.
fn refuse(error: &clap::Error) -> ExitCode {
    if let Some(words) = cli::not_built(error) {
        eprintln!("live360: {words}");
        return ExitCode::from(WRONG_USAGE);
    }
    // A pipe that was closed has nobody to tell.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(WRONG_USAGE),
    }
}

fn serve(role: Role, options: Serve, log: Option<String>) -> anyhow::Result<ExitCode> {
    let mut sets = options.set;
    sets.extend(log_level(log));
    let sources = Sources { file: options.config, sets };
    let loaded = sources.read()?;
    let log = service::telemetry::install_logger(&loaded.config.log)?;
    loaded.config.warnings.iter().for_each(|words| tracing::warn!("{words}"));
    runtime()?.block_on(process::run(role, sources, loaded, log))?;
    Ok(ExitCode::SUCCESS)
}

/// Logs for a tool, which has no configuration: the level is all there is to choose.
#[cfg(feature = "tools")]
fn logging(log: Option<String>) -> anyhow::Result<()> {
    let sets: Vec<String> = log_level(log).into_iter().collect();
    let config = service::config::load(None, std::iter::empty(), &sets)?;
    service::telemetry::install_logger(&config.log)?;
    Ok(())
}

fn log_level(log: Option<String>) -> Option<String> {
    log.map(|level| format!("log.level={level}"))
}

/// What of the environment is text; a name that isn't can't be a key of ours.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

#[cfg(any(feature = "origin", feature = "transcoder"))]
fn ladder_child() -> anyhow::Result<ExitCode> {
    codec::child::serve()?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(feature = "transcoder")]
fn vod_child() -> anyhow::Result<ExitCode> {
    codec::vod::serve()?;
    Ok(ExitCode::SUCCESS)
}
