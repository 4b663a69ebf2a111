//! Where the development stack of this checkout lives, and how to reach it when it runs.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::environment;
use crate::servers::{ProcessRecord, private_dir};

/// The root of the workspace that this was built in.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("/")).to_owned()
}

/// The state of the development stack: `$LECTERN_DEV_DIR`, else `./.dev`; for root a directory in `/var/tmp`, because
/// PostgreSQL then runs as another user, who may not see into the checkout.
pub fn state_dir() -> PathBuf {
    if let Some(dir) = environment::var("LECTERN_DEV_DIR") {
        return dir.into();
    }
    if environment::is_root() {
        let hash = hex::encode(&digest(&SHA256, root().to_string_lossy().as_bytes()).as_ref()[..6]);
        return format!("/var/tmp/lectern-dev-{hash}").into();
    }
    root().join(".dev")
}

/// Makes the state directory, and for root the file `.dev` that says where it is.
pub fn make_state_dir() -> anyhow::Result<PathBuf> {
    let dir = state_dir();
    private_dir(&dir, if environment::is_root() { 0o755 } else { 0o700 })?;
    let pointer = root().join(".dev");
    if environment::is_root() && dir.starts_with("/var/tmp") && !pointer.is_dir() {
        fs::write(&pointer, format!("{}\n", dir.display()))?;
    }
    Ok(dir)
}

/// Someone who can sign in at the development stack.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Account {
    /// A label: `admin`, `operator`, `auditor`, `moderator`, `instructor`, `learner`.
    pub role: String,
    /// The address.
    pub email: String,
    /// The generated password.
    pub password: String,
}

/// How to reach the running development stack: what `./dev status --json` prints.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct DevStatus {
    /// The gateway, for example `http://127.0.0.1:3000`.
    pub http: String,
    /// The metrics page.
    pub metrics: String,
    /// The bus.
    pub nats: String,
    /// The bus's monitoring pages; empty for a bus of the caller's (`NATS_URL`) without `NATS_MONITOR_URL`.
    pub nats_monitor: String,
    /// The file with the nkey seed of the internal-tools user.
    pub nats_tools_nkey: PathBuf,
    /// The owner's URL of the database.
    pub database: String,
    /// The mailbox file.
    pub mailbox: PathBuf,
    /// One login per role.
    pub accounts: Vec<Account>,
}

impl DevStatus {
    /// The status of this checkout's running stack.
    ///
    /// # Errors
    /// When it doesn't run: the message says what to type.
    pub fn read() -> anyhow::Result<DevStatus> {
        match DevState::read()? {
            Some(state) if state.is_up() => Ok(state.status),
            _ => bail!("the stack is not running: ./dev up"),
        }
    }

    /// The account of a role.
    ///
    /// # Errors
    /// When there is none.
    pub fn account(&self, role: &str) -> anyhow::Result<&Account> {
        self.accounts
            .iter()
            .find(|account| account.role == role)
            .with_context(|| format!("no account for {role}"))
    }
}

/// What `./dev` remembers between two calls, in `state.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct DevState {
    /// What we started and not stopped, in the order of starting.
    pub processes: Vec<ProcessRecord>,
    /// The ports of the last start by name, to be taken again.
    pub ports: BTreeMap<String, u16>,
    /// The environment of `lectern`.
    pub env: BTreeMap<String, String>,
    /// The program.
    pub lectern: PathBuf,
    /// How to reach it.
    pub status: DevStatus,
}

impl DevState {
    /// The remembered state; `None` when there never was one.
    ///
    /// # Errors
    /// When the file can't be read or understood.
    pub fn read() -> anyhow::Result<Option<DevState>> {
        let file = state_dir().join("state.json");
        let text = match fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("reading {}", file.display())),
        };
        let state = serde_json::from_slice(&text);
        state.map(Some).with_context(|| format!("{} is damaged: type ./dev reset", file.display()))
    }

    /// Remembers it. The file holds passwords: only its owner may read it.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write(&self) -> anyhow::Result<()> {
        write_private(&state_dir().join("state.json"), &serde_json::to_vec_pretty(self)?)
    }

    /// Notes a process at once, so that whatever happens next, it can be stopped.
    ///
    /// # Errors
    /// When the state can't be written.
    pub fn started(&mut self, process: &ProcessRecord) -> anyhow::Result<()> {
        self.processes.push(process.clone());
        self.write()
    }

    /// Whether everything that was started runs.
    pub fn is_up(&self) -> bool {
        !self.processes.is_empty() && self.processes.iter().all(ProcessRecord::is_alive)
    }
}

/// Writes a file for its owner alone, whole or not at all.
///
/// # Errors
/// When it can't be written.
pub fn write_private(file: &Path, content: &[u8]) -> anyhow::Result<()> {
    let fresh = file.with_extension("new");
    if fresh.exists() {
        fs::remove_file(&fresh)?;
    }
    let written = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh);
    let mut written = written.with_context(|| format!("writing {}", fresh.display()))?;
    written.write_all(content)?;
    fs::rename(&fresh, file).with_context(|| format!("writing {}", file.display()))
}
