//! Auth sessions: one sign-in and the tokens that descend from it. Whoever ends one holds its row's lock, so that a
//! refresh comes before or after, never in between (`spec/protocols.md` P2, P3).

pub(crate) mod device;
pub(crate) mod list;
pub(crate) mod login_history;
pub(crate) mod logout;
pub(crate) mod lost_bucket;
pub(crate) mod refresh;
pub(crate) mod revocation;
pub(crate) mod revoke;
pub(crate) mod revoke_by_link;
pub(crate) mod session_link;

use chrono::{DateTime, TimeDelta, Utc};
use lectern_core::Tx;
use lectern_core::call::ClientInfo;
use lectern_subjects::id::{AuthSessionId, UserId};
use lectern_subjects::identity::{IdentityRefusal, SessionRevoked};
use sqlx::{query, query_scalar};

use crate::account;
use crate::app::{App, Fault};
use crate::settings::WhenFull;
use crate::sign_in::known_device;
use crate::token::{Proof, RefreshHash};

/// The handler puts a revocation into the bucket itself; after this long the sweep does.
pub(crate) const HANDLER_HAS: TimeDelta = TimeDelta::seconds(2);

/// Why a session was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Its user signed out, there or from elsewhere.
    Logout,
    /// A newer one took its place.
    Limit,
    /// One of its consumed refresh tokens came again.
    Reuse,
    /// Staff ended it, or switched the account off.
    Admin,
    /// The password was changed or reset.
    Password,
    /// The person is forgotten.
    Erase,
}

impl Reason {
    pub fn name(self) -> &'static str {
        match self {
            Reason::Logout => "logout",
            Reason::Limit => "limit",
            Reason::Reuse => "reuse",
            Reason::Admin => "admin",
            Reason::Password => "password",
            Reason::Erase => "erase",
        }
    }
}

/// A session that was just opened.
pub(crate) struct Opened {
    pub sid: AuthSessionId,
    /// The user's version from now on.
    pub version: i64,
    /// The user's oldest sessions, for which there is no room any more: the caller ends them.
    pub oldest: Vec<AuthSessionId>,
}

/// Opens a session with its first refresh token; `client` is from where. The caller holds the lock of the user's row.
///
/// # Errors
/// USER_1203 when there is no room for one more and `SESSION_LIMIT_POLICY` keeps the old ones.
pub(crate) async fn open(
    tx: &mut Tx,
    app: &App,
    user: UserId,
    proof: &Proof,
    refresh: RefreshHash,
    client: &ClientInfo,
) -> Result<Opened, Fault> {
    let (now, settings) = (tx.now(), app.settings());
    let sid: AuthSessionId = app.new_id();
    let opened = query!(
        r#"WITH oldest AS (
               SELECT sid FROM (
                   SELECT sid, row_number() OVER (ORDER BY created_at DESC, sid DESC) AS place
                   FROM identity.auth_sessions
                   WHERE user_id = $2 AND revoked_at IS NULL AND expires_at_idle > $3) AS live
               WHERE place >= $12),
           session AS (
               INSERT INTO identity.auth_sessions
                   (sid, kind, user_id, created_at, last_seen_at, expires_at_idle, expires_at_abs, ip_last, user_agent,
                    device_name, auth_time, amr)
               VALUES ($1, 'user', $2, $3, $3, $4, $5, $6, $7, $8, $9, $10)),
           refresh AS (
               INSERT INTO identity.refresh_tokens (hash, sid, issued_at, expires_at) VALUES ($11, $1, $3, $4))
           UPDATE identity.users SET last_login_at = $3, version = version + 1 WHERE id = $2
           RETURNING version, ARRAY(SELECT sid FROM oldest) AS "oldest!: Vec<AuthSessionId>""#,
        sid.0,
        user.0,
        now,
        now + settings.idle_life.min(settings.absolute_life),
        now + settings.absolute_life,
        client.address.map(|address| address.to_string()),
        client.agent.as_deref(),
        client.agent.as_deref().and_then(device::name),
        proof.at,
        &proof.amr,
        &refresh,
        settings.max_sessions,
    )
    .fetch_one(&mut **tx)
    .await?;
    if settings.when_full == WhenFull::Reject && !opened.oldest.is_empty() {
        return Err(IdentityRefusal::TooManySessions.into());
    }
    Ok(Opened { sid, version: opened.version, oldest: opened.oldest })
}

/// Locks the row of a session's user: everybody who opens, renews or ends sessions locks it before them.
///
/// # Errors
/// USER_1201 when there is no such user.
pub(crate) async fn lock_owner(tx: &mut Tx, user: UserId) -> Result<(), Fault> {
    query!("SELECT id FROM identity.users WHERE id = $1 FOR NO KEY UPDATE", user.0)
        .fetch_optional(&mut **tx)
        .await?
        .ok_or(IdentityRefusal::SessionNotFound)?;
    Ok(())
}

/// Every live session of a user.
pub(crate) async fn live(tx: &mut Tx, user: UserId) -> Result<Vec<AuthSessionId>, Fault> {
    let now = tx.now();
    let live = query_scalar!(
        r#"SELECT sid AS "sid: AuthSessionId" FROM identity.auth_sessions
           WHERE user_id = $1 AND revoked_at IS NULL AND expires_at_abs > $2"#,
        user.0,
        now
    );
    Ok(live.fetch_all(&mut **tx).await?)
}

/// Ends sessions that are not ended yet, announces it, and remembers to tell the bucket. Answers the ones it ended. With
/// another password, whether or not it ends a session, no device is known any more.
pub(crate) async fn revoke(
    tx: &mut Tx,
    user: UserId,
    sids: &[AuthSessionId],
    reason: Reason,
) -> Result<Vec<AuthSessionId>, Fault> {
    if reason == Reason::Password {
        known_device::forget_all(tx, user).await?;
    }
    if sids.is_empty() {
        return Ok(Vec::new());
    }
    let now = tx.now();
    let sids: Vec<uuid::Uuid> = sids.iter().map(|sid| sid.0).collect();
    let ended = query_scalar!(
        r#"WITH locked AS (
               SELECT sid FROM identity.auth_sessions
               WHERE sid = ANY($1) AND user_id = $2 AND revoked_at IS NULL ORDER BY sid FOR UPDATE)
           UPDATE identity.auth_sessions SET revoked_at = $3, revoke_reason = $4
           FROM locked WHERE auth_sessions.sid = locked.sid
           RETURNING auth_sessions.sid AS "sid: AuthSessionId""#,
        &sids,
        user.0,
        now,
        reason.name()
    )
    .fetch_all(&mut **tx)
    .await?;
    for sid in &ended {
        remember_to_tell(tx, *sid, now).await?;
        let version = account::next_version(tx, user).await?;
        let fact = SessionRevoked { user_id: user, sid: *sid, reason: reason.name().to_owned() };
        tx.announce(&fact, version).await?;
    }
    metrics::counter!("user_session_revocations_total", "reason" => reason.name())
        .increment(ended.len() as u64);
    Ok(ended)
}

async fn remember_to_tell(tx: &mut Tx, sid: AuthSessionId, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    query!(
        "INSERT INTO identity.pending_revocations (sid, due_at) VALUES ($1, $2)
         ON CONFLICT (sid) DO NOTHING",
        sid.0,
        now + HANDLER_HAS
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}
