//! A person asks to be forgotten (GDPR Art. 17).

use lectern_core::{Call, Outcome};
use lectern_subjects::identity::{EraseMe, IdentityRefusal};
use sqlx::query;

use super::{begin, show, tell_roles};
use crate::app::App;
use crate::step_up;

/// Erases the caller. Answered when every role refuses their tokens; the other services follow within moments.
pub async fn erase_me(app: App, call: Call, _req: EraseMe) -> Outcome<EraseMe> {
    let caller = step_up::recently(&app, &call)?.clone();
    let mut tx = app.begin_patiently(&call).await?;
    query!(
        "SELECT id FROM identity.users WHERE id = $1 AND status <> 'deleted' FOR NO KEY UPDATE",
        caller.user.0
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(IdentityRefusal::UserNotFound)?;
    let begun = begin(&mut tx, &app, caller.user, "user_request").await?;
    let erasure = show(&mut tx, begun.id).await?.ok_or(IdentityRefusal::UserNotFound)?;
    let erasure = tx.commit(erasure).await?;
    tell_roles(&app, caller.user, &begun).await?;
    tracing::info!(user = %caller.user, erasure = %begun.id, "a person is being forgotten");
    Ok(erasure)
}
