//! Published courses, followed from the facts of `courses`; on a miss the owner is asked once, so that
//! publish-then-enrol does not depend on how fast a fact travels (architecture §13).

use lectern_core::error::CallError;
use lectern_core::{App, Call, Fault, Followed, Tx};
use lectern_subjects::Envelope;
use lectern_subjects::courses::{CoursePublished, CourseStatus, CourseUpdated, CoursesRefusal, GetCourse};
use lectern_subjects::enrollment::EnrollmentRefusal;
use lectern_subjects::id::CourseId;
use lectern_subjects::refusal::Refusal;
use sqlx::{PgConnection, query, query_as};

/// A published course, as far as enrolling in it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Course {
    pub id: CourseId,
    pub title: String,
    /// Minor units; none when free.
    pub price_minor: Option<i64>,
    pub currency: Option<String>,
    pub version: i64,
}

impl Course {
    /// What it costs, in minor units and their currency; none when free. A price of 0 is free, too.
    pub fn price(&self) -> Option<(i64, &str)> {
        self.price_minor.filter(|minor| *minor > 0).zip(self.currency.as_deref())
    }
}

/// Follows `course.published`.
pub(crate) async fn published(_: App, mut tx: Tx, fact: Envelope<CoursePublished>) -> Followed {
    let version = fact.entity_version;
    let CoursePublished { course_id: id, title, price_minor, currency } = fact.data;
    save(&mut tx, &Course { id, title, price_minor, currency, version }).await?;
    Ok(tx.commit_followed().await?)
}

/// Follows `course.updated`: only published courses are kept, so a draft's change finds no row.
pub(crate) async fn updated(_: App, mut tx: Tx, fact: Envelope<CourseUpdated>) -> Followed {
    query!(
        "UPDATE enrollment.courses SET title = $2, version = $3 WHERE id = $1 AND version < $3",
        fact.data.course_id.0,
        fact.data.title,
        fact.entity_version,
    )
    .execute(&mut *tx)
    .await?;
    Ok(tx.commit_followed().await?)
}

/// The published course of that id. Not known yet: its owner is asked, and the answer is kept by [`save`].
///
/// # Errors
/// COURSE_2001 when there is none, or it is not published; unavailable when its owner can't be asked.
pub(crate) async fn find(app: &App, call: &Call, id: CourseId) -> Result<Course, Fault<EnrollmentRefusal>> {
    let known = query_as!(
        Course,
        r#"SELECT id AS "id: CourseId", title, price_minor, currency, version FROM enrollment.courses WHERE id = $1"#,
        id.0,
    )
    .fetch_optional(app.pool())
    .await?;
    if let Some(course) = known {
        return Ok(course);
    }
    let course = match app.bus().call(call, &GetCourse { id }).await {
        Ok(course) if course.status == CourseStatus::Published => course,
        Ok(_) => return Err(EnrollmentRefusal::CourseNotFound.into()),
        Err(CallError::Refused(problem)) if problem.error_code == CoursesRefusal::NotFound.code().code => {
            return Err(EnrollmentRefusal::CourseNotFound.into());
        }
        Err(error) => return Err(error.into()),
    };
    let (price_minor, currency) = (course.price_minor, course.currency);
    Ok(Course { id, title: course.title, price_minor, currency, version: course.version })
}

/// Keeps a course, unless a newer state of it is known.
pub(crate) async fn save(db: &mut PgConnection, course: &Course) -> Result<(), sqlx::Error> {
    let (price_minor, currency) = course.price().unzip();
    query!(
        "INSERT INTO enrollment.courses AS known (id, title, price_minor, currency, version)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (id) DO UPDATE
         SET title = excluded.title, price_minor = excluded.price_minor, currency = excluded.currency,
             version = excluded.version
         WHERE known.version < excluded.version",
        course.id.0,
        course.title,
        price_minor,
        currency,
        course.version,
    )
    .execute(db)
    .await?;
    Ok(())
}
