//! A fact becomes a notice in its user's inbox.

use lectern_core::{App, Followed, Tx};
use lectern_subjects::Envelope;
use lectern_subjects::id::NotificationId;
use lectern_subjects::notifications::NotificationSent;
use sqlx::query;

use crate::texts::Tells;

/// Writes the notice and says that it was sent. A fact that was told already changes nothing, nor does one about somebody
/// who was forgotten before it came.
pub(crate) async fn deliver<F: Tells>(app: App, mut tx: Tx, fact: Envelope<F>) -> Followed {
    let (user_id, text) = (fact.data.user(), fact.data.text());
    let kind = lectern_subjects::fact::event_type(F::SUBJECT);
    let notification_id: NotificationId = app.new_id();
    let now = tx.now();
    // beside others, and not beside an erasure: it has been, or it finds the notice
    query!("SELECT pg_advisory_xact_lock_shared(hashtextextended('forgotten/' || $1::uuid, 0))", user_id.0)
        .execute(&mut *tx)
        .await?;
    let written = query!(
        "INSERT INTO notifications.notices (id, user_id, kind, title, body, causation_id, dedupe_key, created_at)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8
         WHERE NOT EXISTS (SELECT FROM notifications.forgotten WHERE user_id = $2)
         ON CONFLICT (user_id, dedupe_key) DO NOTHING",
        notification_id.0,
        user_id.0,
        kind,
        text.title,
        text.body,
        fact.event_id,
        fact.event_id.to_string(),
        now,
    )
    .execute(&mut *tx)
    .await?;
    if written.rows_affected() == 1 {
        tx.announce(&NotificationSent { user_id, notification_id, kind: kind.to_owned() }, 1).await?;
    }
    Ok(tx.commit_followed().await?)
}
