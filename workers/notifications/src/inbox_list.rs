//! `inbox.list`: the caller's notices, newest first.

use lectern_core::{App, Call, Outcome};
use lectern_subjects::Page;
use lectern_subjects::id::NotificationId;
use lectern_subjects::notifications::{ListNotices, Notice};
use lectern_subjects::page;
use sqlx::query_as;
use uuid::Uuid;

/// One page of them; ids are UUIDv7, so the page goes on below the cursor's.
pub(crate) async fn list(app: App, call: Call, req: ListNotices) -> Outcome<ListNotices> {
    let limit = page::limit(req.limit);
    let below = page::key(req.cursor.as_deref())?.unwrap_or(Uuid::max());
    let rows = query_as!(
        Notice,
        r#"SELECT id AS "id: NotificationId", kind, title, body, causation_id, created_at, read_at
           FROM notifications.notices
           WHERE user_id = $1 AND id < $2 AND (NOT $3 OR read_at IS NULL)
           ORDER BY id DESC LIMIT $4"#,
        call.user()?.user.0,
        below,
        req.unread,
        i64::from(limit) + 1,
    )
    .fetch_all(app.pool())
    .await?;
    Ok(Page::from_rows(rows, limit as usize, |last| last.id.to_string()))
}
