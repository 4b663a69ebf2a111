//! `lectern token`: service tokens for machines.

use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;
use lectern_core::Clock;
use lectern_core::config::{self, Env};
use lectern_core::pg::Database;
use lectern_subjects::Role;
use sqlx::PgPool;

use crate::secrets::Secrets;

/// Service tokens: for machines, without an account.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Issue a token and print it; it is shown once and not kept.
    #[command(
        after_help = "Examples:\n  lectern token issue --name nightly-report\n  lectern token issue --name importer --roles operator --ttl 30d"
    )]
    Issue {
        /// The machine: lower-case letters, digits, - and _.
        #[arg(long)]
        name: String,
        /// Roles besides `service`, separated by commas.
        #[arg(long, value_delimiter = ',', value_name = "ROLES")]
        roles: Vec<Role>,
        #[command(flatten)]
        ttl: Ttl,
    },
    /// End every token of a machine; all roles refuse them within seconds.
    #[command(after_help = "Example:\n  lectern token revoke --name importer")]
    Revoke {
        /// The machine.
        #[arg(long)]
        name: String,
    },
}

/// How long a token lives.
#[derive(Debug, clap::Args)]
pub struct Ttl {
    /// Life of the token: a number and s, m, h or d; 1 s to 366 days.
    #[arg(long, default_value = "90d")]
    ttl: String,
}

impl Ttl {
    /// As a duration.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn seconds(&self) -> anyhow::Result<Duration> {
        let parsed = || -> Option<u64> {
            let unit = match self.ttl.chars().last()? {
                's' => 1,
                'm' => 60,
                'h' => 3600,
                'd' => 86_400,
                _ => return None,
            };
            self.ttl[..self.ttl.len() - 1].parse::<u64>().ok()?.checked_mul(unit)
        };
        Ok(Duration::from_secs(
            parsed().with_context(|| format!("--ttl {:?}: expected for example 90d", self.ttl))?,
        ))
    }
}

pub async fn token(env: &Env, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Issue { name, roles, ttl } => {
            println!("{}", issue(env, &name, &roles, ttl.seconds()?).await?)
        }
        Command::Revoke { name } => {
            println!("ended {} tokens of {name}", revoke(env, &name).await?);
        }
    }
    Ok(())
}

/// Issues a service token.
///
/// # Errors
/// What identity refuses, or when its database is away.
pub async fn issue(env: &Env, name: &str, roles: &[Role], ttl: Duration) -> anyhow::Result<String> {
    let (env, pool) = identity(env)?;
    let token =
        lectern_identity::issue_service_token(&pool, &env, name, roles, ttl, &Clock::default()).await?;
    pool.close().await;
    Ok(token)
}

/// Ends every token of a machine; answers how many.
///
/// # Errors
/// When identity's database is away.
pub async fn revoke(env: &Env, name: &str) -> anyhow::Result<u64> {
    let (_, pool) = identity(env)?;
    lectern_identity::revoke_service_tokens(&pool, name, &Clock::default()).await
}

/// Identity's schema, as identity's own role, and its settings with its secrets.
///
/// # Errors
/// When a setting is missing.
pub fn identity(env: &Env) -> anyhow::Result<(Env, PgPool)> {
    let mut env = env.clone();
    let mut password = None;
    if let Some(secrets) = Secrets::load(&env)? {
        secrets.fill(&mut env);
        let own = secrets.database.get("identity").cloned();
        password = Some(own.context("the secrets file has no database password of identity")?);
    }
    let url = env.require(&config::DATABASE_URL)?.to_owned();
    let pool = Database { url, schema: "identity", password, connections: 1 }.pool()?;
    Ok((env, pool))
}
