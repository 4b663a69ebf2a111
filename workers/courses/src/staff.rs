//! Who may see and change a course: everyone sees all but drafts; its staff (operators, admins, the instructors of
//! the course) sees and changes it.

use lectern_core::{Call, Fault};
use lectern_subjects::courses::{Course, CourseStatus, CoursesRefusal};
use lectern_subjects::id::UserId;
use lectern_subjects::{CommonRefusal, Refusal};
use serde_json::json;

/// Whether the caller is staff of a course with these instructors.
pub(crate) fn is_staff(call: &Call, instructors: &[UserId]) -> bool {
    call.caller.as_deref().is_some_and(|caller| caller.is_staff() || instructors.contains(&caller.user))
}

/// Refuses as if the course did not exist when the caller may not even see it.
pub(crate) fn may_see(call: &Call, course: &Course) -> Result<(), CoursesRefusal> {
    if course.status == CourseStatus::Draft && !is_staff(call, &course.instructor_ids) {
        return Err(CoursesRefusal::NotFound);
    }
    Ok(())
}

/// Refuses a change by anyone but staff, to an archived course, or to another version than `If-Match` names. The same
/// order everywhere: who, then the state, then the version.
pub(crate) fn may_change(call: &Call, course: &Course) -> Result<(), Fault<CoursesRefusal>> {
    may_see(call, course)?;
    if !is_staff(call, &course.instructor_ids) {
        return Err(CommonRefusal::Forbidden.because(json!({ "needs": "staff of the course" })).into());
    }
    if course.status == CourseStatus::Archived {
        return Err(CoursesRefusal::Archived.into());
    }
    call.expect_version(course.version)?;
    Ok(())
}
