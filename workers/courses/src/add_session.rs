//! Add a course session at the end of a course (L-03, L-04).

use lectern_core::error::CallError;
use lectern_core::{App, Call, Fault, Outcome};
use lectern_subjects::content::{ContentRefusal, GetAsset};
use lectern_subjects::courses::{AddSession, CourseSession, CourseUpdated, CoursesRefusal, SessionAdded};
use lectern_subjects::id::AssetId;
use lectern_subjects::{Refusal, Refused};
use serde_json::json;
use sqlx::query;

use crate::{course, staff, video};

/// The part of a video that must be watched when the course does not say (learning E3: of unique coverage).
const DEFAULT_THRESHOLD: f64 = 0.95;

pub(crate) async fn add_session(app: App, call: Call, req: AddSession) -> Outcome<AddSession> {
    let actor = call.user()?.user;
    video::check(req.video_url.as_deref(), req.asset_id)?;
    if let Some(asset) = req.asset_id {
        // before the transaction, so that no lock is held while another service is asked; and for staff only
        let course = course::load(app.pool(), req.course_id).await?.ok_or(CoursesRefusal::NotFound)?;
        staff::may_change(&call, &course)?;
        check_asset(&app, &call, asset).await?;
    }
    let mut tx = app.begin(&call).await?;
    let mut course = course::lock(&mut tx, req.course_id).await?.ok_or(CoursesRefusal::NotFound)?;
    staff::may_change(&call, &course)?;
    let mut session = CourseSession {
        id: app.new_id(),
        course_id: course.id,
        position: 0,
        title: req.title,
        duration_ms: req.duration_ms,
        video_url: req.video_url,
        asset_id: req.asset_id,
        required: req.required,
        preview: req.preview,
        completion_threshold: req.completion_threshold.unwrap_or(DEFAULT_THRESHOLD),
        version: 1,
    };
    let now = tx.now();
    // no other transaction adds here meanwhile: the course's row is locked
    session.position = query!(
        "INSERT INTO courses.course_sessions
             (id, course_id, position, title, duration_ms, video_url, asset_id, required, preview,
              completion_threshold, version, created_at)
         SELECT $1, $2, coalesce(max(position), 0) + 1, $3, $4, $5, $6, $7, $8, $9, $10, $11
         FROM courses.course_sessions WHERE course_id = $2
         RETURNING position",
        session.id.0,
        session.course_id.0,
        session.title,
        session.duration_ms,
        session.video_url,
        session.asset_id.map(|asset| asset.0),
        session.required,
        session.preview,
        session.completion_threshold,
        session.version,
        now,
    )
    .fetch_one(&mut *tx)
    .await?
    .position;
    course.session_count += 1;
    course.duration_ms += session.duration_ms;
    course::save(&mut tx, &mut course, actor).await?;
    tx.announce(&added(&session), course.version).await?;
    let fact = CourseUpdated { course_id: course.id, title: course.title };
    tx.announce(&fact, course.version).await?;
    let details = json!({ "course_id": course.id, "session_id": session.id, "asset_id": session.asset_id, "preview": session.preview });
    tx.audit("session.added", None, details).await?;
    Ok(tx.commit(session).await?)
}

fn added(session: &CourseSession) -> SessionAdded {
    SessionAdded {
        course_id: session.course_id,
        session_id: session.id,
        position: session.position,
        duration_ms: session.duration_ms,
        asset_id: session.asset_id,
        video_url: session.video_url.clone(),
        required: session.required,
        preview: session.preview,
        completion_threshold: session.completion_threshold,
    }
}

/// Asks content once whether there is such a file, and whether it is a video.
async fn check_asset(app: &App, call: &Call, id: AssetId) -> Result<(), Fault<CoursesRefusal>> {
    match app.bus().call(call, &GetAsset { id }).await {
        Ok(asset) if asset.mime.starts_with("video/") => Ok(()),
        Ok(asset) => Err(bad_asset(&format!("a video is needed, the file is {}", asset.mime)).into()),
        Err(CallError::Refused(problem))
            if problem.error_code == ContentRefusal::AssetNotFound.code().code =>
        {
            Err(bad_asset("no such file").into())
        }
        Err(error) => Err(error.into()),
    }
}

fn bad_asset(reason: &str) -> Refused<CoursesRefusal> {
    CoursesRefusal::VideoSourceInvalid.because(json!([{ "pointer": "/asset_id", "reason": reason }]))
}
