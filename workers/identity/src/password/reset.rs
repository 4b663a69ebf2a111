//! A new password by a mailed link. Who has the link reads the account's mail: that passes the account's lock, and
//! nothing else. Nobody is signed in by it, and a second factor is asked for as before.

use chrono::{DateTime, Utc};
use lectern_core::{Call, Outcome};
use lectern_subjects::id::{AuthSessionId, UserId};
use lectern_subjects::identity::{IdentityRefusal, Message, ResetPassword, UserEmailVerified};
use ring::digest::Digest;
use serde_json::json;
use sqlx::{query, query_scalar};

use crate::app::{App, Fault};
use crate::password::new_password::{self, By, Owner};
use crate::password::reset_links;
use crate::session::revocation;
use crate::session::{self, Reason};
use crate::sign_in::attempts;

/// What using a link came to.
struct Done {
    user: UserId,
    ended: Vec<AuthSessionId>,
    uv: i64,
}

/// Sets the password and ends every session. A 503 may come after the fact: the password is set then, and the sessions'
/// ends are told again by a sweep.
pub async fn password_reset(app: App, call: Call, req: ResetPassword) -> Outcome<ResetPassword> {
    let done = reset(&app, &call, &req).await;
    let status = match &done {
        Ok(_) => Some("success"),
        Err(Fault::Refused(refused)) if refused.refusal == IdentityRefusal::CodeExpired => Some("expired"),
        Err(Fault::Refused(_)) => Some("failed"),
        Err(_) => None,
    };
    if let Some(status) = status {
        metrics::counter!("user_password_reset_total", "status" => status).increment(1);
    }
    let Done { user, ended, uv } = done?;
    tracing::info!(event = "user_password_changed", user_id = %user, sessions = ended.len(), "a password was set by a link");
    revocation::tell(&app, &ended).await?;
    revocation::tell_claims(&app, user, uv).await?;
    Ok(Message { message: "Password changed; sign in with the new one".to_owned() })
}

async fn reset(app: &App, call: &Call, req: &ResetPassword) -> Result<Done, Fault> {
    let link = reset_links::hash(&req.token);
    loop {
        // first of all: who has no good link makes nobody hash anything
        let owner = owner_of(app, call, &link).await?;
        new_password::check(app, &owner, &req.new_password)?;
        let hash = new_password::hash(app, call, &owner, &req.new_password).await?;
        // a sign-in may have hashed the same password anew meanwhile: look again
        if let Some(done) = use_up(app, call, &link, &owner, &hash).await? {
            return Ok(done);
        }
    }
}

/// Whose link it is, if it is good.
async fn owner_of(app: &App, call: &Call, link: &Digest) -> Result<Owner, Fault> {
    let mut connection = app.connect_patiently(call).await?;
    let found = query!(
        r#"SELECT user_id AS "user: UserId", address_hash, expires_at FROM identity.password_resets
           WHERE hash = $1 AND consumed_at IS NULL"#,
        link.as_ref()
    )
    .fetch_optional(&mut *connection)
    .await?;
    drop(connection);
    let found = found.ok_or(IdentityRefusal::CodeInvalid)?;
    if found.expires_at <= call.now {
        return Err(IdentityRefusal::CodeExpired.into());
    }
    let owner = new_password::owner(app, call, found.user).await?;
    let owner = owner.filter(|owner| reset_links::went_to(app.vault(), &owner.email, &found.address_hash));
    Ok(owner.ok_or(IdentityRefusal::CodeInvalid)?)
}

/// Uses the link up: of any number at the same time one does. None when the password was hashed anew since it was read.
async fn use_up(
    app: &App,
    call: &Call,
    link: &Digest,
    owner: &Owner,
    hash: &str,
) -> Result<Option<Done>, Fault> {
    let mut tx = app.begin_patiently(call).await?;
    let now = tx.now();
    // the counter, then the account, as everybody locks them
    attempts::clear(&mut tx, attempts::account(app, &owner.email)).await?;
    let email = query_scalar!(
        "SELECT email FROM identity.users WHERE id = $1 AND is_active FOR NO KEY UPDATE",
        owner.id.0
    )
    .fetch_optional(&mut *tx)
    .await?;
    if email.as_ref() != Some(&owner.email) || !consume(&mut tx, link, now).await? {
        return Err(IdentityRefusal::CodeInvalid.into());
    }
    if !new_password::put(&mut tx, app, owner, hash, By::Reset).await? {
        return Ok(None);
    }
    let verified = query_scalar!(
        "UPDATE identity.users SET is_verified = true, version = version + 1
         WHERE id = $1 AND NOT is_verified RETURNING version",
        owner.id.0
    )
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(version) = verified {
        tx.announce(&UserEmailVerified { user_id: owner.id }, version).await?;
        tx.audit("user.email_verified", Some(owner.id), json!({ "by": "password_reset" })).await?;
    }
    let live = session::live(&mut tx, owner.id).await?;
    let ended = session::revoke(&mut tx, owner.id, &live, Reason::Password).await?;
    let uv = revocation::change_claims(&mut tx, owner.id).await?;
    tx.commit_followed().await?;
    Ok(Some(Done { user: owner.id, ended, uv }))
}

/// Whether this one consumed it.
async fn consume(
    connection: &mut sqlx::PgConnection,
    link: &Digest,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let consumed = query!(
        "UPDATE identity.password_resets SET consumed_at = $2
         WHERE hash = $1 AND consumed_at IS NULL AND expires_at > $2",
        link.as_ref(),
        now
    );
    Ok(consumed.execute(connection).await?.rows_affected() == 1)
}
