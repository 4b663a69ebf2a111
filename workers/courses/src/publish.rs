//! Make a course visible to everyone. Publishing a published course changes nothing and answers it.

use lectern_core::{App, Call, Outcome};
use lectern_subjects::Refusal;
use lectern_subjects::courses::{CoursePublished, CourseStatus, CoursesRefusal, PublishCourse};
use serde_json::json;

use crate::{course, staff};

pub(crate) async fn publish(app: App, call: Call, req: PublishCourse) -> Outcome<PublishCourse> {
    let actor = call.user()?.user;
    let mut tx = app.begin(&call).await?;
    let mut course = course::lock(&mut tx, req.id).await?.ok_or(CoursesRefusal::NotFound)?;
    staff::may_change(&call, &course)?;
    if course.status == CourseStatus::Published {
        return Ok(tx.commit(course).await?);
    }
    if course.session_count == 0 {
        return Err(CoursesRefusal::NotPublishable
            .because(json!({ "reason": "no course sessions yet" }))
            .into());
    }
    course.status = CourseStatus::Published;
    course.published_at = Some(tx.now());
    course::save(&mut tx, &mut course, actor).await?;
    let fact = CoursePublished {
        course_id: course.id,
        title: course.title.clone(),
        price_minor: course.price_minor,
        currency: course.currency.clone(),
    };
    tx.announce(&fact, course.version).await?;
    let details = json!({ "course_id": course.id, "version": course.version });
    tx.audit("course.published", None, details).await?;
    Ok(tx.commit(course).await?)
}
