//! The commands that an operator runs against a server: options to settings, outcome to exit code.

mod load;

pub(crate) use load::load;

use crate::cli::{Lint, Testsource};
use crate::runtime;
use service::shutdown::Signals;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tools::lint::{self, CannotLook, Options, Outcome, Watcher};
use tools::testsource;

/// `lint`: rules are broken.
const BREACHES: u8 = 1;

/// `lint`: there was nothing to look at.
const CANNOT_LOOK: u8 = 2;

/// With `lint --forever`: the least time from one look to the next, for streams that are looked at quickly.
const LOOK_EVERY: Duration = Duration::from_secs(10);

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
    let (forever, textfile) = (options.forever, options.textfile);
    let options = Options {
        watch: options.watch.map(Duration::from_secs_f64),
        strict: options.strict,
        accept: options.accept,
        ca: options.ca,
        insecure: options.insecure,
        ..Options::new(options.url)
    };
    if forever {
        return Ok(runtime()?.block_on(watch(options, as_json, textfile.as_deref())));
    }
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

/// Looks again and again until a signal, and says what is new.
async fn watch(options: Options, as_json: bool, textfile: Option<&Path>) -> ExitCode {
    let mut watcher = Watcher::default();
    let looking = async {
        loop {
            let began = Instant::now();
            let look = lint::run(options.clone()).await;
            if let Err(error @ CannotLook::Accept { .. }) = &look {
                eprintln!("live360: --accept: {error}");
                return true;
            }
            for event in watcher.take(&look, SystemTime::now()) {
                let line = if as_json { event.to_json() } else { event.to_string() };
                // Who reads the lines has gone: nobody is left to watch for.
                if writeln!(std::io::stdout(), "{line}").is_err() {
                    return false;
                }
            }
            if let Some(file) = textfile
                && let Err(error) = replace(file, &watcher.metrics(&options.url))
            {
                tracing::warn!(file = %file.display(), %error, "can't write the metrics");
            }
            tokio::time::sleep_until(began + LOOK_EVERY).await;
        }
    };
    let wrong_usage = match Signals::take() {
        // Without signals, which only a system short of everything refuses, the default action ends the process.
        Err(_) => looking.await,
        Ok(mut signals) => {
            tokio::select! {
                wrong = looking => wrong,
                _ = signals.next() => false,
            }
        }
    };
    if wrong_usage {
        return ExitCode::from(crate::WRONG_USAGE);
    }
    match watcher.outcome() {
        Some(Outcome::Clean) => ExitCode::SUCCESS,
        Some(Outcome::Breaches) => ExitCode::from(BREACHES),
        None => ExitCode::from(CANNOT_LOOK),
    }
}

/// Writes a file so that whoever reads it sees the old or the new one, whole.
fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    std::fs::write(&name, text)?;
    std::fs::rename(&name, file)
}
