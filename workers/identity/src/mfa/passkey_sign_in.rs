//! Sign-in by passkey: what it has and what unlocks it are both factors at once, so nothing else is asked. It can't be
//! guessed, so it passes the lock that wrong passwords put on an account (`spec/protocols.md` P1).

use lectern_core::{Call, Outcome, Tx};
use lectern_subjects::id::UserId;
use lectern_subjects::identity::{
    AskForPasskey, IdentityRefusal, PasskeyChallenge, SignInWithPasskey, TokenPair,
};
use sqlx::{query, query_scalar};
use webauthn_rs::prelude::{
    AuthenticationResult, DiscoverableAuthentication, Passkey, PublicKeyCredential, WebauthnError,
};

use crate::app::{App, Fault};
use crate::mfa::challenges::{self, Asked, Kind};
use crate::mfa::passkeys::relying_party;
use crate::mfa::{self, invalid};
use crate::sign_in::address_limit::{self, Action};
use crate::sign_in::known_device;
use crate::sign_in::suspicion::{self, Activity};
use crate::sign_in::{self, Account, Proved};

/// How somebody who signs in by passkey proves who they are (RFC 8176): a key, a touch, and so two factors.
pub(crate) const AMR: [&str; 3] = ["pop", "user", "mfa"];

/// Answers a challenge for any passkey of this site.
pub async fn options(app: App, call: Call, _req: AskForPasskey) -> Outcome<AskForPasskey> {
    let relying_party = relying_party(&app)?;
    address_limit::take(&app, &call, Action::AskForPasskey).await?;
    let (mut options, state) = relying_party.start_discoverable_authentication().map_err(Fault::broken)?;
    // the page decides whether it asks at once or within a form
    options.mediation = None;
    let asked = Asked { state: Some(serde_json::to_vec(&state)?), ..Asked::default() };
    let mut connection = app.connect_patiently(&call).await?;
    let (challenge, expires_at) = challenges::ask(&mut connection, &app, Kind::PasskeySignIn, asked).await?;
    Ok(PasskeyChallenge { challenge, options: serde_json::to_value(&options)?, expires_at })
}

/// Signs in.
pub async fn verify(app: App, call: Call, req: SignInWithPasskey) -> Outcome<SignInWithPasskey> {
    let signed_in = sign_in(&app, &call, req).await;
    sign_in::count(&signed_in);
    signed_in
}

async fn sign_in(app: &App, call: &Call, req: SignInWithPasskey) -> Result<TokenPair, Fault> {
    address_limit::take(app, call, Action::SignIn).await?;
    let device_token = req.device_token.clone();
    let (mut tx, account) = prove(app, call, req).await?;
    if let Some(refused) = account.refusal(app) {
        return Err(sign_in::refuse(tx, app, call, &account, refused).await?);
    }
    let device = known_device::recognise_of(&mut tx, app, account.id, device_token.as_deref()).await?;
    let proved = Proved { by: "passkey", amr: AMR.map(str::to_owned).to_vec(), device };
    sign_in::open(tx, app, call, account, proved).await
}

/// Whose passkey answered a challenge. Each challenge is answered once, rightly or not. In the transaction that is
/// handed back the account is locked and the passkey's counter has moved on.
///
/// # Errors
/// USER_1008; COMMON_0001 when the answer is none; COMMON_0006 where passkeys are switched off.
pub(crate) async fn prove(app: &App, call: &Call, req: SignInWithPasskey) -> Result<(Tx, Account), Fault> {
    let relying_party = relying_party(app)?;
    let response: PublicKeyCredential = serde_json::from_value(req.credential)
        .map_err(|_| invalid("/credential", "not the JSON of a public-key credential"))?;
    let mut connection = app.connect_patiently(call).await?;
    let asked = challenges::take(&mut connection, app, Kind::PasskeySignIn, &req.challenge).await?;
    drop(connection);
    let state: DiscoverableAuthentication = serde_json::from_slice(&asked.ok_or_else(not_proved)?.state)?;
    let (user, key) =
        relying_party.identify_discoverable_authentication(&response).map_err(|_| not_proved())?;
    let mut tx = app.begin_patiently(call).await?;
    let account = sign_in::account(&mut tx, UserId(user)).await?.ok_or_else(not_proved)?;
    let stored = query!(
        r#"SELECT id, public AS "public!" FROM identity.credentials
           WHERE kind = 'passkey' AND external_key = $1 AND user_id = $2"#,
        key,
        user
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or_else(not_proved)?;
    let mut passkey: Passkey = serde_json::from_value(stored.public)?;
    let result = match relying_party.finish_discoverable_authentication_v2(&response, state, &passkey) {
        Ok(result) if result.user_verified() => result,
        Ok(_) => return Err(not_proved()),
        Err(WebauthnError::CredentialPossibleCompromise) => {
            tracing::warn!(user_id = %user, passkey = %stored.id, "a passkey's counter went back: there may be a copy of it");
            mfa::count("passkey", "cloned");
            suspicion::raise(&mut tx, app, &call.client, Activity::CopiedPasskey, account.id).await?;
            tx.commit_followed().await?;
            return Err(IdentityRefusal::MfaInvalid.into());
        }
        Err(error) => {
            tracing::info!(user_id = %user, passkey = %stored.id, %error, "a passkey was not accepted");
            return Err(not_proved());
        }
    };
    passkey.update_credential(&result);
    if !move_on(&mut tx, stored.id, &result, &passkey).await? {
        return Err(not_proved());
    }
    mfa::count("passkey", "success");
    Ok((tx, account))
}

fn not_proved() -> Fault {
    mfa::count("passkey", "failed");
    IdentityRefusal::MfaInvalid.into()
}

/// The counter only grows, whoever else signs in with a copy at this moment; authenticators without one say zero.
async fn move_on(
    tx: &mut Tx,
    id: uuid::Uuid,
    result: &AuthenticationResult,
    passkey: &Passkey,
) -> Result<bool, Fault> {
    let now = tx.now();
    let moved = query_scalar!(
        "UPDATE identity.credentials SET sign_count = $2, public = $3, last_used_at = $4
         WHERE id = $1 AND (sign_count < $2 OR (sign_count = 0 AND $2 = 0)) RETURNING id",
        id,
        i64::from(result.counter()),
        serde_json::to_value(passkey)?,
        now
    );
    Ok(moved.fetch_optional(&mut **tx).await?.is_some())
}
