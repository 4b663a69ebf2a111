//! Where somebody is signed in.

use lectern_core::{Call, Outcome};
use lectern_subjects::Page;
use lectern_subjects::id::{AuthSessionId, UserId};
use lectern_subjects::identity::{AuthSession, ListAuthSessions};
use lectern_subjects::page::{self, Moment};
use sqlx::query_as;

use crate::app::{App, Fault};

/// Shows the caller their live sessions.
pub async fn list(app: App, call: Call, req: ListAuthSessions) -> Outcome<ListAuthSessions> {
    page(&app, &call, call.user()?.user, req.limit, req.cursor.as_deref()).await
}

/// A page of the live sessions of a user.
pub(crate) async fn page(
    app: &App,
    call: &Call,
    user: UserId,
    limit: Option<u32>,
    cursor: Option<&str>,
) -> Result<Page<AuthSession>, Fault> {
    let (limit, below) = (page::limit(limit), page::key(cursor)?.unwrap_or(Moment::LATEST));
    let mut connection = app.connect_patiently(call).await?;
    let rows = query_as!(
        AuthSession,
        r#"SELECT sid AS "sid: AuthSessionId", created_at, last_seen_at, expires_at_idle AS expires_at,
                  ip_last AS ip, user_agent, device_name, amr, sid = $5 AS "current!"
           FROM identity.auth_sessions
           WHERE user_id = $1 AND revoked_at IS NULL AND expires_at_idle > $6 AND (created_at, sid) < ($2, $3)
           ORDER BY created_at DESC, sid DESC LIMIT $4"#,
        user.0,
        below.at,
        below.id,
        i64::from(limit) + 1,
        call.user()?.sid.0,
        call.now
    )
    .fetch_all(&mut *connection)
    .await?;
    let place = |row: &AuthSession| Moment { at: row.created_at, id: row.sid.0 }.to_string();
    Ok(Page::from_rows(rows, limit as usize, place))
}
