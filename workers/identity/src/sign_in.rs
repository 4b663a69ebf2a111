//! What every sign-in ends with, however somebody proved who they are: one transaction that opens the session.

use lectern_core::Tx;
use lectern_subjects::Role;
use lectern_subjects::id::UserId;
use lectern_subjects::identity::{IdentityRefusal, TokenPair, UserLoggedIn};
use sqlx::query;

use crate::app::{App, Fault};
use crate::auth_sessions;
use crate::revocation;
use crate::tokens::{self, Bearer, Proof};

/// An account that signs in, its row locked.
pub(crate) struct Account {
    pub id: UserId,
    pub email: String,
    pub password_hash: Option<String>,
    pub is_active: bool,
    pub is_verified: bool,
    role: Role,
    roles: Vec<Role>,
    uv: i64,
}

/// Reads an account and locks its row, so that nothing about it changes until the sign-in is done.
pub(crate) async fn account(tx: &mut Tx, user: UserId) -> Result<Option<Account>, sqlx::Error> {
    let row = query!(
        r#"SELECT email, password_hash, role AS "role: Role", roles AS "roles: Vec<Role>", is_active, is_verified, uv
           FROM identity.users WHERE id = $1 AND status <> 'deleted' FOR NO KEY UPDATE"#,
        user.0
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map(|row| Account {
        id: user,
        email: row.email,
        password_hash: row.password_hash,
        is_active: row.is_active,
        is_verified: row.is_verified,
        role: row.role,
        roles: row.roles,
        uv: row.uv,
    }))
}

impl Account {
    /// Why it may not sign in, said only to who has proved that it is theirs; with the reason for the records.
    pub fn refusal(&self, app: &App) -> Option<(IdentityRefusal, &'static str)> {
        if !self.is_active {
            Some((IdentityRefusal::AccountDisabled, "account_disabled"))
        } else if !self.is_verified && app.settings().requires_verified_email {
            Some((IdentityRefusal::EmailNotVerified, "email_not_verified"))
        } else {
            None
        }
    }
}

/// Opens the session, commits, and answers its first pair.
pub(crate) async fn open(
    mut tx: Tx,
    app: &App,
    account: Account,
    amr: Vec<String>,
) -> Result<TokenPair, Fault> {
    let ring = app.key_ring().await?;
    let (user, now) = (account.id, tx.now());
    tx.set_actor(Some(user));
    let ended = auth_sessions::make_room(&mut tx, app, user).await?;
    let (refresh_token, refresh_hash) = tokens::new_refresh(app.vault()).map_err(Fault::Broken)?;
    let proof = Proof { at: now, amr };
    let sid = auth_sessions::open(&mut tx, app, user, &proof, refresh_hash).await?;
    let version = query!(
        "UPDATE identity.users SET last_login_at = $2, version = version + 1 WHERE id = $1 RETURNING version",
        user.0,
        now
    )
    .fetch_one(&mut *tx)
    .await?
    .version;
    record(&mut tx, app, Some(user), None).await?;
    tx.announce(&UserLoggedIn { user_id: user, sid, timestamp: now }, version).await?;
    let bearer = Bearer {
        user,
        role: account.role,
        roles: account.roles,
        is_verified: account.is_verified,
        uv: account.uv,
    };
    let pair = tokens::pair(app, &ring, &bearer, sid, &proof, refresh_token, now)?;
    let pair = tx.commit(pair).await?;
    tracing::info!(%user, %sid, "signed in");
    // the new session stands whether or not the bucket takes the end of the old one now: the sweep tells it again
    if revocation::tell(app, &ended).await.is_err() {
        tracing::warn!(%user, "an evicted session's tokens live until its revocation is told");
    }
    Ok(pair)
}

/// Refuses a sign-in whose proof was right, and records why.
pub(crate) async fn refuse(
    mut tx: Tx,
    app: &App,
    user: UserId,
    (refusal, reason): (IdentityRefusal, &'static str),
) -> Result<Fault, Fault> {
    record(&mut tx, app, Some(user), Some(reason)).await?;
    tx.commit_followed().await?;
    failed(reason);
    Ok(refusal.into())
}

/// A line of the login history.
pub(crate) async fn record(
    tx: &mut Tx,
    app: &App,
    user: Option<UserId>,
    failure_reason: Option<&str>,
) -> Result<(), sqlx::Error> {
    let (id, now): (uuid::Uuid, _) = (app.new_id(), tx.now());
    query!(
        "INSERT INTO identity.login_history (id, user_id, action, success, failure_reason, created_at)
         VALUES ($1, $2, 'login', $3, $4, $5)",
        id,
        user.map(|user| user.0),
        failure_reason.is_none(),
        failure_reason,
        now
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Counts a refused sign-in.
pub(crate) fn failed(reason: &'static str) {
    metrics::counter!("user_failed_login_attempts_total", "reason" => reason).increment(1);
}
