//! A subscription held for change: its row is locked, and so is its user.

use chrono::{DateTime, Utc};
use lectern_core::{Error, Tx};
use lectern_subjects::enrollment::{
    AccessExpired, Plan, Subscription, SubscriptionCanceled, SubscriptionExpired, SubscriptionRenewed,
    SubscriptionStatus,
};
use lectern_subjects::id::{PlanId, SubscriptionId, UserId};
use sqlx::{PgConnection, query, query_scalar};

use super::rules::{Anchor, Ending, at_period_end};
use super::{arm, disarm};
use crate::access::grants;
use crate::plans;

/// A locked subscription with its version of the plan.
#[derive(Debug)]
pub(crate) struct Held {
    pub subscription: Subscription,
    pub plan: Plan,
    pub anchor: Anchor,
    /// Its user cancelled it; told apart from a subscription that was never to renew.
    pub cancel_at_period_end: bool,
}

impl Held {
    /// Locks a subscription, its user first. None when there is none, or when it is not `owner`'s.
    pub async fn find(
        tx: &mut Tx,
        id: SubscriptionId,
        owner: Option<UserId>,
    ) -> Result<Option<Held>, sqlx::Error> {
        let user = query_scalar!(
            r#"SELECT user_id AS "user_id: UserId" FROM enrollment.subscriptions WHERE id = $1"#,
            id.0
        )
        .fetch_optional(&mut **tx)
        .await?;
        match user {
            Some(user) if owner.is_none_or(|owner| owner == user) => {
                grants::lock_user(tx, user).await?;
                Held::read(tx, id).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    async fn read(db: &mut PgConnection, id: SubscriptionId) -> Result<Held, sqlx::Error> {
        let row = query!(
            r#"SELECT id AS "id: SubscriptionId", user_id AS "user_id: UserId", plan_id AS "plan_id: PlanId",
                 plan_version, status AS "status: SubscriptionStatus", period_index, period_start, period_end,
                 anchor, anchor_index, auto_renew, cancel_at_period_end, created_at, ended_at, version
               FROM enrollment.subscriptions WHERE id = $1 FOR UPDATE"#,
            id.0,
        )
        .fetch_one(&mut *db)
        .await?;
        let plan = plans::find(db, row.plan_id, Some(row.plan_version)).await?;
        Ok(Held {
            plan: plan.ok_or(sqlx::Error::RowNotFound)?,
            anchor: Anchor { at: row.anchor, index: row.anchor_index },
            cancel_at_period_end: row.cancel_at_period_end,
            subscription: Subscription {
                id: row.id,
                user_id: row.user_id,
                plan_id: row.plan_id,
                plan_version: row.plan_version,
                status: row.status,
                period_index: row.period_index,
                period_start: row.period_start,
                period_end: row.period_end,
                auto_renew: row.auto_renew,
                created_at: row.created_at,
                ended_at: row.ended_at,
                version: row.version,
            },
        })
    }

    /// Trialing or active.
    pub fn is_live(&self) -> bool {
        matches!(self.subscription.status, SubscriptionStatus::Trialing | SubscriptionStatus::Active)
    }

    /// What the end of its period means for it: an ending, or none when it renews.
    fn ending(&self) -> Option<Ending> {
        let held = &self.subscription;
        at_period_end(held.status, held.auto_renew, self.cancel_at_period_end, self.plan.price_minor)
    }

    /// Begins the next period and says so. Timers are the caller's to arm, once it is settled.
    pub async fn renew(&mut self, tx: &mut Tx) -> Result<(), Error> {
        let held = &mut self.subscription;
        held.status = SubscriptionStatus::Active;
        held.period_index += 1;
        held.period_start = held.period_end;
        held.period_end = self.anchor.period_end(self.plan.interval, held.period_index);
        self.store(tx).await?;
        begin_period(tx, &self.subscription).await?;
        let held = &self.subscription;
        let fact = SubscriptionRenewed {
            user_id: held.user_id,
            subscription_id: held.id,
            plan_name: self.plan.name.clone(),
            period_index: held.period_index,
            period_end: held.period_end,
        };
        tx.announce(&fact, held.version).await
    }

    /// Ends it for good: timers, grants and, where nothing else covers a course, the enrolments' activity.
    pub async fn end(&mut self, tx: &mut Tx, ending: Ending, ended_at: DateTime<Utc>) -> Result<(), Error> {
        let now = tx.now();
        self.subscription.auto_renew = false;
        self.subscription.ended_at = Some(ended_at);
        self.subscription.status = match ending {
            Ending::Expired => SubscriptionStatus::Expired,
            Ending::CanceledByUser | Ending::NotPaid => SubscriptionStatus::Canceled,
        };
        self.store(tx).await?;
        let held = &self.subscription;
        if ended_at < held.period_end {
            grants::revoke(tx, held.id, now).await?;
        }
        disarm(tx, held).await?;
        let (user_id, subscription_id, plan_name) = (held.user_id, held.id, self.plan.name.clone());
        let version = held.version;
        let canceled = |reason: &str| SubscriptionCanceled {
            user_id,
            subscription_id,
            plan_name: plan_name.clone(),
            reason: reason.to_owned(),
            ended_at,
        };
        match ending {
            Ending::Expired => {
                let plan_name = plan_name.clone();
                let fact = SubscriptionExpired { user_id, subscription_id, plan_name, ended_at };
                tx.announce(&fact, version).await?;
            }
            Ending::CanceledByUser => tx.announce(&canceled("user"), version).await?,
            Ending::NotPaid => tx.announce(&canceled("not_paid"), version).await?,
        }
        if grants::lost_something(tx, subscription_id, now).await? {
            tx.announce(&AccessExpired { user_id, subscription_id, ended_at }, version).await?;
        }
        grants::settle_enrollments(tx, user_id, now).await?;
        Ok(())
    }

    /// Brings it to `tx.now()`: renews it period by period, or ends it at the end of one. At most `most` periods; whether
    /// it is up to date now. Its timers are armed for where it stands.
    pub async fn settle(&mut self, tx: &mut Tx, most: u32) -> Result<bool, Error> {
        for _ in 0..most {
            if self.subscription.period_end > tx.now() {
                break;
            }
            if let Some(ending) = self.ending() {
                self.end(tx, ending, self.subscription.period_end).await?;
                return Ok(true);
            }
            self.renew(tx).await?;
        }
        arm(tx, &self.subscription).await?;
        Ok(self.subscription.period_end > tx.now())
    }

    /// Writes what has changed, as a new version, and brings the grants in line with it.
    pub async fn store(&mut self, tx: &mut Tx) -> Result<(), sqlx::Error> {
        let held = &mut self.subscription;
        held.version += 1;
        query!(
            "UPDATE enrollment.subscriptions
             SET status = $2, period_index = $3, period_start = $4, period_end = $5, auto_renew = $6,
                 cancel_at_period_end = $7, ended_at = $8, version = $9
             WHERE id = $1",
            held.id.0,
            held.status as SubscriptionStatus,
            held.period_index,
            held.period_start,
            held.period_end,
            held.auto_renew,
            self.cancel_at_period_end,
            held.ended_at,
            held.version,
        )
        .execute(&mut **tx)
        .await?;
        let (id, period_end) = (held.id, held.period_end);
        let renews = self.is_live() && self.ending().is_none();
        grants::follow_period(tx, id, period_end, renews).await
    }
}

/// Records the beginning of a subscription's period. The table refuses one that began before.
pub(crate) async fn begin_period(db: &mut PgConnection, held: &Subscription) -> Result<(), sqlx::Error> {
    query!(
        "INSERT INTO enrollment.subscription_periods (subscription_id, period_index, starts_at, ends_at)
         VALUES ($1, $2, $3, $4)",
        held.id.0,
        held.period_index,
        held.period_start,
        held.period_end,
    )
    .execute(db)
    .await?;
    Ok(())
}
