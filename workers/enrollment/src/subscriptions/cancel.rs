//! `subscriptions.cancel`: its user ends it, at the end of the period or now.

use lectern_core::{App, Call, Outcome};
use lectern_subjects::enrollment::{CancelSubscription, EnrollmentRefusal};
use serde_json::json;

use super::PERIOD_END;
use super::held::Held;
use super::rules::Ending;

/// At the end of the period: it stays live and does not renew. Now: grants and timers end with it.
pub(crate) async fn cancel(app: App, call: Call, req: CancelSubscription) -> Outcome<CancelSubscription> {
    let user = call.user()?.user;
    let mut tx = app.begin(&call).await?;
    if !req.at_period_end {
        // a ring holds its timer while it waits for the user's lock: the same order here, lest both wait for ever
        tx.disarm(PERIOD_END, req.id.into()).await?;
    }
    let held = Held::find(&mut tx, req.id, Some(user)).await?;
    let mut held = held.ok_or(EnrollmentRefusal::SubscriptionNotFound)?;
    call.expect_version(held.subscription.version)?;
    if !held.is_live() {
        return Err(EnrollmentRefusal::SubscriptionEnded.into());
    }
    let news = !req.at_period_end || !held.cancel_at_period_end;
    if !req.at_period_end {
        let now = tx.now();
        held.end(&mut tx, Ending::CanceledByUser, now).await?;
    } else if news {
        held.subscription.auto_renew = false;
        held.cancel_at_period_end = true;
        held.store(&mut tx).await?;
    }
    if news {
        let details = json!({ "subscription_id": req.id, "at_period_end": req.at_period_end });
        tx.audit("subscription.canceled", Some(user), details).await?;
    }
    Ok(tx.commit(held.subscription).await?)
}
