//! `Idempotency-Key`: one effect and one answer per (actor, request, key), in the transaction of the effect itself.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use crate::call::Claim;
use crate::error::Error;

/// How long a key is honoured, hours (architecture §4).
pub(crate) const KEPT_HOURS: i64 = 24;

/// The answer that a key stands for.
pub(crate) struct Stored {
    pub answer: Vec<u8>,
    pub version: Option<i64>,
    pub existing: bool,
    /// What was changed, as [`cache::lines`](crate::cache::lines) has it; none when an older process did it.
    pub changed: Option<String>,
    /// Whether it was given to the same body.
    pub same_request: bool,
}

/// The committed answer under a key; none when the key is new or too old.
pub(crate) async fn stored(
    pool: &PgPool,
    claim: &Claim,
    now: DateTime<Utc>,
) -> Result<Option<Stored>, Error> {
    type Row = (Vec<u8>, Option<i64>, bool, Vec<u8>, Option<String>);
    let row: Option<Row> = sqlx::query_as(
        "SELECT answer, version, existing, fingerprint, changed FROM idempotency
         WHERE actor = $1 AND request = $2 AND key = $3 AND answer IS NOT NULL AND created_at > $4",
    )
    .bind(claim.actor)
    .bind(claim.request)
    .bind(&claim.key)
    .bind(now - chrono::TimeDelta::hours(KEPT_HOURS))
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|(answer, version, existing, fingerprint, changed)| Stored {
        answer,
        version,
        existing,
        changed,
        same_request: fingerprint == claim.fingerprint,
    }))
}

/// Takes a key for this transaction. A second request with the same key waits here until the first commits or rolls
/// back: the unique index serialises them.
///
/// # Errors
/// [`Error::Replay`] when the other committed, [`Error::KeyInFlight`] when it still runs after the lock timeout.
pub(crate) async fn claim(tx: &mut PgConnection, claim: &Claim, now: DateTime<Utc>) -> Result<(), Error> {
    let claimed = sqlx::query(
        "INSERT INTO idempotency (actor, request, key, fingerprint, created_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (actor, request, key) DO UPDATE
         SET fingerprint = excluded.fingerprint, created_at = excluded.created_at, answer = NULL, version = NULL,
             existing = false, changed = NULL
         WHERE idempotency.created_at <= $6",
    )
    .bind(claim.actor)
    .bind(claim.request)
    .bind(&claim.key)
    .bind(claim.fingerprint.as_slice())
    .bind(now)
    .bind(now - chrono::TimeDelta::hours(KEPT_HOURS))
    .execute(tx)
    .await;
    match claimed {
        Ok(done) if done.rows_affected() == 1 => Ok(()),
        Ok(_) => Err(Error::Replay),
        // 55P03: lock_not_available
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55P03") => {
            Err(Error::KeyInFlight)
        }
        Err(error) => Err(error.into()),
    }
}

/// Stores the answer; it becomes visible with the commit.
pub(crate) async fn store(
    tx: &mut PgConnection,
    claim: &Claim,
    answer: &[u8],
    version: Option<i64>,
    existing: bool,
    changed: &str,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE idempotency SET answer = $4, version = $5, existing = $6, changed = $7
         WHERE actor = $1 AND request = $2 AND key = $3",
    )
    .bind(claim.actor)
    .bind(claim.request)
    .bind(&claim.key)
    .bind(answer)
    .bind(version)
    .bind(existing)
    .bind(changed)
    .execute(tx)
    .await?;
    Ok(())
}
