//! `subscriptions.update`: whether it renews at the end of its period.

use lectern_core::{App, Call, Outcome};
use lectern_subjects::enrollment::{EnrollmentRefusal, UpdateSubscription};
use serde_json::json;

use super::held::Held;

/// Switching renewal on also takes back a cancellation at the end of the period. What is so already stays as it is.
pub(crate) async fn update(app: App, call: Call, req: UpdateSubscription) -> Outcome<UpdateSubscription> {
    let user = call.user()?.user;
    let mut tx = app.begin(&call).await?;
    let held = Held::find(&mut tx, req.id, Some(user)).await?;
    let mut held = held.ok_or(EnrollmentRefusal::SubscriptionNotFound)?;
    call.expect_version(held.subscription.version)?;
    if !held.is_live() {
        return Err(EnrollmentRefusal::SubscriptionEnded.into());
    }
    if held.subscription.auto_renew != req.auto_renew {
        held.subscription.auto_renew = req.auto_renew;
        held.cancel_at_period_end &= !req.auto_renew;
        held.store(&mut tx).await?;
        let details = json!({ "subscription_id": req.id, "auto_renew": req.auto_renew });
        tx.audit("subscription.updated", Some(user), details).await?;
    }
    Ok(tx.commit(held.subscription).await?)
}
