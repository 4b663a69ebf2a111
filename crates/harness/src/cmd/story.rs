//! `./dev demo` and `./dev bench`: binaries of the crate `tests`.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context;
use clap::Args;
use lectern_harness::checkout::DevStatus;

use super::cargo::{build, from_callers_directory};

/// What the demo takes.
#[derive(Args)]
pub struct Demo {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

impl Demo {
    /// Plays the story against the running stack; ends as the story ends.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        DevStatus::read()?; // one clear line instead of a refused connection
        let dir = build(&["demo"], &[])?;
        pass_on(Command::new(dir.join("demo")).args(&self.args))
    }
}

/// What the benchmark takes.
#[derive(Args)]
pub struct Bench {
    /// One scenario; all where absent
    name: Option<String>,
    /// Write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Bench {
    /// Builds everything optimised and measures.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let dir = build(&["lectern", "bench"], &["--release"])?;
        let mut command = Command::new(dir.join("bench"));
        command.args(&self.name);
        if let Some(file) = &self.json {
            command.arg("--json").arg(from_callers_directory(file));
        }
        pass_on(&mut command)
    }
}

/// Runs a program in the foreground and takes its exit code for ours.
pub fn pass_on(command: &mut Command) -> anyhow::Result<ExitCode> {
    let status = command.status().with_context(|| format!("starting {}", command.get_program().display()))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
