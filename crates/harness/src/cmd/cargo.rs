//! cargo, always over the whole workspace: then every build resolves features alike and nothing is compiled twice.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use lectern_harness::{checkout, environment};

use super::progress::Progress;

/// A cargo command in the root of the workspace. Queries are checked against the committed `.sqlx` unless the caller
/// says `SQLX_OFFLINE=false`: a `DATABASE_URL` meant for running is no reference for compiling.
pub fn cargo<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(environment::var("CARGO").unwrap_or_else(|| "cargo".to_owned()));
    command.args(args).current_dir(checkout::root());
    // `cargo run` described our own package to us; build scripts (ring's) would take that for a change and run again
    for (name, _) in environment::with_prefix("CARGO_") {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|ours| name.starts_with(ours)) {
            command.env_remove(name);
        }
    }
    if environment::var("SQLX_OFFLINE").is_none() {
        command.env("SQLX_OFFLINE", "true");
    }
    command
}

/// Runs a command in the foreground.
///
/// # Errors
/// When it can't be started or fails.
pub fn run(command: &mut Command, what: &str) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("starting {what}"))?;
    ensure!(status.success(), "{what}: {status}");
    Ok(())
}

/// Builds binaries with cargo's own progress, and answers the directory they are in.
///
/// # Errors
/// When the build fails.
pub fn build(binaries: &[&str], more: &[&str]) -> anyhow::Result<PathBuf> {
    let mut args = vec!["build"];
    for binary in binaries {
        args.extend(["--bin", binary]);
    }
    args.extend(more);
    run(&mut cargo(&args), "cargo build")?;
    target_dir(if more.contains(&"--release") { "release" } else { "debug" })
}

/// The command `lectern`: `LECTERN_BIN` for what is built already, else a fresh build.
pub fn lectern(progress: &Progress) -> anyhow::Result<PathBuf> {
    if let Some(named) = environment::var("LECTERN_BIN") {
        progress.say(format!("lectern: LECTERN_BIN is set, so {named} is used"));
        return Ok(named.into());
    }
    progress.say("building lectern");
    Ok(build(&["lectern"], &[])?.join("lectern"))
}

/// The directory of built binaries: this program stands in the debug one.
fn target_dir(profile: &str) -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("finding this program")?;
    let target = this.ancestors().nth(2).context("finding the target directory")?;
    Ok(target.join(profile))
}

/// A path that the caller wrote, relative to where they were when they called `./dev`.
pub fn from_callers_directory(path: &Path) -> PathBuf {
    match environment::var("LECTERN_CALLED_FROM") {
        Some(dir) => Path::new(&dir).join(path),
        None => path.to_owned(),
    }
}
