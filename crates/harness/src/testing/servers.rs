//! Single servers for tests of core and of workers.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::cluster::TestCluster;
use super::database::Database;
use super::home::Home;
use super::migrations::apply_migrations;
use crate::servers::{NatsBinary, NatsOptions, NatsServer};

/// Gives out servers to tests. All of it panics with the whole story when a server can't be had.
#[derive(Debug)]
pub struct TestServers;

impl TestServers {
    /// A nats-server of this test's own: JetStream on, no users, free ports.
    ///
    /// # Panics
    /// When it doesn't start.
    pub async fn nats() -> Nats {
        Nats::start(None).await.unwrap_or_else(|error| panic!("no nats-server for this test: {error:#}"))
    }

    /// The same with a configuration file (users and permissions).
    ///
    /// # Panics
    /// When it doesn't start.
    pub async fn nats_configured(config: &Path) -> Nats {
        Nats::start(Some(config.to_owned()))
            .await
            .unwrap_or_else(|error| panic!("no nats-server for this test: {error:#}"))
    }

    /// An empty database of this test's own.
    ///
    /// # Panics
    /// When the cluster or the database can't be made.
    pub async fn empty_database() -> Database {
        let made = async { Database::create(TestCluster::get().await?, "template1").await }.await;
        made.unwrap_or_else(|error| panic!("no database for this test: {error:#}"))
    }

    /// A database of this test's own with the migrations of `dirs` (each a directory of `*.up.sql`, relative to the
    /// workspace) in schema `public`.
    ///
    /// # Panics
    /// When the cluster or the database can't be made, or a migration is refused.
    pub async fn database(dirs: &[impl AsRef<Path>]) -> Database {
        TestServers::database_with("public", dirs).await
    }

    /// The same in a named schema. More schemas: [`apply_migrations`] on its URL.
    ///
    /// # Panics
    /// When the cluster or the database can't be made, or a migration is refused.
    pub async fn database_with(schema: &str, dirs: &[impl AsRef<Path>]) -> Database {
        let database = TestServers::empty_database().await;
        if let Err(error) = apply_migrations(database.url(), schema, dirs).await {
            panic!("no database for this test: {error:#}");
        }
        database
    }
}

/// A nats-server of one test. Dropping it kills the server and removes its directory.
#[derive(Debug)]
pub struct Nats {
    server: NatsServer,
    room: TempDir,
}

impl Nats {
    pub(super) async fn start(config: Option<PathBuf>) -> anyhow::Result<Nats> {
        let home = Home::get()?;
        let room = home.room("nats-")?;
        let binary = NatsBinary::find_or_fetch()?;
        let options = NatsOptions {
            dir: room.path().to_owned(),
            ports: None,
            config,
            detached: false,
            watchdog: Some(home.watchdog().clone()),
        };
        let server = NatsServer::start(&binary, options).await?;
        Ok(Nats { server, room })
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        self.room.path()
    }

    /// `kill -9`.
    pub fn kill9(&mut self) {
        self.server.process.kill();
    }

    /// Starts it again after [`kill9`](Nats::kill9) or [`stop`](NatsServer::stop): same ports, same store.
    ///
    /// # Errors
    /// What nats-server said.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.server.start_again().await
    }
}

impl Deref for Nats {
    type Target = NatsServer;
    fn deref(&self) -> &NatsServer {
        &self.server
    }
}

impl DerefMut for Nats {
    fn deref_mut(&mut self) -> &mut NatsServer {
        &mut self.server
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.server.process.kill();
    }
}
