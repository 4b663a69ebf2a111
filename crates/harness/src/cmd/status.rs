//! `./dev status`.

use std::process::ExitCode;

use clap::Args;
use lectern_harness::checkout::{DevState, DevStatus};

use super::table::table;

/// The options of `status`.
#[derive(Args)]
pub struct Status {
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Status {
    /// Prints how to reach what runs; fails when it doesn't run.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let Some(state) = DevState::read()?.filter(|state| !state.processes.is_empty()) else {
            eprintln!("not running: ./dev up");
            return Ok(ExitCode::FAILURE);
        };
        if self.json {
            println!("{}", serde_json::to_string_pretty(&DevStatus::read()?)?);
            return Ok(ExitCode::SUCCESS);
        }
        println!("{}", table(&state.status));
        for process in &state.processes {
            let now = if process.is_alive() { "runs" } else { "is dead: ./dev up mends it" };
            println!("  {:<14} process {} {now}", process.name, process.pid);
        }
        Ok(if state.is_up() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
