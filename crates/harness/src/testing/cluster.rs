//! The PostgreSQL cluster of a test process.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::home::Home;
use crate::environment;
use crate::servers::{Cluster, ClusterOptions, Durability, PortLease, PostgresBinary};

/// The variable that names a cluster which is already running for the tests, as JSON; `./dev test` sets it so that
/// its test binaries share one.
pub const SHARED_CLUSTER: &str = "LECTERN_TEST_CLUSTER";

/// A running throw-away cluster, and a directory for what belongs to its templates.
#[derive(Debug)]
pub struct TestCluster {
    place: Place,
    _running: Option<(Cluster, PortLease)>,
}

/// What another process needs to use it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Place {
    port: u16,
    dir: PathBuf,
}

impl TestCluster {
    /// This process's cluster: the shared one when `LECTERN_TEST_CLUSTER` names it, else its own, started at the first call.
    pub(super) async fn get() -> anyhow::Result<&'static TestCluster> {
        static CLUSTER: OnceCell<TestCluster> = OnceCell::const_new();
        CLUSTER
            .get_or_try_init(async || match environment::var(SHARED_CLUSTER) {
                Some(place) => {
                    let place =
                        serde_json::from_str(&place).with_context(|| format!("reading {SHARED_CLUSTER}"))?;
                    Ok(TestCluster { place, _running: None })
                }
                None => TestCluster::start().await,
            })
            .await
    }

    /// Starts one that ends with this process.
    pub async fn start() -> anyhow::Result<TestCluster> {
        let home = Home::get()?;
        let binary = PostgresBinary::find_or_fetch()?;
        let dir = home.room("postgres-")?.keep();
        let lease = PortLease::take()?;
        let options = ClusterOptions {
            dir: dir.clone(),
            port: lease.number(),
            durability: Durability::Thrown,
            detached: false,
            watchdog: Some(home.watchdog().clone()),
        };
        let cluster = Cluster::start(&binary, options).await?;
        let templates = home.room("templates-")?.keep();
        let place = Place { port: lease.number(), dir: templates };
        Ok(TestCluster { place, _running: Some((cluster, lease)) })
    }

    /// The value of `LECTERN_TEST_CLUSTER` that shares this cluster with child processes.
    pub fn shared(&self) -> String {
        serde_json::to_string(&self.place).unwrap_or_default()
    }

    /// The superuser's URL of a database.
    pub(super) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.place.port)
    }

    /// Where secrets and locks of templates lie.
    pub(super) fn dir(&self) -> &Path {
        &self.place.dir
    }
}
