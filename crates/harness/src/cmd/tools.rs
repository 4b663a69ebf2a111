//! `./dev psql`, `./dev nats` and `./dev run`: other programs, pointed at the running stack.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail, ensure};
use clap::Args;
use lectern_harness::checkout::{DevState, DevStatus};
use lectern_harness::environment;
use lectern_harness::servers::{PostgresBinary, cache_dir, next_free};

use super::cargo::lectern;
use super::progress::Progress;

/// The options of `psql`.
#[derive(Args)]
pub struct Psql {
    /// A worker's schema, for example `courses`
    schema: Option<String>,
    /// For psql itself, for example `-c 'select 1'`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

impl Psql {
    /// Becomes psql.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let status = DevStatus::read()?;
        let installed = PostgresBinary::find()?.and_then(|binary| binary.psql());
        let Some(psql) = installed.or_else(|| environment::on_path("psql")) else {
            bail!(
                "psql is missing (apt-get install postgresql-client, brew install libpq); the database is {}",
                status.database
            );
        };
        let mut command = Command::new(psql);
        if let Some(schema) = &self.schema {
            command.env("PGOPTIONS", format!("-c search_path={schema}"));
        }
        become_program(command.arg(status.database).args(&self.args))
    }
}

/// What the nats CLI takes.
#[derive(Args)]
pub struct Nats {
    /// For example `micro ls`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

impl Nats {
    /// Becomes the nats CLI, as the internal-tools user.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let status = DevStatus::read()?;
        let mut command = Command::new(nats_cli()?);
        command.args(["--server", &status.nats]).arg("--nkey").arg(&status.nats_tools_nkey);
        become_program(command.args(&self.args))
    }
}

/// The nats CLI: on PATH, in the cache, or built with Go into the cache.
fn nats_cli() -> anyhow::Result<PathBuf> {
    let cache = cache_dir()?.join("bin");
    let home = environment::var("HOME").map(|home| PathBuf::from(home).join("go/bin/nats"));
    let known = [environment::on_path("nats"), home, Some(cache.join("nats"))];
    if let Some(found) = known.into_iter().flatten().find(|file| environment::is_program(file)) {
        return Ok(found);
    }
    let package = "github.com/nats-io/natscli/nats@latest";
    let go = environment::on_path("go").with_context(|| {
        format!("the nats CLI is missing: brew install nats-io/nats-tools/nats, or go install {package}")
    })?;
    eprintln!("the nats CLI is missing: go install {package} (once, into {})", cache.display());
    let status =
        Command::new(go).args(["install", package]).env("GOBIN", &cache).stdin(Stdio::null()).status()?;
    ensure!(
        status.success(),
        "go install {package}: {status}. Any NATS client does as well: ./dev status --json tells URL and nkey file"
    );
    Ok(cache.join("nats"))
}

/// The options of `run`.
#[derive(Args)]
pub struct Run {
    /// A role, or several with commas: `courses`, `identity,courses`
    roles: String,
}

impl Run {
    /// Becomes `lectern run --roles …` beside the running stack, on free ports, writing to the terminal.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        DevStatus::read()?;
        let state = DevState::read()?.context("the stack is not running: ./dev up")?;
        let lectern = lectern(&Progress::new())?;
        let http = next_free(state.ports["http"] + 1, &[])?;
        let admin = next_free(state.ports["admin"] + 1, &[http])?;
        eprintln!("roles {}; admin port http://127.0.0.1:{admin}/health/readiness", self.roles);
        if self.roles.split(',').any(|role| role == "gateway" || role == "all") {
            eprintln!("gateway http://127.0.0.1:{http}");
        }
        let mut command = Command::new(lectern);
        command.args(["run", "--roles", &self.roles]).envs(&state.env);
        command.env("HTTP_ADDR", format!("127.0.0.1:{http}")).env("ADMIN_ADDR", format!("127.0.0.1:{admin}"));
        become_program(&mut command)
    }
}

/// Replaces this process, so that Ctrl-C and the exit code are the program's own.
fn become_program(command: &mut Command) -> anyhow::Result<ExitCode> {
    let error = command.exec();
    Err(error).with_context(|| format!("starting {}", command.get_program().display()))
}
