//! Sign-out (`spec/protocols.md` P3): answered only after every role can know of it.

use lectern_core::{Call, Outcome};
use lectern_subjects::identity::{IdentityRefusal, LoginAction, Logout, Message, UserLoggedOut};
use sqlx::query;

use crate::app::App;
use crate::auth_sessions::{self, Reason};
use crate::{account, login_history, revocation};

/// Ends this session, or all of the caller's. Repeating it, after a 503 for example, tells the bucket again.
pub async fn logout(app: App, call: Call, req: Logout) -> Outcome<Logout> {
    let caller = call.user()?;
    let mut tx = app.begin_patiently(&call).await?;
    query!("SELECT id FROM identity.users WHERE id = $1 FOR NO KEY UPDATE", caller.user.0)
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(IdentityRefusal::SessionNotFound)?;
    let sids = if req.all { auth_sessions::live(&mut tx, caller.user).await? } else { vec![caller.sid] };
    let mut ended = auth_sessions::revoke(&mut tx, caller.user, &sids, Reason::Logout).await?;
    if !ended.is_empty() {
        let version = account::next_version(&mut tx, caller.user).await?;
        tx.announce(&UserLoggedOut { user_id: caller.user, sid: caller.sid }, version).await?;
        let (client, user) = (&call.client, Some(caller.user));
        login_history::record(&mut tx, &app, client, LoginAction::Logout, user, None).await?;
    }
    let message = tx.commit(Message { message: "Successfully logged out".to_owned() }).await?;
    if !ended.contains(&caller.sid) {
        ended.push(caller.sid);
    }
    revocation::tell(&app, &ended).await?;
    tracing::info!(user = %caller.user, sessions = ended.len(), "signed out");
    Ok(message)
}
