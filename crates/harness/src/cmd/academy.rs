//! The sample academy: accounts and a course, loaded once per state directory.

use std::fs;
use std::path::Path;

use anyhow::Context;
use lectern_harness::checkout::{Account, DevState, write_private};
use serde::Deserialize;

use super::progress::Progress;
use super::roles::lectern;

/// What `lectern sample-academy` prints, as far as we show it.
#[derive(Deserialize)]
struct Academy {
    accounts: Vec<Account>,
}

/// The accounts of the sample academy, which is loaded first where it isn't there yet.
pub fn load(dir: &Path, state: &DevState, progress: &Progress) -> anyhow::Result<Vec<Account>> {
    let file = dir.join("academy.json");
    if !file.exists() {
        let said = lectern(state, &["sample-academy"])?;
        write_private(&file, said.trim().as_bytes())?;
        progress.say("the sample academy is loaded");
    }
    let academy: Academy =
        serde_json::from_slice(&fs::read(&file)?).with_context(|| format!("reading {}", file.display()))?;
    Ok(academy.accounts)
}
