//! A person asks to be forgotten (GDPR Art. 17).

use lectern_core::{Call, Outcome};
use lectern_subjects::identity::{EraseMe, IdentityRefusal};

use super::{begin, show};
use crate::account;
use crate::app::App;
use crate::mfa::step_up;
use crate::session::revocation;

/// Erases the caller. Answered when every role refuses their tokens; the other services follow within moments.
pub async fn erase_me(app: App, call: Call, _req: EraseMe) -> Outcome<EraseMe> {
    let caller = step_up::recently(&app, &call)?.clone();
    let mut tx = app.begin_patiently(&call).await?;
    account::lock(&mut tx, caller.user).await?;
    let id = begin(&mut tx, &app, caller.user, "user_request").await?;
    let erasure = show(&mut tx, id).await?.ok_or(IdentityRefusal::UserNotFound)?;
    let erasure = tx.commit(erasure).await?;
    revocation::tell_all_of(&app, caller.user).await?;
    tracing::info!(event = "user_deleted", user_id = %caller.user, erasure = %id, "a person is being forgotten");
    Ok(erasure)
}
