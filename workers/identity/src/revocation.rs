//! Tells every role which sessions are ended, through the bucket `revoked` (`spec/protocols.md` P3).

use lectern_core::revocation::{BUCKET, session_key};
use lectern_subjects::id::AuthSessionId;
use lectern_subjects::{CommonRefusal, Refusal};
use sqlx::{query, query_scalar};

use crate::app::{App, Fault};
use crate::auth_sessions::HANDLER_HAS;

const BATCH: i64 = 100;

/// Tells the bucket and waits until it has it: nothing may be answered before.
///
/// # Errors
/// COMMON_0010 when the bucket did not take it: the sweep will tell it again.
pub(crate) async fn tell(app: &App, sids: &[AuthSessionId]) -> Result<(), Fault> {
    for sid in sids {
        if let Err(error) = put(app, *sid).await {
            tracing::warn!(%sid, error = format!("{error:#}"), "a revocation is not told yet; it will be");
            return Err(CommonRefusal::Unavailable.retry_after(1).into());
        }
    }
    let told: Vec<uuid::Uuid> = sids.iter().map(|sid| sid.0).collect();
    let forgotten = query!(
        "DELETE FROM identity.pending_revocations WHERE sid = ANY($1) AND repeat_until IS NULL",
        &told
    )
    .execute(app.pool())
    .await;
    if let Err(error) = forgotten {
        tracing::warn!(%error, "a revocation that was told will be told once more");
    }
    Ok(())
}

/// Tells what a handler could not, and renews what outlives the bucket's entries.
pub async fn tell_pending(app: App) -> anyhow::Result<()> {
    loop {
        let now = app.now();
        // moved on before they are told, so that two processes do not tell the same; one that dies is made up for
        let due = query_scalar!(
            r#"UPDATE identity.pending_revocations SET due_at = $2
               WHERE sid IN (SELECT sid FROM identity.pending_revocations WHERE due_at <= $1
                             ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED)
               RETURNING sid AS "sid: AuthSessionId""#,
            now,
            now + HANDLER_HAS,
            BATCH
        )
        .fetch_all(app.pool())
        .await?;
        for sid in &due {
            put(&app, *sid).await?;
        }
        let told: Vec<uuid::Uuid> = due.iter().map(|sid| sid.0).collect();
        query!(
            "DELETE FROM identity.pending_revocations
             WHERE sid = ANY($1) AND COALESCE(repeat_until <= $2, true)",
            &told,
            now
        )
        .execute(app.pool())
        .await?;
        // an entry lives as long as an access token; a longer token has its own renewed well before it would lapse
        query!(
            "UPDATE identity.pending_revocations SET due_at = $2 WHERE sid = ANY($1)",
            &told,
            now + app.settings().access_life / 3
        )
        .execute(app.pool())
        .await?;
        if due.len() < usize::try_from(BATCH)? {
            return Ok(());
        }
    }
}

async fn put(app: &App, sid: AuthSessionId) -> anyhow::Result<()> {
    let bucket = app.bus().bucket(BUCKET).await?;
    bucket.put(session_key(sid), "{}".into()).await?;
    Ok(())
}
