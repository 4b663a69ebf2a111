//! Exchange of a refresh token (`spec/protocols.md` P2): used once. Whoever lost the answer gets the same one again for a
//! few seconds, as long as nobody has used it; a token that comes later than that was copied, and ends its session.

use chrono::{DateTime, Utc};
use lectern_core::{Call, Outcome, Tx};
use lectern_subjects::Role;
use lectern_subjects::id::{AuthSessionId, UserId};
use lectern_subjects::identity::{IdentityRefusal, Refresh, SessionReuseDetected, TokenPair};
use serde_json::json;
use sqlx::{query, query_scalar};

use crate::account;
use crate::app::{App, Fault};
use crate::mail::letters::Language;
use crate::mail::{self, Letter};
use crate::session::revocation;
use crate::session::{self, Reason};
use crate::sign_in::suspicion::{self, Activity};
use crate::token::signing_keys::KeyRing;
use crate::token::{self, Bearer, Proof, RefreshHash};

/// Renews a pair.
pub async fn refresh(app: App, call: Call, req: Refresh) -> Outcome<Refresh> {
    let outcome = exchange(&app, &call, &token::refresh_hash(&req.refresh_token)).await?;
    let status = match &outcome {
        Exchanged::Rotated(_) => "rotated",
        Exchanged::Grace(_) => "grace",
        Exchanged::Reused(..) => "reused",
        Exchanged::Refused(IdentityRefusal::SessionExpired) => "expired",
        Exchanged::Refused(_) => "refused",
    };
    metrics::counter!("user_refresh_total", "status" => status).increment(1);
    match outcome {
        Exchanged::Rotated(pair) | Exchanged::Grace(pair) => Ok(pair),
        Exchanged::Refused(refusal) => Err(refusal.into()),
        Exchanged::Reused(user, sid) => {
            tracing::warn!(user_id = %user, %sid, "a consumed refresh token came again; its session is ended");
            revocation::tell(&app, user).await?;
            Err(IdentityRefusal::RefreshTokenReused.into())
        }
    }
}

enum Exchanged {
    /// This request consumed the token.
    Rotated(TokenPair),
    /// Another one did, a moment ago: the same pair again.
    Grace(TokenPair),
    /// Reuse: the session is ended.
    Reused(UserId, AuthSessionId),
    Refused(IdentityRefusal),
}

/// A token as it stands in the database, with its session and user.
struct Presented {
    sid: AuthSessionId,
    user: UserId,
    locale: String,
    bearer: Bearer,
    is_active: bool,
    proof: Proof,
    absolute_end: DateTime<Utc>,
    ended: Option<String>,
    expires_at: DateTime<Utc>,
    consumed: bool,
    parent_hash: Option<Vec<u8>>,
    grace: Option<Vec<u8>>,
}

async fn exchange(app: &App, call: &Call, hash: &RefreshHash) -> Result<Exchanged, Fault> {
    let ring = app.key_ring().await?;
    let mut tx = app.begin_patiently(call).await?;
    let Some(seen) = find(&mut tx, hash).await? else {
        return Ok(Exchanged::Refused(IdentityRefusal::TokenInvalid));
    };
    // consumed a moment ago: answered without the lock, so that a crowd of repeats does not queue for it
    if let Some(pair) = grace_pair(app, hash, &seen)? {
        return Ok(Exchanged::Grace(pair));
    }
    // in the order in which sign-in and sign-out lock
    query!("SELECT id FROM identity.users WHERE id = $1 FOR NO KEY UPDATE", seen.user.0)
        .fetch_one(&mut *tx)
        .await?;
    query!("SELECT sid FROM identity.auth_sessions WHERE sid = $1 FOR UPDATE", seen.sid.0)
        .fetch_one(&mut *tx)
        .await?;
    let Some(token) = find(&mut tx, hash).await? else {
        return Ok(Exchanged::Refused(IdentityRefusal::TokenInvalid));
    };
    if let Some(refusal) = refusal(&token, tx.now()) {
        return Ok(Exchanged::Refused(refusal));
    }
    if let Some(pair) = grace_pair(app, hash, &token)? {
        return Ok(Exchanged::Grace(pair));
    }
    if !consume(&mut tx, hash).await? {
        return end_family(tx, app, call, &token).await;
    }
    let pair = child_of(&mut tx, app, call, &ring, hash, &token).await?;
    Ok(Exchanged::Rotated(tx.commit(pair).await?))
}

/// The next pair of a session whose user has just proved anew who they are, in place of the refresh token that is live.
/// The caller holds the locks of the user's row and of the session's.
///
/// # Errors
/// USER_1002, USER_1010, USER_1011 or USER_1202 when the session is not what it was.
pub(crate) async fn renew(
    tx: &mut Tx,
    app: &App,
    call: &Call,
    sid: AuthSessionId,
) -> Result<TokenPair, Fault> {
    let ring = app.key_ring().await?;
    let now = tx.now();
    let live = query_scalar!(
        "SELECT hash FROM identity.refresh_tokens
         WHERE sid = $1 AND consumed_at IS NULL AND expires_at > $2 ORDER BY issued_at DESC LIMIT 1",
        sid.0,
        now
    )
    .fetch_optional(&mut **tx)
    .await?
    .ok_or(IdentityRefusal::SessionExpired)?;
    let hash = RefreshHash::try_from(live.as_slice())?;
    let token = find(tx, &hash).await?.ok_or(IdentityRefusal::SessionExpired)?;
    if let Some(refusal) = refusal(&token, now) {
        return Err(refusal.into());
    }
    if !consume(tx, &hash).await? {
        return Err(IdentityRefusal::SessionExpired.into());
    }
    // nobody has shown the live token: the answer that it came in may still be lost, and asked for again
    let token = Presented { parent_hash: None, ..token };
    child_of(tx, app, call, &ring, &hash, &token).await
}

/// The pair that follows a token which this transaction has consumed.
async fn child_of(
    tx: &mut Tx,
    app: &App,
    call: &Call,
    ring: &KeyRing,
    hash: &RefreshHash,
    token: &Presented,
) -> Result<TokenPair, Fault> {
    let (refresh_token, child) = token::new_refresh(app.vault()).map_err(Fault::Broken)?;
    let now = tx.now();
    let pair = token::pair(app, ring, &token.bearer, token.sid, &token.proof, refresh_token, now)?;
    hand_down(tx, app, call, hash, token, &child, &pair).await?;
    Ok(pair)
}

async fn find(tx: &mut Tx, hash: &RefreshHash) -> Result<Option<Presented>, Fault> {
    let now = tx.now();
    let row = query!(
        r#"SELECT s.sid AS "sid: AuthSessionId", u.id AS "user: UserId", u.email, u.locale, u.role AS "role: Role",
                  u.roles AS "roles: Vec<Role>", u.is_verified, u.uv, u.is_active, s.expires_at_abs,
                  COALESCE(s.auth_time, s.created_at) AS "auth_time!", s.amr,
                  s.revoke_reason, t.expires_at, t.consumed_at, t.parent_hash,
                  CASE WHEN t.grace_until > $2 AND t.child_used_at IS NULL THEN t.grace_pair_sealed END AS grace
           FROM identity.refresh_tokens t
           JOIN identity.auth_sessions s ON s.sid = t.sid
           JOIN identity.users u ON u.id = s.user_id
           WHERE t.hash = $1"#,
        hash,
        now
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map(|row| Presented {
        sid: row.sid,
        user: row.user,
        locale: row.locale,
        bearer: Bearer {
            user: row.user,
            email: row.email,
            role: row.role,
            roles: row.roles,
            is_verified: row.is_verified,
            uv: row.uv,
        },
        is_active: row.is_active,
        proof: Proof { at: row.auth_time, amr: row.amr },
        absolute_end: row.expires_at_abs,
        ended: row.revoke_reason,
        expires_at: row.expires_at,
        consumed: row.consumed_at.is_some(),
        parent_hash: row.parent_hash,
        grace: row.grace,
    }))
}

/// What is wrong with a token before anything is tried with it.
fn refusal(token: &Presented, now: DateTime<Utc>) -> Option<IdentityRefusal> {
    match token.ended.as_deref() {
        Some("reuse") => return Some(IdentityRefusal::RefreshTokenReused),
        Some(_) => return Some(IdentityRefusal::TokenRevoked),
        None => {}
    }
    if token.absolute_end <= now || (token.expires_at <= now && !token.consumed) {
        return Some(IdentityRefusal::SessionExpired);
    }
    (!token.is_active).then_some(IdentityRefusal::AccountDisabled)
}

/// The pair that consumed the token, while it may be answered again.
fn grace_pair(app: &App, hash: &RefreshHash, token: &Presented) -> Result<Option<TokenPair>, Fault> {
    let Some(sealed) = token.grace.as_deref().filter(|_| token.ended.is_none() && token.is_active) else {
        return Ok(None);
    };
    let plain = app.vault().open(&place(hash), sealed).map_err(Fault::Broken)?;
    Ok(Some(serde_json::from_slice(&plain)?))
}

/// The one statement that decides who consumes a token.
async fn consume(tx: &mut Tx, hash: &RefreshHash) -> Result<bool, sqlx::Error> {
    let now = tx.now();
    let consumed = query_scalar!(
        "UPDATE identity.refresh_tokens SET consumed_at = $2
         WHERE hash = $1 AND consumed_at IS NULL AND expires_at > $2 RETURNING sid",
        hash,
        now
    );
    Ok(consumed.fetch_optional(&mut **tx).await?.is_some())
}

/// Inserts the child, keeps the pair for the grace, and ends the grace of the token's own parent: its child is used now.
async fn hand_down(
    tx: &mut Tx,
    app: &App,
    call: &Call,
    hash: &RefreshHash,
    token: &Presented,
    child: &RefreshHash,
    pair: &TokenPair,
) -> Result<(), Fault> {
    let (now, settings) = (tx.now(), app.settings());
    let expires_at = (now + settings.idle_life).min(token.absolute_end);
    let sealed = app.vault().seal(&place(hash), &serde_json::to_vec(pair)?).map_err(Fault::Broken)?;
    query!(
        "INSERT INTO identity.refresh_tokens (hash, sid, parent_hash, issued_at, expires_at)
         VALUES ($1, $2, $3, $4, $5)",
        child,
        token.sid.0,
        hash,
        now,
        expires_at
    )
    .execute(&mut **tx)
    .await?;
    query!(
        "UPDATE identity.refresh_tokens SET grace_pair_sealed = $2, grace_until = $3 WHERE hash = $1",
        hash,
        sealed,
        now + settings.grace
    )
    .execute(&mut **tx)
    .await?;
    if let Some(parent) = &token.parent_hash {
        query!(
            "UPDATE identity.refresh_tokens SET child_used_at = $2, grace_pair_sealed = NULL WHERE hash = $1",
            parent,
            now
        )
        .execute(&mut **tx)
        .await?;
    }
    query!(
        "UPDATE identity.auth_sessions
         SET last_seen_at = $2, expires_at_idle = $3, ip_last = COALESCE($4, ip_last) WHERE sid = $1",
        token.sid.0,
        now,
        expires_at,
        call.client.address.map(|address| address.to_string())
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Reuse: ends the session, says so to followers and to the owner, once.
async fn end_family(mut tx: Tx, app: &App, call: &Call, token: &Presented) -> Result<Exchanged, Fault> {
    let ended = session::revoke(&mut tx, token.user, &[token.sid], Reason::Reuse).await?;
    if !ended.is_empty() {
        let version = account::next_version(&mut tx, token.user).await?;
        let fact = SessionReuseDetected { user_id: token.user, sid: token.sid };
        tx.announce(&fact, version).await?;
        suspicion::raise(&mut tx, app, &call.client, Activity::RefreshReuse, token.user).await?;
        // nobody knows who sent it: no actor
        tx.audit("session.reuse_detected", Some(token.user), json!({ "sid": token.sid })).await?;
        let letter = Letter::reuse_detected(&token.bearer.email, Language::of(&token.locale));
        mail::queue(&mut tx, app, token.user, &letter).await?;
    }
    tx.commit_followed().await?;
    Ok(Exchanged::Reused(token.user, token.sid))
}

fn place(hash: &RefreshHash) -> String {
    format!("refresh_tokens/{}", hex::encode(hash))
}
