//! The second half of a sign-in (`spec/protocols.md` P1): a code for the token that a right password was answered with.

use lectern_core::{Call, Outcome};
use lectern_subjects::identity::{IdentityRefusal, TokenPair, VerifyMfa};

use crate::app::{App, Fault};
use crate::attempts::Place;
use crate::challenges::{self, Kind};
use crate::mfa;
use crate::sign_in::{self, failed};

/// What a try came to.
enum Tried {
    Right(TokenPair),
    /// The code is wrong or used: it counts.
    Wrong,
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
    match attempt(&app, &call, &place, &req).await {
        Ok(Tried::Right(pair)) => {
            metrics::counter!("user_login_attempts_total", "status" => "success").increment(1);
            Ok(pair)
        }
        Ok(Tried::Wrong) => {
            metrics::counter!("user_login_attempts_total", "status" => "failed").increment(1);
            let mut tx = app.begin_patiently(&call).await?;
            if place.failed(&app, &mut tx).await? {
                tracing::warn!(%user, "a second factor is locked: too many wrong codes");
            }
            sign_in::record(&mut tx, &app, Some(user), Some("invalid_code")).await?;
            tx.commit_followed().await?;
            failed("invalid_code");
            Err(IdentityRefusal::MfaInvalid.into())
        }
        Err(fault) => {
            place.give_back(&app).await;
            Err(fault)
        }
    }
}

async fn attempt(app: &App, call: &Call, place: &Place, req: &VerifyMfa) -> Result<Tried, Fault> {
    let mut tx = app.begin_patiently(call).await?;
    // taken for as long as this transaction lasts: a wrong code puts it back
    let waiting = challenges::take(&mut tx, app, Kind::SecondFactor, &req.mfa_token).await?;
    let mut waiting = waiting.ok_or(IdentityRefusal::MfaInvalid)?;
    let user = waiting.user.ok_or(IdentityRefusal::MfaInvalid)?;
    let account = sign_in::account(&mut tx, user).await?.ok_or(IdentityRefusal::MfaInvalid)?;
    if !waiting.began_with(account.password_hash.as_deref()) {
        return Err(IdentityRefusal::MfaInvalid.into());
    }
    if !mfa::use_code(&mut tx, app, &account, &req.code).await? {
        return Ok(Tried::Wrong);
    }
    place.succeeded(&mut tx).await?;
    if let Some(refused) = account.refusal(app) {
        return Err(sign_in::refuse(tx, app, user, refused).await?);
    }
    waiting.amr.extend(["otp".to_owned(), "mfa".to_owned()]);
    sign_in::open(tx, app, account, waiting.amr).await.map(Tried::Right)
}
