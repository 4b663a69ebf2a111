//! The caller's playback sessions, newest first.

use lectern_core::{Call, Outcome};
use lectern_subjects::Page;
use lectern_subjects::id::{CourseId, CourseSessionId, PlaybackSessionId};
use lectern_subjects::page;
use lectern_subjects::playback::{ListMyPlayback, PlaybackSession, PlaybackState};
use sqlx::query_as;

use crate::App;

pub(crate) async fn mine(app: App, call: Call, req: ListMyPlayback) -> Outcome<ListMyPlayback> {
    let limit = page::limit(req.limit);
    let before: Option<PlaybackSessionId> = page::key(req.cursor.as_deref())?;
    let rows = query_as!(
        PlaybackSession,
        "SELECT id AS \"id: PlaybackSessionId\", course_id AS \"course_id: CourseId\",
                course_session_id AS \"session_id: CourseSessionId\", started_at, ended_at,
                COALESCE(end_reason, player) AS \"state!: PlaybackState\", last_seq,
                COALESCE(stop_position_ms, position_ms) AS \"position_ms!\", media_ms
         FROM playback.playback_sessions
         WHERE user_id = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3",
        call.user()?.user.0,
        before.map(|id| id.0),
        i64::from(limit) + 1
    )
    .fetch_all(app.pool())
    .await?;
    Ok(Page::from_rows(rows, limit as usize, |row| row.id.to_string()))
}
