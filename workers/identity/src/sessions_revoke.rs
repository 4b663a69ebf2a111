//! Ends sessions that the caller no longer wants (`spec/protocols.md` P3): answered only after every role can know of it.

use lectern_core::{Call, Outcome, Tx};
use lectern_subjects::id::{AuthSessionId, UserId};
use lectern_subjects::identity::{IdentityRefusal, Message, RevokeAuthSession, RevokeOtherAuthSessions};
use serde_json::json;
use sqlx::{query, query_scalar};

use crate::app::{App, Fault};
use crate::auth_sessions::{self, Reason};
use crate::revocation;

/// Ends one of the caller's sessions. One that is ended already is told again: a repetition after a 503 is answered only
/// when the bucket has it.
pub async fn revoke(app: App, call: Call, req: RevokeAuthSession) -> Outcome<RevokeAuthSession> {
    let caller = call.user()?.user;
    let mut tx = app.begin_patiently(&call).await?;
    lock_user(&mut tx, caller).await?;
    query!("SELECT sid FROM identity.auth_sessions WHERE sid = $1 AND user_id = $2", req.sid.0, caller.0)
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(IdentityRefusal::SessionNotFound)?;
    end(&mut tx, caller, &[req.sid]).await?;
    let message = tx.commit(Message { message: "Session ended".to_owned() }).await?;
    revocation::tell(&app, &[req.sid]).await?;
    tracing::info!(user = %caller, sid = %req.sid, "a session was ended by its user");
    Ok(message)
}

/// Ends all of the caller's sessions but the one that this request comes from.
pub async fn revoke_others(
    app: App,
    call: Call,
    _req: RevokeOtherAuthSessions,
) -> Outcome<RevokeOtherAuthSessions> {
    let caller = call.user()?;
    let mut tx = app.begin_patiently(&call).await?;
    lock_user(&mut tx, caller.user).await?;
    let mut others = auth_sessions::live(&mut tx, caller.user).await?;
    others.retain(|sid| *sid != caller.sid);
    let ended = end(&mut tx, caller.user, &others).await?;
    let untold = untold(&mut tx, caller.user, caller.sid).await?;
    let message = tx.commit(Message { message: format!("Other sessions ended: {}", ended.len()) }).await?;
    revocation::tell(&app, &untold).await?;
    tracing::info!(user = %caller.user, sessions = ended.len(), "other sessions were ended by their user");
    Ok(message)
}

/// In the order in which sign-in, refresh and sign-out lock: the user, then the sessions.
async fn lock_user(tx: &mut Tx, user: UserId) -> Result<(), Fault> {
    query!("SELECT id FROM identity.users WHERE id = $1 FOR NO KEY UPDATE", user.0)
        .fetch_optional(&mut **tx)
        .await?
        .ok_or(IdentityRefusal::SessionNotFound)?;
    Ok(())
}

/// The other sessions that are ended and that the bucket may not know yet: those of now, and those of a time before that was
/// answered with 503.
async fn untold(tx: &mut Tx, user: UserId, but: AuthSessionId) -> Result<Vec<AuthSessionId>, Fault> {
    let untold = query_scalar!(
        r#"SELECT s.sid AS "sid: AuthSessionId" FROM identity.auth_sessions s
           JOIN identity.pending_revocations p ON p.sid = s.sid WHERE s.user_id = $1 AND s.sid <> $2"#,
        user.0,
        but.0
    );
    Ok(untold.fetch_all(&mut **tx).await?)
}

async fn end(tx: &mut Tx, user: UserId, sids: &[AuthSessionId]) -> Result<Vec<AuthSessionId>, Fault> {
    let ended = auth_sessions::revoke(tx, user, sids, Reason::Logout).await?;
    if !ended.is_empty() {
        let details = json!({ "sids": ended, "reason": Reason::Logout.name() });
        tx.audit("session.revoked", Some(user), details).await?;
    }
    Ok(ended)
}
