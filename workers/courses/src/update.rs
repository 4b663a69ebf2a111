//! Change what a course says about itself, at any time (L-02).

use lectern_core::{App, Call, Outcome};
use lectern_subjects::courses::{CourseUpdated, CoursesRefusal, UpdateCourse};
use serde_json::json;

use crate::{course, staff};

pub(crate) async fn update(app: App, call: Call, req: UpdateCourse) -> Outcome<UpdateCourse> {
    let actor = call.user()?.user;
    let mut tx = app.begin(&call).await?;
    let mut course = course::lock(&mut tx, req.id).await?.ok_or(CoursesRefusal::NotFound)?;
    staff::may_change(&call, &course)?;
    let before = course.clone();
    if let Some(title) = req.title {
        course.title = title;
    }
    if let Some(description) = req.description {
        course.description = description;
    }
    if let Some(instructor) = req.instructor {
        course.instructor = Some(instructor);
    }
    // what changes nothing is no change: no version, no revision, no fact
    if course != before {
        course::save(&mut tx, &mut course, actor).await?;
        let fact = CourseUpdated { course_id: course.id, title: course.title.clone() };
        tx.announce(&fact, course.version).await?;
        let mut fields = Vec::new();
        for (field, changed) in [
            ("title", course.title != before.title),
            ("description", course.description != before.description),
            ("instructor", course.instructor != before.instructor),
        ] {
            fields.extend(changed.then_some(field));
        }
        let details = json!({ "course_id": course.id, "version": course.version, "fields": fields });
        tx.audit("course.updated", None, details).await?;
    }
    Ok(tx.commit(course).await?)
}
