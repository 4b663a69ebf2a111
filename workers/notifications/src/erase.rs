//! Forgets a person: their inbox. What is kept is that they were forgotten, so that a fact that comes late fills it no more.

use lectern_core::privacy::{count, scrub};
use lectern_core::{App, Followed, Tx};
use lectern_subjects::Envelope;
use lectern_subjects::notifications::NotificationsErased;
use lectern_subjects::privacy::{ErasePerson, Erased};
use sqlx::query;

/// Obeys `privacy_erase`.
pub(crate) async fn erase(_app: App, mut tx: Tx, command: Envelope<ErasePerson>) -> Followed {
    let ErasePerson { job_id, user_id } = command.data;
    let mut erased = Erased::new();
    query!("SELECT pg_advisory_xact_lock(hashtextextended('forgotten/' || $1::uuid, 0))", user_id.0)
        .execute(&mut *tx)
        .await?;
    query!("INSERT INTO notifications.forgotten (user_id) VALUES ($1) ON CONFLICT DO NOTHING", user_id.0)
        .execute(&mut *tx)
        .await?;
    let notices = query!("DELETE FROM notifications.notices WHERE user_id = $1", user_id.0);
    count(&mut erased, "notices", notices.execute(&mut *tx).await?.rows_affected());
    scrub(&mut tx, user_id, &mut erased).await?;
    tx.announce(&NotificationsErased { user_id, job_id, erased }, 1).await?;
    Ok(tx.commit_followed().await?)
}
