//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lectern_core::config::Env;
use lectern_core::telemetry;

use crate::command::{
    admin, call, config, migrate, nats_config, provision, run, sample_academy, secrets, status, token, tool,
};
use crate::roles;

/// Lectern: an online-learning business on NATS JetStream and PostgreSQL.
///
/// Settings come from the environment, and from a file of NAME=value lines with --config; `lectern config` shows what is
/// in force.
#[derive(Debug, Parser)]
#[command(name = "lectern", version, max_term_width = 120)]
struct Cli {
    /// A file of NAME=value lines; variables of the environment override it.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Migrate(migrate::Args),
    Provision(provision::Args),
    Status(status::Args),
    Call(call::Args),
    Config(config::Args),
    #[command(subcommand)]
    Secrets(secrets::Command),
    NatsConfig(nats_config::Args),
    #[command(subcommand)]
    Token(token::Command),
    #[command(subcommand)]
    Tool(tool::Command),
    #[command(subcommand)]
    Admin(admin::Command),
    SampleAcademy(sample_academy::Args),
}

/// Reads the command line and does what it says; 0 when it was done, 1 when not, 2 when the line makes no sense.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match execute(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lectern: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(cli: Cli) -> anyhow::Result<()> {
    let env = Env::load(cli.config.as_deref(), &roles::settings())?;
    if let Command::Config(args) = cli.command {
        return config::config(&env, &args);
    }
    let warnings = env.check()?;
    // the span exporter has a thread of its own and must be made outside the runtime
    let telemetry = match &cli.command {
        Command::Run(_) => Some(telemetry::init(&env)?),
        _ => None,
    };
    for warning in &warnings {
        match telemetry {
            Some(_) => tracing::warn!("{warning}"),
            None => eprintln!("lectern: {warning}"),
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        match cli.command {
            Command::Run(args) => run::run(env, args).await,
            Command::Migrate(args) => migrate::migrate(&env, &args).await,
            Command::Provision(args) => provision::provision(&env, &args).await,
            Command::Status(args) => status::status(&env, &args).await,
            Command::Call(args) => call::call(&env, args).await,
            Command::Config(args) => config::config(&env, &args),
            Command::Secrets(command) => secrets::secrets(&env, command),
            Command::NatsConfig(args) => nats_config::nats_config(&env, &args),
            Command::Token(command) => token::token(&env, command).await,
            Command::Tool(command) => tool::tool(&env, command).await,
            Command::Admin(command) => admin::admin(&env, command).await,
            Command::SampleAcademy(args) => sample_academy::sample_academy(&env, &args).await,
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    drop(telemetry);
    done
}
