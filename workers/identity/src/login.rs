//! Sign-in by password (`spec/protocols.md` P1). Unknown addresses and wrong passwords can't be told apart, by answer or
//! by time; what else is wrong with an account is said only to who knows its password.

use std::time::Instant;

use lectern_core::{Call, Outcome};
use lectern_subjects::Role;
use lectern_subjects::id::UserId;
use lectern_subjects::identity::{IdentityRefusal, Login, LoginAction, TokenPair, UserLoggedIn};
use sqlx::query;

use crate::account;
use crate::app::{App, Fault};
use crate::attempts::{self, Place};
use crate::auth_sessions;
use crate::login_history;
use crate::password::Verdict;
use crate::revocation;
use crate::tokens::{self, Bearer};

/// An account whose password is to be checked.
struct Known {
    id: UserId,
    password_hash: String,
}

/// Signs in.
pub async fn login(app: App, call: Call, req: Login) -> Outcome<Login> {
    let started = Instant::now();
    let outcome = sign_in(&app, &call, &req).await;
    metrics::histogram!("user_login_duration_seconds").record(started.elapsed());
    match &outcome {
        Ok(_) => metrics::counter!("user_login_attempts_total", "status" => "success").increment(1),
        Err(Fault::Refused(_)) => {
            metrics::counter!("user_login_attempts_total", "status" => "failed").increment(1);
        }
        Err(_) => {}
    }
    outcome
}

async fn sign_in(app: &App, call: &Call, req: &Login) -> Result<TokenPair, Fault> {
    let email = account::normal(&req.email);
    let place = attempts::take(app, call, counter(app, &email)).await.inspect_err(|fault| {
        if matches!(fault, Fault::Refused(_)) {
            failed("account_locked");
        }
    })?;
    match check_password(app, call, &email, &req.password).await {
        Err(fault) => {
            place.give_back(app).await;
            Err(fault)
        }
        Ok((known, Verdict::Wrong)) => Err(wrong(app, call, place, known.map(|known| known.id)).await?),
        Ok((None, _)) => Err(wrong(app, call, place, None).await?),
        Ok((Some(known), verdict)) => {
            let rehashed = match verdict {
                Verdict::RightButOld => rehash(app, call, &req.password).await,
                Verdict::Right | Verdict::Wrong => None,
            };
            let signed_in = open_session(app, call, &place, &known, rehashed).await;
            if signed_in.is_err() {
                place.give_back(app).await;
            }
            signed_in
        }
    }
}

/// The counter that wrong passwords for an address go to.
pub(crate) fn counter(app: &App, email: &str) -> attempts::Account {
    app.vault().hash("sign-in account", &[account::normal(email).as_bytes()])
}

async fn check_password(
    app: &App,
    call: &Call,
    email: &str,
    password: &str,
) -> Result<(Option<Known>, Verdict), Fault> {
    let mut connection = app.connect_patiently(call).await?;
    let known = query!(
        r#"SELECT id AS "id: UserId", password_hash AS "password_hash!" FROM identity.users
           WHERE email_norm = $1 AND password_hash IS NOT NULL"#,
        email
    )
    .fetch_optional(&mut *connection)
    .await?
    .map(|row| Known { id: row.id, password_hash: row.password_hash });
    // hashing takes long: not with a connection in hand
    drop(connection);
    let stored = known.as_ref().map(|known| known.password_hash.as_str());
    let verdict = app.hashing().verify(password, stored, app.time_left(call)).await?;
    Ok((known, verdict))
}

/// Counts a wrong password. The answer is the same whether there is such an account or not, and so is the work.
async fn wrong(app: &App, call: &Call, place: Place, user: Option<UserId>) -> Result<Fault, Fault> {
    let reason = if user.is_some() { "invalid_password" } else { "user_not_found" };
    let mut tx = app.begin_patiently(call).await?;
    let locked = place.failed(app, &mut tx).await?;
    login_history::record(&mut tx, app, &call.client, LoginAction::Login, user, Some(reason)).await?;
    tx.commit_followed().await?;
    failed(reason);
    if locked {
        metrics::counter!("user_account_lockouts_total").increment(1);
        tracing::warn!(
            user = user.map(|id| id.to_string()),
            "an account is locked: too many wrong passwords"
        );
    }
    Ok(IdentityRefusal::InvalidCredentials.into())
}

/// The password is right: everything that a sign-in changes, in one transaction.
async fn open_session(
    app: &App,
    call: &Call,
    place: &Place,
    known: &Known,
    rehashed: Option<String>,
) -> Result<TokenPair, Fault> {
    let ring = app.key_ring().await?;
    let mut tx = app.begin_patiently(call).await?;
    let now = tx.now();
    place.succeeded(&mut tx).await?;
    let user = query!(
        r#"SELECT role AS "role: Role", roles AS "roles: Vec<Role>", is_active, is_verified, uv
           FROM identity.users WHERE id = $1 AND password_hash = $2 FOR NO KEY UPDATE"#,
        known.id.0,
        known.password_hash
    )
    .fetch_optional(&mut *tx)
    .await?;
    // changed since it was compared: this one is the old password
    let user = user.ok_or(IdentityRefusal::InvalidCredentials)?;
    let refusal = if !user.is_active {
        Some((IdentityRefusal::AccountDisabled, "account_disabled"))
    } else if !user.is_verified && app.settings().requires_verified_email {
        Some((IdentityRefusal::EmailNotVerified, "email_not_verified"))
    } else {
        None
    };
    if let Some((refusal, reason)) = refusal {
        login_history::record(&mut tx, app, &call.client, LoginAction::Login, Some(known.id), Some(reason))
            .await?;
        tx.commit_followed().await?;
        failed(reason);
        return Err(refusal.into());
    }
    tx.set_actor(Some(known.id));
    let ended = auth_sessions::make_room(&mut tx, app, known.id).await?;
    let (refresh_token, refresh_hash) = tokens::new_refresh(app.vault()).map_err(Fault::Broken)?;
    let sid = auth_sessions::open(&mut tx, app, known.id, refresh_hash, &call.client).await?;
    let signed_in = query!(
        "UPDATE identity.users
         SET last_login_at = $2, version = version + 1, password_hash = COALESCE($3, password_hash)
         WHERE id = $1 RETURNING version",
        known.id.0,
        now,
        rehashed
    )
    .fetch_one(&mut *tx)
    .await?;
    login_history::record(&mut tx, app, &call.client, LoginAction::Login, Some(known.id), None).await?;
    tx.announce(&UserLoggedIn { user_id: known.id, sid, timestamp: now }, signed_in.version).await?;
    let bearer = Bearer {
        user: known.id,
        role: user.role,
        roles: user.roles,
        is_verified: user.is_verified,
        uv: user.uv,
    };
    let pair = tokens::pair(app, &ring, &bearer, sid, now, refresh_token, now)?;
    let pair = tx.commit(pair).await?;
    tracing::info!(user = %known.id, %sid, "signed in");
    // the new session stands whether or not the bucket takes the end of the old one now: the sweep tells it again
    if revocation::tell(app, &ended).await.is_err() {
        tracing::warn!(user = %known.id, "an evicted session's tokens live until its revocation is told");
    }
    Ok(pair)
}

/// A hash with the parameters in force, in place of an old one; a pool that is busy may do it next time.
async fn rehash(app: &App, call: &Call, password: &str) -> Option<String> {
    let salt = app.vault().random().ok()?;
    app.hashing().hash(password, salt, app.time_left(call)).await.ok()
}

fn failed(reason: &'static str) {
    metrics::counter!("user_failed_login_attempts_total", "reason" => reason).increment(1);
}
