//! Start watching: access, the cap on streams, the media URL.

use std::time::Duration;

use chrono::{DateTime, Utc};
use lectern_core::error::CallError;
use lectern_core::{Call, Error, Fault, Outcome, Tx};
use lectern_subjects::enrollment::CheckAccess;
use lectern_subjects::id::{CourseId, CourseSessionId, PlaybackSessionId, UserId};
use lectern_subjects::playback::{
    HEARTBEAT_S, PlaybackInitialized, PlaybackRefusal, PlaybackStarted, StartPlayback,
};
use lectern_subjects::{CommonRefusal, Refusal};
use serde::Serialize;
use serde_json::json;
use sqlx::{query, query_as, query_scalar};

use crate::lessons::{self, Lesson};
use crate::{App, media};

/// The fact that names a new video may be this late before we give up.
const FACT_PATIENCE: Duration = Duration::from_millis(1500);

/// Where the video is.
enum Source {
    Uploaded(String),
    External(String),
}

pub(crate) async fn start(app: App, call: Call, req: StartPlayback) -> Outcome<StartPlayback> {
    let viewer = call.user()?;
    let lesson = lessons::find(&app, &call, req.course_id, req.session_id).await?;
    if !lesson.preview {
        check_access(&app, &call, req.course_id).await?;
    }
    let source = source(&app, &call, lesson.clone()).await?;

    let id: PlaybackSessionId = app.new_id();
    let mut tx = app.begin(&call).await?;
    lock(&mut tx, viewer.user).await?;
    let client = req.client.as_ref().map(ToString::to_string);
    if !insert(&app, &mut tx, id, viewer.user, &lesson, &source, client).await? {
        let active = active(&mut tx, viewer.user, app.silent_before(call.now)).await?;
        return Err(PlaybackRefusal::TooManyStreams.because(json!({ "active": active })).into());
    }
    let initialized = PlaybackInitialized {
        user_id: viewer.user,
        playback_session_id: id,
        course_id: req.course_id,
        session_id: req.session_id,
    };
    tx.announce(&initialized, 1).await?;
    let resume_position_ms = query_scalar!(
        "SELECT resume_ms FROM playback.watched WHERE user_id = $1 AND course_session_id = $2",
        viewer.user.0,
        req.session_id.0
    )
    .fetch_optional(&mut *tx)
    .await?
    .unwrap_or(0);
    let media_url = match source {
        Source::Uploaded(path) => media::url(&app, &path, id, viewer, call.now),
        Source::External(url) => url,
    };
    Ok(tx.commit(PlaybackStarted { id, resume_position_ms, media_url, heartbeat_s: HEARTBEAT_S }).await?)
}

/// Enrolment decides. When it can't, nobody may: never open.
async fn check_access(app: &App, call: &Call, course: CourseId) -> Result<(), Fault<PlaybackRefusal>> {
    let asked: Result<_, CallError> = app.bus().call(call, &CheckAccess { course_id: course }).await;
    match asked {
        Ok(decision) if decision.allowed => Ok(()),
        Ok(decision) if decision.subscription_expired => Err(PlaybackRefusal::SubscriptionExpired.into()),
        Ok(_) => Err(PlaybackRefusal::NotEntitled.into()),
        Err(error) => {
            tracing::warn!(%course, %error, "access can't be told");
            Err(CommonRefusal::Unavailable.retry_after(1).into())
        }
    }
}

/// Courses hides external URLs from callers whose access it does not know; then the fact that is on its way tells.
async fn source(app: &App, call: &Call, mut lesson: Lesson) -> Result<Source, Fault<PlaybackRefusal>> {
    let patience = tokio::time::Instant::now() + FACT_PATIENCE.min(call.time_left(app.now()) / 2);
    loop {
        match (lesson.asset_id, lesson.video_url) {
            (Some(asset), _) => return Ok(Source::Uploaded(media::path_of(app, call, asset).await?)),
            (None, Some(url)) => return Ok(Source::External(url)),
            (None, None) if tokio::time::Instant::now() >= patience => {
                return Err(CommonRefusal::Unavailable.retry_after(1).into());
            }
            (None, None) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        lesson.video_url = query_scalar!(
            "SELECT video_url FROM playback.lessons WHERE course_session_id = $1",
            lesson.course_session_id.0
        )
        .fetch_optional(app.pool())
        .await?
        .flatten();
    }
}

/// Starts of one user come one after the other from here on.
async fn lock(tx: &mut Tx, user: UserId) -> Result<(), Error> {
    query!(
        "INSERT INTO playback.viewers (user_id) VALUES ($1)
         ON CONFLICT (user_id) DO UPDATE SET user_id = excluded.user_id",
        user.0
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Whether there was room: sessions that have gone silent don't count, swept or not.
async fn insert(
    app: &App,
    tx: &mut Tx,
    id: PlaybackSessionId,
    user: UserId,
    lesson: &Lesson,
    source: &Source,
    client: Option<String>,
) -> Result<bool, Error> {
    let (media_path, video_url) = match source {
        Source::Uploaded(path) => (Some(path), None),
        Source::External(url) => (None, Some(url)),
    };
    let now = tx.now();
    let inserted = query!(
        "INSERT INTO playback.playback_sessions
             (id, user_id, course_id, course_session_id, media_path, video_url, duration_ms, threshold, client,
              started_at, last_seen_at, media_issued_at, last_server_at)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9::text::jsonb, $10, $10, $10, $10
         WHERE $11::bigint = 0 OR $11::bigint > (SELECT count(*) FROM playback.playback_sessions
                                 WHERE user_id = $2 AND ended_at IS NULL AND last_seen_at > $12)",
        id.0,
        user.0,
        lesson.course_id.0,
        lesson.course_session_id.0,
        media_path,
        video_url,
        lesson.duration_ms,
        lesson.threshold,
        client,
        now,
        app.stream_cap(),
        app.silent_before(now)
    )
    .execute(&mut **tx)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// A live stream, as shown to its user when there is no room for another.
#[derive(Serialize)]
struct Active {
    id: PlaybackSessionId,
    course_id: CourseId,
    session_id: CourseSessionId,
    started_at: DateTime<Utc>,
}

async fn active(tx: &mut Tx, user: UserId, silent_before: DateTime<Utc>) -> Result<Vec<Active>, Error> {
    let active = query_as!(
        Active,
        "SELECT id AS \"id: PlaybackSessionId\", course_id AS \"course_id: CourseId\",
                course_session_id AS \"session_id: CourseSessionId\", started_at
         FROM playback.playback_sessions
         WHERE user_id = $1 AND ended_at IS NULL AND last_seen_at > $2 ORDER BY id LIMIT 100",
        user.0,
        silent_before
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(active)
}
