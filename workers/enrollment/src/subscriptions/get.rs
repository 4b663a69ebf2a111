//! `subscriptions.get`: one of the caller's subscriptions.

use lectern_core::{App, Call, Outcome};
use lectern_subjects::enrollment::{EnrollmentRefusal, GetSubscription, Subscription, SubscriptionStatus};
use lectern_subjects::id::{PlanId, SubscriptionId, UserId};
use sqlx::query_as;

/// Answers the subscription; somebody else's is as good as none.
pub(crate) async fn get(app: App, call: Call, req: GetSubscription) -> Outcome<GetSubscription> {
    let found = query_as!(
        Subscription,
        r#"SELECT id AS "id: SubscriptionId", user_id AS "user_id: UserId", plan_id AS "plan_id: PlanId",
             plan_version, status AS "status: SubscriptionStatus", period_index, period_start, period_end,
             auto_renew, created_at, ended_at, version
           FROM enrollment.subscriptions WHERE id = $1 AND user_id = $2"#,
        req.id.0,
        call.user()?.user.0,
    )
    .fetch_optional(app.pool())
    .await?;
    Ok(found.ok_or(EnrollmentRefusal::SubscriptionNotFound)?)
}
