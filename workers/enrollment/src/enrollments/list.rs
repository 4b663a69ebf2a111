//! `enrollments.list`: the caller's enrolments, newest first.

use lectern_core::{App, Call, Outcome};
use lectern_subjects::Page;
use lectern_subjects::enrollment::{Enrollment, EnrollmentStatus, ListEnrollments};
use lectern_subjects::id::{CourseId, EnrollmentId, UserId};
use sqlx::query_as;

use lectern_subjects::page;
use uuid::Uuid;

/// One page of them.
pub(crate) async fn list(app: App, call: Call, req: ListEnrollments) -> Outcome<ListEnrollments> {
    let limit = page::limit(req.limit);
    let rows = query_as!(
        Enrollment,
        r#"SELECT id AS "id: EnrollmentId", user_id AS "user_id: UserId", course_id AS "course_id: CourseId",
             status AS "status: EnrollmentStatus", enrolled_at, version
           FROM enrollment.enrollments WHERE user_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3"#,
        call.user()?.user.0,
        page::key(req.cursor.as_deref())?.unwrap_or(Uuid::max()),
        i64::from(limit) + 1,
    )
    .fetch_all(app.pool())
    .await?;
    Ok(Page::from_rows(rows, limit as usize, |last| last.id.to_string()))
}
