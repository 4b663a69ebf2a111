//! `./dev up`: everything runs, and how to reach it is said once.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::bail;
use clap::{Args, ValueEnum};
use lectern_harness::checkout::{self, DevState, DevStatus};
use lectern_harness::servers::Process;

use super::progress::Progress;
use super::{academy, cargo, down, logs, ports, roles, servers, table};

/// How strictly the gateway limits callers.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Limits {
    /// No limit per address or user, so that a demo can run from one address.
    Relaxed,
    /// The limits of production.
    Seed,
    /// Relaxed, and any number of sessions per user.
    Load,
}

/// The options of `up`.
#[derive(Args)]
pub struct Up {
    /// Return when it is ready
    #[arg(long)]
    detach: bool,
    /// The gateway's port; the next free one where it is taken
    #[arg(long)]
    port: Option<u16>,
    /// How strictly the gateway limits callers
    #[arg(long, value_enum, default_value = "relaxed")]
    limits: Limits,
}

impl Up {
    /// Starts what doesn't run yet.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let progress = Progress::new();
        let dir = checkout::make_state_dir()?;
        let lock = lock(&dir)?;
        let mut state = DevState::read()?.unwrap_or_default();
        if state.is_up() {
            println!("it runs already:\n{}", table::table(&state.status));
            return Ok(ExitCode::SUCCESS);
        }
        if !state.processes.is_empty() {
            progress.say("stopping what an earlier start left behind");
            down::stop_all(&mut state).await?;
        }
        let started = tokio::select! {
            biased; // the signals are caught before anything is started
            asked = down::asked_to_stop() => asked.and_then(|()| bail!("asked to stop while starting")),
            started = self.start(&dir, &mut state, &progress) => started,
        };
        let mut roles = match started {
            Ok(process) => process,
            Err(error) => {
                down::stop_all(&mut state).await?;
                return Err(error);
            }
        };
        progress.say("ready");
        println!("\n{}", table::table(&state.status));
        drop(lock);
        if self.detach {
            return Ok(ExitCode::SUCCESS);
        }
        stay(&mut roles).await
    }

    async fn start(&self, dir: &Path, state: &mut DevState, progress: &Progress) -> anyhow::Result<Process> {
        let found = servers::find(progress)?;
        state.lectern = cargo::lectern(progress)?;
        state.ports = ports::choose(&state.ports, self.port, progress)?;
        let limits =
            self.limits.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        state.env = roles::environment(dir, state, &limits);
        state.write()?;

        let secrets = state.env["LECTERN_SECRETS_FILE"].clone();
        if !Path::new(&secrets).exists() {
            roles::lectern(state, &["secrets", "init", "--file", &secrets])?;
            progress.say("secrets are made");
        }
        let database = servers::start_postgres(&found, dir, state, progress).await?;
        state.env.insert("DATABASE_URL".into(), database.clone());
        roles::lectern(state, &["migrate"])?;
        progress.say("the database is migrated");

        let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
        let (config, store) = (path("nats-config"), path("nats/jetstream"));
        roles::lectern(state, &["nats-config", "--dir", &config, "--store-dir", &store])?;
        let (nats, nats_monitor) = servers::start_nats(&found, dir, state, progress).await?;
        state.env.insert("NATS_URL".into(), nats.clone());
        state.env.insert("NATS_MONITOR_URL".into(), nats_monitor.clone());
        roles::lectern(state, &["provision"])?;
        progress.say(
            "streams and buckets are provisioned (development: synced to disk every 2 min, not every write)",
        );

        let process = roles::start(dir, state).await?;
        progress.say("all roles are ready");
        state.status = DevStatus {
            http: format!("http://127.0.0.1:{}", state.ports["http"]),
            metrics: format!("http://127.0.0.1:{}/metrics", state.ports["admin"]),
            nats,
            nats_monitor,
            nats_tools_nkey: roles::write_tools_nkey(dir)?,
            database,
            mailbox: dir.join("mailbox.jsonl"),
            accounts: academy::load(dir, state, progress)?,
        };
        state.write()?;
        Ok(process)
    }
}

/// Follows the log until Ctrl-C (then stops everything), `./dev down` elsewhere, or the end of the roles.
async fn stay(roles: &mut Process) -> anyhow::Result<ExitCode> {
    println!("Ctrl-C stops it. The roles say:");
    let (log, everything) = (roles.log().to_owned(), logs::Filter::everything());
    tokio::select! {
        () = logs::follow(&log, &everything, logs::From::End) => {}
        asked = down::asked_to_stop() => {
            asked?;
            return down::down().await;
        }
        ended = ends(roles) => {
            if !ended.success() {
                let error = roles.failure("it ended by itself");
                down::down().await?;
                return Err(error);
            }
            println!("stopped by ./dev down");
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn ends(process: &mut Process) -> ExitStatus {
    loop {
        if let Some(status) = process.ends_within(Duration::from_secs(1)).await {
            return status;
        }
    }
}

/// One `up`, `down` or `reset` at a time.
pub fn lock(dir: &Path) -> anyhow::Result<File> {
    let file = File::create(dir.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another ./dev up, down or reset is at work in {}", dir.display())
        }
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}
