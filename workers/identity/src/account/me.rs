//! The caller's own account.

use lectern_core::{Call, Outcome};
use lectern_subjects::identity::{GetAccount, GetMe};

use crate::account::cache;
use crate::app::App;

/// Shows the caller their account.
pub async fn me(app: App, call: Call, _req: GetMe) -> Outcome<GetMe> {
    let account = cache::read(&app, &call, call.user()?.user).await?;
    Ok(account.user.clone())
}

/// Shows the caller their account in full.
pub async fn account(app: App, call: Call, _req: GetAccount) -> Outcome<GetAccount> {
    let account = cache::read(&app, &call, call.user()?.user).await?;
    Ok(account.as_ref().clone())
}
