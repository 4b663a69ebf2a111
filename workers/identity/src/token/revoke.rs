//! The end of a token (RFC 7009): whoever holds it may end its session, and with it every token that descends from it. The
//! answer is the same for a token that is no good, and comes only after every role can know (`spec/protocols.md` P3).

use chrono::{DateTime, Utc};
use lectern_core::{Call, Outcome, Tx};
use lectern_subjects::id::{AuthSessionId, UserId};
use lectern_subjects::identity::{Message, RevokeToken};
use serde_json::json;
use sqlx::{query, query_scalar};

use crate::app::{App, Fault};
use crate::session;
use crate::session::logout::sign_out;
use crate::session::revocation;
use crate::token;

/// The session that a token descends from.
struct Held {
    sid: AuthSessionId,
    /// None for a machine's.
    user: Option<UserId>,
    is_over: bool,
    /// Ended, and perhaps not every role knows.
    is_pending: bool,
}

/// Ends the session of an access or a refresh token.
pub async fn revoke(app: App, call: Call, req: RevokeToken) -> Outcome<RevokeToken> {
    let answer = Message { message: "The token is not valid any more".to_owned() };
    let Some(held) = find(&app, &call, &req.token).await? else { return Ok(answer) };
    if !held.is_over {
        let mut tx = app.begin_patiently(&call).await?;
        match held.user {
            Some(user) => {
                tx.set_actor(Some(user));
                session::lock_owner(&mut tx, user).await?;
                sign_out(&mut tx, &app, &call, user, &[held.sid], held.sid).await?;
            }
            None => end_service_token(&mut tx, held.sid).await?,
        }
        tx.commit_followed().await?;
    }
    // whoever repeats it after a 503 has it told, as at sign-out
    if !held.is_over || held.is_pending {
        revocation::tell_sessions(&app, &[held.sid]).await?;
    }
    tracing::info!(sid = %held.sid, "a token was given back");
    Ok(answer)
}

/// A genuine access token, or a refresh token, used or not, that has not expired. One that says what is no longer so is
/// good enough to be given back.
async fn find(app: &App, call: &Call, token: &str) -> Result<Option<Held>, Fault> {
    let now = call.now;
    let sid = match app.key_ring().await?.verify(token, &app.settings().issuer) {
        Ok(claims) if claims.exp > now.timestamp() => Some(claims.sid),
        Ok(_) => None,
        Err(_) => of_refresh(app, token, now).await?,
    };
    let Some(sid) = sid else { return Ok(None) };
    let held = query!(
        r#"SELECT s.user_id AS "user: UserId", (s.revoked_at IS NOT NULL OR s.expires_at_abs <= $2) AS "is_over!",
                  p.sid IS NOT NULL AS "is_pending!"
           FROM identity.auth_sessions s
           LEFT JOIN identity.pending_revocations p ON p.sid = s.sid
           WHERE s.sid = $1"#,
        sid.0,
        now
    )
    .fetch_optional(app.pool())
    .await?;
    Ok(held.map(|row| Held { sid, user: row.user, is_over: row.is_over, is_pending: row.is_pending }))
}

async fn of_refresh(
    app: &App,
    token: &str,
    now: DateTime<Utc>,
) -> Result<Option<AuthSessionId>, sqlx::Error> {
    query_scalar!(
        r#"SELECT sid AS "sid: AuthSessionId" FROM identity.refresh_tokens WHERE hash = $1 AND expires_at > $2"#,
        &token::refresh_hash(token),
        now
    )
    .fetch_optional(app.pool())
    .await
}

/// A machine's token outlives the bucket's entries: its revocation is told again until it would have expired.
async fn end_service_token(tx: &mut Tx, sid: AuthSessionId) -> Result<(), Fault> {
    let now = tx.now();
    let ended = query!(
        r#"WITH ended AS (
               UPDATE identity.auth_sessions SET revoked_at = $2, revoke_reason = 'logout'
               WHERE sid = $1 AND kind = 'service' AND revoked_at IS NULL
               RETURNING sid, service_id, expires_at_abs),
           remembered AS (
               INSERT INTO identity.pending_revocations (sid, due_at, repeat_until)
               SELECT sid, $2, expires_at_abs FROM ended ON CONFLICT (sid) DO NOTHING)
           SELECT service_id AS "service!" FROM ended"#,
        sid.0,
        now
    )
    .fetch_optional(&mut **tx)
    .await?;
    if let Some(ended) = ended {
        metrics::counter!("user_session_revocations_total", "reason" => "logout").increment(1);
        tx.audit("service_token.revoked", None, json!({ "sid": sid, "service_id": ended.service })).await?;
    }
    Ok(())
}
