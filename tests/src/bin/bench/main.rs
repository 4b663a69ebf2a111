//! `./dev bench [NAME] [--json FILE]`: figures beside their limits, measured in the same minute on the same machine. A
//! benchmark, not a test: it never fails on time.

mod b1;
mod b3;
mod people;
mod rows;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use lectern_harness::{Stack, StackOptions};
use lectern_tests::machine;
use serde_json::{Value, json};

use rows::Row;

/// The scenarios that there are so far.
const SCENARIOS: [&str; 3] = ["b1", "b3", "b11"];

/// Measures what must be fast, each figure beside its limit. Example: ./dev bench b1 --json b1.json
#[derive(Parser)]
struct Arguments {
    /// One scenario: b1, b3 or b11; all when absent
    name: Option<String>,
    /// Write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Seconds per measurement
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let wanted = |name: &str| arguments.name.as_deref().is_none_or(|asked| asked.eq_ignore_ascii_case(name));
    if !SCENARIOS.into_iter().any(wanted) {
        anyhow::bail!(
            "no scenario {:?}; there are {}",
            arguments.name.unwrap_or_default(),
            SCENARIOS.join(", ")
        );
    }
    let length = Duration::from_secs(arguments.seconds);
    let machine = machine::describe();
    println!("machine: {machine}");
    println!("durability: PostgreSQL of the tests (fsync off), JetStream default sync\n");

    let begun = Instant::now();
    let mut stack = Stack::try_start(StackOptions::default().limits("load").env("LOG_LEVEL", "warn")).await?;
    eprintln!("the stack is up after {:.1} s", begun.elapsed().as_secs_f64());
    let pid = stack.processes()[0].pid();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let idle = machine::resident_mib(pid);
    let mut rows = Vec::new();
    if wanted("b1") || wanted("b11") {
        // B11 asks for the memory under B1's load
        let measured = b1::b1(&mut stack, pid, length, wanted("b1")).await?;
        rows.extend(measured.into_iter().filter(|_| wanted("b1")));
    }
    if wanted("b11") {
        rows.push(b11(&mut stack, idle, pid).await?);
    }
    if wanted("b3") {
        rows.extend(b3::b3(&mut stack, length).await?);
    }
    rows::print(&rows);
    if let Some(file) = &arguments.json {
        let scenarios: Vec<Value> = rows.iter().map(Row::json).collect();
        let report = json!({ "machine": machine, "scenarios": scenarios });
        std::fs::write(file, serde_json::to_string_pretty(&report)? + "\n").context("writing the figures")?;
        println!("\nwritten to {}", file.display());
    }
    Ok(())
}

/// Memory, start, size.
async fn b11(stack: &mut Stack, idle: f64, pid: u32) -> anyhow::Result<Row> {
    let loaded = machine::peak_mib(pid);
    let begun = Instant::now();
    let mut second = stack.start_roles("all", &[]).await;
    let start = begun.elapsed().as_secs_f64();
    second.terminate().await?;
    let binary = std::env::current_exe()?.with_file_name("lectern");
    let note = format!(
        "idle {idle:.0} MiB (goal < 120), peak under B1 {loaded:.0} MiB; start to ready {start:.2} s (goal < 3); binary {:.1} MiB (goal < 60)",
        machine::file_mib(&binary)
    );
    Ok(Row { name: "B11 footprint", rss_mib: Some(idle), note, ..Row::default() })
}
