//! Accounts are switched off and on (`spec/protocols.md` P4). Off means at once: every session is ended when it is answered.

use lectern_core::{Call, Outcome};
use lectern_subjects::identity::{DisableUser, EnableUser, UserDisabled, UserEnabled};
use serde_json::json;
use sqlx::query_scalar;

use crate::account;
use crate::app::App;
use crate::session::revocation;
use crate::session::{self, Reason};
use crate::sign_in::known_device;

/// Switches an account off. Repeating it, after a 503 for example, tells the bucket again.
pub async fn disable(app: App, call: Call, req: DisableUser) -> Outcome<DisableUser> {
    let id = req.id;
    let mut tx = app.begin_patiently(&call).await?;
    account::locked(&mut tx, &app, &call, id).await?;
    let now = tx.now();
    let switched = query_scalar!(
        "UPDATE identity.users SET status = 'disabled', updated_at = $2, version = version + 1
         WHERE id = $1 AND status = 'active' RETURNING version",
        id.0,
        now
    )
    .fetch_optional(&mut *tx)
    .await
    .map_err(account::last_admin)?;
    if let Some(version) = switched {
        revocation::change_claims(&mut tx, id).await?;
        tx.audit("user.disabled", Some(id), json!({})).await?;
        tx.announce(&UserDisabled { user_id: id }, version).await?;
        known_device::forget_all(&mut tx, id).await?;
        let live = session::live(&mut tx, id).await?;
        session::revoke(&mut tx, id, &live, Reason::Admin).await?;
    }
    let user = account::shown(&mut tx, &app, id).await?;
    let user = tx.commit(user).await?;
    revocation::tell(&app, id).await?;
    tracing::info!(about = %id, "the account is switched off");
    Ok(user)
}

/// Switches an account on again. Its older tokens stay void: their claims version is an old one.
pub async fn enable(app: App, call: Call, req: EnableUser) -> Outcome<EnableUser> {
    let id = req.id;
    let mut tx = app.begin_patiently(&call).await?;
    account::locked(&mut tx, &app, &call, id).await?;
    let now = tx.now();
    let switched = query_scalar!(
        "UPDATE identity.users SET status = 'active', updated_at = $2, version = version + 1
         WHERE id = $1 AND status = 'disabled' RETURNING version",
        id.0,
        now
    )
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(version) = switched {
        tx.audit("user.enabled", Some(id), json!({})).await?;
        tx.announce(&UserEnabled { user_id: id }, version).await?;
    }
    let user = account::shown(&mut tx, &app, id).await?;
    Ok(tx.commit(user).await?)
}
