//! Sign-in by password (`spec/protocols.md` P1). Unknown addresses and wrong passwords can't be told apart, by answer or
//! by time; what else is wrong with an account is said only to who knows its password.

use std::time::Instant;

use lectern_core::{Call, Outcome};
use lectern_subjects::id::UserId;
use lectern_subjects::identity::{IdentityRefusal, Login, LoginAction, TokenPair};
use sqlx::query;

use crate::account;
use crate::app::{App, Fault};
use crate::mfa;
use crate::password::Verdict;
use crate::session::login_history;
use crate::sign_in::address_limit::{self, Purpose};
use crate::sign_in::attempts::{self, Place};
use crate::sign_in::known_device::{self, KnownDevice};
use crate::sign_in::suspicion;
use crate::sign_in::{self, Proved, failed};

/// An account whose password is to be checked.
struct Known {
    id: UserId,
    password_hash: String,
}

/// What a sign-in counts for.
#[derive(Clone, Copy)]
struct Guess {
    /// The account, as strangers' counter knows it.
    account: attempts::Account,
    /// The device of that account from which it comes.
    device: Option<KnownDevice>,
}

/// Signs in.
pub async fn login(app: App, call: Call, req: Login) -> Outcome<Login> {
    let started = Instant::now();
    let outcome = sign_in(&app, &call, &req).await;
    metrics::histogram!("user_login_duration_seconds").record(started.elapsed());
    sign_in::count(&outcome);
    outcome
}

async fn sign_in(app: &App, call: &Call, req: &Login) -> Result<TokenPair, Fault> {
    address_limit::take(app, call, Purpose::SignIn).await?;
    let email = account::normal(&req.email);
    let account = attempts::account(app, &email);
    let device = known_device::recognise(app, call, &email, req.device_token.as_deref()).await?;
    let counter = device.map_or(account, |device| device.counter(app.vault()));
    let guess = Guess { account, device };
    let place = attempts::take(app, call, counter).await.inspect_err(|fault| {
        if matches!(fault, Fault::Refused(_)) {
            failed("account_locked");
        }
    })?;
    match check_password(app, call, &email, &req.password).await {
        Err(fault) => {
            place.give_back(app).await;
            Err(fault)
        }
        Ok((known, Verdict::Wrong)) => {
            Err(wrong(app, call, place, guess, known.map(|known| known.id)).await?)
        }
        Ok((None, _)) => Err(wrong(app, call, place, guess, None).await?),
        Ok((Some(known), verdict)) => {
            let rehashed = match verdict {
                Verdict::RightButOld => rehash(app, call, &req.password).await,
                Verdict::Right | Verdict::Wrong => None,
            };
            let signed_in = go_on(app, call, &place, guess.device, &known, rehashed).await;
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
async fn wrong(
    app: &App,
    call: &Call,
    place: Place,
    guess: Guess,
    user: Option<UserId>,
) -> Result<Fault, Fault> {
    let reason = if user.is_some() { "invalid_password" } else { "user_not_found" };
    let mut tx = app.begin_patiently(call).await?;
    let locked = place.failed(app, &mut tx).await?;
    login_history::record(&mut tx, app, &call.client, LoginAction::Login, user, Some(reason)).await?;
    if let (true, Some(user)) = (locked, user) {
        suspicion::locked(&mut tx, app, &call.client, user, guess.device.is_some()).await?;
    }
    suspicion::sign_in_failed(&mut tx, app, &call.client, guess.account, user, reason).await?;
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
    device: Option<KnownDevice>,
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
        return Err(sign_in::refuse(tx, app, call, &account, refused).await?);
    }
    if let Some(hash) = rehashed {
        query!("UPDATE identity.users SET password_hash = $2 WHERE id = $1", known.id.0, hash)
            .execute(&mut *tx)
            .await?;
        account.password_hash = Some(hash);
    }
    match mfa::asked_of(&mut tx, app, known.id).await? {
        Some(kinds) => Err(mfa::ask(tx, app, &account, "pwd", kinds).await?),
        None => {
            let proved = Proved { by: "password", amr: vec!["pwd".to_owned()], device };
            sign_in::open(tx, app, call, account, proved).await
        }
    }
}

/// A hash with the parameters in force, in place of an old one; a pool that is busy may do it next time.
async fn rehash(app: &App, call: &Call, password: &str) -> Option<String> {
    let salt = app.vault().random().ok()?;
    app.hashing().hash(password, salt, app.time_left(call)).await.ok()
}
