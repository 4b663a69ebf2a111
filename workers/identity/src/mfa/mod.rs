//! Second factors at sign-in: whether one is asked for, and whether a code is one, once.

pub(crate) mod challenges;
pub(crate) mod mfa_verify;
pub(crate) mod passkey_sign_in;
pub(crate) mod passkeys;
pub(crate) mod reauthenticate;
pub(crate) mod recovery_codes;
pub(crate) mod relying_party;
pub(crate) mod step_up;
pub(crate) mod totp;

use lectern_core::call::Caller;
use lectern_core::{Call, Tx};
use lectern_subjects::id::UserId;
use lectern_subjects::identity::{IdentityRefusal, UserCredentialChanged};
use lectern_subjects::{CommonRefusal, Refusal, Refused};
use serde_json::json;
use sqlx::{PgExecutor, query, query_scalar};
use totp_rs::{Builder, Totp};

use crate::account;
use crate::app::{App, Fault};
use crate::mail::{self, Letter};
use crate::mfa::challenges::{Asked, Kind};
use crate::sign_in::Account;
use crate::sign_in::attempts::{self, Place};

/// Whether second factors are switched on here.
///
/// # Errors
/// COMMON_0006: there is no such thing as a request of a feature that is switched off (architecture §13).
pub(crate) fn is_on(app: &App) -> Result<(), CommonRefusal> {
    if app.settings().two_factor { Ok(()) } else { Err(CommonRefusal::RouteNotFound) }
}

/// What a user can prove who they are with besides a password: of `totp`, `recovery`, `passkey`.
pub(crate) async fn kinds(db: impl PgExecutor<'_>, user: UserId) -> Result<Vec<String>, sqlx::Error> {
    query_scalar!(
        r#"SELECT kind AS "kind!" FROM identity.factors WHERE user_id = $1 ORDER BY kind DESC"#,
        user.0
    )
    .fetch_all(db)
    .await
}

/// The kinds of factors that a password is not enough without; none when it is enough. An authenticator app is what
/// makes the difference: recovery codes stand in for one, and a passkey signs in by itself.
pub(crate) async fn asked_of(tx: &mut Tx, app: &App, user: UserId) -> Result<Option<Vec<String>>, Fault> {
    if !app.settings().two_factor {
        return Ok(None);
    }
    let mut kinds = kinds(&mut **tx, user).await?;
    kinds.retain(|kind| kind != "passkey" || app.settings().relying_party.is_some());
    Ok(kinds.iter().any(|kind| kind == "totp").then_some(kinds))
}

/// How the caller's session was proved so far (RFC 8176), its row locked.
///
/// # Errors
/// USER_1201.
pub(crate) async fn amr(tx: &mut Tx, caller: &Caller) -> Result<Vec<String>, Fault> {
    let amr = query_scalar!(
        "SELECT amr FROM identity.auth_sessions WHERE sid = $1 AND user_id = $2 FOR UPDATE",
        caller.sid.0,
        caller.user.0
    );
    Ok(amr.fetch_optional(&mut **tx).await?.ok_or(IdentityRefusal::SessionNotFound)?)
}

/// The answer to a first factor that is not enough, `pwd` or `fed`: what to come back with. The sign-in waits five minutes,
/// and after a password no longer than that is the account's.
pub(crate) async fn ask(
    mut tx: Tx,
    app: &App,
    account: &Account,
    first: &str,
    kinds: Vec<String>,
) -> Result<Fault, Fault> {
    let asked = Asked {
        user: Some(account.id),
        amr: vec![first.to_owned()],
        password: account.password_hash.as_deref().filter(|_| first == "pwd"),
        state: None,
    };
    let (mfa_token, _) = challenges::ask(&mut tx, app, Kind::SecondFactor, asked).await?;
    tx.set_actor(Some(account.id));
    tx.audit("user.mfa_requested", Some(account.id), json!({ "kinds": kinds })).await?;
    tx.commit_followed().await?;
    count("totp", "requested");
    Ok(IdentityRefusal::MfaRequired.because(json!({ "mfa_token": mfa_token, "kinds": kinds })).into())
}

/// The counter of a user's codes.
pub(crate) fn counter(app: &App, user: UserId) -> attempts::Account {
    app.vault().hash("second factor", &[user.0.as_bytes()])
}

/// Takes a place to check one code of a user: five wrong ones lock the second factor, as exactly as passwords do.
///
/// # Errors
/// USER_1003 with `Retry-After` while it is locked.
pub(crate) async fn take_place(app: &App, call: &Call, user: UserId) -> Result<Place, Fault> {
    attempts::take(app, call, counter(app, user)).await.inspect_err(|fault| {
        if matches!(fault, Fault::Refused(_)) {
            count("totp", "locked");
        }
    })
}

/// Uses a code, of the authenticator app or of the recovery codes: once. False when it is none, or none any more.
pub(crate) async fn use_code(tx: &mut Tx, app: &App, account: &Account, code: &str) -> Result<bool, Fault> {
    let code = plain(code);
    let (kind, right) = if code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit()) {
        ("totp", use_totp(tx, app, account.id, &code).await?)
    } else {
        ("recovery", use_recovery_code(tx, app, account, &code).await?)
    };
    count(kind, if right { "success" } else { "failed" });
    Ok(right)
}

/// As somebody may have typed it: without spaces, dashes and capitals.
fn plain(code: &str) -> String {
    code.chars().filter(|c| !c.is_whitespace() && *c != '-').flat_map(char::to_lowercase).collect()
}

async fn use_totp(tx: &mut Tx, app: &App, user: UserId, code: &str) -> Result<bool, Fault> {
    let now = tx.now();
    let Some(app_of_user) = query!(
        "SELECT id, secret_sealed FROM identity.credentials
         WHERE user_id = $1 AND kind = 'totp' AND confirmed_at IS NOT NULL",
        user.0
    )
    .fetch_optional(&mut **tx)
    .await?
    else {
        return Ok(false);
    };
    let sealed = app_of_user.secret_sealed.unwrap_or_default();
    let secret = app.vault().open(&place(app_of_user.id), &sealed).map_err(Fault::Broken)?;
    let Some(step) = matching_step(secret, code, now.timestamp())? else { return Ok(false) };
    // a step is used by one sign-in, and no older one after it (ASVS 6.5.1)
    let used = query_scalar!(
        "UPDATE identity.credentials SET last_used_step = $2, last_used_at = $3
         WHERE id = $1 AND (last_used_step IS NULL OR last_used_step < $2) RETURNING id",
        app_of_user.id,
        step,
        now
    );
    Ok(used.fetch_optional(&mut **tx).await?.is_some())
}

async fn use_recovery_code(tx: &mut Tx, app: &App, account: &Account, code: &str) -> Result<bool, Fault> {
    let (now, user) = (tx.now(), account.id);
    let used = query_scalar!(
        "UPDATE identity.credentials SET last_used_at = $3
         WHERE kind = 'recovery' AND external_key = $1 AND user_id = $2 AND last_used_at IS NULL RETURNING id",
        &recovery_hash(app, user, code),
        user.0,
        now
    );
    if used.fetch_optional(&mut **tx).await?.is_none() {
        return Ok(false);
    }
    changed(tx, app, user, &account.email, "recovery", "used").await?;
    Ok(true)
}

/// A recovery code as it is stored: guessable by size alone, hence keyed, and bound to its user.
pub(crate) fn recovery_hash(app: &App, user: UserId, code: &str) -> [u8; 32] {
    app.vault().hash("recovery code", &[user.0.as_bytes(), plain(code).as_bytes()])
}

/// Says of a changed credential what is to be said: to followers, to the record and to the owner.
pub(crate) async fn changed(
    tx: &mut Tx,
    app: &App,
    user: UserId,
    email: &str,
    kind: &'static str,
    action: &'static str,
) -> Result<(), Fault> {
    let version = account::next_version(tx, user).await?;
    let fact = UserCredentialChanged { user_id: user, kind: kind.to_owned(), action: action.to_owned() };
    tx.announce(&fact, version).await?;
    tx.audit("user.credential_changed", Some(user), json!({ "kind": kind, "action": action })).await?;
    let language = account::language(tx, user).await?;
    mail::queue(tx, app, user, &Letter::credential_changed(email, language, kind, action)).await
}

/// An authenticator app's secret as others of its kind expect it: SHA-1, six digits, 30 s, one step of skew.
pub(crate) fn totp(secret: Vec<u8>, account_name: &str) -> Result<Totp, Fault> {
    let builder =
        Builder::new().with_secret(secret).with_issuer(Some("Lectern")).with_account_name(account_name);
    builder.with_skew(1).build().map_err(|error| Fault::Broken(anyhow::anyhow!("a TOTP secret: {error}")))
}

/// The step whose code this is, of the one before, the present one and the next.
pub(crate) fn matching_step(secret: Vec<u8>, code: &str, unix: i64) -> Result<Option<i64>, Fault> {
    let step = totp(secret, "")?.check(code, u64::try_from(unix)?);
    Ok(step.map(i64::try_from).transpose()?)
}

/// Where a secret is sealed for.
pub(crate) fn place(id: uuid::Uuid) -> String {
    format!("credentials/{id}")
}

/// Counts what came of a second factor.
pub(crate) fn count(kind: &'static str, status: &'static str) {
    metrics::counter!("user_mfa_total", "kind" => kind, "status" => status).increment(1);
}

/// A field that is wrong for a reason that only the state tells.
pub(crate) fn invalid(pointer: &str, reason: &str) -> Refused<CommonRefusal> {
    CommonRefusal::ValidationFailed.because(json!([{ "pointer": pointer, "reason": reason }]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_6238_the_published_codes_match_one_step_to_either_side_and_no_further() {
        // RFC 6238, appendix B: 94287082 at 59 s, of which an app shows the last six digits
        let secret = || b"12345678901234567890".to_vec();
        for (unix, step) in [(29, Some(1)), (30, Some(1)), (59, Some(1)), (89, Some(1)), (90, None)] {
            assert_eq!(matching_step(secret(), "287082", unix).unwrap(), step, "at {unix}");
        }
        assert_eq!(matching_step(secret(), "287083", 59).unwrap(), None);
        assert_eq!(matching_step(secret(), "", 59).unwrap(), None);
    }

    #[test]
    fn a_code_may_be_typed_with_spaces_dashes_and_capitals() {
        assert_eq!(plain(" 7KQ2M-x9fdr "), "7kq2mx9fdr");
        assert_eq!(plain("482 913"), "482913");
    }
}
