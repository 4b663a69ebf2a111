//! Name the users who teach a course: all of them, from now on.

use lectern_core::{App, Call, Outcome};
use lectern_subjects::courses::{CoursesRefusal, InstructorsChanged, SetInstructors};
use lectern_subjects::id::UserId;
use serde_json::json;
use sqlx::query;
use uuid::Uuid;

use crate::create::invalid;
use crate::{course, staff};

pub(crate) async fn set_instructors(app: App, call: Call, req: SetInstructors) -> Outcome<SetInstructors> {
    let actor = call.user()?.user;
    // a text that is no id was read as the nil id, which no user has
    if let Some(index) = req.user_ids.iter().position(|user| user.0.is_nil()) {
        return Err(invalid(&format!("/user_ids/{index}"), "not the id of a user").into());
    }
    let mut user_ids = req.user_ids;
    user_ids.sort_unstable();
    user_ids.dedup();

    let mut tx = app.begin(&call).await?;
    let mut course = course::lock(&mut tx, req.id).await?.ok_or(CoursesRefusal::NotFound)?;
    staff::may_change(&call, &course)?;
    if course.instructor_ids == user_ids {
        return Ok(tx.commit(course).await?);
    }
    let wanted: Vec<Uuid> = user_ids.iter().map(|user: &UserId| user.0).collect();
    query!(
        "DELETE FROM courses.course_instructors WHERE course_id = $1 AND user_id <> ALL ($2)",
        course.id.0,
        &wanted,
    )
    .execute(&mut *tx)
    .await?;
    query!(
        "INSERT INTO courses.course_instructors (course_id, user_id) SELECT $1, unnest($2::uuid[])
         ON CONFLICT DO NOTHING",
        course.id.0,
        &wanted,
    )
    .execute(&mut *tx)
    .await?;
    let before = std::mem::replace(&mut course.instructor_ids, user_ids.clone());
    course::save(&mut tx, &mut course, actor).await?;
    let fact = InstructorsChanged { course_id: course.id, user_ids };
    tx.announce(&fact, course.version).await?;
    let details =
        json!({ "course_id": course.id, "version": course.version, "before": before, "now": fact.user_ids });
    tx.audit("course.instructors_changed", None, details).await?;
    Ok(tx.commit(course).await?)
}
