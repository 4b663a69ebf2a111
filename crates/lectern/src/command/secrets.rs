//! `lectern secrets`: the secrets file.

use std::path::PathBuf;

use clap::Subcommand;
use lectern_core::config::Env;

use crate::secrets::Secrets;

/// Makes and extends the secrets file.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Add every secret that is missing; what is there stays. Prints what was added, never a secret.
    #[command(after_help = "Example:\n  lectern secrets init --file /etc/lectern/secrets.json")]
    Init {
        /// The file; made with mode 0600 when it isn't there.
        #[arg(long, env = "LECTERN_SECRETS_FILE", value_name = "FILE")]
        file: PathBuf,
    },
}

pub fn secrets(_env: &Env, command: Command) -> anyhow::Result<()> {
    let Command::Init { file } = command;
    let mut secrets = if file.exists() { Secrets::read(&file)? } else { Secrets::default() };
    let added = secrets.extend()?;
    if added.is_empty() {
        println!("{}: nothing to add", file.display());
        return Ok(());
    }
    secrets.write(&file)?;
    for name in added {
        println!("added {name}");
    }
    Ok(())
}
