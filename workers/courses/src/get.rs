//! One course.

use lectern_core::{App, Call, Outcome};
use lectern_subjects::courses::{CoursesRefusal, GetCourse};

use crate::{course, staff};

pub(crate) async fn get(app: App, call: Call, req: GetCourse) -> Outcome<GetCourse> {
    let course = course::load(app.pool(), req.id).await?.ok_or(CoursesRefusal::NotFound)?;
    staff::may_see(&call, &course)?;
    Ok(course)
}
