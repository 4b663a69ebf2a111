//! The command `lectern`, as cargo built it beside the running test.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use crate::environment;

/// The path of `lectern`: `LECTERN_BIN`, else the one in this executable's target directory.
///
/// # Errors
/// When it isn't there, or is older than one of its sources: the message says what to type.
pub fn lectern_binary() -> anyhow::Result<PathBuf> {
    if let Some(named) = environment::var("LECTERN_BIN") {
        ensure!(environment::is_program(Path::new(&named)), "LECTERN_BIN={named} is no program");
        return Ok(named.into());
    }
    let this = std::env::current_exe().context("finding this executable")?;
    // target/debug/deps/test-hash, target/debug/demo
    let dirs = this.ancestors().skip(1).take(2);
    let Some(binary) = dirs.map(|dir| dir.join("lectern")).find(|file| environment::is_program(file)) else {
        bail!("no command `lectern` beside {}: run ./dev test (it builds lectern first)", this.display());
    };
    if let Some(newer) = newer_source(&binary) {
        bail!("{} is older than {newer}: run ./dev test (it builds lectern first)", binary.display());
    }
    Ok(binary)
}

/// A source of `binary` that changed after it was built, by cargo's own list of sources (`lectern.d`).
fn newer_source(binary: &Path) -> Option<String> {
    let built = binary.metadata().ok()?.modified().ok()?;
    let list = fs::read_to_string(binary.with_extension("d")).ok()?;
    let sources = list.split_once(": ")?.1.replace("\\ ", "\u{1}");
    sources.split_whitespace().map(|source| source.replace('\u{1}', " ")).find(|source| {
        fs::metadata(source).and_then(|meta| meta.modified()).is_ok_and(|changed| changed > built)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_older_than_a_source_is_found_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let (binary, source) = (dir.path().join("lectern"), dir.path().join("with space.rs"));
        fs::write(&source, "").expect("written");
        fs::write(&binary, "").expect("written");
        let list = format!("{}: {}\n", binary.display(), source.display().to_string().replace(' ', "\\ "));
        fs::write(dir.path().join("lectern.d"), list).expect("written");
        let set = |file: &Path, seconds: u64| {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            fs::File::options().write(true).open(file).and_then(|file| file.set_modified(time)).expect("set");
        };
        set(&source, 1_000_000);
        set(&binary, 1_000_001);
        assert_eq!(newer_source(&binary), None);
        set(&source, 1_000_002);
        assert_eq!(newer_source(&binary), Some(source.display().to_string()));
    }
}
