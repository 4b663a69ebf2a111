//! Sign-in by password (`spec/protocols.md` P1). Unknown addresses and wrong passwords can't be told apart, by answer or
//! by time; what else is wrong with an account is said only to who knows its password.

use std::time::Instant;

use lectern_core::{Call, Outcome};
use lectern_subjects::id::UserId;
use lectern_subjects::identity::{IdentityRefusal, Login, TokenPair};
use sqlx::query;

use crate::account;
use crate::app::{App, Fault};
use crate::attempts::{self, Place};
use crate::mfa;
use crate::password::Verdict;
use crate::sign_in::{self, failed, record};

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
        // half of a sign-in is neither
        Err(Fault::Refused(refused)) if refused.refusal == IdentityRefusal::MfaRequired => {}
        Err(Fault::Refused(_)) => {
            metrics::counter!("user_login_attempts_total", "status" => "failed").increment(1);
        }
        Err(_) => {}
    }
    outcome
}

async fn sign_in(app: &App, call: &Call, req: &Login) -> Result<TokenPair, Fault> {
    let email = account::normal(&req.email);
    let place = attempts::take(app, call, attempts::account(app, &email)).await.inspect_err(|fault| {
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
            let signed_in = go_on(app, call, &place, &known, rehashed).await;
            if signed_in.is_err() {
                place.give_back(app).await;
            }
            signed_in
        }
    }
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
    record(&mut tx, app, user, Some(reason)).await?;
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

/// The password is right: a second factor is asked for, or the session is opened.
async fn go_on(
    app: &App,
    call: &Call,
    place: &Place,
    known: &Known,
    rehashed: Option<String>,
) -> Result<TokenPair, Fault> {
    let mut tx = app.begin_patiently(call).await?;
    place.succeeded(&mut tx).await?;
    let mut account = sign_in::account(&mut tx, known.id)
        .await?
        // changed since it was compared: this one is the old password
        .filter(|account| account.password_hash.as_deref() == Some(known.password_hash.as_str()))
        .ok_or(IdentityRefusal::InvalidCredentials)?;
    if let Some(refused) = account.refusal(app) {
        return Err(sign_in::refuse(tx, app, known.id, refused).await?);
    }
    if let Some(hash) = rehashed {
        query!("UPDATE identity.users SET password_hash = $2 WHERE id = $1", known.id.0, hash)
            .execute(&mut *tx)
            .await?;
        account.password_hash = Some(hash);
    }
    match mfa::asked_of(&mut tx, app, known.id).await? {
        Some(kinds) => Err(mfa::ask(tx, app, &account, kinds).await?),
        None => sign_in::open(tx, app, account, vec!["pwd".to_owned()]).await,
    }
}

/// A hash with the parameters in force, in place of an old one; a pool that is busy may do it next time.
async fn rehash(app: &App, call: &Call, password: &str) -> Option<String> {
    let salt = app.vault().random().ok()?;
    app.hashing().hash(password, salt, app.time_left(call)).await.ok()
}
