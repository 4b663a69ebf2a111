//! Grants: why a user may use a course or the whole catalogue. Access is any grant in force (invariant I17).

use chrono::{DateTime, Utc};
use lectern_core::Tx;
use lectern_subjects::enrollment::{Scope, Subscription};
use lectern_subjects::id::{CourseId, EnrollmentId, SubscriptionId, UserId};
use sqlx::{PgConnection, query, query_as, query_scalar};
use uuid::Uuid;

/// A grant in force that covers a course.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InForce {
    /// `free`, `subscription`, `order_line`, `reward_grant` or `admin`.
    pub source: String,
    /// None: for ever.
    pub until: Option<DateTime<Utc>>,
}

/// Makes everything that changes or counts one user's grants happen one after the other, until the transaction ends.
/// Taken before any row lock, so that two of them can't wait for each other.
pub(crate) async fn lock_user(db: &mut PgConnection, user: UserId) -> Result<(), sqlx::Error> {
    query!("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", format!("enrollment/user/{user}"))
        .execute(db)
        .await?;
    Ok(())
}

/// The grant that covers a course for longest.
pub(crate) async fn covering(
    db: &mut PgConnection,
    user: UserId,
    course: CourseId,
    at: DateTime<Utc>,
) -> Result<Option<InForce>, sqlx::Error> {
    query_as!(
        InForce,
        "SELECT source_type AS source, ends_at AS until FROM enrollment.access_grants
         WHERE user_id = $1 AND (scope_id = $2 OR scope_id IS NULL)
           AND enrollment.in_force(starts_at, ends_at, renews, revoked_at, $3)
         ORDER BY ends_at DESC NULLS FIRST LIMIT 1",
        user.0,
        course.0,
        at,
    )
    .fetch_optional(db)
    .await
}

/// Whether a subscription covered a course once, and does no more.
pub(crate) async fn covered_by_ended_subscription(
    db: &mut PgConnection,
    user: UserId,
    course: CourseId,
    at: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    query_scalar!(
        r#"SELECT EXISTS (
             SELECT FROM enrollment.access_grants
             WHERE user_id = $1 AND (scope_id = $2 OR scope_id IS NULL) AND source_type = 'subscription'
               AND NOT enrollment.in_force(starts_at, ends_at, renews, revoked_at, $3)
           ) AS "ended!""#,
        user.0,
        course.0,
        at,
    )
    .fetch_one(db)
    .await
}

/// Grants a free course to who enrolled in it, for ever.
pub(crate) async fn grant_free(
    tx: &mut Tx,
    user: UserId,
    course: CourseId,
    enrollment: EnrollmentId,
) -> Result<(), sqlx::Error> {
    let (id, now) = (tx.app().new_id::<Uuid>(), tx.now());
    query!(
        "INSERT INTO enrollment.access_grants (id, user_id, scope_type, scope_id, source_type, source_id, starts_at)
         VALUES ($1, $2, 'course', $3, 'free', $4, $5) ON CONFLICT DO NOTHING",
        id,
        user.0,
        course.0,
        enrollment.0,
        now,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Grants a plan's scope to a new subscription until its period ends.
pub(crate) async fn grant_scope(
    tx: &mut Tx,
    scope: &Scope,
    subscription: &Subscription,
    renews: bool,
) -> Result<(), sqlx::Error> {
    let (kind, places): (_, Vec<Option<Uuid>>) = match scope {
        Scope::Catalog => ("catalog", vec![None]),
        Scope::Courses(courses) => ("course", courses.iter().map(|course| Some(course.0)).collect()),
    };
    let ids: Vec<Uuid> = places.iter().map(|_| tx.app().new_id()).collect();
    query!(
        "INSERT INTO enrollment.access_grants
           (id, user_id, scope_type, scope_id, source_type, source_id, starts_at, ends_at, renews)
         SELECT id, $3, $4, place, 'subscription', $5, $6, $7, $8
         FROM UNNEST($1::uuid[], $2::uuid[]) AS one (id, place)
         ON CONFLICT DO NOTHING",
        &ids,
        &places as &[Option<Uuid>],
        subscription.user_id.0,
        kind,
        subscription.id.0,
        subscription.period_start,
        subscription.period_end,
        renews,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Brings a subscription's grants in line with its period. Those of one that renews stay in force until its timer has
/// rung, so that a late ring takes nothing from anybody.
pub(crate) async fn follow_period(
    db: &mut PgConnection,
    subscription: SubscriptionId,
    ends_at: DateTime<Utc>,
    renews: bool,
) -> Result<(), sqlx::Error> {
    query!(
        "UPDATE enrollment.access_grants SET ends_at = $2, renews = $3
         WHERE source_type = 'subscription' AND source_id = $1 AND revoked_at IS NULL",
        subscription.0,
        ends_at,
        renews,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Ends a subscription's grants before their time.
pub(crate) async fn revoke(
    db: &mut PgConnection,
    subscription: SubscriptionId,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    query!(
        "UPDATE enrollment.access_grants SET revoked_at = $2
         WHERE source_type = 'subscription' AND source_id = $1 AND revoked_at IS NULL",
        subscription.0,
        at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Whether something that a subscription opened is closed to its user now: no other grant in force covers it.
pub(crate) async fn lost_something(
    db: &mut PgConnection,
    subscription: SubscriptionId,
    at: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    query_scalar!(
        r#"SELECT EXISTS (
             SELECT FROM enrollment.access_grants AS ended
             WHERE ended.source_type = 'subscription' AND ended.source_id = $1 AND NOT EXISTS (
               SELECT FROM enrollment.access_grants AS other
               WHERE other.user_id = ended.user_id
                 AND (other.scope_id IS NULL OR other.scope_id = ended.scope_id)
                 AND enrollment.in_force(other.starts_at, other.ends_at, other.renews, other.revoked_at, $2)
             )
           ) AS "lost!""#,
        subscription.0,
        at,
    )
    .fetch_one(db)
    .await
}

/// Brings a user's enrolments in line with their grants: without any grant in force `suspended`, with one `active`
/// again. `completed` and `cancelled` ones stay what they are.
pub(crate) async fn settle_enrollments(
    db: &mut PgConnection,
    user: UserId,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    query!(
        "UPDATE enrollment.enrollments AS enrolled
         SET status = CASE status WHEN 'active' THEN 'suspended' ELSE 'active' END, version = version + 1
         WHERE user_id = $1 AND status IN ('active', 'suspended') AND (status = 'suspended') = EXISTS (
           SELECT FROM enrollment.access_grants
           WHERE user_id = $1 AND (scope_id IS NULL OR scope_id = enrolled.course_id)
             AND enrollment.in_force(starts_at, ends_at, renews, revoked_at, $2)
         )",
        user.0,
        at,
    )
    .execute(db)
    .await?;
    Ok(())
}
