//! The reminder timers: the end of a period is near.

use lectern_core::{App, Followed, Ring, Tx};
use lectern_subjects::enrollment::RenewalUpcoming;

use super::held::Held;
use super::reminders::reminders;

/// Reminds, when the ring is still about this period and its end lies ahead.
pub(crate) async fn remind(_: App, mut tx: Tx, ring: Ring) -> Followed {
    if let Some(held) = Held::find(&mut tx, ring.entity.into(), None).await?
        && held.is_live()
        && held.subscription.period_end > tx.now()
        && reminders(held.subscription.period_start, held.subscription.period_end)
            .iter()
            .any(|(reminder, at)| reminder.kind() == ring.kind && *at == ring.due_at)
    {
        let subscription = held.subscription;
        let fact = RenewalUpcoming {
            user_id: subscription.user_id,
            subscription_id: subscription.id,
            plan_name: held.plan.name,
            period_end: subscription.period_end,
            auto_renew: subscription.auto_renew,
        };
        tx.announce(&fact, subscription.version).await?;
    }
    Ok(tx.commit_followed().await?)
}
