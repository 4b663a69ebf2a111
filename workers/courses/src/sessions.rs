//! Course sessions, one or all of a course. Everyone who sees the course sees them; the external video's URL is told
//! to staff, and to everyone for a preview. Which sessions are uploaded videos is no secret: `asset_id` opens nothing
//! without a signed URL.

use lectern_core::{App, Call, Fault, Outcome};
use lectern_subjects::Page;
use lectern_subjects::courses::{CourseSession, CourseStatus, CoursesRefusal, GetSession, ListSessions};
use lectern_subjects::id::{AssetId, CourseId, CourseSessionId};
use sqlx::query;
use uuid::Uuid;

use crate::{course, staff};

pub(crate) async fn list(app: App, call: Call, req: ListSessions) -> Outcome<ListSessions> {
    let items = shown(&app, &call, req.course_id, None).await?;
    Ok(Page { items, next_cursor: None })
}

pub(crate) async fn get(app: App, call: Call, req: GetSession) -> Outcome<GetSession> {
    let mut found = shown(&app, &call, req.course_id, Some(req.session_id)).await?;
    Ok(found.pop().ok_or(CoursesRefusal::SessionNotFound)?)
}

/// The course sessions as this caller may see them, in order; `only` one of them when it is asked for. One round trip,
/// unless there is none to show.
async fn shown(
    app: &App,
    call: &Call,
    course_id: CourseId,
    only: Option<CourseSessionId>,
) -> Result<Vec<CourseSession>, Fault<CoursesRefusal>> {
    let rows = query!(
        r#"SELECT c.status AS "status: CourseStatus",
                  EXISTS (SELECT FROM courses.course_instructors i WHERE i.course_id = c.id AND i.user_id = $3)
                      AS "teaches!",
                  s.id AS "id: CourseSessionId", s.course_id AS "course_id: CourseId", s.position, s.title,
                  s.duration_ms, s.video_url, s.asset_id AS "asset_id: AssetId", s.required, s.preview,
                  s.completion_threshold, s.version
           FROM courses.courses c JOIN courses.course_sessions s ON s.course_id = c.id
           WHERE c.id = $1 AND ($2::uuid IS NULL OR s.id = $2)
           ORDER BY s.position"#,
        course_id.0,
        only.map(|session| session.0),
        call.caller.as_deref().map_or(Uuid::nil(), |caller| caller.user.0),
    )
    .fetch_all(app.pool())
    .await?;
    let Some(first) = rows.first() else {
        let course = course::load(app.pool(), course_id).await?.ok_or(CoursesRefusal::NotFound)?;
        staff::may_see(call, &course)?;
        return Ok(Vec::new());
    };
    let staff = first.teaches || staff::is_staff(call, &[]);
    if first.status == CourseStatus::Draft && !staff {
        return Err(CoursesRefusal::NotFound.into());
    }
    Ok(rows
        .into_iter()
        .map(|row| CourseSession {
            id: row.id,
            course_id: row.course_id,
            position: row.position,
            title: row.title,
            duration_ms: row.duration_ms,
            video_url: row.video_url.filter(|_| staff || row.preview),
            asset_id: row.asset_id,
            required: row.required,
            preview: row.preview,
            completion_threshold: row.completion_threshold,
            version: row.version,
        })
        .collect())
}
