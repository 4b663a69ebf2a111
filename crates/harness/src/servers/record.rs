//! A process by id, with proof that the id is still the same process.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::environment;

/// A process of ours as another run of ours sees it: by id, and by proof that the id is still the same process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRecord {
    /// Its name in messages.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    /// When that process began, as the system tells it (boot and clock tick): an id used again has another birth.
    pub birth: String,
    /// The file name of its program, which its command line must still contain.
    pub program: String,
}

impl ProcessRecord {
    /// Whether this very process runs: same id, same birth, same program, no zombie.
    pub fn is_alive(&self) -> bool {
        birth(self.pid).is_some_and(|now| now == self.birth && !self.birth.is_empty())
            && command_line(self.pid).is_some_and(|line| line.contains(&self.program))
    }

    /// Sends `signal` if it [`is_alive`](ProcessRecord::is_alive): another program that got the id is left alone.
    pub fn signal(&self, signal: Signal) -> bool {
        let Ok(pid) = i32::try_from(self.pid) else { return false };
        self.is_alive() && kill(Pid::from_raw(pid), signal).is_ok()
    }

    /// Sends `signal`, waits at most `bound`, then kills. Answers false when it was not running.
    pub async fn stop(&self, signal: Signal, bound: Duration) -> bool {
        if !self.signal(signal) {
            return false;
        }
        let until = Instant::now() + bound;
        while self.is_alive() {
            if Instant::now() >= until {
                self.signal(Signal::SIGKILL);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    }
}

/// When process `pid` began; `None` when there is none, or only a zombie that nobody has waited for.
pub(super) fn birth(pid: u32) -> Option<String> {
    let (state, began) = state_and_birth(pid)?;
    (!matches!(state, 'Z' | 'X')).then_some(began)
}

/// Whether a stopping signal has taken effect on all threads of `pid`.
pub(super) fn is_stopped(pid: u32) -> bool {
    state_and_birth(pid).is_some_and(|(state, _)| matches!(state, 'T' | 't'))
}

fn state_and_birth(pid: u32) -> Option<(char, String)> {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        if Path::new("/proc/self/stat").exists() {
            return None;
        }
        let pid = pid.to_string();
        let state = environment::first_line("ps", &["-o", "state=", "-p", &pid])?;
        return Some((state.chars().next()?, environment::first_line("ps", &["-o", "lstart=", "-p", &pid])?));
    };
    // the name stands in parentheses and may hold anything, so count from behind it: state is field 3, starttime 22
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Some((fields.first()?.chars().next()?, format!("{}:{}", boot.trim(), fields.get(19)?)))
}

fn command_line(pid: u32) -> Option<String> {
    match fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).replace('\0', " ")),
        Err(_) => environment::first_line("ps", &["-o", "command=", "-p", &pid.to_string()]),
    }
}
