//! What this process takes of its machine, under the names that Prometheus's own clients use.

use super::Series;

/// All crates have the workspace's.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Its build, and on Linux its processor time, memory and open files.
pub(super) fn collect(series: &mut Series) {
    series.gauge("live360_build_info", &[("version", VERSION)], 1.0);
    #[cfg(target_os = "linux")]
    if let Err(error) = of_proc(series) {
        tracing::debug!(%error, "can't read this process's own figures");
    }
}

#[cfg(target_os = "linux")]
fn of_proc(series: &mut Series) -> procfs::ProcResult<()> {
    use procfs::process::{LimitValue, Process};
    let own = Process::myself()?;
    let stat = own.stat()?;
    let ticks = procfs::ticks_per_second().max(1) as f64;
    series.counter("process_cpu_seconds_total", &[], stat.utime.saturating_add(stat.stime) as f64 / ticks);
    series.gauge("process_resident_memory_bytes", &[], stat.rss.saturating_mul(procfs::page_size()) as f64);
    series.gauge("process_virtual_memory_bytes", &[], stat.vsize as f64);
    series.gauge("process_threads", &[], stat.num_threads as f64);
    let booted = procfs::boot_time_secs()? as f64;
    series.gauge("process_start_time_seconds", &[], booted + stat.starttime as f64 / ticks);
    series.gauge("process_open_fds", &[], own.fd_count()? as f64);
    if let LimitValue::Value(most) = own.limits()?.max_open_files.soft_limit {
        series.gauge("process_max_fds", &[], most as f64);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_tells_its_version_and_on_linux_its_memory() {
        let (mut series, mut text) = (Series::default(), String::new());
        collect(&mut series);
        series.render(&mut text);
        assert!(text.contains(&format!("live360_build_info{{version=\"{VERSION}\"}} 1\n")), "{text}");
        let memory = text.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
        if cfg!(target_os = "linux") {
            assert!(memory.and_then(|value| value.parse::<f64>().ok()).is_some_and(|bytes| bytes > 1e6), "{text}");
        }
    }
}
