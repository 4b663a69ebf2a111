//! A playback session as its viewer sees it.

use chrono::{DateTime, Utc};
use lectern_core::Error;
use lectern_subjects::id::{CourseId, CourseSessionId, PlaybackSessionId, UserId};
use lectern_subjects::playback::{PlaybackSession, PlaybackState};
use sqlx::{PgExecutor, query_as};

/// The viewer's own playback session; none when it is unknown or someone else's.
pub(crate) async fn find(
    db: impl PgExecutor<'_>,
    id: PlaybackSessionId,
    viewer: UserId,
) -> Result<Option<PlaybackSession>, Error> {
    let session = query_as!(
        PlaybackSession,
        "SELECT id AS \"id: PlaybackSessionId\", course_id AS \"course_id: CourseId\",
                course_session_id AS \"session_id: CourseSessionId\", started_at, ended_at,
                COALESCE(end_reason, player) AS \"state!: PlaybackState\", last_seq,
                COALESCE(stop_position_ms, position_ms) AS \"position_ms!\", media_ms
         FROM playback.playback_sessions WHERE id = $1 AND user_id = $2",
        id.0,
        viewer.0
    )
    .fetch_optional(db)
    .await?;
    Ok(session)
}

/// What a batch of events is checked against.
pub(crate) struct Open {
    pub duration_ms: i64,
    pub accepted_seq: i64,
    pub media_path: Option<String>,
    pub media_issued_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
}

/// The viewer's own playback session, as its events see it.
pub(crate) async fn find_open(
    db: impl PgExecutor<'_>,
    id: PlaybackSessionId,
    viewer: UserId,
) -> Result<Option<Open>, Error> {
    let open = query_as!(
        Open,
        "SELECT duration_ms, accepted_seq, media_path, media_issued_at, ended_at
         FROM playback.playback_sessions WHERE id = $1 AND user_id = $2",
        id.0,
        viewer.0
    )
    .fetch_optional(db)
    .await?;
    Ok(open)
}
