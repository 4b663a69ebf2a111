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
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // the name, in brackets, may hold spaces: count from behind it
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / TICKS
}

/// Resident memory of a process now, MiB.
pub fn resident_mib(pid: u32) -> f64 {
    field(&format!("/proc/{pid}/status"), "VmRSS:").unwrap_or(0) as f64 / 1024.0
}

/// Peak resident memory of a process, MiB.
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
