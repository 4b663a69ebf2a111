//! `./dev test`.

use std::process::ExitCode;
use std::thread::available_parallelism;

use clap::Args;
use lectern_harness::environment;
use lectern_harness::servers::{NatsBinary, PostgresBinary};
use lectern_harness::testing::{SHARED_CLUSTER, TestCluster};

use super::cargo::{cargo, run};
use super::progress::Progress;
use super::story::pass_on;

/// The same features in both builds, so that cargo compiles nothing twice.
const EVERYTHING: [&str; 3] = ["--workspace", "--features", "lectern/faults"];

/// The options of `test`.
#[derive(Args)]
pub struct Test {
    /// Only tests whose name contains this
    filter: Option<String>,
}

impl Test {
    /// Builds, starts one cluster for all tests, runs them.
    pub async fn run(&self) -> anyhow::Result<ExitCode> {
        let progress = Progress::new();
        let nats = NatsBinary::find_or_fetch()?;
        progress.say(format!("nats-server {}: {}", nats.version, nats.why));
        let postgres = PostgresBinary::find_or_fetch()?;
        progress.say(format!("PostgreSQL {}: {}", postgres.version, postgres.why));
        progress.say("building");
        run(cargo(["build", "--all-targets"]).args(EVERYTHING), "cargo build")?;
        let cluster = TestCluster::start().await?;
        progress.say("testing");

        let nextest = environment::on_path("cargo-nextest").is_some();
        let mut command = if nextest { cargo(["nextest", "run"]) } else { cargo(["test"]) };
        command.args(EVERYTHING).arg("--no-fail-fast");
        if nextest {
            command.args(&self.filter);
        } else {
            // a stack is one process of many threads that mostly waits: one more than there are cores keeps them busy
            let threads = available_parallelism().map_or(2, |cores| cores.get()) + 1;
            command.arg("--").args(&self.filter).args(["--test-threads", &threads.to_string()]);
        }
        // tests bring their own everything
        for name in ["DATABASE_URL", "NATS_URL", "NATS_MONITOR_URL", "LECTERN_SECRETS_FILE"] {
            command.env_remove(name);
        }
        let code = pass_on(command.env(SHARED_CLUSTER, cluster.shared()))?;
        progress.say(if code == ExitCode::SUCCESS { "all tests passed" } else { "a test failed" });
        Ok(code)
    }
}
