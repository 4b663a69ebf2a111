//! Throws away what says nothing any more.

use std::time::Duration;

use chrono::TimeDelta;
use sqlx::postgres::PgQueryResult;
use sqlx::query;

use crate::app::App;
use crate::mfa::totp;
use crate::sign_in::{address_limit, attempts, suspicion};

/// How often.
pub(crate) const PACE: Duration = Duration::from_secs(60);
/// Ended sessions are kept this long, for the answer to a late refresh and for support.
const SESSIONS_KEPT: TimeDelta = TimeDelta::days(7);

/// Rows of one deletion, so that none takes long.
const BATCH: u64 = 1000;
/// Deletions of one kind and one run: what strangers can make more of than one a minute would remove.
const BATCHES: usize = 100;

/// Repeats a deletion of `BATCH` rows until there were fewer; the rest next time.
pub(crate) async fn until_few<F>(mut delete: impl FnMut() -> F) -> Result<(), sqlx::Error>
where
    F: Future<Output = Result<PgQueryResult, sqlx::Error>>,
{
    for _ in 0..BATCHES {
        if delete().await?.rows_affected() < BATCH {
            break;
        }
    }
    Ok(())
}

/// A little of each at once. Rows are named by where they lie (`ctid`): a plan
/// that joins them by key may read the whole table. What was changed meanwhile lies elsewhere and is left for the next time.
pub async fn tidy(app: App) -> anyhow::Result<()> {
    let now = app.now();
    until_few(|| attempts::forget(&app, now)).await?;
    address_limit::forget(&app, now).await?;
    suspicion::forget(&app, now).await?;
    query!(
        "UPDATE identity.refresh_tokens SET grace_pair_sealed = NULL
         WHERE grace_until < $1 AND grace_pair_sealed IS NOT NULL",
        now
    )
    .execute(app.pool())
    .await?;
    until_few(|| {
        query!(
            "DELETE FROM identity.email_codes WHERE ctid = ANY (ARRAY(
                 SELECT ctid FROM identity.email_codes WHERE expires_at < $1 ORDER BY expires_at LIMIT 1000))",
            now - TimeDelta::days(1)
        )
        .execute(app.pool())
    })
    .await?;
    // a link that is used up or too old still counts for the hour's limit
    until_few(|| {
        query!(
            "DELETE FROM identity.password_resets WHERE ctid = ANY (ARRAY(
                 SELECT ctid FROM identity.password_resets WHERE expires_at < $1 ORDER BY expires_at LIMIT 1000))",
            now - TimeDelta::days(1)
        )
        .execute(app.pool())
    })
    .await?;
    until_few(|| {
        query!(
            "DELETE FROM identity.challenges WHERE ctid = ANY (ARRAY(
                 SELECT ctid FROM identity.challenges WHERE expires_at < $1 ORDER BY expires_at LIMIT 1000))",
            now
        )
        .execute(app.pool())
    })
    .await?;
    until_few(|| {
        query!(
            "DELETE FROM identity.credentials WHERE confirmed_at IS NULL AND ctid = ANY (ARRAY(
                 SELECT ctid FROM identity.credentials WHERE confirmed_at IS NULL AND created_at < $1
                 ORDER BY created_at LIMIT 1000))",
            now - totp::TO_CONFIRM
        )
        .execute(app.pool())
    })
    .await?;
    until_few(|| {
        query!(
            "DELETE FROM identity.login_history WHERE ctid = ANY (ARRAY(
                 SELECT ctid FROM identity.login_history
                 WHERE NOT success AND user_id IS NULL AND created_at < $1 ORDER BY created_at LIMIT 1000))",
            now - TimeDelta::days(1)
        )
        .execute(app.pool())
    })
    .await?;
    query!("DELETE FROM identity.signing_keys WHERE retire_at < $1", now - TimeDelta::days(1))
        .execute(app.pool())
        .await?;
    until_few(|| {
        query!(
            "DELETE FROM identity.auth_sessions WHERE ctid = ANY (ARRAY(
                 SELECT ctid FROM identity.auth_sessions WHERE expires_at_abs < $1 ORDER BY expires_at_abs LIMIT 1000))",
            now - SESSIONS_KEPT
        )
        .execute(app.pool())
    })
    .await?;
    Ok(())
}
