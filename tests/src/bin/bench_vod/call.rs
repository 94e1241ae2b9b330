//! FFmpeg as a tool, run to its end.

use crate::usage;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// How long one call may take.
const DEADLINE: Duration = Duration::from_secs(240);

/// Runs it; gives what it wrote on stderr. It must succeed.
pub(crate) async fn ffmpeg(args: &[String]) -> String {
    let mut command = Command::new("ffmpeg");
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = tokio::time::timeout(DEADLINE, command.output()).await;
    let output = output.expect("it ends in time").expect("ffmpeg is installed (make setup)");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "ffmpeg {args:?}: {said}");
    said
}

/// The same; gives its processor time in seconds. Nothing else that this process has started may end meanwhile.
pub(crate) async fn ffmpeg_cpu_s(args: &[String]) -> f64 {
    let own = std::process::id();
    let before = usage::cpu_s(own);
    ffmpeg(args).await;
    usage::cpu_s(own) - before
}
