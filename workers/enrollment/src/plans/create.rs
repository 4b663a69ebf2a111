//! `plans.create`: operators and admins make plans.

use std::collections::HashSet;

use lectern_core::{App, Call, Outcome};
use lectern_subjects::enrollment::{CreatePlan, Plan, PlanCreated, Scope};
use lectern_subjects::id::PlanId;
use lectern_subjects::{CommonRefusal, Refusal};
use serde_json::json;
use sqlx::query;
use sqlx::types::Json;

/// Makes version 1 of a plan. Courses of its scope need not exist yet, but none counts twice.
pub(crate) async fn create(app: App, call: Call, req: CreatePlan) -> Outcome<CreatePlan> {
    let price_minor = req.price.minor(&req.currency).map_err(|reason| {
        CommonRefusal::ValidationFailed.because(json!([{ "pointer": "/price", "reason": reason }]))
    })?;
    let scope = match req.scope {
        Scope::Catalog => Scope::Catalog,
        Scope::Courses(mut courses) => {
            let mut seen = HashSet::new();
            courses.retain(|course| seen.insert(*course));
            Scope::Courses(courses)
        }
    };
    let mut tx = app.begin(&call).await?;
    let plan = Plan {
        id: app.new_id::<PlanId>(),
        version: 1,
        name: req.name,
        price: req.currency.major(price_minor),
        price_minor,
        currency: req.currency.into(),
        interval: req.interval,
        trial: req.trial,
        grace: req.grace,
        scope,
        created_at: call.now,
    };
    query!(
        "INSERT INTO enrollment.plans
           (id, version, name, price_minor, currency, period, trial, grace, scope, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        plan.id.0,
        plan.version,
        plan.name,
        plan.price_minor,
        plan.currency,
        plan.interval.to_string(),
        plan.trial.map(String::from),
        plan.grace.map(String::from),
        Json(&plan.scope) as Json<&Scope>,
        plan.created_at,
    )
    .execute(&mut *tx)
    .await?;
    tx.announce(&PlanCreated { plan_id: plan.id, name: plan.name.clone() }, plan.version).await?;
    let details = json!({ "plan_id": plan.id, "price_minor": plan.price_minor, "currency": plan.currency, "scope": plan.scope });
    tx.audit("plan.created", None, details).await?;
    Ok(tx.commit(plan).await?)
}
