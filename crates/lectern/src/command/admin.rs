//! `lectern admin`: what has to work before anybody can sign in.

use std::io::BufRead;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use clap::Subcommand;
use lectern_core::Clock;
use lectern_core::config::Env;
use lectern_subjects::Role;

use super::token;
use crate::secrets::random;

/// Administration without a running system.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an account, verified from the start, also the first admin's. Prints its id, and the password when it was generated.
    #[command(
        after_help = "Examples:\n  lectern admin create-user --email ada@example.com --name Ada --role admin\n  echo \"$PASSWORD\" | lectern admin create-user --email ada@example.com --name Ada --role admin --password-stdin"
    )]
    CreateUser {
        /// The address.
        #[arg(long)]
        email: String,
        /// The name.
        #[arg(long)]
        name: String,
        /// user, moderator, operator, auditor or admin.
        #[arg(long, default_value = "user")]
        role: Role,
        /// Read the password from the first line of standard input instead of generating one.
        #[arg(long)]
        password_stdin: bool,
    },
}

pub async fn admin(env: &Env, command: Command) -> anyhow::Result<()> {
    let Command::CreateUser { email, name, role, password_stdin } = command;
    let password = if password_stdin { first_line()? } else { generated()? };
    let (env, pool) = token::identity(env)?;
    let id =
        lectern_identity::create_user_direct(&pool, &env, &Clock::default(), &email, &name, role, &password)
            .await?;
    pool.close().await;
    if password_stdin {
        println!("{id}");
    } else {
        println!("{id} {password}");
    }
    Ok(())
}

fn first_line() -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("reading the password")?;
    let password = line.trim_end_matches(['\r', '\n']).to_owned();
    ensure!(!password.is_empty(), "--password-stdin: standard input is empty");
    Ok(password)
}

/// 144 random bits, and one character of each kind that the rules ask for.
fn generated() -> anyhow::Result<String> {
    Ok(format!("{}-Aa1", BASE64_URL_SAFE_NO_PAD.encode(random::<18>()?)))
}
