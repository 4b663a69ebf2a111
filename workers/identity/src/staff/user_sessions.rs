//! Staff see and end somebody's sessions (`spec/protocols.md` P3).

use lectern_core::{Call, Outcome};
use lectern_subjects::identity::{ListUserSessions, Message, RevokeUserSessions};
use serde_json::json;

use crate::account;
use crate::app::App;
use crate::session::{self, Reason};
use crate::session::{list, revocation};
use crate::sign_in::known_device;

/// Shows the live sessions of a user.
pub async fn list(app: App, call: Call, req: ListUserSessions) -> Outcome<ListUserSessions> {
    account::cache::read(&app, &call, req.id).await?;
    list::page(&app, &call, req.id, req.limit, req.cursor.as_deref()).await
}

/// Ends all sessions of a user. Repeating it, after a 503 for example, tells the bucket again.
pub async fn revoke(app: App, call: Call, req: RevokeUserSessions) -> Outcome<RevokeUserSessions> {
    let id = req.id;
    let mut tx = app.begin_patiently(&call).await?;
    account::locked(&mut tx, &app, &call, id).await?;
    known_device::forget_all(&mut tx, id).await?;
    let live = session::live(&mut tx, id).await?;
    let ended = session::revoke(&mut tx, id, &live, Reason::Admin).await?;
    if !ended.is_empty() {
        let details = json!({ "sids": ended, "reason": Reason::Admin.name() });
        tx.audit("session.revoked", Some(id), details).await?;
    }
    let message = tx.commit(Message { message: format!("Sessions ended: {}", ended.len()) }).await?;
    revocation::tell(&app, id).await?;
    tracing::info!(about = %id, sessions = ended.len(), "sessions were ended by staff");
    Ok(message)
}
