//! A private PostgreSQL cluster: initialised, started as a child, stopped by us.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::Signal;
use sqlx::{Connection, PgConnection};

use super::account::Account;
use super::postgres_binary::PostgresBinary;
use super::process::{Launch, Process};
use super::watchdog::Watchdog;

/// What a cluster is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Durability {
    /// Development: fsync on, every connection needs the password, 200 connections.
    Kept {
        /// The superuser's password.
        password: String,
    },
    /// Tests: no fsync, whoever reaches its loopback port is let in, 500 connections; gone with the test process.
    Thrown,
}

/// Where and how a cluster runs.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Its own directory; `data` inside it is the cluster. Another user must be able to reach it when we are root.
    pub dir: PathBuf,
    /// The loopback port.
    pub port: u16,
    /// Kept or thrown away.
    pub durability: Durability,
    /// It outlives us.
    pub detached: bool,
    /// Who ends it when we can't.
    pub watchdog: Option<Watchdog>,
}

/// A running cluster. Dropping it doesn't stop it.
#[derive(Debug)]
pub struct Cluster {
    /// The server.
    pub process: Process,
    options: ClusterOptions,
}

impl Cluster {
    /// Initialises the directory where needed, starts the server, waits until it lets us in.
    ///
    /// # Errors
    /// What PostgreSQL said, from its log.
    pub async fn start(binary: &PostgresBinary, options: ClusterOptions) -> anyhow::Result<Cluster> {
        let mut cluster = Cluster::spawn(binary, options)?;
        cluster.wait_ready().await?;
        Ok(cluster)
    }

    /// The same without waiting: for a caller who notes the process first.
    ///
    /// # Errors
    /// What `initdb` said.
    pub fn spawn(binary: &PostgresBinary, options: ClusterOptions) -> anyhow::Result<Cluster> {
        let account = Account::for_servers();
        fs::create_dir_all(&options.dir)?;
        if let Some(account) = account {
            account.owns(&options.dir)?;
            fs::set_permissions(&options.dir, fs::Permissions::from_mode(0o755))?;
        }
        let data = options.dir.join("data");
        if !data.join("PG_VERSION").exists() {
            initialise(binary, &options, &data, account)?;
        }
        check_version(binary, &data)?;
        remove_stale_lock(&data)?;

        let mut launch = Launch::new("postgres", binary.program("postgres"), &options.dir);
        launch.account = account;
        launch.detached = options.detached;
        launch.watchdog = options.watchdog.clone().map(|watchdog| (watchdog, "QUIT"));
        launch.env = [("LC_ALL".to_owned(), "C".to_owned())].into();
        launch = launch.args(["-D".into(), data.into_os_string()]).args(["-p", &options.port.to_string()]);
        for setting in settings(&options.durability) {
            launch = launch.args(["-c", setting]);
        }
        Ok(Cluster { process: launch.start()?, options })
    }

    /// The superuser's URL of database `name`.
    pub fn url(&self, name: &str) -> String {
        let ClusterOptions { port, durability, .. } = &self.options;
        match durability {
            Durability::Kept { password } => {
                format!("postgres://postgres:{password}@127.0.0.1:{port}/{name}")
            }
            Durability::Thrown => format!("postgres://postgres@127.0.0.1:{port}/{name}"),
        }
    }

    /// Stops it in order: open connections are cut, the data is written.
    pub async fn stop(&mut self) {
        self.process.stop(Signal::SIGINT, Duration::from_secs(30)).await;
    }

    /// Waits until it lets us in.
    ///
    /// # Errors
    /// What PostgreSQL said, from its log.
    pub async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let url = self.url("postgres");
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let error = match PgConnection::connect(&url).await {
                Ok(connection) => return Ok(connection.close().await?),
                Err(error) => error,
            };
            if self.process.ended().is_some() {
                return Err(self.process.failure("it ended while starting"));
            }
            if Instant::now() > until {
                self.process.kill();
                return Err(self.process.failure("not ready within 60 s").context(error));
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
}

/// The settings of the command line: nothing is read from the machine's own configuration.
fn settings(durability: &Durability) -> &'static [&'static str] {
    match durability {
        Durability::Kept { .. } => &[
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=", // its path may be too long for a socket; loopback with a password is enough
            "max_connections=200",
            "log_line_prefix=%m [%p] %q%u@%d ",
            "timezone=UTC",
        ],
        Durability::Thrown => &[
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=500",
            "fsync=off",
            "full_page_writes=off",
            "wal_level=minimal",
            "max_wal_senders=0",
            "shared_buffers=64MB",
            "log_line_prefix=%m [%p] %q%u@%d ",
            "timezone=UTC",
        ],
    }
}

/// `initdb` into a directory beside the final one, so that an interrupted one leaves nothing half-made.
fn initialise(
    binary: &PostgresBinary,
    options: &ClusterOptions,
    data: &Path,
    account: Option<Account>,
) -> anyhow::Result<()> {
    let fresh = options.dir.join("data.new");
    if fresh.exists() {
        fs::remove_dir_all(&fresh)?;
    }
    let mut command = Command::new(binary.program("initdb"));
    command.arg("-D").arg(&fresh).args([
        "-U",
        "postgres",
        "--encoding=UTF8",
        "--no-locale",
        "--data-checksums",
    ]);
    let password_file = options.dir.join("password.new");
    match &options.durability {
        Durability::Kept { password } => {
            fs::write(&password_file, password)?;
            fs::set_permissions(&password_file, fs::Permissions::from_mode(0o600))?;
            if let Some(account) = account {
                account.owns(&password_file)?;
            }
            command.arg("--auth=scram-sha-256").arg(format!("--pwfile={}", password_file.display()));
        }
        Durability::Thrown => {
            command.args(["--auth=trust", "--no-sync"]);
        }
    }
    if let Some(Account { uid, gid }) = account {
        use std::os::unix::process::CommandExt;
        command.uid(uid).gid(gid);
    }
    let output = command.env("LC_ALL", "C").current_dir(&options.dir).stdin(Stdio::null()).output();
    if password_file.exists() {
        fs::remove_file(&password_file)?;
    }
    let output = output.with_context(|| format!("starting {}/initdb", binary.bin.display()))?;
    ensure!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr).trim());
    fs::rename(&fresh, data)?;
    Ok(())
}

/// A cluster belongs to one major version.
fn check_version(binary: &PostgresBinary, data: &Path) -> anyhow::Result<()> {
    let written = fs::read_to_string(data.join("PG_VERSION")).context("reading PG_VERSION")?;
    let (written, major) = (written.trim(), binary.version.split('.').next().unwrap_or_default());
    if !major.starts_with(written) {
        bail!(
            "the database in {} was made by PostgreSQL {written} and this one is {}: \
             type `./dev reset`, or name PostgreSQL {written} in PG_BIN",
            data.display(),
            binary.version
        );
    }
    Ok(())
}

/// After a crash of the machine, `postmaster.pid` may name an id that another program has now, and PostgreSQL would
/// refuse to start. A living postgres on this directory is never touched.
fn remove_stale_lock(data: &Path) -> anyhow::Result<()> {
    let file = data.join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&file) else { return Ok(()) };
    let pid = text.lines().next().unwrap_or_default().trim().to_owned();
    let line = crate::environment::first_line("ps", &["-o", "command=", "-p", &pid]).unwrap_or_default();
    if !line.contains("postgres") {
        fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
        return Ok(());
    }
    let ours = line.contains(&*data.to_string_lossy());
    ensure!(
        !ours,
        "a postgres that this stack lost sight of runs on {} (process {pid}): stop it first",
        data.display()
    );
    Ok(())
}
