//! Internal tools: a user of the broker, a durable consumer and a service token for each (architecture §13). The list
//! is a file beside the broker's configuration; it holds public keys only.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

/// One internal tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Its name, 1 to 40 of `a-z0-9-`.
    pub name: String,
    /// Public keys of its users; two while a key is rotated.
    pub keys: Vec<String>,
    /// Role of its service token.
    pub role: String,
    /// Subjects that it may ask.
    #[serde(default)]
    pub calls: Vec<String>,
    /// Subjects that it may publish to.
    #[serde(default)]
    pub publishes: Vec<String>,
    /// Filters of the facts that it follows.
    #[serde(default)]
    pub follows: Vec<String>,
}

impl Tool {
    /// The name of its durable consumer on EVENTS: never a service's.
    pub fn consumer(&self) -> String {
        format!("tool-{}", self.name)
    }

    /// Refuses rights that no tool may have.
    ///
    /// # Errors
    /// Names the subject and the rule.
    pub fn check(&self) -> anyhow::Result<()> {
        let good_name = (1..=40).contains(&self.name.len())
            && self.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        ensure!(good_name, "a tool's name is 1 to 40 of a-z, 0-9 and -");
        for call in &self.calls {
            ensure!(call.starts_with("svc."), "--call {call}: a tool asks svc.<service>.… only");
        }
        for published in &self.publishes {
            let own = format!("ext.v1.{}.", self.name);
            let allowed = published.starts_with("cmd.") || published.starts_with(&own);
            ensure!(allowed, "--publish {published}: a tool publishes cmd.… or {own}… only");
        }
        for filter in &self.follows {
            ensure!(filter.starts_with("evt."), "--follow {filter}: a tool follows evt.… only");
        }
        for subject in self.calls.iter().chain(&self.publishes).chain(&self.follows) {
            let token =
                |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
            ensure!(subject.split('.').all(token), "{subject:?} is no subject");
        }
        Ok(())
    }
}

/// The file of a configuration directory.
pub fn file(dir: &Path) -> PathBuf {
    dir.join("tools.json")
}

/// The tools of a configuration directory; none when it has no list yet.
///
/// # Errors
/// When the list can't be read.
pub fn read(dir: &Path) -> anyhow::Result<Vec<Tool>> {
    let path = file(dir);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no list of tools", path.display()))
}

/// Writes the list.
///
/// # Errors
/// When it can't be written.
pub fn write(dir: &Path, tools: &[Tool]) -> anyhow::Result<()> {
    let path = file(dir);
    let text = serde_json::to_string_pretty(tools)? + "\n";
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}
