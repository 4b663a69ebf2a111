//! Forgets uploads that were never finished. They answer 410 from their expiry until they are forgotten, then 404.

use std::time::Duration;

use chrono::TimeDelta;
use lectern_core::App;
use sqlx::query;

/// How often.
pub(crate) const EVERY: Duration = Duration::from_secs(600);
/// How long an expired upload is remembered, days.
const REMEMBERED_DAYS: i64 = 7;
/// Uploads per transaction: locks are held for a short time only.
const BATCH: i64 = 500;

/// Several processes may do this at once: each takes rows that no other has locked.
pub(crate) async fn expired_uploads(app: App) -> anyhow::Result<()> {
    loop {
        let mut tx = app.begin_internal().await?;
        let before = tx.now() - TimeDelta::days(REMEMBERED_DAYS);
        let forgotten = query!(
            "DELETE FROM content.uploads WHERE id IN (
                 SELECT id FROM content.uploads WHERE state = 'open' AND expires_at <= $1
                 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
            before,
            BATCH,
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        tx.commit_followed().await?;
        if forgotten == 0 {
            return Ok(());
        }
        tracing::info!(uploads = forgotten, "forgot unfinished uploads");
    }
}
