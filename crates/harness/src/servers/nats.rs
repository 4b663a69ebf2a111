//! A private nats-server with JetStream.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::Signal;
use serde::Deserialize;

use super::nats_binary::NatsBinary;
use super::process::{Launch, Process};
use super::watchdog::Watchdog;

/// Where and how a server runs.
#[derive(Debug, Clone)]
pub struct NatsOptions {
    /// Its own directory: `jetstream` inside it holds the streams, unless the configuration names a `store_dir`.
    pub dir: PathBuf,
    /// Client and monitoring port on loopback; `None`: the server finds free ones.
    pub ports: Option<(u16, u16)>,
    /// A configuration file (users, permissions); `None`: whoever reaches it may do anything.
    pub config: Option<PathBuf>,
    /// It outlives us.
    pub detached: bool,
    /// Who ends it when we can't.
    pub watchdog: Option<Watchdog>,
}

/// A running server. Dropping it doesn't stop it.
#[derive(Debug)]
pub struct NatsServer {
    /// The server.
    pub process: Process,
    binary: NatsBinary,
    options: NatsOptions,
    ports: (u16, u16),
}

/// The file that `--ports_file_dir` makes.
#[derive(Deserialize)]
struct PortsFile {
    nats: Vec<String>,
    monitoring: Vec<String>,
}

impl NatsServer {
    /// Starts it and waits until it serves. JetStream may still be recovering a large store after that; publishers wait.
    ///
    /// # Errors
    /// What nats-server said, from its log.
    pub async fn start(binary: &NatsBinary, options: NatsOptions) -> anyhow::Result<NatsServer> {
        let mut server = NatsServer::spawn(binary, options)?;
        server.wait_ready().await?;
        Ok(server)
    }

    /// The same without waiting: for a caller who notes the process first.
    ///
    /// # Errors
    /// When it can't be started at all.
    pub fn spawn(binary: &NatsBinary, options: NatsOptions) -> anyhow::Result<NatsServer> {
        fs::create_dir_all(&options.dir)?;
        let (client, monitor) = match options.ports {
            Some((client, monitor)) => (client.to_string(), monitor.to_string()),
            None => ("-1".to_owned(), "-1".to_owned()),
        };
        let mut launch = Launch::new("nats-server", &binary.program, &options.dir);
        launch.detached = options.detached;
        launch.watchdog = options.watchdog.clone().map(|watchdog| (watchdog, "KILL"));
        launch = launch.args(["-a", "127.0.0.1", "-p", &client, "-m", &monitor]);
        launch = launch.args(["--ports_file_dir".into(), options.dir.clone().into_os_string()]);
        let configured = options.config.as_ref().map(fs::read_to_string).transpose()?.unwrap_or_default();
        if let Some(config) = &options.config {
            launch = launch.args(["-c".into(), config.clone().into_os_string()]);
        }
        // the server refuses a store that is named in both places
        if !configured.contains("store_dir") {
            launch = launch.args(["-js", "-sd"]).args([options.dir.join("jetstream").into_os_string()]);
        }
        let process = launch.start()?;
        let ports = options.ports.unwrap_or_default();
        Ok(NatsServer { process, binary: binary.clone(), options, ports })
    }

    /// The client URL.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.ports.0)
    }

    /// The monitoring URL.
    pub fn monitor_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.1)
    }

    /// Stops it in order.
    pub async fn stop(&mut self) {
        self.process.stop(Signal::SIGTERM, Duration::from_secs(20)).await;
    }

    /// Starts it again after a stop or a kill: same ports, same store.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        let options = NatsOptions { ports: Some(self.ports), ..self.options.clone() };
        *self = NatsServer::start(&self.binary.clone(), options).await?;
        Ok(())
    }

    /// Waits until it serves.
    ///
    /// # Errors
    /// What nats-server said, from its log.
    pub async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + Duration::from_secs(30);
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build()?;
        loop {
            if self.ports == (0, 0) {
                self.ports = self.read_ports().unwrap_or_default();
            }
            let page = format!("{}/healthz?js-server-only=true", self.monitor_url());
            if self.ports != (0, 0)
                && http.get(page).send().await.is_ok_and(|answer| answer.status().is_success())
            {
                return Ok(());
            }
            if self.process.ended().is_some() {
                return Err(self.process.failure("it ended while starting"));
            }
            if Instant::now() > until {
                self.process.kill();
                return Err(self.process.failure("not ready within 30 s"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn read_ports(&self) -> anyhow::Result<(u16, u16)> {
        let file = self.options.dir.join(format!("nats-server_{}.ports", self.process.pid()));
        let ports: PortsFile = serde_json::from_slice(&fs::read(file)?)?;
        let port = |urls: &[String]| -> anyhow::Result<u16> {
            Ok(urls.first().and_then(|url| url.rsplit(':').next()).context("no port")?.parse()?)
        };
        Ok((port(&ports.nats)?, port(&ports.monitoring)?))
    }
}
