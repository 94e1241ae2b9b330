//! `live360 load`: options to settings, progress to stderr, report to stdout, objective to exit code.

use crate::cli::Load;
use crate::runtime;
use service::shutdown::Signals;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tools::load::{self, CannotRun, Options, Progress, Report};

/// The objective was missed.
const MISSED: u8 = 1;

/// There was no run.
const CANNOT_RUN: u8 = 2;

/// Loads and prints the report.
pub(crate) fn load(args: Load) -> anyhow::Result<ExitCode> {
    let objective = match args.objective() {
        Ok(objective) => objective,
        Err(error) => {
            eprintln!("live360: --objective: {error}");
            return Ok(ExitCode::from(crate::WRONG_USAGE));
        }
    };
    // Every viewer has several connections.
    if let Err(error) = memory::raise_open_files() {
        tracing::warn!(%error, "can't have more open files than the system's default: fewer viewers at a time");
    }
    let (as_json, quiet) = (args.json, args.quiet);
    match runtime()?.block_on(run(options(args, objective), quiet)) {
        Ok(report) => {
            let text = if as_json { report.to_json() + "\n" } else { report.to_string() };
            // Whoever closed the pipe has read enough; the exit code still tells.
            let _ = std::io::stdout().write_all(text.as_bytes());
            Ok(if report.met() { ExitCode::SUCCESS } else { ExitCode::from(MISSED) })
        }
        Err(error) => {
            eprintln!("live360: {error}");
            let wrong_usage = matches!(error, CannotRun::Option { .. });
            Ok(ExitCode::from(if wrong_usage { crate::WRONG_USAGE } else { CANNOT_RUN }))
        }
    }
}

fn options(args: Load, objective: load::Objective) -> Options {
    let seconds = Duration::from_secs_f64;
    Options {
        viewers: args.viewers,
        duration: seconds(args.duration),
        ramp: seconds(args.ramp.unwrap_or(args.duration / 6.0)),
        dvr: args.dvr,
        churn: args.churn.map(seconds),
        rung: args.rung,
        low_latency: !args.no_low_latency,
        hints: !args.no_hints,
        buffer: seconds(args.buffer),
        plain: args.plain,
        version: args.http.into(),
        connections: args.connections,
        threads: args.threads,
        sources: args.source,
        seed: args.seed,
        ca: args.ca,
        insecure: args.insecure,
        anywhere: args.i_may_load_this_host,
        objective,
        ..Options::new(args.url)
    }
}

/// The first signal ends the run early, and the report is of what there was; the second one doesn't wait for it.
async fn run(options: Options, quiet: bool) -> Result<Report, CannotRun> {
    let stop = CancellationToken::new();
    let terminal = std::io::stderr().is_terminal();
    let show = move |progress: Progress| {
        if !quiet {
            let line = line(&progress);
            eprint!("{}{line}{}", if terminal { "\r" } else { "" }, if terminal { "\x1b[K" } else { "\n" });
        }
    };
    let mut running = std::pin::pin!(load::run(options, stop.clone(), show));
    let outcome = match Signals::take() {
        // Without signals, which only a system short of everything refuses, the default action ends the process.
        Err(_) => running.await,
        Ok(mut signals) => {
            tokio::select! {
                outcome = running.as_mut() => outcome,
                _ = signals.next() => {
                    stop.cancel();
                    tokio::select! {
                        outcome = running => outcome,
                        _ = signals.next() => Err(std::io::Error::other("told twice to end").into()),
                    }
                }
            }
        }
    };
    if terminal && !quiet {
        eprintln!();
    }
    outcome
}

fn line(progress: &Progress) -> String {
    let Progress { seconds, viewers, stalled, requests, errors, bits_per_s } = progress;
    format!(
        "{seconds:5.0} s  {viewers} viewers, {stalled} stalled  {requests} requests, {errors} errors  {:.1} Mbit/s",
        bits_per_s / 1e6
    )
}
