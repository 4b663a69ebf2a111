//! `plans.list`: all plans in their newest version, newest first.

use lectern_core::{App, Call, Outcome};
use lectern_subjects::Page;
use lectern_subjects::enrollment::{ListPlans, Plan, Scope};
use lectern_subjects::id::PlanId;
use sqlx::query_as;
use sqlx::types::Json;

use super::PlanRow;
use lectern_subjects::page;
use uuid::Uuid;

/// One page of them. Ids do not change with versions, so a plan keeps its place.
pub(crate) async fn list(app: App, _: Call, req: ListPlans) -> Outcome<ListPlans> {
    let limit = page::limit(req.limit);
    let rows = query_as!(
        PlanRow,
        r#"SELECT id AS "id: PlanId", version, name, price_minor, currency, period, trial, grace,
             scope AS "scope: Json<Scope>", created_at
           FROM enrollment.plans AS plan
           WHERE id < $1 AND NOT EXISTS (
             SELECT FROM enrollment.plans AS newer WHERE newer.id = plan.id AND newer.version > plan.version
           )
           ORDER BY id DESC LIMIT $2"#,
        page::key(req.cursor.as_deref())?.unwrap_or(Uuid::max()),
        i64::from(limit) + 1,
    )
    .fetch_all(app.pool())
    .await?;
    let plans = rows.into_iter().map(Plan::try_from).collect::<Result<Vec<_>, _>>()?;
    Ok(Page::from_rows(plans, limit as usize, |last| last.id.to_string()))
}
