//! A bucket `revoked` that was lost and made anew knows of no session that ended before. Every access token of the last
//! minutes that was void would be good again for whoever starts now: identity tells the new bucket what the old one knew.

use std::sync::Mutex;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::try_join_all;
use lectern_core::revocation::{BUCKET, put_session, put_version};
use lectern_subjects::id::{AuthSessionId, UserId};
use sqlx::{query, query_scalar};

use crate::app::App;

/// How often it is looked whether the bucket is another one.
pub(crate) const PACE: Duration = Duration::from_secs(2);

/// Entries under way at once.
const AT_ONCE: usize = 64;

/// When the bucket was made that this process has told everything.
#[derive(Default)]
pub(crate) struct Told(Mutex<Option<DateTime<Utc>>>);

impl Told {
    fn has(&self, made: DateTime<Utc>) -> bool {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) == Some(made)
    }

    fn note(&self, made: DateTime<Utc>) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(made);
    }
}

/// Tells a bucket that is younger than the oldest access token which sessions have ended and whose claims have changed
/// while such a token lives. An older bucket has heard of each when it happened.
pub async fn mend(app: App) -> anyhow::Result<()> {
    let stream = app.bus().jetstream().get_stream(format!("KV_{BUCKET}")).await?;
    let nanos = i64::try_from(stream.cached_info().created.unix_timestamp_nanos())?;
    let made = DateTime::from_timestamp_nanos(nanos);
    let oldest = app.now() - app.settings().access_life;
    if made < oldest || app.told().has(made) {
        return Ok(());
    }
    let ended = query_scalar!(
        r#"SELECT sid AS "sid!: AuthSessionId" FROM identity.auth_sessions WHERE revoked_at > $1
           UNION SELECT sid FROM identity.pending_revocations"#,
        oldest
    )
    .fetch_all(app.pool())
    .await?;
    let changed = query!(
        r#"SELECT id AS "id: UserId", uv FROM identity.users WHERE uv > 1 AND uv_changed_at > $1"#,
        oldest
    )
    .fetch_all(app.pool())
    .await?;
    let bucket = app.bus().bucket(BUCKET).await?;
    // a session that ended gives more away than a role that changed
    for some in ended.chunks(AT_ONCE) {
        try_join_all(some.iter().map(|sid| put_session(&bucket, *sid))).await?;
    }
    for some in changed.chunks(AT_ONCE) {
        try_join_all(some.iter().map(|row| put_version(&bucket, row.id, row.uv))).await?;
    }
    if !ended.is_empty() || !changed.is_empty() {
        tracing::warn!(
            sessions = ended.len(),
            users = changed.len(),
            "the bucket of revocations was made anew; it is told again what is void"
        );
    }
    app.told().note(made);
    Ok(())
}
