//! A new password by a mailed link. Who has the link reads the account's mail: that passes the account's lock, and
//! nothing else. Nobody is signed in by it, and a second factor is asked for as before, unless the link is what verifies the
//! address: then nothing stays that somebody else may have put there.

use chrono::{DateTime, Utc};
use lectern_core::{Call, Outcome, Tx};
use lectern_subjects::id::UserId;
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
    ended: usize,
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
    let Done { user, ended } = done?;
    tracing::info!(event = "user_password_changed", user_id = %user, sessions = ended, "a password was set by a link");
    revocation::tell(&app, user).await?;
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
    // the counters, then the account, as everybody locks them
    attempts::clear(&mut tx, &[attempts::account(app, &owner.email), attempts::signed_in(app, owner.id)])
        .await?;
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
        let removed = forget_ways_in(&mut tx, owner.id).await?;
        let details = json!({ "by": "password_reset", "credentials_removed": removed });
        tx.audit("user.email_verified", Some(owner.id), details).await?;
    }
    let live = session::live(&mut tx, owner.id).await?;
    let ended = session::revoke(&mut tx, owner.id, &live, Reason::Password).await?;
    revocation::change_claims(&mut tx, owner.id).await?;
    tx.commit_followed().await?;
    Ok(Some(Done { user: owner.id, ended: ended.len() }))
}

/// Removes everything but the password that somebody could sign in with; answers of which kinds it was. Who signed up with
/// an address that nobody had verified may have been anybody: whoever reads its mail now gets the account to themselves.
async fn forget_ways_in(tx: &mut Tx, user: UserId) -> Result<Vec<String>, sqlx::Error> {
    query!("DELETE FROM identity.challenges WHERE user_id = $1", user.0).execute(&mut **tx).await?;
    let mut kinds =
        query_scalar!("DELETE FROM identity.credentials WHERE user_id = $1 RETURNING kind", user.0)
            .fetch_all(&mut **tx)
            .await?;
    kinds.sort_unstable();
    kinds.dedup();
    Ok(kinds)
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
