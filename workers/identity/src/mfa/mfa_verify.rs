//! The second half of a sign-in (`spec/protocols.md` P1): a code for the token that a right password was answered with.

use lectern_core::{Call, Outcome};
use lectern_subjects::id::UserId;
use lectern_subjects::identity::{IdentityRefusal, TokenPair, VerifyMfa};

use crate::app::{App, Fault};
use crate::mfa;
use crate::mfa::challenges::{self, Kind};
use crate::sign_in::attempts::Place;
use crate::sign_in::known_device;
use crate::sign_in::suspicion::{self, Activity};
use crate::sign_in::{self, Proved, failed};

/// What a try came to.
enum Tried {
    Right(TokenPair),
    /// The code is wrong or used: it counts, for the account with this address.
    Wrong(String),
}

/// Signs in.
pub async fn mfa_verify(app: App, call: Call, req: VerifyMfa) -> Outcome<VerifyMfa> {
    mfa::is_on(&app)?;
    let mut connection = app.connect_patiently(&call).await?;
    let user = challenges::user_of(&mut connection, &app, &req.mfa_token).await?;
    // waiting for a place takes long: not with a connection in hand
    drop(connection);
    let user = user.ok_or(IdentityRefusal::MfaInvalid)?;
    let place = mfa::take_place(&app, &call, user).await?;
    let outcome = match attempt(&app, &call, &place, &req).await {
        Ok(Tried::Right(pair)) => Ok(pair),
        Ok(Tried::Wrong(email)) => Err(wrong(&app, &call, place, user, &email).await?),
        Err(fault) => {
            place.give_back(&app).await;
            Err(fault)
        }
    };
    sign_in::count(&outcome);
    outcome
}

/// Counts a wrong code.
async fn wrong(app: &App, call: &Call, place: Place, user: UserId, email: &str) -> Result<Fault, Fault> {
    let mut tx = app.begin_patiently(call).await?;
    let locked = place.failed(app, &mut tx).await?;
    if sign_in::account(&mut tx, user).await?.is_none() {
        // erased since: counted, and nothing is written about who is gone
        tx.commit_followed().await?;
        return Ok(IdentityRefusal::MfaInvalid.into());
    }
    sign_in::record_failure(&mut tx, app, call, user, email, "invalid_code").await?;
    if locked {
        suspicion::raise(&mut tx, app, &call.client, Activity::Lockout, user).await?;
    }
    tx.commit_followed().await?;
    failed("invalid_code", Some(user));
    if locked {
        tracing::warn!(user_id = %user, "a second factor is locked: too many wrong codes");
    }
    Ok(IdentityRefusal::MfaInvalid.into())
}

async fn attempt(app: &App, call: &Call, place: &Place, req: &VerifyMfa) -> Result<Tried, Fault> {
    let mut tx = app.begin_patiently(call).await?;
    // taken for as long as this transaction lasts: a wrong code puts it back
    let waiting = challenges::take(&mut tx, app, Kind::SecondFactor, &req.mfa_token).await?;
    let mut waiting = waiting.ok_or(IdentityRefusal::MfaInvalid)?;
    let user = waiting.user.ok_or(IdentityRefusal::MfaInvalid)?;
    // the counter, then the account, as everybody locks them; a wrong code puts it back, too
    place.succeeded(&mut tx).await?;
    let account = sign_in::account(&mut tx, user).await?.ok_or(IdentityRefusal::MfaInvalid)?;
    if !waiting.began_with(account.password_hash.as_deref()) {
        return Err(IdentityRefusal::MfaInvalid.into());
    }
    if !mfa::use_code(&mut tx, app, &account, &req.code).await? {
        return Ok(Tried::Wrong(account.email));
    }
    if let Some(refused) = account.refusal(app) {
        return Err(sign_in::refuse(tx, app, call, &account, refused).await?);
    }
    waiting.amr.extend(["otp".to_owned(), "mfa".to_owned()]);
    let device = known_device::recognise_of(&mut tx, app, user, req.device_token.as_deref()).await?;
    let proved = Proved { by: "code", amr: waiting.amr, device };
    sign_in::open(tx, app, call, account, proved).await.map(Tried::Right)
}
