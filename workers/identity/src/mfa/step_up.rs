//! Step-up: what would hand an account over needs more than a token that was left open (identity spec, Features; ASVS V7).

use lectern_core::call::Caller;
use lectern_core::{Call, Tx};
use lectern_subjects::Refusal;
use lectern_subjects::identity::IdentityRefusal;
use serde_json::json;

use crate::app::{App, Fault};
use crate::mfa;
use crate::sign_in::{self, Account};

/// The caller, who proved who they are not longer ago than `STEP_UP_MAX_AGE_SECONDS`; `auth.reauthenticate` does so again.
///
/// # Errors
/// USER_1009.
pub(crate) fn recently<'a>(app: &App, call: &'a Call) -> Result<&'a Caller, Fault> {
    let caller = call.user()?;
    if call.now - caller.auth_time > app.settings().step_up {
        return Err(IdentityRefusal::ReauthenticationRequired.into());
    }
    Ok(caller)
}

/// The caller's account, locked, for what changes second factors: with one on, the session must have been proved by one, or
/// whoever has a password and a session of the time before could switch it off. A locked-out owner signs in with a recovery
/// code. The lock comes first: which factors there are, nobody changes from then on.
///
/// # Errors
/// USER_1009, whose details name the `kinds` of factors there are; USER_1101.
pub(crate) async fn by_a_factor(tx: &mut Tx, app: &App, caller: &Caller) -> Result<Account, Fault> {
    let account = sign_in::account(tx, caller.user).await?.ok_or(IdentityRefusal::UserNotFound)?;
    let Some(kinds) = mfa::asked_of(tx, app, caller.user).await? else { return Ok(account) };
    if mfa::amr(tx, caller).await?.iter().any(|method| ["otp", "pop"].contains(&method.as_str())) {
        return Ok(account);
    }
    Err(IdentityRefusal::ReauthenticationRequired.because(json!({ "kinds": kinds })).into())
}
