//! Passkeys (WebAuthn): registered, listed, removed. They are discoverable, so that nobody need say who they are to sign
//! in, and verify their user, so that one is two factors.

use lectern_core::{Call, Error, Outcome};
use lectern_subjects::id::CredentialId;
use lectern_subjects::identity::{
    AddPasskey, IdentityRefusal, ListPasskeys, Message, Passkey, PasskeyChallenge, RemovePasskey,
    StartPasskey,
};
use lectern_subjects::page;
use lectern_subjects::{CommonRefusal, Page, Refusal};
use serde_json::json;
use sqlx::{query, query_as, query_scalar};
use uuid::Uuid;
use webauthn_rs::prelude::{PasskeyRegistration, RegisterPublicKeyCredential, Webauthn};

use crate::app::{App, Fault};
use crate::mfa::challenges::{self, Asked, Kind};
use crate::mfa::step_up;
use crate::mfa::{self, invalid};
use crate::sign_in;

/// Most passkeys of one user.
const MOST: usize = 20;

/// Who passkeys are made for.
///
/// # Errors
/// COMMON_0006 where they are switched off.
pub(crate) fn relying_party(app: &App) -> Result<&Webauthn, CommonRefusal> {
    app.settings().relying_party.as_ref().ok_or(CommonRefusal::RouteNotFound)
}

/// Answers the challenge that a new passkey signs.
pub async fn start(app: App, call: Call, _req: StartPasskey) -> Outcome<StartPasskey> {
    let relying_party = relying_party(&app)?;
    let caller = step_up::recently(&app, &call)?;
    let mut tx = app.begin_patiently(&call).await?;
    let account = step_up::by_a_factor(&mut tx, &app, caller).await?;
    let name = query_scalar!("SELECT name FROM identity.users WHERE id = $1", caller.user.0)
        .fetch_one(&mut *tx)
        .await?;
    let known = query_scalar!(
        r#"SELECT external_key AS "key!" FROM identity.credentials WHERE user_id = $1 AND kind = 'passkey'"#,
        caller.user.0
    )
    .fetch_all(&mut *tx)
    .await?;
    if known.len() >= MOST {
        return Err(too_many());
    }
    // an authenticator that has one already shall not make another
    let (mut options, state) = relying_party
        .start_passkey_registration(caller.user.0, &account.email, &name, Some(known))
        .map_err(Fault::broken)?;
    if let Some(selection) = &mut options.public_key.authenticator_selection {
        selection.require_resident_key = true;
    }
    let mut options = serde_json::to_value(&options)?;
    // L3 reads this one, and the other only where it is absent
    options["publicKey"]["authenticatorSelection"]["residentKey"] = json!("required");
    let asked =
        Asked { user: Some(caller.user), state: Some(serde_json::to_vec(&state)?), ..Asked::default() };
    let (challenge, expires_at) = challenges::ask(&mut tx, &app, Kind::PasskeyNew, asked).await?;
    tx.audit("user.credential_begun", Some(caller.user), json!({ "kind": "passkey" })).await?;
    Ok(tx.commit(PasskeyChallenge { challenge, options, expires_at }).await?)
}

/// Registers the passkey that signed the challenge.
pub async fn add(app: App, call: Call, req: AddPasskey) -> Outcome<AddPasskey> {
    let relying_party = relying_party(&app)?;
    let caller = step_up::recently(&app, &call)?;
    let response: RegisterPublicKeyCredential = serde_json::from_value(req.credential)
        .map_err(|_| invalid("/credential", "not the JSON of a new public-key credential"))?;
    let mut tx = app.begin_patiently(&call).await?;
    let account = step_up::by_a_factor(&mut tx, &app, caller).await?;
    let now = tx.now();
    let asked = challenges::take(&mut tx, &app, Kind::PasskeyNew, &req.challenge).await?;
    let asked = asked.filter(|asked| asked.user == Some(caller.user)).ok_or(IdentityRefusal::CodeExpired)?;
    let state: PasskeyRegistration = serde_json::from_slice(&asked.state)?;
    let made = relying_party.finish_passkey_registration(&response, &state).map_err(|error| {
        tracing::info!(user_id = %caller.user, %error, "a passkey was not accepted");
        invalid("/credential", "not accepted: it does not answer the challenge, or did not verify its user")
    })?;
    // the user's row is locked, so two that are added at once are both counted
    let count = query_scalar!(
        r#"SELECT count(*) AS "count!" FROM identity.credentials WHERE user_id = $1 AND kind = 'passkey'"#,
        caller.user.0
    )
    .fetch_one(&mut *tx)
    .await?;
    if usize::try_from(count)? >= MOST {
        return Err(too_many());
    }
    let id: CredentialId = app.new_id();
    let added = query!(
        "INSERT INTO identity.credentials (id, user_id, kind, external_key, public, name, created_at, confirmed_at)
         VALUES ($1, $2, 'passkey', $3, $4, $5, $6, $6)",
        id.0,
        caller.user.0,
        made.cred_id().as_slice(),
        serde_json::to_value(&made)?,
        req.name.trim(),
        now
    )
    .execute(&mut *tx)
    .await;
    match added {
        Err(error) if Error::constraint(&error) == Some("credentials_external_key_key") => {
            return Err(invalid("/credential", "registered already").into());
        }
        other => other?,
    };
    mfa::changed(&mut tx, &app, caller.user, &account.email, "passkey", "added").await?;
    let name = req.name.trim().to_owned();
    let passkey = tx.commit(Passkey { id, name, created_at: now, last_used_at: None }).await?;
    tracing::info!(user_id = %caller.user, passkey = %id, "a passkey is registered");
    Ok(passkey)
}

fn too_many() -> Fault {
    CommonRefusal::Forbidden
        .because(json!({ "reason": "too many passkeys; remove one first", "limit": MOST }))
        .into()
}

/// The caller's passkeys, oldest first.
pub async fn list(app: App, call: Call, req: ListPasskeys) -> Outcome<ListPasskeys> {
    relying_party(&app)?;
    let caller = call.user()?;
    let after = page::key(req.cursor.as_deref())?.unwrap_or(Uuid::nil());
    let limit = page::limit(req.limit);
    let rows = query_as!(
        Passkey,
        r#"SELECT id AS "id: CredentialId", name AS "name!", created_at, last_used_at FROM identity.credentials
           WHERE user_id = $1 AND kind = 'passkey' AND id > $2 ORDER BY id LIMIT $3"#,
        caller.user.0,
        after,
        i64::from(limit) + 1
    )
    .fetch_all(app.pool())
    .await?;
    Ok(Page::from_rows(rows, limit as usize, |passkey| passkey.id.to_string()))
}

/// Removes a passkey, unless the account would have nothing left to sign in with.
pub async fn remove(app: App, call: Call, req: RemovePasskey) -> Outcome<RemovePasskey> {
    relying_party(&app)?;
    let caller = step_up::recently(&app, &call)?;
    let mut tx = app.begin_patiently(&call).await?;
    let account = step_up::by_a_factor(&mut tx, &app, caller).await?;
    // the row is locked: of two passkeys that are removed at once, one stays where one has to
    let removed = query_scalar!(
        "DELETE FROM identity.credentials WHERE id = $1 AND user_id = $2 AND kind = 'passkey' RETURNING id",
        req.id.0,
        caller.user.0
    )
    .fetch_optional(&mut *tx)
    .await?;
    removed.ok_or(IdentityRefusal::CredentialNotFound)?;
    if !sign_in::has_a_way(&mut tx, &app, &account).await? {
        return Err(IdentityRefusal::LastCredential.into());
    }
    mfa::changed(&mut tx, &app, caller.user, &account.email, "passkey", "removed").await?;
    Ok(tx.commit(Message { message: "The passkey is removed".to_owned() }).await?)
}
