//! The migrated template database that stacks are cloned from: made once per cluster and build of `lectern`.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use ring::digest::{SHA256, digest};

use super::cluster::TestCluster;
use super::database::run;

/// PostgreSQL counts a role's connections over the whole cluster, which many stacks share.
pub(super) const ROLE_CONNECTIONS: (&str, &str) = ("DATABASE_ROLE_CONNECTIONS", "450");

/// A migrated database nobody connects to, and the secrets that its roles were made with.
#[derive(Debug, Clone)]
pub(super) struct Template {
    /// The database's name.
    pub(super) database: String,
    /// The secrets file. All stacks of one cluster share it, because PostgreSQL's roles belong to the cluster.
    pub(super) secrets: PathBuf,
}

impl Template {
    /// The template of this build of `lectern`, made by the first who asks.
    pub(super) async fn get(cluster: &TestCluster, lectern: &Path) -> anyhow::Result<Template> {
        let meta = lectern.metadata()?;
        let build = format!("{} {} {:?}", lectern.display(), meta.len(), meta.modified()?);
        let hash = hex::encode(&digest(&SHA256, build.as_bytes()).as_ref()[..6]);
        let template =
            Template { database: format!("template_{hash}"), secrets: cluster.dir().join("secrets.json") };
        let done = cluster.dir().join(format!("{}.made", template.database));
        let _lock = lock(&cluster.dir().join("template.lock")).await?;
        if !done.exists() {
            template.make(cluster, lectern).await.context("making the template database")?;
            fs::write(&done, "")?;
        }
        Ok(template)
    }

    async fn make(&self, cluster: &TestCluster, lectern: &Path) -> anyhow::Result<()> {
        if !self.secrets.exists() {
            ran(Command::new(lectern).args(["secrets", "init", "--file"]).arg(&self.secrets))?;
        }
        let (admin, name) = (cluster.url("postgres"), &self.database);
        run(&admin, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
        run(&admin, &format!("CREATE DATABASE {name}")).await?;
        let mut migrate = Command::new(lectern);
        migrate.arg("migrate").env("ENVIRONMENT", "test").env("DATABASE_URL", cluster.url(name));
        migrate.env(ROLE_CONNECTIONS.0, ROLE_CONNECTIONS.1);
        ran(migrate.env("LECTERN_SECRETS_FILE", &self.secrets).current_dir(cluster.dir()))?;
        // a template with a guest can't be cloned
        run(&admin, &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await
    }
}

fn ran(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&said).trim()
    );
    Ok(())
}

/// Waits for a lock file without holding up the runtime.
async fn lock(path: &Path) -> anyhow::Result<File> {
    let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(TryLockError::Error(error)) => return Err(error).context("locking"),
        }
    }
}
