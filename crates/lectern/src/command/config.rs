//! `lectern config`: what is in force.

use lectern_core::config::{self, Env};

use crate::roles;

/// Print the configuration in force, secrets masked; a `*` marks what was set.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lectern config\n  lectern config --env-example > .env.example")]
pub struct Args {
    /// Print a configuration file with every setting, its meaning and its default instead.
    #[arg(long)]
    env_example: bool,
}

pub fn config(env: &Env, args: &Args) -> anyhow::Result<()> {
    if args.env_example {
        print!("{}", config::example(&roles::settings_by_part()));
        return Ok(());
    }
    print!("{}", config::print(env, &roles::settings()));
    for warning in env.check()? {
        eprintln!("lectern: {warning}");
    }
    Ok(())
}
