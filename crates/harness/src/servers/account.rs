//! The unprivileged account that servers run under when we are root.

use std::path::Path;

use anyhow::Context;
use nix::unistd::{Gid, Uid, User, chown};

use crate::environment;

/// A user and group to run a server as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// The user and group "nobody" of every Linux: what is left where no `postgres` exists.
const NOBODY: Account = Account { uid: 65534, gid: 65534 };

impl Account {
    /// `None` when we are an ordinary user (servers run as ourselves); else `postgres`, or nobody where there is none.
    pub fn for_servers() -> Option<Account> {
        if !environment::is_root() {
            return None;
        }
        let postgres = User::from_name("postgres").ok().flatten();
        Some(postgres.map_or(NOBODY, |user| Account { uid: user.uid.as_raw(), gid: user.gid.as_raw() }))
    }

    /// Gives a file or directory (not its contents) to this account.
    pub fn owns(self, path: &Path) -> anyhow::Result<()> {
        chown(path, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))
            .with_context(|| format!("giving {} to uid {}", path.display(), self.uid))
    }
}
