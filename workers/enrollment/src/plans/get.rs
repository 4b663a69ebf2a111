//! `plans.get`: a plan's newest version.

use lectern_core::{App, Call, Outcome};
use lectern_subjects::enrollment::{EnrollmentRefusal, GetPlan};

/// Anyone may read plans.
pub(crate) async fn get(app: App, _: Call, req: GetPlan) -> Outcome<GetPlan> {
    let mut db = app.pool().acquire().await?;
    let plan = super::find(&mut db, req.id, None).await?;
    Ok(plan.ok_or(EnrollmentRefusal::PlanNotFound)?)
}
