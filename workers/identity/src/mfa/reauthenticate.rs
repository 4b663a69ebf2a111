//! Proving oneself again without signing out: the session goes on with a fresh `auth_time`, which step-up asks for.

use lectern_core::{Call, Outcome, Tx};
use lectern_subjects::Refusal;
use lectern_subjects::identity::{IdentityRefusal, Reauthenticate, TokenPair};
use serde_json::json;
use sqlx::query;

use crate::app::{App, Fault};
use crate::mfa::passkey_sign_in;
use crate::mfa::{self, invalid};
use crate::password::Verdict;
use crate::session::refresh;
use crate::sign_in::attempts::{self, Place};
use crate::sign_in::{self, Account};

/// Checks what was shown, all of it, and renews the pair. With a second factor on, a password alone is not enough, as
/// at sign-in.
pub async fn reauthenticate(app: App, call: Call, req: Reauthenticate) -> Outcome<Reauthenticate> {
    let caller = call.user()?;
    match req {
        Reauthenticate { passkey: Some(passkey), password: None, code: None } => {
            let (tx, account) = passkey_sign_in::prove(&app, &call, passkey).await?;
            if account.id != caller.user {
                return Err(IdentityRefusal::MfaInvalid.into());
            }
            renew(tx, &app, &call, &account, &passkey_sign_in::AMR).await
        }
        Reauthenticate { passkey: None, password: None, code: Some(code) } => {
            mfa::is_on(&app)?;
            by_code(&app, &call, &code).await
        }
        Reauthenticate { passkey: None, password: Some(password), code: None } => {
            by_password(&app, &call, &password).await
        }
        _ => Err(invalid("", "one of password, code and passkey").into()),
    }
}

async fn by_password(app: &App, call: &Call, password: &str) -> Result<TokenPair, Fault> {
    let caller = call.user()?;
    let known = query!(
        "SELECT password_hash FROM identity.users WHERE id = $1 AND status <> 'deleted'",
        caller.user.0
    )
    .fetch_optional(app.pool())
    .await?
    .ok_or(IdentityRefusal::UserNotFound)?;
    // the same counter as at a change of password: a stolen token gets five looks
    let place = attempts::take(app, call, attempts::signed_in(app, caller.user)).await?;
    let verdict = app.hashing().verify(password, known.password_hash.as_deref(), app.time_left(call)).await;
    let renewed = match verdict {
        Ok(Verdict::Wrong) => {
            return wrong(app, call, place, IdentityRefusal::InvalidCredentials, "pwd").await;
        }
        Ok(_) => with_password(app, call, &place, known.password_hash.as_deref()).await,
        Err(error) => Err(error.into()),
    };
    if renewed.is_err() {
        place.give_back(app).await;
    }
    renewed
}

async fn with_password(
    app: &App,
    call: &Call,
    place: &Place,
    password_hash: Option<&str>,
) -> Result<TokenPair, Fault> {
    let caller = call.user()?;
    let mut tx = app.begin_patiently(call).await?;
    place.succeeded(&mut tx).await?;
    let account = sign_in::account(&mut tx, caller.user)
        .await?
        .filter(|account| account.password_hash.as_deref() == password_hash)
        .ok_or(IdentityRefusal::InvalidCredentials)?;
    if let Some(kinds) = mfa::asked_of(&mut tx, app, caller.user).await? {
        return Err(IdentityRefusal::MfaRequired.because(json!({ "kinds": kinds })).into());
    }
    renew(tx, app, call, &account, &["pwd"]).await
}

async fn by_code(app: &App, call: &Call, code: &str) -> Result<TokenPair, Fault> {
    let caller = call.user()?;
    let place = mfa::take_place(app, call, caller.user).await?;
    match with_code(app, call, &place, code).await {
        Ok(Some(pair)) => Ok(pair),
        Ok(None) => wrong(app, call, place, IdentityRefusal::MfaInvalid, "otp").await,
        Err(fault) => {
            place.give_back(app).await;
            Err(fault)
        }
    }
}

async fn with_code(app: &App, call: &Call, place: &Place, code: &str) -> Result<Option<TokenPair>, Fault> {
    let caller = call.user()?;
    let mut tx = app.begin_patiently(call).await?;
    // the counter, then the account, as everybody locks them; a wrong code puts it back
    place.succeeded(&mut tx).await?;
    let account = sign_in::account(&mut tx, caller.user).await?.ok_or(IdentityRefusal::UserNotFound)?;
    // recovery codes stand in for an app that there is
    let asked = mfa::asked_of(&mut tx, app, caller.user).await?.is_some();
    if !asked || !mfa::use_code(&mut tx, app, &account, code).await? {
        return Ok(None);
    }
    renew(tx, app, call, &account, &["otp"]).await.map(Some)
}

/// Counts a wrong proof.
async fn wrong(
    app: &App,
    call: &Call,
    place: Place,
    refusal: IdentityRefusal,
    method: &'static str,
) -> Result<TokenPair, Fault> {
    let caller = call.user()?;
    let mut tx = app.begin_patiently(call).await?;
    if place.failed(app, &mut tx).await? {
        metrics::counter!("user_account_lockouts_total").increment(1);
        tracing::warn!(user_id = %caller.user, method, "locked: too many wrong proofs");
    }
    // of who was erased meanwhile nothing is written
    if sign_in::account(&mut tx, caller.user).await?.is_some() {
        let details = json!({ "sid": caller.sid, "method": method });
        tx.audit("session.reauthentication_failed", Some(caller.user), details).await?;
    }
    tx.commit_followed().await?;
    Err(refusal.into())
}

/// The session goes on: proved anew, with what it was proved by before and now.
async fn renew(
    mut tx: Tx,
    app: &App,
    call: &Call,
    account: &Account,
    amr: &[&str],
) -> Result<TokenPair, Fault> {
    let caller = call.user()?;
    let (now, sid) = (tx.now(), caller.sid);
    if let Some((refusal, _)) = account.refusal(app) {
        return Err(refusal.into());
    }
    let before = mfa::amr(&mut tx, caller).await?;
    query!(
        "UPDATE identity.auth_sessions SET auth_time = $2, amr = $3 WHERE sid = $1",
        sid.0,
        now,
        &together(before, amr)
    )
    .execute(&mut *tx)
    .await?;
    let pair = refresh::renew(&mut tx, app, call, sid).await?;
    tx.audit("session.reauthenticated", Some(caller.user), json!({ "sid": sid, "amr": amr })).await?;
    let pair = tx.commit(pair).await?;
    tracing::info!(user_id = %caller.user, %sid, "proved who they are again");
    Ok(pair)
}

/// Methods of before and now; a password and a code are two factors.
pub(crate) fn together(mut amr: Vec<String>, now: &[&str]) -> Vec<String> {
    let has = |amr: &[String], method: &str| amr.iter().any(|one| one == method);
    for method in now {
        if !has(&amr, method) {
            amr.push((*method).to_owned());
        }
    }
    if has(&amr, "pwd") && has(&amr, "otp") && !has(&amr, "mfa") {
        amr.push("mfa".to_owned());
    }
    amr
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_keeps_what_it_was_proved_by_and_two_factors_are_said_to_be_two() {
        let owned = |amr: &[&str]| amr.iter().map(|method| (*method).to_owned()).collect::<Vec<_>>();
        assert_eq!(together(owned(&["pwd"]), &["pwd"]), ["pwd"]);
        assert_eq!(together(owned(&["pwd"]), &["otp"]), ["pwd", "otp", "mfa"]);
        assert_eq!(together(owned(&["pwd", "otp", "mfa"]), &["otp"]), ["pwd", "otp", "mfa"]);
        assert_eq!(together(owned(&["pop", "user", "mfa"]), &["pwd"]), ["pop", "user", "mfa", "pwd"]);
    }
}
