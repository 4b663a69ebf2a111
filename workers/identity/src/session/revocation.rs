//! Tells every role which sessions are ended and whose claims have changed, through the bucket `revoked`
//! (`spec/protocols.md` P3, P4).

use lectern_core::revocation::{BUCKET, put_session, put_version};
use lectern_core::{Error, Tx};
use lectern_subjects::id::{AuthSessionId, UserId};
use lectern_subjects::{CommonRefusal, Refusal};
use sqlx::{query, query_scalar};

use crate::app::{App, Fault};
use crate::session::HANDLER_HAS;

const BATCH: i64 = 100;

/// Tells the bucket that sessions are ended, whoever's they are, and waits until it has it.
///
/// # Errors
/// COMMON_0010 when the bucket did not take it: the sweep will tell it again.
pub(crate) async fn tell_sessions(app: &App, sids: &[AuthSessionId]) -> Result<(), Fault> {
    if sids.is_empty() {
        return Ok(());
    }
    if let Err(error) = put_sessions(app, sids).await {
        tracing::warn!(?sids, %error, "revocations are not told yet; they will be");
        return Err(CommonRefusal::Unavailable.retry_after(1).into());
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

/// Makes every access token that a user has void: they say what is no longer so. The sessions live on, and a refresh
/// answers a token that is right. [`tell`] it after the commit.
pub(crate) async fn change_claims(tx: &mut Tx, user: UserId) -> Result<(), Fault> {
    let now = tx.now();
    let uv = query_scalar!(
        "UPDATE identity.users SET uv = uv + 1, uv_changed_at = $2 WHERE id = $1 RETURNING uv",
        user.0,
        now
    )
    .fetch_one(&mut **tx)
    .await?;
    query!(
        "INSERT INTO identity.pending_claims (user_id, uv, due_at) VALUES ($1, $2, $3)
         ON CONFLICT (user_id) DO UPDATE SET uv = excluded.uv, due_at = excluded.due_at",
        user.0,
        uv,
        now + HANDLER_HAS
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Tells the bucket that a user's claims have changed, and waits until it has it.
///
/// # Errors
/// COMMON_0010 when the bucket did not take it: the sweep will tell it again.
async fn tell_claims(app: &App, user: UserId, uv: i64) -> Result<(), Fault> {
    let told = async { put_version(&app.bus().bucket(BUCKET).await?, user, uv).await };
    if let Err(error) = told.await {
        tracing::warn!(user_id = %user, %error, "changed claims are not told yet; they will be");
        return Err(CommonRefusal::Unavailable.retry_after(1).into());
    }
    forget_claims(app, user, uv).await.map_err(Fault::broken)
}

/// Tells the bucket all that it may not know yet of a user's sessions and claims, also of a time before that was answered
/// with 503, and waits until it has it: nothing may be answered before.
///
/// # Errors
/// COMMON_0010 when the bucket did not take it: the sweep will tell it again.
pub(crate) async fn tell(app: &App, user: UserId) -> Result<(), Fault> {
    let claims = query_scalar!("SELECT uv FROM identity.pending_claims WHERE user_id = $1", user.0)
        .fetch_optional(app.pool())
        .await?;
    if let Some(uv) = claims {
        tell_claims(app, user, uv).await?;
    }
    let sids = query_scalar!(
        r#"SELECT p.sid AS "sid: AuthSessionId" FROM identity.pending_revocations p
           JOIN identity.auth_sessions s ON s.sid = p.sid WHERE s.user_id = $1"#,
        user.0
    )
    .fetch_all(app.pool())
    .await?;
    tell_sessions(app, &sids).await
}

async fn forget_claims(app: &App, user: UserId, uv: i64) -> Result<(), sqlx::Error> {
    query!("DELETE FROM identity.pending_claims WHERE user_id = $1 AND uv <= $2", user.0, uv)
        .execute(app.pool())
        .await
        .map(drop)
}

async fn tell_pending_claims(app: &App) -> anyhow::Result<()> {
    let now = app.now();
    let due = query!(
        r#"UPDATE identity.pending_claims SET due_at = $2
           WHERE ctid = ANY (ARRAY(SELECT ctid FROM identity.pending_claims WHERE due_at <= $1
                                   ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED))
           RETURNING user_id AS "user: UserId", uv"#,
        now,
        now + HANDLER_HAS,
        BATCH
    )
    .fetch_all(app.pool())
    .await?;
    if due.is_empty() {
        return Ok(());
    }
    let bucket = app.bus().bucket(BUCKET).await?;
    for row in due {
        put_version(&bucket, row.user, row.uv).await?;
        forget_claims(app, row.user, row.uv).await?;
    }
    Ok(())
}

/// Tells what a handler could not, and renews what outlives the bucket's entries.
pub async fn tell_pending(app: App) -> anyhow::Result<()> {
    tell_pending_claims(&app).await?;
    loop {
        let now = app.now();
        // moved on before they are told, so that two processes do not tell the same; one that dies is made up for
        let due = query_scalar!(
            r#"UPDATE identity.pending_revocations SET due_at = $2
               WHERE ctid = ANY (ARRAY(SELECT ctid FROM identity.pending_revocations WHERE due_at <= $1
                                       ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED))
               RETURNING sid AS "sid: AuthSessionId""#,
            now,
            now + HANDLER_HAS,
            BATCH
        )
        .fetch_all(app.pool())
        .await?;
        if due.is_empty() {
            return Ok(());
        }
        put_sessions(&app, &due).await?;
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

async fn put_sessions(app: &App, sids: &[AuthSessionId]) -> Result<(), Error> {
    let bucket = app.bus().bucket(BUCKET).await?;
    for sid in sids {
        put_session(&bucket, *sid).await?;
    }
    Ok(())
}
