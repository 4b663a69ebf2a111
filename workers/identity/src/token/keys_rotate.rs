//! The key that signs access tokens is changed (`spec/protocols.md` P10): the new one is published at once, signs after every
//! verifier had the time to learn of it, and the old one is kept until the last token that it signed has expired.

use anyhow::Context;
use chrono::TimeDelta;
use lectern_core::{Call, Outcome, Tx};
use lectern_subjects::identity::{KeysRotated, RotateKeys, RotatedKey};
use serde_json::json;
use sqlx::{query, query_scalar};

use crate::app::{App, Fault};
use crate::token::signing_keys::{self, NewKey};

/// Clocks of processes differ, and who caches the keys may be a little late.
pub(crate) const SLACK: TimeDelta = TimeDelta::minutes(1);

/// Begins the change, or answers the one that has begun.
pub async fn keys_rotate(app: App, call: Call, _req: RotateKeys) -> Outcome<RotateKeys> {
    // there is a first key from here on
    app.key_ring().await?;
    let fresh = NewKey::make(app.vault(), app.clock()).map_err(Fault::Broken)?;
    let mut tx = app.begin_patiently(&call).await?;
    let now = tx.now();
    // one rotation at a time, and no token for a machine is issued meanwhile; who reads keys does not wait
    query!("LOCK TABLE identity.signing_keys IN SHARE ROW EXCLUSIVE MODE").execute(&mut *tx).await?;
    if let Some(begun) = begun(&mut tx).await? {
        return Ok(begun);
    }
    let signs_from = now + app.settings().access_life + SLACK;
    let old_key_until = retire_others(&mut tx, &app, signs_from + app.settings().access_life + SLACK).await?;
    let generation = query_scalar!(
        r#"INSERT INTO identity.signing_keys
               (kid, generation, alg, private_sealed, public_key, created_at, not_before)
           SELECT $1, max(generation) + 1, 'EdDSA', $2, $3, $4, $5 FROM identity.signing_keys
           RETURNING generation"#,
        fresh.kid.to_string(),
        fresh.private_sealed,
        fresh.public,
        now,
        signs_from,
    )
    .fetch_one(&mut *tx)
    .await?;
    tx.audit("keys.rotated", None, json!({ "kid": fresh.kid, "signs_from": signs_from })).await?;
    tx.announce(&KeysRotated { kid: fresh.kid, signs_from }, i64::from(generation)).await?;
    let kid = fresh.kid.to_string();
    let rotated = tx.commit(RotatedKey { kid, signs_from, old_key_until }).await?;
    // published at once: by this process right now, by the others when they read the keys again, within seconds
    signing_keys::refresh(app).await.map_err(Fault::Broken)?;
    tracing::info!(kid = rotated.kid, %signs_from, "a new signing key is published");
    Ok(rotated)
}

/// A rotation whose key does not sign yet.
async fn begun(tx: &mut Tx) -> Result<Option<RotatedKey>, Fault> {
    let now = tx.now();
    let begun = query!(
        r#"SELECT kid, not_before,
                  (SELECT max(retire_at) FROM identity.signing_keys) AS old_key_until
           FROM identity.signing_keys WHERE not_before > $1 ORDER BY generation DESC LIMIT 1"#,
        now
    )
    .fetch_optional(&mut **tx)
    .await?;
    let Some(row) = begun else { return Ok(None) };
    let old_key_until =
        row.old_key_until.context("a key is to sign, and none is to retire").map_err(Fault::Broken)?;
    Ok(Some(RotatedKey { kid: row.kid, signs_from: row.not_before, old_key_until }))
}

/// The keys that sign until now verify until `at`, or longer where a machine's token lives longer. Answers until when.
async fn retire_others(
    tx: &mut Tx,
    app: &App,
    at: chrono::DateTime<chrono::Utc>,
) -> Result<chrono::DateTime<chrono::Utc>, Fault> {
    let machines = query_scalar!(
        "SELECT max(expires_at_abs) FROM identity.auth_sessions
         WHERE service_id IS NOT NULL AND revoked_at IS NULL AND expires_at_abs > $1",
        app.now()
    )
    .fetch_one(&mut **tx)
    .await?;
    let until = machines.map_or(at, |machines| at.max(machines + SLACK));
    query!("UPDATE identity.signing_keys SET retire_at = $1 WHERE retire_at IS NULL", until)
        .execute(&mut **tx)
        .await?;
    Ok(until)
}
