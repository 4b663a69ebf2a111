//! One account, for staff.

use lectern_core::{Call, Outcome};
use lectern_subjects::identity::{GetUser, IdentityRefusal};

use crate::account;
use crate::app::App;

/// Shows an account in full.
pub async fn user_get(app: App, call: Call, req: GetUser) -> Outcome<GetUser> {
    let mut connection = app.connect_patiently(&call).await?;
    let account = account::show_full(&mut connection, app.vault(), req.id).await?;
    Ok(account.ok_or(IdentityRefusal::UserNotFound)?)
}
