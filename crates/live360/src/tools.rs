//! The commands that an operator runs against a server: options to settings, outcome to exit code.

use crate::cli::{Lint, Testsource};
use crate::runtime;
use service::shutdown::Signals;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tools::lint::{CannotLook, Options, Outcome};

/// `lint`: rules are broken.
const BREACHES: u8 = 1;

/// `lint`: there was nothing to look at.
const CANNOT_LOOK: u8 = 2;

/// Publishes the test picture until its time is over, a signal, or a failure.
pub(crate) fn testsource(options: Testsource) -> anyhow::Result<ExitCode> {
    let settings = tools::testsource::Settings {
        url: options.url,
        width: options.size.0,
        height: options.size.1,
        frame_rate: options.fps,
        keyint: Duration::from_secs_f64(options.keyint),
        bitrate: options.bitrate,
        audio: !options.no_audio,
        duration: options.duration.map(Duration::from_secs_f64),
    };
    runtime()?
        .block_on(async {
            let mut signals = Signals::take()?;
            let stop = CancellationToken::new();
            let mut publishing = std::pin::pin!(tools::testsource::run(settings, stop.clone()));
            tokio::select! {
                outcome = publishing.as_mut() => return Ok(outcome?),
                _ = signals.next() => stop.cancel(),
            }
            tokio::select! {
                outcome = publishing => Ok(outcome?),
                _ = signals.next() => Ok(()),
            }
        })
        .map(|()| ExitCode::SUCCESS)
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
    let report = match runtime()?.block_on(tools::lint::run(options)) {
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
