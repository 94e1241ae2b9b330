//! The commands that an operator runs against a server: options to settings, outcome to exit code.

use crate::cli::{Lint, Testsource};
use crate::runtime;
use service::shutdown::Signals;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tools::lint::{self, CannotLook, Options, Outcome};
use tools::testsource;

/// `lint`: rules are broken.
const BREACHES: u8 = 1;

/// `lint`: there was nothing to look at.
const CANNOT_LOOK: u8 = 2;

/// Publishes the test picture until its time is over, a signal, or a failure.
pub(crate) fn testsource(options: Testsource) -> anyhow::Result<ExitCode> {
    let options = testsource::Options {
        url: options.url,
        width: options.size.0,
        height: options.size.1,
        frame_rate: options.fps,
        keyframe_s: options.keyint,
        bitrate: options.bitrate,
        audio: !options.no_audio,
        duration: options.duration.map(Duration::from_secs_f64),
        reconnect: options.reconnect.map(Duration::from_secs_f64),
        ..testsource::Options::default()
    };
    match runtime()?.block_on(publish(options)) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("live360: {error}");
            let wrong_usage = matches!(error, testsource::Error::Address(_) | testsource::Error::Option { .. });
            Ok(ExitCode::from(if wrong_usage { crate::WRONG_USAGE } else { crate::FAILED }))
        }
    }
}

/// The first signal lets it say goodbye to the server, the second one doesn't wait for that.
async fn publish(options: testsource::Options) -> Result<(), testsource::Error> {
    let stop = CancellationToken::new();
    let mut publishing = std::pin::pin!(testsource::run(options, stop.clone()));
    // Without signals, which only a system short of everything refuses, the default action ends the process.
    let Ok(mut signals) = Signals::take() else { return publishing.await };
    tokio::select! {
        outcome = publishing.as_mut() => return outcome,
        _ = signals.next() => stop.cancel(),
    }
    tokio::select! {
        outcome = publishing => outcome,
        _ = signals.next() => Ok(()),
    }
}

/// Looks at a stream and prints the report.
pub(crate) fn lint(options: Lint) -> anyhow::Result<ExitCode> {
    let as_json = options.json;
    let options = Options {
        watch: options.watch.map(Duration::from_secs_f64),
        strict: options.strict,
        accept: options.accept,
        ca: options.ca,
        insecure: options.insecure,
        ..Options::new(options.url)
    };
    let report = match runtime()?.block_on(lint::run(options)) {
        Ok(report) => report,
        Err(error @ CannotLook::Accept { .. }) => {
            eprintln!("live360: --accept: {error}");
            return Ok(ExitCode::from(crate::WRONG_USAGE));
        }
        Err(error) => {
            eprintln!("live360: {error}");
            return Ok(ExitCode::from(CANNOT_LOOK));
        }
    };
    let text = if as_json { report.to_json() + "\n" } else { report.to_string() };
    // Whoever closed the pipe has read enough; the exit code still tells.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(match report.outcome() {
        Outcome::Clean => ExitCode::SUCCESS,
        Outcome::Breaches => ExitCode::from(BREACHES),
    })
}
