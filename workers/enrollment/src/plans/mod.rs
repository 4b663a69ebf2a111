//! Plans: what a subscription costs, opens, and how long its periods are. A version of a plan never changes.

pub(crate) mod create;
pub(crate) mod get;
pub(crate) mod list;

use chrono::{DateTime, Utc};
use lectern_subjects::enrollment::{Plan, Scope};
use lectern_subjects::id::{CourseId, PlanId};
use lectern_subjects::interval::Interval;
use lectern_subjects::money::Currency;
use sqlx::types::Json;
use sqlx::{PgConnection, query_as};

/// A plan as its row: intervals as text, and one amount where the wire shows it in two units.
#[derive(Debug)]
pub(crate) struct PlanRow {
    pub id: PlanId,
    pub version: i64,
    pub name: String,
    pub price_minor: i64,
    pub currency: String,
    pub period: String,
    pub trial: Option<String>,
    pub grace: Option<String>,
    pub scope: Json<Scope>,
    pub created_at: DateTime<Utc>,
}

impl TryFrom<PlanRow> for Plan {
    type Error = sqlx::Error;

    fn try_from(row: PlanRow) -> Result<Plan, sqlx::Error> {
        let unreadable = |reason: String| sqlx::Error::Decode(reason.into());
        let interval = |text: String| text.parse::<Interval>().map_err(unreadable);
        let currency = Currency::try_from(row.currency).map_err(unreadable)?;
        Ok(Plan {
            id: row.id,
            version: row.version,
            name: row.name,
            price: currency.major(row.price_minor),
            price_minor: row.price_minor,
            currency: currency.into(),
            interval: interval(row.period)?,
            trial: row.trial.map(interval).transpose()?,
            grace: row.grace.map(interval).transpose()?,
            scope: row.scope.0,
            created_at: row.created_at,
        })
    }
}

/// One version of a plan; the newest when none is named.
pub(crate) async fn find(
    db: &mut PgConnection,
    id: PlanId,
    version: Option<i64>,
) -> Result<Option<Plan>, sqlx::Error> {
    let row = query_as!(
        PlanRow,
        r#"SELECT id AS "id: PlanId", version, name, price_minor, currency, period, trial, grace,
             scope AS "scope: Json<Scope>", created_at
           FROM enrollment.plans WHERE id = $1 AND ($2::bigint IS NULL OR version = $2)
           ORDER BY version DESC LIMIT 1"#,
        id.0,
        version,
    )
    .fetch_optional(db)
    .await?;
    row.map(Plan::try_from).transpose()
}

/// Up to 20 plans, newest first, that open a course: for a quote.
pub(crate) async fn covering(db: &mut PgConnection, course: CourseId) -> Result<Vec<Plan>, sqlx::Error> {
    let rows = query_as!(
        PlanRow,
        r#"SELECT id AS "id: PlanId", version, name, price_minor, currency, period, trial, grace,
             scope AS "scope: Json<Scope>", created_at
           FROM enrollment.plans AS plan
           WHERE (scope = '"catalog"' OR scope -> 'courses' @> to_jsonb($1::text)) AND NOT EXISTS (
             SELECT FROM enrollment.plans AS newer WHERE newer.id = plan.id AND newer.version > plan.version
           )
           ORDER BY id DESC LIMIT 20"#,
        course.to_string(),
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(Plan::try_from).collect()
}
