//! What a server costs: processor time and memory of its processes, as the kernel counts them.

use std::collections::BTreeSet;
use std::time::Duration;

/// The process and everything it has started.
pub(crate) fn family(pid: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::from([pid]);
    let mut left = vec![pid];
    while let Some(pid) = left.pop() {
        for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            left.extend(
                children.split_whitespace().filter_map(|text| text.parse().ok()).filter(|pid| found.insert(*pid)),
            );
        }
    }
    found
}

/// User and system time of the process, its threads and its descendants. By the scheduler's nanoseconds where it keeps
/// them, else by /proc/PID/stat's hundredths of a second.
pub(crate) fn cpu(pid: u32) -> Duration {
    family(pid).into_iter().map(|pid| threads(pid).unwrap_or_else(|| ticks(pid))).sum()
}

fn threads(pid: u32) -> Option<Duration> {
    let mut sum = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        sum += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(sum))
}

fn ticks(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    // utime and stime are fields 14 and 15.
    Duration::from_millis((field(11) + field(12)) * 10)
}

/// Memory that is the process's own share (PSS), in bytes.
pub(crate) fn memory(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) * 1024
}
