//! One account, for staff.

use lectern_core::{Call, Outcome};
use lectern_subjects::identity::{GetUser, IdentityRefusal};

use crate::account;
use crate::app::App;

/// Shows an account in full.
pub async fn user_get(app: App, _call: Call, req: GetUser) -> Outcome<GetUser> {
    let account = account::show_full(app.pool(), app.vault(), req.id).await?;
    Ok(account.ok_or(IdentityRefusal::UserNotFound)?)
}
