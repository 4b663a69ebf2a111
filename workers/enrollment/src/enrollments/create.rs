//! `enrollments.create`: the caller enrols in a published course that is free, or that a grant covers.

use lectern_core::{App, Call, Fault, Outcome, Tx};
use lectern_subjects::Refusal;
use lectern_subjects::enrollment::{
    Enroll, Enrollment, EnrollmentCreated, EnrollmentRefusal, EnrollmentStatus, Plan,
};
use lectern_subjects::id::{CourseId, EnrollmentId, UserId};
use lectern_subjects::money::Currency;
use serde_json::{Value, json};
use sqlx::{PgConnection, query, query_as};

use crate::access::grants;
use crate::courses::{self, Course};
use crate::plans;

/// Enrols. Who is enrolled already gets the same row; who comes back gets it again, with its first `enrolled_at`.
pub(crate) async fn create(app: App, call: Call, req: Enroll) -> Outcome<Enroll> {
    let user = call.user()?.user;
    let course = courses::find(&app, &call, req.course_id).await?;

    let mut tx = app.begin(&call).await?;
    let now = tx.now();
    grants::lock_user(&mut tx, user).await?;
    courses::save(&mut tx, &course).await?;
    let known = of_user(&mut tx, user, course.id).await?;
    if let Some(known) = &known
        && matches!(known.status, EnrollmentStatus::Active | EnrollmentStatus::Completed)
    {
        call.mark_existing();
        return Ok(tx.commit(known.clone()).await?);
    }
    if let Some((minor, currency)) = course.price()
        && grants::covering(&mut tx, user, course.id, now).await?.is_none()
    {
        let plans = plans::covering(&mut tx, course.id).await?;
        return Err(EnrollmentRefusal::PaymentRequired
            .because(quote(&course, minor, currency, plans)?)
            .into());
    }
    let enrollment = match known {
        Some(known) => {
            call.mark_existing();
            reactivate(&mut tx, known).await?
        }
        None => enrol(&mut tx, user, course.id).await?,
    };
    if course.price().is_none() {
        grants::grant_free(&mut tx, user, course.id, enrollment.id).await?;
    }
    let details =
        json!({ "enrollment_id": enrollment.id, "course_id": course.id, "version": enrollment.version });
    tx.audit("enrollment.created", Some(user), details).await?;
    Ok(tx.commit(enrollment).await?)
}

async fn of_user(
    db: &mut PgConnection,
    user: UserId,
    course: CourseId,
) -> Result<Option<Enrollment>, sqlx::Error> {
    query_as!(
        Enrollment,
        r#"SELECT id AS "id: EnrollmentId", user_id AS "user_id: UserId", course_id AS "course_id: CourseId",
             status AS "status: EnrollmentStatus", enrolled_at, version
           FROM enrollment.enrollments WHERE user_id = $1 AND course_id = $2"#,
        user.0,
        course.0,
    )
    .fetch_optional(db)
    .await
}

async fn enrol(tx: &mut Tx, user_id: UserId, course_id: CourseId) -> Result<Enrollment, lectern_core::Error> {
    let id: EnrollmentId = tx.app().new_id();
    let (status, enrolled_at, version) = (EnrollmentStatus::Active, tx.now(), 1);
    query!(
        "INSERT INTO enrollment.enrollments (id, user_id, course_id, status, enrolled_at, version)
         VALUES ($1, $2, $3, $4, $5, $6)",
        id.0,
        user_id.0,
        course_id.0,
        status as EnrollmentStatus,
        enrolled_at,
        version,
    )
    .execute(&mut **tx)
    .await?;
    tx.announce(&EnrollmentCreated { user_id, enrollment_id: id, course_id, enrolled_at }, version).await?;
    Ok(Enrollment { id, user_id, course_id, status, enrolled_at, version })
}

async fn reactivate(tx: &mut Tx, enrollment: Enrollment) -> Result<Enrollment, sqlx::Error> {
    let version = enrollment.version + 1;
    query!(
        "UPDATE enrollment.enrollments SET status = 'active', version = $2 WHERE id = $1",
        enrollment.id.0,
        version,
    )
    .execute(&mut **tx)
    .await?;
    Ok(Enrollment { status: EnrollmentStatus::Active, version, ..enrollment })
}

/// What the course costs, and the plans that cover it.
fn quote(
    course: &Course,
    price_minor: i64,
    code: &str,
    plans: Vec<Plan>,
) -> Result<Value, Fault<EnrollmentRefusal>> {
    let currency = Currency::try_from(code.to_owned()).map_err(|e| Fault::Broken(anyhow::Error::msg(e)))?;
    Ok(json!({
        "course_id": course.id,
        "title": course.title,
        "price": currency.major(price_minor),
        "price_minor": price_minor,
        "currency": code,
        "plans": plans,
    }))
}
