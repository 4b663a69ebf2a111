//! `./dev`: the development stack of this checkout, its tests and its tools.

mod cmd;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The one script of the house.
#[derive(Parser)]
#[command(name = "./dev", version, disable_version_flag = true)]
struct Dev {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start everything, print how to reach it, and stay until Ctrl-C
    Up(cmd::up::Up),
    /// How to reach what runs
    Status(cmd::status::Status),
    /// The messages of the development mailbox, newest last
    Mail(cmd::mail::Mail),
    /// Stop what `up` started; data stays
    Down,
    /// Stop and forget all data of this checkout's stack
    Reset,
    /// What the roles and servers wrote
    Logs(cmd::logs::Logs),
    /// What is missing or in the way, one line each
    Doctor,
    /// A PostgreSQL shell, in the schema of a worker if named
    Psql(cmd::tools::Psql),
    /// The nats CLI as the internal-tools user of the running stack
    Nats(cmd::tools::Nats),
    /// Run one role in the foreground against the running stack
    Run(cmd::tools::Run),
    /// Every test, or those whose name contains FILTER; starts what they need itself
    Test(cmd::test::Test),
    /// Play the main story through the public doors of the running stack
    Demo(cmd::story::Demo),
    /// Measure, with an optimised build
    Bench(cmd::story::Bench),
    /// Write `.sqlx` anew from a freshly migrated database
    Sqlx(cmd::sqlx::Sqlx),
    /// Format all code
    Fmt,
    /// Formatting and clippy, warnings as errors
    Lint,
    /// Not built yet
    #[command(hide = true)]
    Chaos(cmd::later::Later),
    /// Not built yet
    #[command(hide = true)]
    Chart(cmd::later::Later),
    /// Not built yet
    #[command(hide = true)]
    Images(cmd::later::Later),
    /// Not built yet
    #[command(hide = true)]
    Docs(cmd::later::Later),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let done = match Dev::parse().verb {
        Verb::Up(up) => up.run().await,
        Verb::Status(status) => status.run(),
        Verb::Mail(mail) => mail.run(),
        Verb::Down => cmd::down::down().await,
        Verb::Reset => cmd::down::reset().await,
        Verb::Logs(logs) => logs.run().await,
        Verb::Doctor => cmd::doctor::doctor(),
        Verb::Psql(psql) => psql.run(),
        Verb::Nats(nats) => nats.run(),
        Verb::Run(run) => run.run(),
        Verb::Test(test) => test.run().await,
        Verb::Demo(demo) => demo.run(),
        Verb::Bench(bench) => bench.run(),
        Verb::Sqlx(sqlx) => sqlx.run().await,
        Verb::Fmt => cmd::lint::fmt(),
        Verb::Lint => cmd::lint::lint(),
        Verb::Chaos(_) => cmd::later::say("chaos"),
        Verb::Chart(_) => cmd::later::say("chart"),
        Verb::Images(_) => cmd::later::say("images"),
        Verb::Docs(_) => cmd::later::say("docs"),
    };
    done.unwrap_or_else(|error| {
        eprintln!("./dev: {error:#}");
        ExitCode::FAILURE
    })
}
