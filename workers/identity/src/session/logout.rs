//! Sign-out (`spec/protocols.md` P3): answered only after every role can know of it.

use lectern_core::{Call, Outcome, Tx};
use lectern_subjects::id::{AuthSessionId, UserId};
use lectern_subjects::identity::{LoginAction, Logout, Message, UserLoggedOut};
use serde_json::json;

use crate::account;
use crate::app::{App, Fault};
use crate::session::{self, Reason};
use crate::session::{login_history, revocation};
use crate::sign_in::known_device;

/// Ends this session, or all of the caller's. Repeating it, after a 503 for example, tells the bucket again.
pub async fn logout(app: App, call: Call, req: Logout) -> Outcome<Logout> {
    let caller = call.user()?;
    let mut tx = app.begin_patiently(&call).await?;
    session::lock_owner(&mut tx, caller.user).await?;
    let sids = if req.all { session::live(&mut tx, caller.user).await? } else { vec![caller.sid] };
    if req.all {
        known_device::forget_all(&mut tx, caller.user).await?;
    }
    let ended = sign_out(&mut tx, &app, &call, caller.user, &sids, caller.sid).await?;
    let mut untold = session::untold(&mut tx, caller.user).await?;
    let message = tx.commit(Message { message: "Successfully logged out".to_owned() }).await?;
    if !untold.contains(&caller.sid) {
        untold.push(caller.sid);
    }
    revocation::tell(&app, &untold).await?;
    tracing::info!(event = "user_logout", user_id = %caller.user, sessions = ended.len(), "signed out");
    Ok(message)
}

/// Ends these sessions of a user, as they asked from the session `from`: records, facts and the memory to tell the bucket.
/// The caller holds the lock of the user's row. Answers the ones it ended; [`tell`](revocation::tell) them after the commit.
pub(crate) async fn sign_out(
    tx: &mut Tx,
    app: &App,
    call: &Call,
    user: UserId,
    sids: &[AuthSessionId],
    from: AuthSessionId,
) -> Result<Vec<AuthSessionId>, Fault> {
    let ended = session::revoke(tx, user, sids, Reason::Logout).await?;
    if ended.is_empty() {
        return Ok(ended);
    }
    let version = account::next_version(tx, user).await?;
    tx.announce(&UserLoggedOut { user_id: user, sid: from }, version).await?;
    login_history::record(tx, app, &call.client, LoginAction::Logout, Some(user), None).await?;
    tx.audit("user.logged_out", Some(user), json!({ "sid": from, "sessions_ended": ended })).await?;
    Ok(ended)
}
