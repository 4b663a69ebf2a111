//! Sign-out (`spec/protocols.md` P3): answered only after every role can know of it.

use lectern_core::{Call, Outcome, Tx};
use lectern_subjects::id::{AuthSessionId, UserId};
use lectern_subjects::identity::{IdentityRefusal, Logout, Message, UserLoggedOut};
use serde_json::json;
use sqlx::query;

use crate::app::{App, Fault};
use crate::auth_sessions::{self, Reason};
use crate::{account, revocation};

/// Ends this session, or all of the caller's. Repeating it, after a 503 for example, tells the bucket again.
pub async fn logout(app: App, call: Call, req: Logout) -> Outcome<Logout> {
    let caller = call.user()?;
    let mut tx = app.begin_patiently(&call).await?;
    lock(&mut tx, caller.user).await?;
    let sids = if req.all { auth_sessions::live(&mut tx, caller.user).await? } else { vec![caller.sid] };
    let mut ended = sign_out(&mut tx, &app, caller.user, &sids, caller.sid).await?;
    let message = tx.commit(Message { message: "Successfully logged out".to_owned() }).await?;
    if !ended.contains(&caller.sid) {
        ended.push(caller.sid);
    }
    revocation::tell(&app, &ended).await?;
    tracing::info!(user = %caller.user, sessions = ended.len(), "signed out");
    Ok(message)
}

/// Ends these sessions of a user, as they asked from the session `from`: records, facts and the memory to tell the bucket.
/// Answers the ones it ended; [`tell`](revocation::tell) them after the commit.
pub(crate) async fn sign_out(
    tx: &mut Tx,
    app: &App,
    user: UserId,
    sids: &[AuthSessionId],
    from: AuthSessionId,
) -> Result<Vec<AuthSessionId>, Fault> {
    lock(tx, user).await?;
    let ended = auth_sessions::revoke(tx, user, sids, Reason::Logout).await?;
    if ended.is_empty() {
        return Ok(ended);
    }
    let version = account::next_version(tx, user).await?;
    tx.announce(&UserLoggedOut { user_id: user, sid: from }, version).await?;
    let (id, now): (uuid::Uuid, _) = (app.new_id(), tx.now());
    query!(
        "INSERT INTO identity.login_history (id, user_id, action, success, created_at)
         VALUES ($1, $2, 'logout', true, $3)",
        id,
        user.0,
        now
    )
    .execute(&mut **tx)
    .await?;
    tx.audit("user.logged_out", Some(user), json!({ "sid": from, "sessions": ended.len() })).await?;
    Ok(ended)
}

/// In the order in which sign-in and refresh lock: the user, then the sessions.
async fn lock(tx: &mut Tx, user: UserId) -> Result<(), Fault> {
    query!("SELECT id FROM identity.users WHERE id = $1 FOR NO KEY UPDATE", user.0)
        .fetch_optional(&mut **tx)
        .await?
        .ok_or(IdentityRefusal::SessionNotFound)?;
    Ok(())
}
