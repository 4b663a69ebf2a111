//! The one directory of a test process, and the watchdog over it.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::Context;
use tempfile::TempDir;

use crate::environment;
use crate::servers::{Watchdog, reachable_by_others};

/// What a test process owns: gone when it ends.
#[derive(Debug)]
pub(super) struct Home {
    dir: PathBuf,
    watchdog: Watchdog,
}

impl Home {
    /// This process's, made at the first call.
    pub(super) fn get() -> anyhow::Result<&'static Home> {
        static HOME: OnceLock<Result<Home, String>> = OnceLock::new();
        HOME.get_or_init(|| Home::make().map_err(|error| format!("{error:#}")))
            .as_ref()
            .map_err(|it| anyhow::anyhow!("{it}"))
    }

    fn make() -> anyhow::Result<Home> {
        let mut place = std::env::temp_dir();
        // as root PostgreSQL runs as another user, who must get in
        if environment::is_root() && !reachable_by_others(&place) {
            place = "/var/tmp".into();
        }
        let dir = room(&place, "lectern-test-")?.keep();
        let watchdog = Watchdog::over(&dir)?;
        Ok(Home { dir, watchdog })
    }

    /// A fresh directory inside it.
    pub(super) fn room(&self, name: &str) -> anyhow::Result<TempDir> {
        let mut room = room(&self.dir, name)?;
        room.disable_cleanup(keeps());
        Ok(room)
    }

    /// Ends what it is told when this process ends.
    pub(super) fn watchdog(&self) -> &Watchdog {
        &self.watchdog
    }
}

/// Whether directories are kept for reading.
pub(super) fn keeps() -> bool {
    environment::var("LECTERN_TEST_KEEP").is_some()
}

fn room(place: &Path, prefix: &str) -> anyhow::Result<TempDir> {
    let mode = if environment::is_root() { 0o755 } else { 0o700 };
    tempfile::Builder::new()
        .prefix(prefix)
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))
        .tempdir_in(place)
        .with_context(|| format!("making a directory in {}", place.display()))
}
