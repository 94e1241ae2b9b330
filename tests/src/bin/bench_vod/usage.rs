//! Processor time of a process, of all that it has started and of all that has ended among these.

/// User and system time in seconds. What has ended is counted with who has waited for it, what runs by itself: each once.
pub(crate) fn cpu_s(pid: u32) -> f64 {
    let mut sum = own_and_ended(pid);
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        sum += children.split_whitespace().filter_map(|text| text.parse().ok()).map(cpu_s).sum::<f64>();
    }
    sum
}

/// Whether it has started something that still runs.
pub(crate) fn has_children(pid: u32) -> bool {
    let mut tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.any(|task| std::fs::read_to_string(task.path().join("children")).is_ok_and(|text| !text.trim().is_empty()))
}

fn own_and_ended(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    // utime, stime, cutime and cstime are fields 14 to 17; Linux counts them in hundredths of a second.
    (11..15).map(ticks).sum::<f64>() / 100.0
}
