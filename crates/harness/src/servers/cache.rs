//! Where downloads are kept, and directories that nobody else may have prepared for us.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use nix::unistd::Uid;

use crate::environment;

/// The directory of downloaded servers: `$LECTERN_CACHE`, else `/var/tmp/lectern-cache` for root (its servers run as
/// another user, who can't see into `/root`), else `$XDG_CACHE_HOME/lectern` or `~/.cache/lectern`.
pub fn cache_dir() -> anyhow::Result<PathBuf> {
    let dir = if let Some(dir) = environment::var("LECTERN_CACHE") {
        PathBuf::from(dir)
    } else if environment::is_root() {
        PathBuf::from("/var/tmp/lectern-cache")
    } else if let Some(dir) = environment::var("XDG_CACHE_HOME") {
        Path::new(&dir).join("lectern")
    } else if let Some(home) = environment::var("HOME") {
        Path::new(&home).join(".cache/lectern")
    } else {
        bail!("no place for downloads: set LECTERN_CACHE to a directory");
    };
    private_dir(&dir, 0o755)?;
    Ok(dir)
}

/// Creates `dir`, or checks that it is ours and that nobody else may write into it: what lies there is executed, and
/// `/var/tmp` is open to everybody.
pub fn private_dir(dir: &Path, mode: u32) -> anyhow::Result<()> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    }
    match fs::DirBuilder::new().mode(mode).create(dir) {
        // the umask may have taken bits away that another user needs to get in
        Ok(()) => fs::set_permissions(dir, fs::Permissions::from_mode(mode))?,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(|| format!("creating {}", dir.display())),
    }
    let meta = fs::symlink_metadata(dir)?;
    ensure!(meta.is_dir(), "{} is not a directory", dir.display());
    ensure!(
        meta.uid() == Uid::effective().as_raw() && meta.mode() & 0o022 == 0,
        "{} belongs to another user or others may write into it: remove it, or choose another place",
        dir.display()
    );
    Ok(())
}

/// Whether another user can get at `path`: every directory above it lets others pass, and it lets others read.
/// A checkout under `/root` doesn't.
pub fn reachable_by_others(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else { return false };
    let lets = |path: &Path, bits: u32| path.metadata().is_ok_and(|meta| meta.mode() & bits == bits);
    path.ancestors().skip(1).all(|dir| lets(dir, 0o001)) && lets(&path, 0o005)
}

/// Lets others read and enter a directory that we made, whatever the umask.
pub(super) fn open_to_read(dir: &Path) -> anyhow::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("opening {}", dir.display()))
}
