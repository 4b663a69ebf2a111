//! One account, for staff.

use lectern_core::{Call, Outcome};
use lectern_subjects::identity::GetUser;

use crate::account::cache;
use crate::app::App;

/// Shows an account in full.
pub async fn user_get(app: App, call: Call, req: GetUser) -> Outcome<GetUser> {
    let account = cache::read(&app, &call, req.id).await?;
    Ok(account.as_ref().clone())
}
