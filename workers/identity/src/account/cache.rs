//! Accounts that were read a moment ago (I-110): the profile is what is read most often here. There is no second layer in the
//! broker: it would put persons in clear into another store, which erasure and every change had to reach.

use std::sync::Arc;
use std::time::Duration;

use lectern_core::cache::Cache;
use lectern_core::{App as Core, Call, Error};
use lectern_subjects::id::UserId;
use lectern_subjects::identity::{Account, IdentityRefusal};

use crate::account;
use crate::app::{App, Fault};

/// Accounts that a process remembers (I-110).
const CAPACITY: u64 = 1000;
/// How long at most, should everything fail that tells of changes (I-111).
const LIFE: Duration = Duration::from_secs(300);
/// Every change that shows in an account is announced by one of these.
pub(crate) const FACTS: &str = "evt.identity.v1.user.>";

/// The cache of a process, empty.
pub(crate) async fn new(core: &Core) -> Result<Arc<Cache<Arc<Account>>>, Error> {
    Cache::new(core, "user", FACTS, CAPACITY, LIFE).await
}

/// An account as it is, from memory where that is sure to be so. For showing only: what is changed is read under its lock.
///
/// # Errors
/// USER_1101 when there is no such account, or it was deleted.
pub(crate) async fn read(app: &App, call: &Call, id: UserId) -> Result<Arc<Account>, Fault> {
    let ticket = match app.accounts().get(id.0, call.min_version) {
        Ok(account) => return Ok(account),
        Err(ticket) => ticket,
    };
    let mut connection = app.connect_patiently(call).await?;
    let account = account::show_full(&mut connection, app.vault(), id).await?;
    let account = Arc::new(account.ok_or(IdentityRefusal::UserNotFound)?);
    app.accounts().keep(ticket, account.user.version, account.clone());
    Ok(account)
}
