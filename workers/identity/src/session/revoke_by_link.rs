//! One click in the letter about a new sign-in: that session ends, and the device that it was opened with is a stranger
//! again.

use lectern_core::{Call, Outcome};
use lectern_subjects::identity::{IdentityRefusal, Message, RevokeByLink};
use serde_json::json;
use sqlx::query;

use crate::app::App;
use crate::session::revocation;
use crate::session::session_link::{self, Opened};
use crate::session::{self, Reason};
use crate::sign_in::known_device;

/// Ends the session. Repeating it, after a 503 for example, tells the bucket again and changes nothing more.
pub async fn revoke_by_link(app: App, call: Call, req: RevokeByLink) -> Outcome<RevokeByLink> {
    let (user, sid) = match session_link::open(app.vault(), &req.token, app.now()) {
        Opened::Session(user, sid) => (user, sid),
        Opened::Expired => return Err(IdentityRefusal::CodeExpired.into()),
        Opened::NotOurs => return Err(IdentityRefusal::CodeInvalid.into()),
    };
    let mut tx = app.begin_patiently(&call).await?;
    // in the order in which sign-in and sign-out lock; an account that is gone has no sessions
    query!("SELECT id FROM identity.users WHERE id = $1 FOR NO KEY UPDATE", user.0)
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(IdentityRefusal::CodeInvalid)?;
    tx.set_actor(Some(user));
    let ended = session::revoke(&mut tx, user, &[sid], Reason::Logout).await?;
    if !ended.is_empty() {
        known_device::forget_all(&mut tx, user).await?;
        tx.audit("session.revoked_by_link", Some(user), json!({ "sid": sid })).await?;
    }
    let message = tx.commit(Message { message: "The session is ended".to_owned() }).await?;
    revocation::tell(&app, user).await?;
    tracing::info!(user_id = %user, %sid, "a session was ended by the link of a letter");
    Ok(message)
}
