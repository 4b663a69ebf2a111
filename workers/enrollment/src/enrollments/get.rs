//! `enrollments.get`: one of the caller's enrolments.

use lectern_core::{App, Call, Outcome};
use lectern_subjects::enrollment::{Enrollment, EnrollmentRefusal, EnrollmentStatus, GetEnrollment};
use lectern_subjects::id::{CourseId, EnrollmentId, UserId};
use sqlx::query_as;

/// Answers the enrolment; somebody else's is as good as none.
pub(crate) async fn get(app: App, call: Call, req: GetEnrollment) -> Outcome<GetEnrollment> {
    let found = query_as!(
        Enrollment,
        r#"SELECT id AS "id: EnrollmentId", user_id AS "user_id: UserId", course_id AS "course_id: CourseId",
             status AS "status: EnrollmentStatus", enrolled_at, version
           FROM enrollment.enrollments WHERE id = $1 AND user_id = $2"#,
        req.id.0,
        call.user()?.user.0,
    )
    .fetch_optional(app.pool())
    .await?;
    Ok(found.ok_or(EnrollmentRefusal::NotFound)?)
}
