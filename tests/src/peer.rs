//! The peer of B1: a NestJS gateway and a NestJS service (`tests/peer`), on a bus of their own, over the table that we read.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use chrono::{DateTime, Utc};
use lectern_harness::environment::{first_line, on_path};
use lectern_harness::servers::{Launch, PortLease, Process, Watchdog, tail};
use lectern_harness::{Nats, TestServers};
use serde_json::Value;

/// How long its processes may take to answer the first request.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// What `npm ci` is told: also the compiler, whatever NODE_ENV says; no code of packages before it is asked for.
const CI: [&str; 5] = ["ci", "--include=dev", "--ignore-scripts", "--no-audit", "--no-fund"];

/// Its code, with packages and compiled.
pub struct Installed {
    dir: PathBuf,
    node: PathBuf,
}

/// A running peer. Dropping it kills its processes.
pub struct Peer {
    processes: Vec<Process>,
    gateways: Vec<PortLease>,
    // after the processes: they talk to it
    bus: Nats,
}

impl Installed {
    /// Fetches its packages once, and compiles.
    ///
    /// # Errors
    /// When node or npm is not there, or npm fails.
    pub fn get() -> anyhow::Result<Installed> {
        let (Some(node), Some(npm)) = (on_path("node"), on_path("npm")) else {
            bail!("node and npm are not there");
        };
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("peer");
        if !is_newer(&dir.join("node_modules/.package-lock.json"), &dir.join("package-lock.json")) {
            eprintln!("B1: npm ci in tests/peer, once");
            run(Command::new(&npm).args(CI).current_dir(&dir))?;
        }
        run(Command::new(&npm).args(["run", "build"]).current_dir(&dir))?;
        Ok(Installed { dir, node })
    }

    /// The version of node.
    pub fn version(&self) -> String {
        first_line(&self.node, &["--version"]).unwrap_or_default()
    }

    /// Starts it over a database and with the keys of a running Lectern.
    ///
    /// # Errors
    /// When a process can't be started.
    pub async fn start(&self, database_url: &str, jwks_url: &str) -> anyhow::Result<Peer> {
        let bus = TestServers::nats().await;
        let watchdog = Watchdog::over(bus.dir())?;
        let mut peer = Peer { processes: Vec::new(), gateways: Vec::new(), bus };
        // node computes on one core, so that one pair of processes for two cores uses them all, as ours does
        let pairs = std::thread::available_parallelism().map_or(1, usize::from).div_ceil(2);
        for pair in 0..pairs {
            let lease = PortLease::take()?;
            for program in ["users", "gateway"] {
                let name = format!("peer-{program}-{pair}");
                let mut launch = Launch::new(&name, &self.node, peer.bus.dir());
                launch = launch.args([self.dir.join("dist").join(program).with_extension("js")]);
                launch.hermetic = true;
                launch.watchdog = Some((watchdog.clone(), "KILL"));
                launch.env = [
                    ("NODE_ENV", "production".to_owned()),
                    ("NO_COLOR", "1".to_owned()),
                    ("NATS_URL", peer.bus.url()),
                    ("DATABASE_URL", database_url.to_owned()),
                    ("JWKS_URL", jwks_url.to_owned()),
                    ("PORT", lease.number().to_string()),
                ]
                .map(|(name, value)| (name.to_owned(), value))
                .into();
                peer.processes.push(launch.start()?);
            }
            peer.gateways.push(lease);
        }
        Ok(peer)
    }
}

impl Peer {
    /// The addresses of its gateways; the load is spread over them.
    pub fn http_urls(&self) -> Vec<String> {
        self.gateways.iter().map(|lease| format!("http://127.0.0.1:{}", lease.number())).collect()
    }

    /// Its processes.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.processes.iter().map(Process::pid)
    }

    /// Waits until each gateway answers `path`, and sees that it answers the user that we do.
    ///
    /// # Errors
    /// When one doesn't, with the last answer or the end of a log.
    pub async fn answers(&mut self, path: &str, token: &str, ours: &Value) -> anyhow::Result<()> {
        let until = Instant::now() + READY_WITHIN;
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build()?;
        for base in self.http_urls() {
            loop {
                if let Some(process) = self.processes.iter_mut().find_map(|it| it.ended().map(|_| it)) {
                    return Err(process.failure("it ended while starting"));
                }
                let answer = match http.get(format!("{base}{path}")).bearer_auth(token).send().await {
                    Ok(answer) if answer.status() == 200 => {
                        let theirs = answer.text().await?;
                        ensure!(
                            same_user(ours, &serde_json::from_str(&theirs)?),
                            "it answers {theirs}, we {ours}"
                        );
                        break;
                    }
                    Ok(answer) => answer.status().to_string(),
                    Err(error) => format!("{error:#}"),
                };
                if Instant::now() > until {
                    let logs = self.processes.iter().map(|it| tail(it.log(), 10)).collect::<Vec<_>>();
                    bail!("not ready within {READY_WITHIN:?}: {answer}\n{}", logs.join("\n"));
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        for process in &mut self.processes {
            process.kill();
        }
    }
}

/// The same fields and values; of times only the milliseconds, which is as far as JavaScript's go.
fn same_user(ours: &Value, theirs: &Value) -> bool {
    let (Some(ours), Some(theirs)) = (ours.as_object(), theirs.as_object()) else { return false };
    let milliseconds = |value: &Value| {
        let time: DateTime<Utc> = value.as_str()?.parse().ok()?;
        Some(time.timestamp_millis())
    };
    ours.len() == theirs.len()
        && ours.iter().all(|(name, our)| {
            theirs.get(name).is_some_and(|their| match (milliseconds(our), milliseconds(their)) {
                // a fraction that went through a double may have lost its last millisecond
                (Some(our), Some(their)) => our.abs_diff(their) <= 1,
                _ => our == their,
            })
        })
}

fn is_newer(made: &Path, source: &Path) -> bool {
    let changed = |file: &Path| file.metadata().and_then(|meta| meta.modified()).ok();
    changed(made).is_some_and(|made| changed(source).is_some_and(|source| made >= source))
}

/// Runs a program to its end.
fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("starting {}", command.get_program().display()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    ensure!(
        output.status.success(),
        "{command:?} failed\n{}\n{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    Ok(())
}
