//! `subscriptions.create`: the caller subscribes to a plan.

use lectern_core::{App, Call, Error, Fault, Outcome, Tx};
use lectern_subjects::Refusal;
use lectern_subjects::enrollment::{
    EnrollmentRefusal, Plan, Subscribe, Subscription, SubscriptionActivated, SubscriptionStatus,
};
use lectern_subjects::id::{PlanId, SubscriptionId, UserId};
use serde_json::{Value, json};
use sqlx::{PgConnection, query, query_scalar};

use super::arm;
use super::held::begin_period;
use super::rules::{Anchor, at_period_end, first_period};
use crate::access::grants;
use crate::plans;

/// Begins a subscription: a free plan is active from now, a trial lasts its interval; anything else must be paid first.
pub(crate) async fn create(app: App, call: Call, req: Subscribe) -> Outcome<Subscribe> {
    let user = call.user()?.user;
    let mut tx = app.begin(&call).await?;
    let now = tx.now();
    grants::lock_user(&mut tx, user).await?;
    let plan = plans::find(&mut tx, req.plan_id, None).await?.ok_or(EnrollmentRefusal::PlanNotFound)?;
    if let Some(live) = live(&mut tx, user, plan.id).await? {
        return Err(EnrollmentRefusal::AlreadySubscribed.because(json!({ "subscription_id": live })).into());
    }
    let Some((status, period_end, anchor)) = first_period(plan.price_minor, plan.interval, plan.trial, now)
    else {
        return Err(EnrollmentRefusal::PlanPaymentRequired.because(quote(plan)).into());
    };
    let subscription = Subscription {
        id: app.new_id(),
        user_id: user,
        plan_id: plan.id,
        plan_version: plan.version,
        status,
        period_index: 0,
        period_start: now,
        period_end,
        auto_renew: req.auto_renew,
        created_at: now,
        ended_at: None,
        version: 1,
    };
    insert(&mut tx, &subscription, anchor).await?;
    begin_period(&mut tx, &subscription).await?;
    let renews = at_period_end(status, req.auto_renew, false, plan.price_minor).is_none();
    grants::grant_scope(&mut tx, &plan.scope, &subscription, renews).await?;
    grants::settle_enrollments(&mut tx, user, now).await?;
    arm(&mut tx, &subscription).await?;
    let fact = SubscriptionActivated {
        user_id: user,
        subscription_id: subscription.id,
        plan_id: plan.id,
        plan_name: plan.name,
        status,
        period_end,
    };
    tx.announce(&fact, subscription.version).await?;
    let details = json!({ "subscription_id": subscription.id, "plan_id": plan.id, "plan_version": plan.version, "status": status });
    tx.audit("subscription.created", Some(user), details).await?;
    Ok(tx.commit(subscription).await?)
}

/// The user's live subscription to a plan.
async fn live(
    db: &mut PgConnection,
    user: UserId,
    plan: PlanId,
) -> Result<Option<SubscriptionId>, sqlx::Error> {
    query_scalar!(
        r#"SELECT id AS "id: SubscriptionId" FROM enrollment.subscriptions
           WHERE user_id = $1 AND plan_id = $2 AND status IN ('trialing', 'active')"#,
        user.0,
        plan.0,
    )
    .fetch_optional(db)
    .await
}

/// What the plan costs, in the shape of an enrolment's quote.
fn quote(plan: Plan) -> Value {
    json!({
        "price": plan.price,
        "price_minor": plan.price_minor,
        "currency": plan.currency,
        "plans": [plan],
    })
}

/// Writes the row. The user's lock keeps a second one out; should it not, the constraint does.
async fn insert(tx: &mut Tx, new: &Subscription, anchor: Anchor) -> Result<(), Fault<EnrollmentRefusal>> {
    let inserted = query!(
        "INSERT INTO enrollment.subscriptions
           (id, user_id, plan_id, plan_version, status, period_index, period_start, period_end, anchor, anchor_index,
            auto_renew, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        new.id.0,
        new.user_id.0,
        new.plan_id.0,
        new.plan_version,
        new.status as SubscriptionStatus,
        new.period_index,
        new.period_start,
        new.period_end,
        anchor.at,
        anchor.index,
        new.auto_renew,
        new.created_at,
    )
    .execute(&mut **tx)
    .await;
    match inserted {
        Ok(_) => Ok(()),
        Err(error) if Error::constraint(&error) == Some("subscriptions_one_live") => {
            Err(EnrollmentRefusal::AlreadySubscribed.into())
        }
        Err(error) => Err(error.into()),
    }
}
