//! Whether tokens of a session are good right now, by the database: the synchronous check for a role whose revocation
//! watcher is stale (architecture §8), and the one behind introspection.

use chrono::{DateTime, Utc};
use lectern_core::{Call, Outcome};
use lectern_subjects::identity::{CheckToken, TokenState, VoidReason};
use sqlx::query;

use crate::app::{App, Fault};

/// Answers a role that can't trust its own map.
pub async fn check(app: App, call: Call, req: CheckToken) -> Outcome<CheckToken> {
    let reason = void(&app, &req, call.now).await?;
    Ok(TokenState { active: reason.is_none(), reason })
}

/// Why tokens of this session, user and claims version are void; none when they are good.
pub(crate) async fn void(
    app: &App,
    token: &CheckToken,
    now: DateTime<Utc>,
) -> Result<Option<VoidReason>, Fault> {
    let found = query!(
        r#"SELECT s.revoked_at IS NULL AND s.expires_at_abs > $3
                      AND COALESCE(u.is_active, s.kind = 'service') AS "lives!",
                  COALESCE(u.uv <= $4, s.kind = 'service') AS "is_current!"
           FROM identity.auth_sessions s
           LEFT JOIN identity.users u ON u.id = s.user_id
           WHERE s.sid = $1 AND COALESCE(s.user_id, s.service_id) = $2"#,
        token.sid.0,
        token.user.0,
        now,
        token.uv
    )
    .fetch_optional(app.pool())
    .await?;
    Ok(match found {
        Some(session) if session.lives && session.is_current => None,
        Some(session) if session.lives => Some(VoidReason::StaleClaims),
        Some(_) | None => Some(VoidReason::Revoked),
    })
}
