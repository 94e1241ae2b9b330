//! `vod list|retry|redrive`: options to the transcoder's own acts, outcome to words and exit code.
//!
//! What a job is, and what trying again means, is `transcoder::manage`'s affair.

use crate::cli::{Configured, Vod, VodAct};
use crate::{FAILED, environment, log_level, runtime};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use service::config::Config;
use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;
use transcoder::Places;
use transcoder::manage::{self, Dead, Job, Overview, Progress};

/// How often `--watch` looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Longest reason in the table, in characters.
const REASON_CHARS: usize = 100;

/// Dead messages that are listed in words; all of them are in the JSON.
const DEAD_SHOWN: usize = 10;

/// Does what was asked for.
pub(crate) fn run(options: Vod, log: Option<String>) -> anyhow::Result<ExitCode> {
    match options.act {
        VodAct::List { watch, json, config } => {
            let config = configured(config, log)?;
            runtime()?.block_on(list(&config, watch, json))
        }
        VodAct::Retry { job, config } => {
            let config = configured(config, log)?;
            runtime()?.block_on(retry(&config, &job))
        }
        VodAct::Redrive { config } => {
            let config = configured(config, log)?;
            runtime()?.block_on(redrive(&config))
        }
    }
}

/// The configuration; of the log only what is wrong, unless more is asked for: people read the table.
fn configured(options: Configured, log: Option<String>) -> anyhow::Result<Config> {
    let mut sets = options.set;
    let level = log.or_else(|| Some("warn".to_owned()));
    sets.extend(log_level(level));
    let config = service::config::load(options.config.as_deref(), environment(), &sets)?;
    service::telemetry::install_logger(&config.log)?;
    Ok(config)
}

async fn list(config: &Config, watch: bool, json: bool) -> anyhow::Result<ExitCode> {
    let places = Places::open(config).await?;
    let overview = if watch { follow(&places).await? } else { manage::overview(&places).await? };
    let text = if json { format!("{}\n", as_json(&overview)) } else { table(&overview) };
    // A pipe that was closed has nobody to tell.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(if is_well(&overview) { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

async fn retry(config: &Config, job: &str) -> anyhow::Result<ExitCode> {
    let places = Places::open(config).await?;
    let sent = manage::retry(&places, job).await?;
    println!("{job} is tried again: {sent} {} sent", if sent == 1 { "message" } else { "messages" });
    Ok(ExitCode::SUCCESS)
}

async fn redrive(config: &Config) -> anyhow::Result<ExitCode> {
    let places = Places::open(config).await?;
    let count = manage::redrive(&places).await?;
    println!("{count} dead {} put back", if count == 1 { "message" } else { "messages" });
    Ok(ExitCode::SUCCESS)
}

/// Looks again and again until no job is open any more. Bars are for terminals; elsewhere it only waits.
async fn follow(places: &Places) -> anyhow::Result<Overview> {
    let bars = if std::io::stderr().is_terminal() { Some(Bars::default()) } else { None };
    let mut bars = bars;
    loop {
        let overview = manage::overview(places).await?;
        if let Some(bars) = &mut bars {
            overview.jobs.iter().for_each(|job| bars.show(job));
        }
        let waits = overview.depth.visible.saturating_add(overview.depth.in_flight) > 0;
        if !waits && !overview.jobs.iter().any(|job| job.progress.is_open()) {
            return Ok(overview);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A bar for each job that was open at some time.
#[derive(Default)]
struct Bars {
    all: MultiProgress,
    by_job: BTreeMap<String, ProgressBar>,
}

impl Bars {
    fn show(&mut self, job: &Job) {
        if !job.progress.is_open() && !self.by_job.contains_key(&job.name) {
            return;
        }
        let bar = self.by_job.entry(job.name.clone()).or_insert_with(|| {
            let style = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len} {msg}, {elapsed}");
            let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            self.all.add(bar.with_prefix(job.name.clone()))
        });
        bar.set_length(u64::try_from(job.tasks).unwrap_or(u64::MAX));
        bar.set_position(u64::try_from(job.done).unwrap_or(u64::MAX));
        bar.set_message(job.progress.word());
        match job.progress {
            Progress::Finished => bar.finish(),
            Progress::Failed => bar.abandon(),
            Progress::Planning | Progress::Running | Progress::Finishing => bar.tick(),
        }
    }
}

/// Whether nothing has failed.
fn is_well(overview: &Overview) -> bool {
    let failed = overview.jobs.iter().any(|job| job.progress == Progress::Failed);
    !failed && overview.dead.as_ref().is_ok_and(Vec::is_empty)
}

fn table(overview: &Overview) -> String {
    let header = ["JOB", "STATE", "TASKS", "ERRORS", "REASON"].map(str::to_owned);
    let row = |job: &Job| {
        let tasks = if job.tasks == 0 { "-".to_owned() } else { format!("{}/{}", job.done, job.tasks) };
        let reason: String = job.reason.as_deref().unwrap_or_default().chars().take(REASON_CHARS).collect();
        [job.name.clone(), job.progress.word().to_owned(), tasks, job.errors.to_string(), reason]
    };
    let rows: Vec<[String; 5]> = std::iter::once(header).chain(overview.jobs.iter().map(row)).collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..5).map(|column| width(column).unwrap_or_default()).collect();
    let mut out = String::new();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    let depth = overview.depth;
    out.push_str(&format!("\nQueue: {} waiting, {} being worked on\n", depth.visible, depth.in_flight));
    match &overview.dead {
        Ok(dead) => {
            if !dead.is_empty() {
                out.push_str(&format!("Dead messages: {} (`live360 vod redrive` puts them back)\n", dead.len()));
            }
            for letter in dead.iter().take(DEAD_SHOWN) {
                let sent = humantime::format_rfc3339_seconds(letter.sent_at);
                let body: String = letter.body.chars().take(REASON_CHARS).collect();
                out.push_str(&format!("  {sent}  received {} times  {body}\n", letter.receive_count));
            }
        }
        Err(why) => out.push_str(&format!("Dead messages: can't be listed: {why}\n")),
    }
    out
}

fn as_json(overview: &Overview) -> serde_json::Value {
    let job = |job: &Job| {
        serde_json::json!({
            "job": job.name, "state": job.progress.word(), "tasks_done": job.done, "tasks": job.tasks,
            "errors": job.errors, "reason": job.reason,
        })
    };
    let dead = overview.dead.as_ref().map(|dead| {
        let letter = |dead: &Dead| {
            let sent = humantime::format_rfc3339_seconds(dead.sent_at).to_string();
            serde_json::json!({ "id": dead.id, "sent": sent, "receives": dead.receive_count, "body": dead.body })
        };
        dead.iter().map(letter).collect::<Vec<_>>()
    });
    serde_json::json!({
        "jobs": overview.jobs.iter().map(job).collect::<Vec<_>>(),
        "queue": { "visible": overview.depth.visible, "in_flight": overview.depth.in_flight },
        "dead": dead.as_ref().ok(), "dead_error": dead.as_ref().err(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;
    use transcoder::manage::Depth;

    fn overview() -> Overview {
        let job = |name: &str, progress, done, tasks, reason: Option<&str>| Job {
            name: name.to_owned(),
            progress,
            done,
            tasks,
            errors: u32::from(reason.is_some()) * 3,
            reason: reason.map(str::to_owned),
        };
        let dead = Dead { id: "1".to_owned(), body: "{}".to_owned(), receive_count: 64, sent_at: UNIX_EPOCH };
        Overview {
            jobs: vec![
                job("foo-1", Progress::Running, 3, 12, None),
                job("holiday-2", Progress::Failed, 0, 0, Some("the file has no video")),
            ],
            depth: Depth { visible: 8, in_flight: 1 },
            dead: Ok(vec![dead]),
        }
    }

    #[test]
    fn the_table_is_for_people() {
        let expected = "\
JOB        STATE    TASKS  ERRORS  REASON
foo-1      running  3/12   0
holiday-2  failed   -      3       the file has no video

Queue: 8 waiting, 1 being worked on
Dead messages: 1 (`live360 vod redrive` puts them back)
  1970-01-01T00:00:00Z  received 64 times  {}
";
        assert_eq!(table(&overview()), expected);
    }

    #[test]
    fn what_has_failed_or_is_dead_or_unknown_is_not_well() {
        let mut overview = overview();
        assert!(!is_well(&overview));
        overview.jobs.pop();
        assert!(!is_well(&overview));
        overview.dead = Ok(Vec::new());
        assert!(is_well(&overview));
        overview.dead = Err("no redrive policy".to_owned());
        assert!(!is_well(&overview));
    }

    #[test]
    fn the_json_has_all_of_it() {
        let json = as_json(&overview());
        assert_eq!((&json["jobs"][0]["tasks"], &json["dead"][0]["receives"]), (&12.into(), &64.into()));
        assert_eq!(
            (&json["jobs"][1]["reason"], &json["queue"]["visible"]),
            (&"the file has no video".into(), &8.into())
        );
    }
}
