//! `./dev sqlx`: the committed descriptions of queries, against which a fresh clone is compiled without a database.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Args;
use lectern_harness::checkout;
use lectern_harness::testing::{TestServers, apply_migrations};

use super::cargo::{cargo, run};
use super::progress::Progress;

/// The options of `sqlx`.
#[derive(Args)]
pub struct Sqlx {
    /// Write nothing; fail when `.sqlx` is not current
    #[arg(long)]
    check: bool,
}

impl Sqlx {
    /// Migrates an empty database, compiles every query against it, and keeps what sqlx noted.
    pub async fn run(&self) -> anyhow::Result<ExitCode> {
        let progress = Progress::new();
        let root = checkout::root();
        let database = TestServers::empty_database().await;
        let core = Path::new("crates/core/migrations");
        for worker in fs::read_dir(root.join("migrations"))? {
            let worker = worker?;
            let schema = worker.file_name().into_string().ok().context("a schema's name")?;
            apply_migrations(database.url(), &schema, &[core.to_owned(), worker.path()]).await?;
        }
        progress.say("a database is migrated; compiling every query against it");

        // a target directory of its own, in which our crates are always compiled anew: a query that isn't compiled
        // isn't noted
        let target = root.join("target").join("sqlx");
        let notes = target.join("notes");
        if notes.exists() {
            fs::remove_dir_all(&notes)?;
        }
        fs::create_dir_all(&notes)?;
        let mut clean = cargo(["clean", "--quiet", "--workspace"]);
        run(clean.env("CARGO_TARGET_DIR", target.join("build")), "cargo clean")?;
        let mut check = cargo(["check", "--workspace", "--all-targets", "--features", "lectern/faults"]);
        check.env("CARGO_TARGET_DIR", target.join("build")).env("SQLX_OFFLINE_DIR", &notes);
        run(check.env("SQLX_OFFLINE", "false").env("DATABASE_URL", database.url()), "cargo check")?;

        let (fresh, committed) = (read(&notes)?, read(&root.join(".sqlx"))?);
        ensure!(!fresh.is_empty(), "no query was compiled");
        if self.check {
            ensure!(fresh == committed, ".sqlx is not current: type ./dev sqlx and commit it");
            progress.say(format!(".sqlx is current: {} queries", fresh.len()));
            return Ok(ExitCode::SUCCESS);
        }
        replace(&root.join(".sqlx"), &fresh)?;
        progress.say(format!(".sqlx holds {} queries", fresh.len()));
        Ok(ExitCode::SUCCESS)
    }
}

/// The notes of a directory by file name; none when it isn't there.
fn read(dir: &Path) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    if !dir.exists() {
        return Ok(BTreeMap::new());
    }
    let entries = fs::read_dir(dir)?;
    let files = entries.map(|entry| {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok((name, fs::read(path)?))
    });
    let mut files = files.collect::<anyhow::Result<BTreeMap<_, _>>>()?;
    files.retain(|name, _| name.starts_with("query-"));
    Ok(files)
}

fn replace(dir: &Path, files: &BTreeMap<String, Vec<u8>>) -> anyhow::Result<()> {
    fs::create_dir_all(dir)?;
    for stale in read(dir)?.keys().filter(|name| !files.contains_key(*name)) {
        fs::remove_file(dir.join(stale))?;
    }
    for (name, content) in files {
        fs::write(dir.join(name), content)?;
    }
    Ok(())
}
