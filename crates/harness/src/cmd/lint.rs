//! `./dev fmt` and `./dev lint`.

use std::process::ExitCode;

use super::cargo::{cargo, run};

/// Formats all code.
pub fn fmt() -> anyhow::Result<ExitCode> {
    run(&mut cargo(["fmt", "--all"]), "cargo fmt")?;
    Ok(ExitCode::SUCCESS)
}

/// What CI asks: formatting, and clippy without a warning.
pub fn lint() -> anyhow::Result<ExitCode> {
    run(&mut cargo(["fmt", "--all", "--check"]), "cargo fmt --check")?;
    let clippy =
        ["clippy", "--workspace", "--all-targets", "--features", "lectern/faults", "--", "-D", "warnings"];
    run(&mut cargo(clippy), "cargo clippy")?;
    Ok(ExitCode::SUCCESS)
}
