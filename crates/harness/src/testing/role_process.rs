//! One running `lectern run --roles …` of a test.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::ensure;
use nix::sys::signal::Signal;

use super::home::Home;
use crate::servers::{Launch, PortLease, Process, tail};

/// How long a process may take to become ready on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// A process of a [`Stack`](super::Stack). Dropping it kills it.
#[derive(Debug)]
pub struct RoleProcess {
    roles: String,
    process: Process,
    admin: PortLease,
    http: PortLease,
    client: reqwest::Client,
}

impl RoleProcess {
    pub(super) fn start(mut launch: Launch, roles: &str) -> anyhow::Result<RoleProcess> {
        let (admin, http) = (PortLease::take()?, PortLease::take()?);
        for (name, lease) in [("ADMIN_ADDR", &admin), ("HTTP_ADDR", &http)] {
            launch.env.insert(name.to_owned(), format!("127.0.0.1:{}", lease.number()));
        }
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build()?;
        launch.watchdog = Some((Home::get()?.watchdog().clone(), "KILL"));
        let process = launch.args(["run", "--roles", roles]).start()?;
        Ok(RoleProcess { roles: roles.to_owned(), process, admin, http, client })
    }

    /// The roles it was started with.
    pub fn roles(&self) -> &str {
        &self.roles
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Whether the gateway is among its roles.
    pub fn is_gateway(&self) -> bool {
        self.roles.split(',').any(|role| matches!(role, "all" | "gateway"))
    }

    /// Its gateway's address, when it has that role.
    pub fn http_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http.number())
    }

    /// Its admin port: health and metrics.
    pub fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin.number())
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        tail(self.process.log(), usize::MAX)
    }

    /// The status of its readiness page now; `None` when it doesn't answer.
    pub async fn readiness(&self) -> Option<u16> {
        let page = format!("{}/health/readiness", self.admin_url());
        Some(self.client.get(page).send().await.ok()?.status().as_u16())
    }

    /// The value of a metric on its admin port: the sum over all label sets that contain `labels` (`status="failed"`).
    pub async fn metric(&self, name: &str, labels: &str) -> anyhow::Result<f64> {
        let text = self.client.get(format!("{}/metrics", self.admin_url())).send().await?.text().await?;
        let rows = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(labels)
        });
        Ok(rows.filter_map(|row| row.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// Waits until it is ready, and its gateway, too.
    ///
    /// # Errors
    /// When it ends before that or takes too long: with the end of its log.
    pub async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + READY_WITHIN;
        while !self.is_ready().await {
            if self.process.ended().is_some() {
                return Err(self.process.failure("it ended while starting"));
            }
            if Instant::now() > until {
                return Err(self.process.failure(&format!("not ready within {READY_WITHIN:?}")));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn is_ready(&self) -> bool {
        if self.readiness().await != Some(200) {
            return false;
        }
        let page = format!("{}/health/readiness", self.http_url());
        !self.is_gateway() || self.client.get(page).send().await.is_ok_and(|answer| answer.status() == 200)
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill9(&mut self) {
        self.process.kill();
    }

    /// SIGTERM, and waits for the orderly end, at most 45 s.
    ///
    /// # Errors
    /// When it had to be killed, or ended badly: with the end of its log.
    pub async fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        self.process.signal(Signal::SIGTERM);
        let Some(status) = self.process.ends_within(Duration::from_secs(45)).await else {
            let error = self.process.failure("it did not end within 45 s of SIGTERM");
            self.kill9();
            return Err(error);
        };
        ensure!(status.success(), self.process.failure("it ended badly after SIGTERM"));
        Ok(status)
    }

    /// SIGTERM without waiting.
    pub fn signal_terminate(&mut self) {
        self.process.signal(Signal::SIGTERM);
    }

    /// Waits for its end, at most `bound`: for a process that a fault point aborts.
    pub async fn ends_within(&mut self, bound: Duration) -> Option<ExitStatus> {
        self.process.ends_within(bound).await
    }

    /// SIGSTOP: it holds what it holds and answers nothing.
    pub fn freeze(&mut self) {
        self.process.freeze();
    }

    /// SIGCONT.
    pub fn thaw(&mut self) {
        self.process.signal(Signal::SIGCONT);
    }
}

impl Drop for RoleProcess {
    fn drop(&mut self) {
        self.kill9();
    }
}
