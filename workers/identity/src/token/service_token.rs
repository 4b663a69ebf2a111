//! Tokens for machines: no account, no refresh, a life of their own choosing, ended like any session.

use std::time::Duration;

use anyhow::{Context, ensure};
use chrono::TimeDelta;
use lectern_core::jwt::{self, AUDIENCE, Claims};
use lectern_core::outbox::audit_offline;
use lectern_core::{Clock, Env};
use lectern_subjects::Role;
use lectern_subjects::id::{AuthSessionId, UserId};
use serde_json::json;
use sqlx::{Connection, PgPool, query, query_scalar};

use crate::token::keys_rotate::SLACK;
use crate::token::signing_keys;
use crate::vault::Vault;

/// The longest life of a service token.
const MAX_LIFE: TimeDelta = TimeDelta::days(366);

/// Issues a token to the machine `name` (lower-case letters, digits, `-` and `_`, at most 64), which has role `service`
/// and these roles. `pool` connects to schema `identity`. Lives 1 s to 366 days.
///
/// # Errors
/// When the name or the life is impossible, the database is away, or `IDENTITY_KEK` is not the one in use.
pub async fn issue_service_token(
    pool: &PgPool,
    env: &Env,
    name: &str,
    roles: &[Role],
    ttl: Duration,
    clock: &Clock,
) -> anyhow::Result<String> {
    let life = TimeDelta::from_std(ttl).context("the life of the token")?;
    ensure!((TimeDelta::seconds(1)..=MAX_LIFE).contains(&life), "a service token lives 1 s to 366 days");
    let vault = Vault::open_with(env)?;
    let ring = signing_keys::read(pool, &vault, clock).await?;
    let now = clock.now();
    let sid: AuthSessionId = clock.new_id().into();
    let mut connection = pool.acquire().await?;
    let mut tx = connection.begin().await?;
    let principal = query_scalar!(
        r#"INSERT INTO identity.service_principals (id, name, created_at) VALUES ($1, $2, $3)
           ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id AS "id: UserId""#,
        clock.new_id(),
        name,
        now
    )
    .fetch_one(&mut *tx)
    .await
    .context("the name of a service token: lower-case letters, digits, - and _, at most 64")?;
    query!(
        "INSERT INTO identity.auth_sessions
             (sid, kind, service_id, created_at, last_seen_at, expires_at_idle, expires_at_abs)
         VALUES ($1, 'service', $2, $3, $3, $4, $4)",
        sid.0,
        principal.0,
        now,
        now + life
    )
    .execute(&mut *tx)
    .await?;
    let details =
        json!({ "name": name, "principal": principal, "sid": sid, "roles": roles, "expires_at": now + life });
    audit_offline(&mut tx, "identity", clock, "service_token.issued", None, details).await?;
    // a key that is being replaced stays as long as this token lives; a rotation meanwhile waits for this transaction
    query!(
        "UPDATE identity.signing_keys SET retire_at = greatest(retire_at, $2) WHERE kid = $1 AND retire_at IS NOT NULL",
        ring.kid(now)?,
        now + life + SLACK
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    let mut roles = roles.to_vec();
    roles.push(Role::Service);
    roles.sort_unstable();
    roles.dedup();
    let claims = Claims {
        iss: jwt::issuer(env)?,
        aud: AUDIENCE.to_owned(),
        sub: principal,
        sid,
        jti: clock.new_id(),
        iat: now.timestamp(),
        nbf: now.timestamp(),
        exp: (now + life).timestamp(),
        client_id: name.to_owned(),
        roles,
        role: Role::Service,
        user_id: principal,
        email_verified: false,
        uv: 1,
        auth_time: now.timestamp(),
        amr: Vec::new(),
        acr: None,
        email: None,
    };
    ring.sign(&claims, now)
}

/// Ends every token of the machine `name`. A running identity tells all roles within seconds, and keeps telling them until
/// the tokens would have expired. Answers how many it ended. `pool` connects to schema `identity`.
///
/// # Errors
/// When the database is away.
pub async fn revoke_service_tokens(pool: &PgPool, name: &str, clock: &Clock) -> anyhow::Result<u64> {
    let now = clock.now();
    let mut connection = pool.acquire().await?;
    let mut tx = connection.begin().await?;
    let ended = query!(
        "WITH ended AS (
             UPDATE identity.auth_sessions s SET revoked_at = $2, revoke_reason = 'admin'
             FROM identity.service_principals p
             WHERE p.id = s.service_id AND p.name = $1 AND s.revoked_at IS NULL AND s.expires_at_abs > $2
             RETURNING s.sid, s.expires_at_abs)
         INSERT INTO identity.pending_revocations (sid, due_at, repeat_until)
         SELECT sid, $2, expires_at_abs FROM ended",
        name,
        now
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    let details = json!({ "name": name, "ended": ended });
    audit_offline(&mut tx, "identity", clock, "service_token.revoked", None, details).await?;
    tx.commit().await?;
    Ok(ended)
}
