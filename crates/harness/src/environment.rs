//! The caller's environment: read here and nowhere else in this crate.

#![expect(clippy::disallowed_methods, reason = "the harness runs before there is a configuration to read")]

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use nix::unistd::Uid;

/// A variable of the caller's environment; `None` when unset or empty.
pub fn var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// All variables whose names begin with `prefix`.
pub fn with_prefix(prefix: &str) -> Vec<(String, String)> {
    std::env::vars().filter(|(name, _)| name.starts_with(prefix)).collect()
}

/// Whether this process runs as root, which neither `initdb` nor `postgres` accepts.
pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// The program `name` on PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/local/bin:/usr/bin:/bin"));
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| is_program(file))
}

/// Whether `file` is a regular file that someone may execute.
pub fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The first line that `program` prints for `args`, when it runs and succeeds.
pub fn first_line(program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Option<String> {
    let output =
        std::process::Command::new(program).args(args).stdin(std::process::Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().unwrap_or_default().trim().to_owned();
    (output.status.success() && !line.is_empty()).then_some(line)
}
