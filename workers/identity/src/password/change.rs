//! The own password, by who knows the present one.

use lectern_core::call::Caller;
use lectern_core::{Call, Outcome};
use lectern_subjects::id::AuthSessionId;
use lectern_subjects::identity::{ChangePassword, IdentityRefusal, LoginAction, Message};

use crate::app::{App, Fault};
use crate::mfa::step_up;
use crate::password::Verdict;
use crate::password::new_password::{self, By, Owner};
use crate::session::{self, Reason};
use crate::session::{login_history, revocation};
use crate::sign_in;
use crate::sign_in::attempts::{self, Place};
use crate::sign_in::suspicion::{self, Activity};

/// What trying the present password came to.
enum Tried {
    /// The password is changed and these sessions are ended.
    Changed(Vec<AuthSessionId>),
    Wrong,
}

/// Changes the password and ends every session but the caller's. Wrong present passwords are counted by
/// themselves, five like at sign-in: a stranger who locks the sign-in does not keep the owner from this.
pub async fn password_change(app: App, call: Call, req: ChangePassword) -> Outcome<ChangePassword> {
    let caller = step_up::recently(&app, &call)?;
    let owner = owner(&app, &call, caller).await?;
    new_password::check(&app, &owner, &req.new_password)?;
    let place = attempts::take(&app, &call, attempts::signed_in(&app, caller.user)).await?;
    let ended = match change(&app, &call, caller, &place, &req).await {
        Ok(Tried::Changed(ended)) => ended,
        Ok(Tried::Wrong) => return Err(wrong(&app, &call, place, caller).await?),
        Err(fault) => {
            place.give_back(&app).await;
            return Err(fault);
        }
    };
    tracing::info!(event = "user_password_changed", user_id = %caller.user, sessions = ended.len(), "a password was changed");
    revocation::tell(&app, caller.user).await?;
    Ok(Message { message: "Password changed; every other session is ended".to_owned() })
}

async fn owner(app: &App, call: &Call, caller: &Caller) -> Result<Owner, Fault> {
    Ok(new_password::owner(app, call, caller.user).await?.ok_or(IdentityRefusal::UserNotFound)?)
}

async fn change(
    app: &App,
    call: &Call,
    caller: &Caller,
    place: &Place,
    req: &ChangePassword,
) -> Result<Tried, Fault> {
    loop {
        let owner = owner(app, call, caller).await?;
        let stored = owner.password_hash.as_deref();
        let verdict = app.hashing().verify(&req.current_password, stored, app.time_left(call)).await?;
        if verdict == Verdict::Wrong {
            return Ok(Tried::Wrong);
        }
        let hash = new_password::hash(app, call, &owner, &req.new_password).await?;
        let mut tx = app.begin_patiently(call).await?;
        // the counter before the account, as everybody locks them
        place.succeeded(&mut tx).await?;
        // replaced or hashed anew since it was read: look again
        if !new_password::put(&mut tx, app, &owner, &hash, By::User).await? {
            continue;
        }
        let mut others = session::live(&mut tx, caller.user).await?;
        others.retain(|sid| *sid != caller.sid);
        let ended = session::revoke(&mut tx, caller.user, &others, Reason::Password).await?;
        tx.commit_followed().await?;
        return Ok(Tried::Changed(ended));
    }
}

async fn wrong(app: &App, call: &Call, place: Place, caller: &Caller) -> Result<Fault, Fault> {
    let mut tx = app.begin_patiently(call).await?;
    let locked = place.failed(app, &mut tx).await?;
    if sign_in::account(&mut tx, caller.user).await?.is_none() {
        // erased since: counted, and nothing is written about who is gone
        tx.commit_followed().await?;
        return Ok(IdentityRefusal::InvalidCredentials.into());
    }
    let (user, reason) = (Some(caller.user), Some("invalid_password"));
    login_history::record(&mut tx, app, &call.client, LoginAction::Login, user, reason).await?;
    if locked {
        // somebody who has a token guesses at the password
        suspicion::raise(&mut tx, app, &call.client, Activity::Lockout, caller.user).await?;
    }
    tx.commit_followed().await?;
    if locked {
        metrics::counter!("user_account_lockouts_total").increment(1);
        tracing::warn!(user_id = %caller.user, "no further try: too many wrong passwords at a change");
    }
    Ok(IdentityRefusal::InvalidCredentials.into())
}
