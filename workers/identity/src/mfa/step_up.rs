//! Step-up: what would hand an account over needs more than a token that was left open (identity spec, Features; ASVS V7).

use lectern_core::call::Caller;
use lectern_core::{Call, Tx};
use lectern_subjects::Refusal;
use lectern_subjects::identity::IdentityRefusal;
use serde_json::json;

use crate::app::{App, Fault};
use crate::mfa;

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

/// The same for what changes second factors: with one on, the session must have been proved by one, or whoever has a
/// password and a session of the time before could switch it off. A locked-out owner signs in with a recovery code.
///
/// # Errors
/// USER_1009, whose details name the `kinds` of factors there are.
pub(crate) async fn by_a_factor(tx: &mut Tx, app: &App, caller: &Caller) -> Result<(), Fault> {
    let Some(kinds) = mfa::asked_of(tx, app, caller.user).await? else { return Ok(()) };
    if mfa::amr(tx, caller).await?.iter().any(|method| ["otp", "pop"].contains(&method.as_str())) {
        return Ok(());
    }
    Err(IdentityRefusal::ReauthenticationRequired.because(json!({ "kinds": kinds })).into())
}
