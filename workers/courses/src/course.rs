//! A course as it stands in the database: one row, read whole, changed under its lock, written back as its next version.

use chrono::{DateTime, Utc};
use lectern_core::{Error, Tx};
use lectern_subjects::courses::{Course, CourseStatus, Instructor};
use lectern_subjects::id::{CourseId, UserId};
use lectern_subjects::money::Currency;
use sqlx::{PgExecutor, query, query_as};

/// The row. Not [`Course`] itself: an instructor and an amount in major units are made of several columns.
struct Row {
    id: CourseId,
    title: String,
    description: String,
    status: CourseStatus,
    language: String,
    instructor_name: Option<String>,
    instructor_bio: Option<String>,
    instructor_ids: Vec<UserId>,
    price_minor: Option<i64>,
    currency: Option<String>,
    session_count: i64,
    duration_ms: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    published_at: Option<DateTime<Utc>>,
    version: i64,
}

impl From<Row> for Course {
    fn from(row: Row) -> Course {
        Course {
            id: row.id,
            title: row.title,
            description: row.description,
            status: row.status,
            language: row.language,
            instructor: row.instructor_name.map(|name| Instructor { name, bio: row.instructor_bio }),
            instructor_ids: row.instructor_ids,
            price: major(row.price_minor, row.currency.as_deref()),
            price_minor: row.price_minor,
            currency: row.currency,
            session_count: row.session_count,
            duration_ms: row.duration_ms,
            created_at: row.created_at,
            updated_at: row.updated_at,
            published_at: row.published_at,
            version: row.version,
        }
    }
}

/// The price in major units as a decimal; none for a free course.
pub(crate) fn major(minor: Option<i64>, currency: Option<&str>) -> Option<String> {
    let currency = Currency::try_from(currency?.to_owned()).ok()?;
    Some(currency.major(minor?))
}

/// Reads a course in one round trip.
pub(crate) async fn load(db: impl PgExecutor<'_>, id: CourseId) -> Result<Option<Course>, sqlx::Error> {
    let row = query_as!(
        Row,
        r#"SELECT id AS "id: CourseId", title, description, status AS "status: CourseStatus", language,
                  instructor_name, instructor_bio,
                  ARRAY(SELECT user_id FROM courses.course_instructors WHERE course_id = id ORDER BY user_id)
                      AS "instructor_ids!: Vec<UserId>",
                  price_minor, currency, session_count, duration_ms, created_at, updated_at, published_at, version
           FROM courses.courses WHERE id = $1"#,
        id.0,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(Course::from))
}

/// Reads a course that nobody else changes until this transaction ends. The lock comes first, in a statement of its
/// own: a statement that waits for a row still sees the other tables as they were before it waited.
pub(crate) async fn lock(tx: &mut Tx, id: CourseId) -> Result<Option<Course>, sqlx::Error> {
    let locked = query!("SELECT id FROM courses.courses WHERE id = $1 FOR UPDATE", id.0)
        .fetch_optional(&mut **tx)
        .await?;
    match locked {
        Some(_) => load(&mut **tx, id).await,
        None => Ok(None),
    }
}

/// Writes a new course with its first revision.
pub(crate) async fn insert(tx: &mut Tx, course: &Course, actor: UserId) -> Result<(), Error> {
    let instructor = course.instructor.as_ref();
    query!(
        "INSERT INTO courses.courses
             (id, title, description, status, language, instructor_name, instructor_bio, price_minor, currency,
              created_by, created_at, updated_at, version)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $12)",
        course.id.0,
        course.title,
        course.description,
        course.status as CourseStatus,
        course.language,
        instructor.map(|instructor| instructor.name.as_str()),
        instructor.and_then(|instructor| instructor.bio.as_deref()),
        course.price_minor,
        course.currency,
        actor.0,
        course.created_at,
        course.version,
    )
    .execute(&mut **tx)
    .await?;
    record(tx, course, actor).await
}

/// Writes a changed course, read by [`lock`], as its next version with its revision.
pub(crate) async fn save(tx: &mut Tx, course: &mut Course, actor: UserId) -> Result<(), Error> {
    course.updated_at = tx.now();
    let instructor = course.instructor.as_ref();
    let saved = query!(
        "UPDATE courses.courses
         SET title = $3, description = $4, status = $5, instructor_name = $6, instructor_bio = $7, session_count = $8,
             duration_ms = $9, updated_at = $10, published_at = $11, version = version + 1
         WHERE id = $1 AND version = $2
         RETURNING version",
        course.id.0,
        course.version,
        course.title,
        course.description,
        course.status as CourseStatus,
        instructor.map(|instructor| instructor.name.as_str()),
        instructor.and_then(|instructor| instructor.bio.as_deref()),
        course.session_count,
        course.duration_ms,
        course.updated_at,
        course.published_at,
    )
    .fetch_one(&mut **tx)
    .await?;
    course.version = saved.version;
    record(tx, course, actor).await
}

async fn record(tx: &mut Tx, course: &Course, actor: UserId) -> Result<(), Error> {
    let at = tx.now();
    query!(
        "INSERT INTO courses.course_revisions (course_id, version, body, actor, at) VALUES ($1, $2, $3, $4, $5)",
        course.id.0,
        course.version,
        serde_json::to_value(course)?,
        actor.0,
        at,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
