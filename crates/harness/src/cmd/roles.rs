//! The command `lectern` against the development stack: prepared, then run with all roles.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use lectern_harness::checkout::{DevState, write_private};
use lectern_harness::servers::{Launch, Process};
use serde_json::Value;

/// How long the roles may take to become ready.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// The environment of `lectern` in the state directory.
pub fn environment(dir: &Path, state: &DevState, limits: &str) -> BTreeMap<String, String> {
    let file = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let loopback = |name: &str| format!("127.0.0.1:{}", state.ports[name]);
    [
        ("ENVIRONMENT", "development".to_owned()),
        ("LECTERN_SECRETS_FILE", file("secrets.json")),
        ("HTTP_ADDR", loopback("http")),
        ("ADMIN_ADDR", loopback("admin")),
        ("PUBLIC_URL", format!("http://{}", loopback("http"))),
        ("MEDIA_ROOT", file("media")),
        ("MAILBOX_FILE", file("mailbox.jsonl")),
        ("LOG_FORMAT", "text".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into_iter()
    .chain(lectern_harness::limits(limits))
    .collect()
}

/// Runs one `lectern` command to its end, quietly, and answers its standard output.
///
/// # Errors
/// When it fails: with all that it said.
pub fn lectern(state: &DevState, args: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(&state.lectern);
    let output = command.args(args).envs(&state.env).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("starting {}", state.lectern.display()))?;
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "lectern {}: {}\n{said}{complained}", args.join(" "), output.status);
    Ok(said.into_owned())
}

/// Starts all roles in one process and waits until they are ready.
///
/// # Errors
/// When they end or take too long: with the end of their log.
pub async fn start(dir: &Path, state: &mut DevState) -> anyhow::Result<Process> {
    std::fs::create_dir_all(dir.join("media"))?;
    let mut launch = Launch::new("lectern", &state.lectern, dir).args(["run", "--roles", "all"]);
    launch.env = state.env.clone();
    launch.detached = true;
    let mut process = launch.start()?;
    state.started(process.record())?;

    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build()?;
    let pages =
        ["admin", "http"].map(|port| format!("http://127.0.0.1:{}/health/readiness", state.ports[port]));
    let until = Instant::now() + READY_WITHIN;
    for page in pages {
        while !client.get(&page).send().await.is_ok_and(|answer| answer.status() == 200) {
            if process.ended().is_some() {
                return Err(process.failure("it ended while starting"));
            }
            ensure!(
                Instant::now() < until,
                process.failure(&format!("{page} not ready within {READY_WITHIN:?}"))
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(process)
}

/// Writes the nkey seed of the internal-tools user where `./dev nats` and the nats CLI can read it.
///
/// # Errors
/// When the secrets have none.
pub fn write_tools_nkey(dir: &Path) -> anyhow::Result<std::path::PathBuf> {
    let secrets: Value = serde_json::from_slice(&std::fs::read(dir.join("secrets.json"))?)?;
    let seed = secrets["nats"]["tools"].as_str().context("the secrets have no NATS user `tools`")?;
    let file = dir.join("tools.nk");
    write_private(&file, format!("{seed}\n").as_bytes())?;
    Ok(file)
}
