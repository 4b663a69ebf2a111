//! How far the caller is in a course: every course session of it, watched or not.

use lectern_core::{Call, Outcome};
use lectern_subjects::playback::{CourseProgress, GetProgress, SessionProgress};
use sqlx::query;

use crate::{App, lessons};

pub(crate) async fn progress(app: App, call: Call, req: GetProgress) -> Outcome<GetProgress> {
    lessons::ensure(&app, &call, req.course_id).await?;
    let rows = query!(
        "SELECT l.course_session_id, l.duration_ms, l.required, COALESCE(w.unique_ms, 0) AS \"unique_ms!\",
                COALESCE(w.resume_ms, 0) AS \"resume_ms!\", w.completed_at AS \"completed_at?\"
         FROM playback.lessons l
         LEFT JOIN playback.watched w ON w.user_id = $2 AND w.course_session_id = l.course_session_id
         WHERE l.course_id = $1 ORDER BY l.position, l.course_session_id",
        req.course_id.0,
        call.user()?.user.0
    )
    .fetch_all(app.pool())
    .await?;
    let (mut watched_ms, mut length_ms) = (0, 0);
    let mut sessions = Vec::with_capacity(rows.len());
    for row in rows {
        // a video may have become shorter since it was watched
        let unique_ms = row.unique_ms.min(row.duration_ms);
        if row.required {
            watched_ms += unique_ms;
            length_ms += row.duration_ms;
        }
        sessions.push(SessionProgress {
            session_id: row.course_session_id.into(),
            unique_ms,
            progress: part(unique_ms, row.duration_ms),
            resume_ms: row.resume_ms,
            completed_at: row.completed_at,
        });
    }
    Ok(CourseProgress { course_id: req.course_id, progress: part(watched_ms, length_ms), sessions })
}

/// 0 to 1; 0 of nothing.
fn part(watched_ms: i64, length_ms: i64) -> f64 {
    if length_ms == 0 { 0.0 } else { watched_ms as f64 / length_ms as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_nothing_is_zero() {
        assert_eq!((part(0, 0), part(1, 4), part(4, 4)), (0.0, 0.25, 1.0));
    }
}
