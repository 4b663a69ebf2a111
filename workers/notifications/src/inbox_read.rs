//! `inbox.read`: the caller has read a notice.

use lectern_core::{App, Call, Outcome};
use lectern_subjects::id::NotificationId;
use lectern_subjects::notifications::{Notice, NotificationsRefusal, ReadNotice};
use sqlx::query_as;

/// Marks it; the first time counts. Somebody else's notice is as good as none.
pub(crate) async fn read(app: App, call: Call, req: ReadNotice) -> Outcome<ReadNotice> {
    let user = call.user()?.user;
    let mut tx = app.begin(&call).await?;
    let notice = query_as!(
        Notice,
        r#"UPDATE notifications.notices SET read_at = COALESCE(read_at, $3) WHERE id = $1 AND user_id = $2
           RETURNING id AS "id: NotificationId", kind, title, body, causation_id, created_at, read_at"#,
        req.id.0,
        user.0,
        call.now,
    )
    .fetch_optional(&mut *tx)
    .await?;
    Ok(tx.commit(notice.ok_or(NotificationsRefusal::NotFound)?).await?)
}
