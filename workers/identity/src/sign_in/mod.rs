//! What every sign-in ends with, however somebody proved who they are: one transaction that opens the session.

pub(crate) mod address_limit;
pub(crate) mod attempts;
pub(crate) mod client_network;
pub(crate) mod known_device;
pub(crate) mod login;
pub(crate) mod rate;
pub(crate) mod suspicion;

use lectern_core::{Call, Tx};
use lectern_subjects::Role;
use lectern_subjects::id::UserId;
use lectern_subjects::identity::{IdentityRefusal, LoginAction, TokenPair, UserLoggedIn};
use serde_json::json;
use sqlx::query;

use crate::app::{App, Fault};
use crate::federation;
use crate::session;
use crate::session::{Reason, login_history, revocation};
use crate::sign_in::known_device::KnownDevice;
use crate::token::{self, Bearer, Proof};

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
    device_generation: i64,
}

/// Reads an account and locks its row, so that nothing about it changes until the sign-in is done.
pub(crate) async fn account(tx: &mut Tx, user: UserId) -> Result<Option<Account>, sqlx::Error> {
    let row = query!(
        r#"SELECT email, password_hash, role AS "role: Role", roles AS "roles: Vec<Role>", is_active, is_verified, uv,
                  device_generation
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
        device_generation: row.device_generation,
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

/// Whether an account has something to sign in with that works here: a password, a passkey, an identity at a provider.
pub(crate) async fn has_a_way(tx: &mut Tx, app: &App, account: &Account) -> Result<bool, sqlx::Error> {
    if account.password_hash.is_some() {
        return Ok(true);
    }
    let credentials = query!(
        "SELECT kind, public->>'issuer' AS issuer FROM identity.credentials
         WHERE user_id = $1 AND kind IN ('passkey', 'oidc')",
        account.id.0
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(credentials.iter().any(|it| match it.kind.as_str() {
        "passkey" => app.settings().relying_party.is_some(),
        _ => it.issuer.as_deref().is_some_and(|issuer| federation::knows(app, issuer)),
    }))
}

/// How somebody has proved who they are, completely.
pub(crate) struct Proved {
    /// What finished the sign-in, as the audit record says it: `password`, `code`, `passkey` or `oidc`.
    pub by: &'static str,
    /// Authentication methods (RFC 8176).
    pub amr: Vec<String>,
    /// The device of this account from which it comes, if it is known.
    pub device: Option<KnownDevice>,
}

/// Opens the session, commits, and answers its first pair.
///
/// # Errors
/// USER_1203.
pub(crate) async fn open(
    mut tx: Tx,
    app: &App,
    call: &Call,
    account: Account,
    proved: Proved,
) -> Result<TokenPair, Fault> {
    let ring = app.key_ring().await?;
    let (user, now, client) = (account.id, tx.now(), &call.client);
    tx.set_actor(Some(user));
    let (refresh_token, refresh_hash) = token::new_refresh(app.vault()).map_err(Fault::Broken)?;
    let proof = Proof { at: now, amr: proved.amr };
    let opened = session::open(&mut tx, app, user, &proof, refresh_hash, client).await?;
    let sid = opened.sid;
    login_history::record(&mut tx, app, client, LoginAction::Login, Some(user), None).await?;
    let email = account.email.clone();
    let signed_in = UserLoggedIn { user_id: user, email, sid, amr: proof.amr.clone(), timestamp: now };
    tx.announce(&signed_in, opened.version).await?;
    let ended = session::revoke(&mut tx, user, &opened.oldest, Reason::Limit).await?;
    suspicion::signed_in(&mut tx, app, client, &account, sid, proved.device.is_some()).await?;
    let device_token = known_device::remember(app, user, account.device_generation, proved.device, now);
    let details = json!({ "by": proved.by, "sid": sid, "sessions_ended": ended });
    tx.audit("user.logged_in", Some(user), details).await?;
    let bearer = Bearer {
        user,
        email: account.email,
        role: account.role,
        roles: account.roles,
        is_verified: account.is_verified,
        uv: account.uv,
    };
    let pair = tracing::info_span!("create_tokens")
        .in_scope(|| token::pair(app, &ring, &bearer, sid, &proof, refresh_token, now))?;
    let pair = tx.commit(TokenPair { device_token: Some(device_token), ..pair }).await?;
    tracing::info!(event = "user_login_success", user_id = %user, %sid, by = proved.by, "signed in");
    // the new session stands whether or not the bucket takes the end of the old one now: the sweep tells it again
    if revocation::tell_sessions(app, &ended).await.is_err() {
        tracing::warn!(user_id = %user, "an evicted session's tokens live until its revocation is told");
    }
    Ok(pair)
}

/// Refuses a sign-in whose proof was right, and records why.
pub(crate) async fn refuse(
    mut tx: Tx,
    app: &App,
    call: &Call,
    account: &Account,
    (refusal, reason): (IdentityRefusal, &'static str),
) -> Result<Fault, Fault> {
    record_failure(&mut tx, app, call, account.id, &account.email, reason).await?;
    tx.commit_followed().await?;
    failed(reason, Some(account.id));
    Ok(refusal.into())
}

/// Writes a refused sign-in of an account into its history, and announces it.
pub(crate) async fn record_failure(
    tx: &mut Tx,
    app: &App,
    call: &Call,
    user: UserId,
    email: &str,
    reason: &'static str,
) -> Result<(), Fault> {
    login_history::record(tx, app, &call.client, LoginAction::Login, Some(user), Some(reason)).await?;
    let account = attempts::account(app, email);
    suspicion::sign_in_failed(tx, app, &call.client, account, Some(user), reason).await
}

/// Counts a sign-in by what came of it.
pub(crate) fn count(outcome: &Result<TokenPair, Fault>) {
    let status = match outcome {
        Ok(_) => "success",
        // half of a sign-in is neither, and who has too many sessions proved who they are (identity spec C25)
        Err(Fault::Refused(refused))
            if matches!(refused.refusal, IdentityRefusal::MfaRequired | IdentityRefusal::TooManySessions) =>
        {
            return;
        }
        Err(Fault::Refused(_)) => "failed",
        Err(fault) if address_limit::is_refusal(fault) => {
            failed("rate_limited", None);
            "rate_limited"
        }
        Err(_) => return,
    };
    metrics::counter!("user_login_attempts_total", "status" => status).increment(1);
}

/// Counts a refused sign-in, and notes it: without an address (identity spec C16).
pub(crate) fn failed(reason: &'static str, user: Option<UserId>) {
    metrics::counter!("user_failed_login_attempts_total", "reason" => reason).increment(1);
    let user_id = user.map(tracing::field::display);
    tracing::warn!(event = "user_login_failed", user_id, reason, "not signed in");
}
