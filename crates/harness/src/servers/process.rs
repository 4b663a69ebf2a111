//! Child processes: started without our descriptors, stopped by id, and only when they are still what we started.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::Signal;

use super::account::Account;
use super::record::{ProcessRecord, birth, is_stopped};
use super::watchdog::Watchdog;
use crate::environment;

/// A program to start.
#[derive(Debug)]
pub struct Launch {
    /// The name in messages and in the state file, for example `postgres`.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables on top of the inherited environment.
    pub env: BTreeMap<String, String>,
    /// Start from an empty environment (PATH, HOME and a few others are kept) instead of the caller's.
    pub hermetic: bool,
    /// Where stdout and stderr go, appended.
    pub log: PathBuf,
    /// Its working directory.
    pub cwd: PathBuf,
    /// The user to run as; `None`: ourselves.
    pub account: Option<Account>,
    /// It outlives us: a session of its own, so that neither Ctrl-C nor a closed terminal reaches it.
    pub detached: bool,
    /// Who ends it, and with which signal (`KILL`, `QUIT`), when we end without having done so.
    pub watchdog: Option<(Watchdog, &'static str)>,
}

/// What even a hermetic child gets from the caller's environment.
const KEPT: [&str; 7] =
    ["PATH", "HOME", "TMPDIR", "LANG", "RUST_BACKTRACE", "LLVM_PROFILE_FILE", "LECTERN_CACHE"];

impl Launch {
    /// A child that dies with us, in `cwd`, with its output in `cwd/<name>.log`.
    pub fn new(name: &str, program: impl Into<PathBuf>, cwd: &Path) -> Launch {
        Launch {
            name: name.to_owned(),
            program: program.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            hermetic: false,
            log: cwd.join(format!("{name}.log")),
            cwd: cwd.to_owned(),
            account: None,
            detached: false,
            watchdog: None,
        }
    }

    /// Appends arguments.
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Launch {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Starts it, with nothing on stdin.
    pub fn start(&self) -> anyhow::Result<Process> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.log)
            .with_context(|| format!("opening {}", self.log.display()))?;
        let mut words: Vec<OsString> = closing_inherited_descriptors();
        if self.detached && environment::on_path("setsid").is_some() {
            words.push("setsid".into());
        }
        words.push(self.program.clone().into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(&self.args).current_dir(&self.cwd);
        if self.hermetic {
            command.env_clear();
            command.envs(KEPT.into_iter().filter_map(|name| Some((name, environment::var(name)?))));
        }
        command.envs(&self.env).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        if let Some(account) = self.account {
            command.uid(account.uid).gid(account.gid);
        }
        if !(self.detached && environment::on_path("setsid").is_some()) {
            command.process_group(0); // Ctrl-C is for us: we stop our children in order
        }
        let child = command.spawn().with_context(|| format!("starting {}", self.program.display()))?;
        let pid = child.id();
        if let Some((watchdog, signal)) = &self.watchdog {
            watchdog.watch(signal, pid);
        }
        let watchdog = self.watchdog.as_ref().map(|it| it.0.clone());
        let program = self.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let record =
            ProcessRecord { name: self.name.clone(), pid, birth: birth(pid).unwrap_or_default(), program };
        Ok(Process { record, child, log: self.log.clone(), watchdog })
    }
}

/// Rust opens everything close-on-exec, but whoever started us may have left pipes open in us. A long-lived child that
/// inherits one keeps a CI step or a shell pipeline waiting for ever, so a shell closes them on the way.
fn closing_inherited_descriptors() -> Vec<OsString> {
    const CLOSE_ON_EXEC: u32 = 0o2_000_000;
    let inherited = |number: &u32| {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        flags
            .and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok())
            .is_some_and(|it| it & CLOSE_ON_EXEC == 0)
    };
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return Vec::new() };
    let open: Vec<u32> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .filter(inherited)
        .collect();
    if open.is_empty() {
        return Vec::new();
    }
    // only bash redirects descriptors of more than one digit
    let shell = if open.iter().any(|number| *number > 9) { "bash" } else { "sh" };
    let closing: String = open.iter().map(|number| format!(" {number}>&-")).collect();
    ["/usr/bin/env", shell, "-c", &format!("exec{closing}; exec \"$@\""), shell].map(OsString::from).to_vec()
}

/// A process that we started and are the parent of. Dropping it doesn't stop it.
#[derive(Debug)]
pub struct Process {
    record: ProcessRecord,
    child: Child,
    log: PathBuf,
    watchdog: Option<Watchdog>,
}

impl Process {
    /// What another run of ours needs to find and stop it.
    pub fn record(&self) -> &ProcessRecord {
        &self.record
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.record.pid
    }

    /// Where it writes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, when it has: `exit status: 1`, `signal: 9 (SIGKILL)`.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        let ended = self.child.try_wait().ok().flatten();
        if ended.is_some() {
            self.forget();
        }
        ended
    }

    /// Sends a signal, when it still runs.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            self.record.signal(signal);
        }
    }

    /// SIGSTOP, and waits until it has taken effect: what was sent before is answered, what comes after is not.
    pub fn freeze(&mut self) {
        self.signal(Signal::SIGSTOP);
        let until = Instant::now() + Duration::from_secs(5);
        while !is_stopped(self.record.pid) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until it ends, at most `bound`.
    pub async fn ends_within(&mut self, bound: Duration) -> Option<std::process::ExitStatus> {
        let until = Instant::now() + bound;
        loop {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            if Instant::now() >= until {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends `signal`, waits `bound`, then kills. Answers how it ended.
    pub async fn stop(&mut self, signal: Signal, bound: Duration) -> std::process::ExitStatus {
        self.signal(signal);
        match self.ends_within(bound).await {
            Some(status) => status,
            None => self.kill(),
        }
    }

    /// Kills it at once and reaps it.
    pub fn kill(&mut self) -> std::process::ExitStatus {
        // the error says that it has ended already
        drop(self.child.kill());
        let ended = self.child.wait().unwrap_or_else(|_| std::process::ExitStatus::from_raw(9));
        self.forget();
        ended
    }

    /// It is reaped, so its id may soon be somebody else's.
    fn forget(&mut self) {
        if let Some(watchdog) = self.watchdog.take() {
            watchdog.forget(self.record.pid);
        }
    }

    /// An error that shows how it ended and the end of its log.
    pub fn failure(&mut self, doing: &str) -> anyhow::Error {
        let state = self.ended().map_or_else(|| "still running".to_owned(), |status| status.to_string());
        anyhow::anyhow!("{}: {doing} ({state})\n{}", self.record.name, tail(&self.log, 30))
    }
}

/// The last `lines` lines of a file; empty when it can't be read.
pub fn tail(file: &Path, lines: usize) -> String {
    let text = fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
