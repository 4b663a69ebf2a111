//! Ends sessions that the caller no longer wants (`spec/protocols.md` P3): answered only after every role can know of it.

use lectern_core::{Call, Outcome, Tx};
use lectern_subjects::id::{AuthSessionId, UserId};
use lectern_subjects::identity::{IdentityRefusal, Message, RevokeAuthSession, RevokeOtherAuthSessions};
use serde_json::json;
use sqlx::query;

use crate::app::{App, Fault};
use crate::session::revocation;
use crate::session::{self, Reason};
use crate::sign_in::known_device;

/// Ends one of the caller's sessions. One that is ended already is told again: a repetition after a 503 is answered only
/// when the bucket has it.
pub async fn revoke(app: App, call: Call, req: RevokeAuthSession) -> Outcome<RevokeAuthSession> {
    let caller = call.user()?.user;
    let mut tx = app.begin_patiently(&call).await?;
    session::lock_owner(&mut tx, caller).await?;
    query!("SELECT sid FROM identity.auth_sessions WHERE sid = $1 AND user_id = $2", req.sid.0, caller.0)
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(IdentityRefusal::SessionNotFound)?;
    end(&mut tx, caller, &[req.sid]).await?;
    let message = tx.commit(Message { message: "Session ended".to_owned() }).await?;
    revocation::tell(&app, caller).await?;
    tracing::info!(user_id = %caller, sid = %req.sid, "a session was ended by its user");
    Ok(message)
}

/// Ends all of the caller's sessions but the one that this request comes from; no device is known any more.
pub async fn revoke_others(
    app: App,
    call: Call,
    _req: RevokeOtherAuthSessions,
) -> Outcome<RevokeOtherAuthSessions> {
    let caller = call.user()?;
    let mut tx = app.begin_patiently(&call).await?;
    session::lock_owner(&mut tx, caller.user).await?;
    let mut others = session::live(&mut tx, caller.user).await?;
    others.retain(|sid| *sid != caller.sid);
    known_device::forget_all(&mut tx, caller.user).await?;
    let ended = end(&mut tx, caller.user, &others).await?;
    let message = tx.commit(Message { message: format!("Other sessions ended: {}", ended.len()) }).await?;
    revocation::tell(&app, caller.user).await?;
    tracing::info!(user_id = %caller.user, sessions = ended.len(), "other sessions were ended by their user");
    Ok(message)
}

async fn end(tx: &mut Tx, user: UserId, sids: &[AuthSessionId]) -> Result<Vec<AuthSessionId>, Fault> {
    let ended = session::revoke(tx, user, sids, Reason::Logout).await?;
    if !ended.is_empty() {
        let details = json!({ "sids": ended, "reason": Reason::Logout.name() });
        tx.audit("session.revoked", Some(user), details).await?;
    }
    Ok(ended)
}
