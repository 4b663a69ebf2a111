//! An authenticator app (RFC 6238) as second factor: a secret, its first code, and doing without.

use chrono::TimeDelta;
use lectern_core::{Call, Outcome};
use lectern_subjects::identity::{ConfirmTotp, IdentityRefusal, Message, RemoveTotp, StartTotp, TotpSecret};
use sqlx::{query, query_scalar};
use uuid::Uuid;

use crate::app::{App, Fault};
use crate::mfa;
use crate::mfa::reauthenticate::together;
use crate::mfa::step_up;

/// How long a secret waits for its first code.
pub(crate) const TO_CONFIRM: TimeDelta = TimeDelta::hours(1);

/// Makes a secret. It does not count before its first code; until then the app before it does.
pub async fn start(app: App, call: Call, _req: StartTotp) -> Outcome<StartTotp> {
    mfa::is_on(&app)?;
    let caller = step_up::recently(&app, &call)?;
    let secret = app.vault().random::<20>().map_err(Fault::Broken)?;
    let mut tx = app.begin_patiently(&call).await?;
    let account = step_up::by_a_factor(&mut tx, &app, caller).await?;
    let now = tx.now();
    let id: Uuid = app.clock().new_id();
    let sealed = app.vault().seal(&mfa::place(id), &secret).map_err(Fault::Broken)?;
    query!(
        "DELETE FROM identity.credentials WHERE user_id = $1 AND kind = 'totp' AND confirmed_at IS NULL",
        caller.user.0
    )
    .execute(&mut *tx)
    .await?;
    query!(
        "INSERT INTO identity.credentials (id, user_id, kind, secret_sealed, created_at)
         VALUES ($1, $2, 'totp', $3, $4)",
        id,
        caller.user.0,
        sealed,
        now
    )
    .execute(&mut *tx)
    .await?;
    tx.audit("user.credential_begun", Some(caller.user), serde_json::json!({ "kind": "totp" })).await?;
    let totp = mfa::totp(secret.to_vec(), &account.email)?;
    let otpauth_url = totp.to_url().map_err(|error| Fault::Broken(anyhow::anyhow!("otpauth: {error}")))?;
    Ok(tx.commit(TotpSecret { secret: totp.secret().to_base32(), otpauth_url }).await?)
}

/// Takes the first code: from now on one is asked for at sign-in. The step of this one is used, and the session was proved by
/// it.
pub async fn confirm(app: App, call: Call, req: ConfirmTotp) -> Outcome<ConfirmTotp> {
    mfa::is_on(&app)?;
    let caller = step_up::recently(&app, &call)?;
    let mut tx = app.begin_patiently(&call).await?;
    let account = step_up::by_a_factor(&mut tx, &app, caller).await?;
    let now = tx.now();
    let waiting = query!(
        "SELECT id, secret_sealed, created_at FROM identity.credentials
         WHERE user_id = $1 AND kind = 'totp' AND confirmed_at IS NULL",
        caller.user.0
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(IdentityRefusal::CodeInvalid)?;
    if waiting.created_at + TO_CONFIRM <= now {
        return Err(IdentityRefusal::CodeExpired.into());
    }
    let sealed = waiting.secret_sealed.unwrap_or_default();
    let secret = app.vault().open(&mfa::place(waiting.id), &sealed).map_err(Fault::Broken)?;
    let step = mfa::matching_step(secret, req.code.trim(), now.timestamp())?;
    let step = step.ok_or(IdentityRefusal::CodeInvalid)?;
    let replaced = query!(
        "DELETE FROM identity.credentials WHERE user_id = $1 AND kind = 'totp' AND confirmed_at IS NOT NULL",
        caller.user.0
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    query!(
        "UPDATE identity.credentials SET confirmed_at = $2, last_used_step = $3 WHERE id = $1",
        waiting.id,
        now,
        step
    )
    .execute(&mut *tx)
    .await?;
    // a code was shown: the session may go on to what asks for a factor
    let (sid, amr) = (caller.sid, mfa::amr(&mut tx, caller).await?);
    query!("UPDATE identity.auth_sessions SET amr = $2 WHERE sid = $1", sid.0, &together(amr, &["otp"]))
        .execute(&mut *tx)
        .await?;
    if replaced == 0 {
        // none that somebody else has made while there was no app is good for this one
        query!("DELETE FROM identity.credentials WHERE user_id = $1 AND kind = 'recovery'", caller.user.0)
            .execute(&mut *tx)
            .await?;
    }
    let action = if replaced > 0 { "replaced" } else { "added" };
    mfa::changed(&mut tx, &app, caller.user, &account.email, "totp", action).await?;
    let message = "The authenticator app is asked for at sign-in from now on".to_owned();
    let message = tx.commit(Message { message }).await?;
    tracing::info!(user_id = %caller.user, action, "an authenticator app is in use");
    Ok(message)
}

/// Does without an authenticator app. The recovery codes stood in for it: they go too.
pub async fn remove(app: App, call: Call, _req: RemoveTotp) -> Outcome<RemoveTotp> {
    mfa::is_on(&app)?;
    let caller = step_up::recently(&app, &call)?;
    let mut tx = app.begin_patiently(&call).await?;
    let account = step_up::by_a_factor(&mut tx, &app, caller).await?;
    let removed = query_scalar!(
        "DELETE FROM identity.credentials WHERE user_id = $1 AND kind IN ('totp', 'recovery') RETURNING kind",
        caller.user.0
    )
    .fetch_all(&mut *tx)
    .await?;
    if removed.iter().any(|kind| kind == "totp") {
        mfa::changed(&mut tx, &app, caller.user, &account.email, "totp", "removed").await?;
    }
    let message = "No authenticator app is asked for any more".to_owned();
    Ok(tx.commit(Message { message }).await?)
}
