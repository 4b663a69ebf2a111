//! What playback knows of courses: followed from their facts, and asked for once when it is not known yet.

use lectern_core::error::CallError;
use lectern_core::{Call, Fault, Followed, Tx};
use lectern_subjects::courses::{CoursePublished, CourseSession, ListSessions, SessionAdded};
use lectern_subjects::id::{AssetId, CourseId, CourseSessionId};
use lectern_subjects::playback::PlaybackRefusal;
use lectern_subjects::{CommonRefusal, Envelope, Refusal};
use sqlx::{PgConnection, query, query_as, query_scalar};

use crate::App;

/// A course session, as far as it matters for watching it.
#[derive(Debug, Clone)]
pub(crate) struct Lesson {
    pub course_session_id: CourseSessionId,
    pub course_id: CourseId,
    pub position: i32,
    pub duration_ms: i64,
    pub asset_id: Option<AssetId>,
    pub video_url: Option<String>,
    pub required: bool,
    pub preview: bool,
    pub threshold: f64,
    pub version: i64,
}

/// Learns of a new course session.
pub(crate) async fn on_session_added(_: App, mut tx: Tx, fact: Envelope<SessionAdded>) -> Followed {
    let added = fact.data;
    let lesson = Lesson {
        course_session_id: added.session_id,
        course_id: added.course_id,
        position: added.position,
        duration_ms: added.duration_ms,
        asset_id: added.asset_id,
        video_url: added.video_url,
        required: added.required,
        preview: added.preview,
        threshold: added.completion_threshold,
        version: 1,
    };
    keep(&mut tx, &lesson).await?;
    Ok(tx.commit_followed().await?)
}

/// Learns that everyone may see a course.
pub(crate) async fn on_course_published(_: App, mut tx: Tx, fact: Envelope<CoursePublished>) -> Followed {
    query!(
        "INSERT INTO playback.published_courses (course_id, published_at) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        fact.data.course_id.0,
        fact.occurred_at
    )
    .execute(&mut *tx)
    .await?;
    Ok(tx.commit_followed().await?)
}

/// The course session, as the caller may see it: from the facts when its course is published, else as courses says.
///
/// # Errors
/// COURSE_2006 when there is no such session in the course, COMMON_0010 when that can't be told.
pub(crate) async fn find(
    app: &App,
    call: &Call,
    course: CourseId,
    session: CourseSessionId,
) -> Result<Lesson, Fault<PlaybackRefusal>> {
    let known = query_as!(
        Lesson,
        "SELECT l.course_session_id, l.course_id, l.position, l.duration_ms, l.asset_id AS \"asset_id: AssetId\", l.video_url,
                l.required, l.preview, l.threshold, l.version
         FROM playback.lessons l JOIN playback.published_courses USING (course_id)
         WHERE l.course_session_id = $1 AND l.course_id = $2",
        session.0,
        course.0
    )
    .fetch_optional(app.pool())
    .await?;
    match known {
        Some(lesson) if lesson.asset_id.is_some() || lesson.video_url.is_some() => Ok(lesson),
        _ => {
            let lessons = ask(app, call, course).await?;
            let found = lessons.into_iter().find(|lesson| lesson.course_session_id == session);
            Ok(found.ok_or(PlaybackRefusal::SessionNotFound)?)
        }
    }
}

/// Makes sure that the lessons of a course are known, if the caller may see it.
///
/// # Errors
/// As [`find`].
pub(crate) async fn ensure(app: &App, call: &Call, course: CourseId) -> Result<(), Fault<PlaybackRefusal>> {
    let published = query_scalar!(
        "SELECT EXISTS (SELECT FROM playback.published_courses WHERE course_id = $1) AS \"published!\"",
        course.0
    )
    .fetch_one(app.pool())
    .await?;
    if !published {
        ask(app, call, course).await?;
    }
    Ok(())
}

/// Asks courses, with the caller's token, and keeps what it says: the whole course, so that its completion is judged by
/// all of its sessions.
async fn ask(app: &App, call: &Call, course: CourseId) -> Result<Vec<Lesson>, Fault<PlaybackRefusal>> {
    let listed = match app.bus().call(call, &ListSessions { course_id: course }).await {
        Ok(listed) => listed,
        Err(CallError::Refused(problem)) if problem.status == 404 => {
            return Err(PlaybackRefusal::SessionNotFound.into());
        }
        Err(error) => {
            tracing::warn!(%course, %error, "courses can't be asked for a course");
            return Err(CommonRefusal::Unavailable.retry_after(1).into());
        }
    };
    let lessons: Vec<Lesson> = listed.items.into_iter().map(Lesson::from).collect();
    let mut tx = app.begin_internal().await?;
    for lesson in &lessons {
        keep(&mut tx, lesson).await?;
    }
    tx.commit_followed().await?;
    Ok(lessons)
}

/// A late fact never overwrites what is newer, and a URL that was hidden from a caller does not hide what is known.
async fn keep(tx: &mut PgConnection, lesson: &Lesson) -> Result<(), sqlx::Error> {
    query!(
        "INSERT INTO playback.lessons
             (course_session_id, course_id, position, duration_ms, asset_id, video_url, required, preview, threshold, version)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (course_session_id) DO UPDATE
         SET position = excluded.position, duration_ms = excluded.duration_ms, required = excluded.required,
             preview = excluded.preview, threshold = excluded.threshold, version = excluded.version,
             asset_id = CASE WHEN excluded.asset_id IS NULL AND excluded.video_url IS NULL THEN lessons.asset_id
                             ELSE excluded.asset_id END,
             video_url = CASE WHEN excluded.asset_id IS NULL AND excluded.video_url IS NULL THEN lessons.video_url
                              ELSE excluded.video_url END
         WHERE excluded.version >= lessons.version",
        lesson.course_session_id.0,
        lesson.course_id.0,
        lesson.position,
        lesson.duration_ms,
        lesson.asset_id.map(|id| id.0),
        lesson.video_url.as_deref(),
        lesson.required,
        lesson.preview,
        lesson.threshold,
        lesson.version
    )
    .execute(tx)
    .await?;
    Ok(())
}

impl From<CourseSession> for Lesson {
    fn from(session: CourseSession) -> Lesson {
        Lesson {
            course_session_id: session.id,
            course_id: session.course_id,
            position: session.position,
            duration_ms: session.duration_ms,
            asset_id: session.asset_id,
            video_url: session.video_url,
            required: session.required,
            preview: session.preview,
            threshold: session.completion_threshold,
            version: session.version,
        }
    }
}
