//! The synchronous check for a role whose revocation watcher is stale (architecture §8).

use lectern_core::{Call, Outcome};
use lectern_subjects::identity::{CheckToken, TokenState};
use sqlx::query_scalar;

use crate::app::App;

/// Whether tokens of this session and claims version are good right now, by the database.
pub async fn check(app: App, call: Call, req: CheckToken) -> Outcome<CheckToken> {
    let active = query_scalar!(
        r#"SELECT EXISTS (
               SELECT 1 FROM identity.auth_sessions s
               LEFT JOIN identity.users u ON u.id = s.user_id
               WHERE s.sid = $1 AND COALESCE(s.user_id, s.service_id) = $2 AND s.revoked_at IS NULL
                 AND s.expires_at_abs > $3 AND COALESCE(u.is_active AND u.uv <= $4, s.kind = 'service')) AS "active!""#,
        req.sid.0,
        req.user.0,
        call.now,
        req.uv
    )
    .fetch_one(app.pool())
    .await?;
    Ok(TokenState { active })
}
