//! What core keeps for a while only: the archive of the outbox, the inbox, answers of idempotent requests, and from where
//! something was done that is about nobody.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use crate::idempotency;

/// How long published rows and inbox entries are kept (architecture §5): streams can be rebuilt from this far back.
const KEPT_DAYS: i64 = 35;
/// From where something was done that is about nobody (guesses at addresses that nobody has) is kept this long, for whoever
/// looks into it; what is about a person is kept until they are erased.
const ABOUT_NOBODY_DAYS: i64 = 90;
/// Rows deleted in one statement.
const BATCH: i64 = 1000;
/// How often it is looked when there was nothing left to delete.
const PAUSE: Duration = Duration::from_secs(60);

/// Deletes what is too old, a little at a time.
#[derive(Default)]
pub(crate) struct Housekeeping {
    next: Option<Instant>,
}

impl Housekeeping {
    /// Deletes one batch of each kind when it is time to. A failure is no reason to stop relaying.
    pub async fn step(&mut self, connection: &mut PgConnection, now: DateTime<Utc>) {
        if self.next.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let more = delete(connection, now).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "old rows could not be deleted; trying again in a minute");
            false
        });
        self.next = Some(Instant::now() + if more { Duration::ZERO } else { PAUSE });
    }
}

/// Deletes one batch of each kind; says whether there is more.
async fn delete(connection: &mut PgConnection, now: DateTime<Utc>) -> Result<bool, sqlx::Error> {
    let old = now - TimeDelta::days(KEPT_DAYS);
    let answered = now - TimeDelta::hours(idempotency::KEPT_HOURS);
    let statements = [
        (
            "DELETE FROM outbox_archive WHERE ctid = ANY (ARRAY(
                 SELECT ctid FROM outbox_archive WHERE published_at < $1 ORDER BY published_at LIMIT $2))",
            old,
        ),
        (
            "DELETE FROM inbox WHERE ctid = ANY (ARRAY(
                 SELECT ctid FROM inbox WHERE handled_at < $1 ORDER BY handled_at LIMIT $2))",
            old,
        ),
        (
            "DELETE FROM idempotency WHERE ctid = ANY (ARRAY(
                 SELECT ctid FROM idempotency WHERE created_at < $1 ORDER BY created_at LIMIT $2))",
            answered,
        ),
        (
            // an entry's id says when it was written (RFC 9562, version 7: milliseconds in its first six bytes)
            "DELETE FROM audit_private WHERE ctid = ANY (ARRAY(
                 SELECT ctid FROM audit_private WHERE user_id IS NULL AND entry_id <
                     (lpad(to_hex((extract(epoch FROM $1::timestamptz) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
                 ORDER BY entry_id LIMIT $2))",
            now - TimeDelta::days(ABOUT_NOBODY_DAYS),
        ),
    ];
    let mut more = false;
    for (statement, before) in statements {
        let deleted = sqlx::query(statement).bind(before).bind(BATCH).execute(&mut *connection).await?;
        more |= deleted.rows_affected() == BATCH as u64;
    }
    Ok(more)
}
