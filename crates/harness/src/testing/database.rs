//! A database of one test.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};

use anyhow::Context;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};

use super::cluster::TestCluster;
use super::home;

/// A fresh database in the test cluster. Dropping the value drops the database.
#[derive(Debug)]
pub struct Database {
    name: String,
    url: String,
    admin_url: String,
}

impl Database {
    /// Creates one from `template` (`template1`: an empty one).
    pub(super) async fn create(cluster: &TestCluster, template: &str) -> anyhow::Result<Database> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{count}", std::process::id());
        let admin_url = cluster.url("postgres");
        run(&admin_url, &format!("CREATE DATABASE {name} TEMPLATE {template}"))
            .await
            .with_context(|| format!("creating a database from {template}"))?;
        Ok(Database { url: cluster.url(&name), name, admin_url })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The owner's URL (a superuser of the test cluster).
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The superuser's URL of the cluster's own database, for what concerns the cluster.
    pub(super) fn admin_url(&self) -> &str {
        &self.admin_url
    }

    /// The owner's URL with `schema` as search path, as a role of that schema would see it.
    pub fn url_in(&self, schema: &str) -> String {
        format!("{}?options[search_path]={schema}", self.url)
    }

    /// A pool of the owner over `schema`.
    pub async fn pool(&self, schema: &str, connections: u32) -> anyhow::Result<PgPool> {
        let options = PgPoolOptions::new().max_connections(connections);
        options.connect(&self.url_in(schema)).await.with_context(|| format!("connecting to {}", self.name))
    }

    /// One connection of the owner.
    pub async fn connect(&self) -> anyhow::Result<PgConnection> {
        PgConnection::connect(&self.url).await.with_context(|| format!("connecting to {}", self.name))
    }

    /// Runs statements as the owner: for arranging a test, and for looking behind the doors at what was written.
    pub async fn execute(&self, sql: &str) -> anyhow::Result<()> {
        run(&self.url, sql).await
    }

    /// One value read as the owner, as PostgreSQL prints it; `None` for NULL or no row.
    pub async fn value(&self, sql: &str) -> anyhow::Result<Option<String>> {
        let wrapped = format!("SELECT value::text FROM ({sql}) AS asked(value)");
        let mut connection = self.connect().await?;
        let row: Option<(Option<String>,)> =
            sqlx::query_as(AssertSqlSafe(wrapped)).fetch_optional(&mut connection).await?;
        connection.close().await?;
        Ok(row.and_then(|row| row.0))
    }

    /// Ends every connection to it and refuses new ones from other roles than superusers, until
    /// [`allow`](Database::allow): a database that is gone for everybody. For one process alone, put a
    /// [`Proxy`](crate::servers::Proxy) in between.
    pub async fn forbid(&self) -> anyhow::Result<()> {
        let name = &self.name;
        run(&self.admin_url, &format!("ALTER DATABASE {name} CONNECTION LIMIT 0")).await?;
        let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
        run(&self.admin_url, &end).await
    }

    /// Lets connections in again.
    pub async fn allow(&self) -> anyhow::Result<()> {
        run(&self.admin_url, &format!("ALTER DATABASE {} CONNECTION LIMIT -1", self.name)).await
    }
}

/// Statements on a connection of their own.
pub(super) async fn run(url: &str, sql: &str) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(url).await.context("connecting to the test cluster")?;
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await?;
    Ok(connection.close().await?)
}

impl Drop for Database {
    fn drop(&mut self) {
        if home::keeps() {
            return;
        }
        // a test's own runtime may be ending: one thread of the process drops databases for all tests
        static DROPS: OnceLock<Sender<(String, String)>> = OnceLock::new();
        let drops = DROPS.get_or_init(|| {
            let (sender, receiver) = channel::<(String, String)>();
            std::thread::spawn(move || {
                let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
                    return;
                };
                for (admin_url, name) in receiver {
                    // what isn't dropped goes with the cluster
                    drop(
                        runtime.block_on(run(
                            &admin_url,
                            &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
                        )),
                    );
                }
            });
            sender
        });
        drop(drops.send((self.admin_url.clone(), self.name.clone())));
    }
}
