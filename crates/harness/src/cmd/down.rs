//! `./dev down` and `./dev reset`.

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use lectern_harness::checkout::{self, DevState};
use lectern_harness::environment;
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};

use super::progress::Progress;
use super::up::lock;

/// Stops what `up` started, in order; data stays.
pub async fn down() -> anyhow::Result<ExitCode> {
    let dir = checkout::state_dir();
    let Some(mut state) = DevState::read()? else {
        println!("nothing to stop: it never ran here");
        return Ok(ExitCode::SUCCESS);
    };
    let _lock = lock(&dir)?;
    stop_all(&mut state).await?;
    Ok(ExitCode::SUCCESS)
}

/// Stops the roles, then the bus, then the database: whoever depends goes first.
pub async fn stop_all(state: &mut DevState) -> anyhow::Result<()> {
    let progress = Progress::new();
    while let Some(process) = state.processes.pop() {
        // the roles drain for up to 30 s; PostgreSQL's SIGINT cuts connections and writes everything
        let (signal, bound) = match process.name.as_str() {
            "postgres" => (Signal::SIGINT, Duration::from_secs(60)),
            _ => (Signal::SIGTERM, Duration::from_secs(45)),
        };
        let ran = process.stop(signal, bound).await;
        progress.say(format!("{} {}", process.name, if ran { "is stopped" } else { "was not running" }));
        state.write()?;
    }
    Ok(())
}

/// Stops everything and removes the state directory: database, streams, videos, secrets, mailbox.
pub async fn reset() -> anyhow::Result<ExitCode> {
    let dir = checkout::state_dir();
    if !dir.exists() {
        println!("nothing to forget: it never ran here");
        return Ok(ExitCode::SUCCESS);
    }
    // LECTERN_DEV_DIR may name anything: only a directory of ours is removed
    ensure!(dir.join("lock").exists(), "{} is no state directory of ./dev", dir.display());
    let lock = lock(&dir)?;
    match DevState::read() {
        Ok(state) => stop_all(&mut state.unwrap_or_default()).await?,
        Err(error) => println!("{error:#}"),
    }
    fs::remove_dir_all(&dir)?;
    drop(lock);
    let pointer = checkout::root().join(".dev");
    if environment::is_root() && pointer.is_file() {
        fs::remove_file(pointer)?;
    }
    println!("forgotten: {}", dir.display());
    Ok(ExitCode::SUCCESS)
}

/// Waits for Ctrl-C, SIGTERM, or the end of the terminal.
pub async fn asked_to_stop() -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}
