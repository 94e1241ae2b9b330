//! A child's log, put into ours.

use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::ChildStderr;

/// Lines of the child's log that are passed on, in each span of time; the rest is counted. Damaged video makes many.
const LOG_LINES: u32 = 20;
const LOG_SPAN: Duration = Duration::from_secs(10);

/// Longest line of the child's log that is passed on, in bytes.
const LOG_LINE_BYTES: usize = 500;

/// Passes it on line by line, not more than so many, under the name `who`, until the child closes it. `heard` gets them all.
pub(crate) async fn forward(mut pipe: ChildStderr, pid: u32, who: &'static str, heard: impl Fn(&str) + Send) {
    let (mut line, mut chunk) = (Vec::new(), [0; 4096]);
    let (mut since, mut passed, mut dropped) = (tokio::time::Instant::now(), 0, 0u64);
    while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
        for &byte in chunk.iter().take(count) {
            if byte != b'\n' {
                if line.len() < LOG_LINE_BYTES {
                    line.push(byte);
                }
                continue;
            }
            if since.elapsed() > LOG_SPAN {
                if dropped > 0 {
                    tracing::warn!(pid, "{who}: {dropped} more lines");
                }
                (since, passed, dropped) = (tokio::time::Instant::now(), 0, 0);
            }
            let text = String::from_utf8_lossy(&line);
            heard(&text);
            if passed < LOG_LINES {
                passed += 1;
                tracing::warn!(pid, "{who}: {}", text.trim_end());
            } else {
                dropped += 1;
            }
            line.clear();
        }
    }
    if !line.is_empty() {
        let text = String::from_utf8_lossy(&line);
        heard(&text);
        tracing::warn!(pid, "{who}: {}", text.trim_end());
    }
}
