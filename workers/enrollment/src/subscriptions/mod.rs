//! Subscriptions: a user, a version of a plan, and periods one after the other.
//!
//! `trialing | active` are live; `canceled | expired` are final. The row is the truth; a timer that rings looks at it
//! again and does nothing when it has changed meanwhile. Locks are taken in one order: timer, user, row. What changes a
//! subscription after its beginning goes through [`held::Held`].

pub(crate) mod cancel;
pub(crate) mod create;
pub(crate) mod get;
pub(crate) mod held;
pub(crate) mod list;
pub(crate) mod period_end;
pub(crate) mod remind;
pub mod reminders;
pub(crate) mod rules;
pub(crate) mod update;

use lectern_core::{Error, Tx};
use lectern_subjects::enrollment::Subscription;
use reminders::{Reminder, reminders};

/// The timer of a period's end.
pub(crate) const PERIOD_END: &str = "period_end";

/// Arms the timers of a subscription's period. A reminder whose moment has passed is left out.
pub(crate) async fn arm(tx: &mut Tx, subscription: &Subscription) -> Result<(), Error> {
    let (id, now) = (subscription.id.into(), tx.now());
    tx.arm(PERIOD_END, id, subscription.period_end).await?;
    let due = reminders(subscription.period_start, subscription.period_end);
    for reminder in Reminder::ALL {
        match due.iter().find(|(which, at)| *which == reminder && *at > now) {
            Some((_, at)) => tx.arm(reminder.kind(), id, *at).await?,
            None => tx.disarm(reminder.kind(), id).await?,
        }
    }
    Ok(())
}

/// Cancels all timers of a subscription.
pub(crate) async fn disarm(tx: &mut Tx, subscription: &Subscription) -> Result<(), Error> {
    let id = subscription.id.into();
    tx.disarm(PERIOD_END, id).await?;
    for reminder in Reminder::ALL {
        tx.disarm(reminder.kind(), id).await?;
    }
    Ok(())
}
