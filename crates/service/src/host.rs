//! The machine as `/stat` shows it: how busy its processors are, and how much memory and disk is left.
//!
//! Linux only; elsewhere it knows nothing. What the machine is told by its owner (spot notices) is `machine`'s.

use crate::telemetry::Series;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Processor time is looked at over at least so long.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The machine. Cloning gives another handle to the same look.
#[derive(Debug, Clone)]
pub struct Host(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    data_dir: PathBuf,
    cpu: Mutex<Cpu>,
}

/// What was seen of the processors.
#[derive(Debug, Default)]
struct Cpu {
    last: Option<(Instant, Ticks)>,
    busy: Option<f64>,
}

/// Processor time since boot, in ticks of whatever length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    all: u64,
}

/// What there is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Facts {
    cpus: Option<usize>,
    busy: Option<f64>,
    memory: Option<(u64, u64)>,
    disk: Option<(u64, u64)>,
}

impl Host {
    /// The machine with this folder on one of its disks.
    pub fn new(data_dir: PathBuf) -> Self {
        Self(Arc::new(Inner { data_dir, cpu: Mutex::default() }))
    }

    /// What `/stat` says of it. Memory and disk in bytes, `cpu_busy` from 0 to 1 over the last seconds.
    pub fn stat(&self) -> Value {
        let facts = self.look();
        let (memory, memory_left) = facts.memory.unzip();
        let (disk, disk_left) = facts.disk.unzip();
        json!({
            "cpus": facts.cpus, "cpu_busy": facts.busy.map(|busy| (busy * 1000.0).round() / 1000.0),
            "memory_bytes": memory, "memory_left_bytes": memory_left,
            "disk_bytes": disk, "disk_left_bytes": disk_left,
        })
    }

    /// The same for `/metrics`.
    pub fn collect(&self, series: &mut Series) {
        let facts = self.look();
        if let Some(busy) = facts.busy {
            series.gauge("live360_host_cpu_busy_ratio", &[], busy);
        }
        if let Some((_, left)) = facts.memory {
            series.gauge("live360_host_memory_available_bytes", &[], left as f64);
        }
        if let Some((all, left)) = facts.disk {
            series.gauge("live360_host_disk_free_bytes", &[], left as f64);
            series.gauge("live360_host_disk_size_bytes", &[], all as f64);
        }
    }

    fn look(&self) -> Facts {
        let mut cpu = self.0.cpu.lock().unwrap_or_else(PoisonError::into_inner);
        cpu.look(Instant::now(), ticks);
        let cpus = std::thread::available_parallelism().ok().map(std::num::NonZero::get);
        Facts { cpus, busy: cpu.busy, memory: memory(), disk: disk(&self.0.data_dir) }
    }
}

impl Cpu {
    fn look(&mut self, now: Instant, ticks: impl FnOnce() -> Option<Ticks>) {
        if self.last.is_some_and(|(at, _)| now.saturating_duration_since(at) < LOOK_EVERY) {
            return;
        }
        let Some(seen) = ticks() else { return };
        if let Some((_, before)) = self.last.replace((now, seen)) {
            let (busy, all) = (seen.busy.saturating_sub(before.busy), seen.all.saturating_sub(before.all));
            self.busy = Some(busy.min(all) as f64 / all.max(1) as f64);
        }
    }
}

#[cfg(target_os = "linux")]
fn ticks() -> Option<Ticks> {
    use procfs::CurrentSI as _;
    let total = procfs::KernelStats::current().ok()?.total;
    let idle = total.idle.saturating_add(total.iowait.unwrap_or(0));
    let working = [total.user, total.nice, total.system, total.irq.unwrap_or(0), total.softirq.unwrap_or(0)];
    // What the hypervisor gave to others is no time of ours, and not idle either.
    let busy = working.iter().fold(total.steal.unwrap_or(0), |sum, part| sum.saturating_add(*part));
    Some(Ticks { busy, all: busy.saturating_add(idle) })
}

/// Bytes in all, and left.
#[cfg(target_os = "linux")]
fn memory() -> Option<(u64, u64)> {
    use procfs::Current as _;
    let memory = procfs::Meminfo::current().ok()?;
    Some((memory.mem_total, memory.mem_available?))
}

#[cfg(target_os = "linux")]
fn disk(folder: &std::path::Path) -> Option<(u64, u64)> {
    // The folder may not be made yet.
    let disk = folder.ancestors().find_map(|folder| rustix::fs::statvfs(folder).ok())?;
    Some((disk.f_blocks.saturating_mul(disk.f_frsize), disk.f_bavail.saturating_mul(disk.f_frsize)))
}

#[cfg(not(target_os = "linux"))]
fn ticks() -> Option<Ticks> {
    None
}

#[cfg(not(target_os = "linux"))]
fn memory() -> Option<(u64, u64)> {
    None
}

#[cfg(not(target_os = "linux"))]
fn disk(_: &std::path::Path) -> Option<(u64, u64)> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_as_busy_as_between_two_looks() {
        let (mut cpu, start) = (Cpu::default(), Instant::now());
        let mut check = |seconds: u64, busy, all, expected: Option<f64>| {
            cpu.look(start + Duration::from_secs(seconds), || Some(Ticks { busy, all }));
            assert_eq!(cpu.busy, expected, "after {seconds} s");
        };
        check(0, 100, 1000, None);
        check(1, 900, 1900, None);
        check(2, 150, 1200, Some(0.25));
        check(4, 150, 1200, Some(0.0));
        check(6, 100, 1000, Some(0.0));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn there_is_memory_and_disk_left() {
        let facts = Host::new("/no/such/folder".into()).look();
        let within = |pair: Option<(u64, u64)>| pair.is_some_and(|(all, left)| left > 0 && left <= all);
        assert!(within(facts.memory) && within(facts.disk), "{facts:?}");
    }
}
