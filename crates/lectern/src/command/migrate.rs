//! `lectern migrate`: schemas, PostgreSQL roles, rights, tables.

use anyhow::{Context, bail, ensure};
use clap::Subcommand;
use lectern_core::config::{self, Env};
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};

use crate::roles::{self, Role};
use crate::secrets::Secrets;

/// What core keeps in every schema.
static CORE: Migrator = sqlx::migrate!("../core/migrations");
/// One migration run at a time per database: "lectern" as a number.
const LOCK: i64 = 0x006c_6563_7465_726e;

/// Bring the database up to date: schemas, roles, rights, tables. Without a word it goes up; running it again does nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lectern migrate\n  lectern migrate down --one enrollment")]
pub struct Args {
    #[command(subcommand)]
    direction: Option<Direction>,
}

#[derive(Debug, Subcommand)]
enum Direction {
    /// Apply what is missing.
    Up,
    /// Undo the last migration of one role.
    Down {
        /// The role.
        #[arg(long, value_name = "ROLE")]
        one: String,
        /// Do it in staging or production, too.
        #[arg(long)]
        yes_lose_data: bool,
    },
}

pub async fn migrate(env: &Env, args: &Args) -> anyhow::Result<()> {
    let options: PgConnectOptions =
        env.require(&config::DATABASE_URL)?.parse().context("DATABASE_URL: no PostgreSQL URL")?;
    let options = options.application_name("lectern/migrate").disable_statement_logging();
    let mut owner = PgConnection::connect_with(&options).await.context("DATABASE_URL")?;
    let version: i32 =
        sqlx::query_scalar("SELECT current_setting('server_version_num')::int").fetch_one(&mut owner).await?;
    ensure!(
        version >= 150_000,
        "DATABASE_URL: PostgreSQL 15 or newer is needed, this is {}",
        version / 10_000
    );
    sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut owner).await?;
    match &args.direction {
        None | Some(Direction::Up) => up(env, &mut owner, &options).await?,
        Some(Direction::Down { one, yes_lose_data }) => {
            let strict = env.environment()?.is_strict();
            ensure!(
                *yes_lose_data || !strict,
                "going down loses data: in staging and production say --yes-lose-data"
            );
            down(&options, one).await?;
        }
    }
    // closing the connection gives the lock back
    Ok(owner.close().await?)
}

async fn up(env: &Env, owner: &mut PgConnection, options: &PgConnectOptions) -> anyhow::Result<()> {
    let secrets = Secrets::load(env)?;
    ensure!(
        secrets.is_some() || !env.environment()?.is_strict(),
        "{} is required in staging and production: each role needs its own password",
        config::SECRETS_FILE.name
    );
    let limit: u16 = env.parse(&roles::DATABASE_ROLE_CONNECTIONS)?;
    sqlx::raw_sql("REVOKE ALL ON SCHEMA public FROM PUBLIC").execute(&mut *owner).await?;
    for role in roles::ROLES {
        let Some(migrations) = role.migrations else { continue };
        let schema = role.name;
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE SCHEMA IF NOT EXISTS {schema}")))
            .execute(&mut *owner)
            .await?;
        if let Some(secrets) = &secrets {
            let password = secrets.database.get(schema).with_context(|| {
                format!(
                    "the secrets file has no database password of {schema}; `lectern secrets init` adds it"
                )
            })?;
            sign_in(owner, schema, password, limit)
                .await
                .with_context(|| format!("role lectern_{schema}"))?;
        }
        let mut connection =
            PgConnection::connect_with(&options.clone().options([("search_path", schema)])).await?;
        let before = applied(&mut connection).await?;
        combined(migrations).run(&mut connection).await.with_context(|| format!("migrating {schema}"))?;
        let after = applied(&mut connection).await?;
        connection.close().await?;
        if secrets.is_some() {
            rights(owner, schema).await?;
        }
        match after.len() - before.len() {
            0 => println!("unchanged  {schema}, at {}", after.last().copied().unwrap_or_default()),
            new => println!(
                "migrated   {schema}: {new} applied, at {}",
                after.last().copied().unwrap_or_default()
            ),
        }
    }
    if secrets.is_none() {
        println!("no secrets file: every role signs in as the owner");
    }
    Ok(())
}

/// The role's sign-in, with its password and its limit as they are now.
async fn sign_in(owner: &mut PgConnection, schema: &str, password: &str, limit: u16) -> anyhow::Result<()> {
    ensure!(
        password.bytes().all(|b| b.is_ascii_alphanumeric()),
        "its password may have letters and digits only"
    );
    let role = format!("lectern_{schema}");
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)")
        .bind(&role)
        .fetch_one(&mut *owner)
        .await?;
    let verb = if exists { "ALTER" } else { "CREATE" };
    let statement = format!(
        "{verb} ROLE {role} WITH LOGIN CONNECTION LIMIT {limit} PASSWORD '{password}';
         ALTER ROLE {role} SET search_path = {schema}"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(owner).await?;
    Ok(())
}

/// Its own schema's rows, nothing else: no other schema, no DDL, not the record of migrations.
async fn rights(owner: &mut PgConnection, schema: &str) -> anyhow::Result<()> {
    let role = format!("lectern_{schema}");
    let statement = format!(
        "REVOKE ALL ON SCHEMA {schema} FROM PUBLIC;
         GRANT USAGE ON SCHEMA {schema} TO {role};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role};
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role};
         ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role};
         ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT USAGE ON SEQUENCES TO {role};
         REVOKE ALL ON {schema}._sqlx_migrations FROM {role};"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut *owner).await?;
    for (_, table) in roles::APPEND_ONLY.iter().filter(|(of, _)| *of == schema) {
        let statement = format!("REVOKE UPDATE, DELETE ON {schema}.{table} FROM {role}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut *owner).await?;
    }
    Ok(())
}

async fn down(options: &PgConnectOptions, name: &str) -> anyhow::Result<()> {
    let role = roles::ROLES.iter().find(|role| role.name == name);
    let Some(Role { migrations: Some(migrations), .. }) = role else {
        bail!("there is no role {name:?} with a schema");
    };
    let mut connection =
        PgConnection::connect_with(&options.clone().options([("search_path", name)])).await?;
    let versions = applied(&mut connection).await?;
    let Some(last) = versions.last() else { bail!("{name}: nothing to undo") };
    let before = versions.iter().rev().nth(1).copied().unwrap_or(0);
    combined(migrations)
        .undo(&mut connection, before)
        .await
        .with_context(|| format!("undoing {last} of {name}"))?;
    println!("undone     {name}: {last}, now at {before}");
    Ok(connection.close().await?)
}

/// Core's migrations and the worker's own, numbered apart.
fn combined(own: &Migrator) -> Migrator {
    Migrator::with_migrations(CORE.iter().chain(own.iter()).cloned().collect())
}

async fn applied(connection: &mut PgConnection) -> anyhow::Result<Vec<i64>> {
    let there: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if !there {
        return Ok(Vec::new());
    }
    Ok(sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success ORDER BY version")
        .fetch_all(connection)
        .await?)
}
