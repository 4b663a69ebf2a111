//! The caller's own account.

use lectern_core::{Call, Outcome};
use lectern_subjects::identity::{GetAccount, GetMe, IdentityRefusal};

use crate::account;
use crate::app::App;

/// Shows the caller their account.
pub async fn me(app: App, call: Call, _req: GetMe) -> Outcome<GetMe> {
    let caller = call.user()?;
    let user = account::show(app.pool(), app.vault(), caller.user).await?;
    Ok(user.ok_or(IdentityRefusal::UserNotFound)?)
}

/// Shows the caller their account in full.
pub async fn account(app: App, call: Call, _req: GetAccount) -> Outcome<GetAccount> {
    let caller = call.user()?;
    let mut connection = app.connect_patiently(&call).await?;
    let account = account::show_full(&mut connection, app.vault(), caller.user).await?;
    Ok(account.ok_or(IdentityRefusal::UserNotFound)?)
}
