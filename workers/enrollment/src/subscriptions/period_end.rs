//! The timer `period_end`: a subscription renews or ends.

use lectern_core::{App, Followed, Ring, Tx};

use super::held::Held;

/// Periods that one ring catches up with. After a long pause the rest follows by the next ring, which is due at once.
const AT_ONCE: u32 = 100;

/// Settles the subscription, when the ring is still about its period: a second ring for the same end finds another end.
pub(crate) async fn period_end(_: App, mut tx: Tx, ring: Ring) -> Followed {
    let held = Held::find(&mut tx, ring.entity.into(), None).await?;
    match held {
        Some(mut held) if held.is_live() && held.subscription.period_end == ring.due_at => {
            let up_to_date = held.settle(&mut tx, AT_ONCE).await?;
            tracing::info!(
                subscription = %held.subscription.id,
                status = ?held.subscription.status,
                period_index = held.subscription.period_index,
                up_to_date,
                "a period ended"
            );
        }
        _ => tracing::debug!(subscription = %ring.entity, "a ring about a period that is over"),
    }
    Ok(tx.commit_followed().await?)
}
