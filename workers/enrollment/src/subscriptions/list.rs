//! `subscriptions.list`: the caller's subscriptions, newest first.

use lectern_core::{App, Call, Outcome};
use lectern_subjects::Page;
use lectern_subjects::enrollment::{ListSubscriptions, Subscription, SubscriptionStatus};
use lectern_subjects::id::{PlanId, SubscriptionId, UserId};
use sqlx::query_as;

use lectern_subjects::page;
use uuid::Uuid;

/// One page of them.
pub(crate) async fn list(app: App, call: Call, req: ListSubscriptions) -> Outcome<ListSubscriptions> {
    let limit = page::limit(req.limit);
    let rows = query_as!(
        Subscription,
        r#"SELECT id AS "id: SubscriptionId", user_id AS "user_id: UserId", plan_id AS "plan_id: PlanId",
             plan_version, status AS "status: SubscriptionStatus", period_index, period_start, period_end,
             auto_renew, created_at, ended_at, version
           FROM enrollment.subscriptions WHERE user_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3"#,
        call.user()?.user.0,
        page::key(req.cursor.as_deref())?.unwrap_or(Uuid::max()),
        i64::from(limit) + 1,
    )
    .fetch_all(app.pool())
    .await?;
    Ok(Page::from_rows(rows, limit as usize, |last| last.id.to_string()))
}
