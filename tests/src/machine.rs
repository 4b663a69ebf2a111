//! What a figure was measured on, and what a process used.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

/// Clock ticks per second in `/proc/<pid>/stat`: 100 on every Linux that we run on (`getconf CLK_TCK`).
const TICKS: f64 = 100.0;

/// Cores, memory and versions: an absolute figure means nothing without them.
pub fn describe() -> Value {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field("/proc/meminfo", "MemTotal:").unwrap_or(0) / 1024;
    let model = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?.to_owned();
        Some(line.split(':').nth(1)?.trim().to_owned())
    });
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    json!({ "cores": cores, "memory_mib": memory, "cpu": model, "kernel": kernel.trim(), "lectern": env!("CARGO_PKG_VERSION") })
}

/// CPU seconds that a process has used, user and system.
pub fn cpu_seconds(pid: u32) -> f64 {
    let fields = stat(pid);
    ticks(&fields, 11) + ticks(&fields, 12)
}

/// The same with its children, those that live and those that have ended: a PostgreSQL server is a process per connection.
pub fn cpu_seconds_of_family(pid: u32) -> f64 {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let children = pids.filter(|child| stat(*child).get(1).is_some_and(|parent| *parent == pid.to_string()));
    let fields = stat(pid);
    let ended = ticks(&fields, 13) + ticks(&fields, 14);
    cpu_seconds(pid) + ended + children.map(cpu_seconds).sum::<f64>()
}

/// The fields of `/proc/<pid>/stat` behind the name, which stands in brackets and may hold spaces.
fn stat(pid: u32) -> Vec<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let behind = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    behind.split_whitespace().map(str::to_owned).collect()
}

fn ticks(fields: &[String], index: usize) -> f64 {
    fields.get(index).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0) / TICKS
}

/// Resident memory of a process now, MiB.
pub fn resident_mib(pid: u32) -> f64 {
    field(&format!("/proc/{pid}/status"), "VmRSS:").unwrap_or(0) as f64 / 1024.0
}

/// Begins the peak of a process's resident memory anew (proc(5), `clear_refs`). Where that is not allowed, the peak goes on.
pub fn forget_peak(pid: u32) {
    let _older_peak = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

/// Peak resident memory of a process since its start or [`forget_peak`], MiB.
pub fn peak_mib(pid: u32) -> f64 {
    field(&format!("/proc/{pid}/status"), "VmHWM:").unwrap_or(0) as f64 / 1024.0
}

/// Size of a file, MiB.
pub fn file_mib(path: &Path) -> f64 {
    fs::metadata(path).map_or(0.0, |meta| meta.len() as f64 / 1_048_576.0)
}

/// A number of kibibytes behind a name in a `/proc` file.
fn field(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}
