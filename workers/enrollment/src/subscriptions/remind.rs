//! The reminder timers: the end of a period is near.

use lectern_core::{App, Followed, Ring, Tx};
use lectern_subjects::enrollment::RenewalUpcoming;
use lectern_subjects::id::{SubscriptionId, UserId};
use sqlx::query;

use super::reminders::reminders;

/// Reminds, when the ring is still about this period and its end lies ahead. It changes nothing, so it takes no lock:
/// who changes the subscription waits for this ring's timer, never the other way round.
pub(crate) async fn remind(_: App, mut tx: Tx, ring: Ring) -> Followed {
    let now = tx.now();
    let live = query!(
        r#"SELECT held.id AS "id: SubscriptionId", user_id AS "user_id: UserId", plan.name AS plan_name, period_start,
             period_end, auto_renew, held.version
           FROM enrollment.subscriptions AS held
           JOIN enrollment.plans AS plan ON plan.id = plan_id AND plan.version = plan_version
           WHERE held.id = $1 AND status IN ('trialing', 'active') AND period_end > $2"#,
        ring.entity,
        now,
    )
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(held) = live
        && reminders(held.period_start, held.period_end)
            .iter()
            .any(|(reminder, at)| reminder.kind() == ring.kind && *at == ring.due_at)
    {
        let fact = RenewalUpcoming {
            user_id: held.user_id,
            subscription_id: held.id,
            plan_name: held.plan_name,
            period_end: held.period_end,
            auto_renew: held.auto_renew,
        };
        tx.announce(&fact, held.version).await?;
    }
    Ok(tx.commit_followed().await?)
}
