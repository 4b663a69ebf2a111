//! Step-up: what would hand an account over needs more than a token that was left open (identity spec, Features; ASVS V7).

use lectern_core::Call;
use lectern_core::call::Caller;
use lectern_subjects::identity::IdentityRefusal;

use crate::app::{App, Fault};

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
